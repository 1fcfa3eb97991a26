# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a training recipe of ClipBERT can say besides."""

from dataclasses import dataclass

from clipbert.support.options import changeable


@dataclass(kw_only=True)
class ClipBERTModelOptions:
    clips_per_chunk: int | None = changeable(
        None,
        "Clips of a video processed at a time, with the gradients of all at once (dropout masks differ); null: all.",
        at_least=1,
        saves="memory",
    )

    def apply(self, model) -> None:
        model.chunk_clips(self.clips_per_chunk)


RECIPE_OPTIONS = {"model": ClipBERTModelOptions}

__all__ = ["RECIPE_OPTIONS", "ClipBERTModelOptions"]
