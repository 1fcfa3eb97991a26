# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""TACoS: kitchen videos of some minutes, in which each step of a recipe is told in many ways.

    load_benchmark("tacos", split="test", data_dir="tacos")

Source:    M. Regneri et al., "Grounding Action Descriptions in Videos", TACL 2013; in the copy of microsoft/VideoX (2D-TAN).
           Videos: MPII Cooking Composite Activities.
Licence:   none stated for the sentences; MPII Cooking is for research.
Layout:    `train.json`, `val.json`, `test.json`:
           {"s34-d28.avi": {"timestamps": [[201, 487], ...], "sentences": [...], "num_frames": 11800, "fps": 29.4}, ...}
Splits:    75 train / 27 validation / 25 test videos (p). 2D-TAN's files have 9,790 / 4,436 / 4,001 sentences (p), those of
           TALL and VSLNet 10,146 / 4,589 / 4,083 (p): say which ones a figure stands on.
Videos:    `s34-d28.avi`, or in another container, in any folder.
Odd cases: timestamps are frame numbers: seconds are these by `fps`, the duration is `num_frames` by it. Sentences that begin and
           end in one frame are left out, as 2D-TAN does, and counted; ends beyond the video are cut and counted. Videos are
           minutes long and moments seconds, so that 128 segments are coarse: `python train_scripts/blind_moments.py` tells what
           segments can reach.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoFacts, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.moments import positive_number, timed_sentences
from clipbert.datasets_scripts.building.records import Record, read_json_dict
from clipbert.datasets_scripts.fetching.sources import VIDEOX, by_hand, github


logger = logging.getLogger(__name__)


class TACoS(VideoTextBuilder):
    """TACoS: a sentence and the seconds of a kitchen video in which it happens."""

    BUILDER_CONFIGS = [BenchmarkConfig(name="moments", task="moments", description="when a sentence happens")]
    LAYOUT = "It holds train.json, val.json and test.json."
    SOURCES = (
        *github(VIDEOX, "2D-TAN/data/TACoS", {f"{name}.json": (None, None) for name in ("train", "val", "test")}),
        by_hand(
            "videos/s<subject>-d<dish>.avi",
            "Fetch the videos of MPII Cooking Composite Activities from the page of its authors (Max Planck Institute for "
            "Informatics). Any container will do.",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        return {"train": [("train.json",)], "validation": [("val.json",)], "test": [("test.json",)]}

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        empty, cut = [], 0
        for name, record in read_json_dict(files[0]):
            video_id, fps = name_of(name), positive_number(record, "fps")
            duration_s, moments = duration_of(record), []
            for number, (start, end, sentence) in enumerate(timed_sentences(record)):
                if start >= end:
                    empty.append(f"{video_id}-{number}")
                    continue
                cut += end / fps > duration_s
                moments.append((number, start / fps, min(end / fps, duration_s), sentence.strip()))
            yield Record({"video_id": video_id, "duration_s": duration_s, "moments": moments}, files[0], entry=name)
        if empty or cut:
            shown = ", ".join(empty[:4]) or "none"
            logger.warning(
                f"{files[0]}: left out {len(empty)} moments without length ({shown}); cut {cut} to the end of their video"
            )

    def video_path(self, record: Record) -> str:
        return self.find_media(record.values["video_id"], ".avi")

    def text(self, record: Record) -> Iterator[dict]:
        video_id, duration_s = record.values["video_id"], record.values["duration_s"]
        for number, start_s, end_s, sentence in record.values["moments"]:
            times = {"start_s": start_s, "end_s": end_s, "duration_s": duration_s}
            yield {"video_id": video_id, "caption": sentence, **times, "moment_id": f"{video_id}-{number}"}

    def video_facts(self) -> dict[str, VideoFacts]:
        return {
            name_of(name): VideoFacts(duration_of(record))
            for files in self.annotations.values()
            for name, record in read_json_dict(files[0])
        }


def name_of(file: str) -> str:
    """`s34-d28` of `s34-d28.avi`."""
    return file.removesuffix(".avi")


def duration_of(record: Record) -> float:
    return positive_number(record, "num_frames") / positive_number(record, "fps")
