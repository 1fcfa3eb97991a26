# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
A start from a pretrained image-text model: its towers, and a branch that is new.

    model = from_parts(MugSTANForVideoTextRetrieval, {"clip": "openai/clip-vit-base-patch32"})
    processor = processor_from_parts({"clip": "openai/clip-vit-base-patch32"}, num_frames=12)

Stays at home: a published checkpoint starts from itself.
"""

import os
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel

from clipbert.processing import MugSTANProcessor
from clipbert.support.names import did_you_mean


PARTS = {"clip": "an image-text model such as openai/clip-vit-base-patch32"}


def from_parts(
    model_class: type[PreTrainedModel], parts: Mapping[str, str | os.PathLike], **config_overrides: Any
) -> PreTrainedModel:
    """
    A model around a pretrained CLIP: see `MugSTANPreTrainedModel.from_clip_pretrained`.

    Args:
        model_class (`type`): A Mug-STAN class.
        parts (`Mapping[str, str]`): `clip`, the name on the Hub or the folder of a model of images and texts.
        **config_overrides: Fields of [`MugSTANConfig`].

    Raises:
        ValueError: If the part is missing or unknown, is no model that a branch can stand beside, or lacks tensors.
    """
    return model_class.from_clip_pretrained(_clip(parts), **config_overrides)


def processor_from_parts(parts: Mapping[str, str | os.PathLike], **video_settings: Any) -> MugSTANProcessor:
    """
    The processor of a model that was put together by [`from_parts`]: what its CLIP was trained with.

    Args:
        parts (`Mapping[str, str]`): `clip`, a checkpoint with a `preprocessor_config.json` and a tokenizer.
        video_settings: Settings of [`MugSTANVideoProcessor`], stronger than those read.

    Raises:
        OSError: If a file is missing.
        ValueError: If the part is missing or unknown, or its image processor or tokenizer does not suit.
    """
    return MugSTANProcessor.from_clip_pretrained(_clip(parts), **video_settings)


def _clip(parts: Mapping[str, str | os.PathLike]) -> str | os.PathLike:
    for name in parts:
        if name not in PARTS:
            raise ValueError(f"There is no part {name!r}. {did_you_mean(name, PARTS)}")
    if "clip" not in parts:
        raise ValueError(f"A part is missing: `clip`, {PARTS['clip']}.")
    return parts["clip"]


__all__ = ["PARTS", "from_parts", "processor_from_parts"]
