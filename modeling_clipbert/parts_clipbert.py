# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
A start from public parts, for want of official weights: a vision backbone and a BERT become a ClipBERT.

    model = from_parts(ClipBERTForVideoTextRetrieval, {"vision": "microsoft/resnet-50", "text": "google-bert/bert-base-uncased"})
    processor = processor_from_parts({"vision": "microsoft/resnet-50", "text": "google-bert/bert-base-uncased"})

Stays at home: a published checkpoint starts from itself.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from transformers import AutoConfig, AutoModel, AutoModelForPreTraining, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING
from transformers.utils import logging

from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor, load_tokenizer
from clipbert.processing.pixel_settings import read_pixel_settings
from clipbert.support.names import did_you_mean


logger = logging.get_logger(__name__)

PARTS = {"vision": "a ResNet such as microsoft/resnet-50", "text": "a BERT such as google-bert/bert-base-uncased"}

# What `from_parts` takes from the text checkpoint: what must not be overridden, and what may be.
_SIZES_OF_TEXT_CHECKPOINT = (
    "vocab_size",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "type_vocab_size",
    "max_position_embeddings",
)
_SETTINGS_OF_TEXT_CHECKPOINT = (
    "num_hidden_layers",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "layer_norm_eps",
    "initializer_range",
    "pad_token_id",
)


def from_parts(
    model_class: type[PreTrainedModel],
    parts: Mapping[str, str | os.PathLike],
    *,
    output_loading_info: bool = False,
    **config_overrides: Any,
) -> PreTrainedModel | tuple[PreTrainedModel, dict[str, list[str]]]:
    """
    Build a model from a vision backbone and a BERT checkpoint.

    Everything else (grid convolution, visual positions, task head) is new and needs training. Make the matching inputs
    with [`processor_from_parts`].

    Args:
        model_class (`type`): A ClipBERT class.
        parts (`Mapping[str, str]`): `vision`, the name on the Hub or the folder of a backbone, and `text`, that of a
            BERT.
        output_loading_info (`bool`, *optional*, defaults to `False`): Also return the report.
        **config_overrides: Fields of [`ClipBERTConfig`] that the checkpoints do not decide.

    Returns:
        The model, or `(model, info)`. `info` lists parameter names: `"loaded"`, `"new"` (no checkpoint has them),
        `"unused_vision"` and `"unused_text"` (in a checkpoint, not in this model).

    Raises:
        ValueError: If a part is missing or unknown, the vision checkpoint is not a backbone or the text checkpoint not a
            BERT, if one of them lacks tensors, or if an override contradicts a checkpoint.

    Example:
        >>> from clipbert import ClipBERTForVideoTextRetrieval
        >>> parts = {"vision": "microsoft/resnet-50", "text": "google-bert/bert-base-uncased"}
        >>> model = from_parts(ClipBERTForVideoTextRetrieval, parts, score_pooling="lse")  # doctest: +SKIP
    """
    vision, text = _check_parts(parts)
    text_config = AutoConfig.from_pretrained(text)
    if text_config.model_type != "bert":
        raise ValueError(
            f"text={str(text)!r} is a {text_config.model_type!r} checkpoint; ClipBERT's transformer has the parameters "
            "of a 'bert'."
        )
    for name in _SIZES_OF_TEXT_CHECKPOINT:
        if config_overrides.get(name, getattr(text_config, name)) != getattr(text_config, name):
            raise ValueError(
                f"{name}={config_overrides[name]} contradicts {getattr(text_config, name)} of text={str(text)!r}."
            )
    vision_config = AutoConfig.from_pretrained(vision)
    if type(vision_config) not in MODEL_FOR_BACKBONE_MAPPING:
        raise ValueError(
            f"vision={str(vision)!r} is a {vision_config.model_type!r} checkpoint, which has no backbone class in "
            "transformers."
        )
    # not `AutoBackbone.from_pretrained`, which takes a local folder for the name of a timm model
    backbone_class = MODEL_FOR_BACKBONE_MAPPING[type(vision_config)]
    backbone, vision_info = _load_part(backbone_class, vision)
    bert, text_info = _load_part(AutoModel, text)
    _refuse_incomplete(vision, vision_info["missing_keys"], needed="")
    _refuse_incomplete(text, text_info["missing_keys"], needed=("embeddings.", "encoder."))
    shared = {name: getattr(text_config, name) for name in _SIZES_OF_TEXT_CHECKPOINT + _SETTINGS_OF_TEXT_CHECKPOINT}
    model = model_class(model_class.config_class(**{**shared, "backbone_config": backbone.config, **config_overrides}))

    # 1. tensors of the two checkpoints under our names; what BERT lacked is random and left out
    prefix = f"{model_class.base_model_prefix}." if hasattr(model, model_class.base_model_prefix) else ""
    vision_state = {f"{prefix}grid_encoder.backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    text_state = {
        prefix + name: tensor for name, tensor in bert.state_dict().items() if name not in text_info["missing_keys"]
    }
    if any(name.startswith("cls.") and name in model.state_dict() for name in text_info["unexpected_keys"]):
        bert, info = _load_part(AutoModelForPreTraining, text)
        heads = {name: tensor for name, tensor in bert.state_dict().items() if name.startswith("cls.")}
        text_state |= {name: tensor for name, tensor in heads.items() if name not in info["missing_keys"]}
    # 2. copy what this model has
    new = set(model.load_state_dict({**vision_state, **text_state}, strict=False).missing_keys)
    model.tie_weights()
    model.eval()  # as `from_pretrained` leaves it
    own = model.state_dict().keys()
    info = {
        "loaded": sorted(own - new),
        "new": sorted(new),
        "unused_vision": sorted((vision_state.keys() - own) | set(vision_info["unexpected_keys"])),
        "unused_text": sorted((text_state.keys() | set(text_info["unexpected_keys"])) - own),
    }
    logger.warning(
        f"{model_class.__name__}: {len(info['loaded'])} tensors come from {vision} and {text}.\n"
        f"New, to be trained: {info['new']}\n"
        f"Not used of {vision}: {info['unused_vision']}\n"
        f"Not used of {text}: {info['unused_text']}"
    )
    return (model, info) if output_loading_info else model


