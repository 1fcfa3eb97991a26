# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""TGIF-QA: questions on GIFs; which act is repeated, what comes before or after, how often, and what one frame shows.

    load_benchmark("tgif_qa", config="frameqa", split="test", data_dir="annotations/tgif_qa", video_dir="gifs")

Source:    https://github.com/YunseokJANG/tgif-qa, folder `dataset` (Jang et al. 2017); `frameqa_hqga` is the
           re-packing of https://github.com/doc-doc/HQGA, folder `dataset/tgifqa`.
Licence:   questions: free to use for academic purposes only; GIFs (TGIF, from Tumblr): approved non-commercial
           research.
Layout:    `Train_<config>_question.csv` and `Test_<config>_question.csv`, also below `dataset/`; for `frameqa_hqga`
           `frameqa_train_hqga.csv` (`frameqa/train.csv`, and `val`, `test` likewise).
Splits:    action      train 20,471, test 2,274      `options` has five acts; `answer_index` counts from 0
           transition  train 52,704, test 6,232      the same
           frameqa     train 39,392, test 13,691     one word; `answer_type` object, number, color or location
           count       train 26,839, test 3,554      0 or 2 to 10 as text, where 10 means 10 or more
           Its authors' readme says 20,475 and 26,843 for action and count; the published files have fewer rows. No
           part is for validation: `validation_fraction=0.1` holds out GIFs of train. ClipBERT's own choice is in
           `clipbert_jsonl`.
Videos:    `<gif_name>.gif`, or re-encoded in any container, in any folder below `video_dir`. The rows of
           `frameqa_hqga` name a GIF by its number (the column `key` of the other files): `<key>.gif`.
Odd cases: the files are separated by tabs, end lines with CR LF, and quotes in them are letters. In the frameqa files
           the letters "rep" have become "FRAMEQA" ("fiFRAMEQAlace", "FRAMEQAeatedly"; "frameqa" in HQGA). They are put
           back, in questions and answers alike, and the words are logged; a vocabulary built from these rows then says
           "reptile". `repair_words=False` keeps the files' spelling, for models whose answer list has it. HQGA's rows
           have no kind of answer, hyphens, quotes or question marks. Some GIFs are still images by now.
