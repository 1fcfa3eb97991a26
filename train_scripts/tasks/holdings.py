# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a data set takes in memory and on disk: as pixels, as frame vectors. Said before a run, from a few of its videos."""

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from transformers import PreTrainedModel
from transformers.video_utils import VideoMetadata


PROBED = 8  # videos that are opened to know how long all are


@dataclass(frozen=True)
class Holdings:
    """
    Bytes of a data set.

    Args:
        num_clips (`int`): Clips, augmented copies included.
        frames_per_clip (`float`): Frames of a clip that the model sees, on average.
        height, width (`int`): Of a frame.
        feature_size (`int`): Numbers in the vector of a frame.

    Example:
        >>> held = Holdings(num_clips=818, frames_per_clip=100, height=120, width=120, feature_size=2048)
        >>> show_bytes(held.features(2)), show_bytes(held.pixels(1)), show_bytes(held.pixels(4))
        ('335 MB', '3.53 GB', '14.1 GB')
    """

    num_clips: int
    frames_per_clip: float
    height: int
    width: int
    feature_size: int

    @property
    def num_frames(self) -> float:
        return self.num_clips * self.frames_per_clip

    def pixels(self, bytes_per_value: int) -> int:
        """All frames as RGB, at 1 (uint8), 2 or 4 (float32) bytes a value."""
        return round(self.num_frames * 3 * self.height * self.width * bytes_per_value)

    def features(self, bytes_per_value: int) -> int:
        """All frames as vectors, at 2 (float16) or 4 (float32) bytes a value."""
        return round(self.num_frames * self.feature_size * bytes_per_value)

    def describe(self, dtype: str) -> str:
        """Two sentences for people."""
        size = {"float16": 2, "float32": 4}[dtype]
        return (
            f"{self.num_clips} clips of about {self.frames_per_clip:.0f} frames: {show_bytes(self.features(size))} as vectors "
            f"of {self.feature_size} ({dtype}), in memory and on disk. Kept as pixels of {self.height} x {self.width} they "
            f"would be {show_bytes(self.pixels(1))}, {show_bytes(self.pixels(4))} in float32."
        )


def describe_holdings(
    model: PreTrainedModel,
    processor: Any,
    videos: Sequence[Any],
    options: Mapping[str, Any],
    dtype: str,
    num_copies: float = 1,
) -> str:
    """
    What the frame vectors of videos take, and what their pixels would.

    Args:
        model (`PreTrainedModel`): With a `frame_feature_size`.
        processor (`SparseVideoProcessor`): Chooses frames, and has their `size`.
        videos (`Sequence`): Paths or bytes; the headers of a few are read.
        options (`Mapping[str, Any]`): With which the processor is called.
        dtype (`str`): Of the vectors.
        num_copies (`float`, *optional*, defaults to 1): Versions of a video, on average.
    """
    size = dict(processor.size)
    side = size.get("longest_edge") or size.get("shortest_edge")
    height, width = size.get("height", side), size.get("width", side)
    frames = average_frames(processor, videos, options)
    return Holdings(round(len(videos) * num_copies), frames, height, width, model.frame_feature_size).describe(dtype)


def average_frames(processor: Any, videos: Sequence[Any], options: Mapping[str, Any]) -> float:
    """
    Frames that a processor takes of a video, on average over a few of them, by what their headers say: nothing is decoded.
    Those that cannot be read do not count.
    """
    counts = []
    for number in np.linspace(0, len(videos) - 1, min(PROBED, len(videos))).round().astype(int):
        video = videos[number]
        with suppress(OSError, ValueError, IndexError, av.FFmpegError):
            source = io.BytesIO(video) if isinstance(video, bytes) else str(video)
            with av.open(source) as container:
                stream = container.streams.video[0]
                rate = float(stream.average_rate or stream.guessed_rate or 25)
                total = stream.frames or round((container.duration or 0) / av.time_base * rate)
            metadata = VideoMetadata(total_num_frames=max(total, 1), fps=rate)
            counts.append(int((processor.sample_frames(metadata, **options).frame_indices >= 0).sum()))
    return float(np.mean(counts)) if counts else 0.0


def show_bytes(number: float) -> str:
    """
    Decimal units, three digits.

    Example:
        >>> show_bytes(4_104_000_000), show_bytes(263e9), show_bytes(999), show_bytes(0.4e9)
        ('4.1 GB', '263 GB', '999 bytes', '400 MB')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{float(f'{number / size:.3g}'):g} {unit}"
    return f"{number:.0f} bytes"


__all__ = ["Holdings", "describe_holdings", "show_bytes"]
