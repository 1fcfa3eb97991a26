# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Moment retrieval: how well ranked spans of seconds meet the windows in which a sentence happens.

What is counted
    IoU is that of seconds, unrounded, against windows that are cut to the video first. R@n at IoU m is the share of questions of
    which one of the first n answers has an IoU of m or more (`strict`: more than m, as 2D-TAN counts) with a window; mIoU the mean
    of the first answer. 2D-TAN prints another number by that name, the mean of the three largest overlaps of an answer list.
    mAP is that of QVHighlights (Moment-DETR, `standalone_eval`): of each question, answers in the order of their scores take
    the window that they overlap most and that no better answer has taken; interpolated precision, ten answers at most; mean over
    IoU 0.5, 0.55, ... 0.95 and over questions. So are the lengths: `short` up to 10 s, `middle` up to 30 s, `long`. A
    question counts there with its windows of that length alone.
    dR@n discounts a hit by how far its ends are off, (1 - |start error| / duration) (1 - |end error| / duration) (Yuan et al. 2021,
    "A Closer Look at Temporal Sentence Grounding in Videos"), so that long answers that just reach a threshold count less.

Ties, thresholds, and nothing to say
    Answers of equal scores keep the order in which they are given, and all do where they have no scores. An IoU that is a threshold up
    to rounding (1e-9) is that threshold: seconds have one or two decimals, and 3 of 10 seconds are 0.3 wherever they lie. A
    question without answers counts as missed; an answer that ends before it begins overlaps nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import evaluate
import numpy as np


THRESHOLDS = (0.3, 0.5, 0.7)
RECALLS = (1, 5)
PRECISION_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
MAX_PRECISION_ANSWERS = 10
LENGTHS = {"short": (0.0, 10.0), "middle": (10.0, 30.0), "long": (30.0, np.inf)}  # seconds, the upper end included
NUM_RESAMPLES = 1000
ROUNDING = 1e-9

_DESCRIPTION = (
    "When in a video a sentence happens: R@1 and R@5 at IoU 0.3, 0.5 and 0.7 with intervals over videos, discounted recall, mIoU, "
    "mAP with several windows, by length of the moment."
)

_CITATION = """\
@inproceedings{gao2017tall,
  title     = {{TALL}: Temporal Activity Localization via Language Query},
  author    = {Gao, Jiyang and Sun, Chen and Yang, Zhenheng and Nevatia, Ram},
  booktitle = {ICCV},
  year      = {2017}
}
"""

_KWARGS_DESCRIPTION = """\
Args:
    predictions: For each question its answers, each with `start_s`, `end_s` and `score` (None in all: best first).
    references: For each question `windows`, a list of [start_s, end_s]; `duration_s` of the video, or None; `video_id`.
    strict: Whether a hit needs an IoU above the threshold; by default the threshold is enough.
Returns:
    R1@0.3, R1@0.5, R1@0.7, R5@..., mIoU, mAP, mAP@0.5 and mAP@0.75 as fractions; dR1@... and dR5@... where all durations are known;
    R1@..._ci_low and _ci_high, and those of mIoU and mAP, from two videos on; R1@..._short, mAP_short, num_examples_short, and so
    for middle and long, where there are such moments; num_examples (questions) and num_videos.
Examples:
    >>> metric = evaluate.load("metrics/moment_retrieval")
    >>> answers = [[{"start_s": 2.0, "end_s": 8.0, "score": 0.9}, {"start_s": 0.0, "end_s": 2.0, "score": 0.1}]]
    >>> result = metric.compute(predictions=answers, references=[{"windows": [[2, 6]], "duration_s": 20, "video_id": "a"}])
    >>> round(result["mIoU"], 3), result["R1@0.5"], result["R1@0.7"], round(result["dR1@0.5"], 2)
    (0.667, 1.0, 0.0, 0.9)
"""


def temporal_iou(spans_se: np.ndarray, windows_se: np.ndarray) -> np.ndarray:
    """
    Intersection over union of spans of time. A span that ends before it begins, or where it begins, overlaps nothing.

    Args:
        spans_se, windows_se (`np.ndarray` of shape `(..., 2)`): Starts and ends, of shapes that broadcast.

    Returns:
        `np.ndarray` of shape `(...)`, in [0, 1].

    Example:
        >>> temporal_iou(np.array([2.0, 8.0]), np.array([[2.0, 6.0], [9.0, 10.0]])).round(3).tolist()
        [0.667, 0.0]
    """
    spans_se, windows_se = np.asarray(spans_se, dtype=np.float64), np.asarray(windows_se, dtype=np.float64)
    starts, ends = spans_se[..., 0], spans_se[..., 1]
    common = np.minimum(ends, windows_se[..., 1]) - np.maximum(starts, windows_se[..., 0])
    union = np.maximum(ends, windows_se[..., 1]) - np.minimum(starts, windows_se[..., 0])
    # where nothing is in common the distance between both counts as union, too, which does not matter
    return np.maximum(common, 0.0) / np.where(common > 0, union, 1.0)


