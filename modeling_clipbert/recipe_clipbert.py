# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a training recipe can say about ClipBERT beyond what it says of every model. Stays at home."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from clipbert.support.kept_maps import KeptMaps
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
    kept_maps: str | None = changeable(
        None,
        "Folder of what the CNN, all of which is frozen, makes of frames: a frame that comes again, as images, uniform clips and those of "
        "evaluations do, is not encoded again. For a CPU. null: nothing is kept.",
        saves="time",
    )
    kept_maps_gb: float = changeable(
        20.0, "How large kept_maps may grow; of a frame of 448 x 448 pixels 1.6 MB are kept.", at_least=0
    )

    def problems_between(self, recipe: Any) -> Iterator[str]:
        """What does not go with other sections."""
        if self.kept_maps is None:
            return
        if recipe.run.compile is not None:
            yield "kept_maps: nothing is looked up in steps that are compiled; leave out run.compile"
        if recipe.run.count_cost or recipe.eval.count_cost:
            yield "kept_maps: what is looked up cannot be counted; leave out count_cost"

    def apply(self, model: PreTrainedModel) -> None:
        """Set a model up as the recipe says."""
        model.chunk_clips(self.clips_per_chunk)
        if self.kept_maps is not None:
            model.keep_feature_maps(KeptMaps(self.kept_maps, self.kept_maps_gb))


RECIPE_OPTIONS = {"model": ModelOptions}

__all__ = ["RECIPE_OPTIONS", "ModelOptions"]
