# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Accuracy of open-ended answers about videos, overall and by answer type.

An answer is right if it is the very text of the gold answer. A question whose gold answer the model cannot give,
because it is outside its vocabulary, is therefore wrong and counts like any other. A type without examples is absent
from the result: a 0, as the official code reports it, would look like a score.
"""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np


_DESCRIPTION = "Accuracy of open-ended answers about videos, overall and by answer type, with the counts."

_CITATION = """\
@inproceedings{xu2017video,
  title     = {Video Question Answering via Gradually Refined Attention over Appearance and Motion},
  author    = {Xu, Dejing and Zhao, Zhou and Xiao, Jun and Wu, Fei and Zhang, Hanwang and He, Xiangnan and
               Zhuang, Yueting},
  booktitle = {ACM Multimedia},
  year      = {2017}
}
"""

_KWARGS_DESCRIPTION = """\
Args:
    predictions: The answer given to each question, as text.
    references: The right answer to each question, as text.
    answer_types: The type of each question, such as "what" or "color"; empty texts count overall only.
Returns:
    accuracy (fraction), num_examples, and for each type that occurs accuracy_<type> and num_examples_<type>.
Examples:
    >>> metric = evaluate.load("metrics/video_qa")
    >>> result = metric.compute(
    ...     predictions=["dog", "two", "red"], references=["dog", "three", "red"], answer_types=["what", "how", "what"]
    ... )
    >>> result["accuracy_what"], result["accuracy_how"]
    (1.0, 0.0)
"""


def compute_video_qa_metrics(
    predictions: Sequence[str], references: Sequence[str], answer_types: Sequence[str] | None = None
) -> dict[str, float]:
    """
    Accuracy of answers, overall and by type.

    Args:
        predictions (`Sequence[str]`): The answer given to each question.
        references (`Sequence[str]`): The right answers. Those that no prediction can be, because they are outside the
            vocabulary of the model, count as wrong.
        answer_types (`Sequence[str]`, *optional*): The type of each question; empty for questions without one.

    Returns:
        `dict`: `accuracy` as a fraction, `num_examples`, and for each type that occurs `accuracy_<type>` and
        `num_examples_<type>`, in alphabetical order.

    Raises:
        ValueError: If there are no questions, or the lengths differ.

    Example:
        >>> compute_video_qa_metrics(["dog", "two"], ["dog", "three"], ["what", "how"])["accuracy"]
        0.5
    """
    answer_types = [""] * len(references) if answer_types is None else answer_types
    if not len(predictions) == len(references) == len(answer_types) or not len(references):
        raise ValueError(
            f"Expected one prediction and one type for each question, at least one, got {len(predictions)} predictions, "
            f"{len(references)} references and {len(answer_types)} answer types"
        )
    right = [given == gold for given, gold in zip(predictions, references, strict=True)]
    metrics = {"accuracy": sum(right) / len(right), "num_examples": len(right)}
    for name in sorted(set(answer_types) - {""}):
        of_type = [is_right for is_right, kind in zip(right, answer_types, strict=True) if kind == name]
        metrics |= {f"accuracy_{name}": sum(of_type) / len(of_type), f"num_examples_{name}": len(of_type)}
    return metrics


def compute_count_metrics(
    predictions: Sequence[float], references: Sequence[int], count_range: tuple[int, int]
) -> dict[str, float]:
    """
    Accuracy and mean squared error of counts, as TGIF-QA reports them: predictions are rounded and clipped first.

    Args:
        predictions (`Sequence[float]`): Predicted counts, not rounded.
        references (`Sequence[int]`): Right counts.
        count_range (`tuple[int, int]`): Smallest and largest count that can be answered.

    Returns:
        `dict`: `accuracy` as a fraction, `mean_squared_error` and `num_examples`.

    Raises:
        ValueError: If there are no questions, the lengths differ, or a prediction is not a finite number.

    Example:
        >>> compute_count_metrics([2.4, 11.0], [2, 8], count_range=(1, 10))
        {'accuracy': 0.5, 'mean_squared_error': 2.0, 'num_examples': 2}
    """
    given, gold = np.asarray(predictions, dtype=np.float64), np.asarray(references)
    if given.shape != gold.shape or given.ndim != 1 or not given.size:
        raise ValueError(
            f"Expected one count for each question, at least one, got {given.shape} predictions and {gold.shape} references"
        )
    if not np.isfinite(given).all():
        raise ValueError(f"Expected finite predictions, got {given[~np.isfinite(given)].tolist()}")
    counts = np.clip(np.floor(given + 0.5), *count_range)  # halves are rounded up, not to the even neighbour
    return {
        "accuracy": float((counts == gold).mean()),
        "mean_squared_error": float(((counts - gold) ** 2).mean()),
        "num_examples": int(gold.size),
    }


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class VideoQA(evaluate.Metric):
    """`evaluate.load("metrics/video_qa")`: add answers, with the types in the call of `compute`."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references, answer_types=None):
        return compute_video_qa_metrics(predictions, references, answer_types)
