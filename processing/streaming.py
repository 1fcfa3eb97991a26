# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""All frames of a video, or of a part of it, a few at a time: one pass, and memory that does not depend on its length."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from transformers.utils import logging

from .decoding import DEFAULT_MAX_PIXELS, DEFAULT_TIMEOUT_S, frames_without_reader
from .video_reader import PictureBuffer, VideoReader
from .video_sources import IndexMismatchError, describe_source


logger = logging.get_logger(__name__)


class FrameChunk(NamedTuple):
    """Some frames of a video that follow each other.

    Attributes:
        frame_indices (`np.ndarray` of shape `(frames,)`): Their numbers, int64.
        frame_seconds (`np.ndarray` of shape `(frames,)`): Seconds from the first frame of the video to each, by time
            stamps; NaN where unknown.
        frames (`list`): The pictures `(height, width, 3)` in uint8, or what `transform` made of them.
    """

    frame_indices: np.ndarray
    frame_seconds: np.ndarray
    frames: list


def stream_video(
    source: Any,
    *,
    chunk_size: int = 64,
    stride: int = 1,
    stop: int | None = None,
    frame_indices: np.ndarray | None = None,
    transform: Callable[[np.ndarray], Any] | None = None,
    fps: float | None = None,
    stream_index: int = 0,
    allow_truncated: bool = False,
    allow_damaged: bool = False,
    square_pixels: bool = True,
    num_threads: int | None = None,
    timeout_s: float | None = DEFAULT_TIMEOUT_S,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
) -> Iterator[FrameChunk]:
    """
    The frames of a video from its start on, in one pass, also of files whose packets tell nothing.

    Args:
        source: As for `decode_video`.
        chunk_size (`int`, defaults to 64): Most frames of a chunk.
        stride (`int`, defaults to 1): Take each `stride`-th frame; the others are decoded and not converted.
        stop (`int`, *optional*): Take frames in front of this number only.
        frame_indices (`np.ndarray` of shape `(frames,)`, *optional*): Take these, which must rise, instead of each
            `stride`-th. Those that the video does not have do not come. What lies in front of the first is passed over, where
            packets tell how.
        transform (`Callable`, *optional*): Called with each picture `(height, width, 3)`; its result is kept instead.
        fps (`float`, *optional*): Frame rate of frames that come without a file.
        stream_index, allow_truncated, allow_damaged, square_pixels, num_threads, timeout_s, max_pixels: As for
            `decode_video`; `timeout_s` is for each chunk.

    Yields:
        [`FrameChunk`]

    Raises:
        VideoDecodeError: As for `decode_video`. A file that is damaged or cut off gives the frames in front of the damage
            first.
        ValueError: If a number is below 1, or frame numbers do not rise.

    Example:
        >>> chunks = stream_video(np.zeros((7, 4, 6, 3), dtype=np.uint8), chunk_size=2, stride=2, fps=2.0)
        >>> [(chunk.frame_indices.tolist(), chunk.frame_seconds.tolist()) for chunk in chunks]
        [([0, 2], [0.0, 1.0]), ([4, 6], [2.0, 3.0])]
    """
    for option, value in (("chunk_size", chunk_size), ("stride", stride), ("stop", 1 if stop is None else stop)):
        if value < 1:
            raise ValueError(f"{option} must be at least 1, got {value}.")
    chosen = None
    if frame_indices is not None:
        if not len(frame_indices) or frame_indices[0] < 0 or (np.diff(frame_indices) <= 0).any():
            raise ValueError(f"frame_indices must rise from 0 on, got {np.asarray(frame_indices)[:8].tolist()}.")
        chosen, last = set(np.asarray(frame_indices).tolist()), int(frame_indices[-1])
        stop = last + 1 if stop is None else min(stop, last + 1)
    name = describe_source(source)
    in_memory = frames_without_reader(source, name, max_pixels, timeout_s)
    if in_memory is not None:
        end = in_memory.num_frames if stop is None else min(stop, in_memory.num_frames)
        numbers_of_all = np.arange(0, end, stride) if chosen is None else np.asarray(frame_indices)
        numbers_of_all = numbers_of_all[numbers_of_all < end]
        for start in range(0, len(numbers_of_all), chunk_size):
            numbers = numbers_of_all[start : start + chunk_size]
            pts = None if in_memory.timing is None else in_memory.timing.frame_pts
            if pts is not None:
                seconds = (pts[numbers] - pts[0]) * float(in_memory.timing.time_base)
            else:
                seconds = numbers / fps if fps else np.full(len(numbers), np.nan)
            yield FrameChunk(numbers, seconds, list(in_memory.take(numbers, transform)))
        return
    options = {"stream_index": stream_index, "timeout_s": timeout_s, "max_pixels": max_pixels}
    leniency = {"allow_truncated": allow_truncated, "allow_damaged": allow_damaged}
    with VideoReader(source, name, num_threads=num_threads, **leniency, **options) as reader:
        pixel_ratio = reader.pixel_ratio if square_pixels else None
        # One buffer for all, which refuses pictures of another size; the picture itself is kept where there is no transform.
        buffer = PictureBuffer(name, np.empty(0, np.int64), max_pixels, pixel_ratio, transform or np.asarray)
        rows, times = [], _times_of_frames(reader)
        for number, frame in _frames_in_order(reader, frame_indices, stop):
            if number % stride if chosen is None else number not in chosen:
                continue
            rows.append((number, times(number)))
            buffer.place[number] = len(rows) - 1
            buffer.frames = (buffer.frames or []) + [None]
            buffer.add(number, frame)
            if len(rows) == chunk_size:
                yield _chunk(rows, buffer)
                rows = []
                reader.deadline.restart()
        if rows:
            yield _chunk(rows, buffer)


def _frames_in_order(
    reader: VideoReader, frame_indices: np.ndarray | None, stop: int | None
) -> Iterator[tuple[int, Any]]:
    """Frames with their numbers: all of them, or those that are chosen, if what is in front of them can be passed over."""
    start = 0
    if frame_indices is not None and reader.can_pass_to(frame_indices):
        try:
            for number, frame in reader.sparse_frames(np.asarray(frame_indices)):
                yield number, frame
                start = number + 1
            return
        except IndexMismatchError as mismatch:
            logger.info(f"{reader.name}: {mismatch}. Decoding it from its start.")
            reader.index_anew()
    for number, frame in reader.frames_as_they_come(stop):
        if number >= start:
            yield number, frame


def _times_of_frames(reader: VideoReader) -> Callable[[int], float]:
    """Seconds of a frame by its number. Pictures may carry the times of others (AVI), so packets tell, in order of time."""
    pts, stream = reader.index.frame_pts, reader.stream
    tick, rate = stream.time_base, stream.average_rate or stream.guessed_rate  # now: the reader opens the file anew
    is_timed = len(pts) > 0 and pts[0] != reader.index.NO_TIME and bool(np.all(np.diff(pts) > 0))

    def seconds_of(number: int) -> float:
        if is_timed and number < len(pts):
            return float((int(pts[number]) - int(pts[0])) * tick)
        return number / float(rate) if rate else np.nan

    return seconds_of


def _chunk(rows: list[tuple[int, float]], buffer: PictureBuffer) -> FrameChunk:
    numbers, seconds = zip(*rows, strict=True)
    frames, buffer.frames, buffer.place = buffer.frames, [], {}
    return FrameChunk(np.array(numbers), np.array(seconds), frames)


__all__ = ["FrameChunk", "stream_video"]
