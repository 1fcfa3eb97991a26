# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""When sentences are seen: cases computed by hand, chance, ties, intervals, and what is refused."""

from pathlib import Path

import evaluate
import numpy as np
import pytest

from clipbert.metrics.alignment import compute_alignment_metrics, compute_roc_auc


INF = float("inf")


@pytest.mark.parametrize(
    ("best", "span", "hit"),
    [
        (3, (3.2, 4.9), 1),  # the floor of the start
        (2, (3.2, 4.9), 0),
        (5, (3.2, 4.9), 1),  # the ceiling of the end
        (6, (3.2, 4.9), 0),
        (4, (4.0, 4.0), 1),
        (5, (4.0, 4.0), 0),
        (9, (12.0, 14.0), 0),  # behind the end of the video
        (0, (0.0, 0.4), 1),
    ],
)
def test_hits_by_hand(best, span, hit):
    scores = np.zeros(10)
    scores[best] = 1.0
    metrics = compute_alignment_metrics([scores], [span], [True])
    assert metrics["R@1"] == hit and metrics["num_examples"] == 1 and "roc_auc" not in metrics


def test_a_case_by_hand():
    scores = [[0.1, 0.9, 0.3, 0.2], [0.8, 0.1, 0.2], [0.5, 0.5, 0.5, 0.5, 0.5], [0.2, 0.3], [0.4, 0.1, 0.3, 0.2, 0.9]]
    spans = [(0.5, 1.0), (1.2, 1.9), (1.0, 2.0), (0.0, 1.0), (0.0, 9.0)]
    alignable = [True, True, True, False, False]
    metrics = compute_alignment_metrics(scores, spans, alignable)
    # a hit, a miss, and two of five seconds that share the best score; spans of 2 of 4, 2 of 3 and 2 of 5 seconds
    assert metrics["R@1"] == pytest.approx((1 + 0 + 2 / 5) / 3)
    assert metrics["chance_R@1"] == pytest.approx((2 / 4 + 2 / 3 + 2 / 5) / 3)
    # bests 0.9, 0.8, 0.5 against 0.3, 0.9: 1.5 + 1 + 1 of 6 pairs
    assert metrics["roc_auc"] == pytest.approx(3.5 / 6) and metrics["chance_roc_auc"] == 0.5
    assert metrics["num_examples"] == 3 and metrics["num_sentences"] == 5
    assert metrics["R@1_ci_low"] < metrics["R@1"] < metrics["R@1_ci_high"]
    assert metrics["roc_auc_ci_low"] < metrics["roc_auc"] < metrics["roc_auc_ci_high"]


def test_constant_scores_are_chance_and_what_was_not_compared_is_no_hit():
    rng = np.random.default_rng(0)
    spans = [tuple(sorted(rng.uniform(0, 30, 2))) for _ in range(40)]
    alignable = [number % 3 > 0 for number in range(40)]
    metrics = compute_alignment_metrics(np.ones((40, 25)), spans, alignable)
    assert metrics["R@1"] == pytest.approx(metrics["chance_R@1"]) and metrics["roc_auc"] == 0.5
    scores = np.full((40, 25), -INF)
    scores[:, 24] = -3.0
    assert compute_alignment_metrics(scores, [(0.0, 20.0)] * 40, alignable)["R@1"] == 0


def test_area_under_the_curve_is_the_share_of_pairs():
    rng = np.random.default_rng(1)
    positive, negative = rng.integers(0, 9, 50) / 9, rng.integers(-3, 7, 70) / 9
    pairs = positive[:, None] - negative
    assert compute_roc_auc(positive, negative) == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean())


def test_the_module_of_evaluate():
    metric = evaluate.load(str(Path(__file__).parents[2] / "metrics" / "alignment"))
    metric.add(prediction=[0.1, 0.9], reference={"alignable": True, "start_s": 1.0, "end_s": 2.0})
    metric.add(prediction=[0.3, 0.2, 0.1], reference={"alignable": False, "start_s": 0.0, "end_s": 2.0})
    assert metric.compute()["R@1"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0.1]], [(0, 1)], [False]), "Expected a sentence that is alignable at least, got none among 1"),
        (([[0.1], [0.2]], [(0, 1)], [True]), "got 2, 1 and 1"),
        (([[0.1, np.nan]], [(0, 1)], [True]), "Sentence 0: expected scores without NaN"),
        (([[]], [(0, 1)], [True]), "Sentence 0: expected scores without NaN, at least one"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        compute_alignment_metrics(*arguments)
