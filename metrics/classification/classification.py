# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Accuracy of choosing one class out of many by score, and of any number of labels; intervals, and a test of two models.

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
    "Accuracy of choosing one class out of many by score: the best one, with its 95 % interval, the best five, the mean over "
    "classes, macro-F1."
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
    accuracy with the ends of its 95 % interval, accuracy_ci_low and accuracy_ci_high; top5_accuracy and chance_top5_accuracy
    (with more than five classes), mean_class_accuracy (over the classes that occur), macro_f1 and chance_accuracy, as
    fractions; num_examples.
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
        `dict`: `accuracy`, `accuracy_ci_low` and `accuracy_ci_high` (its 95 % interval, see [`wilson_interval`]),
        `top5_accuracy` and `chance_top5_accuracy` where there are more than five classes, `mean_class_accuracy` (the mean
        over the classes that occur), `macro_f1` (over the classes that occur or are predicted), `chance_accuracy` and
        `num_examples`.

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

    hits = float(credit(1).sum())
    low, high = wilson_interval(hits, len(gold))
    metrics = {"accuracy": hits / len(gold), "accuracy_ci_low": low, "accuracy_ci_high": high}
    if num_classes > TOP_K:
        metrics |= {"top5_accuracy": float(credit(TOP_K).mean()), "chance_top5_accuracy": TOP_K / num_classes}
    by_class = [credit(1)[gold == label].mean() for label in np.unique(gold)]
    return {
        **metrics,
        "mean_class_accuracy": float(np.mean(by_class)),
        "macro_f1": macro_f1(count_confusions(scores.argmax(axis=1), gold, num_classes)),
        "chance_accuracy": 1 / num_classes,
        "num_examples": len(gold),
    }


def count_confusions(predicted: Sequence[int], gold: Sequence[int], num_classes: int) -> np.ndarray:
    """
    How often a class was taken for which.

    Args:
        predicted, gold (`Sequence[int]`): Classes of the examples.
        num_classes (`int`): How many there are.

    Returns:
        `np.ndarray` of shape `(classes, classes)`: Right classes down, predicted ones across.

    Example:
        >>> count_confusions([0, 1, 1], [0, 0, 1], 2).tolist()
        [[1, 1], [0, 1]]
    """
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (np.asarray(gold, dtype=np.int64), np.asarray(predicted, dtype=np.int64)), 1)
    return counts


def macro_f1(counts: np.ndarray) -> float:
    """The mean F1 of the classes that occur or are predicted, from `counts` as [`count_confusions`] gives them."""
    hits, total = np.diagonal(counts), counts.sum(axis=0) + counts.sum(axis=1)
    return float((2 * hits[total > 0] / total[total > 0]).mean())


def compute_multilabel_metrics(scores: Sequence[Sequence[float]], gold: Sequence[Sequence[int]]) -> dict[str, float]:
    """
    F1 and average precision where an example has any number of labels.

    Args:
        scores (`Sequence[Sequence[float]]` of shape `(examples, classes)`): Logits: a label above 0 is predicted.
        gold (`Sequence[Sequence[int]]` of shape `(examples, classes)`): 1 where an example has the label, else 0.

    Returns:
        `dict`: `mAP` (over the labels that occur; of equal scores all count at once), `macro_f1` (over the labels that
        occur or are predicted), `micro_f1`, `chance_mAP` (the mean share of examples with a label) and `num_examples`.

    Raises:
        ValueError: If there are no examples or no labels, shapes differ, a score is NaN, or `gold` is not 0 and 1.

    Example:
        >>> compute_multilabel_metrics([[2.0, -1.0], [1.0, 3.0]], [[1, 0], [0, 1]])["mAP"]
        1.0
    """
    scores, gold = np.asarray(scores, dtype=np.float64), np.asarray(gold)
    if scores.ndim != 2 or scores.shape != gold.shape or not len(scores):
        raise ValueError(
            f"Expected scores and labels (examples, classes) of one shape, got {scores.shape}, {gold.shape}"
        )
    if np.isnan(scores).any():
        raise ValueError(f"Example {int(np.isnan(scores).any(axis=1).argmax())}: expected scores without NaN")
    if not np.isin(gold, (0, 1)).all() or not gold.any():
        raise ValueError("Expected labels of 0 and 1, with a 1 among them")
    gold, predicted = gold.astype(bool), scores > 0
    hits, total = (gold & predicted).sum(axis=0), gold.sum(axis=0) + predicted.sum(axis=0)
    occurring = [label for label in range(gold.shape[1]) if gold[:, label].any()]
    return {
        "mAP": float(np.mean([_average_precision(scores[:, label], gold[:, label]) for label in occurring])),
        "macro_f1": float((2 * hits[total > 0] / total[total > 0]).mean()),
        "micro_f1": float(2 * hits.sum() / total.sum()),
        "chance_mAP": float(gold[:, occurring].mean()),
        "num_examples": len(scores),
    }


def _average_precision(scores: np.ndarray, gold: np.ndarray) -> float:
    """The mean precision at the places of the right examples; a place is where the last of equal scores stands."""
    order = np.argsort(-scores, kind="stable")
    ends = np.searchsorted(-scores[order], -scores[order], side="right")  # examples that score as much or more
    precision = np.cumsum(gold[order])[ends - 1] / ends
    return float(precision[gold[order]].mean())


def wilson_interval(hits: float, total: int, z: float = 1.96) -> tuple[float, float]:
    """
    Wilson's score interval of a share.

    Args:
        hits (`float`): Examples that count; a part of one where a tie counts in part.
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


def mcnemar_test(first: Sequence[bool], second: Sequence[bool]) -> dict[str, float]:
    """
    McNemar's exact test: whether two models differ on the same examples, by those that only one of them gets right.

    Args:
        first, second (`Sequence[bool]`): For each example whether the model was right.

    Returns:
        `dict`: `num_only_first`, `num_only_second`, and `p_value`, two-sided: how probable a difference as large or larger
        is, if either model were as likely to be the right one.

    Raises:
        ValueError: If they are not of the same examples.

    Example:
        >>> mcnemar_test([True] * 6 + [False], [False] * 6 + [True])["p_value"]
        0.125
    """
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"Expected one answer of each model to the same examples, got {first.shape}, {second.shape}")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differing = only_first + only_second
    tail = sum(math.comb(differing, count) for count in range(min(only_first, only_second) + 1))
    p_value = min(1.0, 2 * tail / 2**differing)
    return {"num_only_first": only_first, "num_only_second": only_second, "p_value": p_value}


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
