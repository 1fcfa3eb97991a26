# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Frame mAP: how well scored boxes find who does what in single frames of videos (Gu et al., AVA, CVPR 2018, section 5.1).

What is counted, as in the official evaluation of AVA (ActivityNet, `get_ava_performance.py`)
    Of each class, the boxes of all keyframes stand in the order of their scores. A box is right if the person of this class that
    it overlaps most has an IoU of 0.5 or more with it, and no better box has found that person before: a second box
    on the same person is wrong. Average precision is the area below the precision that can be had at a recall or a higher one.
    Keyframes without people count: all boxes there are wrong. Classes that no person of the ground truth does are left out
    of the mean; a class that is there and that no box has been scored for counts as 0. Keyframes that annotators excluded are to be
    left out of both arguments, as the loader of AVA does.

What differs
    Equal scores count all at once. The official code takes them in an order that sorting happens to give, so that constant
    scores have a different mAP each time; here it is precision times recall. With different scores it is the same number.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import evaluate
import numpy as np


NUM_RESAMPLES = 200  # of the interval

_DESCRIPTION = "Frame mAP of actions in boxes at an IoU of 0.5, as AVA is evaluated, with its 95 % interval."

_CITATION = """\
@inproceedings{gu2018ava,
  title     = {{AVA}: A Video Dataset of Spatio-temporally Localized Atomic Visual Actions},
  author    = {Gu, Chunhui and Sun, Chen and Ross, David A. and others},
  booktitle = {CVPR},
  year      = {2018}
}
"""

_KWARGS_DESCRIPTION = """\
Args:
    predictions: For each keyframe `boxes` (x1, y1, x2, y2) and `scores`, for each box one score per class.
    references: For each keyframe `boxes` and `labels`, for each box the numbers of its classes.
    iou_threshold: Least overlap of a right box; 0.5 by default.
    classes: Numbers of the classes that count; all by default.
Returns:
    mAP and, with more than one keyframe, the ends of its 95 % interval, mAP_ci_low and mAP_ci_high, as fractions; num_classes that
    occur, num_boxes, num_detections, num_examples (keyframes).
Examples:
    >>> metric = evaluate.load("metrics/detection")
    >>> predictions = [{"boxes": [[0, 0, 2, 2], [4, 4, 6, 6]], "scores": [[0.9, 0.1], [0.6, 0.2]]}]
    >>> references = [{"boxes": [[0, 0, 2, 2]], "labels": [[0]]}]
    >>> metric.compute(predictions=predictions, references=references)["mAP"]
    1.0
"""


@dataclass(frozen=True)
class RankedDetections:
    """
    The boxes of one class, best score first.

    Args:
        is_right (`np.ndarray` of shape `(detections,)`): Whether a box is the first that finds a person of the class.
        ends (`np.ndarray`): Where equal scores end: a threshold of the score keeps so many boxes.
        keyframes (`np.ndarray` of shape `(detections,)`): The keyframe of each box.
        num_people (`np.ndarray` of shape `(keyframes,)`): People of the class in each keyframe.
    """

    is_right: np.ndarray
    ends: np.ndarray
    keyframes: np.ndarray
    num_people: np.ndarray

    def average_precision(self, weights: np.ndarray | None = None) -> float:
        """
        Area below the precision that can be had at a recall or a higher one; NaN where nobody is of the class.

        Args:
            weights (`np.ndarray` of shape `(keyframes,)`, *optional*): How often each keyframe counts; by default once.
        """
        weights = np.ones(len(self.num_people)) if weights is None else weights
        total = (weights * self.num_people).sum()
        if total == 0:
            return float("nan")
        times = weights[self.keyframes]
        kept, right = (np.cumsum(counts)[self.ends - 1] for counts in (times, times * self.is_right))
        precision = right / np.maximum(kept, 1)  # 0 as long as nothing is kept
        best = np.maximum.accumulate(precision[::-1])[::-1]
        return float((np.diff(right / total, prepend=0.0) * best).sum())


