# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Recall at k, median and mean rank of text-to-video and video-to-text retrieval.

How ranks are counted
    Text to video: every text is a query with one right video; its rank is 1 plus the number of videos that score
    higher. Video to text: every video that has texts is a query. `"best"` takes the rank of its best-scoring own text
    among the texts of all other videos; `"last"` the rank of the last of its texts among all texts, its own included,
    which is what the official ClipBERT code reports. With one text a video both are the same.

How ties are counted
    `"average"` (default): what a random order of the tied candidates gives on average. The rank is the expected rank
    and a query adds to R@k the probability that its rank is at most k, so constant scores give exactly chance level.
    `"optimistic"`: tied candidates stand behind the right one. `"pessimistic"`: they stand before it.
    The median rank is the median of the expected, optimistic or pessimistic ranks of the queries.

Scores are compared exactly as given; `round_decimals=4` rounds them first, as the official code does.
"""

import datasets
import evaluate
import numpy as np


RECALL_AT = (1, 5, 10)
ROWS_PER_BLOCK = 1024  # bounds the memory of the comparisons, not the result

_DESCRIPTION = (
    "Recall at k, median and mean rank of text-to-video and video-to-text retrieval, with ties by a stated rule."
)

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
    predictions: One row of scores per text, one score per video; higher means a better match.
    references: For each text the column of its right video.
    ties: "average" (default), "optimistic" or "pessimistic".
    video_to_text: "best" (default) or "last" of the texts of a video.
    round_decimals: Round the scores to so many decimals first.
Returns:
    text_to_video_R@1, _R@5, _R@10 (fractions), text_to_video_median_rank, _mean_rank (from 1), the same for
    video_to_text, num_texts, num_videos, and num_videos_without_text (candidates that are nobody's answer).
Examples:
    >>> metric = evaluate.load("metrics/retrieval")
    >>> result = metric.compute(predictions=[[0.9, 0.1], [0.8, 0.3]], references=[0, 1])
    >>> result["text_to_video_R@1"]
    0.5
"""


