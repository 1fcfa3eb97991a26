# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Accuracy of choosing one of several options by score, compared with guessing.

How ties are counted
    `"average"` (default): a question whose right option shares the highest score with others counts as one in so many,
    which is what a random choice among them gives on average. So constant scores give exactly the chance level. Ties
    are common where long options are cut to the same words.
    `"first"`: the first of the highest scores is chosen, as the official code does.
"""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np


_DESCRIPTION = "Accuracy of choosing one of several options by score, compared with guessing."

_CITATION = """\
@inproceedings{jang2017tgif,
  title     = {{TGIF-QA}: Toward Spatio-Temporal Reasoning in Visual Question Answering},
  author    = {Jang, Yunseok and Song, Yale and Yu, Youngjae and Kim, Youngjin and Kim, Gunhee},
  booktitle = {CVPR},
  year      = {2017}
}
"""

_KWARGS_DESCRIPTION = """\
Args:
    predictions: For each question one score per option; higher means better. Questions may differ in their number.
    references: For each question the position of the right option.
    ties: "average" (default) or "first".
Returns:
    accuracy and chance_accuracy (fractions), num_examples.
Examples:
    >>> metric = evaluate.load("metrics/multiple_choice")
    >>> metric.compute(predictions=[[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]], references=[1, 2])["accuracy"]
    0.5
"""


def compute_multiple_choice_metrics(
    scores: Sequence[Sequence[float]], gold: Sequence[int], ties: str = "average"
) -> dict[str, float]:
    """
    Accuracy of taking the option with the highest score.

    Args:
        scores (`Sequence` of `Sequence[float]`): For each question one score per option.
        gold (`Sequence[int]`): Positions of the right options.
        ties (`str`, defaults to `"average"`): "average" or "first"; see the module's docstring.

    Returns:
        `dict`: `accuracy`, `chance_accuracy` (the mean of 1 / number of options) and `num_examples`.

    Raises:
        ValueError: If a score is NaN, there are no questions, the lengths differ, a position is out of range, or
            `ties` is unknown.

    Example:
        >>> compute_multiple_choice_metrics([[0.1, 0.7], [0.5, 0.5]], [1, 0])["accuracy"]
        0.75
    """
    if ties not in ("average", "first"):
        raise ValueError(f"Expected `ties` to be 'average' or 'first', got {ties!r}")
    if len(scores) != len(gold) or not len(gold):
        raise ValueError(
            f"Expected scores and a right option for each question, at least one, got {len(scores)} and {len(gold)}"
        )
    credits, chances = [], []
    for question, (row, right) in enumerate(zip(scores, gold, strict=True)):
        row, right = np.asarray(row, dtype=np.float64), int(right)
        if row.ndim != 1 or not 0 <= right < len(row):
            raise ValueError(f"Question {question}: expected option {right} among the scores, got shape {row.shape}")
        if np.isnan(row).any():
            raise ValueError(f"Question {question}: expected scores without NaN, got {row.tolist()}")
        best = row == row.max()
        credits.append(best[right] / best.sum() if ties == "average" else float(row.argmax() == right))
        chances.append(1 / len(row))
    return {
        "accuracy": float(np.mean(credits)),
        "chance_accuracy": float(np.mean(chances)),
        "num_examples": len(credits),
    }


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class MultipleChoice(evaluate.Metric):
    """`evaluate.load("metrics/multiple_choice")`: add scores of options, with the positions of the right ones."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.List(datasets.Value("float64")), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions, references, ties="average"):
        return compute_multiple_choice_metrics(predictions, references, ties)
