# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""QVHighlights: all the moments of a YouTube clip that a query describes; and jsonl files of its style.

    load_benchmark("qvhighlights", config="moments", split="train", data_dir="qvhighlights")
    load_benchmark("qvhighlights", config="queries", split="test", data_dir="qvhighlights")

Source:    https://github.com/jayleicn/moment_detr, folder `data` (Lei et al. 2021)
Licence:   annotations CC BY-NC-SA 4.0; the videos belong to their uploaders, under YouTube's terms.
Layout:    `highlight_train_release.jsonl`, `highlight_val_release.jsonl`, `highlight_test_release.jsonl`, or `train.jsonl`,
           `val.jsonl`, `test.jsonl` of the same form, flat or in `data/`:
           {"qid": 8737, "query": "A family plays.", "duration": 126, "vid": "bP5KfdFJzC4_660.0_810.0",
            "relevant_windows": [[0, 16]], "relevant_clip_ids": [...], "saliency_scores": [...]}
Splits:    7,218 train / 1,550 validation / 1,542 test queries.
Videos:    `<vid>.mp4`: the YouTube id, start and end of the clip. Clips of one YouTube video are one recording.
Odd cases: a query has one or more windows. In `moments` each is a row, with `moment_id` `<qid>-<number of the window>`; rows
           with one `question_id`, the qid, are one query. The windows of the test split are held back, so that `moments` has no test split
           (a test file with windows is read); `queries` gives the queries of all splits with their videos. The columns
           of moments have no place for the saliency of clips: read it from the file for highlight detection.
           `python train_scripts/rescore.py PREDICTIONS --write_submission FILE` writes answers as the evaluation of the authors reads them.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoFacts, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import Record, is_number, read_jsonl
from clipbert.datasets_scripts.fetching.sources import Source, github


logger = logging.getLogger(__name__)

NAMES = {"train": "train", "validation": "val", "test": "test"}


class QVHighlights(VideoTextBuilder):
    """QVHighlights: queries with every moment that fits, in clips of 150 seconds."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(
            name="moments", task="moments", description="one row per window of a query; test windows are held back"
        ),
        BenchmarkConfig(
            name="queries",
            task="retrieval",
            description="one row per query, without windows: all splits, for predictions",
        ),
    ]
    LAYOUT = "It holds highlight_train_release.jsonl, highlight_val_release.jsonl and highlight_test_release.jsonl."
    SOURCES = (
        *github(
            "jayleicn/moment_detr/1112fe94452c4b2f050e4fd08bbbf55c9c18055f",
            "data",
            {f"highlight_{split}_release.jsonl": (None, None) for split in ("train", "val", "test")},
        ),
        Source(
            "qvhilights_videos.tar.gz",
            ("https://nlp.cs.unc.edu/data/jielei/qvh/qvhilights_videos.tar.gz",),
            kind="videos",
            unpack="videos",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        patterns = ("highlight_{}_release.jsonl", "data/highlight_{}_release.jsonl", "{}.jsonl")
        return {split: [(pattern.format(name),) for pattern in patterns] for split, name in NAMES.items()}

    @classmethod
    def annotation_files(cls, config: BenchmarkConfig) -> dict[str, tuple[Path, ...]]:
        found = super().annotation_files(config)
        if config.task == "moments" and "test" in found:
            first = next(read_jsonl(found["test"][0]), None)
            if first is not None and "relevant_windows" not in first.values and len(found) > 1:
                logger.warning(
                    "%s has no windows and gives no moments; config='queries' reads its queries", found.pop("test")[0]
                )
        return found

    def known_splits(self) -> dict[str, list[tuple[str, ...]]]:
        known = super().known_splits()
        if self.config.task == "moments":
            known["test"] = [("a test file with windows (the authors hold theirs back; config='queries' needs none)",)]
        return known

    def load_records(self, split: str, files: tuple[Path, ...]) -> Iterator[Record]:
        return read_jsonl(files[0])

    def video_path(self, record: Record) -> str:
        return self.find_media(record.require("vid"), ".mp4")

    def text(self, record: Record) -> Iterator[dict]:
        video_id, caption = record.values["vid"], record.require("query")
        qid = str(record.require("qid", (int, str)))
        if self.config.task == "retrieval":
            yield {"video_id": video_id, "caption": caption, "caption_id": qid}
            return
        duration_s = record.number("duration")
        for number, window in enumerate(record.require("relevant_windows", list)):
            if not isinstance(window, list) or [is_number(second) for second in window] != [True, True]:
                raise record.error(f"expected windows [start, end] in seconds, got {window!r}")
            span = {"start_s": float(window[0]), "end_s": float(window[1]), "duration_s": duration_s}
            ids = {"moment_id": f"{qid}-{number}", "question_id": qid}
            yield {"video_id": video_id, "caption": caption, **span, **ids}

    def video_facts(self) -> dict[str, VideoFacts]:
        facts = {}
        for files in self.annotations.values():
            for record in read_jsonl(files[0]):
                video_id = record.require("vid")
                match = re.fullmatch(r"(.{11})_[\d.]+_[\d.]+", video_id)
                facts[video_id] = VideoFacts(record.number("duration"), match[1] if match else None)
        return facts
