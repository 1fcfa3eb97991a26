# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The columns of each task, the same for every benchmark of it, and the check that every row passes."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from datasets import ClassLabel, Features, List, Value


UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class RowSchema:
    """Columns of the rows of a task, the one that identifies a row, the one with the file, and the check every row passes."""

    features: Features
    id_column: str
    check: Callable[[dict], None]
    media: str = "video"
    group_column: str | None = (
        None  # of what several rows may belong to; where a loader leaves it out, each row by itself
    )
    defaults: Mapping = field(default_factory=dict)  # of columns that a loader may leave out

    @property
    def holds_files(self) -> bool:
        """Whether rows have the bytes of a file, not its path."""
        return self.features[self.media].dtype != "string"


def check_texts(row: dict) -> None:
    """No table holds half a surrogate pair, which JSON may escape and names of files may have; no text a NUL."""
    for name, value in row.items():
        for text in value if isinstance(value, list) else (value,):
            if isinstance(text, str) and (found := UNSTORABLE.search(text)):
                raise ValueError(f"expected {name!r} to be text, got the character {found[0]!a} in {text!r:.200}")


def check_caption(row: dict) -> None:
    expect_text(row, "caption")


def check_question(row: dict) -> None:
    expect_text(row, "question")
    expect_text(row, "answer")
    expect_type(row)
    options, index = row["options"], row["answer_index"]
    if not options and index is None:
        return
    if len(options) < 2 or not all(isinstance(option, str) and option.strip() for option in options):
        raise ValueError(f"expected 'options' to be at least two texts, got {options!r}")
    if index is None or not 0 <= index < len(options) or options[index] != row["answer"]:
        raise ValueError(f"expected 'answer' to be exactly one of the options {options!r}, got {row['answer']!r}")


def check_image_question(row: dict) -> None:
    expect_text(row, "question")
    expect_type(row)
    answers, scores = row["soft_answers"], row["soft_scores"]
    if len(answers) != len(scores) or not all(0 < score <= 1 for score in scores):
        raise ValueError(f"expected one score in (0, 1] for each of {answers!r}, got {scores!r}")


def check_moment(row: dict) -> None:
    expect_text(row, "caption")
    start_s, end_s, duration_s = row["start_s"], row["end_s"], row["duration_s"]
    if not all(math.isfinite(seconds) for seconds in (start_s, end_s, duration_s or 0.0)) or not 0 <= start_s < end_s:
        raise ValueError(f"expected 0 <= start_s < end_s in seconds, got {start_s} and {end_s}")
    if duration_s is not None and end_s > duration_s + 0.5:  # annotators round, players overrun
        raise ValueError(f"expected end_s within the video of {duration_s} s, got {end_s}")


def check_alignment(row: dict) -> None:
    expect_text(row, "caption")
    start_s, end_s = row["start_s"], row["end_s"]
    if not (math.isfinite(start_s) and math.isfinite(end_s) and 0 <= start_s <= end_s):
        raise ValueError(f"expected 0 <= start_s <= end_s in seconds, got {start_s} and {end_s}")


def check_class(row: dict) -> None:
    labels = row["label"] if isinstance(row["label"], list) else [row["label"]]
    if not all(isinstance(label, str | None) for label in labels) or len(set(labels)) < len(labels):
        raise ValueError(
            f"expected the name of a class, None where labels are not public, or a list of classes, got {row['label']!r}"
        )
    if row.get("recording") is not None:
        expect_text(row, "recording")


def check_boxes(row: dict) -> None:
    counts = {name: len(row[name]) for name in ("boxes", "labels", "person_ids")}
    if len(set(counts.values())) > 1 or not (row["boxes"] or row["proposals"]):
        raise ValueError(
            f"expected as many boxes as labels and person_ids, one box or proposal at least, got {counts}"
        )
    for box in (*row["boxes"], *row["proposals"]):
        x1, y1, x2, y2, *scores = box
        if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1) or not all(0 <= score <= 1 for score in scores):
            raise ValueError(f"expected boxes x1 < x2, y1 < y2 in [0, 1], and scores in [0, 1], got {box}")


