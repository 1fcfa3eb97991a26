# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
ClipBERT: "Less Is More: ClipBERT for Video-and-Language Learning via Sparse Sampling" (CVPR 2021,
https://arxiv.org/abs/2102.06183). Not based on CLIP: "clip" means a short piece of a video.

A few short clips are sampled from a video. Every frame becomes a small grid of visual tokens (2D CNN), the frames of a
clip are fused into one grid, and one BERT-like transformer reads the text followed by that grid. Each clip is scored
on its own, and the scores of a video's clips are pooled: sparse in training, as dense as wanted in inference.

    pixel_values (V, C, T, 3, H, W)          input_ids (N, L)
          |  backbone, conv, max-pool              |  word + position
          |  fuse frames                           |
    visual tokens (V, C, P, D)               text tokens (N, L, D)
          |  rows of `video_indices`               |  once per clip
          +------------------ join ----------------+
                   (N * C, L + P, D)
                          |  transformer, pooler, head
                 clip_logits (N, C, K)
                          |  mean, max or log-sum-exp over clips
                     logits (N, K)

What is unusual: pixels stay in 0..255 with the mean subtracted; padded picture borders are ordinary, attended tokens;
a frame passes the CNN exactly once, however many texts it is paired with.

Letters: V videos, C clips per video, T frames per clip, N texts, L text tokens, h x w cells of a grid, P visual tokens
per clip, D hidden size, K labels.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import MutableMapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING
from transformers.utils import ModelOutput, logging
from transformers.utils.generic import can_return_tuple

from .configuration_clipbert import ClipBERTConfig


logger = logging.get_logger(__name__)
PIXELS_AT_ONCE = 2**18  # that the CNN sees on a CPU: five frames of 224 x 224
KERNELS_AT_ONCE = 256  # of the convolution to the grid, on a CPU


# ---------------------------------------------------------------------------------------------------------------------
# Outputs
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class ClipBERTModelOutput(ModelOutput):
    """
    What [`ClipBERTModel`] returns.

    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(texts, clips, tokens, hidden_size)`):
            Output of the last layer; the text tokens come first, then the visual tokens.
        pooler_output (`torch.FloatTensor` of shape `(texts, clips, hidden_size)`):
            Tanh of a linear layer of the first token.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True`):
            Embeddings and the output of every layer, each of shape `(texts, clips, tokens, hidden_size)`.
        attentions (`tuple(torch.FloatTensor)`, *optional*, returned when `output_attentions=True`):
            Attention weights of every layer, each of shape `(texts, clips, heads, tokens, tokens)`.
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class ClipBERTScoreOutput(ModelOutput):
    """
    What the task heads return. For multiple choice a row of `logits` is a question and a label one of its choices, and
    the "texts" of the other fields are all choices of all questions.

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*, returned when labels are given):
            Loss of the pooled scores.
        logits (`torch.FloatTensor` of shape `(texts, labels)`):
            Scores pooled over the clips of each text's video.
        clip_logits (`torch.FloatTensor` of shape `(texts, clips, labels)`):
            Scores of each clip, those of masked clips included.
        last_hidden_state (`torch.FloatTensor` of shape `(texts, clips, tokens, hidden_size)`):
            Output of the last layer.
        pooler_output (`torch.FloatTensor` of shape `(texts, clips, hidden_size)`):
            What the head reads.
        hidden_states, attentions: See [`ClipBERTModelOutput`].
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    clip_logits: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class ClipBERTMatchOutput(ClipBERTScoreOutput):
    """
    What [`ClipBERTForVideoTextRetrieval`] returns beside the fields of [`ClipBERTScoreOutput`].

    Args:
        match_odds (`torch.FloatTensor` of shape `(texts,)`):
            Log-odds that text and video belong together, pooled over clips.
        clip_odds (`torch.FloatTensor` of shape `(texts, clips)`):
            The same of each clip by itself, those of masked clips included.
    """

    match_odds: torch.FloatTensor | None = None
    clip_odds: torch.FloatTensor | None = None


@dataclass
class ClipBERTForPreTrainingOutput(ModelOutput):
    """
    What [`ClipBERTForPreTraining`] returns.

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*): Sum of the losses whose labels were given.
        mlm_loss (`torch.FloatTensor` of shape `()`, *optional*): Masked word loss.
        itm_loss (`torch.FloatTensor` of shape `()`, *optional*): Image-text matching loss.
        prediction_logits (`torch.FloatTensor` of shape `(texts, clips, length, vocab_size)`): Scores of every word.
        seq_relationship_logits (`torch.FloatTensor` of shape `(texts, 2)`):
            Pooled scores of "the text belongs to another video" (0) and "the text belongs to this video" (1).
        clip_logits (`torch.FloatTensor` of shape `(texts, clips, 2)`): The same of each clip, masked ones included.
        last_hidden_state, pooler_output, hidden_states, attentions: See [`ClipBERTModelOutput`].
    """

    loss: torch.FloatTensor | None = None
    mlm_loss: torch.FloatTensor | None = None
    itm_loss: torch.FloatTensor | None = None
    prediction_logits: torch.FloatTensor | None = None
    seq_relationship_logits: torch.FloatTensor | None = None
    clip_logits: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


# ---------------------------------------------------------------------------------------------------------------------
# From frames to visual tokens
# ---------------------------------------------------------------------------------------------------------------------


def build_backbone(backbone_config):
    """
    A backbone with random weights that accepts whatever attention implementation its parent asks for.

    transformers refuses `attn_implementation="sdpa"` for a model with a part that does not declare support for it. A
    CNN has no attention to switch, so it is built as "eager" and then given the declaration.
    """
    backbone_class = MODEL_FOR_BACKBONE_MAPPING[type(backbone_config)]
    if backbone_class._supports_sdpa:
        return backbone_class(backbone_config)
    backbone_config._attn_implementation = "eager"
    backbone = backbone_class(backbone_config)
    for flag in ("_supports_sdpa", "_supports_flash_attn", "_supports_flex_attn", "_supports_attention_backend"):
        setattr(backbone, flag, True)  # of this backbone alone: a class made here could not be pickled
    return backbone


class ClipBERTGridConvolution(nn.Conv2d):
    """
    Convolution that is computed a part of its kernels at a time where nothing is kept for a gradient on a CPU: the same
    sums, to the last bit where the library beneath takes the same routine for a part, as it does in float32 at the default
    sizes. It lays its kernels out anew in every call, and the 57 MB of them in memory that the system hands out and clears
    each time; a part fits what the process already holds.
    """

    def forward(self, feature_map):
        if torch.is_grad_enabled() or feature_map.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(feature_map)
        parts = [self._conv_forward(feature_map, kernels, None) for kernels in self.weight.split(KERNELS_AT_ONCE)]
        return torch.cat(parts, dim=1)


