# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Which frames of a video a processor takes: clips on a time line, where decoding can start, and the frames themselves."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clipbert.processing import SparseVideoProcessor, read_video_metadata
from clipbert.processing.video_processing import times_of_frames
from clipbert.train_scripts.engine.pictures import mark_time, new_figure, save_figure, shorten
from clipbert.train_scripts.tasks.moment_retrieval.showing import read_pictures


MOST_FRAMES, WIDTH = 12, 10.0  # pictures below the time line; inches


@dataclass
class Sampling:
    """
    What is taken of a video.

    Args:
        duration_s (`float`): Of the video.
        clips (`list[np.ndarray]`): Of each clip the seconds at which its frames begin.
        frame_indices (`list[np.ndarray]`): Their numbers.
        key_frames_s (`np.ndarray`): Seconds of the frames at which decoding can start; empty where nothing tells them.
        pictures (`list[np.ndarray]`): The frames in order, `(height, width, 3)` in uint8, small.
    """

    duration_s: float
    clips: list[np.ndarray]
    frame_indices: list[np.ndarray]
    key_frames_s: np.ndarray
    pictures: list[np.ndarray] = field(default_factory=list, repr=False)


def sampling_of(video: str, processor: SparseVideoProcessor, **options: Any) -> Sampling:
    """
    The frames that a processor takes of a video.

    Args:
        video (`str`): A path or a URL.
        processor (`SparseVideoProcessor`): With its options.
        **options: Others, such as `num_clips=8`.

    Raises:
        VideoDecodeError: If it cannot be read.
        ValueError: If the options do not fit it, or nothing tells when its frames are shown.
    """
    metadata = read_video_metadata(video)
    begins, end_s = times_of_frames(metadata)
    chosen = processor.sample_frames(metadata, **options)
    exists = np.asarray(getattr(chosen, "clip_mask", np.ones(len(chosen.frame_indices))), dtype=bool)
    numbers = [row[row >= 0] for row in np.asarray(chosen.frame_indices)[exists]]
    seconds = [np.asarray(begins)[row] for row in numbers]
    keys = np.asarray(begins)[metadata.key_frames] if metadata.key_frames is not None else np.zeros(0)
    pictures = read_pictures(video, np.unique(np.concatenate(seconds)))
    return Sampling(float(end_s), seconds, numbers, keys, pictures)


def draw_sampling(found: Sampling, path: Path, title: str = "") -> Path:
    """
    Draw what is taken: a line for each clip, marks below for the frames at which decoding can start, and the frames.

    Args:
        found ([`Sampling`]): What to draw.
        path (`Path`): The picture, PNG or SVG; the same gives the same bytes.
        title (`str`, *optional*): Its heading.
    """
    shown = np.unique(
        np.linspace(0, len(found.pictures) - 1, min(MOST_FRAMES, len(found.pictures))).round().astype(int)
    )
    every = np.unique(np.concatenate(found.clips))
    line = max(1.2, 0.6 + 0.16 * len(found.clips))
    rows = math.ceil(len(shown) / (MOST_FRAMES // 2))
    figure = new_figure(WIDTH, 0.5 + line + 1.35 * rows)
    above, below = figure.subfigures(2, 1, height_ratios=[line, 1.35 * rows])
    axes = above.subplots()
    for number, seconds in enumerate(found.clips):
        axes.plot(
            [seconds[0], seconds[-1]], [number, number], color="C0", linewidth=5, alpha=0.35, solid_capstyle="round"
        )
        axes.plot(
            seconds,
            [number] * len(seconds),
            "|",
            color="k",
            markersize=9,
            label="frames taken" if number == 0 else None,
        )
    keys = found.key_frames_s
    axes.plot(keys, [len(found.clips)] * len(keys), "^", color="0.4", markersize=4, label="decoding can start")
    axes.set_ylim(len(found.clips) + 0.7, -0.7)
    clips = range(len(found.clips))
    step = max(1, len(clips) // 8)
    axes.set_yticks(list(clips)[::step], [f"clip {number + 1}" for number in clips][::step], fontsize=8)
    mark_time(axes, 0.0, max(found.duration_s, 1e-3))
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    panels = below.subplots(rows, min(len(shown), MOST_FRAMES // 2), squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, number in zip(panels, shown.tolist(), strict=False):
        panel.imshow(found.pictures[number])
        panel.set_title(f"{every[number]:.2f} s", fontsize=8)
    figure.suptitle(shorten(title, 80), fontsize=9, parse_math=False)
    return save_figure(figure, path)


__all__ = ["Sampling", "draw_sampling", "sampling_of"]
