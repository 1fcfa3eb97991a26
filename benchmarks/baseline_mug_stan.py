# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Mug-STAN the official way, on the layers of our model: what `guidance.py` and `mug_stan_step.py` compare with.

The vision tower returns what all its layers say. STAN's tokens are one long sequence, place by place and frame by frame, which
is laid out anew for each module. Texts are padded to the configured length. Words and frames of all pairs are compared in one
piece, `(texts, videos, words, frames)`.
"""

import torch
import torch.nn.functional as F
from torchvision.ops import stochastic_depth

from clipbert.modeling_mug_stan import MugSTANForVideoClassification, MugSTANForVideoTextRetrieval


Model = MugSTANForVideoTextRetrieval | MugSTANForVideoClassification


# ----------------------------------------------------------------------------------------------------------------------
# Mutual guidance
# ----------------------------------------------------------------------------------------------------------------------


def score_in_one_piece(
    tokens: torch.Tensor, mask: torch.Tensor, frames: torch.Tensor, scale: float, mode: str
) -> torch.Tensor:
    """
    How well every text fits every video, `(texts, videos)`.

    Args:
        tokens (`torch.FloatTensor` of shape `(texts, words, width)`), mask (`torch.BoolTensor` of shape `(texts, words)`):
            Words, and which of them exist.
        frames (`torch.FloatTensor` of shape `(videos, frames, width)`): Frames.
        scale (`float`): τ.
        mode (`str`): `"mug_exact"` (equations 11 to 18) or `"mug"` (the average of the official code).
    """
    tokens, frames = F.normalize(tokens, dim=-1, eps=1e-6), F.normalize(frames, dim=-1, eps=1e-6)
    exists = mask[:, None, :, None]
    similarity = torch.einsum("anp,btp->abnt", tokens, frames)
    word_attention = (scale * similarity).masked_fill(~exists, -torch.inf).softmax(dim=2)
    frame_scores = (word_attention * similarity).sum(dim=2)  # (texts, videos, frames)
    frame_weights = (scale * frame_scores).softmax(dim=-1)
    frame_attention = (scale * similarity).softmax(dim=3)
    word_scores = (frame_attention * similarity).sum(dim=3)  # (texts, videos, words)
    word_weights = (scale * word_scores).masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1)
    if mode == "mug":
        return ((word_weights * word_scores).sum(dim=-1) + (frame_weights * frame_scores).sum(dim=-1)) / 2
    return torch.einsum("abn,abnt,abt->ab", word_weights, similarity, frame_weights)


# ----------------------------------------------------------------------------------------------------------------------
# Model
# ----------------------------------------------------------------------------------------------------------------------


def encode_frames(model: Model, pixel_values: torch.Tensor) -> torch.Tensor:
    """
    Features of frames `(videos, frames, width)`, of one branch with self-attention over time that reads the last layers.

    Args:
        pixel_values (`torch.FloatTensor` of shape `(videos, frames, 3, height, width)`): Frames.
    """
    clip, branch = model.mug_stan.clip, model.mug_stan.branches[0]
    embeddings = clip.vision_model.embeddings
    num_videos, num_frames = pixel_values.shape[:2]
    outputs = clip.vision_model(pixel_values.flatten(0, 1), output_hidden_states=True)
    read = [state.unflatten(0, (num_videos, num_frames)) for state in outputs.hidden_states[-len(branch.layers) :]]
    positions = embeddings.position_embedding.weight
    tokens = None
    layers = zip(read, branch.temporal_layers, branch.spatial_layers, strict=True)
    for k, (state, temporal, spatial) in enumerate(layers):
        video = state[:, :, :1].mean(dim=1)  # (videos, 1, D)
        patches = state[:, :, 1:].transpose(1, 2)  # (videos, places, frames, D)
        if k == 0:
            start = embeddings.class_embedding + positions[0]
            patches = patches + positions[1:, None] + branch.time_embedding.weight[:num_frames]
            tokens = torch.cat([(video + start) / 2, patches.flatten(1, 2)], dim=1)
        else:
            tokens = tokens + torch.cat([video, patches.flatten(1, 2)], dim=1)
        tokens = spatial_module(spatial, temporal_module(temporal, tokens, num_frames), num_frames)
    features = clip.vision_model.post_layernorm(read[-1][:, :, 0] + tokens[:, :1])
    return clip.visual_projection(features)


def temporal_module(layer, tokens, num_frames):
    # tokens: (videos, 1 + places * frames, D)
    places = tokens[:, 1:].unflatten(1, (-1, num_frames))  # (videos, places, frames, D)
    mixed, _ = layer.self_attn(layer.layer_norm1(places.flatten(0, 1)), attention_mask=None)
    mixed = layer.temporal_fc(stochastic_depth(mixed, layer.drop_path, "row", layer.training))
    return torch.cat([tokens[:, :1], tokens[:, 1:] + mixed.unflatten(0, places.shape[:2]).flatten(1, 2)], dim=1)


def spatial_module(layer, tokens, num_frames):
    video, places = tokens[:, :1], tokens[:, 1:].unflatten(1, (-1, num_frames))
    frames = torch.cat([video[:, None].repeat(1, num_frames, 1, 1), places.transpose(1, 2)], dim=2)
    attended, _ = layer.self_attn(layer.layer_norm1(frames.flatten(0, 1)), attention_mask=None)
    attended = stochastic_depth(attended, layer.drop_path, "row", layer.training).unflatten(0, frames.shape[:2])
    added = [attended[:, :, :1].mean(dim=1), attended[:, :, 1:].transpose(1, 2).flatten(1, 2)]
    tokens = tokens + torch.cat(added, dim=1)
    return tokens + layer.mlp(layer.layer_norm2(tokens))


def encode_words(model: Model, input_ids: torch.Tensor) -> torch.Tensor:
    """Features of words `(texts, words, width)`, of all places of the padded texts."""
    clip = model.mug_stan.clip
    return clip.text_projection(clip.text_model(input_ids).last_hidden_state)


def contrastive_loss(
    model: MugSTANForVideoTextRetrieval, pixel_values: torch.Tensor, input_ids: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Equation 19 on texts padded to the configured length."""
    config = model.config
    tokens, frames = encode_words(model, input_ids), encode_frames(model, pixel_values)
    scores = score_in_one_piece(tokens, mask, frames, config.head_scale, config.similarity)
    labels = torch.arange(len(scores), device=scores.device)
    return F.cross_entropy(config.loss_scale * scores, labels) + F.cross_entropy(config.loss_scale * scores.T, labels)


def classification_loss(
    model: MugSTANForVideoClassification,
    pixel_values: torch.Tensor,
    input_ids: torch.Tensor,
    mask: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """Equation 20, with the names of all classes encoded anew."""
    config = model.config
    with torch.no_grad():
        tokens = encode_words(model, input_ids)
    frames = encode_frames(model, pixel_values)
    scores = score_in_one_piece(tokens, mask, frames, config.head_scale, config.similarity)
    return F.cross_entropy(config.loss_scale * scores.T, labels)
