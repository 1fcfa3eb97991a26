# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How a video is cut into segments, and a long one into windows: seconds in, seconds out. NumPy only.

    |<----------------------- duration ----------------------->|
    |  segment 0  |  segment 1  |     ...     |  segment N - 1  |      N = duration x segments a second, within bounds
    |   .     .   |   .     .   |             |    .      .     |      frames: the middles of K equal parts of a segment

A number of segments is all that turns an index into seconds: segment i of N covers [i, i + 1) x duration / N, whatever
rate features are said to have.
"""

import math
from typing import NamedTuple

import numpy as np


class SegmentPlan(NamedTuple):
    """Where the segments of a video lie, in seconds from its start.

    Attributes:
        borders_s (`np.ndarray` of shape `(segments + 1,)`): Segment i lasts from border i to border i + 1.
        frames_s (`np.ndarray` of shape `(segments, frames)`): When to look at each segment, rising.
    """

    borders_s: np.ndarray
    frames_s: np.ndarray

    @property
    def num_segments(self) -> int:
        return len(self.frames_s)


def plan_segments(
    duration_s: float,
    segments_per_second: float = 2,
    min_segments: int = 8,
    max_segments: int = 128,
    frames_per_segment: int = 2,
) -> SegmentPlan:
    """Cut a video into equal segments, N = clip(ceil(duration x rate), min, max) of them.

    Args:
        duration_s (`float`): Seconds of the video, above 0.
        segments_per_second (`float`, defaults to 2): Segments a second, as long as there are not too many or too few.
        min_segments, max_segments (`int`, default to 8 and 128): Bounds of N.
        frames_per_segment (`int`, defaults to 2): K, frames of a segment, at the middles of its K equal parts.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> plan = plan_segments(6.0, segments_per_second=0.5, min_segments=1)
        >>> plan.borders_s.tolist(), plan.frames_s.tolist()
        ([0.0, 2.0, 4.0, 6.0], [[0.5, 1.5], [2.5, 3.5], [4.5, 5.5]])
    """
    for name, value in (("duration_s", duration_s), ("segments_per_second", segments_per_second)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive, finite number, got {value}.")
    if not 1 <= min_segments <= max_segments:
        raise ValueError(f"Expected 1 <= min_segments <= max_segments, got {min_segments} and {max_segments}.")
    if frames_per_segment < 1:
        raise ValueError(f"frames_per_segment must be at least 1, got {frames_per_segment}.")
    wanted = min(duration_s * segments_per_second, max_segments)
    # A millionth, so that 0.1 s x 30 a second are 3 segments and not 4.
    count = min(max(math.ceil(wanted - 1e-6), min_segments), max_segments)
    middles = (np.arange(count * frames_per_segment) + 0.5) * (duration_s / (count * frames_per_segment))
    return SegmentPlan(np.arange(count + 1) * (duration_s / count), middles.reshape(count, frames_per_segment))


def plan_windows(duration_s: float, window_seconds: float = 150.0, overlap: float = 0.5) -> list[tuple[float, float]]:
    """Cut a long video into windows of one length that overlap; the last one ends with the video.

    Args:
        duration_s (`float`): Seconds of the video, above 0. One that is no longer than a window is one window.
        window_seconds (`float`, defaults to 150): Length of a window.
        overlap (`float`, defaults to 0.5): Share of a window that the next one shows again, in [0, 1).

    Returns:
        `list[tuple[float, float]]`: Start and end of each window, in seconds.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> plan_windows(35.0, 10.0)[-3:]
        [(15.0, 25.0), (20.0, 30.0), (25.0, 35.0)]
        >>> plan_windows(7.0, 10.0)
        [(0.0, 7.0)]
    """
    for name, value in (("duration_s", duration_s), ("window_seconds", window_seconds)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive, finite number, got {value}.")
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap must lie in [0, 1), got {overlap}.")
    if duration_s <= window_seconds:
        return [(0.0, float(duration_s))]
    step = window_seconds * (1 - overlap)
    # Starts are multiples of the step, so that windows share frames, but for the last one.
    starts = [k * step for k in range(math.ceil((duration_s - window_seconds) / step - 1e-9))]
    return [(start, start + window_seconds) for start in starts] + [(duration_s - window_seconds, float(duration_s))]


__all__ = ["SegmentPlan", "plan_segments", "plan_windows"]
