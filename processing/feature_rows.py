# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Rows of video features, `(n, D)`, that cover a video evenly: fewer of them, a part of them, several kinds side by side.

Row i of n covers [i, i + 1) x duration / n seconds, whatever rate the features are said to have: projects contradict each
other about that for the very same files.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .video_sources import VideoDecodeError


UNEQUAL = ("pool", "cut", "refuse")


class FeatureFileError(VideoDecodeError):
    """Features that cannot be read, or are not what is expected: `source` is their file, or what they are called."""

    def __init__(self, source: str, reason: str, frame_index: int | None = None):
        super().__init__(source, reason, frame_index)
        self.args = (f"Cannot use the features of {source}: {reason}",)


def check_rows(features: Any, name: str) -> np.ndarray:
    """Features as float32 `(n, D)`; further axes are dropped where they have size 1.

    Raises:
        FeatureFileError: If they have another number of dimensions, no rows, or numbers that are not finite; names them.
    """
    if isinstance(features, torch.Tensor):  # of any precision, anywhere
        features = features.detach().cpu()
        features = features.float() if features.is_floating_point() else features
    rows = np.asarray(features)
    shape = rows.shape
    while rows.ndim > 2 and 1 in rows.shape:
        # the last one of them first: that in front may be a single row
        rows = rows.squeeze(max(axis for axis, size in enumerate(rows.shape) if size == 1))
    if rows.ndim != 2 or rows.dtype.kind not in "fiu":
        reason = f"expected (n, D), a row of numbers for each part of the video, got {rows.dtype} of shape {shape}."
        raise FeatureFileError(name, reason)
    if 0 in rows.shape:
        raise FeatureFileError(name, f"there is nothing in them, their shape is {shape}.")
    with np.errstate(over="ignore"):  # what overflows is reported below
        rows = rows.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise FeatureFileError(
            name, f"{len(bad)} of {len(rows)} rows hold NaN or infinity, the first of them row {bad[0]}."
        )
    return rows


def pool_rows(features: np.ndarray, num_segments: int) -> np.ndarray:
    """Bring features to at most so many rows, by means of neighbours (section 2.1); the end of a video is never cut off.

    Bin i averages rows [r(i), r(i + 1)) with r(i) = min(round(i x n / N), n - 1); an empty bin copies row r(i).

    Args:
        features (`np.ndarray` of shape `(n, D)`): As many as there are segments, or fewer, stay as they are.
        num_segments (`int`): N, most rows.

    Example:
        >>> pool_rows(np.arange(5.0, dtype=np.float32)[:, None], 2).ravel().tolist()
        [0.5, 3.0]
    """
    return features if len(features) <= num_segments else _pool(features, num_segments)


def _pool(features: np.ndarray, count: int) -> np.ndarray:
    """To exactly `count` rows."""
    borders = np.minimum(np.round(np.arange(count + 1) * len(features) / count).astype(np.int64), len(features) - 1)
    borders[-1] = len(features)  # so that the last bin has the last row
    sums = np.concatenate([np.zeros((1, features.shape[1])), np.cumsum(features, axis=0, dtype=np.float64)])
    starts, ends = borders[:-1], np.maximum(borders[1:], borders[:-1] + 1)
    return ((sums[ends] - sums[starts]) / (ends - starts)[:, None]).astype(np.float32)


def cut_rows(features: np.ndarray, duration_s: float, span_se: tuple[float, float]) -> tuple[np.ndarray, float, float]:
    """The rows of a part of a video: those that begin or end nearest to its borders.

    Args:
        features (`np.ndarray` of shape `(n, D)`): Of the whole video.
        duration_s (`float`): Its length in seconds.
        span_se (`tuple[float, float]`): Start and end of the part in seconds.

    Returns:
        `tuple[np.ndarray, float, float]`: At least one row, and the seconds at which they begin and end.

    Example:
        >>> rows, start_s, end_s = cut_rows(np.zeros((10, 4)), 20.0, (3.0, 8.9))
        >>> len(rows), start_s, end_s
        (2, 4.0, 8.0)
    """
    unit = duration_s / len(features)
    first = int(np.clip(round(span_se[0] / unit), 0, len(features) - 1))
    stop = int(np.clip(round(span_se[1] / unit), first + 1, len(features)))
    return features[first:stop], first * unit, stop * unit


def join_rows(parts: Sequence[np.ndarray], names: Sequence[str], unequal: str = "pool") -> np.ndarray:
    """Features of one video from several sources, side by side.

    Args:
        parts (`Sequence[np.ndarray]`): `(n, D)` each.
        names (`Sequence[str]`): What to call them.
        unequal (`str`, defaults to `"pool"`): Where they differ in rows: `"pool"` the longer ones to the bins of the shortest,
            `"cut"` off their ends, as Moment-DETR does, or `"refuse"`.

    Returns:
        `np.ndarray` of shape `(n, sum of D)`.

    Raises:
        ValueError: If rows differ and that is refused.
    """
    if unequal not in UNEQUAL:
        raise ValueError(f"Expected unequal to be one of {', '.join(UNEQUAL)}, got {unequal!r}.")
    counts = [len(part) for part in parts]
    shortest = min(counts)
    if max(counts) != shortest:
        if unequal == "refuse":
            lengths = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
            raise ValueError(
                f"Sources differ in rows ({lengths}): choose unequal='pool', or 'cut' as their authors do."
            )
        parts = [part[:shortest] if unequal == "cut" else pool_rows(part, shortest) for part in parts]
    return np.concatenate(parts, axis=1)


__all__ = ["UNEQUAL", "FeatureFileError", "check_rows", "cut_rows", "join_rows", "pool_rows"]
