# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Trained models for moments as a command line names them; moments as lines of a table, as a film, as pictures to look at."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from transformers import PreTrainedModel

from clipbert.processing import decode_video, read_video_metadata
from clipbert.processing.video_processing import times_of_frames
from clipbert.support.families import load_trained
from clipbert.support.terminal import printable, show_seconds
from clipbert.train_scripts.tasks.retrieval.trained import find_checkpoint


BLOCK = 64  # frames of a film that are held at a time
CLOCK = Fraction(1, 90_000)  # seconds; MPEG's own


def load_locator(name: str, option: str = "--checkpoint") -> tuple[PreTrainedModel, Any]:
    """The model of a checkpoint that finds moments, and its processor; anything else ends the program."""
    try:
        model, processor = load_trained(find_checkpoint(name, option))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{option} {printable(name)}: {printable(str(error).splitlines()[0])}") from error
    if not hasattr(model, "match_moments"):
        raise SystemExit(
            f"{option} {printable(name)}: {type(model).__name__} finds no moments; what does is trained by "
            "train_scripts/moment_retrieval.py."
        )
    return model, processor


def describe_moments(query: str, moments: Sequence[Mapping[str, Any]]) -> str:
    """The moments of a sentence as lines of a table."""
    lines = [printable(query)]
    for place, moment in enumerate(moments, start=1):
        start, end = (show_seconds(moment[name]) for name in ("start_s", "end_s"))
        lines.append(f"{place:4d}.  {start:>11} to {end:>11}   score {moment['score']:.3f}")
    return "\n".join(lines)


def cut_film(video: Any, span_se: tuple[float, float], path: Path) -> int:
    """
    Write a part of a video as a film of its own (H.264 without sound), re-encoded, so that it begins and ends where it is said.

    Args:
        video: As for `decode_video`.
        span_se (`tuple[float, float]`): Start and end in seconds. Frames that are shown at any time between are taken.
        path (`Path`): The film, such as `moment.mp4`.

    Returns:
        `int`: Its number of frames.

    Raises:
        VideoDecodeError: If the video cannot be read.
        ValueError: If nothing of it lies there.
    """
    start_s, end_s = span_se
    metadata = read_video_metadata(video)
    begins, last_s = times_of_frames(metadata)
    # a microsecond, so that the rounding of a container's clock moves no frame across an edge
    first = max(int(np.searchsorted(begins, start_s + 1e-6, side="right")) - 1, 0)
    stop = int(np.searchsorted(begins, end_s - 1e-6, side="left"))
    if not start_s < end_s or start_s >= last_s or first >= stop:
        raise ValueError(f"There is nothing from {start_s:g} to {end_s:g} s in a video of {last_s:.2f} s.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as film:
        rate = Fraction(metadata.fps or 25.0).limit_denominator(1001)
        stream = film.add_stream("libx264", rate=rate, options={"bf": "0"})  # packets come in the order of time
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", CLOCK
        packets = []
        for number in range(first, stop, BLOCK):
            numbers = np.arange(number, min(number + BLOCK, stop))
            for index, picture in zip(numbers, decode_video(video, numbers).frames, strict=True):
                height, width = (side // 2 * 2 for side in picture.shape[:2])  # H.264 halves the colours of both
                if index == first:
                    stream.height, stream.width = height, width
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
                frame.pts, frame.time_base = round(max(begins[index] - start_s, 0.0) / CLOCK), CLOCK
                packets += stream.encode(frame)
        packets += stream.encode(None)
        # an encoder gives each picture its usual time, also the last one
        packets[-1].duration = round((min(end_s, last_s) - start_s) / packets[-1].time_base) - packets[-1].pts
        for packet in packets:
            film.mux(packet)
    return stop - first


def read_thumbnails(
    video: Any, span_se: tuple[float, float], count: int, height: int = 72
) -> list[tuple[float, np.ndarray]]:
    """
    Small pictures of a part of a video, at the middles of equal pieces of it.

    Args:
        video: As for `decode_video`.
        span_se (`tuple[float, float]`): Start and end in seconds.
        count (`int`): How many.
        height (`int`, *optional*, defaults to 72): Their height in pixels; every few pixels one is taken.

    Returns:
        `list[tuple[float, np.ndarray]]`: Each with its second, `(height, width, 3)`, uint8.
    """
    start_s, end_s = span_se
    seconds = start_s + (np.arange(count) + 0.5) * (end_s - start_s) / count
    return list(zip(seconds.tolist(), read_pictures(video, seconds, height), strict=True))


def read_pictures(video: Any, seconds: np.ndarray, height: int = 72) -> list[np.ndarray]:
    """The pictures that a video shows at some seconds, each `(height, width, 3)` in uint8; see [`read_thumbnails`]."""

    def choose(metadata: Any) -> np.ndarray:
        begins, _ = times_of_frames(metadata)
        # a microsecond, so that the second at which a picture begins is its own
        return (np.searchsorted(begins, seconds + 1e-6, side="right") - 1).clip(0, len(begins) - 1)

    def shrink(picture: np.ndarray) -> np.ndarray:
        step = max(math.ceil(len(picture) / height), 1)
        return np.ascontiguousarray(picture[step // 2 :: step, step // 2 :: step])

    decoded = decode_video(video, choose, transform=shrink)  # each frame once
    places = np.searchsorted(decoded.metadata.frames_indices, choose(decoded.metadata))
    return [decoded.frames[place] for place in places]


__all__ = ["cut_film", "describe_moments", "load_locator", "read_pictures", "read_thumbnails"]