class ClipBERTGridEncoder(nn.Module):
    """
    Frames to grids: backbone, 3x3 convolution to the hidden size, 2x2 max-pool, ReLU, in this order (section 3;
    `GridFeatBackbone` in the official code, whose `grid_encoder` is the part after the backbone).

    With the default backbone a frame of H x W pixels gives `floor(ceil(H / 32) / 2)` rows and likewise columns.
    """

    def __init__(self, config):
        super().__init__()
        self.num_frozen_stages = config.freeze_backbone_stages
        self.freeze_backbone_norm = config.freeze_backbone_norm
        self.backbone = build_backbone(config.backbone_config)
        self.conv = ClipBERTGridConvolution(
            self.backbone.channels[-1], config.hidden_size, kernel_size=3, padding=1, bias=False
        )
        self.kept_maps: MutableMapping[str, torch.Tensor] | None = None  # set by `keep`
        self.digested: tuple[list, str] = [], ""  # see `backbone_digest`
        self.freeze()

    def backbone_norms(self):
        return [module for module in self.backbone.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def frozen_parts(self):
        """What the config keeps as it is: the first parts of the ResNet, of which the stem is one, and batch norms."""
        stages = [self.backbone.embedder, *self.backbone.encoder.stages] if self.num_frozen_stages else []
        return [*stages[: self.num_frozen_stages], *(self.backbone_norms() if self.freeze_backbone_norm else [])]

    def freeze(self):
        """Stop the training of `frozen_parts`, and that of the statistics in their batch norms."""
        for part in self.frozen_parts():
            part.requires_grad_(False).eval()

    def train(self, mode=True):
        super().train(mode)
        for part in self.frozen_parts():
            part.eval()
        return self

    def keep(self, kept_maps):
        """See `keep_feature_maps` of the models."""
        if kept_maps is not None:
            self.refuse_training()
        self.kept_maps = kept_maps

    def refuse_training(self):
        config, trained = (
            self.backbone.config,
            [name for name, it in self.backbone.named_parameters() if it.requires_grad],
        )
        parts = 1 + len(config.depths) if config.model_type == "resnet" else None
        if trained or self.num_frozen_stages != parts:
            raise ValueError(
                "Feature maps are kept of a ResNet that does not change, all of whose parts are frozen "
                f"(freeze_backbone_stages={parts or 5}). This is a {config.model_type!r} with freeze_backbone_stages="
                f"{self.num_frozen_stages}, whose trained parameters are {_some(trained) or 'none'}. Freeze it, or call "
                "`keep_feature_maps(None)`; in a recipe leave out model.kept_maps."
            )

    def backbone_digest(self):
        """Structure and weights in a few letters; computed again when a tensor was written to or replaced."""
        tensors = [*self.backbone.parameters(), *self.backbone.buffers()]
        stamp = [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]
        if stamp != self.digested[0]:
            self.digested = stamp, _digest(repr(self.backbone), *tensors)
        return self.digested[1]

    def feature_maps(self, frames):
        """What the backbone makes of frames `(V*C*T, 3, H, W)`: `(V*C*T, channels, rows, columns)`."""
        if self.kept_maps is None or frames.requires_grad or torch.compiler.is_compiling():
            return self.encode(frames)
        self.refuse_training()
        device = frames.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else frames.dtype
        how = f"{self.backbone_digest()} {dtype} {tuple(frames.shape[1:])}"
        names = [_digest(how, frame) for frame in frames]
        maps = {name: self.kept_maps.get(name) for name in names}
        if new := {name: row for row, name in enumerate(names) if maps[name] is None}:
            with torch.no_grad():
                found = self.encode(frames[list(new.values())])
            for name, feature_map in zip(new, found, strict=True):
                maps[name] = self.kept_maps[name] = feature_map.clone()  # not a view that holds the others
        return torch.stack([maps[name].to(frames.device) for name in names])

    def encode(self, frames):
        """
        `feature_maps` without those that are kept. On a CPU a few frames at a time, whose maps stay in its caches, where nothing
        of them is kept for a gradient: outside of a training, and in that of a model whose CNN is frozen.
        """
        learns = torch.is_grad_enabled() and any(
            tensor.requires_grad for tensor in (frames, *self.backbone.parameters())
        )
        counts = any(norm.training for norm in self.backbone_norms())  # statistics are those of all frames
        if learns or counts or frames.device.type != "cpu" or torch.compiler.is_compiling():
            return self.backbone(frames).feature_maps[-1]
        size = max(PIXELS_AT_ONCE // frames[0, 0].numel(), 1)
        return torch.cat([self.backbone(part).feature_maps[-1] for part in frames.split(size)])

    def forward(self, frames):
        feature_map = self.feature_maps(frames)  # (V*C*T, channels, rows, columns)
        grid = self.conv(feature_map)
        if min(grid.shape[-2:]) < 2:
            raise ValueError(
                f"Frames of {frames.shape[-2]}x{frames.shape[-1]} pixels give a feature map of "
                f"{feature_map.shape[-2]}x{feature_map.shape[-1]}, but the grid needs at least 2x2 before it is pooled. "
                "Use larger frames (more than 32 pixels a side with the default backbone)."
            )
        return F.relu(F.max_pool2d(grid, kernel_size=2, stride=2))  # (V*C*T, D, h, w)


class ClipBERTFrameFusion(nn.Module):
    """
    The frames of a clip to one grid: the function M of section 3 of the paper.

    The official code has only the mean; the paper's ablation names the convolutions without their details. Here they
    are one layer of 3x3x3 (or 1x3x3, ReLU, 3x1x1) kernels followed by the mean over time, and they start as the
    identity: an untrained convolution fuses exactly like the mean, so that pre-trained weights stay useful.
    """

    def __init__(self, config):
        super().__init__()
        self.mode = config.frame_fusion
        self.max_frames = config.max_temporal_position_embeddings
        self.temporal_position_embeddings = None
        if config.use_temporal_position_embeddings:
            self.temporal_position_embeddings = nn.Embedding(self.max_frames, config.hidden_size)
        width = config.hidden_size
        if self.mode == "conv3d":
            self.conv = nn.Conv3d(width, width, kernel_size=3, padding=1)
        elif self.mode == "conv2plus1d":
            self.spatial_conv = nn.Conv3d(width, width, kernel_size=(1, 3, 3), padding=(0, 1, 1))
            self.temporal_conv = nn.Conv3d(width, width, kernel_size=(3, 1, 1), padding=(1, 0, 0))

    def forward(self, grid):
        # grid: (V*C, T, D, h, w) -> (V*C, T, D, h, w) with T = 1 unless all frames are kept
        num_frames = grid.shape[1]
        if self.temporal_position_embeddings is not None:
            if num_frames > self.max_frames:
                raise ValueError(
                    f"A clip has {num_frames} frames, but there are {self.max_frames} temporal positions "
                    "(max_temporal_position_embeddings). Sample fewer frames per clip."
                )
            positions = self.temporal_position_embeddings(torch.arange(num_frames, device=grid.device))
            grid = grid + positions[None, :, :, None, None]
        if self.mode == "none":
            return grid
        if self.mode == "max":
            return grid.amax(dim=1, keepdim=True)
        if self.mode == "conv3d":
            grid = self.conv(grid.transpose(1, 2)).transpose(1, 2)
        elif self.mode == "conv2plus1d":
            grid = self.temporal_conv(F.relu(self.spatial_conv(grid.transpose(1, 2)))).transpose(1, 2)
        return grid.mean(dim=1, keepdim=True)


class ClipBERTVisualEmbeddings(nn.Module):
    """
    Grids to visual tokens, rows first (`VisualInputEmbedding` in the official code).

    The official table `position_embeddings` is in every checkpoint and never used; it does not exist here.
    """

    def __init__(self, config):
        super().__init__()
        self.row_position_embeddings = nn.Embedding(config.max_grid_row_position_embeddings, config.hidden_size)
        self.col_position_embeddings = nn.Embedding(config.max_grid_col_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(1, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.num_sampled_cells = config.pixel_random_sampling_size

    def forward(self, grid):
        # grid: (V*C, T, D, h, w)
        rows, columns = grid.shape[-2:]
        max_rows, max_columns = (
            self.row_position_embeddings.num_embeddings,
            self.col_position_embeddings.num_embeddings,
        )
        if rows > max_rows or columns > max_columns:
            raise ValueError(
                f"The visual grid has {rows} rows and {columns} columns, but there are positions for {max_rows} rows "
                f"(max_grid_row_position_embeddings) and {max_columns} columns (max_grid_col_position_embeddings). "
                "Use smaller frames."
            )
        row_positions = self.row_position_embeddings(torch.arange(rows, device=grid.device))
        column_positions = self.col_position_embeddings(torch.arange(columns, device=grid.device))
        positions = row_positions[:, None] + column_positions[None, :]  # (h, w, D)
        cells = (grid.movedim(2, -1) + positions).flatten(1, 3)  # (V*C, P, D)
        num_cells = cells.shape[1]
        if self.training and self.num_sampled_cells >= num_cells and not torch.compiler.is_compiling():
            logger.warning_once(
                f"pixel_random_sampling_size={self.num_sampled_cells} leaves nothing out: frames of this size have a grid of "
                f"{rows} x {columns}, {num_cells} cells of a clip."
            )
        if self.training and 0 < self.num_sampled_cells < num_cells:
            # one draw for the whole batch (section 3.1 of the paper's pre-training: random pixel sampling)
            kept = torch.randperm(num_cells, device=cells.device)[: self.num_sampled_cells].sort().values
            cells = cells[:, kept]
        token_type = torch.zeros(1, dtype=torch.int64, device=cells.device)
        return self.LayerNorm(cells + self.token_type_embeddings(token_type))


# ---------------------------------------------------------------------------------------------------------------------
# Text and transformer: BERT, with BERT's parameter names
# ---------------------------------------------------------------------------------------------------------------------


class ClipBERTTextEmbeddings(nn.Module):
    """Word + position + token type 0, then layer norm."""

    def __init__(self, config):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, input_ids):
        length, max_length = input_ids.shape[1], self.position_embeddings.num_embeddings
        if length > max_length:
            raise ValueError(
                f"Texts have {length} tokens, but there are {max_length} positions (max_position_embeddings). "
                "Truncate them in the processor (max_length)."
            )
        positions = torch.arange(length, device=input_ids.device)
        embeddings = self.word_embeddings(input_ids) + self.position_embeddings(positions)
        return self.LayerNorm(embeddings + self.token_type_embeddings(torch.zeros_like(positions)))


def eager_attention_forward(
    module, query, key, value, attention_mask, scaling, dropout=0.0, texts_and_clips=None, **kwargs
):
    """
    Attention written out. Also takes the boolean mask of the sdpa implementation. With `texts_and_clips`, the two numbers,
    the weights come out with texts and clips apart, and lie on the path to the context.
    """
    weights = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        weights = weights.masked_fill(~attention_mask, torch.finfo(weights.dtype).min)
    elif attention_mask is not None:
        weights = weights + attention_mask
    weights = F.dropout(weights.softmax(dim=-1), p=dropout, training=module.training)
    if texts_and_clips is not None:
        weights = weights.unflatten(0, texts_and_clips)  # (N, C, heads, queries, tokens)
    rows = weights if texts_and_clips is None else weights.flatten(0, 1)
    return (rows @ value).transpose(1, 2).contiguous(), weights


class ClipBERTSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.is_causal = False
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.dropout_prob = config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, queries, hidden_states, attention_mask=None, output_attentions=False):
        query, key, value = (  # (N*C, heads, tokens, head_dim)
            layer(tokens).flatten(0, 1).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for layer, tokens in ((self.query, queries), (self.key, hidden_states), (self.value, hidden_states))
        )
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        if output_attentions:  # the fused implementations do not return weights
            attend = functools.partial(eager_attention_forward, texts_and_clips=hidden_states.shape[:2])
        dropout = self.dropout_prob if self.training else 0.0
        context, weights = attend(self, query, key, value, attention_mask, scaling=self.scaling, dropout=dropout)
        return context.flatten(2).unflatten(0, hidden_states.shape[:2]), weights  # (N, C, queries, D)


class ClipBERTResidual(nn.Module):
    """Linear, dropout, residual, layer norm: the end of both halves of a layer."""

    def __init__(self, config, input_size):
        super().__init__()
        self.dense = nn.Linear(input_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states, residual):
        return self.LayerNorm(residual + self.dropout(self.dense(hidden_states)))


class ClipBERTAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self = ClipBERTSelfAttention(config)
        self.output = ClipBERTResidual(config, config.hidden_size)

    def forward(self, hidden_states, attention_mask=None, output_attentions=False, num_queries=None):
        queries = hidden_states if num_queries is None else hidden_states[:, :, :num_queries]
        context, weights = self.self(queries, hidden_states, attention_mask, output_attentions)
        return self.output(context, queries), weights


class ClipBERTIntermediate(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, hidden_states):
        return self.activation(self.dense(hidden_states))


class ClipBERTLayer(GradientCheckpointingLayer):
    """A post-norm transformer layer, as in BERT."""

    def __init__(self, config):
        super().__init__()
        self.attention = ClipBERTAttention(config)
        self.intermediate = ClipBERTIntermediate(config)
        self.output = ClipBERTResidual(config, config.intermediate_size)

    def forward(self, hidden_states, attention_mask=None, output_attentions=False, num_queries=None):
        hidden_states, weights = self.attention(hidden_states, attention_mask, output_attentions, num_queries)
        return self.output(self.intermediate(hidden_states), hidden_states), weights


class ClipBERTEncoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layer = nn.ModuleList([ClipBERTLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        output_attentions=False,
        output_hidden_states=False,
        pooled_only=False,
    ):
        # hidden_states: (N, C, tokens, D), so that what is returned of each layer is what the next one reads
        # kept only when asked for: the inputs of all layers are most of the memory of an inference
        all_hidden_states = (hidden_states,) if output_hidden_states else None
        all_attentions = () if output_attentions else None
        for layer in self.layer:
            num_queries = None
            if pooled_only and layer is self.layer[-1]:  # the others are its keys and values only
                num_queries = 1
                attention_mask = None if attention_mask is None else attention_mask[:, :, :num_queries]
            hidden_states, weights = layer(hidden_states, attention_mask, output_attentions, num_queries)
            if output_hidden_states:
                all_hidden_states += (hidden_states,)
            if output_attentions:
                all_attentions += (weights,)
        return hidden_states, all_hidden_states, all_attentions


class ClipBERTPooler(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states):
        return torch.tanh(self.dense(hidden_states[:, :, 0]))  # (N, C, D)


# ---------------------------------------------------------------------------------------------------------------------
# Models
# ---------------------------------------------------------------------------------------------------------------------


class ClipBERTPreTrainedModel(PreTrainedModel):
    """Weight initialisation and what transformers needs to know about every ClipBERT model."""

    config: ClipBERTConfig
    base_model_prefix = "clipbert"
    main_input_name = "input_ids"  # always there; `visual_embeds` may stand in for `pixel_values`
    input_modalities = ["video", "text"]
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _no_split_modules = [
        "ClipBERTFrameFusion",
        "ClipBERTGridEncoder",
        "ClipBERTLayer",
        "ClipBERTTextEmbeddings",
        "ClipBERTVisualEmbeddings",
    ]
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True
    _can_compile_fullgraph = True

    def __init__(self, config, *args, **kwargs):
        config.validate()  # values may have been assigned since it was made
        super().__init__(config, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, *args, output_loading_info=False, **kwargs):
        """
        As for every model of transformers. What the config freezes is frozen here too (loading puts new parameters into a
        model, all of them trained), and a head that the checkpoint was not trained for is reported.
        """
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model.freeze()
        model._report_untrained_head(info)
        return (model, info) if output_loading_info else model

    def _report_untrained_head(self, info):
        """Heads of two tasks may agree in names and shapes: what is loaded without a gap may be trained for the other."""
        own, saved = type(self), (self.config.architectures or [None])[0]
        is_other = saved is not None and saved not in {base.__name__ for base in own.__mro__}
        new = sorted({*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])})
        if self.base_model is self or not (new or is_other):
            return
        head = [name for name in self.state_dict() if not name.startswith(f"{self.base_model_prefix}.")]
        taken = [name for name in head if name not in new]
        lines = [
            f"{own.__name__}: not all of it was trained for this task in {self.name_or_path or 'the checkpoint'}."
        ]
        if new:
            lines.append(f"New weights, to be trained: {', '.join(new)}.")
        if is_other and taken:
            lines.append(f"Weights of another task, to be trained on: {', '.join(taken)}.")
        if is_other:
            lines.append(f"The checkpoint is one of {saved}: load that class to use it as it was trained.")
        logger.warning(" ".join(lines))

    def freeze(self):
        """Freeze what the config freezes. For a model whose parameters were replaced or set free."""
        self.base_model.grid_encoder.freeze()

    def encode_videos(self, pixel_values, clip_mask=None):
        """See [`ClipBERTModel.encode_videos`]."""
        return self.base_model.encode_videos(pixel_values, clip_mask)

    def chunk_clips(self, clips_per_chunk: int | None) -> None:
        """
        Process the clips of a video a few at a time, so that memory no longer grows with their number.

        Scores, loss and gradients stay those of all clips at once: pooling sees the scores of every clip. (The hidden
        states and attention weights that are returned are joined copies, without a gradient of their own.) In training
        a chunk keeps only its scores and is computed a second time in the backward pass, which costs about a third
        more time. (Dropout is drawn chunk by chunk, so its masks are others.)

        Args:
            clips_per_chunk (`int`, *optional*): Clips of each video at a time; `None` switches chunks off.

        Raises:
            ValueError: If the number is below 1.
        """
        if clips_per_chunk is not None and clips_per_chunk < 1:
            raise ValueError(
                f"clips_per_chunk must be at least 1, or None for all clips at once; got {clips_per_chunk}."
            )
        for module in self.modules():
            if isinstance(module, ClipBERTModel):
                module.clips_per_chunk = clips_per_chunk

    def keep_feature_maps(self, kept_maps: MutableMapping[str, torch.Tensor] | None) -> None:
        """
        Keep what a frozen CNN makes of a frame, and look it up when the same frame comes again.

        It pays on a CPU where frames do come again: images, uniform clips, several texts of a video in other steps. A frame is
        known by its pixels as the CNN gets them and by the weights of the CNN: one that is drawn or augmented otherwise is
        another frame, and other weights make other maps. Nothing is looked up in what `torch.compile` compiles and where pixels
        need a gradient; on an accelerator each call waits for the pixels.

        Args:
            kept_maps (`MutableMapping[str, torch.Tensor]`, *optional*):
                Names to maps of shape `(channels, rows, columns)`: a dict, or anything else with `get` and item assignment. It
                is filled without bounds, 400 KB a frame of 224 x 224 pixels with the default backbone. `None`: nothing is kept.

        Raises:
            ValueError: If the CNN is no ResNet, or not all of it is frozen; also in `forward`.

        Example:
            >>> import torch
            >>> from clipbert import ClipBERTConfig, ClipBERTModel

            >>> config = ClipBERTConfig(num_hidden_layers=1, hidden_size=32, num_attention_heads=2, freeze_backbone_stages=5)
            >>> model, maps = ClipBERTModel(config), {}
            >>> model.keep_feature_maps(maps)
            >>> tokens = model.encode_videos(torch.zeros(1, 2, 2, 3, 64, 64))  # four frames, all black
            >>> [tuple(feature_map.shape) for feature_map in maps.values()]
            [(2048, 2, 2)]
        """
        self.base_model.grid_encoder.keep(kept_maps)

    @torch.no_grad()
    def _init_weights(self, module):
        # Asked only about modules with parameters of their own, hence by the type of the layer. The backbone has its
        # own.
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):  # of the grid encoder
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))  # as the official model: torch's default
        elif isinstance(module, nn.Conv3d):  # of the frame fusion
            init.dirac_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, ClipBERTMaskedWordHead):
            init.zeros_(module.bias)


