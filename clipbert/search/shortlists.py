# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
What a shortlist loses of the order that scoring everything gives, and what it saves.

    for each text   scores of all videos, and the videos in the order of the cheap stage  -> TextRanking
    measure_losses(rankings, sizes)                                                       -> ShortlistReport

A shortlist of n loses what the cheap stage ranks behind its n-th place. A first place, or one of the top ten, counts as kept also
where another video of exactly the same score stands in its stead: the search is as good then.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from clipbert.metrics.retrieval.retrieval import RECALL_AT, first_within


TOP = 10  # places of which it is told how many are kept
NUM_RESAMPLES = 2000
WANTED = 0.99  # of first places, of a shortlist that is recommended
RESAMPLED_VALUES = 2**22  # bounds the memory of the bootstrap, not the result


class Estimate(NamedTuple):
    """
    A mean over texts, and where 95 % of the means of resampled texts lie.

    Where nothing was lost in any text, nothing is lost in any sample of them: of n texts without a loss, up to 3 / n of all texts may
    still have one.
    """

    mean: float
    low: float
    high: float


@dataclass
class TextRanking:
    """
    Both orders of the videos for one text.

    Args:
        ids (`Sequence`): All videos, in any order.
        scores (`np.ndarray` of shape `(videos,)`): What the exact stage says of each of them; larger is better.
        nearest (`Sequence`): Videos in the order of the cheap stage, best first: as many as the longest shortlist has, or all.
        owner (*optional*): The video that the text belongs to.
    """

    ids: Sequence[Any]
    scores: np.ndarray
    nearest: Sequence[Any]
    owner: Any = None


@dataclass
class ShortlistLoss:
    """
    What is left with a shortlist of one size.

    Args:
        size (`int`): Videos in it.
        first_kept (`Estimate`): Share of texts whose first place of all is in it.
        top_kept (`Estimate`): Share of their first ten places of all that is in it.
        recall (`dict[int, Estimate]`): R@1, R@5 and R@10; empty where it is not known which videos texts belong to.
        recall_lost (`dict[int, Estimate]`): How much more they are when everything is scored.
        seconds (`float`, *optional*): Of a query.
    """

    size: int
    first_kept: Estimate
    top_kept: Estimate
    recall: dict[int, Estimate] = field(default_factory=dict)
    recall_lost: dict[int, Estimate] = field(default_factory=dict)
    seconds: float | None = None


@dataclass
class ShortlistReport:
    """
    What shortlists of several sizes lose.

    Args:
        num_texts, num_videos (`int`): How many were compared.
        losses (`list[ShortlistLoss]`): One for each size, smallest first.
        recall (`dict[int, Estimate]`): R@1, R@5 and R@10 when everything is scored; empty where owners are not known.
        seconds (`float`, *optional*): Of a query that scores everything.
    """

    num_texts: int
    num_videos: int
    losses: list[ShortlistLoss]
    recall: dict[int, Estimate] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def recommended(self) -> int | None:
        """The smallest of the sizes that keeps 99 % of the first places; `None` if all of them lose more."""
        return next((loss.size for loss in self.losses if loss.first_kept.mean >= WANTED), None)

    def to_dict(self) -> dict[str, Any]:
        """All figures, as JSON knows them: intervals are `{"mean", "low", "high"}`, keys are texts."""
        return _plain({**asdict(self), "recommended": self.recommended})

    def table(self) -> str:
        """The report for a shell, of at most 100 columns."""
        has_recall, has_seconds = bool(self.recall), any(loss.seconds is not None for loss in self.losses)
        header = f"{'shortlist':>9}  {'first place kept':<20} {'top 10 kept':<20}"
        header += "".join(f"{f'R@{k}':>8}" for k in self.recall) + (f"{'s a query':>12}" if has_seconds else "")
        everything = f"{'all':>9}  {_share(1.0):<20} {_share(1.0):<20}" + _cells(
            self.recall, self.seconds, has_seconds
        )
        lines = [header.rstrip()]
        for loss in self.losses:
            kept = f"{loss.size:>9,}  {_interval(loss.first_kept):<20} {_interval(loss.top_kept):<20}"
            lines.append((kept + _cells(loss.recall, loss.seconds, has_seconds)).rstrip())
        lines += [everything.rstrip(), ""]
        texts = f"{self.num_texts:,} {'text' if self.num_texts == 1 else 'texts'}"
        lines.append(f"{texts}, {self.num_videos:,} videos; in brackets 95 % of resampled texts.")
        if has_recall:
            lines.append("R@k: share of texts whose own video is among the first k.")
        if self.recommended is None:
            lines.append(
                f"None of these keeps {WANTED:.0%} of the first places: take a longer one, or score everything."
            )
        else:
            lines.append(
                f"Recommended: {self.recommended:,}, the smallest that keeps {WANTED:.0%} of the first places."
            )
        return "\n".join(lines)


