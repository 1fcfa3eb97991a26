# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""MSRVTT-QA: 243,680 open-ended questions, made by machine from the captions of MSR-VTT.

    load_benchmark("msrvtt_qa", split="test", data_dir="annotations/msrvtt_qa", video_dir="videos")

Source:    https://github.com/xudejing/video-question-answering (Xu et al. 2017; the files are on a sharing host named
           there). The tables are the re-packing of https://github.com/doc-doc/HQGA.
Licence:   none is stated for the questions (repository of the copy: MIT); MSR-VTT is for research, its videos belong
           to their owners on YouTube.
Layout:    `train_qa.json`, `val_qa.json`, `test_qa.json`, lists of {"id", "video_id": 7010, "question", "answer",
           ...}; or `train.csv`, `val.csv`, `test.csv` with the columns video, question, answer, qid, type. A split
           that lies there in both layouts is read from the .json.
Splits:    train 158,581 questions on 6,513 videos, validation 12,278 on 497, test 72,821 on 2,990: the full split of
           MSR-VTT. A model trained for retrieval on the 9,000 videos of 1k-A has seen 1,990 of the test videos.
Videos:    `video7010.mp4` for the number 7010, in any container and any folder below `video_dir`.
Odd cases: both layouts give the same columns and ids. They differ in one thing: the tables have lost the question
           mark, and nothing puts it back, so train and evaluate on one layout. Grammar and spelling are those of the
           captions ("who s soccer match with japan", "coversation") and stay. `answer_type` is the first word of the
           question: what, who, how, where or when (in test 49,869, 20,385, 1,640, 250 and 677), and "other" for any
           other word, which neither validation nor test has.
"""

from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import Record, read_csv, read_json_list
from clipbert.datasets_scripts.fetching.sources import HQGA, by_hand, github


QUESTION_WORDS = ("what", "who", "how", "where", "when")
TABLE_COLUMNS = {"video": "video_id", "qid": "id"}  # names of the tables -> names of the .json


class MSRVTTQA(VideoTextBuilder):
    """Open-ended questions on the videos of MSR-VTT, answered by one word."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(name="open_ended", task="qa", description="one-word answers; the full split of MSR-VTT")
    ]
    LAYOUT = "It holds train_qa.json, val_qa.json and test_qa.json, or the tables train.csv, val.csv and test.csv."
    SOURCES = (
        *github(
            HQGA,
            "dataset/msrvtt",
            {
                "train.csv": (None, None),
                "val.csv": (701_090, "ec530cdfe39a7307c1772bf846517f3700d0dbf18e2eeecb19ae118db7726ac6"),
                "test.csv": (4_180_859, "e19316619b3c45880f18ad36f12ca39bc46be0cbabc6c323da0121b288b5d758"),
            },
        ),
        *github(
            HQGA,
            "dataset/msrvtt",
            {"ans_word_4000.json": (57_098, "35d2bba37dacb1697ccc1c0a2e563d029427ff3ff514967f7d8c133321f2c498")},
            original={"ans_word_4000.json": "ans_word.json"},
        ),
        by_hand(
            "videos/video<N>.mp4",
            "The videos of msrvtt: fetch those, and give their folder as `video_dir`.",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        names = {"train": "train", "validation": "val", "test": "test"}
        return {split: [(f"{name}_qa.json",), (f"{name}.csv",)] for split, name in names.items()}

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        for record in read_csv(files[0]) if files[0].suffix == ".csv" else read_json_list(files[0]):
            values = {TABLE_COLUMNS.get(name, name): value for name, value in record.values.items()}
            yield Record(values, record.file, record.line, record.entry)

    def video_name(self, record: Record) -> str:
        """Name of the file without its suffix, which is also the `video_id`."""
        return f"video{record.number('video_id', int)}"

    def video_path(self, record: Record) -> str:
        return self.find_media(self.video_name(record), ".mp4")

    def text(self, record: Record) -> Iterator[dict]:
        question = record.require("question")
        yield {
            "video_id": self.video_name(record),
            "question": question,
            "answer": record.require("answer"),
            "options": [],
            "answer_index": None,
            "answer_type": question_word(question),
            "question_id": str(record.number("id", int)),
        }


def question_word(question: str) -> str:
    """The kind of a question: its first word, or "other"."""
    word = question.split(maxsplit=1)[0].lower()
    return word if word in QUESTION_WORDS else "other"