class ClipBERTModel(ClipBERTPreTrainedModel):
    """
    The ClipBERT transformer over text and clips, without a task head (`ClipBertBaseModel` and the visual encoder of
    the official code).

    Args:
        config ([`ClipBERTConfig`]): Settings.
        add_pooling_layer (`bool`, *optional*, defaults to `True`): Build the pooler.

    Example:
        >>> import torch
        >>> from clipbert import ClipBERTConfig, ClipBERTModel

        >>> config = ClipBERTConfig(num_hidden_layers=1, hidden_size=32, num_attention_heads=2, intermediate_size=64)
        >>> model = ClipBERTModel(config).eval()
        >>> pixel_values = torch.zeros(1, 2, 2, 3, 64, 64)  # one video, two clips, two frames
        >>> outputs = model(input_ids=torch.tensor([[101, 1037, 3899, 102]]), pixel_values=pixel_values)
        >>> tuple(outputs.last_hidden_state.shape)
        (1, 2, 5, 32)
    """

    def __init__(self, config, add_pooling_layer=True):
        super().__init__(config)
        self.embeddings = ClipBERTTextEmbeddings(config)
        self.grid_encoder = ClipBERTGridEncoder(config)
        self.frame_fusion = ClipBERTFrameFusion(config)
        self.visual_embeddings = ClipBERTVisualEmbeddings(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.encoder = ClipBERTEncoder(config)
        self.pooler = ClipBERTPooler(config) if add_pooling_layer else None
        self.clips_per_chunk: int | None = None  # set by `chunk_clips`
        self.post_init()

    def get_input_embeddings(self):
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value):
        self.embeddings.word_embeddings = value

    def encode_videos(self, pixel_values, clip_mask=None):
        """
        Visual tokens of every clip, to be scored against any number of texts with `visual_embeds=`.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(videos, clips, frames, 3, height, width)`):
                Frames as the processor makes them. Five dimensions mean one clip each, four mean one image each.
            clip_mask (`torch.Tensor` of shape `(videos, clips)`, *optional*):
                1 for clips that exist. The others are not looked at, and their tokens are 0.

        Returns:
            `torch.FloatTensor` of shape `(videos, clips, cells, hidden_size)`.

        Raises:
            ValueError: If the shape or type is another, or the frames are too small or too large for the grid.
        """
        pixel_values = _to_six_dimensions(pixel_values)
        return self._encode_videos(pixel_values, _check_clip_mask(clip_mask, pixel_values))

    def _encode_videos(self, pixel_values, clip_mask):
        clips = pixel_values.flatten(0, 1)  # (V*C, T, 3, H, W)
        if clip_mask is None:
            tokens = self._encode_clips(clips)  # (V*C, P, D)
        else:
            exists = clip_mask.flatten()  # (V*C,)
            if self._reads_blank_clips(clips):
                clips = clips.where(exists[:, None, None, None, None], 0.0)
                tokens = self._encode_clips(clips).where(exists[:, None, None], 0.0)
            else:
                kept = self._encode_clips(clips[exists])
                tokens = kept.new_zeros(len(exists), *kept.shape[1:]).masked_scatter(exists[:, None, None], kept)
        return tokens.unflatten(0, pixel_values.shape[:2])

    def _trains_statistics(self):
        """Whether batch norms of the CNN take statistics of what they see, so that all clips have to be seen at once."""
        return self.training and not self.config.freeze_backbone_norm

    def _reads_blank_clips(self, clips):
        """
        Whether the CNN sees zeros in place of clips that do not exist: where shapes must not depend on the mask, and on an
        accelerator, which would be waited for. Not where they would count in the statistics of batch norms.
        """
        return torch.compiler.is_compiling() or (clips.device.type != "cpu" and not self._trains_statistics())

    def _clips_at_once(self, clips):
        """How many clips the CNN sees at a time. On a CPU few, if nothing is kept for a gradient: their maps stay in its caches."""
        if torch.is_grad_enabled() or self._trains_statistics() or torch.compiler.is_compiling():
            return len(clips)
        if self.clips_per_chunk is None and clips.device.type == "cpu":
            return max(PIXELS_AT_ONCE // clips[0, :, 0].numel(), 1)
        return self.clips_per_chunk or len(clips)

    def _encode_clips(self, clips):
        # clips: (K, T, 3, H, W) -> (K, P, D)
        if len(clips) > (size := self._clips_at_once(clips)):
            return torch.cat([self._encode_clips(chunk) for chunk in clips.split(size)])
        _check_finite("pixel_values", clips, "Look at the videos, and at image_mean and image_std of the processor.")
        frames = clips.flatten(0, 1).to(self.grid_encoder.conv.weight.dtype)  # (K*T, 3, H, W)
        grid = self.grid_encoder(frames).unflatten(0, (-1, clips.shape[1]))  # (K, T, D, h, w)
        return self.visual_embeddings(self.frame_fusion(grid))

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        video_indices: torch.LongTensor | None = None,
        clip_mask: torch.Tensor | None = None,
        visual_embeds: torch.FloatTensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        pooled_only: bool = False,
        frame_indices: torch.LongTensor | None = None,
        frame_seconds: torch.DoubleTensor | None = None,
        video_metadata: list | None = None,
    ) -> tuple | ClipBERTModelOutput:
        """
        Read every text together with every clip of its video.

        Args:
            input_ids (`torch.LongTensor` of shape `(texts, length)`): Token indices.
            pixel_values (`torch.FloatTensor` of shape `(videos, clips, frames, 3, height, width)`, *optional*):
                Frames as the processor makes them. Five dimensions mean one clip each, four mean one image each.
            attention_mask (`torch.Tensor` of shape `(texts, length)`, *optional*): 1 for words, 0 for padding.
            video_indices (`torch.LongTensor` of shape `(texts,)`, *optional*):
                The video each text belongs to. Without it there is one text per video, in the same order.
            clip_mask (`torch.Tensor` of shape `(videos, clips)`, *optional*):
                1 for clips that exist, at least one for every video. Nothing of the others reaches the CNN, but they
                have their place in the outputs, which mean nothing there.
            visual_embeds (`torch.FloatTensor` of shape `(videos, clips, cells, hidden_size)`, *optional*):
                What `encode_videos` returned, instead of `pixel_values`.
            output_attentions (`bool`, *optional*): Return attention weights (computed by the eager implementation).
            output_hidden_states (`bool`, *optional*): Return the embeddings and the output of every layer.
            pooled_only (`bool`, *optional*, defaults to `False`):
                Compute the last layer for its first position alone, which is all that `pooler_output` and the scores
                of the task heads depend on. `last_hidden_state` then has one token.
            frame_indices, frame_seconds, video_metadata (*optional*):
                What a processor adds with `return_metadata=True`. Not read: `model(**processor(...))` works with it.

        Returns:
            [`ClipBERTModelOutput`].

        Raises:
            ValueError: If shapes do not fit each other; both are named.
        """
        visual = _visual_input(pixel_values, visual_embeds)  # (V, C, T, 3, H, W) or (V, C, P, D)
        _check_texts(input_ids, attention_mask, video_indices, visual, self.config.vocab_size)
        clip_mask = _check_clip_mask(clip_mask, visual)
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        read = self._read_clips if self.clips_per_chunk is None else self._read_in_chunks
        return read(
            visual,
            clip_mask,
            input_ids,
            attention_mask,
            video_indices,
            output_attentions,
            output_hidden_states,
            pooled_only,
        )

    def _read_in_chunks(self, visual, clip_mask, *texts_and_options):
        """`_read_clips`, a few clips at a time; in training each chunk is computed again when its gradient is due."""
        if self._trains_statistics():
            raise ValueError(
                "The batch norms of the CNN are trained, and their statistics are those of all clips: set "
                "config.freeze_backbone_norm to train in chunks, or call `chunk_clips(None)`."
            )
        if clip_mask is not None:
            visual = visual.where(clip_mask.view(*clip_mask.shape, *[1] * (visual.ndim - 2)), 0.0)
        parts = []
        for first in range(0, visual.shape[1], self.clips_per_chunk):
            chunk = slice(first, first + self.clips_per_chunk)
            mask = None if clip_mask is None else clip_mask[:, chunk]
            if mask is not None:  # blank clips stand in for a video that has none here; pooling leaves them out
                mask = mask | ~mask.any(dim=1, keepdim=True)
            read = functools.partial(self._read_clips, visual[:, chunk], mask, *texts_and_options)
            parts.append(checkpoint(read, use_reentrant=False) if torch.is_grad_enabled() else read())

        def join(name):  # along the clips
            tensors = [getattr(part, name) for part in parts]
            if isinstance(tensors[0], tuple):
                return tuple(torch.cat(layers, dim=1) for layers in zip(*tensors, strict=True))
            return None if tensors[0] is None else torch.cat(tensors, dim=1)

        return ClipBERTModelOutput(
            **{field.name: join(field.name) for field in dataclasses.fields(ClipBERTModelOutput)}
        )

    def _read_clips(
        self,
        visual,
        clip_mask,
        input_ids,
        attention_mask,
        video_indices,
        output_attentions,
        output_hidden_states,
        pooled_only,
    ):
        # 1. every frame of every clip through the CNN, once
        if visual.ndim == 6:
            visual_embeds = self._encode_videos(visual, clip_mask)  # (V, C, P, D)
        elif clip_mask is not None:  # zeros, so that not even NaN in these clips can reach a loss or a gradient
            visual_embeds = visual.where(clip_mask[..., None, None], 0.0)
        else:
            visual_embeds = visual
        if visual.ndim == 4:
            _check_finite("visual_embeds", visual_embeds, "They are what `encode_videos` returned.")
        num_clips = visual_embeds.shape[1]
        # 2. join each text with each clip of its video
        visual = visual_embeds if video_indices is None else visual_embeds[video_indices.long()]  # (N, C, P, D)
        text = self.embeddings(input_ids)[:, None].expand(-1, num_clips, -1, -1)  # (N, C, L, D)
        hidden_states = self.dropout(torch.cat([text, visual.to(text.dtype)], dim=2))  # (N, C, L+P, D)
        if attention_mask is not None:
            attention_mask = attention_mask[:, None].expand(-1, num_clips, -1).flatten(0, 1)  # (N*C, L)
            attention_mask = F.pad(attention_mask, (0, visual.shape[2]), value=1)
        # attentions are computed by the eager implementation, whatever the model is set to
        implementation = "eager" if output_attentions else self.config._attn_implementation
        if implementation not in ("eager", "sdpa"):
            mask = create_bidirectional_mask(
                config=self.config, inputs_embeds=hidden_states.flatten(0, 1), attention_mask=attention_mask
            )
        elif attention_mask is None or (_values_are_known(attention_mask) and attention_mask.all()):
            mask = None
        else:  # whether anything is padded is not asked of an accelerator, which would be waited for
            mask = attention_mask[:, None, None].bool()  # (N*C, 1, 1, L+P)
        # 3. transformer; masks of other implementations cannot be cut down to one query
        last_hidden_state, all_hidden_states, all_attentions = self.encoder(
            hidden_states,
            mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            pooled_only=pooled_only and implementation in ("eager", "sdpa"),
        )
        if pooled_only:
            last_hidden_state = last_hidden_state[:, :, :1]
        return ClipBERTModelOutput(
            last_hidden_state=last_hidden_state,
            pooler_output=None if self.pooler is None else self.pooler(last_hidden_state),
            hidden_states=all_hidden_states,
            attentions=all_attentions,
        )