def box_ious(boxes: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> np.ndarray:
    """
    Intersection over union of all pairs of boxes.

    Args:
        boxes, others (`Sequence` of shape `(N, 4)` and `(M, 4)`): x1, y1, x2, y2.

    Returns:
        `np.ndarray` of shape `(N, M)`.

    Example:
        >>> box_ious([[0, 0, 2, 2]], [[1, 0, 3, 2], [5, 5, 6, 6]]).round(2).tolist()
        [[0.33, 0.0]]
    """
    boxes, others = (np.asarray(each, dtype=np.float64).reshape(-1, 4) for each in (boxes, others))
    lows = np.maximum(boxes[:, None, :2], others[None, :, :2])
    highs = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.maximum(highs - lows, 0.0).prod(axis=2)
    areas, other_areas = ((each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, others))
    return common / (areas[:, None] + other_areas[None] - common)


def rank_detections(
    predictions: Sequence[Mapping[str, Any]],
    references: Sequence[Mapping[str, Any]],
    iou_threshold: float = 0.5,
    classes: Sequence[int] | None = None,
) -> Iterator[RankedDetections]:
    """
    For each class its boxes in the order of their scores, and which of them are right.

    Args:
        predictions (`Sequence[Mapping]`): For each keyframe `boxes` `(detections, 4)` and `scores` `(detections, classes)`.
        references (`Sequence[Mapping]`): For each keyframe `boxes` `(people, 4)` and `labels`, for each person the numbers of
            its classes.
        iou_threshold (`float`, *optional*, defaults to 0.5): Least overlap of a right box.
        classes (`Sequence[int]`, *optional*): Numbers of the classes that count; by default all that have a score.

    Raises:
        ValueError: If there is no keyframe, or a box, a score or a label cannot be; the message names the keyframe.
    """
    if not predictions or len(predictions) != len(references):
        raise ValueError(
            f"Expected predictions and references of the same keyframes, one at least, got {len(predictions)} and "
            f"{len(references)}"
        )
    found = [_read_boxes(each, f"predictions, keyframe {n}") for n, each in enumerate(predictions)]
    people = [_read_boxes(each, f"references, keyframe {n}") for n, each in enumerate(references)]
    scores = _join_scores(predictions, found)
    labels = [_read_labels(each, people[n], scores.shape[1], n) for n, each in enumerate(references)]
    classes = range(scores.shape[1]) if classes is None else classes
    if wrong := [label for label in classes if not 0 <= label < scores.shape[1]]:
        raise ValueError(f"Expected classes that have scores, from 0 to {scores.shape[1] - 1}, got {wrong[0]}")
    labels = np.concatenate(labels)  # (all people, classes)
    keyframes, of_people = (np.repeat(np.arange(len(each)), list(map(len, each))) for each in (found, people))
    boxes, persons = _near_pairs(found, people, iou_threshold)
    for label in classes:
        # of each box the nearest person of the class; pairs of a box stand in the order of their overlap
        is_of_class = labels[persons, label]
        near, firsts = np.unique(boxes[is_of_class], return_index=True)
        target = np.full(len(keyframes), -1)
        target[near] = persons[is_of_class][firsts]
        order = np.argsort(-scores[:, label], kind="stable")
        claimed, falling = target[order], -scores[order, label]
        is_right = np.zeros(len(order), dtype=bool)
        is_right[np.unique(claimed, return_index=True)[1]] = True  # the first box that claims a person
        ends = np.unique(np.searchsorted(falling, falling, side="right"))
        num_people = np.bincount(of_people[labels[:, label]], minlength=len(people))
        yield RankedDetections(is_right & (claimed >= 0), ends, keyframes[order], num_people)


def _near_pairs(
    found: Sequence[np.ndarray], people: Sequence[np.ndarray], iou_threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a box and a person that overlap, numbered through all keyframes; of a box the nearest person comes first."""
    pairs, first_box, first_person = [np.zeros((3, 0))], 0, 0
    for boxes, others in zip(found, people, strict=True):
        overlaps = box_ious(boxes, others)
        near = np.nonzero(overlaps >= iou_threshold)
        pairs.append(np.stack([near[0] + first_box, near[1] + first_person, -overlaps[near]]))
        first_box, first_person = first_box + len(boxes), first_person + len(others)
    numbers, persons, order = np.concatenate(pairs, axis=1)
    order = np.lexsort((persons, order, numbers))
    return numbers[order].astype(int), persons[order].astype(int)


def compute_detection_metrics(
    predictions: Sequence[Mapping[str, Any]],
    references: Sequence[Mapping[str, Any]],
    iou_threshold: float = 0.5,
    classes: Sequence[int] | None = None,
    groups: Sequence[Any] | None = None,
) -> dict[str, float]:
    """
    Frame mAP; the module says what is counted.

    Args:
        predictions, references, iou_threshold, classes: See [`rank_detections`].
        groups (`Sequence`, *optional*): Of what each keyframe was taken, such as its video: the interval is that of other
            draws of those, since the frames of a video resemble each other. By default each keyframe is by itself.

    Returns:
        `dict`: `mAP` and, from two groups on, the ends of its 95 % interval `mAP_ci_low` and `mAP_ci_high` (bootstrap);
        `num_classes` (that occur), `num_boxes` (people), `num_detections` and `num_examples` (keyframes).

    Raises:
        ValueError: See [`rank_detections`]; and if no class occurs.

    Example:
        >>> found = {"boxes": [[0, 0, 2, 2], [0, 0, 2, 1.9]], "scores": [[0.9], [0.8]]}
        >>> compute_detection_metrics([found], [{"boxes": [[0, 0, 2, 2], [5, 5, 6, 6]], "labels": [[0], [0]]}])["mAP"]
        0.5
    """
    ranked = list(rank_detections(predictions, references, iou_threshold, classes))
    ranked = [each for each in ranked if each.num_people.any()]
    if not ranked:
        raise ValueError("None of the classes that count occurs in the references: there is nothing to find.")
    score = float(np.mean([each.average_precision() for each in ranked]))
    metrics = {"mAP": score}
    _, members = np.unique(np.asarray(range(len(references)) if groups is None else groups), return_inverse=True)
    if members.max() > 0:
        below, above = _spread(ranked, members)
        metrics |= {"mAP_ci_low": max(score - below, 0.0), "mAP_ci_high": min(score + above, 1.0)}
    return {
        **metrics,
        "num_classes": len(ranked),
        "num_boxes": sum(len(each["boxes"]) for each in references),
        "num_detections": len(ranked[0].keyframes),
        "num_examples": len(references),
    }


def _spread(ranked: Sequence[RankedDetections], members: np.ndarray) -> tuple[float, float]:
    """
    How far the middle 95 % of mAP reach below and above its mean, over draws of as many groups, the same in every call.

    The mean itself is a little too high, because groups that are drawn twice have equal scores.
    """
    rng, size = np.random.default_rng(0), members.max() + 1
    drawn = [np.bincount(rng.integers(size, size=size), minlength=size)[members] for _ in range(NUM_RESAMPLES)]
    values = [[each.average_precision(weights) for weights in drawn] for each in ranked]
    occurs = ~np.isnan(values)  # a draw may hold nobody of a class
    means = np.nansum(values, axis=0) / np.maximum(occurs.sum(axis=0), 1)
    means = means[occurs.any(axis=0)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(means.mean() - low), float(high - means.mean())


def _read_boxes(keyframe: Mapping[str, Any], where: str) -> np.ndarray:
    boxes = np.asarray(keyframe["boxes"], dtype=np.float64)
    boxes = boxes.reshape(-1, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{where}: expected boxes (boxes, 4), got {boxes.shape}")
    fine = np.isfinite(boxes).all(axis=1) & (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
    if not fine.all():
        number = int(fine.argmin())
        raise ValueError(f"{where}: expected boxes x1 < x2, y1 < y2, got {boxes[number].tolist()} as box {number}")
    return boxes


def _join_scores(predictions: Sequence[Mapping[str, Any]], found: Sequence[np.ndarray]) -> np.ndarray:
    """`(detections, classes)` of all keyframes."""
    parts = []
    for number, (each, boxes) in enumerate(zip(predictions, found, strict=True)):
        if not len(boxes):
            continue
        scores = np.asarray(each["scores"], dtype=np.float64)
        if scores.ndim != 2 or len(scores) != len(boxes) or (parts and scores.shape[1] != parts[0].shape[1]):
            raise ValueError(
                f"predictions, keyframe {number}: expected a score per class for each of the {len(boxes)} boxes, as many "
                f"classes everywhere, got {scores.shape}"
            )
        if np.isnan(scores).any():
            raise ValueError(f"predictions, keyframe {number}: expected scores without NaN")
        parts.append(scores)
    if not parts:
        raise ValueError("No keyframe has a scored box: nothing was predicted.")
    return np.concatenate(parts)


def _read_labels(keyframe: Mapping[str, Any], boxes: np.ndarray, num_classes: int, number: int) -> np.ndarray:
    """`(people, classes)`: what each person does."""
    marks = np.zeros((len(boxes), num_classes), dtype=bool)
    if len(keyframe["labels"]) != len(boxes):
        raise ValueError(
            f"references, keyframe {number}: expected the labels of {len(boxes)} boxes, got {len(keyframe['labels'])}"
        )
    for row, labels in zip(marks, keyframe["labels"], strict=True):
        if wrong := [label for label in labels if not 0 <= label < num_classes]:
            raise ValueError(
                f"references, keyframe {number}: expected classes from 0 to {num_classes - 1}, got {wrong[0]}"
            )
        row[list(labels)] = True
    return marks


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Detection(evaluate.Metric):
    """`evaluate.load("metrics/detection")`: add the scored boxes of keyframes, with the people that are there."""

    def _info(self):
        number = datasets.Value("float64")
        boxes = datasets.List(datasets.List(number))
        labels = datasets.List(datasets.List(datasets.Value("int64")))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": {"boxes": boxes, "scores": datasets.List(datasets.List(number))},
                    "references": {"boxes": boxes, "labels": labels},
                }
            ),
        )

    def _compute(self, predictions, references, iou_threshold=0.5, classes=None):
        return compute_detection_metrics(predictions, references, iou_threshold, classes)
