# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Answers from texts alone, counted in the training split: the blind baselines of question answering."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from clipbert.train_scripts.tasks.rows import normalise


BACK_OFF = 2.0  # training examples that the coarser distribution counts for


class TextOnlyReader:
    """
    Answers from the text of a question alone: those of the same question in training, backed off to those of its answer
    type, backed off to all answers.

    Args:
        examples (`Iterable[tuple[str, str, Mapping[str, float]]]`): Question, answer type and weights of its answers.

    Example:
        >>> reader = TextOnlyReader([("who?", "who", {"man": 1}), ("who?", "who", {"man": 1}), ("how?", "", {"red": 1})])
        >>> reader.answer("Who?", "who"), reader.answer("who runs?", "who")
        ('man', 'man')
    """

    def __init__(self, examples: Iterable[tuple[str, str, Mapping[str, float]]]):
        examples = list(examples)
        self.answers = sorted({answer for *_, weights in examples for answer in weights})
        places = {answer: place for place, answer in enumerate(self.answers)}
        overall, self.of_type, self.of_text = np.zeros(len(places)), {}, {}
        for text, answer_type, weights in examples:
            of_text = self.of_text.setdefault(normalise(text), {})
            of_type = self.of_type.setdefault(answer_type, np.zeros(len(places)))
            for answer, weight in weights.items():
                place = places[answer]
                overall[place] += weight
                of_type[place] += weight
                of_text[place] = of_text.get(place, 0.0) + weight
        self.overall = overall / max(overall.sum(), 1e-9)
        self.of_type = {name: back_off(counts, self.overall) for name, counts in self.of_type.items()}

    def probabilities(self, text: str, answer_type: str) -> np.ndarray:
        """How likely each of `answers` is."""
        counts = np.zeros(len(self.answers))
        for place, count in self.of_text.get(normalise(text), {}).items():
            counts[place] = count
        return back_off(counts, self.of_type.get(answer_type, self.overall))

    def answer(self, text: str, answer_type: str) -> str:
        """The most likely answer; the first in alphabetical order of equals."""
        return self.answers[int(self.probabilities(text, answer_type).argmax())]


class OptionReader:
    """
    How likely an option is right by its text alone: how often it was right where it was offered in training, for the
    same question if that has been asked, backed off to all questions and to chance.

    Args:
        examples (`Iterable[tuple[str, Sequence[str], int]]`): Question, options, and place of the right one.
    """

    def __init__(self, examples: Iterable[tuple[str, Sequence[str], int]]):
        self.offered: dict[tuple[str, ...], np.ndarray] = {}  # -> times right, times offered
        for text, options, right in examples:
            for place, option in enumerate(options):
                for key in ((normalise(option),), (normalise(option), normalise(text))):
                    self.offered.setdefault(key, np.zeros(2))[:] += (place == right, 1)

    def scores(self, text: str, options: Sequence[str]) -> list[float]:
        """One score for each option."""
        scores = []
        for option in options:
            score = 1 / len(options)
            for key in ((normalise(option),), (normalise(option), normalise(text))):
                right, offered = self.offered.get(key, (0, 0))
                score = (right + BACK_OFF * score) / (offered + BACK_OFF)
            scores.append(float(score))
        return scores


def back_off(counts: np.ndarray, coarser: np.ndarray) -> np.ndarray:
    return (counts + BACK_OFF * coarser) / (counts.sum() + BACK_OFF)


__all__ = ["OptionReader", "TextOnlyReader"]
