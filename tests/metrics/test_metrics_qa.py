# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Metrics of question answering: by hand, against the official numbers, and through `evaluate`."""

import json

import evaluate
import numpy as np
import pytest

from clipbert.metrics.multiple_choice import compute_multiple_choice_metrics
from clipbert.metrics.video_qa import compute_count_metrics, compute_video_qa_metrics
from clipbert.metrics.vqa_score import compute_vqa_score


@pytest.fixture(scope="module")
def recorded(small_parity_dir):
    records = json.loads((small_parity_dir / "metrics" / "qa_metrics.json").read_text())
    return {record["task"]: record for record in records}


def by_id(rows, value):
    return {row["question_id"]: row[value] for row in rows}


def scores_for(choices, num_options):
    """Scores that lead to these choices."""
    return np.eye(num_options)[choices]


# ----------------------------------------------------------------------------------------------------------------------
# Open-ended answers
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["frameqa", "msrvtt_qa"])
def test_video_qa_equals_the_official_numbers(recorded, task):
    record = recorded[task]
    given = by_id(record["predictions"], "answer")
    answers = [record["label2ans"][str(given[row["question_id"]])] for row in record["data"]]
    gold, types = ([row[name] for row in record["data"]] for name in ("answer", "answer_type"))
    metrics = compute_video_qa_metrics(answers, gold, types)
    theirs = record["metrics"]
    assert metrics["accuracy"] == pytest.approx(theirs["overall_acc"], rel=1e-12)
    for name, (_, count) in theirs["ratios"].items():
        kind = name.removesuffix("_ratio")
        assert metrics.get(f"num_examples_{kind}", 0) == count
        if count:
            assert metrics[f"accuracy_{kind}"] == pytest.approx(theirs[f"{kind}_acc"], rel=1e-12)
        else:
            assert f"accuracy_{kind}" not in metrics


def test_video_qa_by_hand():
    metrics = compute_video_qa_metrics(
        ["dog", "two", "cat", "red"], ["dog", "six", "cat", "rust"], ["a", "b", "a", ""]
    )
    assert metrics == {
        "accuracy": 0.5,
        "num_examples": 4,
        "accuracy_a": 1.0,
        "num_examples_a": 2,
        "accuracy_b": 0.0,
        "num_examples_b": 1,
    }
    assert compute_video_qa_metrics(["dog"], ["Dog"]) == {"accuracy": 0.0, "num_examples": 1}


@pytest.mark.parametrize("arguments", [([], []), (["a"], ["a", "b"]), (["a"], ["a"], ["x", "y"])])
@pytest.mark.parametrize("compute", [compute_video_qa_metrics, compute_vqa_score])
def test_questions_and_answers_have_to_go_together(compute, arguments):
    with pytest.raises(ValueError, match="one prediction and one type for each question, at least one"):
        compute(*arguments)


# ----------------------------------------------------------------------------------------------------------------------
# Counts
# ----------------------------------------------------------------------------------------------------------------------


def test_counts_are_rounded_and_clipped_first():
    metrics = compute_count_metrics([1.49, 2.5, 3.5, -4.0, 99.0], [1, 3, 4, 2, 10], count_range=(2, 10))
    assert metrics == {"accuracy": 4 / 5, "mean_squared_error": 1 / 5, "num_examples": 5}  # 2, 3, 4, 2, 10
    with pytest.raises(ValueError, match=r"finite predictions, got \[nan\]"):
        compute_count_metrics([float("nan")], [1], (0, 10))
    with pytest.raises(ValueError, match="one count for each question"):
        compute_count_metrics([1.0], [1, 2], (0, 10))
    with pytest.raises(ValueError, match="at least one"):
        compute_count_metrics([], [], (0, 10))


# ----------------------------------------------------------------------------------------------------------------------
# Options
# ----------------------------------------------------------------------------------------------------------------------


def test_multiple_choice_equals_the_official_numbers(recorded):
    action, retrieval = recorded["action"], recorded["msrvtt_mc"]
    given, gold = by_id(action["predictions"], "answer"), by_id(action["data"], "answer")
    for ties in ("average", "first"):
        metrics = compute_multiple_choice_metrics(scores_for([given[i] for i in gold], 5), list(gold.values()), ties)
        assert metrics["accuracy"] == pytest.approx(action["metrics"]["overall_acc"], rel=1e-12)
    choices = [retrieval["predictions"][question] for question in retrieval["answers"]]
    metrics = compute_multiple_choice_metrics(scores_for(choices, 5), list(retrieval["answers"].values()))
    assert f"{100 * metrics['accuracy']:.2f}" == retrieval["metrics"]["mc_accuracy"]
    assert metrics["chance_accuracy"] == pytest.approx(0.2) and metrics["num_examples"] == 20


