# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
A start from a pretrained image model: its frame vectors, and a recurrent part that is new.

    model = from_parts(CNNRNNForVideoClassification, {"backbone": "microsoft/resnet-50"}, num_labels=5)
    processor = processor_from_parts({"backbone": "microsoft/resnet-50"})

Stays at home: a published checkpoint starts from itself.
"""

import os
from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig, PreTrainedModel

from clipbert.processing import CNNRNNVideoProcessor
from clipbert.processing.pixel_settings import read_pixel_settings
from clipbert.support.names import did_you_mean


PARTS = {"backbone": "an image model such as microsoft/resnet-50"}


def from_parts(
    model_class: type[PreTrainedModel], parts: Mapping[str, str | os.PathLike], **config_overrides: Any
) -> PreTrainedModel:
    """
    A model with a pretrained backbone: see `CNNRNNPreTrainedModel.from_backbone_pretrained`.

    Args:
        model_class (`type`): A CNN-RNN class.
        parts (`Mapping[str, str]`): `backbone`, the name on the Hub or the folder of an image model.
        **config_overrides: Fields of [`CNNRNNConfig`].

    Raises:
        ValueError: If the part is missing or unknown, is no image model, or lacks tensors.
    """
    return model_class.from_backbone_pretrained(_backbone(parts), **config_overrides)


def processor_from_parts(parts: Mapping[str, str | os.PathLike], **video_settings: Any) -> CNNRNNVideoProcessor:
    """
    The processor of a model that was put together by [`from_parts`].

    What the backbone expects of its pixels (mean, standard deviation, whether they are divided by 255, and the size where
    it takes one alone) is read from its checkpoint.

    Args:
        parts (`Mapping[str, str]`): `backbone`, a checkpoint with a `preprocessor_config.json`.
        video_settings: Settings of [`CNNRNNVideoProcessor`], stronger than those read.

    Raises:
        OSError: If the checkpoint has no preprocessing settings and the call does not give `image_mean`, `image_std` and
            `do_rescale` either.
        ValueError: If the part is missing or unknown.
    """
    backbone = _backbone(parts)
    settings = (
        {} if {"image_mean", "image_std", "do_rescale"} <= set(video_settings) else read_pixel_settings(backbone)
    )
    config = AutoConfig.from_pretrained(backbone)
    side = getattr(getattr(config, "vision_config", config), "image_size", None)  # its positions have no other
    if side is not None:
        settings["size"] = side
    return CNNRNNVideoProcessor(**{**settings, **video_settings})


def _backbone(parts: Mapping[str, str | os.PathLike]) -> str | os.PathLike:
    for name in parts:
        if name not in PARTS:
            raise ValueError(f"A CNN-RNN has no part {name!r}. {did_you_mean(name, PARTS)}")
    if "backbone" not in parts:
        raise ValueError(f"A CNN-RNN is put together from a backbone ({PARTS['backbone']}), which is missing.")
    return parts["backbone"]


__all__ = ["PARTS", "from_parts", "processor_from_parts"]
