# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a training recipe can say about Mug-STAN beyond what it says of every model. Stays at home."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from transformers import PreTrainedModel

from clipbert.support.options import changeable, option


TOWERS = ("text", "vision")


@dataclass(kw_only=True)
class ModelOptions:
    """Keys of the section `model`."""

    similarity_block_size: int | None = changeable(
        None,
        "Most similarities of words and frames at a time, with the same scores and gradients; null: as the config has it.",
        at_least=1,
        saves="memory",
    )
    freeze: list[str] | None = option(
        None, "Towers that stay as they are, of [text, vision]; null: as the config has it."
    )
    count_duplicates: bool | None = option(
        None,
        "Whether the same video or text elsewhere in a batch counts as wrong, as in the released code; null: as the config "
        "has it, by default no.",
    )
    similarity_start: float = option(
        0.0,
        "Share of the steps after which the loss compares by the similarity of the config, such as mug; before, by the mean of "
        "the frames. From random weights Mug at the temperature 100 learns nothing: it needs features that are aligned.",
        at_least=0,
        at_most=1,
    )

    def problems(self) -> Iterator[str]:
        if self.freeze is not None and not set(self.freeze) <= set(TOWERS):
            yield f"freeze: expected some of {', '.join(TOWERS)}, got {self.freeze}"

    def apply(self, model: PreTrainedModel) -> None:
        """Set a model up as the recipe says."""
        for name in ("similarity_block_size", "count_duplicates"):
            if getattr(self, name) is not None:
                setattr(model.config, name, getattr(self, name))
        if self.freeze is not None:
            model.set_frozen(self.freeze)

    def advance(self, model: PreTrainedModel, share: float) -> None:
        """Before every step, with the share of the steps that are done."""
        model.base_model.trains_by_mean = share < self.similarity_start


@dataclass(kw_only=True)
class DataOptions:
    """Keys of the section `data`: which frames are seen, and how. What is null is left to the processor."""

    num_clips: int = option(1, "Clips drawn from a video, each of which is a view.", at_least=1, saves="memory, time")
    num_frames: int = option(12, "Frames of a clip.", at_least=1, saves="memory, time")
    fps: float | None = option(None, "Frames a second inside a clip; null: a clip is an equal part of the video.")
    sampling: Literal["random", "uniform", "start", "middle", "end", "whole_video"] = option(
        "random", "Where frames are taken while training; `random` depends on (seed, epoch, sample) only."
    )
    placement: Literal["even", "official"] = option("even", "`official` repeats the released code's frame numbers.")
    short_video: Literal["repeat", "error"] = option("repeat", "Rule for videos that are too short.")
    num_crops: int = option(1, "Squares of a frame, 1 or 3, each of which is a view.", at_least=1)
    shorter_side: int | None = option(
        None, "Length of the shorter side, of which the square is cut; null: the square's.", at_least=1
    )
    do_center_crop: bool | None = option(
        None,
        "Whether to see the square in the middle of a picture; false: all of it, brought to a square; null: as the start was "
        "trained, which for SigLIP is all of it.",
    )
    frame_span: int | None = option(
        None, "Frames that those around a key frame span; null: 300, as for AVA.", at_least=1
    )
    interpolation: Literal["bicubic", "bilinear", "cv2_bilinear"] | None = option(
        None, "Resizing; `cv2_bilinear` as the released code does it, without antialiasing; null: as CLIP does."
    )
    augmentation: dict[str, Any] | None = option(
        None,
        "What alters the frames of training videos, e.g. {crop: {scale: [0.08, 1.0], ratio: [0.75, 1.3333]}}; see "
        "`processing/README.md`.",
    )


@dataclass(kw_only=True)
class EvalOptions:
    """Keys of the section `eval`; null: as in training."""

    num_clips: int | None = changeable(None, "Clips of a video; null: as in training.", at_least=1)
    num_frames: int | None = changeable(None, "Frames of a clip; null: as in training.", at_least=1)
    sampling: Literal["uniform", "random", "start", "middle", "end", "whole_video"] = changeable(
        "uniform", "Where frames are taken."
    )
    num_crops: int | None = changeable(None, "Squares of a frame; null: as in training.", at_least=1)


RECIPE_OPTIONS = {"model": ModelOptions, "data": DataOptions, "eval": EvalOptions}

__all__ = ["RECIPE_OPTIONS", "DataOptions", "EvalOptions", "ModelOptions"]