def test_multiple_choice_by_hand():
    scores = [[0.1, 0.9], [0.4, 0.4, 0.2, 0.1], [-np.inf, -3.0]]
    metrics = compute_multiple_choice_metrics(scores, [0, 1, 1])
    assert metrics == {"accuracy": (0 + 0.5 + 1) / 3, "chance_accuracy": (0.5 + 0.25 + 0.5) / 3, "num_examples": 3}
    assert compute_multiple_choice_metrics(scores, [0, 1, 1], ties="first")["accuracy"] == pytest.approx(1 / 3)
    assert compute_multiple_choice_metrics(scores, [0, 0, 1], ties="first")["accuracy"] == pytest.approx(2 / 3)


def test_constant_scores_are_chance_level():
    gold = np.random.default_rng(0).integers(0, 5, 200)
    metrics = compute_multiple_choice_metrics(np.zeros((200, 5)), gold)
    assert metrics["accuracy"] == pytest.approx(metrics["chance_accuracy"]) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("scores", "gold", "ties", "message"),
    [
        ([], [], "average", "at least one"),
        ([[0.1, 0.2]], [0, 1], "average", "each question, at least one, got 1 and 2"),
        ([[0.1, 0.2]], [2], "average", r"Question 0: expected option 2 among the scores, got shape \(2,\)"),
        ([[0.1, 0.2], [0.1, 0.2]], [0, -1], "average", "Question 1: expected option -1"),
        ([[0.1, np.nan]], [0], "average", "Question 0: expected scores without NaN"),
        ([[0.1, 0.2]], [0], "last", "'average' or 'first', got 'last'"),
    ],
)
def test_options_that_cannot_be_scored_are_refused(scores, gold, ties, message):
    with pytest.raises(ValueError, match=message):
        compute_multiple_choice_metrics(scores, gold, ties)


# ----------------------------------------------------------------------------------------------------------------------
# Soft scores
# ----------------------------------------------------------------------------------------------------------------------


def test_vqa_score_equals_the_official_numbers(recorded):
    record = recorded["vqa"]
    given = by_id(record["predictions"], "answer")
    answers = [given[row["question_id"]] for row in record["data"]]
    metrics = compute_vqa_score(
        answers, [row["labels"] for row in record["data"]], [row["answer_type"] for row in record["data"]]
    )
    theirs = record["metrics"]
    assert metrics["vqa_score"] == pytest.approx(theirs["overall_acc"], rel=1e-12)
    for kind in ("yes/no", "number", "other"):
        assert metrics[f"vqa_score_{kind}"] == pytest.approx(theirs[f"{kind}_acc"], rel=1e-12)
        assert metrics[f"num_examples_{kind}"] == theirs["ratios"][f"{kind}_ratio"][1]


def test_vqa_score_by_hand():
    soft = [{"red": 1.0, "dark red": 0.6}, {"2": 0.9}, {}]
    metrics = compute_vqa_score(["dark red", "2", "2"], soft, ["other", "number", "number"])
    assert metrics == {
        "vqa_score": pytest.approx(0.5),
        "num_examples": 3,
        "vqa_score_number": 0.45,
        "num_examples_number": 2,
        "vqa_score_other": 0.6,
        "num_examples_other": 1,
    }
    with pytest.raises(ValueError, match=r"Question 1: expected scores in \[0, 1\], got .*1.2"):
        compute_vqa_score(["a", "b"], [{"a": 1.0}, {"b": 1.2}])


# ----------------------------------------------------------------------------------------------------------------------
# As modules of `evaluate`
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def load_module(request, tmp_path):
    return lambda name: evaluate.load(str(request.config.rootpath / "metrics" / name), cache_dir=str(tmp_path))


def test_evaluate_loads_video_qa(load_module):
    metric = load_module("video_qa")
    metric.add_batch(predictions=["a", "b"], references=["a", "c"])
    metric.add(prediction="d", reference="d")
    types = ["what", "what", "who"]
    assert metric.compute(answer_types=types) == compute_video_qa_metrics(["a", "b", "d"], ["a", "c", "d"], types)
    assert metric.compute(predictions=["a"], references=["b"]) == {"accuracy": 0.0, "num_examples": 1}


def test_evaluate_loads_multiple_choice(load_module):
    metric = load_module("multiple_choice")
    scores, gold = [[0.1, 0.7], [0.5, 0.5], [0.2, 0.9, 0.3]], [0, 1, 1]
    for row, right in zip(scores, gold, strict=True):
        metric.add(prediction=row, reference=right)
    assert metric.compute(ties="first") == compute_multiple_choice_metrics(scores, gold, ties="first")


def test_evaluate_loads_vqa_score(load_module):
    metric = load_module("vqa_score")
    references = [{"answers": ["red", "dark red"], "scores": [1.0, 0.6]}, {"answers": [], "scores": []}]
    metric.add_batch(predictions=["dark red", "red"], references=references)
    result = metric.compute(answer_types=["other", "number"])
    assert result == compute_vqa_score(["dark red", "red"], [{"red": 1.0, "dark red": 0.6}, {}], ["other", "number"])