def reaches(ious: np.ndarray, threshold: float | np.ndarray, strict: bool = False) -> np.ndarray:
    """
    Whether overlaps are hits: the threshold or more, `strict`: more than it; both up to rounding.

    Example:
        >>> ious = temporal_iou(np.array([0.1, 0.4]), np.array([[0.1, 1.1], [0.1, 0.9]]))
        >>> reaches(ious, 0.3).tolist(), reaches(ious, 0.3, strict=True).tolist()
        ([True, True], [False, True])
    """
    return ious > threshold + ROUNDING if strict else ious >= threshold - ROUNDING


def compute_moment_metrics(
    predictions: Sequence[Sequence[Mapping[str, Any]]],
    references: Sequence[Mapping[str, Any]],
    strict: bool = False,
) -> dict[str, float]:
    """
    Measure ranked answers; the module says what is counted.

    Args:
        predictions (`Sequence[Sequence[Mapping]]`): For each question its answers, each with `start_s`, `end_s` and `score`. Where
            none of a question has a score, the best stands first.
        references (`Sequence[Mapping]`): For each question `windows`, `[[start_s, end_s], ...]`, one at least; `duration_s`
            (None or absent where it is not known) and `video_id`.
        strict (`bool`, *optional*, defaults to `False`): Whether a hit needs an IoU above the threshold.

    Returns:
        `dict`: `R1@0.3`, `R1@0.5`, `R1@0.7`, `R5@...`, `mIoU`, `mAP`, `mAP@0.5`, `mAP@0.75`; `dR1@...` and `dR5@...` where all
        durations are known; the ends of 95 % intervals of `R1@...`, `mIoU` and `mAP` (`_ci_low`, `_ci_high`: bootstrap over
        videos, the same draws in every call); `R1@..._short`, `mAP_short`, `num_examples_short`, and so for `middle` and
        `long`; `num_examples` and `num_videos`.

    Raises:
        ValueError: If there is no question, lengths differ, a number is not finite, or a window is empty or not in its video; the
            message names the question.

    Example:
        >>> answers = [{"start_s": 0.0, "end_s": 3.0, "score": 0.4}, {"start_s": 5.0, "end_s": 9.0, "score": 0.6}]
        >>> metrics = compute_moment_metrics([answers], [{"windows": [[0, 10]], "duration_s": 10, "video_id": "a"}])
        >>> metrics["R1@0.3"], metrics["R1@0.5"], metrics["mIoU"]
        (1.0, 0.0, 0.4)
    """
    if not len(references) or len(predictions) != len(references):
        raise ValueError(
            f"Expected answers and windows of the same questions, one at least, got {len(predictions)} and {len(references)}"
        )
    windows = _join([_read_windows(each, f"Question {n}") for n, each in enumerate(references)])
    answers = _join([_read_answers(each, f"Question {n}") for n, each in enumerate(predictions)])
    durations = [each.get("duration_s") for each in references]
    durations = None if None in durations else np.array(durations, dtype=np.float64)
    videos, members = np.unique([str(each["video_id"]) for each in references], return_inverse=True)

    values = _score_questions(answers, windows, durations, strict)
    metrics = {name: float(each.mean()) for name, each in values.items()}
    if len(videos) > 1:
        metrics |= _intervals(
            {name: values[name] for name in values if name[:3] in ("R1@", "mIo") or name == "mAP"}, members
        )
    lengths = windows[..., 1] - windows[..., 0]
    for name, (above, up_to) in LENGTHS.items():
        of_length = (lengths > above) & (lengths <= up_to)
        asked = of_length.any(axis=1)
        if asked.any():
            kept = np.where(of_length[asked, :, None], windows[asked], np.nan)
            parts = _score_questions(answers[asked], kept, None, strict)
            shown = {
                f"{part}_{name}": float(parts[part].mean()) for part in parts if part[:2] == "R1" or part == "mAP"
            }
            metrics |= {**shown, f"num_examples_{name}": int(asked.sum())}
    return {**metrics, "num_examples": len(references), "num_videos": len(videos)}


def _score_questions(
    answers: np.ndarray, windows: np.ndarray, durations: np.ndarray | None, strict: bool
) -> dict[str, np.ndarray]:
    """What each question adds to each number; `answers` (Q, K, 2) best first and `windows` (Q, W, 2) end in NaN."""
    ious = np.nan_to_num(temporal_iou(answers[:, :, None], windows[:, None]))  # (Q, K, W)
    nearest = ious.argmax(axis=2)  # the window that an answer overlaps most
    best = ious.max(axis=2)  # (Q, K)
    credit = {"R": np.ones_like(best)}
    if durations is not None:
        errors = np.abs(answers - np.take_along_axis(windows, nearest[..., None], axis=1)) / durations[:, None, None]
        credit["dR"] = np.nan_to_num(np.maximum(1 - errors, 0.0).prod(axis=2))
    values = {
        f"{name}{count}@{threshold}": (reaches(best, threshold, strict) * worth)[:, :count].max(axis=1)
        for name, worth in credit.items()
        for count in RECALLS
        for threshold in THRESHOLDS
    }
    precision = _average_precision(ious[:, :MAX_PRECISION_ANSWERS], answers, windows, strict)
    at = {threshold: precision[:, PRECISION_THRESHOLDS.index(threshold)] for threshold in (0.5, 0.75)}
    return {
        **values,
        "mIoU": best[:, 0],
        "mAP": precision.mean(axis=1),
        **{f"mAP@{threshold}": each for threshold, each in at.items()},
    }


