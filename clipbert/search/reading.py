# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
`read` of the models of an index: a video, or a part of it, as model inputs.

It runs in workers of a loader, so nothing here knows weights, and little is imported.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from clipbert.processing import VideoDecodeError, decode_video, sample_clips
from clipbert.processing.decoding import DecodedVideoMetadata
from clipbert.processing.pictures import holds_frames
from clipbert.processing.video_processing import cut_out
from clipbert.processing.video_sources import describe_source
from clipbert.search.protocols import Span


KEPT = ("pixel_values", "clip_mask", "frame_seconds")  # of what a processor returns


class ProcessorReading:
    """
    `read` of a model: its processor and the options, without weights, for workers of a loader.

    Args:
        processor (`ProcessorMixin` or `BaseVideoProcessor`): Saved with the model.
        sampling: Options that differ from its own, such as `num_clips`.
    """

    def __init__(self, processor: Any, **sampling: Any):
        self.processor, self.sampling = processor, sampling

    @property
    def video_processor(self) -> Any:
        return getattr(self.processor, "video_processor", self.processor)

    def option(self, name: str, default: Any = None) -> Any:
        """What is used: the option that was given, else the processor's own; `default` where that is `None`."""
        used = self.sampling.get(name, getattr(self.video_processor, name, None))
        return default if used is None else used

    def __call__(self, video: str | Path | np.ndarray, span: Span | None = None) -> dict[str, torch.Tensor]:
        """
        The inputs of one video.

        Args:
            video (`str`, `Path` or `np.ndarray` of shape `(frames, height, width, 3)`): A file, or frames in uint8.
            span (`Span`, *optional*): The part to look at; nothing else is decoded.

        Raises:
            VideoDecodeError: If it cannot be read, or ends before its span.
        """
        options = {} if span is None else {"spans_se": [tuple(span)]}
        if holds_frames(video):
            options["video_metadata"] = {"fps": self.option("fps", 1.0)}
        inputs = self.processor(videos=[video], return_metadata=True, **options, **self.sampling)
        return {name: inputs[name] for name in KEPT if name in inputs}


@dataclass(frozen=True)
class FrameReading:
    """
    `read` of a tower, without weights: frames that lie evenly over a video, each as the checkpoint's image processor makes it.

    Args:
        image_processor (`BaseImageProcessor`): The checkpoint's own.
        num_frames (`int`): Frames of a video; short ones show some several times.
    """

    image_processor: Any
    num_frames: int

    def __call__(self, video: str | Path | np.ndarray, span: Span | None = None) -> dict[str, torch.Tensor]:
        """
        The inputs of one video, `(num_frames, ...)`, and `frame_seconds` `(num_frames,)`.

        Args:
            video (`str`, `Path` or `np.ndarray` of shape `(frames, height, width, 3)`): A file, or frames in uint8.
            span (`Span`, *optional*): The part to look at; nothing else is decoded.

        Raises:
            VideoDecodeError: If it cannot be read, or ends before its span.
        """
        numbers = np.zeros(0)

        def choose_frames(metadata: DecodedVideoMetadata) -> np.ndarray:
            nonlocal numbers
            try:
                first, part = (0, metadata) if span is None else cut_out(metadata, tuple(span))
            except ValueError as error:
                raise VideoDecodeError(describe_source(video), str(error)) from error
            sample = sample_clips(part.total_num_frames, num_clips=1, num_frames=self.num_frames)
            numbers = sample.frame_indices[0] + first
            return numbers

        decoded = decode_video(video, choose_frames, transform=self.prepare)
        places = np.searchsorted(decoded.metadata.frames_indices, numbers)
        seconds = decoded.metadata.frames_seconds
        seconds = np.full(len(numbers), np.nan) if seconds is None else np.array(seconds, np.float64)[places]
        frames = [decoded.frames[place] for place in places]
        together = {name: torch.cat([frame[name] for frame in frames]) for name in frames[0]}
        return together | {"frame_seconds": torch.from_numpy(seconds)}

    def prepare(self, picture: np.ndarray) -> dict[str, torch.Tensor]:
        """A picture `(height, width, 3)` in uint8 as the inputs of the tower, `(1, ...)`."""
        inputs = self.image_processor(PIL.Image.fromarray(picture), return_tensors="pt")
        if inputs["pixel_values"].ndim == 5:  # of an image processor that takes it for a video
            inputs["pixel_values"] = inputs["pixel_values"].flatten(0, 1)
        return dict(inputs)


__all__ = ["FrameReading", "ProcessorReading"]
