# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""CNN-RNN model configuration."""

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
    "frame_projection_size": 2**16,
    "rnn_hidden_size": 2**16,
    "rnn_num_layers": 100,
    "frame_chunk_size": 2**20,
    "num_frames": 10**7,
    "num_labels": 10**7,
}


@strict
class CNNRNNConfig(PreTrainedConfig):
    r"""
    Settings of a CNN-RNN video classifier: every frame through an image CNN, the sequence of its vectors through an RNN,
    GRU or LSTM, one class out.

    The defaults are ResNet-50, kept as it is, and one LSTM layer of 256 units that is read after the last frame.

    Args:
        backbone_config (`PreTrainedConfig` or `dict`, *optional*):
            The image model that turns a frame into a vector: a ResNet or any other image backbone of transformers (the
            global average of its last feature map), a vision tower such as that of CLIP, SigLIP, ViT or DINOv2 (its
            pooled output, or else its class token), or, with timm installed, `{"model_type": "timm_backbone",
            "backbone": "vgg16"}`. A model of images and texts gives its vision tower. Defaults to ResNet-50.
        backbone_trainable (`str`, *optional*, defaults to `"none"`):
            What of the backbone is trained: `"none"`, `"last_stage"`, `"last_two_stages"` (of a vision tower: layers;
            what comes after them is trained too) or `"all"`. The rest stays as it is, without dropout.
        train_batchnorm (`bool`, *optional*, defaults to `False`):
            Whether batch norms in the trained part of the backbone are trained: statistics, scale and shift. The frames
            of a few clips are much alike, and spoil the statistics of a pretrained CNN. Needs `frame_chunk_size=None`.
        frame_projection_size (`int`, *optional*):
            Width that the frame vectors are projected to (linear, ReLU, dropout) before the recurrent part. `None`:
            they are not.
        rnn_type (`str`, *optional*, defaults to `"lstm"`): `"rnn"` (with tanh), `"gru"` or `"lstm"`.
        rnn_hidden_size (`int`, *optional*, defaults to 256): Units of one direction.
        rnn_num_layers (`int`, *optional*, defaults to 1): Layers.
        bidirectional (`bool`, *optional*, defaults to `False`): Also read the frames from the last to the first.
        rnn_dropout (`float`, *optional*, defaults to 0.0): Dropout between the layers.
        head_dropout (`float`, *optional*, defaults to 0.5): Dropout before the classifier, and after the projection.
        pooling (`str`, *optional*, defaults to `"last"`):
            How the states become one vector: `"last"` (after the last frame; of the other direction after the first),
            `"mean"`, `"max"`, `"attention"` (a learnt weight for each), or `"order_blind_mean"`: the mean of the frame
            vectors without any recurrence. It has no idea of order and shows what the recurrent part is worth.
        score_pooling (`str`, *optional*, defaults to `"mean"`):
            How the scores of several windows of a clip become one: `"mean"`, `"max"` or `"lse"` (log of the mean
            probability). See [`pool_window_scores`].
        rnn_backend (`str`, *optional*, defaults to `"auto"`):
            `"packed"` sequences, or `"padded"` rows that are read by lengths: equal values, another speed. `"auto"` packs on
            CUDA, where cuDNN leaves padding out, pads for export, and takes the faster one on a CPU.
        frame_chunk_size (`int`, *optional*, defaults to 64):
            Most frames in the backbone at a time. `None`: all frames of a batch. Results do not depend on it.
        num_frames (`int`, *optional*):
            What `pipeline("video-classification")` asks the processor for. `None`: as the processor was saved.
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of new linear layers.
        problem_type (`str`, *optional*):
            `"single_label_classification"` (also if `None`) or `"multi_label_classification"`.

    Raises:
        ValueError: If values do not fit each other; the message says why.
        TypeError: If the constructor gets a key that is no field. Read from a file, such a key is kept, with a warning: a
            checkpoint may come from another version.

    Example:
        >>> from clipbert import CNNRNNConfig

        >>> config = CNNRNNConfig(rnn_type="gru", bidirectional=True, num_labels=5)
        >>> config.backbone_config.model_type
        'resnet'
    """

    model_type = "cnn_rnn"
    sub_configs_defaults = {"backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="resnet")}
    # What `Trainer.predict` should not gather over a whole data set.
    keys_to_ignore_at_inference = [
        "window_logits",
        "last_hidden_state",
        "pooler_output",
        "frame_features",
        "frame_lengths",
        "hidden_states",
    ]

    backbone_config: dict | PreTrainedConfig | None = None
    backbone_trainable: Literal["none", "last_stage", "last_two_stages", "all"] = "none"
    train_batchnorm: bool = False
    frame_projection_size: int | None = None

    rnn_type: Literal["rnn", "gru", "lstm"] = "lstm"
    rnn_hidden_size: int = 256
    rnn_num_layers: int = 1
    bidirectional: bool = False
    rnn_dropout: float | int = 0.0
    head_dropout: float | int = 0.5
    pooling: Literal["last", "mean", "max", "attention", "order_blind_mean"] = "last"
    score_pooling: Literal["mean", "max", "lse"] = "mean"

    rnn_backend: Literal["auto", "packed", "padded"] = "auto"
    frame_chunk_size: int | None = 64
    num_frames: int | None = None
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        if stray := [key for key in kwargs if self._is_stray(key)]:
            raise TypeError(self._no_field(stray[0], kwargs[stray[0]]))
        super().__post_init__(**kwargs)
        # a model of images and texts: of its two towers the one that sees
        self.backbone_config = getattr(self.backbone_config, "vision_config", self.backbone_config)

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
        for name in ("rnn_hidden_size", "rnn_num_layers"):
            self._check_size(name, getattr(self, name))
        for name in ("frame_projection_size", "frame_chunk_size", "num_frames"):
            if getattr(self, name) is not None:
                self._check_size(name, getattr(self, name))

    def validate_numbers(self):
        for name, high in (("rnn_dropout", 1), ("head_dropout", 1), ("initializer_range", math.inf)):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= high):
                raise ValueError(f"{name} must be a finite number in [0, {high}], got {value}.")

    @staticmethod
    def _check_size(name, value):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LARGEST[name]:
            raise ValueError(f"{name} must be at least 1 and at most {_LARGEST[name]}, got {value!r}.")

    def validate_problem(self):
        if self.problem_type == "regression":
            raise ValueError(
                "problem_type='regression' is not for this model, which tells classes apart. Use "
                "'single_label_classification' or 'multi_label_classification'."
            )

    def validate_backbone_parts(self):
        if self.train_batchnorm and self.backbone_trainable == "none":
            raise ValueError(
                "train_batchnorm=True trains batch norms of the trained part of the backbone, but "
                "backbone_trainable='none' leaves none. Choose 'last_stage', 'last_two_stages' or 'all'."
            )
        if self.train_batchnorm and self.frame_chunk_size is not None:
            raise ValueError(
                "train_batchnorm=True takes the statistics of all frames of a batch at once, but "
                f"frame_chunk_size={self.frame_chunk_size} shows the backbone parts of it: set frame_chunk_size=None."
            )


__all__ = ["CNNRNNConfig"]
