# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a training recipe can say about Mug-STAN beyond what it says of every model. Stays at home."""

from dataclasses import dataclass

from transformers import PreTrainedModel

from clipbert.support.options import changeable


@dataclass(kw_only=True)
class ModelOptions:
    """Keys of the section `model`."""

    similarity_block_size: int | None = changeable(
        None,
        "Most similarities of words and frames at a time, with the same scores and gradients; null: as the config has it.",
        at_least=1,
        saves="memory",
    )

    def apply(self, model: PreTrainedModel) -> None:
        """Set a model up as the recipe says."""
        if self.similarity_block_size is not None:
            model.config.similarity_block_size = self.similarity_block_size


RECIPE_OPTIONS = {"model": ModelOptions}

__all__ = ["RECIPE_OPTIONS", "ModelOptions"]
