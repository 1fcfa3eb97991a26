# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`metrics/detection`: by hand, against a second reading of the definition, at the edges, and as an `evaluate` module."""

import evaluate
import numpy as np
import pytest

from clipbert.metrics import metric_path
from clipbert.metrics.detection import box_ious, compute_detection_metrics, rank_detections


A, B, ELSEWHERE = [0.0, 0.0, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9], [0.0, 0.6, 0.2, 0.9]
NEAR_A = [0.0, 0.0, 0.4, 0.3]  # IoU 0.75
FAR_FROM_A = [0.0, 0.0, 0.4, 0.19]  # 0.475


def score_of(boxes, scores, people, labels, **options):
    """mAP of one keyframe."""
    predictions = [{"boxes": boxes, "scores": scores}]
    return compute_detection_metrics(predictions, [{"boxes": people, "labels": labels}], **options)["mAP"]


@pytest.mark.parametrize(
    ("boxes", "scores", "expected"),
    [  # of one class, which A and B have
        ([A, B], [[0.9], [0.8]], 1.0),
        ([NEAR_A, B], [[0.9], [0.8]], 1.0),
        ([FAR_FROM_A, B], [[0.9], [0.8]], 0.5 * 1 / 2),
        ([A, ELSEWHERE, B], [[0.9], [0.8], [0.7]], 0.5 * 1 + 0.5 * 2 / 3),
        ([ELSEWHERE, A, B], [[0.9], [0.8], [0.7]], 1.0 * 2 / 3),  # the better precision at more recall counts for less
        ([A, NEAR_A, B], [[0.9], [0.8], [0.7]], 0.5 * 1 + 0.5 * 2 / 3),  # a second box on A is wrong
        ([NEAR_A, A, B], [[0.9], [0.8], [0.7]], 0.5 * 1 + 0.5 * 2 / 3),  # also if it is the nearer one
        ([A], [[0.1]], 0.5),
        ([ELSEWHERE], [[0.9]], 0.0),
        ([A, B, ELSEWHERE, ELSEWHERE], [[0.5]] * 4, 2 / 4),  # equal scores: precision times recall
    ],
)
def test_by_hand(boxes, scores, expected):
    assert score_of(boxes, scores, [A, B], [[0], [0]]) == pytest.approx(expected)


def test_each_class_has_its_own_people():
    boxes, scores = [A, B], [[0.9, 0.2, 0.5], [0.8, 0.7, 0.4]]
    # class 0: A is right and first; class 1: B is first; class 2 is nobody's and left out
    assert score_of(boxes, scores, [A, B], [[0], [1]]) == 1.0
    # B does both: for class 0 it stands behind A, for class 1 first
    assert score_of(boxes, scores, [B], [[0, 1]]) == pytest.approx((1 / 2 + 1) / 2)
    assert score_of(boxes, scores, [B], [[0, 1]], classes=[1, 2]) == 1.0
    assert score_of([ELSEWHERE], [[0.5, 0.5]], [A], [[1]]) == 0.0