class RetrievalRanks:
    """Counts better and tied candidates block by block, so that the score matrix never has to exist as a whole.

    The score of every text with its own video comes first, because all other scores are compared with it; then blocks
    of the matrix in any order, each pair once.

    Args:
        gold_scores (`np.ndarray` of shape `(texts,)`): Score of each text with its own video, the very number that the
            blocks hold at that place.
        gold (`np.ndarray` of shape `(texts,)`): Column of each text's own video.
        num_videos (`int`): Columns of the matrix.
        video_to_text (`str`, defaults to `"best"`): Which text answers a video that has several: "best" or "last".
        tolerance (`float`, defaults to 0): Scores that differ by no more are tied. For scores that are computed in
            blocks, whose rounding depends on the size of the block.

    Raises:
        ValueError: If shapes disagree, a score is NaN, a column is out of range, or pairs are missing or repeated.

    Example:
        >>> scores, gold = np.array([[0.9, 0.1], [0.8, 0.3]]), np.array([0, 1])
        >>> ranks = RetrievalRanks(scores[[0, 1], gold], gold, num_videos=2)
        >>> for row in (0, 1):
        ...     ranks.update(scores[row : row + 1], first_text=row)
        >>> ranks.compute()["text_to_video_R@1"]
        0.5
    """

    def __init__(self, gold_scores, gold, num_videos: int, video_to_text: str = "best", tolerance: float = 0.0):
        self.gold_scores = checked_scores(gold_scores, dimensions=1)
        self.gold = checked_gold(gold, num_texts=len(self.gold_scores), num_videos=num_videos)
        if video_to_text not in ("best", "last"):
            raise ValueError(f"Expected `video_to_text` to be 'best' or 'last', got {video_to_text!r}")
        self.num_videos, self.video_to_text, self.tolerance = num_videos, video_to_text, tolerance
        self.num_pairs = 0
        # how many candidates beat the right one, and how many score the same (the right one not counted)
        self.better_videos, self.tied_videos = np.zeros((2, len(self.gold)), dtype=np.int64)  # of each text
        self.better_texts, self.tied_texts = np.zeros((2, num_videos), dtype=np.int64)  # of each video
        self.own_scores = np.full(num_videos, -np.inf)  # score of the text that answers the video
        if video_to_text == "best":
            np.maximum.at(self.own_scores, self.gold, self.gold_scores)
        else:
            self.answers = np.full(num_videos, -1)
            self.answers[self.gold] = np.arange(len(self.gold))  # a later text overwrites an earlier one
            self.own_scores = np.where(self.answers >= 0, self.gold_scores[self.answers], -np.inf)

    def update(self, scores, first_text: int = 0, first_video: int = 0) -> None:
        """Count a block of scores `(texts, videos)` whose first row and column stand at these places of the matrix."""
        scores = checked_scores(scores, dimensions=2)
        rows = slice(first_text, first_text + scores.shape[0])
        columns = slice(first_video, first_video + scores.shape[1])
        if first_text < 0 or first_video < 0 or rows.stop > len(self.gold) or columns.stop > self.num_videos:
            raise ValueError(
                f"Expected a block inside the matrix of {len(self.gold)} texts x {self.num_videos} videos, got "
                f"{scores.shape} from row {first_text}, column {first_video}"
            )
        videos = np.arange(columns.start, columns.stop)
        own = self.gold[rows, None] == videos
        if not self._are_tied(scores[own], self.gold_scores[rows][own.any(axis=1)]).all():
            raise ValueError("Expected `gold_scores` to be the scores found in the matrix, got others")
        self.num_pairs += scores.size
        better, tied = self._compare(scores, self.gold_scores[rows, None], ~own)
        self.better_videos[rows] += better.sum(axis=1)
        self.tied_videos[rows] += tied.sum(axis=1)
        if self.video_to_text == "last":  # its other texts compete with the last one
            own = self.answers[columns] == np.arange(rows.start, rows.stop)[:, None]
        better, tied = self._compare(scores, self.own_scores[columns], ~own)
        self.better_texts[columns] += better.sum(axis=0)
        self.tied_texts[columns] += tied.sum(axis=0)

    def _compare(self, scores, others, counts):
        """Which scores that count are better than others, and which are tied with them."""
        tied = self._are_tied(scores, others)
        return (scores > others) & ~tied & counts, tied & counts

    def _are_tied(self, scores, others):
        if not self.tolerance:
            return scores == others
        with np.errstate(invalid="ignore"):  # of equal infinities
            return (scores == others) | (np.abs(scores - others) <= self.tolerance)

    def compute(self, ties: str = "average") -> dict[str, float]:
        """All metrics, as `compute_retrieval_metrics` returns them."""
        self._check_complete()
        # equally good own texts: the first of them counts
        own_texts = np.bincount(self.gold, minlength=self.num_videos)
        asked = own_texts > 0
        best = np.ones(self.num_videos, dtype=np.int64)
        if self.video_to_text == "best":
            at_best = self._are_tied(self.gold_scores, self.own_scores[self.gold])
            best = np.bincount(self.gold[at_best], minlength=self.num_videos)
        return {
            **summarise("text_to_video", self.better_videos, self.tied_videos, np.ones_like(self.gold), ties),
            **summarise("video_to_text", self.better_texts[asked], self.tied_texts[asked], best[asked], ties),
            "num_texts": len(self.gold),
            "num_videos": self.num_videos,
            "num_videos_without_text": int((~asked).sum()),
        }

    def compute_for_texts(self, texts, ties: str = "average") -> dict[str, float]:
        """Those from text to video, of some texts (their numbers, or a mask) among all videos."""
        self._check_complete()
        better, tied = self.better_videos[texts], self.tied_videos[texts]
        return summarise("text_to_video", better, tied, np.ones_like(better), ties)

    def _check_complete(self) -> None:
        expected = len(self.gold) * self.num_videos
        if self.num_pairs != expected:
            raise ValueError(f"Expected each of {expected} pairs once, got {self.num_pairs} scores")


def compute_retrieval_metrics(
    scores, gold=None, ties: str = "average", video_to_text: str = "best", round_decimals: int | None = None
) -> dict[str, float]:
    """Measure retrieval in both directions from a matrix of scores.

    Args:
        scores (`np.ndarray` of shape `(texts, videos)`): Higher means a better match. Infinite scores are fine.
        gold (`np.ndarray` of shape `(texts,)`, *optional*): Column of each text's right video. Without it the matrix
            has to be square, text `i` belonging to video `i`.
        ties (`str`, defaults to `"average"`): "average", "optimistic" or "pessimistic"; see the module's docstring.
        video_to_text (`str`, defaults to `"best"`): For videos with several texts: "best", or "last" as the official
            ClipBERT code counts.
        round_decimals (`int`, *optional*): Round the scores first; 4 gives the official numbers (and more ties).

    Returns:
        `dict`: `text_to_video_R@1`, `_R@5`, `_R@10` as fractions, `text_to_video_median_rank`, `_mean_rank` from 1,
        the same with `video_to_text`, and `num_texts`, `num_videos`, `num_videos_without_text`.

    Raises:
        ValueError: If a score is NaN, shapes disagree, a column is out of range or an option is unknown.

    Example:
        >>> metrics = compute_retrieval_metrics(np.array([[0.9, 0.1], [0.8, 0.3]]))
        >>> metrics["text_to_video_R@1"], metrics["text_to_video_median_rank"], metrics["num_texts"]
        (0.5, 1.5, 2)
    """
    scores = checked_scores(scores, dimensions=2)
    if round_decimals is not None:
        scores = np.round(scores.astype(np.float64), round_decimals)  # in float32 the digits would not be exact
    return rank_matrix(scores, gold, video_to_text).compute(ties)


