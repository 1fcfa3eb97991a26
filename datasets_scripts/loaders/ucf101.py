# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""UCF101: which of 101 actions a short clip shows.

    load_benchmark("ucf101", config="split1", data_dir="UCF101")
    load_benchmark("ucf101", config="top5", data_dir="ucf101_top5")

Source:    https://www.crcv.ucf.edu/research/data-sets/ucf101 (Soomro et al. 2012)
Licence:   none stated; the clips are cut from YouTube videos. Copy of the splits: BSD 2-Clause.
Layout:    `classInd.txt` with `trainlist01.txt`, `testlist01.txt` (02, 03), flat, in `ucfTrainTestlist/`, or within
           `UCF101TrainTestSplits-RecognitionTask.zip`; for `top5` `train.csv` and `test.csv`, flat or in `top5/`.
Splits:    split1 9,537 train / 3,783 test, split2 9,586 / 3,734, split3 9,624 / 3,696; published figures are the mean of
           the three. top5 594 / 224: the five classes of the CNN-RNN tutorial, cut out of split 1. No validation split:
           `validation_fraction=0.2` holds out that share of every class, group by group, so that no clip has a sibling in
           train. (`validation_split="clip"`, as the tutorial divides, leaves all but every clip one.) What `top5` reads
           is `split1` with `classes=["CricketShot", "PlayingCello", "Punch", "ShavingBeard", "TennisSwing"]`.
Videos:    `v_<Class>_g<group>_c<clip>.avi`, found by that name in any folder and container; `<name>_rgb` counts too, as
           the demonstration clip of kinetics-i3d is called. Clips of one group are cut from one recording.
Odd cases: classes are numbered from 1 in the files and from 0 here, in the same order (top5: by alphabet). The class
           HandstandPushups has files named v_HandStandPushups: files are never looked for by the name of the class.
           The lists end their lines with CR LF.
