# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""When a sentence of a video is seen, and whether it is seen at all, by a score for each second (HTM-Align).

What counts
    R@1: a sentence that is alignable is a hit if the best of all seconds of its video lies in the annotated span, from the
    floor of its start to the ceiling of its end, both included. A best score that several seconds share counts as a random
    choice among them, so constant scores give exactly chance. A second that was not compared has the score -inf.
    ROC-AUC: how well the best score of a sentence tells those that are alignable from the others: the probability that a random
    one of the former has a higher one than a random one of the latter, ties counting half.
"""

import math
from collections.abc import Sequence

import datasets
import evaluate
import numpy as np

from clipbert.metrics.classification.classification import wilson_interval


_DESCRIPTION = "When sentences of a video are seen (R@1 over its seconds), and whether they are seen at all (ROC-AUC), with intervals."

_CITATION = """\
@inproceedings{han2022temporal,
  title     = {Temporal Alignment Networks for Long-term Video},
  author    = {Han, Tengda and Xie, Weidi and Zisserman, Andrew},
  booktitle = {CVPR},
  year      = {2022}
}
"""

_KWARGS_DESCRIPTION = """\
Args:
    predictions: For each sentence one score per second of its video; higher means a better match.
    references: For each sentence `alignable`, `start_s` and `end_s` of what shows it (not read where it is not alignable).
Returns:
    R@1 with the ends of its 95 % interval, R@1_ci_low and R@1_ci_high, and chance_R@1; roc_auc in the same way, where there are
    sentences of both kinds; num_examples (sentences that are alignable) and num_sentences.
Examples:
    >>> metric = evaluate.load("metrics/alignment")
    >>> said = [{"alignable": True, "start_s": 1.2, "end_s": 1.8}, {"alignable": False, "start_s": 0.0, "end_s": 1.0}]
    >>> result = metric.compute(predictions=[[0.1, 0.9, 0.2, 0.3], [0.2, 0.1, 0.1, 0.1]], references=said)
    >>> result["R@1"], result["chance_R@1"], result["roc_auc"]
    (1.0, 0.5, 1.0)
"""


def seconds_of_span(start_s: float, end_s: float) -> tuple[int, int]:
    """First and last second that count as a span.

    Example:
        >>> seconds_of_span(10.739, 17.535)
        (10, 18)
    """
    return math.floor(start_s), math.ceil(end_s)


def compute_alignment_metrics(
    scores: Sequence[Sequence[float]], spans: Sequence[tuple[float, float]], alignable: Sequence[bool]
) -> dict[str, float]:
    """
    Measure how well scores say when sentences are seen, and whether.

    Args:
        scores (`Sequence[Sequence[float]]`): For each sentence one score per second of its video, from the first; -inf where
            it was not compared. Videos differ in length.
        spans (`Sequence[tuple[float, float]]`): Start and end in seconds of what shows the sentence; not read of others.
        alignable (`Sequence[bool]`): Whether a sentence is seen.

    Returns:
        `dict`: `R@1`, `R@1_ci_low` and `R@1_ci_high` (95 %, Wilson), `chance_R@1`; where there are sentences of both kinds
        `roc_auc`, `roc_auc_ci_low` and `roc_auc_ci_high` (95 %, Hanley and McNeil 1982) and `chance_roc_auc`; `num_examples`
        (sentences that are alignable), `num_sentences`.

    Raises:
        ValueError: If a score is NaN, a sentence has none, lengths differ, or no sentence is alignable.

    Example:
        >>> metrics = compute_alignment_metrics([[0.1, 0.9], [0.5, 0.5]], [(1.2, 1.8), (0.0, 0.4)], [True, True])
        >>> metrics["R@1"], metrics["chance_R@1"], metrics["num_examples"]
        (1.0, 0.75, 2)
    """
    if not len(scores) == len(spans) == len(alignable):
        raise ValueError(
            f"Expected scores, a span and whether it is alignable of each sentence, got {len(scores)}, {len(spans)} and "
            f"{len(alignable)}"
        )
    hits, chances, best = [], [], []
    for number, (row, span, is_seen) in enumerate(zip(scores, spans, alignable, strict=True)):
        row = np.asarray(row, dtype=np.float64)
        if row.ndim != 1 or not len(row) or np.isnan(row).any():
            raise ValueError(f"Sentence {number}: expected scores without NaN, at least one, got {row.tolist()}")
        best.append(row.max())
        if is_seen:
            first, last = seconds_of_span(*span)
            counts = np.zeros(len(row), dtype=bool)
            counts[max(first, 0) : max(last + 1, 0)] = True
            hits.append(counts[row == row.max()].mean())
            chances.append(counts.mean())
    if not hits:
        raise ValueError(f"Expected a sentence that is alignable at least, got none among {len(scores)}")
    low, high = wilson_interval(sum(hits), len(hits))
    metrics = {
        "R@1": float(np.mean(hits)),
        "R@1_ci_low": low,
        "R@1_ci_high": high,
        "chance_R@1": float(np.mean(chances)),
    }
    if len(hits) < len(scores):
        is_seen = np.asarray(alignable, dtype=bool)
        area = compute_roc_auc(np.array(best)[is_seen], np.array(best)[~is_seen])
        low, high = roc_auc_interval(area, len(hits), len(scores) - len(hits))
        metrics |= {"roc_auc": area, "roc_auc_ci_low": low, "roc_auc_ci_high": high, "chance_roc_auc": 0.5}
    return {**metrics, "num_examples": len(hits), "num_sentences": len(scores)}


def compute_roc_auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """
    The probability that one of the first scores is higher than one of the others, ties counting half.

    Example:
        >>> compute_roc_auc(np.array([0.9, 0.4]), np.array([0.4, 0.1]))
        0.875
    """
    ordered = np.sort(negative)
    below, up_to = (np.searchsorted(ordered, positive, side=side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(negative)))


def roc_auc_interval(area: float, num_positive: int, num_negative: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of an area under the curve, by the standard error of Hanley and McNeil (1982)."""
    if not 0 < area < 1:
        return area, area
    # the probability that two positives beat one negative, and that one positive beats two negatives
    of_two, over_two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (num_positive - 1) * (of_two - area**2) + (num_negative - 1) * (over_two - area**2)
    half = z * math.sqrt(variance / (num_positive * num_negative))
    return max(area - half, 0.0), min(area + half, 1.0)


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Alignment(evaluate.Metric):
    """`evaluate.load("metrics/alignment")`: add the scores of sentences, with when they are seen."""

    def _info(self):
        said = {
            "alignable": datasets.Value("bool"),
            "start_s": datasets.Value("float64"),
            "end_s": datasets.Value("float64"),
        }
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": datasets.List(datasets.Value("float64")), "references": said}),
        )

    def _compute(self, predictions, references):
        spans = [(row["start_s"], row["end_s"]) for row in references]
        return compute_alignment_metrics(predictions, spans, [row["alignable"] for row in references])
