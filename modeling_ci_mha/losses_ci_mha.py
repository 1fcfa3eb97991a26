# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
What the scores of a model are compared with, and how (sections 8 and 9). Everything in single precision or better.

Letters: Q queries, N segments.
"""

import torch
import torch.nn.functional as F


def boundary_targets(positions, mask, soft_targets="none"):
    """
    The distribution that start or end scores are to have.

    Args:
        positions (`torch.LongTensor` of shape `(queries,)`): A segment, or -100 for none.
        mask (`torch.BoolTensor` of shape `(queries, segments)`): Segments that exist.
        soft_targets (`str`): `"none"`: all on the segment. `"neighbors"`: half of it, the rest shared by the segments beside
            it that exist.

    Returns:
        `torch.FloatTensor` of shape `(queries, segments)`, rows of sum 1, or 0 where there is none.
    """
    steps = torch.arange(mask.shape[1], device=mask.device)
    distance = (steps - positions[:, None]).abs()
    target = (distance == 0).float()
    if soft_targets == "none":
        return target
    beside = ((distance == 1) & mask).float()
    count = beside.sum(dim=1, keepdim=True)
    return torch.where(count > 0, 0.5 * target + 0.5 * beside / count.clamp(min=1), target)


def inside_targets(start_positions, end_positions, mask, segment_extend=0.0):
    """
    Which segments lie inside a moment, `torch.FloatTensor` of shape `(queries, segments)`; no one where there is none.

    `segment_extend` is the share of a moment, in whole segments, that is added at both ends.
    """
    steps = torch.arange(mask.shape[1], device=mask.device)
    more = ((end_positions - start_positions + 1) * segment_extend).round()
    is_inside = (steps >= (start_positions - more)[:, None]) & (steps <= (end_positions + more)[:, None])
    return (is_inside & (start_positions >= 0)[:, None] & mask).float()


def boundary_log_probabilities(logits, window_groups=None):
    """
    Log-probabilities of segments, `(queries, segments)`.

    Args:
        logits (`torch.FloatTensor` of shape `(queries, segments)`): Scores, the least number there is for padding.
        window_groups (`torch.LongTensor` of shape `(queries,)`, *optional*):
            Rows with the same number are windows of one question and share one soft-max, so that a window without the moment
            learns to score low.
    """
    total = logits.logsumexp(dim=1)  # (Q,)
    if window_groups is not None:
        is_same = window_groups[:, None] == window_groups
        total = total.expand(len(total), -1).masked_fill(~is_same, torch.finfo(total.dtype).min).logsumexp(dim=1)
    return logits - total[:, None]


def boundary_nll(log_probabilities, targets, mask):
    """Negative log-likelihood of one boundary, mean over the queries that have it."""
    terms = torch.where(mask & (targets > 0), -targets * log_probabilities, 0.0).sum(dim=1)
    return terms.sum() / (targets.sum(dim=1) > 0).sum().clamp(min=1)


def segmentation_bce(logits, labels, mask, pos_weight=1.0):
    """Binary cross-entropy of the third head over segments that exist (eq. 16)."""
    logits = logits.where(mask, 0.0)
    weight = logits.new_full((), pos_weight)
    terms = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none", pos_weight=weight)
    return terms.where(mask, 0.0).sum() / mask.sum()


def boundary_distance(log_probabilities, positions, mask):
    """Smooth L1 distance of the expected from the true segment, as shares of the video, mean over queries that have one."""
    steps = torch.arange(mask.shape[1], device=mask.device, dtype=log_probabilities.dtype)
    expected = (log_probabilities.softmax(dim=1).where(mask, 0.0) * steps).sum(dim=1)
    shares = torch.stack([expected, positions.to(expected.dtype)]) / mask.sum(dim=1)
    has_moment = positions >= 0
    terms = F.smooth_l1_loss(*shares, reduction="none").where(has_moment, 0.0)
    return terms.sum() / has_moment.sum().clamp(min=1)


__all__ = [
    "boundary_distance",
    "boundary_log_probabilities",
    "boundary_nll",
    "boundary_targets",
    "inside_targets",
    "segmentation_bce",
]
