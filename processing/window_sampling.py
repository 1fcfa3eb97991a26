# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Which frames of a video a model of any length sees: rising numbers, and never one twice. NumPy only.

A video that is shorter than what was asked for gives fewer frames; nothing is repeated, and a mask says which are there.
"""

from typing import NamedTuple

import numpy as np

from .sampling import RandomSource, VideoTiming


SAMPLINGS = ("uniform", "first", "segment_random", "all", "fps", "multi_clip")


class WindowSample(NamedTuple):
    """Frame numbers of the windows of one video.

    Attributes:
        frame_indices (`np.ndarray` of shape `(windows, frames)`): Rising frame numbers, int64, and -1 behind them in windows
            that have fewer than the longest.
    """

    frame_indices: np.ndarray


def sample_windows(
    total_num_frames: int,
    fps: float | None = None,
    *,
    sampling: str = "uniform",
    num_frames: int = 16,
    num_clips: int = 1,
    stride: int = 1,
    rate: float | None = None,
    rng: RandomSource | None = None,
    timing: VideoTiming | None = None,
) -> WindowSample:
    """Choose frames of a video, each once (section 3.2 of the course report's specification of modes).

    Args:
        total_num_frames (`int`): T, frames that the video has.
        fps (`float`, *optional*): Its frame rate, for `sampling="fps"` of videos without time stamps.
        sampling (`str`): One of

            - `"uniform"`: frame `floor((k + 1/2) T / n)` for k = 0 ... n - 1, or all where there are fewer than n;
            - `"first"`: frames 0 ... n - 1;
            - `"segment_random"`: one of each of n equal segments, drawn from `rng`; without it the same as `"uniform"`;
            - `"all"`: every `stride`-th frame;
            - `"fps"`: the frames nearest to the times (k + 1/2) / `rate` seconds, by time stamps;
            - `"multi_clip"`: `num_clips` equal parts of the video, `"uniform"` in each.
        num_frames (`int`): n, most frames of a window. `"all"` and `"fps"` have no such bound.
        num_clips (`int`): Windows of `"multi_clip"`.
        stride (`int`): Step of `"all"` and `"first"`.
        rate (`float`, *optional*): Frames a second of `"fps"`.
        rng (`np.random.Generator`, *optional*): Source of the draws of `"segment_random"`.
        timing (`VideoTiming`, *optional*): Time stamps of the frames, for `"fps"`.

    Raises:
        ValueError: If an option is out of range, or times are needed and unknown.

    Example:
        >>> sample_windows(10, num_frames=4).frame_indices.tolist(), sample_windows(3, num_frames=4).frame_indices.tolist()
        ([[1, 3, 6, 8]], [[0, 1, 2]])
    """
    if sampling not in SAMPLINGS:
        raise ValueError(f"Expected sampling to be one of {', '.join(SAMPLINGS)}, got {sampling!r}.")
    for name, value in (("num_frames", num_frames), ("num_clips", num_clips), ("stride", stride)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if total_num_frames < 1:
        raise ValueError(f"A video needs a frame at least, got {total_num_frames}.")
    total = total_num_frames
    if sampling == "first":
        windows = [np.arange(0, total, stride)[:num_frames]]
    elif sampling == "all":
        windows = [np.arange(0, total, stride)]
    elif sampling == "fps":
        windows = [_nearest_to_times(_seconds(total, fps, timing), rate)]
    elif sampling == "multi_clip":
        edges = np.arange(num_clips + 1) * total // num_clips
        parts = zip(edges[:-1], edges[1:], strict=True)
        windows = [start + _uniform(end - start, num_frames) for start, end in parts if end > start]
    elif sampling == "segment_random" and rng is not None and total > num_frames:
        edges = np.arange(num_frames + 1) * total // num_frames
        windows = [rng.integers(edges[:-1], edges[1:])]
    else:
        windows = [_uniform(total, num_frames)]
    indices = np.full((len(windows), max(map(len, windows))), -1, dtype=np.int64)
    for row, window in zip(indices, windows, strict=True):
        row[: len(window)] = window
    return WindowSample(indices)


def _uniform(total: int, count: int) -> np.ndarray:
    count = min(count, total)
    return (2 * np.arange(count) + 1) * total // (2 * count)  # floor((k + 1/2) T / n), in whole numbers


def _seconds(total: int, fps: float | None, timing: VideoTiming | None) -> np.ndarray:
    """Seconds of all frames, from the first on."""
    if timing is not None and timing.frame_pts is not None and len(timing.frame_pts) >= total:
        pts = timing.frame_pts[:total]
        return (pts - pts[0]) * float(timing.time_base)
    if not fps:
        raise ValueError(
            "sampling='fps' needs the times of frames, and nothing tells them: state the video's own fps."
        )
    return np.arange(total) / fps


def _nearest_to_times(seconds: np.ndarray, rate: float | None) -> np.ndarray:
    """The frames nearest to the middles of the periods of `rate` until the last one ends."""
    if rate is None:
        raise ValueError("sampling='fps' needs `fps`, the frames to take of each second.")
    usual = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.0
    wanted = (np.arange(max(1, round((seconds[-1] + usual) * rate))) + 0.5) / rate
    behind = np.clip(np.searchsorted(seconds, wanted), 1, max(len(seconds) - 1, 1))
    if len(seconds) == 1:
        return np.zeros(1, dtype=np.int64)
    return np.unique(behind - (wanted - seconds[behind - 1] <= seconds[behind] - wanted))


__all__ = ["SAMPLINGS", "WindowSample", "sample_windows"]
