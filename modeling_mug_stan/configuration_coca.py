# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Configuration of the encoders of CoCa."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, CLIPTextConfig, CLIPVisionConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec


@strict
class CoCaConfig(PreTrainedConfig):
    r"""
    Settings of the vision and text encoders of CoCa (https://arxiv.org/abs/2205.01917), as open_clip has them.

    Args:
        vision_config (`CLIPVisionConfig` or `dict`, *optional*): The vision tower, before the pooling.
        text_config (`CLIPTextConfig` or `dict`, *optional*):
            The text tower. `max_position_embeddings` counts words; the class token comes on top.
        projection_dim (`int`, *optional*, defaults to 512): P, the width of the space that both share.
        pooler_num_queries (`int`, *optional*, defaults to 256): Vectors that are read from a picture; the first is the picture's.
        pooler_num_heads (`int`, *optional*, defaults to 8): Heads of that attention.
        initializer_factor (`float`, *optional*, defaults to 1.0): Of random weights.
    """

    model_type = "open_clip_coca"
    sub_configs_defaults = {
        "vision_config": SubConfigSpec(CLIPVisionConfig, init_kwargs={"hidden_act": "gelu"}),
        "text_config": SubConfigSpec(
            CLIPTextConfig, init_kwargs={"hidden_act": "gelu", "max_position_embeddings": 76, "pad_token_id": 0}
        ),
    }

    vision_config: dict | CLIPVisionConfig | None = None
    text_config: dict | CLIPTextConfig | None = None
    projection_dim: int = 512
    pooler_num_queries: int = 256
    pooler_num_heads: int = 8
    initializer_factor: float | int = 1.0


AutoConfig.register(CoCaConfig.model_type, CoCaConfig, exist_ok=True)

__all__ = ["CoCaConfig"]
