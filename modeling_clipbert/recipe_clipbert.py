# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a training recipe can say about ClipBERT beyond what it says of every model. Stays at home."""

from dataclasses import dataclass

from transformers import PreTrainedModel

from clipbert.support.options import changeable


@dataclass(kw_only=True)
class ModelOptions:
    """Keys of the section `model`."""

    clips_per_chunk: int | None = changeable(
        None,
        "Clips of a video processed at a time, with the gradients of all at once (dropout masks differ); null: all.",
        at_least=1,
        saves="memory",
    )

    def apply(self, model: PreTrainedModel) -> None:
        """Set a model up as the recipe says."""
        model.chunk_clips(self.clips_per_chunk)


RECIPE_OPTIONS = {"model": ModelOptions}

__all__ = ["RECIPE_OPTIONS", "ModelOptions"]