# Values are looked at on the CPU alone: on an accelerator every step would wait for the answer.


def _values_are_known(tensor):
    is_real = type(tensor) in (torch.Tensor, nn.Parameter)  # not one that stands for another, as a fake tensor
    return is_real and tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _check_integers(name, tensor, low, high, meaning, ignored=None):
    """Whether integers lie in [low, high), or are the one that is left out."""
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"{name} must be a torch.Tensor, got {type(tensor).__name__} (return_tensors='pt').")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"{name} must hold integers, got {tensor.dtype}.")
    if not _values_are_known(tensor) or not tensor.numel():
        return
    wrong = (tensor < low) | (tensor >= high)
    if ignored is not None:
        wrong &= tensor != ignored
    if wrong.any():
        besides = "" if ignored is None else f", or be {ignored} where there is nothing to learn"
        values = sorted(set(tensor[wrong].tolist()))
        raise ValueError(f"{name} must lie in [{low}, {high}), {meaning}{besides}; got {_some(values)}.")


def _digest(text, *tensors):
    """SHA-256 of a text and of the bytes of tensors."""
    digest = hashlib.sha256(text.encode())
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _some(values):
    return ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")


def _check_mask(name, mask, meaning):
    """Whether a mask, of whatever type, holds nothing but 0 and 1."""
    if not isinstance(mask, torch.Tensor):
        raise ValueError(f"{name} must be a torch.Tensor, got {type(mask).__name__} (return_tensors='pt').")
    if mask.dtype != torch.bool and _values_are_known(mask) and (wrong := (mask != 0) & (mask != 1)).any():
        raise ValueError(f"{name} must hold 1 for {meaning} and 0 for others, got {_some(mask[wrong].tolist())}.")