def _load_part(auto_class, name):
    """A model and its loading info, without the table that transformers prints: `from_parts` says it of both in one piece."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        return auto_class.from_pretrained(name, output_loading_info=True)
    finally:
        logging.set_verbosity(verbosity)


def processor_from_parts(
    parts: Mapping[str, str | os.PathLike], max_length: int | None = None, **video_settings: Any
) -> VideoTextProcessor:
    """
    Make the processor of a model that was put together by [`from_parts`].

    What a CNN expects of its pixels (mean, standard deviation, whether they are divided by 255) is read from its image
    processor; how frames are resized and chosen is this family's own business.

    Args:
        parts (`Mapping[str, str]`): `vision`, a checkpoint with a `preprocessor_config.json`, or with a saved
            [`ClipBERTVideoProcessor`], of which every setting is taken; `text`, a checkpoint with a tokenizer, or a
            `vocab.txt`.
        max_length (`int`, *optional*): See [`VideoTextProcessor`].
        video_settings: Settings of [`ClipBERTVideoProcessor`], stronger than those read.

    Raises:
        OSError: If `vision` has no preprocessing settings and the call does not give `image_mean`, `image_std` and
            `do_rescale` either.
        ValueError: If a part is missing or unknown.
    """
    vision, text = _check_parts(parts)
    settings = {} if {"image_mean", "image_std", "do_rescale"} <= set(video_settings) else _pixel_settings(vision)
    video_processor = ClipBERTVideoProcessor(**{**settings, **video_settings})
    return VideoTextProcessor(video_processor, load_tokenizer(text), max_length=max_length)


def _check_parts(parts: Mapping[str, str | os.PathLike]) -> tuple[str | os.PathLike, str | os.PathLike]:
    for name in parts:
        if name not in PARTS:
            raise ValueError(f"ClipBERT has no part {name!r}. {did_you_mean(name, PARTS)}")
    if missing := [f"{name} ({meaning})" for name, meaning in PARTS.items() if name not in parts]:
        raise ValueError(f"ClipBERT is put together from {' and '.join(PARTS)}; missing: {', '.join(missing)}.")
    return parts["vision"], parts["text"]


def _refuse_incomplete(checkpoint, missing, needed):
    # counters of batch norms are absent from old checkpoints, and nothing depends on them
    missing = sorted(name for name in missing if name.startswith(needed) and not name.endswith("num_batches_tracked"))
    if missing:
        raise ValueError(
            f"{str(checkpoint)!r} lacks {len(missing)} tensors that its config.json promises: "
            f"{', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}."
        )


def _pixel_settings(vision: str | os.PathLike) -> dict[str, Any]:
    """Settings for [`ClipBERTVideoProcessor`] that suit a vision checkpoint."""
    with suppress(OSError, ValueError):
        saved, _ = ClipBERTVideoProcessor.get_video_processor_dict(vision)
        if saved.get("video_processor_type") == ClipBERTVideoProcessor.__name__:
            return saved
    return read_pixel_settings(vision)


__all__ = ["PARTS", "from_parts", "processor_from_parts"]
