# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`metrics/moment_retrieval`: by hand, at thresholds, against second readings of the definitions, and as an `evaluate` module."""

import evaluate
import numpy as np
import pytest

from clipbert.metrics import metric_path
from clipbert.metrics.moment_retrieval import compute_moment_metrics, temporal_iou


def answers_of(*spans, scores=None):
    scores = scores or [None] * len(spans)
    return [
        {"start_s": start, "end_s": end, "score": score} for (start, end), score in zip(spans, scores, strict=True)
    ]


def question(*windows, duration_s=100.0, video_id="a"):
    return {"windows": [list(window) for window in windows], "duration_s": duration_s, "video_id": video_id}


def measure(answers, *windows, strict=False, **facts):
    return compute_moment_metrics([answers], [question(*windows, **facts)], strict)


def test_iou_by_hand():
    spans = np.array([[0.0, 4.0], [2.0, 2.0], [5.0, 3.0], [8.0, 9.0]])
    found = temporal_iou(spans[:, None], np.array([[2.0, 6.0], [0.0, 4.0]]))
    assert found.tolist() == [[2 / 6, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("start_s", [0.0, 0.1, 13.7, 61.3])
def test_the_threshold_itself_is_a_hit_unless_strict(threshold, start_s):
    """3 of 10 seconds are 0.3 wherever they lie; 61.3 + 3 - 61.3 is not 3."""
    window, answer = (start_s, start_s + 10), answers_of((start_s, start_s + 10 * threshold))
    assert measure(answer, window)[f"R1@{threshold}"] == 1.0
    assert measure(answer, window, strict=True)[f"R1@{threshold}"] == 0.0
    below = answers_of((start_s, start_s + 10 * threshold - 0.001))
    assert measure(below, window)[f"R1@{threshold}"] == 0.0
    above = answers_of((start_s, start_s + 10 * threshold + 0.001))
    assert measure(above, window, strict=True)[f"R1@{threshold}"] == 1.0


def test_order_of_answers():
    spans = [(0, 1), (50, 60), (20, 30)]
    by_score = measure(answers_of(*spans, scores=[0.1, 0.5, 0.9]), (20, 30))
    assert (by_score["R1@0.7"], by_score["mIoU"]) == (1.0, 1.0)
    as_given = measure(answers_of(*spans), (20, 30))
    assert (as_given["R1@0.7"], as_given["R5@0.7"], as_given["mIoU"]) == (0.0, 1.0, 0.0)
    tied = measure(answers_of(*spans, scores=[0.5] * 3), (0, 1))
    assert tied["R1@0.7"] == 1.0
    sixth = answers_of(*[(90 + n, 91 + n) for n in range(5)], (20, 30))
    assert measure(sixth, (20, 30))["R5@0.3"] == 0.0


def test_nothing_to_say_and_windows_beyond_the_video():
    assert measure([], (20, 30)) == measure(answers_of((30, 20)), (20, 30))
    assert measure([], (20, 30))["R5@0.3"] == 0.0
    assert measure(answers_of((90, 100)), (90, 104))["mIoU"] == 1.0  # cut to 100 s
    assert measure(answers_of((90, 100)), (90, 104), duration_s=None)["mIoU"] == pytest.approx(10 / 14)


def test_discounted_recall_by_hand():
    found = measure(answers_of((22, 31)), (20, 30), duration_s=40)  # IoU 8 / 11
    assert found["dR1@0.7"] == pytest.approx((1 - 2 / 40) * (1 - 1 / 40))
    assert found["R1@0.7"] == 1.0 and measure(answers_of((26, 31)), (20, 30))["dR1@0.5"] == 0.0
    assert "dR1@0.5" not in measure(answers_of((22, 31)), (20, 30), duration_s=None)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [  # mAP at 0.5 for the windows (0, 10) and (20, 30)
        ([(0, 10), (20, 30)], 1.0),
        ([(0, 10), (50, 60), (20, 30)], 0.5 * 1 + 0.5 * 2 / 3),
        ([(50, 60), (0, 10), (20, 30)], 2 / 3),  # precision at a recall or a higher one
        ([(0, 10), (0, 9), (20, 30)], 0.5 * 1 + 0.5 * 2 / 3),  # a window is taken once
        ([(0, 10)], 0.5),
        ([(50, 60)] * 10 + [(0, 10)], 0.0),  # ten answers count
        ([], 0.0),
    ],
)
def test_average_precision_by_hand(spans, expected):
    assert measure(answers_of(*spans), (0, 10), (20, 30))["mAP@0.5"] == pytest.approx(expected)


def test_average_precision_over_thresholds():
    found = measure(answers_of((0, 8)), (0, 10))  # hits 0.5, 0.55, ... 0.8: seven of ten
    assert (found["mAP"], found["mAP@0.75"]) == (pytest.approx(0.7), 1.0)
    assert measure(answers_of((0, 8)), (0, 10), strict=True)["mAP"] == pytest.approx(0.6)


def standalone_precision(answers, windows, threshold):
    """One question as QVHighlights' `standalone_eval` goes through it: best answers first, nearest windows first."""
    answers = sorted(answers, key=lambda answer: -answer["score"])[:10]
    taken, right = set(), []
    for answer in answers:
        span = np.array([answer["start_s"], answer["end_s"]])
        ious = [float(temporal_iou(span, np.array(window))) for window in windows]
        hit = False
        for place in np.argsort(ious, kind="stable")[::-1]:
            if ious[place] < threshold:
                break
            if place not in taken:
                taken.add(place)
                hit = True
                break
        right.append(hit)
    recall = np.concatenate([[0], np.cumsum(right) / len(windows), [1]])
    precision = np.concatenate([[0], np.cumsum(right) / np.arange(1, len(right) + 1), [0]])
    for place in range(len(precision) - 2, -1, -1):
        precision[place] = max(precision[place], precision[place + 1])
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(np.sum((recall[steps] - recall[steps - 1]) * precision[steps]))


def random_questions(rng, count):
    questions, predictions = [], []
    for number in range(count):
        starts = rng.uniform(0, 90, rng.integers(1, 5))
        windows = [
            (start, start + length) for start, length in zip(starts, rng.uniform(2, 60, len(starts)), strict=True)
        ]
        near = [windows[rng.integers(len(windows))] for _ in range(rng.integers(1, 14))]
        spans = [np.sort(rng.normal(window, 4)) for window in near]
        questions.append(question(*windows, duration_s=150.0, video_id=str(number % 7)))
        predictions.append(answers_of(*spans, scores=rng.random(len(spans)).tolist()))
    return predictions, questions


def test_map_is_that_of_qvhighlights():
    predictions, questions = random_questions(np.random.default_rng(0), 60)
    found = compute_moment_metrics(predictions, questions)
    pairs = [(answers, each["windows"]) for answers, each in zip(predictions, questions, strict=True)]
    thresholds = [0.5 + 0.05 * step for step in range(10)]
    wanted = [np.mean([standalone_precision(*pair, threshold) for pair in pairs]) for threshold in thresholds]
    assert found["mAP"] == pytest.approx(np.mean(wanted))
    assert (found["mAP@0.5"], found["mAP@0.75"]) == (pytest.approx(wanted[0]), pytest.approx(wanted[5]))
    assert 0.1 < found["mAP"] < 0.9


def test_lengths_take_their_own_windows():
    predictions, questions = random_questions(np.random.default_rng(1), 40)
    found = compute_moment_metrics(predictions, questions)
    bounds = {"short": (0, 10), "middle": (10, 30), "long": (30, 1e9)}
    for name, (above, up_to) in bounds.items():
        kept = [
            (answers, {**each, "windows": own})
            for answers, each in zip(predictions, questions, strict=True)
            if (own := [window for window in each["windows"] if above < window[1] - window[0] <= up_to])
        ]
        alone = compute_moment_metrics(*map(list, zip(*kept, strict=True)))
        assert found[f"num_examples_{name}"] == len(kept) == alone["num_examples"]
        assert found[f"mAP_{name}"] == pytest.approx(alone["mAP"]) and found[f"R1@0.5_{name}"] == alone["R1@0.5"]
    assert "num_examples_long" not in measure([], (0, 30))


def test_intervals_are_over_videos():
    """Questions of one video stand or fall together: the more of them it has, the less they tell."""
    right, wrong = answers_of((20, 30)), answers_of((50, 60))
    together = [question((20, 30), video_id=name) for name in "ab" for _ in range(20)]
    apart = [question((20, 30), video_id=str(number)) for number in range(40)]
    wide = compute_moment_metrics([right] * 20 + [wrong] * 20, together)
    narrow = compute_moment_metrics([right] * 20 + [wrong] * 20, apart)
    assert (wide["R1@0.5_ci_low"], wide["R1@0.5_ci_high"], wide["num_videos"]) == (0.0, 1.0, 2)
    spread = 1.96 * np.sqrt(0.25 / 40)
    assert narrow["mIoU_ci_low"] == pytest.approx(0.5 - spread, abs=0.03)
    assert narrow["mAP_ci_high"] == pytest.approx(0.5 + spread, abs=0.03)
    assert "R1@0.5_ci_low" not in measure(right, (20, 30))
    assert compute_moment_metrics([right] * 40, apart)["R1@0.3_ci_low"] == 1.0


@pytest.mark.parametrize(
    ("answers", "reference", "message"),
    [
        ([], question(), "Question 0: expected windows"),
        ([], question((5, 2)), "Question 0: expected windows that begin before they end"),
        ([], question((120, 130)), "inside the video of 100.0 s"),
        ([], question((0, float("nan"))), "Question 0: expected windows"),
        ([], question((0, 1), duration_s=0.0), "Question 0: expected a duration"),
        (answers_of((0, 1), (2, 3), scores=[0.5, None]), question((0, 1)), "a score of each answer, or of none"),
        (answers_of((0, float("inf"))), question((0, 1)), "finite seconds"),
        (answers_of((0, 1), scores=[float("nan")]), question((0, 1)), "scores without NaN"),
    ],
)
def test_what_cannot_be_measured_is_refused(answers, reference, message):
    with pytest.raises(ValueError, match=message):
        compute_moment_metrics([answers], [reference])


def test_as_many_answers_as_questions():
    for predictions, references in (([], []), ([[]], []), ([[]] * 2, [question((0, 1))])):
        with pytest.raises(ValueError, match="answers and windows of the same questions"):
            compute_moment_metrics(predictions, references)


def test_module():
    predictions, questions = random_questions(np.random.default_rng(2), 20)
    metric = evaluate.load(str(metric_path("moment_retrieval")))
    assert metric.compute(predictions=predictions, references=questions) == compute_moment_metrics(
        predictions, questions
    )
    strict = metric.compute(predictions=[answers_of((0, 5))], references=[question((0, 10))], strict=True)
    assert (strict["R1@0.3"], strict["R1@0.5"]) == (1.0, 0.0)