def _check_finite(name, tensor, origin):
    # the extremes carry every NaN and infinity, and are found ten times as fast as by looking at each value
    if _values_are_known(tensor) and not all(extreme.isfinite() for extreme in tensor.aminmax()):
        raise ValueError(f"{name} must be finite, got NaN or infinity. {origin}")


def _visual_input(pixel_values, visual_embeds):
    """The one of them that is given: frames with six dimensions or visual tokens with four."""
    if (pixel_values is None) == (visual_embeds is None):
        raise ValueError("Exactly one of `pixel_values` and `visual_embeds` is needed, got both or neither.")
    if visual_embeds is None:
        return _to_six_dimensions(pixel_values)
    if visual_embeds.ndim != 4 or 0 in visual_embeds.shape:
        raise ValueError(
            "visual_embeds must have the shape (videos, clips, cells, hidden_size), none of them 0, got "
            f"{tuple(visual_embeds.shape)}."
        )
    return visual_embeds


def _to_six_dimensions(pixel_values):
    if not isinstance(pixel_values, torch.Tensor):
        raise ValueError(f"pixel_values must be a torch.Tensor, got {type(pixel_values).__name__}.")
    shape = tuple(pixel_values.shape)
    if pixel_values.ndim == 4:  # images
        pixel_values = pixel_values[:, None, None]
    elif pixel_values.ndim == 5:  # one clip per video
        pixel_values = pixel_values[:, None]
    if pixel_values.ndim != 6 or pixel_values.shape[3] != 3 or 0 in shape:
        raise ValueError(
            "pixel_values must have the shape (videos, clips, frames, 3, height, width), or (videos, frames, 3, height, "
            f"width) for one clip each, or (images, 3, height, width), none of them empty; got {shape}."
        )
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"pixel_values must be the floating point output of the processor, got {pixel_values.dtype}: raw frames lack "
            "resizing and mean subtraction."
        )
    return pixel_values


def _check_clip_mask(clip_mask, visual):
    """The `(videos, clips)` mask of `(videos, clips, ...)` as booleans, if there is one."""
    if clip_mask is None:
        return None
    _check_mask("clip_mask", clip_mask, "clips that exist")
    if clip_mask.shape != visual.shape[:2]:
        raise ValueError(
            f"clip_mask {tuple(clip_mask.shape)} must have the shape (videos, clips) of the visual input, "
            f"{tuple(visual.shape[:2])}."
        )
    clip_mask = clip_mask.bool()
    if _values_are_known(clip_mask) and not clip_mask.any(dim=1).all():
        raise ValueError(
            f"Every video needs at least one clip that exists, but clip_mask is {clip_mask.int().tolist()}."
        )
    return clip_mask


