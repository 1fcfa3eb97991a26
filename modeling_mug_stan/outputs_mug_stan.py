# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the classes of Mug-STAN return. Letters as in `modeling_mug_stan.py`."""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput


@dataclass
class MugSTANVideoOutput(ModelOutput):
    """
    What `encode_video` returns. The dimension of the views is there if the inputs have it.

    Args:
        frame_features (`torch.FloatTensor` of shape `(videos, views, frames, P)`): Of every frame, not normalised.
        pooler_output (`torch.FloatTensor` of shape `(videos, P)`): Their mean, one vector for a video.
        last_hidden_state (`torch.FloatTensor` of shape `(videos, views, frames, tokens, D)`, *optional*):
            Tokens of CLIP and branch together, before the last norm (equation 10); returned with `output_tokens=True`.
        stan_class_state (`torch.FloatTensor` of shape `(videos, views, D)`, *optional*):
            The class token of all branches; with `output_tokens=True`, where there is one.
        stan_patch_states (`torch.FloatTensor` of shape `(videos, views, frames, patches, D)`, *optional*):
            The patches of all branches; with `output_tokens=True`, where there is a branch.
    """

    frame_features: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    stan_class_state: torch.FloatTensor | None = None
    stan_patch_states: torch.FloatTensor | None = None


@dataclass
class MugSTANTextOutput(ModelOutput):
    """
    What `encode_text` returns.

    Args:
        token_features (`torch.FloatTensor` of shape `(texts, length, P)`): Of every token, not normalised.
        attention_mask (`torch.Tensor` of shape `(texts, length)`): 1 for tokens, 0 for padding.
        pooler_output (`torch.FloatTensor` of shape `(texts, P)`): One vector for a text.
    """

    token_features: torch.FloatTensor | None = None
    attention_mask: torch.Tensor | None = None
    pooler_output: torch.FloatTensor | None = None


@dataclass
class MugSTANModelOutput(ModelOutput):
    """
    What [`MugSTANModel`] returns.

    Args:
        text_embeds (`torch.FloatTensor` of shape `(texts, P)`), video_embeds (`torch.FloatTensor` of shape `(videos, P)`):
            One vector for each.
        token_features, attention_mask: See [`MugSTANTextOutput`].
        frame_features, last_hidden_state, stan_class_state, stan_patch_states: See [`MugSTANVideoOutput`].
    """

    text_embeds: torch.FloatTensor | None = None
    video_embeds: torch.FloatTensor | None = None
    token_features: torch.FloatTensor | None = None
    attention_mask: torch.Tensor | None = None
    frame_features: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    stan_class_state: torch.FloatTensor | None = None
    stan_patch_states: torch.FloatTensor | None = None


@dataclass
class MugSTANRetrievalOutput(ModelOutput):
    """
    What [`MugSTANForVideoTextRetrieval`] returns.

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*): Both directions of the contrastive loss, summed.
        match_odds (`torch.FloatTensor` of shape `(texts,)`, *optional*):
            Score of each text with its own video, where it is said which one that is.
        clip_odds (`torch.FloatTensor` of shape `(texts, views)`, *optional*): The same of each view.
        logits_per_text (`torch.FloatTensor` of shape `(texts, videos)`, *optional*): Scores of all pairs.
        logits_per_video (`torch.FloatTensor` of shape `(videos, texts)`, *optional*): The same, transposed.
        text_embeds, video_embeds, token_features, attention_mask, frame_features: See [`MugSTANModelOutput`].
    """

    loss: torch.FloatTensor | None = None
    match_odds: torch.FloatTensor | None = None
    clip_odds: torch.FloatTensor | None = None
    logits_per_text: torch.FloatTensor | None = None
    logits_per_video: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    video_embeds: torch.FloatTensor | None = None
    token_features: torch.FloatTensor | None = None
    attention_mask: torch.Tensor | None = None
    frame_features: torch.FloatTensor | None = None


@dataclass
class MugSTANExplanation(ModelOutput):
    """
    What `explain` returns: which frames words speak of, and which words speak of frames.

    Args:
        similarity (`torch.FloatTensor` of shape `(pairs, views, length, frames)`): Cosine of every word and frame.
        frame_weights (`torch.FloatTensor` of shape `(pairs, views, frames)`): How much each frame counts, sum 1.
        word_weights (`torch.FloatTensor` of shape `(pairs, views, length)`): How much each word counts, sum 1; 0 for
            padding.
        frame_scores, word_scores: What they are the soft-max of.
        word_attention (`torch.FloatTensor` of shape `(pairs, views, length, frames)`): How frames attend to words.
        frame_attention (`torch.FloatTensor` of shape `(pairs, views, length, frames)`): How words attend to frames.
        text_guided_video, video_guided_text (`torch.FloatTensor` of shape `(pairs, views, P)`): What they agree upon.
    """

    similarity: torch.FloatTensor | None = None
    frame_weights: torch.FloatTensor | None = None
    word_weights: torch.FloatTensor | None = None
    frame_scores: torch.FloatTensor | None = None
    word_scores: torch.FloatTensor | None = None
    word_attention: torch.FloatTensor | None = None
    frame_attention: torch.FloatTensor | None = None
    text_guided_video: torch.FloatTensor | None = None
    video_guided_text: torch.FloatTensor | None = None


@dataclass
class MugSTANVideoClassifierOutput(ModelOutput):
    """
    What [`MugSTANForVideoClassification`] returns.

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*, returned when labels are given): Of the pooled scores.
        logits (`torch.FloatTensor` of shape `(videos, classes)`): Scores pooled over views.
        view_logits (`torch.FloatTensor` of shape `(videos, views, classes)`): Scores of each view.
        frame_features: See [`MugSTANVideoOutput`].
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    view_logits: torch.FloatTensor | None = None
    frame_features: torch.FloatTensor | None = None


@dataclass
class MugSTANActionDetectionOutput(ModelOutput):
    """
    What [`MugSTANForActionDetection`] returns.

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*, returned when labels are given): Binary cross-entropy.
        logits (`torch.FloatTensor` of shape `(boxes, classes)`): Log-odds of each action in each box.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None


__all__ = [
    "MugSTANActionDetectionOutput",
    "MugSTANExplanation",
    "MugSTANModelOutput",
    "MugSTANRetrievalOutput",
    "MugSTANTextOutput",
    "MugSTANVideoClassifierOutput",
    "MugSTANVideoOutput",
]
