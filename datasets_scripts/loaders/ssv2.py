# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Something-Something V2: what a hand does with some thing, where only the order of frames shows it.

    load_benchmark("ssv2", config="classification", split="train", data_dir="ssv2")
    load_benchmark("ssv2", config="label_retrieval", data_dir="ssv2")

Source:    https://developer.qualcomm.com/software/ai-datasets/something-something (account and licence needed);
           retrieval files: https://github.com/jayleicn/singularity, `anno_downstream.tar.gz` (Lei et al. 2022)
Licence:   Qualcomm's terms of the 20BN data sets, for research, after an account and a licence; neither annotations
           nor videos may be passed on.
Layout:    classification: `train.json`, `validation.json`, `test.json` with `labels.json`, flat or in `labels/`, or the same
           under their older names `something-something-v2-*.json`; mmaction2's `label_map.txt` may stand for labels.json.
           Files called `*_sample.json` are read too. Retrieval: `ssv2_ret_label_*.json`, `ssv2_ret_template_*.json`.
Splits:    classification: 168,913 train / 24,777 validation / 27,157 test, 174 classes. Retrieval: 168,913 train / 2,088
           validation videos (12 of each class).
Videos:    `<id>.webm`.
Odd cases: the class is the template without its square brackets ("Holding [something]" is "Holding something"), numbered
           as in labels.json, or by line of label_map.txt, from 0. The test labels are null: they are not public. In
           template retrieval a caption fits several videos: rows with the same caption are one query, and any of their
           videos is right; brackets stay in the captions as they are in the file.
"""

from collections.abc import Iterator
from functools import cached_property
from os.path import splitext
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import AnnotationError, Record, read_json, read_json_list, read_lines
from clipbert.datasets_scripts.fetching.sources import MMACTION2, by_hand, github


FAMILIES = (  # file name of a split, files that number the classes
    ("{}.json", ("labels.json", "label_map.txt")),
    ("labels/{}.json", ("labels/labels.json",)),
    ("something-something-v2-{}.json", ("something-something-v2-labels.json", "label_map.txt")),
    ("{}_sample.json", ("labels.json", "label_map.txt")),
)


class SomethingSomethingV2(VideoTextBuilder):
    """Something-Something V2: 174 classes of hand actions, and Singularity's two retrieval tasks on them."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(
            name="classification",
            task="classification",
            description="174 classes, the official train / validation / test",
        ),
        BenchmarkConfig(
            name="label_retrieval",
            task="retrieval",
            description="Singularity's: find the video of a sentence that names the things; 2,088 validation videos",
        ),
        BenchmarkConfig(
            name="template_retrieval",
            task="retrieval",
            description="Singularity's: find any of the 12 validation videos of a template without the things",
        ),
    ]
    LAYOUT = "It holds train.json, validation.json, test.json and labels.json, or Singularity's ssv2_ret_*.json."
    SOURCES = (
        *github(
            MMACTION2,
            "tools/data/sthv2",
            {
                "label_map.txt": (7_601, "c9c5a86ece619e1ab2e7ca0614c85377a534873e17108b13243e5d22089a0a85"),
            },
        ),
        by_hand(
            "train.json, validation.json, test.json, labels.json",
            "Make an account and accept the licence on "
            "https://developer.qualcomm.com/software/ai-datasets/something-something; the files are in the folder "
            "labels. For the retrieval configs: anno_downstream.tar.gz of https://github.com/jayleicn/singularity.",
            kind="annotations",
            status="gated",
        ),
        by_hand(
            "videos/<id>.webm",
            "The parts 20bn-something-something-v2-?? from the same page, joined and unpacked.",
            status="gated",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES
    IN_PARTS = True

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        if config.task == "retrieval":
            kind = config.name.removesuffix("_retrieval")
            endings = {"train": "train", "validation": "val_small"}
            folders = ("", "anno_downstream/")
            return {
                split: [(f"{folder}ssv2_ret_{kind}_{ending}.json",) for folder in folders]
                for split, ending in endings.items()
            }
        return {
            split: [(pattern.format(split), labels) for pattern, choices in FAMILIES for labels in choices]
            for split in ("train", "validation", "test")
        }

    def class_names(self) -> list[str]:
        path = next(iter(self.annotations.values()))[1]
        if path.suffix == ".txt":
            return [record.values["line"].strip() for record in read_lines(path)]
        numbers = read_json(path)
        if not isinstance(numbers, dict) or sorted(map(str, numbers.values())) != sorted(
            map(str, range(len(numbers)))
        ):
            raise AnnotationError(f'{path}: expected {{"<class>": "<number>", ...}} with every number from 0 once')
        return sorted(numbers, key=lambda name: int(numbers[name]))

    @cached_property
    def known_classes(self) -> frozenset[str]:
        return frozenset(self.class_names())

    def load_records(self, split: str, files: tuple[Path, ...]) -> Iterator[Record]:
        for record in read_json_list(files[0]):
            if self.config.task == "retrieval":
                caption, videos = record.require("caption"), record.require("video", (str, list))
                for name in [videos] if isinstance(videos, str) else videos:
                    values = {"name": splitext(name)[0], "caption": caption}
                    yield Record(values, record.file, entry=f"{record.entry} {name}")
                continue
            label = None
            if split != "test" or "template" in record.values:
                label = record.require("template").replace("[", "").replace("]", "")
                if label not in self.known_classes:
                    raise record.error(f"expected one of the {len(self.known_classes)} classes, got {label!r}")
            yield Record(
                {"name": str(record.require("id", (str, int))), "label": label}, record.file, entry=record.entry
            )

    def video_path(self, record: Record) -> str:
        return self.find_media(record.values["name"], ".webm")

    def text(self, record: Record) -> Iterator[dict]:
        column = "caption" if self.config.task == "retrieval" else "label"
        yield {"video_id": record.values["name"], column: record.values[column]}