def measure_losses(
    rankings: Iterable[TextRanking],
    sizes: Sequence[int],
    seconds: Mapping[int | None, float] | None = None,
    seed: int = 0,
) -> ShortlistReport:
    """
    Compare shortlists with scoring everything.

    Args:
        rankings (`Iterable[TextRanking]`): One for each text, of the same number of videos; read one after the other.
        sizes (`Sequence[int]`): Lengths of shortlists. One that is as long as there are videos, or longer, scores everything.
        seconds (`Mapping`, *optional*): Seconds of a query for each size, and for `None` when everything is scored.
        seed (`int`, *optional*, defaults to 0): Of the resampling.

    Returns:
        [`ShortlistReport`].

    Raises:
        ValueError: If there is no text, no size, or a size below 1; if a ranking has NaN, a video twice, or too few of the cheap
            stage; if some texts have an owner and others do not.
    """
    sizes, seconds = _check_sizes(sizes), seconds or {}
    rows, num_videos, has_owners = [], None, None
    for number, ranking in enumerate(rankings):
        scores, places, own = _check_ranking(ranking, sizes, f"text {number}")
        if number == 0:
            num_videos, has_owners = len(scores), own is not None
        if (len(scores), own is not None) != (num_videos, has_owners):
            what = "videos" if len(scores) != num_videos else "an owner, or none,"
            raise ValueError(f"Expected {what} as for the texts before, got others for text {number}.")
        rows.append(_measure_text(scores, places, own, sizes))
    if not rows:
        raise ValueError("Expected at least one text to compare shortlists for, got none.")
    found = resample(np.array(rows), seed)
    recall, found = found[: len(RECALL_AT) * has_owners], found[len(RECALL_AT) * has_owners :]
    per_size = np.array_split(np.arange(len(found)), len(sizes))
    losses = [
        ShortlistLoss(size, *_named([found[column] for column in columns]), seconds=seconds.get(size))
        for size, columns in zip(sizes, per_size, strict=True)
    ]
    return ShortlistReport(len(rows), num_videos, losses, _by_k(recall), seconds.get(None))


def _check_sizes(sizes: Sequence[int]) -> list[int]:
    sizes = sorted(set(sizes))
    if not sizes or sizes[0] < 1:
        raise ValueError(f"Expected lengths of shortlists of at least 1, got {sizes}.")
    return sizes


