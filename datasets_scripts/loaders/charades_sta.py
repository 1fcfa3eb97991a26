# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Charades-STA: when a sentence happens in a video of thirty seconds at home.

    load_benchmark("charades_sta", config="vslnet", split="test", data_dir="charades_sta")

Source:    sentences: https://github.com/jiyanggao/TALL (Gao et al. 2017), in the copies of 26hzhang/VSLNet and
           microsoft/VideoX; videos and durations: https://prior.allenai.org/projects/charades
Licence:   Charades has its own licence, for non-commercial use (Allen Institute for AI); Charades-STA is for research.
Layout:    `charades_sta_train.txt`, `charades_sta_test.txt` (VideoX's may be called `*.videox.txt`), optionally
           `Charades_v1_train.csv`, `Charades_v1_test.csv`, flat or in `Charades/`, for the durations.
Splits:    12,408 train / 3,720 test moments on 5,338 / 1,334 videos; with `videox` 12,404 train on 5,336. No validation
           split: see `validation_fraction`.
Videos:    `<id>.mp4`, as in `Charades_v1_480.zip`.
Odd cases: two versions of the training file go about. They differ in four lines, which end before they begin in that of
           VideoX: `videox` leaves just these out and counts them, `vslnet` has them corrected and refuses them.
           With the csv files, ends beyond the video are cut to its length (1,802 train, 562 test) and counted, a start
           beyond it or an unknown video is an error; without them durations are null and ends stay as they are, with a warning.
           A line that stands twice is an error. Sentences stay as they are, double blanks included.
"""

import logging
from collections.abc import Iterator
from functools import cached_property
from itertools import product
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoFacts, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.moments import read_timed_lines
from clipbert.datasets_scripts.building.records import Record, read_csv
from clipbert.datasets_scripts.fetching.sources import VIDEOX, VSLNET, Source, github


logger = logging.getLogger(__name__)

# video, start and end of the four lines that VideoX's training file has in the wrong order
REVERSED = {("LEOL6", 8.0, 7.0), ("IOL8Q", 20.9, 12.0), ("AKKWU", 38.0, 13.0)}


class CharadesSTA(VideoTextBuilder):
    """Charades-STA: a sentence and the seconds of an indoor video in which it happens."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(
            name="vslnet",
            task="moments",
            description="VSLNet's files, four lines corrected: 12,408 train / 3,720 test",
        ),
        BenchmarkConfig(
            name="videox",
            task="moments",
            description="VideoX's files, the four lines left out: 12,404 train / 3,720 test",
        ),
    ]
    LAYOUT = (
        "It holds charades_sta_train.txt and charades_sta_test.txt, and Charades_v1_train.csv, Charades_v1_test.csv."
    )
    SOURCES = (
        *github(
            VSLNET,
            "data/dataset/charades",
            {
                "charades_sta_train.txt": (
                    622_487,
                    "e966fc1970cf6bc4cc73db2dd4fc10e148313810a372eef488defb0dd2ee359f",
                ),
                "charades_sta_test.txt": (186_686, "fab341679c20b0917173dcffffde367a71113fe63f3a645558cef2ebfbfefb55"),
            },
        ),
        *github(
            VIDEOX,
            "2D-TAN/data/Charades-STA",
            {
                "charades_sta_train.videox.txt": (
                    622_491,
                    "47ec9b6b488fca753373d9cc29b07a959f7237a922cb29463cd088cd6198e805",
                ),
            },
            original={"charades_sta_train.videox.txt": "charades_sta_train.txt"},
        ),
        *github(
            VIDEOX,
            "2D-TAN/data/Charades-STA",
            {
                "Charades_v1_train.csv": (
                    3_622_045,
                    "59273c6dc2139ec7eb95b980fd26bc8529774b1ede0602f6ca90b546ed12f0fc",
                ),
                "Charades_v1_test.csv": (
                    1_173_833,
                    "8b8b207b55fb95b949018027f69d83bd46cd844d15834f8f592ee8e7446173eb",
                ),
            },
        ),
        Source(
            "Charades_v1_480.zip",
            ("https://ai2-public-datasets.s3-us-west-2.amazonaws.com/charades/Charades_v1_480.zip",),
            kind="videos",
            unpack="videos",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        endings = (".videox.txt", ".txt") if config.name == "videox" else (".txt",)
        choices = {}
        for split in ("train", "test"):
            names = [f"charades_sta_{split}{ending}" for ending in endings]
            tables = [f"{folder}Charades_v1_{split}.csv" for folder in ("", "Charades/")]
            choices[split] = [
                *((name, table) for name, table in product(names, tables)),
                *((name,) for name in names),
            ]
        # the file with a table comes first, yet VideoX's own name decides over both
        return {
            split: sorted(names, key=lambda each: endings.index(suffix_of(each[0])))
            for split, names in choices.items()
        }

    @cached_property
    def durations(self) -> dict[Path, dict[str, float]]:
        """Length of each video in seconds, by table."""
        tables = {files[1] for files in self.annotations.values() if len(files) > 1}
        return {table: read_lengths(table) for table in sorted(tables)}

    def load_records(self, split: str, files: tuple[Path, ...]) -> Iterator[Record]:
        durations = self.durations[files[1]] if len(files) > 1 else None
        if durations is None:
            logger.warning(
                "%s: no Charades_v1_%s.csv lies there, ends beyond a video stay as they are", files[0], split
            )
        left_out, cut = [], 0
        for record in read_timed_lines(files[0]):
            video_id, start_s, end_s = (record.values[name] for name in ("video_id", "start_s", "end_s"))
            if self.config.name == "videox" and (video_id, start_s, end_s) in REVERSED:
                left_out.append(f"{video_id} (line {record.line})")
                continue
            duration_s = None
            if durations is not None:
                if video_id not in durations:
                    raise record.error(f"expected a video of {files[1].name}, got {video_id!r}")
                duration_s = durations[video_id]
                if start_s >= duration_s:
                    raise record.error(f"expected a start within the video of {duration_s} s, got {start_s}")
                cut += end_s > duration_s
                end_s = min(end_s, duration_s)
            more = {"end_s": end_s, "duration_s": duration_s, "moment_id": f"{split}-{record.line}"}
            yield Record({**record.values, **more}, record.file, record.line)
        if left_out:
            logger.warning("%s: left out %d moments that end before they begin: %s", files[0], len(left_out), left_out)
        if cut:
            logger.warning("%s: cut %d moments to the end of their video", files[0], cut)

    def video_path(self, record: Record) -> str:
        return self.find_media(record.values["video_id"], ".mp4")

    def text(self, record: Record) -> Iterator[dict]:
        yield record.values

    def video_facts(self) -> dict[str, VideoFacts]:
        return {
            video_id: VideoFacts(duration_s=duration_s)
            for lengths in self.durations.values()
            for video_id, duration_s in lengths.items()
        }


def read_lengths(table: Path) -> dict[str, float]:
    lengths = {}
    for row in read_csv(table):
        video_id, length = row.require("id"), row.number("length")
        if video_id in lengths or length <= 0:
            raise row.error(f"expected every 'id' once with a 'length' in seconds, got {video_id!r} and {length}")
        lengths[video_id] = length
    return lengths


def suffix_of(name: str) -> str:
    """`.videox.txt` of `charades_sta_train.videox.txt`."""
    return name[name.index(".") :]