def rank_matrix(scores, gold=None, video_to_text: str = "best") -> RetrievalRanks:
    """The ranks of a whole matrix; the arguments are those of [`compute_retrieval_metrics`]."""
    scores = checked_scores(scores, dimensions=2)
    num_texts, num_videos = scores.shape
    if gold is None:
        if num_texts != num_videos:
            raise ValueError(
                f"Expected a square matrix when `gold` is not given, got {num_texts} texts x {num_videos} videos"
            )
        gold = np.arange(num_texts)
    gold = checked_gold(gold, num_texts, num_videos)
    ranks = RetrievalRanks(scores[np.arange(num_texts), gold], gold, num_videos, video_to_text)
    for first_text in range(0, num_texts, ROWS_PER_BLOCK):
        ranks.update(scores[first_text : first_text + ROWS_PER_BLOCK], first_text)
    return ranks


def chance_recall(num_videos: int, k: int = 1) -> float:
    """R@k of a random order of `num_videos` candidates of which one is right.

    Example:
        >>> chance_recall(64), chance_recall(64, k=5), chance_recall(4, k=10)
        (0.015625, 0.078125, 1.0)
    """
    if num_videos < 1 or k < 1:
        raise ValueError(f"Expected `num_videos` and `k` of at least 1, got {num_videos} and {k}")
    return min(k / num_videos, 1.0)


def summarise(direction: str, better: np.ndarray, tied: np.ndarray, right: np.ndarray, ties: str) -> dict[str, float]:
    """Metrics of queries with so many better candidates, tied wrong ones, and right ones sharing the best score."""
    if ties == "average":
        # the first of m right ones among n wrong ones in random order has n / (m + 1) wrong ones before it on average
        ranks = 1 + better + tied / (right + 1)
        recall = {k: np.mean(shares_within(k, better, tied, right)) for k in RECALL_AT}
    elif ties in ("optimistic", "pessimistic"):
        ranks = 1 + better + (tied if ties == "pessimistic" else 0)
        recall = {k: np.mean(ranks <= k) for k in RECALL_AT}
    else:
        raise ValueError(f"Expected `ties` to be 'average', 'optimistic' or 'pessimistic', got {ties!r}")
    return {
        **{f"{direction}_R@{k}": float(value) for k, value in recall.items()},
        f"{direction}_median_rank": float(np.median(ranks)),
        f"{direction}_mean_rank": float(np.mean(ranks)),
    }


def shares_within(k: int, better: np.ndarray, tied: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of each query, the probability that a right candidate is among the first `k`: 0 or 1 where no wrong one is tied with it."""
    shares = (better < k).astype(np.float64)
    for place in np.flatnonzero(tied):
        shares[place] = first_within(k - better[place], tied[place], right[place])
    return shares


def first_within(places: int, wrong: int, right: int) -> float:
    """Probability that one of `right` candidates is in the first places when mixed with `wrong` others."""
    if places <= 0:
        return 0.0
    if places > wrong:
        return 1.0
    # all first places taken by wrong ones: draws without replacement
    taken = np.arange(places)
    return 1.0 - float(np.prod((wrong - taken) / (wrong + right - taken)))


def checked_scores(scores, dimensions: int) -> np.ndarray:
    scores = np.asarray(scores)
    if scores.ndim != dimensions or scores.size == 0:
        what = "a matrix (texts, videos)" if dimensions == 2 else "one score per text"
        raise ValueError(f"Expected {what} with at least one score, got shape {scores.shape}")
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    if np.isnan(scores).any():
        first = tuple(int(index) for index in np.argwhere(np.isnan(scores))[0])
        raise ValueError(
            f"Expected scores without NaN, got {int(np.isnan(scores).sum())} of {scores.size}, the first at {first}"
        )
    return scores


def checked_gold(gold, num_texts: int, num_videos: int) -> np.ndarray:
    gold = np.asarray(gold)
    if gold.shape != (num_texts,) or not np.issubdtype(gold.dtype, np.integer):
        raise ValueError(
            f"Expected `gold` to be {num_texts} column numbers, one per text, got {gold.dtype} of shape {gold.shape}"
        )
    if gold.min() < 0 or gold.max() >= num_videos:
        raise ValueError(f"Expected `gold` from 0 to {num_videos - 1}, got {gold.min()} to {gold.max()}")
    return gold.astype(np.int64)


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Retrieval(evaluate.Metric):
    """`evaluate.load("metrics/retrieval")`: add rows of the score matrix, with the column of each right video."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.List(datasets.Value("float64")), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions, references, ties="average", video_to_text="best", round_decimals=None):
        if len({len(row) for row in predictions}) != 1:
            raise ValueError(f"Expected rows of equal length, got {sorted({len(row) for row in predictions})}")
        return compute_retrieval_metrics(
            np.asarray(predictions),
            np.asarray(references),
            ties=ties,
            video_to_text=video_to_text,
            round_decimals=round_decimals,
        )
