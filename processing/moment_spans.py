# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Between seconds and segments: targets from annotated spans, and ranked spans from the scores of a model. All on the device of
the tensors; only the answers at the very end leave it.

A video of T seconds has n segments of u = T / n seconds. The pair (i, j) of its first and last segment means the seconds
[i * u, (j + 1) * u].

Letters: Q queries, N segments (n of them real), M spans.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch


RANKINGS = ("joint", "joint_with_segmentation", "unnormalised")


def span_targets(
    spans_s: torch.Tensor, durations_s: torch.Tensor, num_segments: torch.Tensor, rounding: str = "nearest"
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The first and last segment of annotated moments (section 8).

    Spans are first cut to the video. Many annotations run past its end.

    Args:
        spans_s (`torch.Tensor` of shape `(queries, 2)`): Start and end in seconds.
        durations_s (`torch.Tensor` of shape `(queries,)`): Length of each video in seconds, above 0.
        num_segments (`torch.LongTensor` of shape `(queries,)`): Segments of each video, at least 1.
        rounding (`str`, defaults to `"nearest"`): Borders to the nearest border of a segment, or `"max_iou"`: the pair that overlaps most, by trying all.

    Returns:
        `tuple(torch.LongTensor)`: `start_positions` and `end_positions` of shape `(queries,)`, -100 where nothing of a
        span lies in the video.

    Raises:
        ValueError: If `rounding` is another word.

    Example:
        >>> span_targets(torch.tensor([[2.0, 5.1]]), torch.tensor([10.0]), torch.tensor([10]))
        (tensor([2]), tensor([4]))
    """
    if rounding not in ("nearest", "max_iou"):
        raise ValueError(f"rounding must be 'nearest' or 'max_iou', got {rounding!r}.")
    durations = torch.as_tensor(durations_s, dtype=torch.float64)
    spans = torch.as_tensor(spans_s, dtype=torch.float64, device=durations.device)
    counts = torch.as_tensor(num_segments, device=durations.device)
    starts, ends = spans[:, 0].clamp(min=0), torch.minimum(spans[:, 1], durations)
    is_empty = ~(ends > starts)
    starts, ends = starts * counts / durations, ends * counts / durations  # in segments
    last = counts - 1
    if rounding == "nearest":
        first = torch.minimum(starts.nan_to_num().round().clamp(min=0).long(), last)
        end = torch.minimum((ends.nan_to_num().round() - 1).clamp(min=0).long(), last)
        end = torch.maximum(end, first)
    else:
        steps = torch.arange(int(counts.max()) if counts.numel() else 0, device=durations.device)
        i, j = steps[:, None], steps[None]  # (N, N)
        shared = torch.minimum(ends[:, None, None], j + 1) - torch.maximum(starts[:, None, None], i)
        union = torch.maximum(ends[:, None, None], j + 1) - torch.minimum(starts[:, None, None], i)
        overlap = (shared / union).masked_fill((i > j) | (j > last[:, None, None]), -torch.inf)
        best = overlap.flatten(1).argmax(dim=1)
        first, end = best // len(steps), best % len(steps)
    return first.masked_fill(is_empty, -100), end.masked_fill(is_empty, -100)


def joint_scores(
    start_logits: torch.Tensor,
    end_logits: torch.Tensor,
    mask: torch.Tensor,
    min_segments: int = 1,
    max_segments: int | None = None,
    normalised: bool = True,
) -> torch.Tensor:
    """
    J(i, j) = log P_start(i) + log P_end(j) of every pair of segments (section 10).

    Args:
        start_logits, end_logits (`torch.FloatTensor` of shape `(queries, segments)`): Scores of a model.
        mask (`torch.Tensor` of shape `(queries, segments)`): 1 for segments that exist, which come first.
        min_segments (`int`, defaults to 1): Fewest segments of a span.
        max_segments (`int`, *optional*): Most segments of a span.
        normalised (`bool`, defaults to `True`):
            Whether scores become log-probabilities. The sum of scores as they are can be compared between windows of a
            long video; that of log-probabilities cannot: they know nothing of other windows.

    Returns:
        `torch.FloatTensor` of shape `(queries, segments, segments)`, in float32 or better: first by last segment, minus
        infinity for pairs that are none.
    """
    exists = mask.bool()
    start, end = (
        logits.to(torch.promote_types(logits.dtype, torch.float32)).masked_fill(~exists, -torch.inf)
        for logits in (start_logits, end_logits)
    )
    if normalised:
        start, end = start.log_softmax(dim=-1), end.log_softmax(dim=-1)
    steps = torch.arange(mask.shape[1], device=mask.device)
    lengths = steps[None] - steps[:, None] + 1  # (N, N): segments from i to j
    is_pair = lengths >= max(min_segments, 1)
    if max_segments is not None:
        is_pair = is_pair & (lengths <= max_segments)
    return (start[:, :, None] + end[:, None]).masked_fill(~is_pair, -torch.inf)


def segment_scores(segment_logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """
    How much surer the segments of each pair are to lie inside than all others: mean P_in of either (section 10).

    Args:
        segment_logits (`torch.FloatTensor` of shape `(queries, segments)`): Scores of the third head.
        mask (`torch.Tensor` of shape `(queries, segments)`): 1 for segments that exist.

    Returns:
        `torch.FloatTensor` of shape `(queries, segments, segments)` in [-1, 1]; it means nothing where i > j.
    """
    steps = torch.arange(mask.shape[1], device=mask.device)
    return _inside_less_outside(
        segment_logits, mask, steps[:, None].expand(len(mask), -1, -1), steps.expand(len(mask), 1, -1)
    )


def _inside_less_outside(
    segment_logits: torch.Tensor, mask: torch.Tensor, first: torch.Tensor, last: torch.Tensor
) -> torch.Tensor:
    """[`segment_scores`] of some pairs of each query: `first` `(queries, M, 1)` with `last` `(queries, 1, M)`, or both `(queries,)`."""
    exists = mask.bool()
    inside = segment_logits.float().sigmoid().where(exists, 0.0)
    before = torch.nn.functional.pad(inside.cumsum(dim=1), (1, 0))  # (Q, N + 1)

    def until(place: torch.Tensor) -> torch.Tensor:
        return before.gather(1, place.flatten(1) if place.dim() > 1 else place[:, None]).view(place.shape)

    def of_query(values: torch.Tensor) -> torch.Tensor:
        return values.view(-1, *[1] * (first.dim() - 1))

    sums, lengths = until(last + 1) - until(first), (last - first + 1).clamp(min=1)
    rest = of_query(exists.sum(dim=1)) - lengths
    outside = (of_query(before[:, -1]) - sums) / rest.clamp(min=1)
    return sums / lengths - outside.where(rest > 0, 0.0)


@torch.no_grad()
def decode_moments(
    output: Any,
    durations_s: torch.Tensor,
    top_k: int = 5,
    nms_iou: float = 0.5,
    ranking: str = "joint",
    min_segments: int = 1,
    max_segments: int | None = None,
    max_seconds: float | None = None,
    rescore_with_segmentation: float = 0.0,
) -> list[list[dict[str, Any]]]:
    """
    The best spans of each query, best first, none of which overlaps a better one (section 10).

    Args:
        output: What a model said: `start_logits`, `end_logits`, `segment_mask`, and
            `segment_logits` or `None`.
        durations_s (`torch.Tensor` of shape `(queries,)`): Seconds of the video, or the window, of each query.
        top_k (`int`, defaults to 5): Most answers of a query.
        nms_iou (`float`, defaults to 0.5):
            A span whose intersection over union with a better one is above it is left out; 1.0 leaves in all.
        ranking (`str`, defaults to `"joint"`):
            What spans are ranked by: `"joint"` probability of start and end; `"joint_with_segmentation"`, to which the
            segment score is added; `"unnormalised"`: start and end scores as they are, for windows of a long video.
        min_segments, max_segments (`int`, *optional*): Bounds of a span.
        max_seconds (`float`, *optional*): Longest span.
        rescore_with_segmentation (`float`, defaults to 0.0): Weight of the segment score in the ranking.

    Returns:
        `list[list[dict]]`: `start_s`, `end_s`, `score` (the joint probability, the exponent of the rank with the segment
        score, or the sum of scores) and `segment_score` in [-1, 1] (`None` without the third head).

    Raises:
        ValueError: If `ranking` is another word, or asks for a head that the model does not have.
    """
    if ranking not in RANKINGS:
        raise ValueError(f"ranking must be one of {', '.join(map(repr, RANKINGS))}, got {ranking!r}.")
    weight = rescore_with_segmentation + (ranking == "joint_with_segmentation")
    if weight and output.segment_logits is None:
        raise ValueError(
            "The ranking uses segment scores, but this model has no third head (segmentation=False): rank by 'joint' and "
            "leave rescore_with_segmentation at 0."
        )
    mask = output.segment_mask.bool()
    size = mask.shape[1]
    is_normalised = ranking != "unnormalised"
    ranks = joint_scores(output.start_logits, output.end_logits, mask, min_segments, max_segments, is_normalised)
    durations = torch.as_tensor(durations_s, dtype=torch.float64, device="cpu")
    seconds = durations / mask.sum(dim=1).cpu()  # u; not every device has double precision
    steps = torch.arange(size, device=mask.device)
    if max_seconds is not None:
        longest = (max_seconds * (1 + 1e-9) / seconds).long().to(mask.device)  # in segments
        ranks = ranks.masked_fill(steps[None] - steps[:, None] + 1 > longest[:, None, None], -torch.inf)
    if weight:
        ranks = ranks + weight * segment_scores(output.segment_logits, mask)
    has_third, found = output.segment_logits is not None, []
    precise, tolerance = (torch.float32, 1e-4) if steps.device.type == "mps" else (torch.float64, 1e-9)
    borders = steps.to(precise)
    for _ in range(min(top_k, size * (size + 1) // 2)):
        rank, best = ranks.flatten(1).max(dim=1)
        first, last = best // size, best % size
        inside = torch.zeros_like(rank)
        if has_third:
            inside = _inside_less_outside(output.segment_logits, mask, first, last)
        found.append(torch.stack([each.to(rank.dtype) for each in (first, last, rank, inside)], dim=1))
        # Pairs whose overlap with the best one is more than nms_iou of both together. shared > t x union is the same as
        # (1 + t) shared > t x (the sum of the lengths), where start and end fall apart: no division for each pair.
        ends = torch.minimum(last[:, None] + 1, borders + 1) * (1 + nms_iou) - nms_iou * (borders + 1)  # (Q, N)
        starts = torch.maximum(first[:, None], borders) * (1 + nms_iou) - nms_iou * borders
        least = nms_iou * (last + 1 - first).to(precise) + tolerance  # so that rounding decides nothing
        ranks.masked_fill_((ends - least[:, None])[:, None] > starts[:, :, None], -torch.inf)
        ranks.flatten(1).scatter_(1, best[:, None], -torch.inf)
    answers = torch.stack(found, dim=1).tolist() if found else [[] for _ in mask]  # (Q, top_k, 4), in one copy
    return [
        [
            {
                "start_s": first * unit,
                "end_s": min((last + 1) * unit, duration),
                "score": math.exp(rank) if is_normalised else rank,
                "segment_score": segment_score if has_third else None,
            }
            for first, last, rank, segment_score in row
            if rank > -torch.inf
        ]
        for row, unit, duration in zip(answers, seconds.tolist(), durations.tolist(), strict=True)
    ]


def temporal_nms(
    spans_s: torch.Tensor, scores: torch.Tensor, iou_threshold: float = 0.5, top_k: int | None = None
) -> torch.Tensor:
    """
    Greedy non-maximum suppression of spans, as for boxes with a single axis.

    Args:
        spans_s (`torch.Tensor` of shape `(spans, 2)`): Start and end.
        scores (`torch.Tensor` of shape `(spans,)`): The larger the better; of equals the first one stays.
        iou_threshold (`float`, defaults to 0.5): A span that overlaps a better one by more is left out.
        top_k (`int`, *optional*): Most spans that stay.

    Returns:
        `torch.LongTensor`: Numbers of the spans that stay, best first.

    Example:
        >>> temporal_nms(torch.tensor([[0.0, 4.0], [1.0, 4.0], [6.0, 9.0]]), torch.tensor([0.2, 0.9, 0.5])).tolist()
        [1, 2]
    """
    order = scores.argsort(descending=True, stable=True)
    spans = spans_s[order].double()
    shared = torch.minimum(spans[:, None, 1], spans[None, :, 1]) - torch.maximum(spans[:, None, 0], spans[None, :, 0])
    lengths = spans[:, 1] - spans[:, 0]
    shared = shared.clamp(min=0)
    union = (lengths[:, None] + lengths[None] - shared).clamp(min=torch.finfo(torch.float64).tiny)
    overlaps = (shared / union > iou_threshold).cpu()
    kept, is_left_out = [], torch.zeros(len(order), dtype=torch.bool)
    for place in range(len(order)):
        if top_k is not None and len(kept) == top_k:
            break
        if not is_left_out[place]:
            kept.append(place)
            is_left_out |= overlaps[place]
    return order[torch.tensor(kept, dtype=torch.long, device=order.device)]


def join_windows(
    of_windows: Sequence[Sequence[dict[str, Any]]], top_k: int = 5, nms_iou: float = 0.5
) -> list[dict[str, Any]]:
    """
    The best moments of windows of a long video, best first, none of which overlaps a better one.

    Args:
        of_windows (`Sequence[Sequence[dict]]`): Those of each window, as [`decode_moments`] gives them, in seconds of the video.
        top_k (`int`, defaults to 5): Most moments.
        nms_iou (`float`, defaults to 0.5): See [`decode_moments`].

    Example:
        >>> a, b, c = ({"start_s": start, "end_s": start + 4.0, "score": score} for start, score in ((0, 2), (1, 3), (9, 1)))
        >>> [moment["start_s"] for moment in join_windows([[a], [b, c]])]
        [1, 9]
    """
    moments = [moment for of_window in of_windows for moment in of_window]
    if len(of_windows) < 2 or not moments:
        return moments[:top_k]
    spans = torch.tensor([(moment["start_s"], moment["end_s"]) for moment in moments], dtype=torch.float64)
    scores = torch.tensor([moment["score"] for moment in moments], dtype=torch.float64)
    return [moments[number] for number in temporal_nms(spans, scores, nms_iou, top_k).tolist()]


__all__ = [
    "RANKINGS",
    "decode_moments",
    "join_windows",
    "joint_scores",
    "segment_scores",
    "span_targets",
    "temporal_nms",
]
