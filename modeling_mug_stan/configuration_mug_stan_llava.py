# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Configuration of a LLaVA that sees videos through the branch of a Mug-STAN."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, LlavaConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_mug_stan import MugSTANConfig


@strict
class MugSTANLlavaConfig(LlavaConfig):
    r"""
    Settings of a LLaVA with a branch beside its vision tower; `merge_into_llava` makes one.

    Args:
        stan_config ([`MugSTANConfig`] or `dict`, *optional*):
            What the branch is. Its CLIP has the vision tower of this LLaVA.
        video_pooling (`str`, *optional*, defaults to `"sum"`):
            What becomes of the mean of CLIP's tokens over the frames, and that of the branch's: `"sum"`, or `"average"` as
            in the follow-up, BT-Adapter.
        **kwargs: Of [`~transformers.LlavaConfig`].

    Raises:
        ValueError: If the vision tower is no CLIP, or lacks a layer that the branch reads.
    """

    model_type = "mug_stan_llava"
    sub_configs_defaults = {**LlavaConfig.sub_configs_defaults, "stan_config": SubConfigSpec(MugSTANConfig)}

    stan_config: dict | PreTrainedConfig | None = None
    video_pooling: Literal["sum", "average"] = "sum"

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.vision_config.model_type != "clip_vision_model":
            raise ValueError(
                f"The vision tower is a {self.vision_config.model_type!r}; a branch stands beside a 'clip_vision_model'."
            )
        self.stan_config.clip_config.vision_config = self.vision_config
        self.stan_config.validate_layers()


AutoConfig.register(MugSTANLlavaConfig.model_type, MugSTANLlavaConfig, exist_ok=True)

__all__ = ["MugSTANLlavaConfig"]
