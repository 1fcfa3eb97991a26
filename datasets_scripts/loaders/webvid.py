# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""WebVid: stock-footage videos with the sentence they are sold under, for pre-training.

    load_benchmark("webvid", config="csv_2m", split="train", data_dir="webvid", on_missing="skip", streaming=True)
    load_benchmark("webvid", config="webdataset", split="train", data_dir="webvid_shards", streaming=True)

Source:    https://github.com/m-bain/webvid (Bain et al. 2021); the authors no longer hand out the csv files.
Licence:   non-commercial research (TERMS.md); withdrawn by its authors, the videos belong to their makers
           (Shutterstock).
Layout:    csv: `results_2M_train.csv`, `results_2M_val.csv` (10M alike) with the columns videoid, contentUrl, duration,
           page_dir, name; or the parts that `download.py` cuts them into: a folder `results_2M_train_<parts>/` of
           `0.csv`, `1.csv`, ... webdataset: `<anything>.tar` as video2dataset writes them, in `train/` and `val/` or flat.
Splits:    train of about 2.5 or 10.7 million, and validation of about 5,000.
Videos:    `<page_dir>/<videoid>.mp4` below `video_dir`, or below `videos/` in it, or flat `<videoid>.mp4`.
Odd cases: rows without page_dir (367 in one release of the training file) were never downloaded by the authors: they
           are left out and counted. Nothing is held in memory while streaming, so repeated ids go unnoticed. Workers
           and processes share files: one csv is one shard, so cut it into parts, or use tars. The videos that are gone
           need `on_missing="skip"`. Samples of tars are called `<shard>/<key>`; a shard that breaks off, or a sample
           without caption, is an error.
"""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoFacts, VideoTextBuilder
from clipbert.datasets_scripts.building.media import visible_files
from clipbert.datasets_scripts.building.records import AnnotationError, Record, read_csv
from clipbert.datasets_scripts.building.webdataset import find_shards, read_samples
from clipbert.datasets_scripts.fetching.sources import by_hand


logger = logging.getLogger(__name__)


class WebVid(VideoTextBuilder):
    """WebVid: millions of captioned stock videos, as csv with a folder or as tar archives."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(
            name="csv_2m",
            task="retrieval",
            description="results_2M_train.csv and _val.csv (2.5M subset), videos in a folder",
        ),
        BenchmarkConfig(
            name="csv_10m",
            task="retrieval",
            description="results_10M_train.csv and _val.csv (all), videos in a folder",
        ),
        BenchmarkConfig(
            name="webdataset",
            task="video_text",
            description="tar archives of videos with captions; rows hold the bytes",
        ),
    ]
    LAYOUT = (
        "It holds results_2M_train.csv and results_2M_val.csv (or 10M), or a folder of their parts, or .tar archives."
    )
    SOURCES = (
        by_hand(
            "results_2M_train.csv, results_2M_val.csv (or 10M) with videos next to them, or *.tar (WebDataset)",
            "No official address is left (https://github.com/m-bain/webvid); place the shards of a copy you hold.",
            kind="annotations",
            status="dead",
        ),
    )
    IS_HUGE = True
    DEFAULT_WRITER_BATCH_SIZE = 100  # rows may hold videos

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        if config.task == "video_text":
            return {}
        size = config.name.removeprefix("csv_").upper()
        return {
            split: [(f"results_{size}_{part}.csv",)] for split, part in (("train", "train"), ("validation", "val"))
        }

    @classmethod
    def annotation_files(cls, config: BenchmarkConfig) -> dict[str, list[Path] | tuple[Path, ...]]:
        if config.task == "video_text":
            return find_shards(config.data_dir)
        root, found = Path(config.data_dir), {}
        for split, [(name,)] in cls.split_files(config).items():
            folders = sorted(path for path in root.glob(f"{name.removesuffix('.csv')}_*") if path.is_dir())
            if (root / name).is_file():
                found[split] = [root / name]
            elif len(folders) > 1:
                raise ValueError(f"Expected one folder of parts of {name}, got {', '.join(map(str, folders))}")
            elif folders and (
                parts := sorted(visible_files(folders[0], ".csv"), key=lambda path: (len(path.name), path.name))
            ):
                found[split] = parts
        return found or super().annotation_files(config)

    @classmethod
    def content_digest(cls, config: BenchmarkConfig, files: list[Path]) -> str:
        root = config.video_dir or config.data_dir
        folders = filter(os.path.isdir, (root, f"{root}/videos"))  # which pages lie in them decides the paths
        return "-".join(
            [super().content_digest(config, files), *(f"{os.stat(path).st_mtime_ns:x}" for path in folders)]
        )

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        self.page_folders: dict[str, str] = {}
        left_out = 0
        for path in files:
            if self.config.task == "video_text":
                yield from read_samples(path)
                continue
            record = None
            for record in read_csv(path):
                if record.values.get("page_dir", "missing column") == "":
                    left_out += 1
                else:
                    yield record
            if record is None:
                raise AnnotationError(f"{path} holds no row")
        if left_out:
            logger.warning("%s: left out %d videos without page_dir", split, left_out)

    def video_path(self, record: Record) -> str | bytes:
        if self.config.task == "video_text":
            return record.values["video"]
        page, name = record.require("page_dir"), record.require("videoid")
        if "/" in name or ".." in page.split("/") or page.startswith("/"):
            raise record.error(f"expected a page_dir and videoid within the folder, got {page!r} and {name!r}")
        if page not in self.page_folders:
            folders = [f"{self.media_root}/{page}", f"{self.media_root}/videos/{page}"]
            self.page_folders[page] = next(filter(os.path.isdir, folders), "")
        if folder := self.page_folders[page]:
            return f"{folder}/{name}.mp4"
        flat = f"{self.media_root}/{name}.mp4"
        return flat if os.path.isfile(flat) else f"{self.media_root}/{page}/{name}.mp4"

    def text(self, record: Record) -> Iterator[dict]:
        if self.config.task == "video_text":
            name = f"{record.file.stem}/{record.values['key']}"
            yield {"video_id": name, "caption": record.values["caption"], "caption_id": name}
        else:
            name = record.values["videoid"]
            yield {"video_id": name, "caption": record.require("name"), "caption_id": name}

    def video_facts(self) -> dict[str, VideoFacts]:
        if self.config.task == "video_text":
            return {}
        facts = {}
        for split, files in self.annotations.items():
            for record in self.load_records(split, files):
                # `PT00H00M10S`
                match = re.fullmatch(r"PT([0-9]+)H([0-9]+)M([0-9]+)S", record.values.get("duration", ""))
                hours, minutes, seconds = map(int, match.groups()) if match else (0, 0, 0)
                facts[record.values["videoid"]] = VideoFacts(3600.0 * hours + 60 * minutes + seconds or None)
        return facts
