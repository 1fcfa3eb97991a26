# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`metrics/classification`: by hand, at the edges, and as an `evaluate` module."""

import evaluate
import numpy as np
import pytest

from clipbert.metrics.classification import (
    compute_classification_metrics,
    compute_multilabel_metrics,
    count_confusions,
    mcnemar_test,
    wilson_interval,
)


def test_by_hand():
    scores = [[3, 1, 0], [0, 2, 1], [5, 4, 9], [1, 0, 0]]
    metrics = compute_classification_metrics(scores, [0, 1, 0, 2])
    assert metrics == {
        "accuracy": 0.5,
        "accuracy_ci_low": pytest.approx(0.15, abs=0.001),
        "accuracy_ci_high": pytest.approx(0.85, abs=0.001),
        "mean_class_accuracy": pytest.approx((0.5 + 1 + 0) / 3),
        "macro_f1": pytest.approx((2 / 4 + 2 / 2 + 0 / 2) / 3),
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
        assert metrics.get("chance_top5_accuracy", 5 / classes) == 5 / classes


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


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),  # the course report's tables, whose test set has 224 clips
    [(142, 224, 0.57, 0.69), (173, 224, 0.71, 0.82), (195, 224, 0.82, 0.91), (0, 10, 0.0, 0.28), (10, 10, 0.72, 1.0)],
)
def test_wilson_interval(hits, total, low, high):
    assert wilson_interval(hits, total) == pytest.approx((low, high), abs=0.005)


def test_wilson_interval_refuses_what_is_no_share():
    for hits, total in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match=f"got {hits} of {total}"):
            wilson_interval(hits, total)


def test_confusions_and_f1_agree_with_their_definition():
    rng = np.random.default_rng(0)
    gold, scores = rng.integers(0, 4, 60), rng.normal(size=(60, 5))
    predicted = scores.argmax(axis=1)
    counts = count_confusions(predicted, gold, 5)
    assert all(counts[a, b] == ((gold == a) & (predicted == b)).sum() for a in range(5) for b in range(5))
    f1 = []
    for label in set(gold) | set(predicted):
        hits = ((gold == label) & (predicted == label)).sum()
        precision, recall = hits / max((predicted == label).sum(), 1), hits / max((gold == label).sum(), 1)
        f1.append(2 * precision * recall / (precision + recall) if hits else 0)
    assert compute_classification_metrics(scores, gold)["macro_f1"] == pytest.approx(np.mean(f1))


def test_mcnemar_is_the_binomial_test_of_what_differs():
    def exact(b, c):  # each of the b + c coins tossed, in all ways
        ways = [bin(number).count("1") for number in range(2 ** (b + c))]
        return np.mean([abs(heads - (b + c) / 2) >= abs(b - (b + c) / 2) for heads in ways])

    for b, c in ((0, 0), (1, 0), (3, 1), (2, 2), (0, 9), (5, 8)):
        found = mcnemar_test([True] * b + [False] * c + [True, False], [False] * b + [True] * c + [True, False])
        assert found == {"num_only_first": b, "num_only_second": c, "p_value": pytest.approx(exact(b, c))}
    assert mcnemar_test([True] * 3000, [False] * 3000)["p_value"] < 1e-300
    with pytest.raises(ValueError, match="same examples"):
        mcnemar_test([True], [True, False])


def test_several_labels_by_hand():
    scores = [[2, -1, 1], [1, 3, -2], [-1, 1, -3], [0.5, -2, -1]]
    gold = [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]
    # the first label ranks 1st and 4th of 4 (precision 1, 2/4), the second 1st and 2nd; the third never occurs
    assert compute_multilabel_metrics(scores, gold) == {
        "mAP": pytest.approx((0.75 + 1) / 2),
        "macro_f1": pytest.approx((2 / 5 + 4 / 4 + 0 / 1) / 3),
        "micro_f1": pytest.approx(2 * 3 / (6 + 4)),
        "chance_mAP": 0.5,
        "num_examples": 4,
    }
    constant = compute_multilabel_metrics(np.zeros((4, 3)), gold)
    assert constant["mAP"] == constant["chance_mAP"]
    for wrong in ([[1, 0]] * 4, [[2, 0, 0]] * 4, [[0, 0, 0]] * 4):
        with pytest.raises(ValueError, match="Expected"):
            compute_multilabel_metrics(scores, wrong)


def test_it_is_an_evaluate_module(request, tmp_path):
    folder = request.config.rootpath / "metrics" / "classification"
    metric = evaluate.load(str(folder), cache_dir=str(tmp_path))
    metric.add_batch(predictions=[[0.1, 0.7], [0.5, 0.2]], references=[1, 1])
    assert metric.compute()["accuracy"] == 0.5
