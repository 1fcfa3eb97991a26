# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
A start from a pretrained image-text model: its towers, and a branch that is new.

    model = from_parts(MugSTANForVideoTextRetrieval, {"clip": "openai/clip-vit-base-patch32"})
    processor = processor_from_parts({"clip": "openai/clip-vit-base-patch32"}, num_frames=12)

A CoCa of open_clip is named with the tag of its weights, `{"clip": "coca_ViT-B-32/laion2b_s13b_b90k"}`.

Stays at home: a published checkpoint starts from itself.
"""

import os
from collections.abc import Mapping
from typing import Any

from transformers import CLIPTokenizer, PreTrainedModel

from clipbert.processing import MugSTANProcessor, MugSTANVideoProcessor
from clipbert.support.names import did_you_mean

from .modeling_coca import config_from_open_clip, find_open_clip, names_open_clip, open_open_clip


PARTS = {"clip": "an image-text model such as openai/clip-vit-base-patch32"}
# the tokenizer of open_clip is that of CLIP, with other names for the ends of a text
OPEN_CLIP_ENDS = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}


def from_parts(
    model_class: type[PreTrainedModel],
    parts: Mapping[str, str | os.PathLike],
    *,
    output_loading_info: bool = False,
    **config_overrides: Any,
) -> PreTrainedModel | tuple[PreTrainedModel, dict[str, list[str]]]:
    """
    A model around a pretrained CLIP: see `MugSTANPreTrainedModel.from_clip_pretrained`.

    Args:
        model_class (`type`): A Mug-STAN class.
        parts (`Mapping[str, str]`): `clip`, the name on the Hub or the folder of a model of images and texts, or a CoCa.
        output_loading_info (`bool`, *optional*, defaults to `False`): Also return the report.
        **config_overrides: Fields of [`MugSTANConfig`].

    Raises:
        ValueError: If the part is missing or unknown, is no model that a branch can stand beside, or lacks tensors.
    """
    return model_class.from_clip_pretrained(_clip(parts), output_loading_info, **config_overrides)


def processor_from_parts(parts: Mapping[str, str | os.PathLike], **video_settings: Any) -> MugSTANProcessor:
    """
    The processor of a model that was put together by [`from_parts`]: what its CLIP was trained with.

    Args:
        parts (`Mapping[str, str]`): `clip`, a checkpoint with a `preprocessor_config.json` and a tokenizer, or a CoCa.
        video_settings: Settings of [`MugSTANVideoProcessor`], stronger than those read.

    Raises:
        OSError: If a file is missing.
        ValueError: If the part is missing or unknown, or its image processor or tokenizer does not suit.
    """
    clip = _clip(parts)
    if names_open_clip(clip):
        return _open_clip_processor(clip, video_settings)
    return MugSTANProcessor.from_clip_pretrained(clip, **video_settings)


def knows_part(name: str, start: str | os.PathLike) -> bool:
    """
    Whether a part is neither a folder nor on the Hub, and can be had all the same: a CoCa of open_clip.

    Raises:
        ImportError: If open_clip is missing.
        ValueError: If it has no such model or weights.
    """
    if names_open_clip(start):
        find_open_clip(start)
    return names_open_clip(start)


def _open_clip_processor(name: str, video_settings: Mapping[str, Any]) -> MugSTANProcessor:
    """Pictures and words as open_clip prepares them, but for the repair of garbled Unicode."""
    open_clip, architecture, weights = find_open_clip(name)
    config = config_from_open_clip(open_open_clip(name, load_weights=False))
    stated = open_clip.get_pretrained_cfg(architecture, weights)  # nothing of a file
    pictures = {
        "image_mean": stated.get("mean"),
        "image_std": stated.get("std"),
        "interpolation": stated.get("interpolation"),
    }
    pictures = {"size": config.vision_config.image_size, **{key: value for key, value in pictures.items() if value}}
    words = open_clip.SimpleTokenizer()
    tokenizer = CLIPTokenizer(
        vocab={OPEN_CLIP_ENDS.get(token, token): number for token, number in words.encoder.items()},
        merges=[*words.bpe_ranks],
        model_max_length=config.text_config.max_position_embeddings,
    )
    return MugSTANProcessor(MugSTANVideoProcessor(**pictures | video_settings), tokenizer)


def _clip(parts: Mapping[str, str | os.PathLike]) -> str | os.PathLike:
    for name in parts:
        if name not in PARTS:
            raise ValueError(f"There is no part {name!r}. {did_you_mean(name, PARTS)}")
    if "clip" not in parts:
        raise ValueError(f"A part is missing: `clip`, {PARTS['clip']}.")
    return parts["clip"]


__all__ = ["PARTS", "from_parts", "knows_part", "processor_from_parts"]