"""

import csv
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import Record, read_csv
from clipbert.datasets_scripts.fetching.sources import HQGA, by_hand, github


logger = logging.getLogger(__name__)

FRAMEQA_TYPES = {"0": "object", "1": "number", "2": "color", "3": "location"}
FAULT = re.compile("frameqa", re.IGNORECASE)


@dataclass
class TGIFQAConfig(BenchmarkConfig):
    """`repair_words` writes "rep" where the frameqa files have "FRAMEQA"."""

    task: str = "qa"
    repair_words: bool = True


class TGIFQA(VideoTextBuilder):
    """Multiple-choice and open-ended questions on GIFs."""

    BUILDER_CONFIG_CLASS = TGIFQAConfig
    BUILDER_CONFIGS = [
        TGIFQAConfig(name="action", description="what is done N times: one of five acts"),
        TGIFQAConfig(name="transition", description="what is done before or after: one of five acts"),
        TGIFQAConfig(name="frameqa", description="what one frame shows: an open-ended word; the official files"),
        TGIFQAConfig(name="count", description="how many times something is done: a number as text"),
        TGIFQAConfig(
            name="frameqa_hqga",
            description="the frameqa questions as HQGA has them: GIFs by number, no kind of answer, no punctuation",
        ),
    ]
    LAYOUT = "It holds Train_<config>_question.csv and Test_<config>_question.csv, or HQGA's tables for frameqa_hqga."
    SOURCES = (
        *github(
            "YunseokJANG/tgif-qa/9ecbbc7cb3d08300ddb6662b3dfd651914f3183f",
            "dataset",
            {
                "Train_action_question.csv": (
                    2_926_933,
                    "72ad4bb43639936dc918babe64ba71c93dc1cfe8f44683798461b682fc542bb0",
                ),
                "Test_action_question.csv": (
                    327_773,
                    "d5f023e0455225e882c46cf3c6b1248ec8d0e064204f4a78280129582a1f8aef",
                ),
                "Train_transition_question.csv": (None, None),
                "Test_transition_question.csv": (
                    1_003_560,
                    "9dc0554dca97776ed04acfe55d65913b6dd9096d083fd3a4981751f863edcb6a",
                ),
                "Train_frameqa_question.csv": (None, None),
                "Test_frameqa_question.csv": (
                    2_169_590,
                    "b7998e8ca0e06ba3f94b65ebda94c6fa1a8b8ba27226903ca53d413d2dfa40cd",
                ),
                "Train_count_question.csv": (
                    2_557_769,
                    "4f5aeab06524dd79f7b8b3f49c3458cd8471c4be52aebb5821c2df78f3eb9d38",
                ),
                "Test_count_question.csv": (
                    342_784,
                    "26bc6f83aa391b15e5a21b15cdb0786f0e9109dd081ea5a7e4ac656cc8168d27",
                ),
            },
        ),
        *github(
            HQGA,
            "dataset/tgifqa/frameqa",
            {
                "frameqa_train_hqga.csv": (
                    2_957_270,
                    "8b24e0a2f8853fc4c0fbf5b1915eec9c32226a62114f573766f8814f8f38b07b",
                ),
                "frameqa_test_hqga.csv": (None, None),
            },
            original={"frameqa_train_hqga.csv": "train.csv", "frameqa_test_hqga.csv": "test.csv"},
        ),
        by_hand(
            "gifs/<gif_name>.gif",
            "Fetch the addresses of data/tgif-v1.0.tsv in https://github.com/raingo/TGIF-Release (about 120 GB; the stem "
            "of the address is the gif_name; some now give a still picture), or ask the authors of "
            "https://github.com/YunseokJANG/tgif-qa for their copies on Google Drive and Dropbox.",
            status="gated",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def split_files(cls, config: TGIFQAConfig) -> dict[str, list[tuple[str, ...]]]:
        if config.name == "frameqa_hqga":
            names = {"train": "train", "validation": "val", "test": "test"}
            return {split: [(f"frameqa_{name}_hqga.csv",), (f"frameqa/{name}.csv",)] for split, name in names.items()}
        names = {split: f"{split.title()}_{config.name}_question.csv" for split in ("train", "test")}
        return {split: [(name,), (f"dataset/{name}",)] for split, name in names.items()}

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        if self.config.name == "frameqa_hqga":
            records = read_csv(files[0])
        else:
            records = read_csv(files[0], delimiter="\t", quoting=csv.QUOTE_NONE)
        repairs = self.config.repair_words and self.config.name.startswith("frameqa")
        yield from repair(records, files[0]) if repairs else records

    def video_path(self, record: Record) -> str:
        return self.find_media(self.gif_name(record), ".gif")

    def gif_name(self, record: Record) -> str:
        return record.require("video" if self.config.name == "frameqa_hqga" else "gif_name")

    def text(self, record: Record) -> Iterator[dict]:
        kind = self.config.name
        row = {"video_id": self.gif_name(record), "question": record.require("question"), "answer_type": kind}
        row |= {"options": [], "answer_index": None}
        if kind in ("action", "transition"):
            options = [record.require(f"a{number}") for number in range(1, 6)]
            index = answer_number(record, highest=4)
            row |= {"options": options, "answer_index": index, "answer": options[index]}
        elif kind == "count":
            row["answer"] = str(answer_number(record, highest=10))
        else:
            row["answer"] = record.require("answer")
            row["answer_type"] = answer_type(record) if kind == "frameqa" else ""
        yield row | {"question_id": record.require("qid" if kind == "frameqa_hqga" else "vid_id")}


def answer_number(record: Record, highest: int) -> int:
    number = record.number("answer", int)
    if not 0 <= number <= highest:
        raise record.error(f"expected 'answer' from 0 to {highest}, got {number}")
    return number


def answer_type(record: Record) -> str:
    number = record.require("type")
    if number not in FRAMEQA_TYPES:
        raise record.error(f"expected 'type' to be one of {', '.join(FRAMEQA_TYPES)}, got {number!r}")
    return FRAMEQA_TYPES[number]


def repair(records: Iterator[Record], path: Path) -> Iterator[Record]:
    """Put "rep" back into the questions and answers, and log the words."""
    words, repaired = set(), 0
    for record in records:
        values = record.values
        faulty = [name for name in ("question", "answer") if FAULT.search(values.get(name, ""))]
        if faulty:
            repaired += 1
            words.update(word for name in faulty for word in values[name].split() if FAULT.search(word))
            values = {**values, **{name: FAULT.sub("rep", values[name]) for name in faulty}}
            record = Record(values, record.file, record.line, record.entry)
        yield record
    if words:
        logger.warning('%s: put "rep" back into %d records: %s', path, repaired, ", ".join(sorted(words)))
