# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`metrics/classification`: by hand, at the edges, and as an `evaluate` module."""

import evaluate
import numpy as np
import pytest

from clipbert.metrics.classification import compute_classification_metrics


def test_by_hand():
    scores = [[3, 1, 0], [0, 2, 1], [5, 4, 9], [1, 0, 0]]
    metrics = compute_classification_metrics(scores, [0, 1, 0, 2])
    assert metrics == {
        "accuracy": 0.5,
        "mean_class_accuracy": pytest.approx((0.5 + 1 + 0) / 3),
        "chance_accuracy": 1 / 3,
        "num_examples": 4,
    }


def test_the_best_five_count_where_there_are_more_classes():
    scores = np.arange(7.0)[None].repeat(7, 0)  # the last class is always first
    metrics = compute_classification_metrics(scores, range(7))
    assert (metrics["accuracy"], metrics["top5_accuracy"]) == (1 / 7, 5 / 7)
    assert "top5_accuracy" not in compute_classification_metrics(scores[:, :5], [0] * 7)


def test_constant_scores_give_exactly_the_chance_level():
    for classes in (2, 3, 10):
        metrics = compute_classification_metrics(np.zeros((8, classes)), np.arange(8) % classes)
        assert metrics["accuracy"] == pytest.approx(metrics["chance_accuracy"])
        assert metrics.get("top5_accuracy", 5 / classes) == pytest.approx(5 / classes)


@pytest.mark.parametrize(
    ("scores", "gold", "message"),
    [
        ([], [], "at least|right class"),
        ([[0, 1]], [0, 1], r"got \(1, 2\) and 2"),
        ([[0, np.nan]], [0], "Example 0: expected scores without NaN"),
        ([[0, 1]], [2], "classes from 0 to 1, got 2"),
        ([[0, 1]], [-1], "got -1"),
    ],
)
def test_what_cannot_be_measured_is_refused(scores, gold, message):
    with pytest.raises(ValueError, match=message):
        compute_classification_metrics(scores, gold)


def test_it_is_an_evaluate_module(request, tmp_path):
    folder = request.config.rootpath / "metrics" / "classification"
    metric = evaluate.load(str(folder), cache_dir=str(tmp_path))
    metric.add_batch(predictions=[[0.1, 0.7], [0.5, 0.2]], references=[1, 1])
    assert metric.compute()["accuracy"] == 0.5