def _average_precision(ious: np.ndarray, answers: np.ndarray, windows: np.ndarray, strict: bool) -> np.ndarray:
    """`(Q, thresholds)`: area below the precision that can be had at a recall or a higher one, of each question."""
    num_answers, thresholds = ious.shape[1], np.array(PRECISION_THRESHOLDS)
    free = np.repeat(~np.isnan(windows[:, None, :, 0]), len(thresholds), axis=1)  # (Q, thresholds, W)
    right = np.zeros((len(ious), len(thresholds), num_answers), dtype=bool)
    for rank in range(num_answers):
        open_ious = np.where(free, ious[:, rank, None], -1.0)
        right[:, :, rank] = reaches(open_ious.max(axis=2), thresholds, strict)
        taken = np.arange(windows.shape[1]) == open_ious.argmax(axis=2)[..., None]
        free &= ~(taken & right[:, :, rank, None])
    precision = right.cumsum(axis=2) / np.arange(1, num_answers + 1)
    best = np.maximum.accumulate(precision[:, :, ::-1], axis=2)[:, :, ::-1]
    num_windows = (~np.isnan(windows[..., 0])).sum(axis=1)
    return (best * right).sum(axis=2) / num_windows[:, None]


def _intervals(values: Mapping[str, np.ndarray], members: np.ndarray) -> dict[str, float]:
    """The middle 95 % of means over draws of as many videos, with all questions of each."""
    rng, size = np.random.default_rng(0), members.max() + 1
    counts = np.bincount(members)
    sums = np.stack([np.bincount(members, weights=each) for each in values.values()], axis=1)  # (videos, numbers)
    drawn = rng.multinomial(size, np.full(size, 1 / size), size=NUM_RESAMPLES)  # how often each video counts
    means = (drawn @ sums) / (drawn @ counts)[:, None]
    ends = np.quantile(means, [0.025, 0.975], axis=0)
    return {
        f"{name}_{end}": float(ends[row, column])
        for column, name in enumerate(values)
        for row, end in enumerate(("ci_low", "ci_high"))
    }


def _read_windows(reference: Mapping[str, Any], where: str) -> np.ndarray:
    windows, duration_s = np.array(reference["windows"], dtype=np.float64), reference.get("duration_s")
    if windows.ndim != 2 or windows.shape[1] != 2 or not np.isfinite(windows).all():
        raise ValueError(
            f"{where}: expected windows [[start_s, end_s], ...], one at least, got {reference['windows']}"
        )
    if duration_s is not None and not (np.isfinite(duration_s) and duration_s > 0):
        raise ValueError(f"{where}: expected a duration in seconds, got {duration_s}")
    windows = np.clip(windows, 0.0, duration_s)
    if not (windows[:, 0] < windows[:, 1]).all():
        raise ValueError(
            f"{where}: expected windows that begin before they end, inside the video of {duration_s} s, got "
            f"{reference['windows']}. Leave such questions out, as the loaders do."
        )
    return windows


def _read_answers(answers: Sequence[Mapping[str, Any]], where: str) -> np.ndarray:
    """`(K, 2)`, best first."""
    spans = np.array([(each["start_s"], each["end_s"]) for each in answers], dtype=np.float64).reshape(-1, 2)
    scores = [each.get("score") for each in answers]
    has_scores = [score is not None for score in scores]
    if any(has_scores) and not all(has_scores):
        raise ValueError(f"{where}: expected a score of each answer, or of none, got {scores}")
    order = np.argsort(-np.array(scores, dtype=np.float64), kind="stable") if all(has_scores) else slice(None)
    if not np.isfinite(spans).all() or np.isnan(np.array(scores, dtype=np.float64)).any() and all(has_scores):
        raise ValueError(f"{where}: expected answers of finite seconds and scores without NaN, got {list(answers)}")
    return spans[order]


def _join(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One array of `(n, 2)` of different lengths, one row long at least, with NaN behind the ends."""
    joined = np.full((len(parts), max(1, max(map(len, parts))), 2), np.nan)
    for row, part in zip(joined, parts, strict=True):
        row[: len(part)] = part
    return joined


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class MomentRetrieval(evaluate.Metric):
    """`evaluate.load("metrics/moment_retrieval")`: add ranked answers in seconds, with the windows of each question."""

    def _info(self):
        number = datasets.Value("float64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": datasets.List({"start_s": number, "end_s": number, "score": number}),
                    "references": {
                        "windows": datasets.List(datasets.List(number)),
                        "duration_s": number,
                        "video_id": datasets.Value("string"),
                    },
                }
            ),
        )

    def _compute(self, predictions, references, strict=False):
        return compute_moment_metrics(predictions, references, strict)
