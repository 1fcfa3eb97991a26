# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Accuracy of masked words (MLM) and of image-text matching (ITM), compared with what can be had without looking.

How words are counted
    Every masked word counts once, whatever the length of its text. `mlm_accuracy` is that of pairs whose text belongs
    to the picture. The words of pairs that do not belong together have to be guessed from the text alone, and make up
    `mlm_blind_accuracy`. `mlm_majority_accuracy` is what the best constant guess would get: the share of the most
    frequent word among those masked in matching pairs. The official code has one accuracy over all pairs; with no or
    only matching pairs both are the same.

How pairs are counted
    `itm_accuracy` is the share of pairs that were recognised, `itm_majority_accuracy` the share of the more frequent kind.
"""

from collections import Counter
from collections.abc import Sequence

import datasets
import evaluate


_DESCRIPTION = "Accuracy of masked words and of image-text matching, compared with what can be had without looking."

_CITATION = """\
@inproceedings{lei2021less,
  title     = {Less is More: ClipBERT for Video-and-Language Learning via Sparse Sampling},
  author    = {Lei, Jie and Li, Linjie and Zhou, Luowei and Gan, Zhe and Berg, Tamara L. and Bansal, Mohit and
               Liu, Jingjing},
  booktitle = {CVPR},
  year      = {2021}
}
"""

_KWARGS_DESCRIPTION = """\
Args:
    predictions: For each pair of a text and a picture {"words": [...], "match": 0 or 1}: the words predicted at the
        masked places, and whether text and picture are said to belong together.
    references: The same, as it should be.
Returns:
    mlm_accuracy, mlm_majority_accuracy, itm_accuracy, itm_majority_accuracy (fractions); mlm_blind_accuracy where
    pairs that do not match have masked words; num_words (masked, in matching pairs), num_blind_words, num_examples
    (pairs).
Examples:
    >>> metric = evaluate.load("metrics/pretraining")
    >>> result = metric.compute(
    ...     predictions=[{"words": [7, 8], "match": 1}, {"words": [7], "match": 1}],
    ...     references=[{"words": [7, 9], "match": 1}, {"words": [5], "match": 0}],
    ... )
    >>> result["mlm_accuracy"], result["mlm_blind_accuracy"], result["itm_accuracy"]
    (0.5, 0.0, 0.5)
"""


def compute_pretraining_metrics(
    predicted_words: Sequence[Sequence[int]],
    words: Sequence[Sequence[int]],
    predicted_matches: Sequence[int],
    matches: Sequence[int],
) -> dict[str, float]:
    """
    Accuracy of masked words and of matching.

    Args:
        predicted_words (`Sequence` of `Sequence[int]`): For each pair the words predicted at its masked places.
        words (`Sequence` of `Sequence[int]`): The words that were masked there.
        predicted_matches (`Sequence[int]`): For each pair 1 if text and picture are said to belong together, else 0.
        matches (`Sequence[int]`): Whether they do.

    Returns:
        `dict`: `mlm_accuracy`, `mlm_majority_accuracy`, `itm_accuracy`, `itm_majority_accuracy`, `num_words`,
        `num_blind_words`, `num_examples`, and `mlm_blind_accuracy` if `num_blind_words` is not 0.

    Raises:
        ValueError: If numbers of pairs or words differ, a match is neither 0 nor 1, or no word of a matching pair is
            masked.

    Example:
        >>> metrics = compute_pretraining_metrics([[7, 8], [7]], [[7, 9], [5]], [1, 1], [1, 0])
        >>> metrics["mlm_accuracy"], metrics["mlm_majority_accuracy"], metrics["num_words"]
        (0.5, 0.5, 2)
    """
    counts = [len(predicted_words), len(words), len(predicted_matches), len(matches)]
    if len(set(counts)) > 1:
        raise ValueError(f"Expected as many predicted words, words, predicted matches and matches, got {counts}")
    if wrong := {int(match) for match in (*predicted_matches, *matches)} - {0, 1}:
        raise ValueError(f"Expected matches of 0 or 1, got {sorted(wrong)}")
    right: dict[int, list[bool]] = {0: [], 1: []}
    seen: Counter[int] = Counter()
    for pair, (guesses, gold, match) in enumerate(zip(predicted_words, words, matches, strict=True)):
        if len(guesses) != len(gold):
            raise ValueError(f"Pair {pair}: expected {len(gold)} predicted words, got {len(guesses)}")
        right[int(match)] += [int(guess) == int(word) for guess, word in zip(guesses, gold, strict=True)]
        if match:
            seen.update(map(int, gold))
    if not seen:
        raise ValueError(f"Expected masked words in matching pairs, got none in {len(matches)} pairs")
    told_right = [int(guess) == int(match) for guess, match in zip(predicted_matches, matches, strict=True)]
    share = sum(map(int, matches)) / len(matches)
    blind = {"mlm_blind_accuracy": sum(right[0]) / len(right[0])} if right[0] else {}
    return {
        "mlm_accuracy": sum(right[1]) / len(right[1]),
        **blind,
        "mlm_majority_accuracy": max(seen.values()) / len(right[1]),
        "itm_accuracy": sum(told_right) / len(told_right),
        "itm_majority_accuracy": max(share, 1 - share),
        "num_words": len(right[1]),
        "num_blind_words": len(right[0]),
        "num_examples": len(matches),
    }


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Pretraining(evaluate.Metric):
    """`evaluate.load("metrics/pretraining")`: add pairs with predicted and masked words, and whether they match."""

    def _info(self):
        pair = {"words": datasets.List(datasets.Value("int64")), "match": datasets.Value("int64")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": dict(pair), "references": dict(pair)}),
        )

    def _compute(self, predictions, references):
        return compute_pretraining_metrics(
            [pair["words"] for pair in predictions],
            [pair["words"] for pair in references],
            [pair["match"] for pair in predictions],
            [pair["match"] for pair in references],
        )
