# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Moments without a look at any video: the blind baselines of moment retrieval, and what segments can reach at best.

Every score stands beside these. On ActivityNet Captions the look-up of sentences alone is better than published models.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clipbert.metrics.moment_retrieval import compute_moment_metrics, reaches, temporal_iou
from clipbert.metrics.moment_retrieval.moment_retrieval import THRESHOLDS
from clipbert.train_scripts.tasks.moment_retrieval.questions import group_questions


NUM_STEPS = 20  # candidates of blind spans begin and end at so many equal parts of a video
NUM_NEIGHBOURS = 300  # training sentences that vote
VOTE_POWER = 2  # of their similarity
NUM_DRAWS = 200  # of two uniform points for all questions
BLOCK = 4096  # rows against all candidates at once

Answers = list[list[dict[str, float]]]


def candidate_spans(num_steps: int = NUM_STEPS) -> np.ndarray:
    """`(spans, 2)`: all spans between borders of equal parts of a video, as shares of it."""
    borders = np.linspace(0, 1, num_steps + 1)
    return np.array([(start, end) for number, start in enumerate(borders) for end in borders[number + 1 :]])


def shares_of_video(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """
    `(rows, 2)`: where moments begin and end, in [0, 1].

    Raises:
        ValueError: If the duration of a video is not known.
    """
    if unknown := [row for row in rows if not row["duration_s"]]:
        raise ValueError(
            f"Expected the duration of every video, but {len(unknown)} of {len(rows)} rows have none, the first of "
            f"{unknown[0]['video_id']!r}: blind answers are shares of it."
        )
    spans = np.array([(row["start_s"], row["end_s"]) for row in rows], dtype=np.float64).reshape(-1, 2)
    return np.clip(spans / np.array([row["duration_s"] for row in rows], dtype=np.float64)[:, None], 0.0, 1.0)


def answers_of(shares: np.ndarray, rows: Sequence[Mapping[str, Any]]) -> Answers:
    """One answer for each row, of `shares` (rows, 2) or (2,) of its video, as `compute_moment_metrics` takes them."""
    durations = np.array([row["duration_s"] for row in rows], dtype=np.float64)
    spans = np.broadcast_to(shares, (len(rows), 2)) * durations[:, None]
    return [[{"start_s": start, "end_s": end, "score": 1.0}] for start, end in spans.tolist()]


def whole_video(rows: Sequence[Mapping[str, Any]]) -> Answers:
    """All of the video, whatever is asked."""
    return answers_of(np.array([0.0, 1.0]), rows)


def uniform_points(
    rows: Sequence[Mapping[str, Any]], num_draws: int = NUM_DRAWS, strict: bool = False
) -> dict[str, float]:
    """
    What two uniform points of time as start and end reach on average.

    Args:
        rows (`Sequence[Mapping]`): Rows of moments.
        num_draws (`int`, *optional*, defaults to 200): Draws of all questions, the same in every call.
        strict (`bool`, *optional*, defaults to `False`): Whether a hit needs an IoU above the threshold.

    Returns:
        `dict`: `R1@0.3`, `R1@0.5`, `R1@0.7`; how far single draws lie around them, `R1@0.3_std` and so on: a figure that stands
        on one draw can be off by twice as much, as `R1@0.3_first`, that of the first draw, shows.
    """
    questions = group_questions(rows)
    number = np.repeat(np.arange(len(questions)), [len(each["windows"]) for each in questions])
    windows = shares_of_video(
        [{**each, "start_s": start, "end_s": end} for each in questions for start, end in each["windows"]]
    )
    rng, firsts = np.random.default_rng(0), np.flatnonzero(np.diff(number, prepend=-1))
    reached = np.empty((num_draws, len(THRESHOLDS)))
    for draw in reached:
        points = np.sort(rng.random((len(questions), 2)), axis=1)
        best = np.maximum.reduceat(temporal_iou(points[number], windows), firsts)
        draw[:] = [reaches(best, threshold, strict).mean() for threshold in THRESHOLDS]
    columns = {"": reached.mean(axis=0), "_std": reached.std(axis=0), "_first": reached[0]}
    return {
        f"R1@{at}{ending}": value
        for ending, values in columns.items()
        for at, value in zip(THRESHOLDS, values.tolist(), strict=True)
    }


def best_fixed_span(rows: Sequence[Mapping[str, Any]], threshold: float, strict: bool = False) -> tuple[float, float]:
    """
    The span, as a share of the video, that hits most moments of the training split.

    Args:
        rows (`Sequence[Mapping]`): Rows of the training split.
        threshold (`float`): IoU of a hit.
        strict (`bool`, *optional*, defaults to `False`): Whether a hit needs an IoU above it.

    Example:
        >>> rows = [{"start_s": 0.0, "end_s": 6.0, "duration_s": 20.0}, {"start_s": 0.0, "end_s": 9.0, "duration_s": 30.0}]
        >>> [round(share, 2) for share in best_fixed_span(rows, 0.9)]
        [0.0, 0.3]
    """
    spans, shares = candidate_spans(), shares_of_video(rows)
    hits = sum(
        _hits(shares[first : first + BLOCK], spans, threshold, strict).sum(axis=0)
        for first in range(0, len(shares), BLOCK)
    )
    start, end = spans[hits.argmax()].tolist()
    return start, end


def nearest_sentences(
    train_rows: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    thresholds: Sequence[float] = THRESHOLDS,
    strict: bool = False,
) -> dict[float, Answers]:
    """
    When the most similar sentences of the training split happen, whatever the video shows.

    Sentences are sets of words and of pairs of neighbouring words. Two are as similar as what they share, by its rarity, against
    the geometric mean of what they have. The `NUM_NEIGHBOURS` nearest vote for spans that would hit their own moment.

    Args:
        train_rows (`Sequence[Mapping]`): Rows of the training split.
        rows (`Sequence[Mapping]`): What is asked: rows or questions.
        thresholds (`Sequence[float]`, *optional*): Each has its own answers, with most votes for a hit at this IoU.
        strict (`bool`, *optional*, defaults to `False`): Whether a hit needs an IoU above it.

    Returns:
        `dict[float, list]`: For each threshold the answer to each of `rows`.
    """
    known = [_terms(row["caption"]) for row in train_rows]
    counts = Counter(term for terms in known for term in terms)
    rarity = {term: math.log((1 + len(known)) / count) for term, count in counts.items()}
    unknown = math.log(1 + len(known))
    holders = {term: [] for term in counts}
    for number, terms in enumerate(known):
        for term in terms:
            holders[term].append(number)
    holders = {term: np.array(numbers) for term, numbers in holders.items()}
    sizes = np.sqrt([sum(rarity[term] for term in terms) for terms in known]).astype(np.float32)

    spans, shares = candidate_spans(), shares_of_video(train_rows)
    hits = [_hits(shares, spans, threshold, strict).astype(np.float32) for threshold in thresholds]
    num_neighbours = min(NUM_NEIGHBOURS, len(known))
    chosen = np.empty((len(thresholds), len(rows), 2))
    for number, row in enumerate(rows):
        terms, likeness = _terms(row["caption"]), np.zeros(len(known), dtype=np.float32)
        for term in terms:
            if term in holders:
                likeness[holders[term]] += rarity[term]
        likeness /= sizes * math.sqrt(sum(rarity.get(term, unknown) for term in terms))
        nearest = np.argpartition(-likeness, num_neighbours - 1)[:num_neighbours]
        votes = likeness[nearest] ** VOTE_POWER + np.float32(1e-9)  # where nothing is shared all count alike
        chosen[:, number] = [spans[(votes @ hit[nearest]).argmax()] for hit in hits]
    return {threshold: answers_of(each, rows) for threshold, each in zip(thresholds, chosen, strict=True)}


def oracle(
    rows: Sequence[Mapping[str, Any]], num_segments: int | None = None, segment_s: float | None = None
) -> Answers:
    """
    The nearest answers that a video of segments allows: of all pairs of a first and a last one, that of the largest IoU.

    Args:
        rows (`Sequence[Mapping]`): Rows of moments.
        num_segments (`int`, *optional*): Segments of every video.
        segment_s (`float`, *optional*): Or the seconds of a segment; the last one ends with the video.
    """
    if (num_segments is None) == (segment_s is None):
        raise ValueError(f"Expected either num_segments or segment_s, got {num_segments} and {segment_s}")
    durations = np.array([row["duration_s"] for row in rows], dtype=np.float64)
    moments = shares_of_video(rows) * durations[:, None]
    seconds = durations / num_segments if segment_s is None else np.full_like(durations, segment_s)
    counts = np.full_like(durations, num_segments) if segment_s is None else np.ceil(durations / segment_s)
    below = np.floor(moments / seconds[:, None])
    best, spans = np.full(len(moments), -1.0), moments.copy()
    for before in (0, 1):  # a border of the best pair is one of the two around the border of the moment
        for behind in (0, 1):
            first = np.clip(below[:, 0] + before, 0, counts - 1)
            last = np.clip(below[:, 1] + behind, first + 1, counts)
            pair = np.minimum(np.stack([first, last], axis=1) * seconds[:, None], durations[:, None])
            overlap = temporal_iou(pair, moments)
            spans[overlap > best] = pair[overlap > best]
            best = np.maximum(best, overlap)
    return answers_of(spans / durations[:, None], rows)


def blind_scores(
    train_rows: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], strict: bool = False
) -> dict[str, dict[str, float]]:
    """
    R@1 of everything that can be answered without the video; what is learnt is learnt for each threshold by itself.

    Args:
        train_rows (`Sequence[Mapping]`): Rows of the training split.
        rows (`Sequence[Mapping]`): Rows of the split that is measured.
        strict (`bool`, *optional*, defaults to `False`): Whether a hit needs an IoU above the threshold.

    Returns:
        `dict`: `R1@0.3`, `R1@0.5` and `R1@0.7` of `whole_video`, `uniform_points`, `best_fixed_span` and `nearest_sentences`.

    Raises:
        ValueError: If there is no row in either, or the duration of a video is not known.

    Example:
        >>> row = {"video_id": "a", "duration_s": 20.0, "start_s": 0.0, "end_s": 6.0, "caption": "a dog stops"}
        >>> found = blind_scores([row], [row])
        >>> [found[name]["R1@0.5"] for name in ("whole_video", "best_fixed_span", "nearest_sentences")]
        [0.0, 1.0, 1.0]
    """
    if not train_rows or not rows:
        raise ValueError(f"Expected training rows and rows to measure, got {len(train_rows)} and {len(rows)}")
    questions = group_questions(rows)

    def recall(answers: Answers, threshold: float) -> float:
        return compute_moment_metrics(answers, questions, strict)[f"R1@{threshold}"]

    nearest = nearest_sentences(train_rows, questions, THRESHOLDS, strict)
    fixed = {at: answers_of(np.array(best_fixed_span(train_rows, at, strict)), questions) for at in THRESHOLDS}
    return {
        "whole_video": {f"R1@{at}": recall(whole_video(questions), at) for at in THRESHOLDS},
        "uniform_points": uniform_points(rows, strict=strict),
        "best_fixed_span": {f"R1@{at}": recall(fixed[at], at) for at in THRESHOLDS},
        "nearest_sentences": {f"R1@{at}": recall(nearest[at], at) for at in THRESHOLDS},
    }


def _hits(shares: np.ndarray, spans: np.ndarray, threshold: float, strict: bool) -> np.ndarray:
    """`(rows, spans)`: whether a span hits a moment."""
    return reaches(temporal_iou(spans[None], shares[:, None]), threshold, strict)


def _terms(sentence: str) -> set[str]:
    words = ["^", *re.findall(r"\w+", sentence.lower()), "$"]
    return {*words[1:-1], *(" ".join(pair) for pair in zip(words, words[1:], strict=False))}


__all__ = [
    "best_fixed_span",
    "blind_scores",
    "nearest_sentences",
    "oracle",
    "uniform_points",
    "whole_video",
]
