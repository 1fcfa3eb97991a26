# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""ClipBERT model configuration."""

import difflib
import math
from dataclasses import fields
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.utils import logging


logger = logging.get_logger(__name__)

# Keys that `PreTrainedConfig` takes without declaring them as fields, or that other tools write into a config.json.
_UNDECLARED_KEYS = {
    "_commit_hash",
    "_name_or_path",
    "attn_implementation",
    "auto_map",
    "backbone",
    "backbone_kwargs",
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
    "use_pretrained_backbone",
    "use_timm_backbone",
}

# More than any model has; what is larger is a mistake, and would take all memory before it is noticed.
_LARGEST = {
    "vocab_size": 10**7,
    "hidden_size": 2**16,
    "num_hidden_layers": 1000,
    "num_attention_heads": 2**10,
    "intermediate_size": 2**18,
    "max_position_embeddings": 2**20,
    "type_vocab_size": 2**16,
    "max_grid_row_position_embeddings": 2**14,
    "max_grid_col_position_embeddings": 2**14,
    "max_temporal_position_embeddings": 2**20,
    "num_labels": 10**7,
}
_LARGEST_OF_BACKBONE = 2**16


@strict
class ClipBERTConfig(PreTrainedConfig):
    r"""
    Settings of a ClipBERT model ("Less Is More: ClipBERT for Video-and-Language Learning via Sparse Sampling",
    CVPR 2021, https://arxiv.org/abs/2102.06183). ClipBERT is not based on CLIP: "clip" means a short piece of a video.

    The defaults are those of the published model: ResNet-50 grid features and a 12-layer BERT-base transformer.

    Args:
        backbone_config (`PreTrainedConfig` or `dict`, *optional*):
            The 2D CNN (or any other backbone of transformers) that turns one frame into a feature map; its last
            feature map is used. Defaults to a ResNet-50 with the stride in the first 1x1 convolution of a block, as
            the detector that the official weights come from has it.
        freeze_backbone_stages (`int`, *optional*):
            How many parts of the ResNet are not trained, counted from the input: 1 is the stem, 2 the stem and the
            first stage, and so on. Defaults to 2 for a ResNet, as in the official model, and to 0 for other backbones.
        freeze_backbone_norm (`bool`, *optional*, defaults to `True`):
            Keep statistics, scale and shift of every batch norm of the backbone as they are. Set it to `False` when
            the backbone is trained from random weights.
        vocab_size (`int`, *optional*, defaults to 30522): Words in the tokenizer's vocabulary.
        hidden_size (`int`, *optional*, defaults to 768): Width of the transformer and of the visual tokens.
        num_hidden_layers (`int`, *optional*, defaults to 12): Layers of the transformer.
        num_attention_heads (`int`, *optional*, defaults to 12): Attention heads of a layer.
        intermediate_size (`int`, *optional*, defaults to 3072): Width inside the feed-forward blocks.
        hidden_act (`str`, *optional*, defaults to `"gelu"`): Activation of the feed-forward blocks.
        hidden_dropout_prob (`float`, *optional*, defaults to 0.1): Dropout of embeddings, layers and heads.
        attention_probs_dropout_prob (`float`, *optional*, defaults to 0.1): Dropout of the attention weights.
        max_position_embeddings (`int`, *optional*, defaults to 512): Longest text, in tokens.
        type_vocab_size (`int`, *optional*, defaults to 2): Rows of the token type table; only row 0 is used.
        layer_norm_eps (`float`, *optional*, defaults to 1e-12): Epsilon of the layer norms.
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of new weights.
        pad_token_id (`int`, *optional*, defaults to 0): Index of the padding token.
        max_grid_row_position_embeddings (`int`, *optional*, defaults to 100): Most rows of a visual grid.
        max_grid_col_position_embeddings (`int`, *optional*, defaults to 100): Most columns of a visual grid.
        frame_fusion (`str`, *optional*, defaults to `"mean"`):
            How the frames of a clip become one grid (the function M of section 3): `"mean"`, `"max"`, `"conv3d"`,
            `"conv2plus1d"`, or `"none"`, which keeps the tokens of all frames.
        use_temporal_position_embeddings (`bool`, *optional*, defaults to `False`):
            Add an embedding of the frame's place in its clip before the fusion. The official code names such a table
            but never builds it.
        max_temporal_position_embeddings (`int`, *optional*, defaults to 100): Rows of that table, the most frames of a
            clip.
        pixel_random_sampling_size (`int`, *optional*, defaults to 0):
            While training, keep this many cells of the grid, drawn anew for each batch (pre-training uses 100). 0
            keeps all of them.
        score_pooling (`str`, *optional*, defaults to `"mean"`):
            How the scores of a video's clips become one (section 3): `"mean"`, `"max"` or `"lse"` (log-sum-exp).
        loss_type (`str`, *optional*):
            `"ce"`, `"bce"` (soft scores), `"rank"` (hinge between matching and other texts of a video) or `"mse"`.
            By default the head's own: `"mse"` for one label, otherwise `"ce"`.
        margin (`float`, *optional*, defaults to 0.2): Margin of the ranking loss, in units of the sigmoid score.
        count_range (`list[int]`, *optional*): Least and greatest count that a model which counts was trained on; its rounded
            answers are kept within.
        mlm_loss_reduction (`str`, *optional*, defaults to `"masked"`):
            `"masked"` averages over the masked words. `"all"` divides by all positions, padding included, as the
            official pre-training does, which makes the loss about seven times smaller.
        mlm_on_mismatched_pairs (`bool`, *optional*, defaults to `False`):
            Whether words are also predicted for pairs whose text belongs to another video, as in the official
            pre-training.
        tie_word_embeddings (`bool`, *optional*, defaults to `True`):
            Share the word embeddings with the output layer of the masked word head.

    Raises:
        ValueError: If values do not fit each other; the message says why.
        TypeError: If the constructor gets a key that is no field. Read from a file, such a key is kept, with a warning: a
            checkpoint may come from another version.

    Example:
        >>> from clipbert import ClipBERTConfig, ClipBERTModel

        >>> config = ClipBERTConfig(num_hidden_layers=2, hidden_size=64, num_attention_heads=2, intermediate_size=128)
        >>> model = ClipBERTModel(config)
        >>> config.backbone_config.model_type
        'resnet'
    """

    model_type = "clipbert"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="resnet",
            init_kwargs={"out_features": ["stage4"], "downsample_in_bottleneck": True},
        ),
    }
    # What `Trainer.predict` should not gather over a whole data set.
    keys_to_ignore_at_inference = [
        "mlm_loss",
        "itm_loss",
        "prediction_logits",
        "clip_logits",
        "clip_odds",
        "match_odds",
        "last_hidden_state",
        "pooler_output",
        "hidden_states",
        "attentions",
    ]

    backbone_config: dict | PreTrainedConfig | None = None
    freeze_backbone_stages: int | None = None
    freeze_backbone_norm: bool = True

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True

    max_grid_row_position_embeddings: int = 100
    max_grid_col_position_embeddings: int = 100
    frame_fusion: Literal["mean", "max", "conv3d", "conv2plus1d", "none"] = "mean"
    use_temporal_position_embeddings: bool = False
    max_temporal_position_embeddings: int = 100
    pixel_random_sampling_size: int = 0

    score_pooling: Literal["mean", "max", "lse"] = "mean"
    loss_type: Literal["ce", "bce", "rank", "mse"] | None = None
    margin: float | int = 0.2
    count_range: list[int] | None = None
    mlm_loss_reduction: Literal["masked", "all"] = "masked"
    mlm_on_mismatched_pairs: bool = False

    def __post_init__(self, **kwargs):
        if stray := [key for key in kwargs if self._is_stray(key)]:
            raise TypeError(self._no_field(stray[0], kwargs[stray[0]]))
        super().__post_init__(**kwargs)
        if self.freeze_backbone_stages is None:
            self.freeze_backbone_stages = 2 if self.backbone_config.model_type == "resnet" else 0
        if self.use_temporal_position_embeddings and self.frame_fusion == "mean":
            logger.warning(
                "use_temporal_position_embeddings=True has little effect with frame_fusion='mean': the mean over frames "
                "adds the same constant whatever their order. Use 'max', 'conv3d', 'conv2plus1d' or 'none'."
            )

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

    def validate_sizes(self):
        for name in _LARGEST.keys() - {"num_labels"}:
            self._check_size(name, getattr(self, name))
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} cannot be divided among num_attention_heads={self.num_attention_heads}."
            )
        if self.pixel_random_sampling_size < 0:
            raise ValueError(
                f"pixel_random_sampling_size must be 0 (keep all cells) or a number of cells, "
                f"got {self.pixel_random_sampling_size}."
            )

        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(f"pad_token_id must lie in [0, vocab_size={self.vocab_size}), got {self.pad_token_id}.")

    def validate_numbers(self):
        for name, low, high in (
            ("hidden_dropout_prob", 0, 1),
            ("attention_probs_dropout_prob", 0, 1),
            ("layer_norm_eps", 0, 1),
            ("initializer_range", 0, math.inf),
            ("margin", 0, math.inf),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise ValueError(f"{name} must be a finite number in [{low}, {high}], got {value}.")

    def validate_count_range(self):
        if self.count_range is not None and not (
            len(self.count_range) == 2 and self.count_range == sorted(self.count_range)
        ):
            raise ValueError(f"count_range must be [least, greatest], got {self.count_range}.")

    def validate_activations(self):
        from transformers.activations import ACT2FN  # not above: it loads torch

        for owner, name in (
            ("", self.hidden_act),
            ("backbone_config: ", getattr(self.backbone_config, "hidden_act", None)),
        ):
            if isinstance(name, str) and name not in ACT2FN:
                nearest = difflib.get_close_matches(name, ACT2FN, n=1)
                hint = f"Did you mean {nearest[0]!r}?" if nearest else f"Known are {', '.join(ACT2FN)}."
                raise ValueError(f"{owner}hidden_act={name!r} is no activation that transformers knows. {hint}")

    @staticmethod
    def _check_size(name, value):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LARGEST[name]:
            raise ValueError(f"{name} must be at least 1 and at most {_LARGEST[name]}, got {value!r}.")

    def validate_scores(self):
        if self.score_pooling == "lse" and self.loss_type in ("bce", "rank", "mse"):
            raise ValueError(
                f"score_pooling='lse' does not go with loss_type={self.loss_type!r}: log-sum-exp collects the evidence of "
                "all clips for a soft-max over classes, which only the 'ce' loss has. Use 'mean' or 'max'."
            )
        if self.loss_type == "rank" and self.num_labels != 1:
            raise ValueError(
                f"loss_type='rank' compares one score per text and video, but num_labels={self.num_labels}. "
                "Set num_labels=1."
            )

    def validate_backbone(self):
        # Runs once before `__post_init__` has made a config of the dict, and after every assignment.
        if not isinstance(self.backbone_config, PreTrainedConfig) or self.freeze_backbone_stages is None:
            return
        for name, value in self.backbone_config.to_dict().items():
            for size in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(size, int) and size > _LARGEST_OF_BACKBONE:
                    raise ValueError(f"backbone_config: {name} must be at most {_LARGEST_OF_BACKBONE}, got {value}.")
        if self.freeze_backbone_stages < 0:
            raise ValueError(f"freeze_backbone_stages must not be negative, got {self.freeze_backbone_stages}.")
        if self.freeze_backbone_stages and self.backbone_config.model_type != "resnet":
            raise ValueError(
                f"freeze_backbone_stages={self.freeze_backbone_stages} counts the stages of a ResNet, but the backbone is "
                f"a {self.backbone_config.model_type!r}. Set it to 0 and freeze parameters by name."
            )
        if self.freeze_backbone_stages and self.freeze_backbone_stages > 1 + len(self.backbone_config.depths):
            raise ValueError(
                f"freeze_backbone_stages={self.freeze_backbone_stages}, but the ResNet has "
                f"{1 + len(self.backbone_config.depths)} parts: the stem and {len(self.backbone_config.depths)} stages."
            )


__all__ = ["ClipBERTConfig"]