def _check_texts(input_ids, attention_mask, video_indices, visual, vocab_size, row="text"):
    """Whether texts, or questions with their choices, fit each other, the vocabulary and the videos."""
    _check_integers("input_ids", input_ids, 0, vocab_size, "the words of the vocabulary (vocab_size)")
    shape = "(questions, choices, length)" if row == "question" else "(texts, length)"
    if input_ids.ndim != shape.count(",") + 1 or 0 in input_ids.shape:
        raise ValueError(f"input_ids must have the shape {shape}, none of them 0, got {tuple(input_ids.shape)}.")
    if attention_mask is not None:
        _check_mask("attention_mask", attention_mask, "words")
        if attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"attention_mask {tuple(attention_mask.shape)} must have the shape of input_ids {tuple(input_ids.shape)}."
            )
        if _values_are_known(attention_mask) and not (has_words := attention_mask.any(dim=-1)).all():
            empty = (~has_words).flatten().nonzero().flatten().tolist()
            raise ValueError(
                f"attention_mask must keep a word of every text at least, but it is all 0 for {_some(empty)}."
            )
    num_rows, num_videos = input_ids.shape[0], visual.shape[0]
    if video_indices is None:
        if num_rows != num_videos:
            raise ValueError(
                f"Without video_indices there must be one {row} per video, but input_ids {tuple(input_ids.shape)} holds "
                f"{num_rows} {row}s for {num_videos} videos {tuple(visual.shape)}. Say which video each {row} belongs to "
                "with video_indices."
            )
        return
    _check_integers("video_indices", video_indices, 0, num_videos, "the number of videos")
    if video_indices.shape != (num_rows,):
        raise ValueError(
            f"video_indices {tuple(video_indices.shape)} must name one video for each of the {num_rows} {row}s of input_ids "
            f"{tuple(input_ids.shape)}."
        )


# ---------------------------------------------------------------------------------------------------------------------
# Task heads
# ---------------------------------------------------------------------------------------------------------------------


def pool_clip_scores(clip_logits, score_pooling, clip_mask=None):
    """
    Scores of a video's clips to one score per label (section 3: mean-pooling, max-pooling, log-sum-exp).

    Args:
        clip_logits (`torch.FloatTensor` of shape `(texts, clips, labels)`): Scores of each clip.
        score_pooling (`str`): `"mean"`, `"max"` or `"lse"`.
        clip_mask (`torch.Tensor` of shape `(texts, clips)`, *optional*): 1 for clips that exist, at least one per
            text.

    Returns:
        `torch.FloatTensor` of shape `(texts, labels)`, in float32 or better.

    Raises:
        ValueError: If `score_pooling` is another word.

    Example:
        >>> pool_clip_scores(torch.tensor([[[1.0, 0.0], [3.0, 2.0]]]), "mean").tolist()
        [[2.0, 1.0]]
    """
    clip_logits = clip_logits.to(torch.promote_types(clip_logits.dtype, torch.float32))
    keep = None if clip_mask is None else clip_mask.bool()[..., None]  # (N, C, 1)
    if score_pooling == "mean":
        if keep is None:
            return clip_logits.mean(dim=1)
        return clip_logits.where(keep, 0.0).sum(dim=1) / keep.sum(dim=1)
    if keep is not None:
        clip_logits = clip_logits.where(keep, -math.inf)
    if score_pooling == "max":
        return clip_logits.max(dim=1).values
    if score_pooling == "lse":
        return clip_logits.logsumexp(dim=1)
    raise ValueError(f"score_pooling must be 'mean', 'max' or 'lse', got {score_pooling!r}.")


def _text_clip_mask(clip_mask, video_indices):
    """The `(videos, clips)` mask, which the base model has checked, as one row per text."""
    # torch takes bytes that select for a mask
    return clip_mask if clip_mask is None or video_indices is None else clip_mask[video_indices.long()]


class ClipBERTScoreHead(nn.Sequential):
    """Dropout, linear to twice the width, ReLU, linear (`classifier` of every official head)."""

    def __init__(self, config, num_outputs):
        super().__init__()
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.dense = nn.Linear(config.hidden_size, 2 * config.hidden_size)
        self.activation = nn.ReLU()
        self.out_proj = nn.Linear(2 * config.hidden_size, num_outputs)


class ClipBERTScoringModel(ClipBERTPreTrainedModel):
    """What the task heads share: score each clip, pool, compute the loss of the pooled scores."""

    loss_types: tuple[str, ...] = ()

    def __init__(self, config, default_loss_type):
        super().__init__(config)
        self.task_loss = config.loss_type or default_loss_type
        if self.task_loss not in self.loss_types:
            raise ValueError(
                f"{type(self).__name__} knows the losses {', '.join(map(repr, self.loss_types))}, "
                f"but config.loss_type is {self.task_loss!r}."
            )
        if config.score_pooling == "lse" and self.task_loss != "ce":
            raise ValueError(
                f"score_pooling='lse' does not go with the {self.task_loss!r} loss of {type(self).__name__}: log-sum-exp "
                "collects evidence for a soft-max over classes. Use 'mean' or 'max'."
            )
        self.clipbert = ClipBERTModel(config)

    def compute_loss(self, logits, labels, video_indices=None):
        """
        Loss of pooled scores (section 5 of the official recipe).

        Args:
            logits (`torch.FloatTensor` of shape `(texts, labels)`): Pooled scores.
            labels (`torch.Tensor`): As the head's `forward` takes them.
            video_indices (`torch.LongTensor` of shape `(texts,)`, *optional*): Needed by the ranking loss alone.

        Returns:
            `torch.FloatTensor` of shape `()`.
        """
        shape = tuple(logits.shape) if self.task_loss == "bce" else (logits.shape[0],)
        _check_label_shape("labels", labels, shape, f" for {type(self).__name__} with the {self.task_loss!r} loss")
        if self.task_loss == "ce":
            return _cross_entropy("labels", logits, labels)
        if self.task_loss == "bce":
            _check_scores(labels)
            # summed over classes, averaged over rows: the official loss multiplies its mean by the number of classes
            return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype)) * logits.shape[1]
        if self.task_loss == "mse":
            _check_finite("labels", labels, "They are numbers to be predicted.")
            return F.mse_loss(logits[:, 0], labels.to(logits.dtype))
        _check_integers("labels", labels, 0, 2, "1 for texts that belong to their video")
        return ranking_loss(torch.sigmoid(logits[:, 0]), labels, video_indices, self.config.margin)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        video_indices: torch.LongTensor | None = None,
        clip_mask: torch.Tensor | None = None,
        visual_embeds: torch.FloatTensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        pooled_only: bool = False,
        frame_indices: torch.LongTensor | None = None,
        frame_seconds: torch.DoubleTensor | None = None,
        video_metadata: list | None = None,
    ) -> tuple | ClipBERTScoreOutput:
        """
        Score every text with every clip of its video, pool over clips, compare with labels.

        Args:
            input_ids, pixel_values, attention_mask, video_indices, visual_embeds, output_attentions,
            output_hidden_states, pooled_only, frame_indices, frame_seconds, video_metadata: See [`ClipBERTModel.forward`].
            clip_mask (`torch.Tensor` of shape `(videos, clips)`, *optional*):
                1 for clips that exist; the others count for nothing. Every video needs at least one.
            labels (`torch.Tensor`, *optional*): See the class.

        Returns:
            [`ClipBERTScoreOutput`].

        Raises:
            ValueError: If shapes do not fit each other; both are named.
        """
        visual = _visual_input(pixel_values, visual_embeds)
        ids, mask, videos = self.texts_of_rows(input_ids, attention_mask, video_indices, visual)
        options = output_attentions, output_hidden_states, pooled_only
        outputs = self.clipbert(ids, pixel_values, mask, videos, clip_mask, visual_embeds, *options)
        clip_mask = _text_clip_mask(clip_mask, video_indices)
        clip_logits = self.score_clips(outputs.pooler_output, clip_mask)  # (texts, C, K)
        clip_logits = self.rows_of_texts(clip_logits, input_ids.shape[:-1])  # (N, C, K)
        return self.pooled_output(outputs, clip_logits, clip_mask, labels, video_indices)

    def texts_of_rows(self, input_ids, attention_mask, video_indices, visual):
        """`input_ids`, `attention_mask` and `video_indices` of the texts that are read for the rows of the inputs."""
        return input_ids, attention_mask, video_indices

    def rows_of_texts(self, clip_logits, rows):
        """Scores of texts as scores of rows."""
        return clip_logits

    def score_clips(self, pooler_output, clip_mask=None):
        """Scores `(texts, clips, labels)` of each clip on its own, from `(texts, clips, hidden_size)`."""
        return self.classifier(pooler_output)

    def pooled_output(self, outputs, clip_logits, clip_mask, labels, video_indices=None):
        logits = pool_clip_scores(clip_logits, self.config.score_pooling, clip_mask)  # (N, K)
        loss = None if labels is None else self.compute_loss(logits, labels, video_indices)
        return ClipBERTScoreOutput(loss=loss, logits=logits, clip_logits=clip_logits, **outputs)