def test_keyframes_are_ranked_together():
    predictions = [{"boxes": [A], "scores": [[0.3]]}, {"boxes": [A, B], "scores": [[0.9], [0.6]]}]
    people = [{"boxes": [A], "labels": [[0]]}, {"boxes": [A], "labels": [[0]]}]
    found = compute_detection_metrics(predictions, people)
    assert found["mAP"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert (found["num_boxes"], found["num_detections"], found["num_examples"], found["num_classes"]) == (2, 3, 2, 1)
    # nobody is there, or nothing was found
    nobody = {"boxes": [], "labels": []}
    assert compute_detection_metrics(predictions, [people[0], nobody])["mAP"] == pytest.approx(1 / 3)
    assert compute_detection_metrics([{"boxes": [], "scores": []}, predictions[1]], people)["mAP"] == 0.5


def average_precision_by_definition(predictions, references, label, threshold):
    """Box by box, as the official code goes through them."""
    entries, total = [], 0
    for number, keyframe in enumerate(predictions):
        entries += [(row[label], number, box) for box, row in zip(keyframe["boxes"], keyframe["scores"], strict=True)]
    taken, hits = set(), []
    for _, number, box in sorted(entries, key=lambda entry: -entry[0]):
        best, best_iou = None, -1.0
        for person, (other, labels) in enumerate(zip(*references[number].values(), strict=True)):
            if label in labels and (iou := box_ious([box], [other])[0, 0]) > best_iou:
                best, best_iou = (number, person), iou
        hits.append(best_iou >= threshold and best not in taken)
        taken |= {best} if hits[-1] else set()
    total = sum(label in labels for keyframe in references for labels in keyframe["labels"])
    precisions = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    return sum(max(precisions[n:]) / total for n, hit in enumerate(hits) if hit) if total else None


@pytest.mark.parametrize("seed", range(6))
def test_a_second_reading_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    predictions, references = [], []
    for _ in range(12):
        corners = rng.uniform(0, 0.5, (rng.integers(0, 5), 2))
        people = np.concatenate([corners, corners + rng.uniform(0.2, 0.5, corners.shape)], axis=1)
        labels = [sorted(set(rng.integers(0, 4, rng.integers(1, 4)).tolist())) for _ in people]
        near = people[rng.integers(0, len(people), rng.integers(0, 7))] if len(people) else np.zeros((0, 4))
        boxes = near + rng.uniform(-0.05, 0.05, near.shape)
        predictions.append({"boxes": boxes, "scores": rng.uniform(size=(len(boxes), 5))})
        references.append({"boxes": people, "labels": labels})
    threshold = (0.5, 0.75)[seed % 2]
    expected = [average_precision_by_definition(predictions, references, label, threshold) for label in range(5)]
    found = [ranked.average_precision() for ranked in rank_detections(predictions, references, threshold)]
    assert expected[4] is None and np.isnan(found[4])
    assert found[:4] == pytest.approx(expected[:4], abs=1e-12)
    metrics = compute_detection_metrics(predictions, references, threshold)
    assert metrics["mAP"] == pytest.approx(np.mean(expected[:4]))
    assert metrics["mAP_ci_low"] < metrics["mAP"] < metrics["mAP_ci_high"]


def test_weights_count_a_keyframe_several_times():
    predictions = [{"boxes": [A, B], "scores": [[0.9], [0.8]]}, {"boxes": [A], "scores": [[0.7]]}]
    references = [{"boxes": [B], "labels": [[0]]}, {"boxes": [A], "labels": [[0]]}]
    (ranked,) = rank_detections(predictions, references)
    for first, second in ((1, 1), (2, 1), (0, 3), (1, 4)):
        repeated = [rows * n for rows, n in zip(([0], [1]), (first, second), strict=True)]
        numbers = sum(repeated, [])
        (expected,) = rank_detections([predictions[n] for n in numbers], [references[n] for n in numbers])
        found = ranked.average_precision(np.array([first, second]))
        # copies of a keyframe have equal scores, which count at once
        assert found == pytest.approx(expected.average_precision())


def test_the_interval_is_that_of_whole_videos():
    rng = np.random.default_rng(0)
    predictions = [{"boxes": [A], "scores": [[score]]} for score in rng.uniform(size=40)]
    references = [{"boxes": [A] if n % 8 < 4 else [B], "labels": [[0]]} for n in range(40)]

    def width(groups):
        found = compute_detection_metrics(predictions, references, groups=groups)
        return found["mAP_ci_high"] - found["mAP_ci_low"]

    chance = compute_detection_metrics(predictions, references)
    assert chance["mAP_ci_low"] < chance["mAP"] < chance["mAP_ci_high"]
    assert width([n // 4 for n in range(40)]) > width(None) > 0
    assert "mAP_ci_low" not in compute_detection_metrics(predictions, references, groups=["film"] * 40)


@pytest.mark.parametrize(
    ("boxes", "scores", "people", "labels", "message"),
    [
        (
            [A],
            [[0.5]],
            [[0.4, 0, 0.1, 1]],
            [[0]],
            r"references, keyframe 0: expected boxes x1 < x2, y1 < y2, got \[0.4,",
        ),
        ([[0, 0, np.nan, 1]], [[0.5]], [A], [[0]], "predictions, keyframe 0: expected boxes .* as box 0"),
        ([[0, 0, 1]], [[0.5]], [A], [[0]], r"predictions, keyframe 0: expected boxes \(boxes, 4\), got \(1, 3\)"),
        ([A], [[np.nan]], [A], [[0]], "keyframe 0: expected scores without NaN"),
        ([A, B], [[0.5]], [A], [[0]], "keyframe 0: expected a score per class for each of the 2 boxes"),
        ([A], [[0.5]], [A], [[1]], "keyframe 0: expected classes from 0 to 0, got 1"),
        ([A], [[0.5]], [A, B], [[0]], "expected the labels of 2 boxes, got 1"),
        ([], [], [A], [[0]], "No keyframe has a scored box"),
        ([A], [[0.5]], [], [], "None of the classes that count occurs"),
    ],
)
def test_what_cannot_be_is_named(boxes, scores, people, labels, message):
    with pytest.raises(ValueError, match=message):
        score_of(boxes, scores, people, labels)


def test_more_that_cannot_be():
    with pytest.raises(ValueError, match="same keyframes, one at least, got 0 and 0"):
        compute_detection_metrics([], [])
    with pytest.raises(ValueError, match="from 0 to 0, got 3"):
        score_of([A], [[0.5]], [A], [[0]], classes=[3])


def test_as_a_module():
    metric = evaluate.load(metric_path("detection"))
    for box, score in ((A, 0.9), (ELSEWHERE, 0.95)):
        metric.add(prediction={"boxes": [box], "scores": [[score]]}, reference={"boxes": [A], "labels": [[0]]})
    found = metric.compute()
    assert found["mAP"] == pytest.approx(0.5 * 1 / 2) and found["num_examples"] == 2
