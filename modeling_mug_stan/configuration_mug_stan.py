# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Mug-STAN model configuration."""

import difflib
import math
from dataclasses import fields
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.utils import logging

from .configuration_coca import CoCaConfig  # noqa: F401  AutoConfig knows it from now on


logger = logging.get_logger(__name__)

# Models of images and texts that a branch can stand beside: with a class token, and with pooled patches; CoCa has both.
CLASS_TOKEN_CLIPS = ("altclip", "chinese_clip", "clip", "metaclip_2", "open_clip_coca")
POOLED_PATCH_CLIPS = ("open_clip_coca", "siglip")

# Keys that `PreTrainedConfig` takes without declaring them as fields, or that other tools write into a config.json.
_UNDECLARED_KEYS = {
    "_commit_hash",
    "_name_or_path",
    "attn_implementation",
    "auto_map",
    "custom_pipelines",
    "experts_implementation",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "per_layer_config",
    "quantization_config",
    "tie_last_hidden_states",
    "torch_dtype",
}

# More than any model has; what is larger is a mistake, and would take all memory before it is noticed.
_LARGEST = {
    "stan_num_layers": 1000,
    "stan_last_layer": 1000,
    "stan_layer_interval": 1000,
    "stan_num_branches": 100,
    "time_table_size": 2**16,
    "top_k": 2**16,
    "similarity_block_size": 2**40,
    "num_frames": 10**7,
    "num_labels": 10**7,
    "class_text_length": 2**16,
    "roi_size": 2**10,
}