def _check_label_shape(name, labels, expected, where=""):
    if not isinstance(labels, torch.Tensor) or tuple(labels.shape) != expected:
        got = tuple(labels.shape) if isinstance(labels, torch.Tensor) else type(labels).__name__
        raise ValueError(f"{name} must be a tensor of shape {expected}{where}, got {got}.")


def _check_scores(labels):
    if _values_are_known(labels) and not ((labels >= 0) & (labels <= 1)).all():
        raise ValueError(
            f"labels of the 'bce' loss are scores in [0, 1], got values from {labels.min()} to {labels.max()}."
        )


def _cross_entropy(name, logits, labels):
    """Mean over the rows whose label is not -100, of which there has to be one."""
    _check_integers(name, labels, 0, logits.shape[1], "the number of classes", ignored=-100)
    if _values_are_known(labels) and (labels == -100).all():
        raise ValueError(f"{name} are all -100, which leaves nothing to learn: leave them out, or the batch.")
    return F.cross_entropy(logits, labels.long())


def ranking_loss(scores, labels, video_indices, margin):
    """
    Hinge between the matching and every other text of the same video: mean of `max(0, margin + s_other - s_match)`.

    Args:
        scores (`torch.FloatTensor` of shape `(texts,)`): Matching scores.
        labels (`torch.LongTensor` of shape `(texts,)`): 1 for texts that belong to their video, 0 for others.
        video_indices (`torch.LongTensor` of shape `(texts,)`): The video each text was paired with.
        margin (`float`): Wanted distance, in units of the score.

    Returns:
        `torch.FloatTensor` of shape `()`.

    Raises:
        ValueError: If `video_indices` is missing, or no video has both kinds of text.

    Example:
        >>> ranking_loss(torch.tensor([0.5, 0.6]), torch.tensor([1, 0]), torch.tensor([0, 0]), margin=0.25).item()
        0.3500000238418579
    """
    if video_indices is None:
        raise ValueError("The ranking loss compares several texts of a video: pass video_indices.")
    match = labels == 1
    pairs = (video_indices[:, None] == video_indices[None, :]) & match[:, None] & ~match[None, :]
    if _values_are_known(pairs) and not pairs.any():
        raise ValueError(
            "The ranking loss needs a matching (label 1) and another text (label 0) of the same video, but no video has "
            f"both: labels {labels.tolist()}, video_indices {video_indices.tolist()}."
        )
    hinge = (margin + scores[None, :] - scores[:, None]).clamp(min=0)
    return hinge.where(pairs, 0.0).sum() / pairs.sum()


class ClipBERTForVideoTextRetrieval(ClipBERTScoringModel):
    """
    Does this text belong to this video? (`ClipBertForVideoTextRetrieval` of the official code.)

    With `loss_type="ce"` (default) there are two labels, 0 "another video" and 1 "this video". With `loss_type="rank"`
    and `num_labels=1` a hinge with `config.margin` separates the matching from the other texts of each video.

    `labels` of `forward` are `torch.LongTensor` of shape `(texts,)`: 1 if the text belongs to its video, else 0.

    Example:
        >>> from clipbert import ClipBERTForVideoTextRetrieval, VideoTextProcessor

        >>> model = ClipBERTForVideoTextRetrieval.from_pretrained("my-clipbert")  # doctest: +SKIP
        >>> processor = VideoTextProcessor.from_pretrained("my-clipbert")  # doctest: +SKIP
        >>> inputs = processor(text=["a dog runs"], videos=["dog.mp4"], return_tensors="pt")  # doctest: +SKIP
        >>> model.match_scores(model(**inputs).logits)  # doctest: +SKIP
    """

    loss_types = ("ce", "rank")

    def __init__(self, config):
        super().__init__(config, default_loss_type="ce")
        wanted = 2 if self.task_loss == "ce" else 1
        if config.num_labels != wanted:
            raise ValueError(
                f"Retrieval with the {self.task_loss!r} loss has {wanted} label(s), but config.num_labels is "
                f"{config.num_labels}."
            )
        self.classifier = ClipBERTScoreHead(config, config.num_labels)
        self.post_init()

    def encode_texts(self, input_ids, attention_mask=None):
        """What [`match`] needs of texts: the tokens themselves, because every pair is read together."""
        mask = {} if attention_mask is None else {"attention_mask": attention_mask}
        return {"input_ids": input_ids, **mask}

    def match(self, texts, videos, video_indices=None, clip_mask=None):
        """
        How well texts fit videos.

        Args:
            texts (`dict[str, torch.Tensor]`): What `encode_texts` returned, one row for each pair.
            videos (`torch.FloatTensor`): What `encode_videos` returned.
            video_indices (`torch.LongTensor` of shape `(pairs,)`, *optional*): The video of each pair; without it
                text `i` is paired with video `i`.
            clip_mask (`torch.Tensor` of shape `(videos, clips)`, *optional*): 1 for clips that exist.

        Returns:
            [`ClipBERTMatchOutput`].
        """
        return self(**texts, visual_embeds=videos, video_indices=video_indices, clip_mask=clip_mask, pooled_only=True)

    def pooled_output(self, outputs, clip_logits, clip_mask, labels, video_indices=None):
        scores = super().pooled_output(outputs, clip_logits, clip_mask, labels, video_indices)
        return ClipBERTMatchOutput(
            **scores, match_odds=self.log_odds(scores.logits), clip_odds=self.log_odds(clip_logits)
        )

    def log_odds(self, logits):
        """Log-odds `(...)` that text and video belong together, from `logits` `(..., labels)`."""
        return logits[..., 1] - logits[..., 0] if self.task_loss == "ce" else logits[..., 0]

    def match_scores(self, logits):
        """
        Pooled `logits` of shape `(texts, labels)` to scores `(texts,)` in [0, 1]: how well text and video fit, not
        calibrated.
        """
        return self.log_odds(logits).sigmoid()


class ClipBERTForVideoQA(ClipBERTScoringModel):
    """
    Open-ended questions about a video or an image, with the answers as classes (`ClipBertForSequenceClassification`).

    `labels` of `forward`: with `loss_type="ce"` (default) a `torch.LongTensor` of shape `(texts,)`, -100 to leave a
    question out; with `"bce"` soft scores, a `torch.FloatTensor` of shape `(texts, num_labels)` in [0, 1], whose loss
    is summed over answers and averaged over questions; with `num_labels=1`, numbers of shape `(texts,)` and squared
    error. `config.id2label` maps a class to its answer.
    """

    loss_types = ("ce", "bce", "mse")

    def __init__(self, config):
        super().__init__(config, default_loss_type="mse" if config.num_labels == 1 else "ce")
        if (self.task_loss == "mse") != (config.num_labels == 1):
            raise ValueError(
                f"The 'mse' loss goes with num_labels=1 and the others with more, but loss_type is {self.task_loss!r} and "
                f"num_labels={config.num_labels}."
            )
        self.classifier = ClipBERTScoreHead(config, config.num_labels)
        self.post_init()


class ClipBERTForMultipleChoice(ClipBERTScoringModel):
    """
    Questions with a few choices each (`ClipBertForMultipleChoice`): every choice is read with the video and gets one
    score, and a soft-max over the scores, pooled over clips, picks the answer.

    `input_ids` and `attention_mask` of `forward` have the shape `(questions, choices, length)`, `video_indices` the
    shape `(questions,)`, `labels` are a `torch.LongTensor` of shape `(questions,)` with the index of the right choice.
    `logits` is `(questions, choices)`, `clip_logits` is `(questions, clips, choices)`; the "texts" of the other
    outputs are the choices, question by question. `config.num_labels` does not matter: any number of choices can be
    scored.
    """

    loss_types = ("ce",)

    def __init__(self, config):
        super().__init__(config, default_loss_type="ce")
        self.classifier = ClipBERTScoreHead(config, 1)
        self.post_init()

    def texts_of_rows(self, input_ids, attention_mask, video_indices, visual):
        _check_texts(input_ids, attention_mask, video_indices, visual, self.config.vocab_size, row="question")
        num_questions, num_choices = input_ids.shape[:2]
        if video_indices is None:
            video_indices = torch.arange(num_questions, device=input_ids.device)
        attention_mask = None if attention_mask is None else attention_mask.flatten(0, 1)
        return input_ids.flatten(0, 1), attention_mask, video_indices.repeat_interleave(num_choices)

    def rows_of_texts(self, clip_logits, rows):
        # one score per choice and clip, then clips before choices
        return clip_logits.squeeze(-1).unflatten(0, rows).transpose(1, 2)  # (questions, C, choices)


