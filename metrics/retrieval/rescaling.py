# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of retrieval that take other queries into account: dual soft-max and query-bank normalisation.

Both keep videos from being found by everybody ("hubs"), and both need more than one query: dual soft-max all queries of the
test at once, query-bank normalisation a bank of others, such as training captions. Papers report them with an asterisk;
they are measured beside raw scores, never mixed with them.

Rows are queries and columns candidates; for the way from video to text, transpose.
"""

from collections.abc import Iterable

import numpy as np

from clipbert.metrics.retrieval.retrieval import checked_scores, compute_retrieval_metrics


class ColumnSums:
    """log(sum(exp(scale * scores))) of each column, block by block of rows.

    Example:
        >>> sums = ColumnSums(num_candidates=2, scale=1.0)
        >>> for block in (np.zeros((3, 2)), np.zeros((1, 2))):
        ...     sums.update(block)
        >>> sums.num_rows, np.exp(sums.log_sums).round(6).tolist()
        (4, [4.0, 4.0])
    """

    def __init__(self, num_candidates: int, scale: float):
        if not 0 < scale < np.inf:
            raise ValueError(f"Expected a positive scale of the soft-max, got {scale}")
        self.scale, self.num_rows, self.log_sums = scale, 0, np.full(num_candidates, -np.inf)

    def update(self, scores) -> None:
        """Add rows `(rows, candidates)`."""
        scores = checked_scores(scores, dimensions=2)
        if scores.shape[1] != len(self.log_sums):
            raise ValueError(f"Expected a score for each of {len(self.log_sums)} candidates, got {scores.shape[1]}")
        rows = self.scale * scores.astype(np.float64)
        self.log_sums = np.logaddexp(self.log_sums, np.logaddexp.reduce(rows, axis=0))
        self.num_rows += len(rows)


class DualSoftmax:
    """Scores times their soft-max over all queries (CAMoE; as CLIP-ViP uses it: `S * softmax(scale * S, dim=queries)`).

    Blocks of rows go in twice: all of them through [`update`], then through [`rescale`].

    Args:
        num_candidates (`int`): Columns of the matrix.
        scale (`float`, defaults to 100): For cosines.

    Raises:
        ValueError: If there is one query alone, whose soft-max is 1 everywhere.
    """

    def __init__(self, num_candidates: int, scale: float = 100.0):
        self.sums = ColumnSums(num_candidates, scale)

    def update(self, scores) -> None:
        """Take note of some rows `(queries, candidates)`."""
        self.sums.update(scores)

    def rescale(self, scores) -> np.ndarray:
        """The new scores of some rows `(queries, candidates)`, in float64."""
        if self.sums.num_rows < 2:
            raise ValueError(
                f"Dual soft-max compares queries with each other and needs all of them at once, at least 2; got "
                f"{self.sums.num_rows}. Use raw scores for a single one"
            )
        scores = checked_scores(scores, dimensions=2).astype(np.float64)
        return scores * np.exp(self.sums.scale * scores - self.sums.log_sums)


class QueryBank:
    """Query-bank normalisation (QB-Norm, with its dynamic inverted soft-max).

    Candidates that are among the `top_k` of any query of the bank are *activated*. Queries whose best candidate is one of
    them get exp(beta s) divided by the sum of exp(beta b) over the bank; the others keep their scores.

    Args:
        bank (`Iterable[str]`): The other queries: texts, or ids. None of them may be a query of the test.
        num_candidates (`int`): Columns of the matrix.
        beta (`float`, defaults to 20): For cosines.
        top_k (`int`, defaults to 1): See above.

    Raises:
        ValueError: If the bank is empty, `top_k` is larger than the candidates are many, or scores are far beyond cosines.
    """

    def __init__(self, bank: Iterable[str], num_candidates: int, beta: float = 20.0, top_k: int = 1):
        self.bank = [] if bank is None else list(bank)
        if not self.bank:
            raise ValueError(
                "Query-bank normalisation needs a bank of queries that are not tested, such as training captions; got none"
            )
        if not 1 <= top_k <= num_candidates:
            raise ValueError(f"Expected top_k from 1 to the number of candidates, {num_candidates}, got {top_k}")
        self.top_k, self.sums = top_k, ColumnSums(num_candidates, beta)
        self.activated = np.zeros(num_candidates, dtype=bool)

    def update(self, bank_scores) -> None:
        """Take note of some rows `(bank, candidates)`."""
        self.sums.update(bank_scores)
        # equal scores: the candidate that comes first
        best = np.argsort(-np.asarray(bank_scores), axis=1, kind="stable")[:, : self.top_k]
        self.activated[best] = True

    def rescale(self, scores, queries: Iterable[str]) -> np.ndarray:
        """The new scores of some rows `(queries, candidates)`, in float64; `queries` are spelt as the bank is."""
        scores, queries = checked_scores(scores, dimensions=2).astype(np.float64), list(queries)
        if len(queries) != len(scores):
            raise ValueError(f"Expected the query of each of {len(scores)} rows, got {len(queries)}")
        if known := set(map(_spelt, self.bank)) & set(map(_spelt, queries)):
            raise ValueError(
                f"The bank contains {len(known)} of the queries that are tested, such as {min(known)!r:.80}: a bank is of other "
                "queries. Take them out of it"
            )
        if self.sums.num_rows != len(self.bank):
            raise ValueError(
                f"Expected scores of all {len(self.bank)} queries of the bank, got {self.sums.num_rows} rows"
            )
        return rescale_by_bank(scores, self.sums.log_sums, self.activated, self.sums.scale)


def rescale_by_bank(scores, log_sums, activated, beta: float = 20.0) -> np.ndarray:
    """What [`QueryBank`] makes of scores `(queries, candidates)`, from what it knows of the candidates.

    Args:
        scores (`np.ndarray` of shape `(queries, candidates)`): Cosines.
        log_sums (`np.ndarray` of shape `(candidates,)`): log(sum(exp(beta b))) over the bank.
        activated (`np.ndarray` of shape `(candidates,)`): Whether a query of the bank finds it first.
        beta (`float`, defaults to 20): The factor that `log_sums` were computed with.

    Raises:
        ValueError: If scores are far beyond cosines.
    """
    scores = checked_scores(scores, dimensions=2).astype(np.float64)
    exponents = beta * scores - log_sums
    if exponents.max() > np.log(np.finfo(np.float64).max):
        raise ValueError(
            f"Scores up to {scores.max():.3g} are too large for beta={beta:g}, which is for cosines: divide them by the "
            "temperature first, or choose a smaller beta"
        )
    is_hub = activated[scores.argmax(axis=1)]
    return np.where(is_hub[:, None], np.exp(exponents), scores)


def dual_softmax(scores, scale: float = 100.0) -> np.ndarray:
    """[`DualSoftmax`] of a whole matrix `(queries, candidates)`.

    Example:
        >>> dual_softmax([[0.5, 0.4], [0.5, 0.1]], scale=10).round(3).tolist()  # both queries like the first candidate
        [[0.25, 0.381], [0.25, 0.005]]
    """
    scores = checked_scores(scores, dimensions=2)
    rescaling = DualSoftmax(scores.shape[1], scale)
    rescaling.update(scores)
    return rescaling.rescale(scores)


def query_bank_norm(
    scores, queries: Iterable[str], bank_scores, bank: Iterable[str], beta: float = 20.0, top_k: int = 1
) -> np.ndarray:
    """[`QueryBank`] of whole matrices `(queries, candidates)` and `(bank, candidates)`."""
    scores = checked_scores(scores, dimensions=2)
    rescaling = QueryBank(bank, scores.shape[1], beta, top_k)
    if bank_scores is None:
        raise ValueError("Query-bank normalisation needs the scores of the bank with the candidates, got none")
    rescaling.update(bank_scores)
    return rescaling.rescale(scores, queries)


def compute_dual_softmax_metrics(scores, gold=None, scale: float = 100.0, **options) -> dict[str, float]:
    """What `compute_retrieval_metrics` says after dual soft-max: of texts for the way from text to video, of videos for the
    way back.

    Args:
        scores, gold, options: See `compute_retrieval_metrics`.
        scale (`float`, defaults to 100): See [`DualSoftmax`].

    Raises:
        ValueError: If there is one text, or one video.

    Example:
        >>> raw = [[0.9, 0.8, 0.1], [0.7, 0.6, 0.2], [0.8, 0.3, 0.4]]  # all texts like the first video
        >>> compute_retrieval_metrics(raw)["text_to_video_R@1"], compute_dual_softmax_metrics(raw)["text_to_video_R@1"]
        (0.3333333333333333, 0.6666666666666666)
    """
    scores = checked_scores(scores, dimensions=2)
    to_video = compute_retrieval_metrics(dual_softmax(scores, scale), gold, **options)
    to_text = compute_retrieval_metrics(dual_softmax(scores.T, scale).T, gold, **options)
    return {name: (to_text if name.startswith("video_to_text") else to_video)[name] for name in to_video}


def _spelt(query: str) -> str:
    """A text without what does not change its meaning."""
    return " ".join(str(query).casefold().split())


__all__ = [
    "DualSoftmax",
    "QueryBank",
    "compute_dual_softmax_metrics",
    "dual_softmax",
    "query_bank_norm",
    "rescale_by_bank",
]
