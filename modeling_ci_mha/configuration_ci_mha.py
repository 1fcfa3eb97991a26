# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""CI-MHA model configuration."""

import difflib
import math
from dataclasses import fields
from typing import Any, Literal

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
    "video_feature_size": 2**20,
    "frame_chunk_size": 2**20,
    "vocab_size": 10**7,
    "word_size": 2**16,
    "max_query_length": 2**16,
    "hidden_size": 2**16,
    "num_attention_heads": 2**10,
    "max_segments": 2**20,
}


@strict
class CIMHAConfig(PreTrainedConfig):
    r"""
    Settings of CI-MHA: a video in segments and a sentence, cross attention in both directions, and three heads that say
    where in the video the sentence starts and ends, and what lies inside.

    The defaults are those of the paper, where it says them. Each switch takes away one claim of it, with its parameters.

    Args:
        video_feature_size (`int`, *optional*):
            Numbers of a segment's vector, as feature files have them. Defaults to what the frame encoder makes, or to 1024
            (I3D) without one.
        frame_encoder_config (`PreTrainedConfig` or `dict`, *optional*):
            The image model that turns frames into vectors: a ResNet or another image backbone of transformers, a vision
            tower such as that of CLIP, SigLIP or DINOv2 (of a model of images and texts its tower that sees), or a ClipBERT,
            of which the grid encoder is taken. `None`: the model reads feature files alone.
        frame_encoder_trainable (`bool`, *optional*, defaults to `False`): Whether it is trained.
        train_batchnorm (`bool`, *optional*, defaults to `False`):
            Whether batch norms of a trained frame encoder are trained: statistics, scale and shift. For one that starts from
            random weights. Needs `frame_chunk_size=None`.
        frame_chunk_size (`int`, *optional*, defaults to 64):
            Most frames in the frame encoder at a time; `None`: all of them. Results do not depend on it.
        text_encoder (`str`, *optional*, defaults to `"embedding_bilstm"`):
            `"embedding_bilstm"` (word vectors that are trained), `"glove_bilstm"` (word vectors that are kept, as the paper
            has it), both read by a bidirectional LSTM, or `"hf"`: a text model of transformers.
        text_config (`PreTrainedConfig` or `dict`, *optional*): Of the text model of `text_encoder="hf"`.
        text_trainable (`bool`, *optional*, defaults to `False`): Whether the text model of `"hf"` is trained.
        vocab_size (`int`, *optional*, defaults to 10000): Words; 0 is padding, 1 a word that is not known.
        word_size (`int`, *optional*, defaults to 300): Numbers of a word vector.
        max_query_length (`int`, *optional*, defaults to 25): Words of a sentence that a processor keeps.
        hidden_size (`int`, *optional*, defaults to 512): Width D of everything behind the encoders. Even.
        num_attention_heads (`int`, *optional*, defaults to 8): Heads of every attention.
        max_segments (`int`, *optional*, defaults to 128): Segments that there are positions for.
        project_first (`bool`, *optional*, defaults to `True`):
            Whether features are projected to D (linear, layer norm) before the self-interaction. `False`, the literal reading:
            they keep their size until the feed-forward layers of equations 5 and 6, so heads must divide it.
        position_type (`str`, *optional*, defaults to `"learned"`): `"learned"`, `"sinusoidal"` or `"none"`.
        positions_before (`bool`, *optional*, defaults to `True`): Positions of segments before the self-interaction.
        positions_after (`bool`, *optional*, defaults to `True`): Positions of segments behind it (equation 5).
        share_position_embeddings (`bool`, *optional*, defaults to `False`): Both from one table.
        self_interaction (`bool`, *optional*, defaults to `True`): Self-attention of video and sentence (equations 3, 4).
        self_residual (`bool`, *optional*, defaults to `True`): Its skip.
        norm (`str`, *optional*, defaults to `"none"`): Layer norms of the self-interaction: `"none"`, `"post"`, `"pre"`.
        cross_interaction (`str`, *optional*, defaults to `"both"`):
            Who reads whom: `"both"`, `"query_to_video"` (segments read words, equation 8), `"video_to_query"` (words read
            segments, equation 7), or `"none"`: segments beside one vector of the sentence.
        fusion_alignment (`str`, *optional*, defaults to `"coattention"`):
            How the words of equation 7 come to lie beside segments: by the attention weights of equation 8
            (`"coattention"`), by one more attention (`"attention"`), as their mean (`"mean_pool"`), or word t beside segment
            t (`"pad"`, the literal reading).
        cross_residual (`bool`, *optional*, defaults to `True`):
            Add the segment to what it has read. Without it, which is the print, nothing can be located by one word.
        predictor (`str`, *optional*, defaults to `"lstm"`): What reads segments for start and end: `"lstm"`,
            `"transformer"`.
        end_reads (`str`, *optional*, defaults to `"start_states"`):
            What the network of the end reads: `"start_states"` (the dependent end, equation 11) or `"features"`.
        predictor_skip (`bool`, *optional*, defaults to `True`): Whether the heads also see what the networks read
            (equations 12, 13).
        shift_start_states (`bool`, *optional*, defaults to `False`):
            Let the end read the state of the segment before, as equation 11 is printed.
        learned_initial_state (`bool`, *optional*, defaults to `False`): Of the LSTMs of the predictor, instead of zeros.
        segmentation (`bool`, *optional*, defaults to `True`): The third head (equations 15, 16).
        start_end_loss_weight (`float`, *optional*, defaults to 1.0): Weight of the losses of start and end.
        segmentation_loss_weight (`float`, *optional*, defaults to 5.0): Weight of the loss of the third head.
        boundary_regression_weight (`float`, *optional*, defaults to 0.0):
            Weight of the distance of the expected start and end from the true ones, as shares of the video (the task of the
            first preprint, 2020).
        segment_pos_weight (`float`, *optional*, defaults to 1.0): Weight of segments inside in the third loss.
        segment_extend (`float`, *optional*, defaults to 0.0): Share of a moment that its labels inside go beyond either end.
        soft_targets (`str`, *optional*, defaults to `"none"`):
            `"neighbors"`: half of the target lies on the segment, the rest on those beside it.
        rnn_backend (`str`, *optional*, defaults to `"auto"`):
            `"packed"` sequences, or `"reversed"`: rows of padding, the other direction turned round by length. Equal
            values. `"auto"` packs on CUDA only.
        dropout (`float`, *optional*, defaults to 0.1): Of features, attention and feed-forward layers.
        normalize_features (`bool`, *optional*, defaults to `False`): Vectors of segments at length 1.
        temporal_endpoint_features (`bool`, *optional*, defaults to `False`): Append start and end of each, as shares.
        delta_features (`bool`, *optional*, defaults to `False`): Append the change from the segment before.
        segment_plan (`dict`, *optional*):
            How videos were cut in training: `segments_per_second`, `min_segments`, `max_segments`, `frames_per_segment`.
        feature_card (`dict`, *optional*): What the features of training were made of; others are refused.

    Raises:
        ValueError: If values do not fit each other; the message says why.
        TypeError: If the constructor gets a key that is no field. Read from a file, such a key is kept, with a warning: a
            checkpoint may come from another version.

    Example:
        >>> from clipbert import CIMHAConfig

        >>> config = CIMHAConfig(video_feature_size=500, cross_interaction="query_to_video")
        >>> config.max_segments
        128
    """

    model_type = "ci_mha"
    sub_configs_defaults = {
        "frame_encoder_config": SubConfigSpec(config_class=AutoConfig, model_type="resnet", optional=True),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="bert", optional=True),
    }
    # What `Trainer.predict` should not gather over a whole data set.
    keys_to_ignore_at_inference = [
        "start_loss",
        "end_loss",
        "segment_loss",
        "boundary_loss",
        "last_hidden_state",
        "word_attentions",
        "hidden_states",
        "attentions",
    ]

    video_feature_size: int | None = None
    frame_encoder_config: dict | PreTrainedConfig | None = None
    frame_encoder_trainable: bool = False
    train_batchnorm: bool = False
    frame_chunk_size: int | None = 64

    text_encoder: Literal["embedding_bilstm", "glove_bilstm", "hf"] = "embedding_bilstm"
    text_config: dict | PreTrainedConfig | None = None
    text_trainable: bool = False
    vocab_size: int = 10_000
    word_size: int = 300
    max_query_length: int = 25

    hidden_size: int = 512
    num_attention_heads: int = 8
    max_segments: int = 128
    project_first: bool = True
    position_type: Literal["learned", "sinusoidal", "none"] = "learned"
    positions_before: bool = True
    positions_after: bool = True
    share_position_embeddings: bool = False
    self_interaction: bool = True
    self_residual: bool = True
    norm: Literal["none", "post", "pre"] = "none"
    cross_interaction: Literal["both", "query_to_video", "video_to_query", "none"] = "both"
    fusion_alignment: Literal["coattention", "attention", "mean_pool", "pad"] = "coattention"
    cross_residual: bool = True

    predictor: Literal["lstm", "transformer"] = "lstm"
    end_reads: Literal["start_states", "features"] = "start_states"
    predictor_skip: bool = True
    shift_start_states: bool = False
    learned_initial_state: bool = False
    segmentation: bool = True

    start_end_loss_weight: float | int = 1.0
    segmentation_loss_weight: float | int = 5.0
    boundary_regression_weight: float | int = 0.0
    segment_pos_weight: float | int = 1.0
    segment_extend: float | int = 0.0
    soft_targets: Literal["none", "neighbors"] = "none"

    rnn_backend: Literal["auto", "packed", "reversed"] = "auto"
    dropout: float | int = 0.1
    normalize_features: bool = False
    temporal_endpoint_features: bool = False
    delta_features: bool = False
    segment_plan: dict[str, Any] | None = None
    feature_card: dict[str, Any] | None = None

    def __post_init__(self, **kwargs):
        if stray := [key for key in kwargs if self._is_stray(key)]:
            raise TypeError(self._no_field(stray[0], kwargs[stray[0]]))
        super().__post_init__(**kwargs)
        # a model of images and texts: of its two towers the one that sees, and the one that reads
        self.frame_encoder_config = getattr(self.frame_encoder_config, "vision_config", self.frame_encoder_config)
        self.text_config = getattr(self.text_config, "text_config", self.text_config)
        if self.video_feature_size is None and self.frame_encoder_config is None:
            self.video_feature_size = 1024

    def get_text_config(self, decoder=None, encoder=None):
        """The part that knows the size of the vocabulary. (`text_encoder` is a word here, and no config.)"""
        return self if self.text_config is None else self.text_config

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
        for name, largest in _LARGEST.items():
            value = getattr(self, name)
            if value is None and name in ("video_feature_size", "frame_chunk_size"):
                continue
            if isinstance(value, bool) or not 1 <= value <= largest:
                raise ValueError(f"{name} must be at least 1 and at most {largest}, got {value!r}.")
        if self.vocab_size < 2:
            raise ValueError(f"vocab_size must hold padding and a word that is not known, got {self.vocab_size}.")
        if self.hidden_size % 2 or self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} must be even, for the two directions of an LSTM, and a multiple of "
                f"num_attention_heads={self.num_attention_heads}."
            )

    def validate_numbers(self):
        weights = ("start_end_loss_weight", "segmentation_loss_weight", "boundary_regression_weight")
        bounds = {
            **dict.fromkeys([*weights, "segment_pos_weight", "segment_extend"], math.inf),
            "dropout": 1,
        }
        for name, high in bounds.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= high):
                raise ValueError(f"{name} must be a finite number in [0, {high}], got {value}.")

    def validate_encoders(self):
        if (self.text_encoder == "hf") != (self.text_config is not None):
            raise ValueError(
                f"text_encoder={self.text_encoder!r} with text_config "
                f"{'missing' if self.text_config is None else 'given'}: text_config says which text model 'hf' is, and "
                "belongs to it alone."
            )
        if self.text_trainable and self.text_encoder != "hf":
            raise ValueError(
                f"text_trainable=True trains the text model of text_encoder='hf', not {self.text_encoder!r}, whose word "
                "vectors are trained ('embedding_bilstm') or kept ('glove_bilstm')."
            )
        if self.frame_encoder_trainable and self.frame_encoder_config is None:
            raise ValueError("frame_encoder_trainable=True needs a frame encoder: frame_encoder_config is missing.")
        if self.train_batchnorm and not self.frame_encoder_trainable:
            raise ValueError(
                "train_batchnorm=True trains batch norms of a frame encoder: set frame_encoder_trainable."
            )
        if self.train_batchnorm and self.frame_chunk_size is not None:
            raise ValueError(
                "train_batchnorm=True takes the statistics of all frames of a batch at once, but "
                f"frame_chunk_size={self.frame_chunk_size} shows the frame encoder parts of it: set frame_chunk_size=None."
            )

    def validate_switches(self):
        has_both = self.position_type != "none" and self.positions_before and self.positions_after
        if self.share_position_embeddings and not has_both:
            raise ValueError(
                "share_position_embeddings=True is one table for two places: it needs positions_before, positions_after and "
                f"a position_type, got {self.positions_before}, {self.positions_after} and {self.position_type!r}."
            )
        if self.shift_start_states and self.end_reads != "start_states":
            raise ValueError("shift_start_states=True shifts the states that the end reads, but end_reads='features'.")
        if self.learned_initial_state and self.predictor != "lstm":
            raise ValueError(f"learned_initial_state=True is for predictor='lstm': {self.predictor!r} has no states.")
        if not self.self_interaction and (not self.self_residual or self.norm != "none"):
            raise ValueError(
                f"self_residual={self.self_residual} and norm={self.norm!r} are parts of the self-interaction, which "
                "self_interaction=False takes away: leave them at True and 'none'."
            )


__all__ = ["CIMHAConfig"]