def expect_text(row: dict, name: str) -> None:
    if not isinstance(row.get(name), str) or not row[name].strip():
        raise ValueError(f"expected {name!r} to be a non-empty text, got {row.get(name)!r}")


def expect_type(row: dict) -> None:
    if not isinstance(row["answer_type"], str):
        raise ValueError(f"expected 'answer_type' to be a text, got {row['answer_type']!r}")


TEXT = Value("string")
ROW_SCHEMAS = {
    "retrieval": RowSchema(
        Features({"video_id": TEXT, "video": TEXT, "caption": TEXT, "caption_id": TEXT}), "caption_id", check_caption
    ),
    "video_text": RowSchema(  # as retrieval, with the file itself: streamed archives
        Features({"video_id": TEXT, "video": Value("large_binary"), "caption": TEXT, "caption_id": TEXT}),
        "caption_id",
        check_caption,
    ),
    "qa": RowSchema(
        Features(
            {
                "video_id": TEXT,
                "video": TEXT,
                "question": TEXT,
                "answer": TEXT,
                "options": List(TEXT),  # empty for open-ended questions
                "answer_index": Value("int32"),  # of the answer among the options; null without options
                "answer_type": TEXT,
                "question_id": TEXT,
            }
        ),
        "question_id",
        check_question,
    ),
    "moments": RowSchema(
        Features(
            {
                "video_id": TEXT,
                "video": TEXT,
                "caption": TEXT,
                "start_s": Value("float64"),
                "end_s": Value("float64"),
                "duration_s": Value("float64"),  # null where the annotation does not say
                "moment_id": TEXT,
                "question_id": TEXT,  # rows of one question are all the windows that answer it
            }
        ),
        "moment_id",
        check_moment,
        group_column="question_id",
    ),
    "alignment": RowSchema(  # the sentences of a video stand in the order in which they are said
        Features(
            {
                "video_id": TEXT,
                "video": TEXT,
                "caption": TEXT,
                "alignable": Value(
                    "bool"
                ),  # whether it is seen; then the seconds are those in which it is, else in which it is said
                "start_s": Value("float64"),
                "end_s": Value("float64"),
                "sentence_id": TEXT,
            }
        ),
        "sentence_id",
        check_alignment,
    ),
    "classification": RowSchema(
        Features(
            {
                "video_id": TEXT,
                "video": TEXT,
                "label": ClassLabel(num_classes=0),
                "recording": TEXT,  # key of what the clip was cut from; null where nobody knows
            }
        ),
        "video_id",
        check_class,
        defaults={"recording": None},
    ),
    "detection": RowSchema(  # a row is one annotated second; a person may do several things at once
        Features(
            {
                "video_id": TEXT,
                "video": TEXT,
                "timestamp_s": Value("float64"),
                "boxes": List(List(Value("float64"))),  # (people, 4): x1, y1, x2, y2 in [0, 1]
                "labels": List(List(ClassLabel(num_classes=0))),  # (people, actions of that person)
                "person_ids": List(TEXT),
                "keyframe_id": TEXT,
                "proposals": List(List(Value("float64"))),  # (boxes, 5) of a detector: the same, and its score
            }
        ),
        "keyframe_id",
        check_boxes,
        defaults={"proposals": ()},
    ),
    "image_text": RowSchema(
        Features({"image_id": TEXT, "image": TEXT, "caption": TEXT, "caption_id": TEXT}),
        "caption_id",
        check_caption,
        media="image",
    ),
    "image_qa": RowSchema(
        Features(
            {
                "image_id": TEXT,
                "image": TEXT,
                "question": TEXT,
                "answer": TEXT,  # the most frequent one; null where answers are not public
                "answer_type": TEXT,
                "soft_answers": List(TEXT),  # distinct normalised answers
                "soft_scores": List(Value("float64")),  # VQA score of each, in (0, 1]
                "question_id": TEXT,
            }
        ),
        "question_id",
        check_image_question,
        media="image",
    ),
}
