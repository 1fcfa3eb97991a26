# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a training recipe can say about CI-MHA beyond what it says of every model. Stays at home."""

from dataclasses import dataclass

from transformers import PreTrainedModel

from clipbert.support.options import changeable, option


@dataclass(kw_only=True)
class ModelOptions:
    """Keys of the section `model`."""

    num_grad_segments: int | None = option(
        None,
        "Segments of each video whose frames keep a gradient in a step, half of them inside a moment, when the frame encoder "
        "is trained; null: all.",
        at_least=1,
        saves="memory, time",
    )
    frame_chunk_size: int | None = changeable(
        None,
        "Most frames in the frame encoder at a time, with the same scores and gradients; null: as the config has it.",
        at_least=1,
        saves="memory",
    )

    def apply(self, model: PreTrainedModel) -> None:
        """Set a model up as the recipe says."""
        if self.frame_chunk_size is not None:
            model.config.frame_chunk_size = self.frame_chunk_size
            model.config.validate()
        model.base_model.keep_gradients(self.num_grad_segments)


@dataclass(kw_only=True)
class DataOptions:
    """Keys of the section `data`: how videos are cut into segments. What is null is left to the processor."""

    segments_per_second: float | None = option(None, "Segments of a second of video; null: 2.")
    min_segments: int | None = option(None, "Fewest segments of a video; null: 8.", at_least=1)
    max_segments: int | None = option(
        None, "Most segments; those of longer videos last longer; null: 128.", at_least=1, saves="memory, time"
    )
    frames_per_segment: int | None = option(None, "Frames of a segment; null: 2.", at_least=1, saves="memory, time")

    def problems(self):
        if self.segments_per_second is not None and self.segments_per_second <= 0:
            yield f"segments_per_second: must be above 0, got {self.segments_per_second}"
        if None not in (self.min_segments, self.max_segments) and self.min_segments > self.max_segments:
            yield f"min_segments: {self.min_segments} is more than max_segments, {self.max_segments}"


@dataclass(kw_only=True)
class EvalOptions:
    """Keys of the section `eval`: videos are cut as in training."""


RECIPE_OPTIONS = {"model": ModelOptions, "data": DataOptions, "eval": EvalOptions}

__all__ = ["RECIPE_OPTIONS", "DataOptions", "EvalOptions", "ModelOptions"]
