# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Accuracy of choosing one class out of many by score: the best one, the best five, and the mean over classes.

How ties are counted
    An example whose right class shares its score with others counts as what a random order of them gives on average,
    so constant scores give exactly the chance level.
"""

import math
from collections.abc import Sequence

import datasets
import evaluate
import numpy as np


TOP_K = 5

_DESCRIPTION = (
    "Accuracy of choosing one class out of many by score: the best one, the best five, the mean over classes."
)

_CITATION = """\
@article{soomro2012ucf101,
  title   = {{UCF101}: A Dataset of 101 Human Actions Classes From Videos in The Wild},
  author  = {Soomro, Khurram and Zamir, Amir Roshan and Shah, Mubarak},
  journal = {arXiv preprint arXiv:1212.0402},
  year    = {2012}
}
"""

_KWARGS_DESCRIPTION = """\
Args:
    predictions: For each example one score per class; higher means better.
    references: For each example the number of the right class.
Returns:
    accuracy, top5_accuracy (with more than five classes), mean_class_accuracy (over the classes that occur) and
    chance_accuracy, as fractions; num_examples.
Examples:
    >>> metric = evaluate.load("metrics/classification")
    >>> metric.compute(predictions=[[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]], references=[1, 2])["accuracy"]
    0.5
"""


def compute_classification_metrics(scores: Sequence[Sequence[float]], gold: Sequence[int]) -> dict[str, float]:
    """
    Accuracy of taking the class with the highest score.

    Args:
        scores (`Sequence[Sequence[float]]` of shape `(examples, classes)`): Higher means better.
        gold (`Sequence[int]`): Numbers of the right classes.

    Returns:
        `dict`: `accuracy`, `top5_accuracy` where there are more than five classes, `mean_class_accuracy` (the mean over the
        classes that occur), `chance_accuracy` and `num_examples`.

    Raises:
        ValueError: If there are no examples, a score is NaN, the lengths differ, or a class is out of range.

    Example:
        >>> compute_classification_metrics([[0.1, 0.7], [0.5, 0.5]], [1, 0])["accuracy"]
        0.75
    """
    scores, gold = np.asarray(scores, dtype=np.float64), np.asarray(gold, dtype=np.int64)
    if scores.ndim != 2 or len(scores) != len(gold) or not len(gold):
        raise ValueError(
            f"Expected scores (examples, classes) with a right class for each example, got {scores.shape} and {len(gold)}"
        )
    num_classes = scores.shape[1]
    if np.isnan(scores).any():
        raise ValueError(f"Example {int(np.isnan(scores).any(axis=1).argmax())}: expected scores without NaN")
    if wrong := [int(label) for label in gold if not 0 <= label < num_classes]:
        raise ValueError(f"Expected classes from 0 to {num_classes - 1}, got {wrong[0]}")
    right = scores[np.arange(len(gold)), gold][:, None]
    better, equal = (scores > right).sum(axis=1), (scores == right).sum(axis=1)

    def credit(k: int) -> np.ndarray:  # the probability to be among the best k in a random order of equals
        return np.clip((k - better) / equal, 0.0, 1.0)

    metrics = {"accuracy": float(credit(1).mean())}
    if num_classes > TOP_K:
        metrics["top5_accuracy"] = float(credit(TOP_K).mean())
    by_class = [credit(1)[gold == label].mean() for label in np.unique(gold)]
    return {
        **metrics,
        "mean_class_accuracy": float(np.mean(by_class)),
        "chance_accuracy": 1 / num_classes,
        "num_examples": len(gold),
    }


def wilson_interval(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """
    Wilson's score interval of a share.

    Args:
        hits (`int`): Examples that count.
        total (`int`): All of them, at least 1.
        z (`float`, *optional*, defaults to 1.96): Standard deviations on either side; 1.96 is an interval of 95 %.

    Raises:
        ValueError: If there are no examples, or more hits than examples.

    Example:
        >>> [round(end, 2) for end in wilson_interval(195, 224)]
        [0.82, 0.91]
    """
    if not 0 <= hits <= total or total < 1:
        raise ValueError(f"Expected 0 to total hits of at least one example, got {hits} of {total}")
    share, weight = hits / total, z * z / total
    centre = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    return max(centre - half, 0.0), min(centre + half, 1.0)


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Classification(evaluate.Metric):
    """`evaluate.load("metrics/classification")`: add scores of classes, with the numbers of the right ones."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.List(datasets.Value("float64")), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions, references):
        return compute_classification_metrics(predictions, references)
