# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Kinetics-400: which of 400 actions ten seconds of a YouTube video show.

    load_benchmark("kinetics400", split="validation", data_dir="kinetics400")

Source:    https://github.com/cvdfoundation/kinetics-dataset (clips and annotations), https://github.com/activitynet/ActivityNet
           (`Crawler/Kinetics/data`), https://storage.googleapis.com/deepmind-media/Datasets/kinetics400.tar.gz
Licence:   annotations CC BY 4.0 (Google); the clips belong to their uploaders, under YouTube's terms.
Layout:    `kinetics-400_train.csv`, `kinetics-400_val.csv`, `kinetics-400_test.csv`, or `train.csv`, `validate.csv` (or
           `val.csv`), `test.csv`, flat or in `kinetics400/` or `annotations/`; optional `label_map_k400.txt`.
Splits:    train / validation / test; of ActivityNet's files validation has 19,906 clips and test 38,685. Other copies
           differ by some clips, and every mirror has lost others.
Videos:    `<youtube_id>_<start, 6 digits>_<end, 6 digits>.mp4`, flat or in any folders. Clips of one YouTube video are one
           recording.
Odd cases: classes are numbered as in `label_map_k400.txt`, else by alphabet (the same order if all 400 occur). The test
           files of ActivityNet and DeepMind have no column "label": labels are null there; that of CVDF has them.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoFacts, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import Record, read_csv, read_lines
from clipbert.datasets_scripts.fetching.sources import ACTIVITYNET, MMACTION2, by_hand, github


FILES = {
    "train": ("kinetics-400_train.csv", "train.csv"),
    "validation": ("kinetics-400_val.csv", "validate.csv", "val.csv"),
    "test": ("kinetics-400_test.csv", "test.csv"),
}
SPLIT_NAMES = {"train": {"train"}, "validation": {"val", "validate", "validation"}, "test": {"test"}}
LABEL_MAP = "label_map_k400.txt"


class Kinetics400(VideoTextBuilder):
    """Kinetics-400 action recognition: clips of ten seconds, 400 classes."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(name="k400", task="classification", description="400 classes; test labels are held back")
    ]
    LAYOUT = (
        f"It holds kinetics-400_train.csv, kinetics-400_val.csv, kinetics-400_test.csv and optionally {LABEL_MAP}."
    )
    SOURCES = (
        *github(
            ACTIVITYNET,
            "Crawler/Kinetics/data",
            {
                "kinetics-400_train.csv": (None, None),
                "kinetics-400_val.csv": (810_935, "358eaf47e7f80ebf9b17d49eb0635ad5e0fdab98a9cbd75ffdd2ee5d5e5b6944"),
                "kinetics-400_test.csv": (897_655, "0b44427a620e5b2157c412ea4b7bac3f843582367377b33a8b0daa3f9de861c0"),
            },
        ),
        *github(
            MMACTION2,
            "tools/data/kinetics",
            {
                "label_map_k400.txt": (5_956, "e9f2806fe9109b851a80a74841244f6f8c9d10917fa0229cd82bab67f2f8e28f"),
            },
        ),
        by_hand(
            "videos/<YouTube id>_<start>_<end>.mp4",
            "Fetch the tar files that https://s3.amazonaws.com/kinetics/400/{train,val,test}/k400_{train,val,test}_path.txt "
            "list (about 450 GB) and unpack them. Start and end have six digits, as in 0wR5jVB-WPk_000417_000427.mp4.",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES
    IN_PARTS = True

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        names = {
            split: [f"{folder}{name}" for folder in ("", "kinetics400/", "annotations/") for name in choices]
            for split, choices in FILES.items()
        }
        # the map changes the numbers, so it belongs to the files that the cache depends on
        return {
            split: [*((name, LABEL_MAP) for name in choices), *((name,) for name in choices)]
            for split, choices in names.items()
        }

    def class_names(self) -> list[str]:
        files = next(iter(self.annotations.values()))
        if len(files) > 1:
            return [record.values["line"].strip() for record in read_lines(files[1])]
        rows = (row for split in self.annotations for row in read_csv(self.annotations[split][0]))
        names = sorted({row.require("label") for row in rows if "label" in row.values})
        if not names:
            raise FileNotFoundError(f"{files[0]} names no class: place {LABEL_MAP} or another split next to it.")
        return names

    @cached_property
    def known_classes(self) -> frozenset[str]:
        return frozenset(self.class_names())

    def load_records(self, split: str, files: tuple[Path, ...]) -> Iterator[Record]:
        for record in read_csv(files[0]):
            start_s, end_s = record.number("time_start", int), record.number("time_end", int)
            if not 0 <= start_s < end_s:
                raise record.error(f"expected 0 <= time_start < time_end, got {start_s} and {end_s}")
            if record.values.get("split", split) not in SPLIT_NAMES[split]:
                raise record.error(f"expected a row of the split {split!r}, got {record.values['split']!r}")
            label = record.require("label") if split != "test" or "label" in record.values else None
            if label is not None and label not in self.known_classes:
                raise record.error(f"expected one of the {len(self.known_classes)} classes, got {label!r}")
            youtube_id = record.require("youtube_id")
            values = {"name": f"{youtube_id}_{start_s:06d}_{end_s:06d}", "label": label, "youtube_id": youtube_id}
            yield Record({**values, "duration_s": float(end_s - start_s)}, record.file, record.line)

    def video_path(self, record: Record) -> str:
        return self.find_media(record.values["name"], ".mp4")

    def text(self, record: Record) -> Iterator[dict]:
        values = record.values
        yield {"video_id": values["name"], "label": values["label"], "recording": values["youtube_id"]}

    def video_facts(self) -> dict[str, VideoFacts]:
        facts = {}
        for split, files in self.annotations.items():
            for record in self.load_records(self.source_of(split), files):
                values = record.values
                facts[values["name"]] = VideoFacts(values["duration_s"], values["youtube_id"])
        return facts