def _check_ranking(ranking: TextRanking, sizes: Sequence[int], name: str) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Scores, the place of each video in the order of the cheap stage (inf: behind all that were given), number of the owner."""
    scores = np.asarray(ranking.scores)
    numbers = {video: number for number, video in enumerate(ranking.ids)}
    if not len(numbers) or scores.shape != (len(ranking.ids),) or len(numbers) < len(ranking.ids):
        raise ValueError(
            f"Expected some videos, each once, with a score each, got {len(ranking.ids)} videos, {len(numbers)} of them different, "
            f"and scores of shape {scores.shape} for {name}."
        )
    if np.isnan(scores).any():
        raise ValueError(
            f"Expected scores without NaN, got one for {name} and {ranking.ids[np.isnan(scores).argmax()]!r}."
        )
    needed = max((size for size in sizes if size < len(numbers)), default=0)
    if len(ranking.nearest) < needed or len(set(ranking.nearest)) < len(ranking.nearest):
        raise ValueError(
            f"Expected at least {needed} different videos of the cheap stage, got {len(set(ranking.nearest))} among "
            f"{len(ranking.nearest)} for {name}."
        )
    wanted = [*ranking.nearest, *([] if ranking.owner is None else [ranking.owner])]
    if unknown := [video for video in wanted if video not in numbers]:
        raise ValueError(f"Expected videos that have a score, got {unknown[0]!r} for {name}.")
    places = np.full(len(numbers), np.inf)
    places[[numbers[video] for video in ranking.nearest]] = np.arange(len(ranking.nearest))
    return scores, places, None if ranking.owner is None else numbers[ranking.owner]


def _measure_text(scores: np.ndarray, places: np.ndarray, own: int | None, sizes: Sequence[int]) -> list[float]:
    """Recall of all, then for each size: first place, top ten, recall, recall lost; recall where there is an owner."""
    everything = np.ones(len(scores), dtype=bool)
    recall = compute_recall(scores, everything, own)
    row = list(recall)
    for size in sizes:
        is_in = everything if size >= len(scores) else places < size
        left = compute_recall(scores, is_in, own)
        lost = [full - part for full, part in zip(recall, left, strict=True)]
        row += [count_kept(scores, is_in, 1), count_kept(scores, is_in, TOP), *left, *lost]
    return row


def count_kept(scores: np.ndarray, is_in: np.ndarray, top: int) -> float:
    """
    Share of the first places that a shortlist can fill as well as all videos do.

    Args:
        scores (`np.ndarray` of shape `(videos,)`): Larger is better.
        is_in (`np.ndarray` of shape `(videos,)`): Which videos are in the shortlist.
        top (`int`): How many places; all if there are fewer videos.

    Example:
        >>> count_kept(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, False, True, False]), top=2)
        1.0
    """
    top = min(top, len(scores))
    last = np.partition(scores, -top)[-top]  # the score of the last of these places
    above, at = scores > last, scores == last
    kept = (above & is_in).sum() + min((at & is_in).sum(), top - above.sum())
    return float(kept / top)


def compute_recall(scores: np.ndarray, is_in: np.ndarray, own: int | None) -> list[float]:
    """R@1, R@5, R@10 of one text, a place among tied videos at random; nothing without an owner. Not in the shortlist: never found."""
    if own is None:
        return []
    if not is_in[own]:
        return [0.0] * len(RECALL_AT)
    better = int((is_in & (scores > scores[own])).sum())
    tied = int((is_in & (scores == scores[own])).sum()) - 1
    return [first_within(k - better, tied, 1) for k in RECALL_AT]


def resample(values: np.ndarray, seed: int = 0) -> list[Estimate]:
    """
    Means over texts with bootstrap intervals.

    Args:
        values (`np.ndarray` of shape `(texts, figures)`): What was measured of each text.
        seed (`int`, *optional*, defaults to 0): Of the resampling.
    """
    rng, num_texts = np.random.default_rng(seed), len(values)
    at_once = max(1, RESAMPLED_VALUES // num_texts)
    means = []
    for first in range(0, NUM_RESAMPLES, at_once):
        count = min(at_once, NUM_RESAMPLES - first)
        times = rng.multinomial(num_texts, np.full(num_texts, 1 / num_texts), size=count)  # (samples, texts)
        means.append(times @ values / num_texts)
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975), axis=0)
    return [Estimate(*map(float, figure)) for figure in zip(values.mean(axis=0), low, high, strict=True)]


def _named(found: Sequence[Estimate]) -> tuple[Estimate, Estimate, dict[int, Estimate], dict[int, Estimate]]:
    first, top, *recall = found
    half = len(recall) // 2
    return first, top, _by_k(recall[:half]), _by_k(recall[half:])


def _by_k(recall: Sequence[Estimate]) -> dict[int, Estimate]:
    return dict(zip(RECALL_AT, recall, strict=True)) if recall else {}


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return value._asdict()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _share(value: float) -> str:
    return f"{value:.1%}".replace("%", " %")


def _interval(estimate: Estimate) -> str:
    return f"{_share(estimate.mean)} ({100 * estimate.low:.1f}-{100 * estimate.high:.1f})"


def _cells(recall: Mapping[int, Estimate], seconds: float | None, has_seconds: bool) -> str:
    cells = "".join(f"{_share(estimate.mean):>8}" for estimate in recall.values())
    if has_seconds:
        cells += f"{'' if seconds is None else f'{seconds:.4f}':>12}"
    return cells


__all__ = [
    "Estimate",
    "ShortlistLoss",
    "ShortlistReport",
    "TextRanking",
    "compute_recall",
    "count_kept",
    "measure_losses",
    "resample",
]
