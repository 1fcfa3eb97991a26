# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The score of VQA 2.0: every answer that annotators gave has a score in [0, 1], others have 0; the mean counts.

An answer scores 1 if at least three of the other nine annotators gave it, which makes 0.3, 0.6 and 0.9 for one, two
and three of ten. A type without examples is absent from the result, where the official code reports NaN.
"""

from collections.abc import Mapping, Sequence

import datasets
import evaluate


_DESCRIPTION = "Mean soft score of answers about images (VQA 2.0), overall and for yes/no, number and other questions."

_CITATION = """\
@inproceedings{goyal2017making,
  title     = {Making the {V} in {VQA} Matter: Elevating the Role of Image Understanding in Visual Question Answering},
  author    = {Goyal, Yash and Khot, Tejas and Summers-Stay, Douglas and Batra, Dhruv and Parikh, Devi},
  booktitle = {CVPR},
  year      = {2017}
}
"""

_KWARGS_DESCRIPTION = """\
Args:
    predictions: The answer given to each question, as text.
    references: For each question {"answers": [text, ...], "scores": [score, ...]}.
    answer_types: The type of each question: "yes/no", "number" or "other".
Returns:
    vqa_score (fraction), num_examples, and for each type that occurs vqa_score_<type> and num_examples_<type>.
Examples:
    >>> metric = evaluate.load("metrics/vqa_score")
    >>> references = [{"answers": ["red", "dark red"], "scores": [1.0, 0.6]}, {"answers": ["2"], "scores": [1.0]}]
    >>> metric.compute(predictions=["dark red", "3"], references=references)["vqa_score"]
    0.3
"""


def compute_vqa_score(
    predictions: Sequence[str],
    references: Sequence[Mapping[str, float]],
    answer_types: Sequence[str] | None = None,
) -> dict[str, float]:
    """
    Mean score of answers, overall and by type.

    Args:
        predictions (`Sequence[str]`): The answer given to each question.
        references (`Sequence[Mapping[str, float]]`): For each question the scores of its answers.
        answer_types (`Sequence[str]`, *optional*): The type of each question; empty for questions without one.

    Returns:
        `dict`: `vqa_score` as a fraction, `num_examples`, and for each type that occurs `vqa_score_<type>` and
        `num_examples_<type>`, in alphabetical order.

    Raises:
        ValueError: If there are no questions, or the lengths differ, or a score is outside [0, 1].

    Example:
        >>> compute_vqa_score(["dark red", "3"], [{"red": 1.0, "dark red": 0.6}, {"2": 1.0}])["vqa_score"]
        0.3
    """
    answer_types = [""] * len(references) if answer_types is None else answer_types
    if not len(predictions) == len(references) == len(answer_types) or not len(references):
        raise ValueError(
            f"Expected one prediction and one type for each question, at least one, got {len(predictions)} predictions, "
            f"{len(references)} references and {len(answer_types)} answer types"
        )
    for question, soft in enumerate(references):
        if not all(0 <= score <= 1 for score in soft.values()):
            raise ValueError(f"Question {question}: expected scores in [0, 1], got {dict(soft)}")
    scores = [float(soft.get(given, 0.0)) for given, soft in zip(predictions, references, strict=True)]
    metrics = {"vqa_score": sum(scores) / len(scores), "num_examples": len(scores)}
    for name in sorted(set(answer_types) - {""}):
        of_type = [score for score, kind in zip(scores, answer_types, strict=True) if kind == name]
        metrics |= {f"vqa_score_{name}": sum(of_type) / len(of_type), f"num_examples_{name}": len(of_type)}
    return metrics


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class VQAScore(evaluate.Metric):
    """`evaluate.load("metrics/vqa_score")`: add answers and soft scores, with the types in the call of `compute`."""

    def _info(self):
        soft = {"answers": datasets.List(datasets.Value("string")), "scores": datasets.List(datasets.Value("float64"))}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": datasets.Value("string"), "references": soft}),
        )

    def _compute(self, predictions, references, answer_types=None):
        soft = [dict(zip(entry["answers"], entry["scores"], strict=True)) for entry in references]
        return compute_vqa_score(predictions, soft, answer_types)
