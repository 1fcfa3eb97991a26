# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Answers in the format of QVHighlights: written, read, scored, and refused by line."""

import json

import pytest

from clipbert.datasets_scripts.building.records import AnnotationError
from clipbert.train_scripts.engine.predictions import Evaluation, Predictions, write_predictions
from clipbert.train_scripts.tasks.moment_retrieval.submissions import (
    read_questions,
    read_submission,
    score_submission,
    write_submission,
)


def moment(start_s, end_s, score):
    return {"start_s": start_s, "end_s": end_s, "score": score}


QUESTIONS = [
    {
        "question_id": "8737",
        "video_id": "a",
        "caption": "Eine F\u00e4hre.",
        "windows": [[0, 10], [20, 30]],
        "duration_s": 150.0,
        "moments": [moment(50.0, 60.0, 0.2), moment(0.0, 10.0, 0.9)],
    },
    {
        "question_id": "x-1",
        "video_id": "b",
        "caption": "A cat.",
        "windows": [[0, 4]],
        "duration_s": 9.0,
        "moments": [],
    },
]


def test_round_trip(tmp_path):
    file = tmp_path / "submission.jsonl"
    write_submission(file, QUESTIONS)
    first, second = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert first == {
        "qid": 8737,  # a number, as in the annotations
        "query": "Eine F\u00e4hre.",
        "vid": "a",
        "pred_relevant_windows": [[0.0, 10.0, 0.9], [50.0, 60.0, 0.2]],
    }
    assert (second["qid"], second["pred_relevant_windows"]) == ("x-1", [])
    assert read_submission(file, QUESTIONS) == [QUESTIONS[0]["moments"][::-1], []]
    assert read_submission(file, QUESTIONS[::-1]) == [[], QUESTIONS[0]["moments"][::-1]]  # by name, not by line
    found = score_submission(file, QUESTIONS)
    assert (found["R1@0.7"], found["mAP@0.5"], found["num_examples"]) == (0.5, 0.25, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qid": 9}, "line 2: expected a query of those that are asked, got qid '9' of 'b'"),
        ({"vid": "a"}, "line 2: expected a query of those that are asked, got qid 'x-1' of 'a'"),
        ({"qid": 8737, "vid": "a"}, "line 2: expected every query once, got qid '8737' again"),
        ({"pred_relevant_windows": [[0, 1]]}, r"line 2: expected windows \[start, end, score\], got \[0, 1\]"),
        ({"pred_relevant_windows": [[0, 1, float("nan")]]}, r"line 2: expected windows \[start, end, score\]"),
        ({"pred_relevant_windows": None}, "line 2: expected a list 'pred_relevant_windows', got None"),
    ],
)
def test_what_is_no_answer_is_named(change, message, tmp_path):
    file = tmp_path / "submission.jsonl"
    write_submission(file, QUESTIONS)
    first, second = file.read_text(encoding="utf-8").splitlines()
    file.write_text(f"{first}\n{json.dumps({**json.loads(second), **change})}\n", encoding="utf-8")
    with pytest.raises(AnnotationError, match=rf"submission\.jsonl, {message}"):
        read_submission(file, QUESTIONS)
    file.write_text(f"{first}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no answer to 1 of 2 queries, the first of qid 'x-1'"):
        read_submission(file, QUESTIONS)


def test_questions_of_predictions(tmp_path):
    write_predictions(tmp_path / "moments", 3, Evaluation({}, Predictions("moment_retrieval", QUESTIONS)))
    assert read_questions(tmp_path / "moments") == QUESTIONS
    write_predictions(tmp_path / "others", 3, Evaluation({}, Predictions("retrieval", QUESTIONS)))
    with pytest.raises(ValueError, match="predictions of the task 'retrieval', not of 'moment_retrieval'"):
        read_questions(tmp_path / "others")
