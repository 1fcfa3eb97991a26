# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of clips to scores of videos, where some clips do not exist."""

import math
from collections.abc import Callable

import torch


class NonFiniteScoreError(ArithmeticError):
    """A score that is infinite or not a number."""


def pool_clips(clip_logits: torch.Tensor, score_pooling: str) -> torch.Tensor:
    """
    Pool the scores of a video's clips, as its model does.

    Args:
        clip_logits (`torch.FloatTensor` of shape `(..., clips, labels)`): NaN for clips that do not exist.
        score_pooling (`str`): `"mean"`, `"max"` or `"lse"` (log-sum-exp).

    Returns:
        `torch.FloatTensor` of shape `(..., labels)`, NaN where a video has no clip.

    Raises:
        ValueError: If `score_pooling` is another word.

    Example:
        >>> pool_clips(torch.tensor([[1.0], [3.0], [torch.nan]]), "mean").tolist()
        [2.0]
    """
    exists = ~clip_logits[..., :1].isnan()  # (..., clips, 1)
    has_clips = exists.any(dim=-2)
    if score_pooling == "mean":
        pooled = clip_logits.where(exists, 0.0).sum(dim=-2) / exists.sum(dim=-2)
    elif score_pooling == "max":
        pooled = clip_logits.where(exists, -math.inf).amax(dim=-2)
    elif score_pooling == "lse":
        pooled = clip_logits.where(exists, -math.inf).logsumexp(dim=-2)
    else:
        raise ValueError(f"score_pooling must be 'mean', 'max' or 'lse', got {score_pooling!r}.")
    return pooled.where(has_clips, torch.nan)


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """
    Log-odds of a match, from `(..., labels)`: the second of two labels against the first, or the only one as it is.

    Ranking by log-odds keeps certain matches apart, whose probabilities are all 1 after rounding.
    """
    return logits[..., 1] - logits[..., 0] if logits.shape[-1] == 2 else logits[..., 0]


def mark_absent_clips(
    clip_logits: torch.Tensor, clip_mask: torch.Tensor | None, name: Callable[..., str]
) -> torch.Tensor:
    """
    Put NaN where there is no clip, and nowhere else.

    Args:
        clip_logits (`torch.FloatTensor` of shape `(..., clips, labels)`): What the model says of each clip.
        clip_mask (`torch.Tensor`, *optional*): Of a shape that broadcasts to `(..., clips)`: 1 for clips that exist.
        name (`Callable`): Names the text and the video of a place in the leading dimensions.

    Raises:
        NonFiniteScoreError: If the score of a clip that exists is infinite or not a number.
    """
    exists = torch.ones_like(clip_logits[..., 0], dtype=torch.bool)
    if clip_mask is not None:
        exists &= clip_mask.bool().to(exists.device)
    wrong = exists & ~clip_logits.isfinite().all(dim=-1)
    if wrong.any():
        *place, clip = wrong.nonzero()[0].tolist()
        raise NonFiniteScoreError(
            f"Scores that are not finite: {clip_logits[(*place, clip)].tolist()} for {name(*place)}, clip {clip}; "
            f"{int(wrong.sum())} of {int(exists.sum())} of their block. The weights may be broken, or "
            "run.mixed_precision=fp16 too narrow for them."
        )
    return clip_logits.masked_fill(~exists[..., None], torch.nan)


__all__ = ["NonFiniteScoreError", "log_odds", "mark_absent_clips", "pool_clips"]
