# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a training recipe can say about CNN-RNN beyond what it says of every model. Stays at home."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from transformers import PreTrainedModel

from clipbert.support.options import changeable, option


@dataclass(kw_only=True)
class ModelOptions:
    """Keys of the section `model`."""

    frame_chunk_size: int | None = changeable(
        None,
        "Most frames in the CNN at a time, with the same scores and gradients; null: as the config has it.",
        at_least=1,
        saves="memory",
    )

    def apply(self, model: PreTrainedModel) -> None:
        """Set a model up as the recipe says."""
        if self.frame_chunk_size is not None:
            model.config.frame_chunk_size = self.frame_chunk_size
            model.config.validate()


@dataclass(kw_only=True)
class DataOptions:
    """Keys of the section `data`: which frames are seen, and how. What is null is left to the processor."""

    sampling: Literal["uniform", "first", "segment_random", "all", "fps", "multi_clip"] | None = option(
        None,
        "Which frames: `uniform` spreads num_frames over the video, `segment_random` draws one of each of so many parts, "
        "`first` takes the first ones, `all` every stride-th of all, `fps` so many a second, `multi_clip` num_clips windows; "
        "null: uniform.",
    )
    num_frames: int | None = option(
        None, "Frames of a video, of a window with `multi_clip`; null: 16.", at_least=1, saves="memory, time"
    )
    num_clips: int | None = option(None, "Windows of `multi_clip`.", at_least=1, saves="memory, time")
    stride: int | None = option(None, "Step of `all` and `first`; null: 1.", at_least=1)
    fps: float | None = option(None, "Frames a second of `fps`.")
    interpolation: Literal["bilinear", "bicubic", "cv2_bilinear"] | None = option(
        None, "Resizing; `cv2_bilinear` as OpenCV does it, without antialiasing; null: bilinear."
    )
    do_rescale: bool | None = option(None, "Whether pixels are divided by 255; null: yes.")
    do_normalize: bool | None = option(None, "Whether mean and deviation of pixels are taken out; null: yes.")
    augmentation: dict[str, Any] | None = option(
        None, "What alters the frames of training videos, e.g. {flip: 0.5}; see `processing/README.md`."
    )
    augment_mode: Literal["online", "offline_copy"] = option(
        "online", "Altered anew in each epoch, or one altered copy of each video besides the video itself."
    )

    def problems(self) -> Iterator[str]:
        if self.fps is not None and self.fps <= 0:
            yield f"fps: must be above 0, got {self.fps}"
        if self.sampling == "fps" and self.fps is None:
            yield "fps: missing; the sampling `fps` takes so many frames a second"
        if self.augment_mode == "offline_copy" and not self.augmentation:
            yield "augment_mode: offline_copy needs an augmentation, by which the copies differ"


@dataclass(kw_only=True)
class EvalOptions:
    """Keys of the section `eval`; null: as in training, where `segment_random` is replaced by `uniform`."""

    sampling: Literal["uniform", "first", "all", "fps", "multi_clip"] | None = changeable(
        None, "Which frames; null: as in training, nothing drawn."
    )
    num_frames: int | None = changeable(None, "Frames of a video or window; null: as in training.", at_least=1)
    num_clips: int | None = changeable(None, "Windows of `multi_clip`; null: as in training.", at_least=1)
    stride: int | None = changeable(None, "Steps between the frames of `all`; null: as in training.", at_least=1)
    fps: float | None = changeable(None, "Frames a second of `fps`; null: as in training.")

    def problems(self) -> Iterator[str]:
        if self.fps is not None and self.fps <= 0:
            yield f"fps: must be above 0, got {self.fps}"
        if self.num_draws > 1:
            yield f"num_draws: {self.num_draws} draws of the same frames say nothing; leave it out"


RECIPE_OPTIONS = {"model": ModelOptions, "data": DataOptions, "eval": EvalOptions}

__all__ = ["RECIPE_OPTIONS", "DataOptions", "EvalOptions", "ModelOptions"]
