# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
CI-MHA: "Cross Interaction Network for Natural Language Guided Video Moment Retrieval" (SIGIR 2021,
https://doi.org/10.1145/3404835.3463021). A video and a sentence in; where in the video it happens out.

A video is a row of segments, a sentence a row of words. Each first attends to itself, then to the other; two networks, of
which the second one reads the first one's states, score every segment as start and as end, and a third head scores it as
inside.

    video_features (B, N, D_v)                       input_ids (Q, L)
    or pixel_values (B, N, K, 3, S, S)                   |  word vectors, BiLSTM       eq. 2
          |  projection, positions            eq. 1      |
          |  self-attention, skip             eq. 4      |  self-attention, skip       eq. 3
          |  feed-forward, positions          eq. 5      |  feed-forward               eq. 6
    video states (B, N, D)                           text states (Q, L, D)
          |  rows of `video_indices`                     |
          +-------------------- cross attention ---------+
                 words read segments          eq. 7
                 segments read words          eq. 8
                          |  words laid beside segments, join    eq. 9
                    fused (Q, N, 2D)
          +---------------+------------------+
     start network --> end network           |        eq. 10, 11
          |               |                  |
    start_logits     end_logits       segment_logits (Q, N)      eq. 12 to 16

What is unusual: everything above the cross attention does not know the other side, so a video is encoded once for any number
of sentences. Equation 9 joins rows of N segments with rows of L words, which is undefined as printed
(`config.fusion_alignment`), and without a skip, as printed too, one word gives every segment the same vector
(`config.cross_residual`). Neither attention nor LSTM ever reads padding.

Letters: B videos, Q queries, N segments of a video, K frames of a segment, L words, S x S pixels, D_v size of a segment's
vector, D hidden size.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .checks_ci_mha import (
    check_finite,
    check_integers,
    check_mask,
    check_moments,
    check_pairs,
    check_shape,
    check_videos,
)
from .configuration_ci_mha import CIMHAConfig
from .frames_ci_mha import CIMHAFrameEncoder, choose_grad_segments
from .losses_ci_mha import (
    boundary_distance,
    boundary_log_probabilities,
    boundary_nll,
    boundary_targets,
    inside_targets,
    segmentation_bce,
)
from .recurrent_ci_mha import CIMHABiLSTM
from .text_ci_mha import CIMHATextModel, CIMHAWordEncoder, CIMHAWordVectors


# ---------------------------------------------------------------------------------------------------------------------
# Outputs
# ---------------------------------------------------------------------------------------------------------------------


class EncodedVideos(NamedTuple):
    """
    Videos as far as no sentence is needed.

    Args:
        states (`torch.FloatTensor` of shape `(videos, segments, hidden_size)`): One state of each segment (eq. 5).
        mask (`torch.BoolTensor` of shape `(videos, segments)`): Segments that exist.
    """

    states: torch.Tensor
    mask: torch.Tensor


class EncodedTexts(NamedTuple):
    """
    Sentences as far as no video is needed.

    Args:
        states (`torch.FloatTensor` of shape `(queries, words, hidden_size)`): One state of each word (eq. 6).
        mask (`torch.BoolTensor` of shape `(queries, words)`): Words that exist.
    """

    states: torch.Tensor
    mask: torch.Tensor


@dataclass
class CIMHAModelOutput(ModelOutput):
    """
    What [`CIMHAModel`] returns.

    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(queries, segments, fused_size)`):
            What the heads read of each segment (s of eq. 9), 0 at padding. Twice the hidden size, or once with a single
            direction.
        segment_mask (`torch.BoolTensor` of shape `(queries, segments)`): Segments of each query's video that exist.
        word_attentions (`torch.FloatTensor` of shape `(queries, segments, words)`, *optional*):
            How much each segment reads each word (eq. 8), the mean over heads; with `output_attentions=True`, where
            segments read words.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True`):
            State of each segment before the cross interaction, and `last_hidden_state`.
        attentions (`tuple(torch.FloatTensor)`, *optional*, returned when `output_attentions=True`):
            Weights of the attentions there are, with heads: segments among each other `(videos, heads, segments, segments)`,
            words among each other `(queries, heads, words, words)`, words to segments `(queries, heads, words, segments)`,
            segments to words `(queries, heads, segments, words)`.
    """

    last_hidden_state: torch.FloatTensor | None = None
    segment_mask: torch.BoolTensor | None = None
    word_attentions: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class CIMHAMomentRetrievalOutput(ModelOutput):
    """
    What [`CIMHAForMomentRetrieval`] returns. Losses are there when positions are given.

    Args:
        loss (`torch.FloatTensor` of shape `()`): The sum of the others, by the weights of the config.
        start_loss, end_loss (`torch.FloatTensor` of shape `()`): Mean negative log-likelihood of a moment's first and last
            segment.
        segment_loss (`torch.FloatTensor` of shape `()`): Cross-entropy of inside and outside; `None` without that head.
        boundary_loss (`torch.FloatTensor` of shape `()`): Distance of the expected borders; `None` where it weighs nothing.
        start_logits, end_logits (`torch.FloatTensor` of shape `(queries, segments)`):
            Scores of each segment as the first and as the last one. In single precision, its least number for padding.
        segment_logits (`torch.FloatTensor` of shape `(queries, segments)`):
            Log-odds that a segment lies inside, likewise; `None` without that head.
        segment_mask (`torch.BoolTensor` of shape `(queries, segments)`): Segments of each query's video that exist.
        word_attentions, hidden_states, attentions: See [`CIMHAModelOutput`].
    """

    loss: torch.FloatTensor | None = None
    start_loss: torch.FloatTensor | None = None
    end_loss: torch.FloatTensor | None = None
    segment_loss: torch.FloatTensor | None = None
    boundary_loss: torch.FloatTensor | None = None
    start_logits: torch.FloatTensor | None = None
    end_logits: torch.FloatTensor | None = None
    segment_logits: torch.FloatTensor | None = None
    segment_mask: torch.BoolTensor | None = None
    word_attentions: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


# ---------------------------------------------------------------------------------------------------------------------
# Layers
# ---------------------------------------------------------------------------------------------------------------------


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Attention written out; the mask is boolean, True where a key exists. Without values it gives the weights alone."""
    weights = query @ key.transpose(2, 3) * scaling
    weights = weights.float().masked_fill(~attention_mask, torch.finfo(torch.float32).min)
    weights = weights.softmax(dim=-1).to(query.dtype)
    if value is None:
        return None, weights
    kept = F.dropout(weights, p=dropout, training=module.training)
    return (kept @ value).transpose(1, 2).contiguous(), weights


class CIMHAAttention(nn.Module):
    """
    Multi-head attention from one row of vectors to another.

    Args:
        config ([`CIMHAConfig`]): Settings.
        size (`int`): Of the vectors, a multiple of the heads.
        has_values (`bool`, *optional*, defaults to `True`): Without values it computes weights alone.
    """

    def __init__(self, config, size, has_values=True):
        super().__init__()
        if size % config.num_attention_heads:
            raise ValueError(
                f"Attention over vectors of {size} numbers cannot have {config.num_attention_heads} heads, which must divide "
                "it: choose num_attention_heads, or project_first=True."
            )
        self.config = config
        self.is_causal = False
        self.head_dim = size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size) if has_values else None
        self.output = nn.Linear(size, size) if has_values else None

    def heads(self, layer, vectors):
        return None if layer is None else layer(vectors).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def forward(self, queries, keys, mask, values=None, needs_weights=False):
        # queries: (R, M, size), keys and values: (R, S, size), mask: (R, S) -> (R, M, size), (R, heads, M, S) or None
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        if needs_weights or self.value is None:  # which fused implementations do not return
            attend = eager_attention_forward
        context, weights = attend(
            self,
            self.heads(self.query, queries),
            self.heads(self.key, keys),
            self.heads(self.value, keys if values is None else values),
            mask[:, None, None],
            scaling=self.scaling,
            dropout=self.config.dropout if self.training else 0.0,
        )
        return None if context is None else self.output(context.flatten(2)), weights


class CIMHAPositions(nn.Module):
    """A vector for the place of each segment, learnt or of sine waves, `(segments, size)`."""

    def __init__(self, config, size):
        super().__init__()
        self.size = size
        self.table = nn.Embedding(config.max_segments, size) if config.position_type == "learned" else None

    def forward(self, num_segments, device):
        places = torch.arange(num_segments, device=device)
        if self.table is not None:
            return self.table(places)
        half = -(-self.size // 2)
        rates = torch.exp(torch.arange(half, device=device) * (-math.log(10_000) / half))
        angles = places[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=-1)[:, : self.size]


class CIMHASelfInteraction(nn.Module):
    """Attention of segments, or of words, to each other, and its skip (eq. 3 and 4)."""

    def __init__(self, config, size):
        super().__init__()
        self.has_residual, self.norm_place = config.self_residual, config.norm
        self.attention = CIMHAAttention(config, size)
        self.norm = nn.LayerNorm(size) if config.norm != "none" else None

    def forward(self, states, mask, needs_weights=False):
        inputs = self.norm(states) if self.norm_place == "pre" else states
        read, weights = self.attention(inputs, inputs, mask, needs_weights=needs_weights)
        states = states + read if self.has_residual else read
        return self.norm(states) if self.norm_place == "post" else states, weights


class CIMHAFeedForward(nn.Sequential):
    """Two layers with a ReLU between them, of eq. 5 and 6."""

    def __init__(self, config, size):
        inner = 2 * config.hidden_size
        super().__init__(
            nn.Linear(size, inner), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(inner, config.hidden_size)
        )


class CIMHAVideoEncoder(nn.Module):
    """Vectors of segments to states that know their place and each other (eq. 1, 4 and 5)."""

    def __init__(self, config, feature_size):
        super().__init__()
        self.config = config
        size = feature_size * (2 if config.delta_features else 1) + (2 if config.temporal_endpoint_features else 0)
        has_positions = config.position_type != "none"
        self.projection, self.norm = None, None
        if config.project_first:
            self.projection = nn.Linear(size, config.hidden_size)
            self.norm = nn.LayerNorm(config.hidden_size)
            size = config.hidden_size
        if config.share_position_embeddings and size != config.hidden_size:
            raise ValueError(
                f"share_position_embeddings=True needs one size in both places, but features have {size} numbers and "
                f"hidden_size={config.hidden_size}: leave it out, or set project_first=True."
            )
        has_second = has_positions and config.positions_after and not config.share_position_embeddings
        self.positions_before = CIMHAPositions(config, size) if has_positions and config.positions_before else None
        self.positions_after = CIMHAPositions(config, config.hidden_size) if has_second else None
        self.dropout = nn.Dropout(config.dropout)
        self.self_interaction = CIMHASelfInteraction(config, size) if config.self_interaction else None
        self.feed_forward = CIMHAFeedForward(config, size)

    def prepare(self, features, mask):
        """Features as the config wants them: their length, their change, their place."""
        if self.config.normalize_features:
            features = F.normalize(features, dim=-1)
        parts, steps = [features], torch.arange(mask.shape[1], device=mask.device)
        if self.config.delta_features:
            parts.append(features - features.index_select(1, (steps - 1).clamp(min=0)))
        if self.config.temporal_endpoint_features:
            ends = torch.stack([steps, steps + 1], dim=-1) / mask.sum(dim=1)[:, None, None]
            parts.append(ends.to(features.dtype))
        return torch.cat(parts, dim=-1).where(mask[..., None], 0.0)

    def forward(self, features, mask, needs_weights=False):
        # features: (B, N, D_v), mask: (B, N) -> (B, N, D)
        states = self.prepare(features, mask)
        if self.projection is not None:
            states = self.projection(states)
        if self.positions_before is not None:
            states = states + self.positions_before(mask.shape[1], mask.device).to(states.dtype)
        if self.norm is not None:
            states = self.norm(states)
        states, weights = self.dropout(states), None
        if self.self_interaction is not None:
            states, weights = self.self_interaction(states, mask, needs_weights)
        states = self.feed_forward(states)
        positions = self.positions_before if self.config.share_position_embeddings else self.positions_after
        if positions is not None:
            states = states + positions(mask.shape[1], mask.device).to(states.dtype)
        return states.where(mask[..., None], 0.0), weights


class CIMHATextEncoder(nn.Module):
    """Words to states that know each other (eq. 2, 3 and 6)."""

    def __init__(self, config):
        super().__init__()
        self.encoder = (CIMHATextModel if config.text_encoder == "hf" else CIMHAWordEncoder)(config)
        size, self.projection = self.encoder.output_size, None
        if config.project_first and config.text_encoder == "hf":  # the LSTM writes D as it is
            self.projection = nn.Linear(size, config.hidden_size)
            size = config.hidden_size
        self.dropout = nn.Dropout(config.dropout)
        self.self_interaction = CIMHASelfInteraction(config, size) if config.self_interaction else None
        self.feed_forward = CIMHAFeedForward(config, size)

    def forward(self, input_ids, mask, needs_weights=False):
        # (Q, L), both -> (Q, L, D)
        states, weights = self.encoder(input_ids, mask), None
        states = self.dropout(states if self.projection is None else self.projection(states))
        if self.self_interaction is not None:
            states, weights = self.self_interaction(states, mask, needs_weights)
        return self.feed_forward(states).where(mask[..., None], 0.0), weights


class CIMHACrossInteraction(nn.Module):
    """
    Segments and words read each other, and what words have read is laid beside segments (eq. 7 to 9).

    `config.cross_interaction` takes away either direction, or both; then a segment stands beside one vector of the sentence.
    """

    def __init__(self, config):
        super().__init__()
        size, kind = config.hidden_size, config.cross_interaction
        segments_read, words_read = kind in ("both", "query_to_video"), kind in ("both", "video_to_query")
        self.has_residual = config.cross_residual
        self.alignment = config.fusion_alignment if words_read else None
        self.segments_read_words = CIMHAAttention(config, size) if segments_read else None
        self.words_read_segments = CIMHAAttention(config, size) if words_read else None
        self.align = None
        if self.alignment == "attention":
            self.align = CIMHAAttention(config, size)
        elif self.alignment == "coattention" and not segments_read:  # whose weights it takes
            self.align = CIMHAAttention(config, size, has_values=False)
        self.sentence_weights = nn.Linear(size, 1) if kind == "none" else None
        self.output_size = size * (1 if kind in ("query_to_video", "video_to_query") else 2)

    def forward(self, video, video_mask, words, word_mask, needs_weights=False):
        """
        Args:
            video (`torch.FloatTensor` of shape `(queries, segments, D)`): Of each query's video.
            words (`torch.FloatTensor` of shape `(queries, words, D)`).
            video_mask, word_mask (`torch.BoolTensor`): What exists of them.

        Returns:
            s of shape `(queries, segments, D or 2 * D)`, weights of words to segments and of segments to words, or `None`.
        """
        if self.sentence_weights is not None:
            weights = self.sentence_weights(words).masked_fill(~word_mask[..., None], torch.finfo(words.dtype).min)
            sentence = (weights.softmax(dim=1) * words).sum(dim=1, keepdim=True)
            fused = torch.cat([video, sentence.expand_as(video)], dim=-1)
            return fused.where(video_mask[..., None], 0.0), None, None
        parts, word_weights, segment_weights = [], None, None
        if self.segments_read_words is not None:  # eq. 8
            read, segment_weights = self.segments_read_words(
                video, words, word_mask, needs_weights=needs_weights or self.alignment == "coattention"
            )
            parts.append(read + video if self.has_residual else read)
        if self.words_read_segments is not None:  # eq. 7
            read, word_weights = self.words_read_segments(words, video, video_mask, needs_weights=needs_weights)
            beside, aligning = self.lay_beside(
                read.where(word_mask[..., None], 0.0), video, words, word_mask, segment_weights
            )
            if self.segments_read_words is None:  # nothing else carries the segment itself
                segment_weights, beside = aligning, beside + video if self.has_residual else beside
            parts.insert(0, beside)
        return torch.cat(parts, dim=-1).where(video_mask[..., None], 0.0), word_weights, segment_weights

    def lay_beside(self, read, video, words, word_mask, segment_weights):
        """What words have read, (Q, L, D), beside segments, (Q, N, D); and the weights that it was done by, if any."""
        if self.alignment == "coattention":
            if self.align is not None:
                segment_weights = self.align(video, words, word_mask)[1]
            return segment_weights.mean(dim=1) @ read, segment_weights
        if self.alignment == "attention":
            return self.align(video, words, word_mask, values=read)
        if self.alignment == "mean_pool":
            mean = read.sum(dim=1, keepdim=True) / word_mask.sum(dim=1)[:, None, None]
            return mean.expand_as(video), None
        steps = torch.arange(video.shape[1], device=video.device)  # "pad": word t beside segment t
        length = read.shape[1]
        rows = read.index_select(1, steps.clamp(max=length - 1))
        return rows.where((steps < length)[:, None], 0.0), None


class CIMHATransformerBlock(nn.Module):
    """In the place of an LSTM of the predictor: projection, self-attention, feed-forward, each with a skip (VSLNet)."""

    def __init__(self, config, input_size):
        super().__init__()
        size = config.hidden_size
        self.projection = nn.Linear(input_size, size)
        self.attention = CIMHAAttention(config, size)
        self.attention_norm = nn.LayerNorm(size)
        self.feed_forward = CIMHAFeedForward(config, size)
        self.feed_forward_norm = nn.LayerNorm(size)

    def forward(self, states, mask):
        states = self.projection(states)
        inputs = self.attention_norm(states)
        states = states + self.attention(inputs, inputs, mask)[0]
        states = states + self.feed_forward(self.feed_forward_norm(states))
        return states.where(mask[..., None], 0.0)


class CIMHAScorer(nn.Sequential):
    """The MLP of eq. 12, 13 and 15: one score of each segment."""

    def __init__(self, input_size, size):
        super().__init__(nn.Linear(input_size, size), nn.ReLU(), nn.Linear(size, 1))

    def forward(self, states):
        return super().forward(states)[..., 0]


class CIMHABoundaryPredictor(nn.Module):
    """Scores of each segment as start and as end; the network of the end reads that of the start (eq. 10 to 13)."""

    def __init__(self, config, fused_size):
        super().__init__()
        self.config = config
        size, end_size = config.hidden_size, fused_size if config.end_reads == "features" else config.hidden_size
        self.start_network = self._network(config, fused_size)
        self.end_network = self._network(config, end_size)
        head_size = size + fused_size if config.predictor_skip else size
        self.start_head = CIMHAScorer(head_size, size)
        self.end_head = CIMHAScorer(head_size, size)

    @staticmethod
    def _network(config, input_size):
        if config.predictor == "transformer":
            return CIMHATransformerBlock(config, input_size)
        return CIMHABiLSTM(input_size, config.hidden_size, config.rnn_backend, config.learned_initial_state)

    def forward(self, fused, mask):
        # fused: (Q, N, 2D), mask: (Q, N) -> (Q, N), (Q, N)
        given = mask if self.config.predictor == "transformer" else mask.sum(dim=1)
        start_states = self.start_network(fused, given)
        read = fused if self.config.end_reads == "features" else start_states
        if self.config.shift_start_states:
            steps = torch.arange(mask.shape[1], device=mask.device)
            read = read.index_select(1, (steps - 1).clamp(min=0)).where((steps > 0)[:, None], 0.0)
        end_states = self.end_network(read, given)
        if self.config.predictor_skip:
            start_states, end_states = (torch.cat([states, fused], dim=-1) for states in (start_states, end_states))
        return self.start_head(start_states), self.end_head(end_states)


# ---------------------------------------------------------------------------------------------------------------------
# Models
# ---------------------------------------------------------------------------------------------------------------------


class CIMHAPreTrainedModel(PreTrainedModel):
    """Weight initialisation and what transformers needs to know about every CI-MHA model."""

    config: CIMHAConfig
    base_model_prefix = "ci_mha"
    main_input_name = "input_ids"  # always there; a video is `video_features` or `pixel_values`
    input_modalities = ["video", "text"]
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _no_split_modules = ["CIMHAFrameEncoder", "CIMHAVideoEncoder", "CIMHATextEncoder", "CIMHACrossInteraction"]
    _supports_sdpa = _supports_attention_backend = True

    def __init__(self, config, *args, **kwargs):
        config.validate()  # values may have been assigned since it was made
        super().__init__(config, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, *args, output_loading_info=False, **kwargs):
        """
        As for every model of transformers. What the config freezes is frozen here too: loading puts new parameters into a
        model, all of them trained.
        """
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model.freeze()
        return (model, info) if output_loading_info else model

    def freeze(self):
        """Freeze what the config freezes. For a model whose parameters were replaced or set free."""
        for module in self.modules():
            if isinstance(module, (CIMHAFrameEncoder, CIMHATextModel)):
                module.freeze()

    @torch.no_grad()
    def _init_weights(self, module):
        # Frame encoder and text model have their own. The rest starts so that what passes a layer keeps its size: deviations
        # of 0.02 leave attention uniform for long, in a model this narrow and this shallow.
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):  # of a grid encoder
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        elif isinstance(module, nn.LSTM):
            bound = 1 / math.sqrt(module.hidden_size)
            for parameter in module.parameters():
                init.uniform_(parameter, -bound, bound)
        elif isinstance(module, CIMHABiLSTM) and module.initial_state is not None:
            init.zeros_(module.initial_state)
        elif isinstance(module, CIMHAWordVectors):
            init.zeros_(module.unknown)
        elif isinstance(module, CIMHAWordEncoder) and isinstance(module.word_embeddings, nn.Embedding):
            init.normal_(module.word_embeddings.weight, std=module.word_embeddings.embedding_dim**-0.5)


class CIMHAModel(CIMHAPreTrainedModel):
    """
    Video and sentence to one vector of each segment, without heads.

    Example:
        >>> import torch
        >>> from clipbert import CIMHAConfig, CIMHAModel

        >>> model = CIMHAModel(CIMHAConfig(video_feature_size=500)).eval()
        >>> outputs = model(torch.tensor([[4, 8, 2], [9, 1, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]]), torch.randn(2, 6, 500))
        >>> tuple(outputs.last_hidden_state.shape)
        (2, 6, 1024)
    """

    def __init__(self, config):
        super().__init__(config)
        self.frame_encoder = None if config.frame_encoder_config is None else CIMHAFrameEncoder(config)
        size = config.video_feature_size
        if self.frame_encoder is not None:
            own = self.frame_encoder.feature_size
            if size not in (None, own):
                raise ValueError(
                    f"video_feature_size={size}, but the frame encoder makes vectors of {own} numbers: leave it out."
                )
            size = config.video_feature_size = own
        self.video_encoder = CIMHAVideoEncoder(config, size)
        self.text_encoder = CIMHATextEncoder(config)
        self.cross_interaction = CIMHACrossInteraction(config)
        self.num_grad_segments: int | None = None  # set by `keep_gradients`
        self.post_init()

    def get_input_embeddings(self):
        encoder = self.text_encoder.encoder
        return encoder.model.get_input_embeddings() if self.config.text_encoder == "hf" else encoder.word_embeddings

    def set_input_embeddings(self, value):
        encoder = self.text_encoder.encoder
        if self.config.text_encoder == "hf":
            encoder.model.set_input_embeddings(value)
        else:
            encoder.word_embeddings = value

    # 1. videos

    def encode_frames(self, pixel_values):
        """See [`CIMHAForMomentRetrieval.encode_frames`]."""
        if self.frame_encoder is None:
            raise ValueError(
                "This model has no frame encoder (frame_encoder_config is missing): it reads video_features, which "
                "something else has made."
            )
        check_shape("pixel_values", pixel_values, "(frames, 3, height, width)", 4)
        return self.frame_encoder.encode(pixel_values, self.config.frame_chunk_size)

    def segment_features(self, pixel_values, video_mask, frame_mask=None, has_grad=None):
        """
        Vectors of segments: the mean over the vectors of their frames.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(videos, segments, frames, 3, height, width)`).
            video_mask (`torch.BoolTensor` of shape `(videos, segments)`): Segments that exist; the others are not looked at.
            frame_mask (`torch.Tensor` of shape `(videos, segments, frames)`, *optional*): Frames that exist.
            has_grad (`torch.BoolTensor` of shape `(videos, segments)`, *optional*):
                Segments whose frames keep a gradient; all others build no graph.

        Returns:
            `torch.FloatTensor` of shape `(videos, segments, features)`, 0 for segments that do not exist.
        """
        exists = video_mask[..., None].expand(pixel_values.shape[:3])
        if frame_mask is not None:
            exists = exists & frame_mask.to(exists.device).bool()
        if torch.compiler.is_compiling():  # shapes must not depend on the mask
            frames = pixel_values.where(exists[..., None, None, None], 0.0).flatten(0, 2)
            vectors = self.encode_frames(frames).unflatten(0, exists.shape).where(exists[..., None], 0.0)
        else:
            frames = pixel_values[exists]  # (M, 3, S, S)
            check_finite(
                "pixel_values", frames, "Look at the videos, and at image_mean and image_std of the processor."
            )
            keeps = None if has_grad is None else has_grad[..., None].expand(exists.shape)[exists]
            found = self._encode_some(frames, keeps)
            vectors = found.new_zeros(*exists.shape, found.shape[-1]).masked_scatter(exists[..., None], found)
        return vectors.sum(dim=2) / exists.sum(dim=2).clamp(min=1)[..., None]

    def _encode_some(self, frames, keeps):
        """Vectors `(M, D_v)` of frames, of which those that `keeps` alone build a graph, the others as many at a time."""
        if keeps is None or bool(keeps.all()):
            return self.encode_frames(frames)
        config, num_kept = self.config, max(int(keeps.sum()), 1)
        size = config.frame_chunk_size
        if not config.train_batchnorm:  # whose statistics are those of a chunk
            size = num_kept if size is None else min(size, num_kept)
        with torch.no_grad():
            rest = self.frame_encoder.encode(frames[~keeps], size)
        vectors = rest.new_zeros(len(frames), rest.shape[-1]).masked_scatter(~keeps[:, None], rest)
        if not bool(keeps.any()):
            return vectors
        return vectors.masked_scatter(keeps[:, None], self.encode_frames(frames[keeps]))

    def keep_gradients(self, num_segments: int | None) -> None:
        """
        Train the frame encoder on a few segments of each video in every step (section 12).

        They are drawn, half of them inside a moment that is asked for and half outside; the others are encoded without a
        graph, so that memory is that of these few. A number that is not below that of a video's segments changes nothing.

        Args:
            num_segments (`int`, *optional*): How many; `None` for all.

        Raises:
            ValueError: If the number is below 1.
        """
        if num_segments is not None and num_segments < 1:
            raise ValueError(f"num_segments must be at least 1, or None for all of them; got {num_segments}.")
        self.num_grad_segments = num_segments

    def encode_videos(
        self,
        video_features=None,
        pixel_values=None,
        video_mask=None,
        frame_mask=None,
        is_inside=None,
        grad_segments=None,
    ):
        """See [`CIMHAForMomentRetrieval.encode_videos`]."""
        return self._encode_videos(video_features, pixel_values, video_mask, frame_mask, is_inside, grad_segments)[0]

    def _encode_videos(
        self,
        video_features,
        pixel_values,
        video_mask,
        frame_mask=None,
        is_inside=None,
        grad_segments=None,
        needs_weights=False,
    ):
        config = self.config
        shape, device = check_videos(config, video_features, pixel_values, frame_mask, grad_segments)
        exists = check_mask("video_mask", video_mask, shape, "segment", device, is_prefix=True)
        if pixel_values is None or grad_segments is not None:
            check_finite("video_features", video_features, "Look at the feature files.", exists)
            features = video_features.to(self.dtype).where(exists[..., None], 0.0)
        if grad_segments is not None:
            places = grad_segments.to(device).clamp(min=0)
            is_real = exists.gather(1, places) & (grad_segments >= 0).to(device)
            fresh = self.segment_features(pixel_values, is_real, frame_mask).to(features.dtype)
            fresh = fresh.where(is_real[..., None], features.gather(1, places[..., None].expand_as(fresh)))
            features = features.scatter(1, places[..., None].expand_as(fresh), fresh)
        elif pixel_values is not None:
            has_grad = None
            if self.training and self.num_grad_segments is not None and config.frame_encoder_trainable:
                is_inside = torch.zeros_like(exists) if is_inside is None else is_inside
                has_grad = choose_grad_segments(is_inside, exists, self.num_grad_segments)
            features = self.segment_features(pixel_values, exists, frame_mask, has_grad).to(self.dtype)
        states, weights = self.video_encoder(features, exists, needs_weights)
        return EncodedVideos(states, exists), weights

    # 2. sentences

    def encode_texts(self, input_ids, attention_mask=None):
        """See [`CIMHAForMomentRetrieval.encode_texts`]."""
        return self._encode_texts(input_ids, attention_mask)[0]

    def _encode_texts(self, input_ids, attention_mask, needs_weights=False):
        check_shape("input_ids", input_ids, "(queries, words)", 2)
        exists = check_mask("attention_mask", attention_mask, input_ids.shape, "word", input_ids.device)
        input_ids = input_ids.where(exists, 0)  # whatever stands in padding
        check_integers(
            "input_ids", input_ids, 0, self.config.get_text_config().vocab_size - 1, "the words (vocab_size)"
        )
        states, weights = self.text_encoder(input_ids, exists, needs_weights)
        return EncodedTexts(states, exists), weights

    # 3. both

    def interact(self, texts, videos, video_indices=None, output_attentions=False):
        """
        Let encoded sentences and videos read each other.

        Args:
            texts ([`EncodedTexts`]): Of `encode_texts`.
            videos ([`EncodedVideos`]): Of `encode_videos`.
            video_indices (`torch.LongTensor` of shape `(queries,)`, *optional*): The video of each; without it one each.
            output_attentions (`bool`, *optional*, defaults to `False`): Return weights of the two directions.

        Returns:
            [`CIMHAModelOutput`].

        Raises:
            ValueError: If numbers do not fit each other.
        """
        check_pairs(texts[0].shape[0], videos[0].shape[0], video_indices)  # `len` would fix them for export
        video, video_mask = (part if video_indices is None else part[video_indices] for part in videos)
        fused, word_weights, segment_weights = self.cross_interaction(video, video_mask, *texts, output_attentions)
        return CIMHAModelOutput(
            last_hidden_state=fused,
            segment_mask=video_mask,
            word_attentions=segment_weights.mean(dim=1) if output_attentions and segment_weights is not None else None,
            hidden_states=(video, fused),
            attentions=(word_weights, segment_weights),
        )

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        video_features: torch.FloatTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        video_mask: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
        video_indices: torch.LongTensor | None = None,
        grad_segments: torch.LongTensor | None = None,
        is_inside: torch.BoolTensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        durations: torch.Tensor | list | None = None,
        starts_s: torch.Tensor | None = None,
        frame_indices: torch.Tensor | None = None,
        frame_seconds: torch.Tensor | None = None,
        video_metadata: list | None = None,
    ) -> tuple | CIMHAModelOutput:
        """
        Let sentences and videos read each other.

        Args:
            input_ids (`torch.LongTensor` of shape `(queries, words)`): Words of each sentence.
            attention_mask (`torch.Tensor` of shape `(queries, words)`, *optional*): 1 for words that exist.
            video_features (`torch.FloatTensor` of shape `(videos, segments, features)`, *optional*): Vectors of segments.
            pixel_values (`torch.FloatTensor` of shape `(videos, segments, frames, 3, height, width)`, *optional*):
                Instead, or beside them (`grad_segments`), frames as the processor makes them.
            video_mask (`torch.Tensor` of shape `(videos, segments)`, *optional*):
                1 for segments that exist, which come first. The others are not looked at.
            frame_mask (`torch.Tensor` of shape `(videos, segments, frames)`, *optional*): 1 for frames that exist.
            video_indices (`torch.LongTensor` of shape `(queries,)`, *optional*):
                Which video each sentence asks of; without it there is one for each.
            grad_segments (`torch.LongTensor` of shape `(videos, shown)`, *optional*):
                `video_features` holds all segments, and `pixel_values` the frames of these alone, with a gradient; -1 for none.
            is_inside (`torch.BoolTensor` of shape `(videos, segments)`, *optional*):
                Segments of a moment, of which half of those that `keep_gradients` draws are taken.
            output_attentions, output_hidden_states (`bool`, *optional*): Return them too.
            durations, starts_s, frame_indices, frame_seconds, video_metadata (*optional*):
                What a processor adds. Not read: `model(**processor(...))` works with them.

        Returns:
            [`CIMHAModelOutput`].

        Raises:
            ValueError: If shapes do not fit each other, a video has no segment, or a sentence no word.
        """
        config = self.config
        with_weights = config.output_attentions if output_attentions is None else output_attentions
        with_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        videos, video_weights = self._encode_videos(
            video_features, pixel_values, video_mask, frame_mask, is_inside, grad_segments, with_weights
        )
        texts, text_weights = self._encode_texts(input_ids, attention_mask, with_weights)
        outputs = self.interact(texts, videos, video_indices, with_weights)
        weights = (video_weights, text_weights, *outputs.attentions)
        return CIMHAModelOutput(
            last_hidden_state=outputs.last_hidden_state,
            segment_mask=outputs.segment_mask,
            word_attentions=outputs.word_attentions,
            hidden_states=outputs.hidden_states if with_states else None,
            attentions=tuple(each for each in weights if each is not None) if with_weights else None,
        )


class CIMHAForMomentRetrieval(CIMHAPreTrainedModel):
    """
    Where in a video a sentence happens: scores of each segment as the first, as the last one, and as inside.

    Videos and sentences can be encoded apart, so that a hundred sentences of one video encode it once:
    `match_moments(encode_texts(...), encode_videos(...), video_indices)` is `forward` without losses. Scores become seconds
    by `post_process_moments` of the processor, or `decode_moments` of `moment_spans.py`.

    Example:
        >>> import torch
        >>> from clipbert import CIMHAConfig, CIMHAForMomentRetrieval

        >>> model = CIMHAForMomentRetrieval(CIMHAConfig(video_feature_size=500)).eval()
        >>> videos = model.encode_videos(video_features=torch.randn(1, 60, 500))
        >>> texts = model.encode_texts(torch.tensor([[4, 8, 2], [9, 1, 5]]))
        >>> outputs = model.match_moments(texts, videos, video_indices=torch.tensor([0, 0]))
        >>> tuple(outputs.start_logits.shape)
        (2, 60)
    """

    def __init__(self, config):
        super().__init__(config)
        self.ci_mha = CIMHAModel(config)
        fused_size = self.ci_mha.cross_interaction.output_size
        self.predictor = CIMHABoundaryPredictor(config, fused_size)
        self.segment_head = CIMHAScorer(fused_size, config.hidden_size) if config.segmentation else None
        self.post_init()

    @property
    def frame_encoder(self) -> CIMHAFrameEncoder | None:
        """The part that turns frames into vectors, each by itself; `None` in a model of feature files."""
        return self.ci_mha.frame_encoder

    @property
    def frame_feature_size(self) -> int:
        """D_v, the size of the vector of a frame or a segment."""
        return self.config.video_feature_size

    def encode_frames(self, pixel_values):
        """
        Vectors of frames, `config.frame_chunk_size` at a time. That of a segment is the mean over its frames.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(frames, 3, height, width)`): As the processor makes them.

        Returns:
            `torch.FloatTensor` of shape `(frames, features)`.

        Raises:
            ValueError: If the shape is another, or the model has no frame encoder.
        """
        return self.ci_mha.encode_frames(pixel_values)

    def encode_videos(self, video_features=None, pixel_values=None, video_mask=None, frame_mask=None):
        """
        Videos as far as no sentence is needed.

        Args:
            video_features, pixel_values, video_mask, frame_mask: See [`CIMHAModel.forward`].

        Returns:
            [`EncodedVideos`], a tuple of tensors whose first axis is that of the videos.
        """
        return self.ci_mha.encode_videos(video_features, pixel_values, video_mask, frame_mask)

    def encode_texts(self, input_ids, attention_mask=None):
        """
        Sentences as far as no video is needed.

        Args:
            input_ids, attention_mask: See [`CIMHAModel.forward`].

        Returns:
            [`EncodedTexts`], a tuple of tensors whose first axis is that of the sentences.
        """
        return self.ci_mha.encode_texts(input_ids, attention_mask)

    def match_moments(self, texts, videos, video_indices=None, output_attentions=False):
        """
        Scores of each segment of each sentence's video.

        Args:
            texts ([`EncodedTexts`]): Of `encode_texts`.
            videos ([`EncodedVideos`]): Of `encode_videos`.
            video_indices (`torch.LongTensor` of shape `(queries,)`, *optional*): The video of each; without it one each.
            output_attentions (`bool`, *optional*, defaults to `False`): Return `word_attentions` too.

        Returns:
            [`CIMHAMomentRetrievalOutput`] without losses.
        """
        outputs = self.ci_mha.interact(texts, videos, video_indices, output_attentions)
        return self._score(outputs, word_attentions=outputs.word_attentions)

    def _score(self, outputs, **fields):
        """Outputs of the heads, masked in single precision: its least number would overflow in half."""
        fused, mask = outputs.last_hidden_state, outputs.segment_mask
        logits = [*self.predictor(fused, mask), None if self.segment_head is None else self.segment_head(fused)]
        start, end, inside = (None if each is None else _fill_padding(each, mask) for each in logits)
        return CIMHAMomentRetrievalOutput(
            start_logits=start, end_logits=end, segment_logits=inside, segment_mask=mask, **fields
        )

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        video_features: torch.FloatTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        video_mask: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
        video_indices: torch.LongTensor | None = None,
        window_groups: torch.LongTensor | None = None,
        start_positions: torch.LongTensor | None = None,
        end_positions: torch.LongTensor | None = None,
        segment_labels: torch.Tensor | None = None,
        grad_segments: torch.LongTensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        durations: torch.Tensor | list | None = None,
        starts_s: torch.Tensor | None = None,
        frame_indices: torch.Tensor | None = None,
        frame_seconds: torch.Tensor | None = None,
        video_metadata: list | None = None,
    ) -> tuple | CIMHAMomentRetrievalOutput:
        """
        Score the segments of each sentence's video, and compare them with a moment.

        Args:
            input_ids, attention_mask, video_features, pixel_values, video_mask, frame_mask, video_indices, grad_segments,
            output_attentions, output_hidden_states, durations, starts_s, frame_indices, frame_seconds, video_metadata: See
                [`CIMHAModel.forward`].
            window_groups (`torch.LongTensor` of shape `(queries,)`, *optional*):
                Rows with the same number are windows of one question: their segments share one soft-max.
            start_positions, end_positions (`torch.LongTensor` of shape `(queries,)`, *optional*):
                First and last segment of each moment, -100 where the video, or window, does not have it.
            segment_labels (`torch.Tensor` of shape `(queries, segments)`, *optional*):
                1 for segments inside; by default what lies between the positions.

        Returns:
            [`CIMHAMomentRetrievalOutput`].

        Raises:
            ValueError: If shapes do not fit each other, a video has no segment, or a position is none of its segments.
        """
        has_moments = start_positions is not None and end_positions is not None
        if (start_positions is None) != (end_positions is None):
            raise ValueError("start_positions and end_positions go together, got one of them.")
        is_inside = None
        if has_moments and self.training and self.ci_mha.num_grad_segments is not None and pixel_values is not None:
            steps = torch.arange(pixel_values.shape[1], device=start_positions.device)
            of_queries = (steps >= start_positions[:, None]) & (steps <= end_positions[:, None])
            rows = torch.arange(len(of_queries), device=steps.device) if video_indices is None else video_indices
            is_inside = of_queries.new_zeros(pixel_values.shape[:2], dtype=torch.long)
            is_inside = is_inside.index_add(0, rows, of_queries.long()) > 0  # of any sentence
        outputs = self.ci_mha(
            input_ids,
            attention_mask,
            video_features,
            pixel_values,
            video_mask,
            frame_mask,
            video_indices,
            grad_segments,
            is_inside,
            output_attentions,
            output_hidden_states,
            return_dict=True,
        )
        result = self._score(
            outputs,
            word_attentions=outputs.word_attentions,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
        if has_moments:
            losses = self.compute_losses(result, start_positions, end_positions, segment_labels, window_groups)
            for name, value in losses.items():
                result[name] = value
        return result

    def compute_losses(self, outputs, start_positions, end_positions, segment_labels=None, window_groups=None):
        """
        Losses of the scores of `match_moments` (section 9).

        Args:
            outputs ([`CIMHAMomentRetrievalOutput`]): Scores.
            start_positions, end_positions, segment_labels, window_groups: See `forward`.

        Returns:
            `dict[str, torch.FloatTensor]`: `loss`, and its terms `start_loss`, `end_loss`, `segment_loss`, `boundary_loss`
            as far as there are any.
        """
        config, mask = self.config, outputs.segment_mask
        check_moments(start_positions, end_positions, mask)
        if segment_labels is not None:
            check_shape("segment_labels", segment_labels, "(queries, segments)", 2, mask.shape)
        if window_groups is not None:
            check_shape("window_groups", window_groups, "(queries,)", 1, mask.shape[:1])
        start_positions, end_positions = start_positions.to(mask.device), end_positions.to(mask.device)
        losses, distance = {}, 0.0
        sides = (("start", outputs.start_logits, start_positions), ("end", outputs.end_logits, end_positions))
        for name, logits, positions in sides:
            log_probabilities = boundary_log_probabilities(logits, window_groups)
            targets = boundary_targets(positions, mask, config.soft_targets)
            losses[f"{name}_loss"] = boundary_nll(log_probabilities, targets, mask)
            if config.boundary_regression_weight:
                distance = distance + boundary_distance(log_probabilities, positions, mask)
        loss = config.start_end_loss_weight * (losses["start_loss"] + losses["end_loss"])
        if outputs.segment_logits is not None:
            if segment_labels is None:
                segment_labels = inside_targets(start_positions, end_positions, mask, config.segment_extend)
            losses["segment_loss"] = segmentation_bce(
                outputs.segment_logits, segment_labels, mask, config.segment_pos_weight
            )
            loss = loss + config.segmentation_loss_weight * losses["segment_loss"]
        if config.boundary_regression_weight:
            losses["boundary_loss"] = distance
            loss = loss + config.boundary_regression_weight * distance
        return {"loss": loss, **losses}


def _fill_padding(logits, mask):
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.masked_fill(~mask, torch.finfo(logits.dtype).min)


__all__ = [
    "CIMHAForMomentRetrieval",
    "CIMHAModel",
    "CIMHAModelOutput",
    "CIMHAMomentRetrievalOutput",
    "CIMHAPreTrainedModel",
    "EncodedTexts",
    "EncodedVideos",
]
