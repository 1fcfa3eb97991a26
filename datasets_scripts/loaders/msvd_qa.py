# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""MSVD-QA: 50,505 open-ended questions, made by machine from the captions of MSVD.

    load_benchmark("msvd_qa", split="test", data_dir="annotations/msvd_qa", video_dir="YouTubeClips")

Source:    https://github.com/xudejing/video-question-answering (Xu et al. 2017; the files are on a sharing host named
           there).
Licence:   none is stated for the questions, which are for research; the clips are those of `msvd` and belong to their
           owners on YouTube.
Layout:    `train_qa.json`, `val_qa.json`, `test_qa.json`, lists of {"id", "video_id": 1301, "question", "answer"}, and
           `youtube_mapping.txt` of MSVD with lines such as `-4wsuPCjDBc_5_15 vid1`.
Splits:    train 30,933 questions on 1,200 clips, validation 6,415 on 100, test 13,157 on 670.
Videos:    `-4wsuPCjDBc_5_15.avi` for the number 1: `youtube_mapping.txt` has the name, as in the retrieval task, so
           that the ids of both agree. Any container, any folder below `video_dir`.
Odd cases: a number without a line in `youtube_mapping.txt` is an error. Spelling and `answer_type` as in MSRVTT-QA.
           The name of a clip holds its recording (the YouTube id) and its length (start and end, in seconds).
"""

from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoFacts
from clipbert.datasets_scripts.building.records import WHOLE, Record, read_lines
from clipbert.datasets_scripts.fetching.sources import by_hand
from clipbert.datasets_scripts.loaders.msrvtt_qa import MSRVTTQA
from clipbert.datasets_scripts.loaders.msvd import clip_facts


class MSVDQA(MSRVTTQA):
    """Open-ended questions on the clips of MSVD, answered by one word."""

    BUILDER_CONFIGS = [BenchmarkConfig(name="open_ended", task="qa", description="one-word answers on MSVD's clips")]
    LAYOUT = "It holds train_qa.json, val_qa.json, test_qa.json and youtube_mapping.txt."
    SOURCES = (
        by_hand(
            "train_qa.json, val_qa.json, test_qa.json and youtube_mapping.txt",
            "They are in the archive that https://github.com/xudejing/video-question-answering names, on Google Drive.",
            kind="annotations",
        ),
        by_hand(
            "videos/<clip>.avi",
            "The videos of msvd: fetch those, and give their folder as `video_dir`.",
        ),
    )

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        names = {"train": "train", "validation": "val", "test": "test"}
        return {split: [(f"{name}_qa.json", "youtube_mapping.txt")] for split, name in names.items()}

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        questions, mapping = files
        self.clips = {number: record.values["clip"] for number, record in read_mapping(mapping).items()}
        yield from super().load_records(split, [questions])

    def video_name(self, record: Record) -> str:
        number = record.number("video_id", int)
        if number not in self.clips:
            raise record.error(
                f"expected a video of youtube_mapping.txt, got {number}, and it has no line 'vid{number}'"
            )
        return self.clips[number]

    def video_path(self, record: Record) -> str:
        return self.find_media(self.video_name(record), ".avi")

    def video_facts(self) -> dict[str, VideoFacts]:
        mapping = next(iter(self.annotations.values()))[1]
        clips = {record.values["clip"]: record for record in read_mapping(mapping).values()}
        return {clip: VideoFacts(*clip_facts(record, clip)) for clip, record in clips.items()}


def read_mapping(path: Path) -> dict[int, Record]:
    """Number of each video -> the line that names its clip."""
    clips = {}
    for record in read_lines(path):
        clip, _, name = record.values["line"].partition(" ")
        number = name.strip().removeprefix("vid")
        if not (name.startswith("vid") and WHOLE.fullmatch(number)):
            raise record.error(f"expected a clip and its name such as 'vid12', got {record.values['line']!r}")
        if int(number) in clips:
            raise record.error(f"expected every video once, got vid{number} as in {clips[int(number)].place}")
        clips[int(number)] = Record({"clip": clip}, path, record.line)
    return clips
