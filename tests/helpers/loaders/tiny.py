# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A complete loader: what a benchmark with its own layout has to say, and no more."""

from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoTextBuilder
from clipbert.datasets_scripts.building.records import read_jsonl


class TinyBenchmark(VideoTextBuilder):
    """The least a loader of a benchmark with its own layout has to say."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(name="full", task="retrieval", description="all captions"),
        BenchmarkConfig(name="questions", task="qa", description="one question a video"),
    ]
    LAYOUT = "It holds part_1.jsonl and part_2.jsonl."

    @classmethod
    def annotation_files(cls, config):
        return {"train": sorted(Path(config.data_dir).glob("part_*.jsonl"))}

    def load_records(self, split, files):
        for path in files:
            yield from read_jsonl(path)

    def video_path(self, record):
        return Path(self.config.data_dir) / f"{record.require('clip')}.avi"

    def text(self, record):
        if self.config.task == "qa":
            answer = {"answer": "yes", "options": [], "answer_index": None, "answer_type": ""}
            yield {"video_id": record.values["clip"], "question": "is it?", **answer}
        else:
            for sentence in record.require("sentences", list):
                yield {"video_id": record.values["clip"], "caption": sentence}