class ClipBERTRegressionHead(nn.Module):
    """
    Linear, ELU, batch norm, dropout, linear (`regressor` of the official `ClipBertForRegression`).

    The batch norm of the official head is kept. Its statistics leave masked clips out.
    """

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.BatchNorm1d(config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.out_proj = nn.Linear(config.hidden_size, 1)

    def forward(self, pooled, clip_mask=None):
        # pooled: (N, C, D) -> (N, C, 1)
        hidden = F.elu(self.dense(pooled))
        if clip_mask is None or not self.training:
            hidden = self.norm(hidden.flatten(0, 1)).unflatten(0, pooled.shape[:2])
        else:
            hidden = self.normalise_existing(hidden, clip_mask.bool()[..., None])
        return self.out_proj(self.dropout(hidden))

    def normalise_existing(self, hidden, exists):
        """`self.norm` in training with the statistics of the clips that exist; shapes do not depend on the mask."""
        hidden, norm, count = hidden.to(self.norm.weight.dtype), self.norm, exists.sum()
        if _values_are_known(count) and count < 2:
            raise ValueError(
                f"The batch norm of {type(self).__name__} needs two clips or more in training, got {count}."
            )
        mean = hidden.where(exists, 0.0).sum(dim=(0, 1)) / count
        variance = (hidden - mean).where(exists, 0.0).square().sum(dim=(0, 1)) / count
        with torch.no_grad():
            norm.num_batches_tracked += 1
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * count / (count - 1), norm.momentum)
        return (hidden - mean) * (variance + norm.eps).rsqrt() * norm.weight + norm.bias


class ClipBERTForRegression(ClipBERTScoringModel):
    """
    A number for a video and a question, such as how often something happens (`ClipBertForRegression`, which no
    official script reaches).

    `labels` of `forward` are numbers of shape `(texts,)`; the loss is the squared error of the pooled score. `logits`
    has the shape `(texts, 1)`. While training a batch needs at least two clips, for the batch norm of the head.
    """

    loss_types = ("mse",)

    def __init__(self, config):
        super().__init__(config, default_loss_type="mse")
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.regressor = ClipBERTRegressionHead(config)
        self.post_init()

    def score_clips(self, pooler_output, clip_mask=None):
        return self.regressor(self.dropout(pooler_output), clip_mask)


class ClipBERTMaskedWordHead(nn.Module):
    """Linear, GELU, layer norm, decoder tied to the word embeddings (`cls.predictions` of BERT)."""

    def __init__(self, config):
        super().__init__()
        self.transform = nn.ModuleDict(
            {
                "dense": nn.Linear(config.hidden_size, config.hidden_size),
                "LayerNorm": nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps),
            }
        )
        self.activation = ACT2FN[config.hidden_act]
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden_states):
        hidden_states = self.activation(self.transform["dense"](hidden_states))
        return self.decoder(self.transform["LayerNorm"](hidden_states))


class ClipBERTPreTrainingHeads(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.predictions = ClipBERTMaskedWordHead(config)
        self.seq_relationship = nn.Linear(config.hidden_size, 2)


class ClipBERTForPreTraining(ClipBERTPreTrainedModel):
    """
    Masked words and image-text matching (section 3.1; `ClipBertForPreTraining`).

    Two faults of the official recipe are mended by default and come back with a setting: it averages the word loss
    over all positions (`mlm_loss_reduction="all"`) and predicts words of texts that belong to another image
    (`mlm_on_mismatched_pairs=True`).
    """

    _tied_weights_keys = {
        "cls.predictions.decoder.weight": "clipbert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def __init__(self, config):
        super().__init__(config)
        self.clipbert = ClipBERTModel(config)
        self.cls = ClipBERTPreTrainingHeads(config)
        self.post_init()

    def get_output_embeddings(self):
        return self.cls.predictions.decoder

    def set_output_embeddings(self, new_embeddings):
        self.cls.predictions.decoder = new_embeddings
        self.cls.predictions.bias = new_embeddings.bias

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        video_indices: torch.LongTensor | None = None,
        clip_mask: torch.Tensor | None = None,
        visual_embeds: torch.FloatTensor | None = None,
        mlm_labels: torch.LongTensor | None = None,
        itm_labels: torch.LongTensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        frame_indices: torch.LongTensor | None = None,
        frame_seconds: torch.DoubleTensor | None = None,
        video_metadata: list | None = None,
    ) -> tuple | ClipBERTForPreTrainingOutput:
        """
        Predict masked words, and whether the text belongs to the video.

        Args:
            input_ids, pixel_values, attention_mask, video_indices, clip_mask, visual_embeds, output_attentions,
            output_hidden_states, frame_indices, frame_seconds, video_metadata: As for the task heads.
            mlm_labels (`torch.LongTensor` of shape `(texts, length)`, *optional*):
                The words to predict, -100 where there is nothing to predict.
            itm_labels (`torch.LongTensor` of shape `(texts,)`, *optional*):
                1 if the text belongs to its video or image, 0 if not.

        Returns:
            [`ClipBERTForPreTrainingOutput`].

        Raises:
            ValueError: If shapes do not fit each other.
        """
        if mlm_labels is not None:
            _check_label_shape("mlm_labels", mlm_labels, tuple(input_ids.shape))
            _check_integers("mlm_labels", mlm_labels, 0, self.config.vocab_size, "the vocabulary", ignored=-100)
        if itm_labels is not None:
            _check_label_shape("itm_labels", itm_labels, tuple(input_ids.shape[:1]))
        options = output_attentions, output_hidden_states
        outputs = self.clipbert(
            input_ids, pixel_values, attention_mask, video_indices, clip_mask, visual_embeds, *options
        )
        clip_mask = _text_clip_mask(clip_mask, video_indices)
        words = outputs.last_hidden_state[:, :, : input_ids.shape[1]]  # (N, C, L, D)
        prediction_logits = self.cls.predictions(words)  # (N, C, L, vocabulary)
        clip_logits = self.cls.seq_relationship(outputs.pooler_output)  # (N, C, 2)
        matching_logits = pool_clip_scores(clip_logits, self.config.score_pooling, clip_mask)  # (N, 2)

        mlm_loss = itm_loss = None
        if mlm_labels is not None:
            mlm_loss = self.compute_mlm_loss(prediction_logits, mlm_labels, clip_mask, itm_labels)
        if itm_labels is not None:
            itm_loss = _cross_entropy("itm_labels", matching_logits, itm_labels)
        losses = [part for part in (mlm_loss, itm_loss) if part is not None]
        return ClipBERTForPreTrainingOutput(
            loss=sum(losses) if losses else None,
            mlm_loss=mlm_loss,
            itm_loss=itm_loss,
            prediction_logits=prediction_logits,
            seq_relationship_logits=matching_logits,
            clip_logits=clip_logits,
            **outputs,
        )

    def compute_mlm_loss(self, prediction_logits, mlm_labels, clip_mask=None, itm_labels=None):
        """
        Cross-entropy of the masked words, averaged as `config.mlm_loss_reduction` says; clips count alike.

        Args:
            prediction_logits (`torch.FloatTensor` of shape `(texts, clips, length, vocab_size)`): Scores of every
                word.
            mlm_labels (`torch.LongTensor` of shape `(texts, length)`): Words, -100 where there is nothing to predict.
            clip_mask (`torch.Tensor` of shape `(texts, clips)`, *optional*): 1 for clips that exist.
            itm_labels (`torch.LongTensor` of shape `(texts,)`, *optional*):
                Mismatched pairs (0) are left out unless `config.mlm_on_mismatched_pairs`.

        Returns:
            `torch.FloatTensor` of shape `()`; 0 when there is nothing to predict.
        """
        num_clips = prediction_logits.shape[1]
        labels = mlm_labels[:, None].expand(-1, num_clips, -1)  # (N, C, L)
        counted = torch.ones_like(labels, dtype=torch.bool)
        if clip_mask is not None:
            counted = counted & clip_mask.bool()[..., None]
        if itm_labels is not None and not self.config.mlm_on_mismatched_pairs:
            labels = labels.where((itm_labels == 1)[:, None, None], -100)
        labels = labels.where(counted, -100)
        scores = prediction_logits.to(torch.promote_types(prediction_logits.dtype, torch.float32))
        total = F.cross_entropy(scores.flatten(0, 2), labels.flatten(), ignore_index=-100, reduction="sum")
        count = counted if self.config.mlm_loss_reduction == "all" else labels != -100
        return total / count.sum().clamp(min=1)


__all__ = [
    "ClipBERTForMultipleChoice",
    "ClipBERTForPreTraining",
    "ClipBERTForRegression",
    "ClipBERTForVideoQA",
    "ClipBERTForVideoTextRetrieval",
    "ClipBERTModel",
    "ClipBERTPreTrainedModel",
    "pool_clip_scores",
]