@strict
class MugSTANConfig(PreTrainedConfig):
    r"""
    Settings of a Mug-STAN model: a CLIP, one or more STAN branches that read its vision tower, and the similarity of
    words and frames.

    The defaults are those of the paper for retrieval, with CLIP ViT-B/32: one branch of four layers that read the last
    four of CLIP, and Mug as the official code computes it.

    Args:
        clip_config (`PreTrainedConfig` or `dict`, *optional*):
            The model of images and texts: `clip`, `metaclip_2`, `chinese_clip`, `altclip`, `siglip` or `open_clip_coca`.
            Defaults to CLIP ViT-B/32.
        stan_num_layers (`int`, *optional*, defaults to 4):
            Layers of a branch, which is as many CLIP layers as it reads; 0: plain CLIP. The paper takes 6 for
            Something-Something.
        stan_last_layer (`int`, *optional*): The last CLIP layer that is read, counted from 1. `None`: the last one.
        stan_layer_interval (`int`, *optional*, defaults to 1): Distance of the layers that are read.
        stan_num_branches (`int`, *optional*, defaults to 1): Branches that read the same layers; their outputs are summed.
        stan_layers (`list[list[int]]`, *optional*):
            In place of the four numbers above, the CLIP layers that each branch reads, counted from 1, never falling.
        temporal_module (`str`, *optional*, defaults to `"self_attention"`):
            What mixes the frames: `"self_attention"`, or a convolution of the first official release: `"conv_origin"`
            (3x3x3), `"conv_activate"` (and QuickGELU), `"conv_3layer"` (1x1x1, 3x3x3, and the first one again) or
            `"conv_3d11"` (1x1x1, which mixes nothing).
        space_time (`str`, *optional*, defaults to `"separate"`):
            `"separate"`: over time, then over the patches of a frame. `"joint"`: one attention over all patches of all
            frames (the paper gives its name alone; the definition is ours).
        multi_level (`bool`, *optional*, defaults to `True`): Whether every layer reads CLIP, or the first one alone.
        fusion (`str`, *optional*, defaults to `"branch"`):
            `"branch"`: the output of the branch is added to that of CLIP. `"posterior"`: it replaces it.
        level_projection (`bool`, *optional*, defaults to `False`):
            Whether what is read of CLIP passes a linear layer (equations 6 and 7 of the paper; the code has none). It
            starts as the identity.
        own_class_token (`bool`, *optional*, defaults to `False`):
            Whether a branch begins with a class token of its own, 0 at the start, in place of CLIP's. This and the two
            gates are those of the follow-up, BT-Adapter.
        level_gate_scale (`float`, *optional*):
            Instead of adding what is read of CLIP to the branch, a layer takes a share of both, which is a sigmoid of this
            number (there 100) times a trained vector. `None`: it is added.
        fusion_gate_scale (`float`, *optional*): The same where the branch joins the last layer of CLIP (there 10,000).
        drop_path_rate (`float`, *optional*, defaults to 0.1):
            Stochastic depth of the last layer of a branch, rising from 0 at the first, while training.
        time_table_size (`int`, *optional*, defaults to 64): Frames that have a position of their own.
        beyond_time_table (`str`, *optional*, defaults to `"interpolate"`):
            More frames than that take positions in between, by linear interpolation, or are refused (`"refuse"`).
        fuse_patches (`bool`, *optional*):
            Whether the patches of the branch are added to those of CLIP in the tokens of frames (equation 10). `None`:
            where they are read, in action detection and with `siglip` and `open_clip_coca`, whose frames are pooled from
            patches.
        similarity (`str`, *optional*, defaults to `"mug"`):
            How well a text fits a video: `"mug"` (the average of the official code), `"mug_exact"` (equations 11 to
            18), `"frame_text"` and `"video_token"` (table VIII), `"frame_text_official"` (what the code has under that
            name), `"top_k"` (hard selection in place of the soft-maxes), `"wti"` (weighted token-wise interaction, with
            trained weights; `"wti_official"` takes padding for words whose cosine is 0) or `"mean_pool"` (the cosine of
            the mean frame and the text).
        head_scale (`float`, *optional*, defaults to 100.0): τ, which similarities are multiplied by before a soft-max
            over words or frames.
        loss_scale (`float`, *optional*, defaults to 100.0): What scores are multiplied by in the losses and in
            `match_odds`; the official configs divide by 0.01 to 0.05, which is 100 to 20.
        top_k (`int`, *optional*, defaults to 3): Words or frames that `"top_k"` selects.
        score_pooling (`str`, *optional*, defaults to `"mean"`):
            How the scores of several views become one: `"mean"`, `"max"` or `"lse"` (log of the mean exponential).
        count_duplicates (`bool`, *optional*, defaults to `False`):
            Whether pairs with the same video or the same words count as negatives of each other, as in the official code.
        similarity_block_size (`int`, *optional*, defaults to 4194304):
            Most similarities of words and frames in memory at a time. Results do not depend on it.
        freeze_vision (`bool`, *optional*, defaults to `False`): Keep CLIP's vision tower as it is.
        freeze_text (`bool`, *optional*):
            Keep CLIP's text tower as it is. `None`: in classification, whose classes are then encoded once, and not in
            retrieval. Action detection reads no texts.
        text_pad_token_id (`int`, *optional*):
            What `siglip` pads texts with to its fixed length. `None`: what its own config says.
        num_frames (`int`, *optional*):
            What `pipeline("video-classification")` asks the processor for. `None`: as the processor was saved.
        class_template (`str`, *optional*, defaults to `"{}"`):
            The text of a class, with `{}` in the place of its name: `"a video of {}"`. The paper takes the name itself.
        class_text_length (`int`, *optional*, defaults to 1):
            Tokens of the longest class name of a classifier; `set_classes` sees to it.
        classifier_dropout (`float`, *optional*, defaults to 0.5): Before the classifier of action detection.
        roi_size (`int`, *optional*, defaults to 8): Cells a side that action detection looks at in a box.

    Raises:
        ValueError: If values do not fit each other; the message says why.
        TypeError: If the constructor gets a key that is no field. Read from a file, such a key is kept, with a warning.

    Example:
        >>> from clipbert import MugSTANConfig

        >>> config = MugSTANConfig(stan_layer_interval=2)
        >>> config.layers_read
        [[6, 8, 10, 12]]
    """

    model_type = "mug_stan"
    sub_configs_defaults = {"clip_config": SubConfigSpec(config_class=AutoConfig, model_type="clip")}
    # What `Trainer.predict` should not gather over a whole data set.
    keys_to_ignore_at_inference = [
        "attention_mask",
        "clip_odds",
        "frame_features",
        "last_hidden_state",
        "logits_per_text",
        "logits_per_video",
        "stan_class_state",
        "stan_patch_states",
        "text_embeds",
        "token_features",
        "video_embeds",
        "view_logits",
    ]

    clip_config: dict | PreTrainedConfig | None = None

    stan_num_layers: int = 4
    stan_last_layer: int | None = None
    stan_layer_interval: int = 1
    stan_num_branches: int = 1
    stan_layers: list[list[int]] | None = None
    temporal_module: Literal["self_attention", "conv_origin", "conv_activate", "conv_3layer", "conv_3d11"] = (
        "self_attention"
    )
    space_time: Literal["separate", "joint"] = "separate"
    multi_level: bool = True
    fusion: Literal["branch", "posterior"] = "branch"
    level_projection: bool = False
    own_class_token: bool = False
    level_gate_scale: float | int | None = None
    fusion_gate_scale: float | int | None = None
    drop_path_rate: float | int = 0.1
    time_table_size: int = 64
    beyond_time_table: Literal["interpolate", "refuse"] = "interpolate"
    fuse_patches: bool | None = None

    similarity: Literal[
        "mug",
        "mug_exact",
        "frame_text",
        "frame_text_official",
        "video_token",
        "top_k",
        "wti",
        "wti_official",
        "mean_pool",
    ] = "mug"
    head_scale: float | int = 100.0
    loss_scale: float | int = 100.0
    top_k: int = 3
    score_pooling: Literal["mean", "max", "lse"] = "mean"
    count_duplicates: bool = False
    similarity_block_size: int = 2**22

    freeze_vision: bool = False
    freeze_text: bool | None = None
    text_pad_token_id: int | None = None

    num_frames: int | None = None
    class_template: str = "{}"
    class_text_length: int = 1
    classifier_dropout: float | int = 0.5
    roi_size: int = 8

    def __post_init__(self, **kwargs):
        if stray := [key for key in kwargs if self._is_stray(key)]:
            raise TypeError(self._no_field(stray[0], kwargs[stray[0]]))
        super().__post_init__(**kwargs)
        # before anything is made of them, and as what they are: those of a strict dataclass come wrapped
        self.validate_clip()
        self.validate_layers()

    @property
    def layers_read(self) -> list[list[int]]:
        """The CLIP layers that each branch reads, counted from 1."""
        if self.stan_layers is not None:
            return [list(layers) for layers in self.stan_layers if layers]
        if self.stan_num_layers == 0:
            return []
        last = self.stan_last_layer or self.clip_config.vision_config.num_hidden_layers
        first = last - (self.stan_num_layers - 1) * self.stan_layer_interval
        return [list(range(first, last + 1, self.stan_layer_interval)) for _ in range(self.stan_num_branches)]

    @property
    def has_class_token(self) -> bool:
        """Whether the vision tower has a class token, or pools its patches."""
        return self.clip_config.model_type in CLASS_TOKEN_CLIPS

    @PreTrainedConfig.num_labels.setter
    def num_labels(self, num_labels):
        self._check_size("num_labels", num_labels)  # before a name is made for each
        PreTrainedConfig.num_labels.fset(self, num_labels)

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """As for every config. A key that is no field, as files of other versions have it, is kept with a warning."""
        stray = {key: value for key, value in config_dict.items() if cls._is_stray(key)}
        for key, value in stray.items():
            logger.warning(f"{cls._no_field(key, value)} The value is kept, but nothing reads it.")
        known = {key: value for key, value in config_dict.items() if key not in stray}
        result = super().from_dict(known, **kwargs)
        config = result[0] if isinstance(result, tuple) else result
        for key, value in stray.items():
            setattr(config, key, value)
        return result

    @classmethod
    def from_json_file(cls, json_file):
        """As for every config."""
        return cls.from_dict(cls._dict_from_json_file(json_file))

    @classmethod
    def _is_stray(cls, key):
        return not key.startswith("_") and key not in _UNDECLARED_KEYS and key not in {f.name for f in fields(cls)}

    @classmethod
    def _no_field(cls, key, value):
        known = sorted(field.name for field in fields(cls))
        nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
        hint = f"Did you mean {nearest[0]!r}?" if nearest else f"Known fields: {', '.join(known)}."
        return f"{cls.__name__} has no field {key!r} (value {value!r}). {hint}"

    def validate_clip(self):
        known = sorted({*CLASS_TOKEN_CLIPS, *POOLED_PATCH_CLIPS})
        model_type = getattr(self.clip_config, "model_type", None)
        if self.clip_config is not None and not isinstance(self.clip_config, dict) and model_type not in known:
            raise ValueError(
                f"clip_config is that of a {model_type!r}, which no branch can stand beside. Known are {', '.join(known)}: "
                "whole models of images and texts, not their towers."
            )

    def validate_sizes(self):
        if self.stan_num_layers != 0:
            self._check_size("stan_num_layers", self.stan_num_layers)
        for name in _LARGEST.keys() - {"stan_num_layers", "num_labels"}:
            if getattr(self, name) is not None:
                self._check_size(name, getattr(self, name))

    def validate_fusion(self):
        if self.fuse_patches is False and getattr(self.clip_config, "model_type", None) in POOLED_PATCH_CLIPS:
            raise ValueError(
                "fuse_patches=False leaves the branch without effect beside a tower that pools patches. Leave it out."
            )

    def validate_class_token(self):
        if self.own_class_token and getattr(self.clip_config, "model_type", None) not in CLASS_TOKEN_CLIPS:
            raise ValueError("own_class_token=True needs a tower with a class token, which this one has not.")

    def validate_layers(self):
        if not hasattr(self.clip_config, "vision_config"):
            return
        count = self.clip_config.vision_config.num_hidden_layers
        for layers in self.layers_read:
            if any(not 1 <= layer <= count for layer in layers):
                how = (
                    "stan_layers" if self.stan_layers is not None else "stan_num_layers, last_layer and layer_interval"
                )
                raise ValueError(
                    f"A branch reads the CLIP layers {layers} ({how}), but this CLIP has the layers 1 to {count}. Set "
                    "stan_num_layers to at most that many."
                )
            if layers != sorted(layers):
                raise ValueError(f"A branch reads the CLIP layers in their order, got stan_layers={self.stan_layers}.")
        if self.fusion_gate_scale is not None and (self.fusion == "posterior" or len(self.layers_read) > 1):
            raise ValueError(
                f"fusion_gate_scale={self.fusion_gate_scale} weighs CLIP against one branch: it needs fusion='branch' and a "
                f"single branch, got fusion={self.fusion!r} and {len(self.layers_read)} branches."
            )

    def validate_class_template(self):
        self.check_template(self.class_template)

    @staticmethod
    def check_template(template):
        """Raise unless a template has one place for the name of a class."""
        if template.count("{}") != 1:
            raise ValueError(f"class_template needs {{}} in the place of a name, once; got {template!r}.")

    def validate_numbers(self):
        for name, low, high in (
            ("drop_path_rate", 0, 1),
            ("classifier_dropout", 0, 1),
            ("head_scale", 0, math.inf),
            ("loss_scale", 0, math.inf),
            ("level_gate_scale", 0, math.inf),
            ("fusion_gate_scale", 0, math.inf),
        ):
            value = getattr(self, name)
            if value is None:
                continue
            if not (math.isfinite(value) and low <= value <= high) or (high == math.inf and value == 0):
                raise ValueError(f"{name} must be a finite number in [{low}, {high}], scales above 0; got {value}.")

    @staticmethod
    def _check_size(name, value):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LARGEST[name]:
            raise ValueError(f"{name} must be at least 1 and at most {_LARGEST[name]}, got {value!r}.")


__all__ = ["CLASS_TOKEN_CLIPS", "POOLED_PATCH_CLIPS", "MugSTANConfig"]