"""

import re
from collections.abc import Iterator
from functools import cached_property
from os.path import splitext
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoTextBuilder
from clipbert.datasets_scripts.building.classes import recording_in_name
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import Record, read_csv, read_lines
from clipbert.datasets_scripts.fetching.sources import TSN, Source, github


ARCHIVE = "UCF101TrainTestSplits-RecognitionTask.zip"


class UCF101(VideoTextBuilder):
    """UCF101 action recognition: 13,320 clips of 101 classes, three splits, and the five-class subset."""

    BUILDER_CONFIGS = [
        *(
            BenchmarkConfig(
                name=f"split{number}",
                task="classification",
                description=f"101 classes, trainlist0{number}.txt and testlist0{number}.txt: one of the three official splits",
            )
            for number in (1, 2, 3)
        ),
        BenchmarkConfig(
            name="top5",
            task="classification",
            description="five classes of split 1: the subset of the CNN-RNN tutorial",
        ),
    ]
    LAYOUT = f"It holds the lists of {ARCHIVE}, the archive itself, or the csv files of ucf101_top5."
    SOURCES = (
        *github(
            TSN,
            "data/ucf101_splits",
            {
                "classInd.txt": (1_586, "d7abbb76074d04e80c62ad8a61529bb8eec32ef978569601b2890edec3af0359"),
                "trainlist01.txt": (395_164, "f7a4d7abc05147b921c17fc227d731197c3583f29945d1f1d46bce830d1b9f12"),
                "trainlist02.txt": (397_610, "3ea7145317098bdb4a999f69fb3b53ca3d3831d692602fc5dc8cd5c5e3eb8ca9"),
                "trainlist03.txt": (398_805, "c75af0148b3b0e70d5d881ad71b0a5fbb685bf2d3278908278658435c3f1bf0f"),
                "testlist01.txt": (145_735, "81be4765084d72739dca4d11658f7ec369c441ad9e227f11d9468fe2a1c14890"),
                "testlist02.txt": (143_430, "c9eec18f3f312153cda441f93e30bc9cffef1941367ebc06996e40c9cd056c91"),
                "testlist03.txt": (142_360, "f9cc029b0598c63f5cc07d070ae1fa4666d1d3901cc79a93490ea0742ca097db"),
            },
        ),
        Source(
            "UCF101.rar",
            ("https://www.crcv.ucf.edu/datasets/human-actions/ucf101/UCF101.rar",),
            kind="videos",
            instructions="Unpack it with `unrar x UCF101.rar` in this folder (rar is not read here): it makes UCF-101. "
            "With the clips of top5 there too, say which are meant: video_dir='.../UCF-101'.",
        ),
        Source(
            "ucf101_top5.tar.gz",
            (
                "https://github.com/sayakpaul/Action-Recognition-in-TensorFlow/releases/download/v1.0.0/ucf101_top5.tar.gz",
            ),
            kind="videos",
            unpack="top5",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        if config.name == "top5":
            return {split: [(f"top5/{split}.csv",), (f"{split}.csv",)] for split in ("train", "test")}
        folders = ("", "ucfTrainTestlist/")
        return {
            split: [
                *((f"{folder}classInd.txt", f"{folder}{split}list0{config.name[-1]}.txt") for folder in folders),
                (ARCHIVE,),
            ]
            for split in ("train", "test")
        }

    def class_names(self) -> list[str]:
        files = next(iter(self.annotations.values()))
        if files[0].suffix == ".csv":
            return sorted({row.require("tag") for path in self.annotations.values() for row in read_csv(path[0])})
        names = []
        for record in read_lines(files[0], member="classInd.txt"):
            number, _, name = record.values["line"].strip().partition(" ")
            if number != str(len(names) + 1) or not name:
                raise record.error(f"expected '{len(names) + 1} <Class>', got {record.values['line']!r}")
            names.append(name)
        return names

    @cached_property
    def class_numbers(self) -> dict[str, int]:
        """Numbers from 1, as the lists have them."""
        return {name: number for number, name in enumerate(self.class_names(), start=1)}

    def load_records(self, split: str, files: tuple[Path, ...]) -> Iterator[Record]:
        if files[0].suffix == ".csv":
            for record in read_csv(files[0]):
                values = {"name": splitext(record.require("video_name"))[0], "label": record.require("tag")}
                if not is_of_class(values["name"], values["label"]):
                    raise record.error(
                        f"expected v_<tag>_g<group>_c<clip>, got {values['name']!r} of {values['label']!r}"
                    )
                yield Record({**values, "folder": split}, record.file, record.line)
            return
        name = f"{split}list0{self.config.name[-1]}.txt"
        for record in read_lines(files[-1], member=name):
            match = re.fullmatch(r"([^/\s]+)/(\S+)\.avi( [0-9]+)?", record.values["line"].strip())
            if not match or (split == "train" and not match[3]):
                wanted = "<Class>/<clip>.avi <number of the class>" if split == "train" else "<Class>/<clip>.avi"
                raise record.error(f"expected {wanted!r}, got {record.values['line']!r}")
            label = match[1]
            number = self.class_numbers.get(label)
            if number is None or (match[3] and int(match[3]) != number):
                raise record.error(f"expected a class of classInd.txt with its number, got {record.values['line']!r}")
            if not is_of_class(match[2], label):
                raise record.error(f"expected the clip to be named after its class, got {record.values['line']!r}")
            yield Record({"name": match[2], "label": label, "folder": label}, record.file, record.line)

    def video_path(self, record: Record) -> str:
        name = record.values["name"]
        if name not in self.media.files and f"{name}_rgb" in self.media.files:
            name += "_rgb"
        return self.find_media(f"{record.values['folder']}/{name}", ".avi")

    def text(self, record: Record) -> Iterator[dict]:
        name = record.values["name"]
        yield {"video_id": name, "label": record.values["label"], "recording": recording_in_name(name)}


def is_of_class(name: str, label: str) -> bool:
    """Whether `v_HandStandPushups_g01_c01` is a clip of `HandstandPushups`."""
    return name.lower().startswith(f"v_{label.lower()}_")
