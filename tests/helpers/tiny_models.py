# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""ClipBERT models of 2 layers, width 32 and a 3-stage ResNet, and inputs for them: fast enough for every test."""

import torch

from clipbert.modeling_clipbert import (
    ClipBERTConfig,
    ClipBERTForMultipleChoice,
    ClipBERTForPreTraining,
    ClipBERTForRegression,
    ClipBERTForVideoQA,
    ClipBERTForVideoTextRetrieval,
    ClipBERTModel,
)


SCORING_HEADS = (ClipBERTForVideoTextRetrieval, ClipBERTForVideoQA, ClipBERTForMultipleChoice, ClipBERTForRegression)
HEADS = (ClipBERTForPreTraining, *SCORING_HEADS)
MODELS = (ClipBERTModel, *HEADS)

VOCAB_SIZE, WIDTH, IMAGE_SIZE, NUM_CELLS, NUM_CHOICES = 99, 32, 64, 4, 3
NUM_LABELS = {ClipBERTForVideoQA: 5, ClipBERTForRegression: 1}

BACKBONE = {
    "model_type": "resnet",
    "layer_type": "bottleneck",
    "downsample_in_bottleneck": True,
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 32],
    "depths": [1, 1, 1],
    "out_features": ["stage3"],
}


def tiny_config(model_class=ClipBERTModel, **overrides):
    """Weights start ten times larger than usual, so that differences between scores are far above rounding."""
    settings = {
        "backbone_config": dict(BACKBONE),
        "vocab_size": VOCAB_SIZE,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
        "num_labels": NUM_LABELS.get(model_class, 2),
    }
    return ClipBERTConfig(**{**settings, **overrides})


def tiny_model(model_class, seed=0, **overrides):
    """A model in evaluation mode; `seed` decides its weights."""
    torch.manual_seed(seed)
    return model_class(tiny_config(model_class, **overrides)).eval()


def tiny_inputs(
    model_class=ClipBERTModel,
    num_videos=2,
    num_clips=2,
    num_frames=2,
    length=6,
    seed=0,
    labels=False,
    vocab_size=VOCAB_SIZE,
):
    """One text (or one question with choices) per video; the last text is one token shorter than the others."""
    generator = torch.Generator().manual_seed(seed)

    def integers(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    shape = (num_videos, NUM_CHOICES, length) if model_class is ClipBERTForMultipleChoice else (num_videos, length)
    attention_mask = torch.ones(shape, dtype=torch.int64)
    attention_mask[-1, ..., -1] = 0
    inputs = {
        "input_ids": integers(1, vocab_size, *shape) * attention_mask,
        "attention_mask": attention_mask,
        "pixel_values": 50
        * torch.randn(num_videos, num_clips, num_frames, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator),
    }
    if not labels:
        return inputs
    if model_class is ClipBERTForPreTraining:
        words = integers(1, VOCAB_SIZE, num_videos, length)
        inputs["mlm_labels"] = words.where((torch.arange(length) % 3 == 1) & attention_mask.bool(), -100)
        inputs["itm_labels"] = torch.arange(1, num_videos + 1) % 2  # 1, 0, 1, ...
    elif model_class is ClipBERTForRegression:
        inputs["labels"] = integers(0, 10, num_videos).float()
    else:
        classes = NUM_CHOICES if model_class is ClipBERTForMultipleChoice else NUM_LABELS.get(model_class, 2)
        inputs["labels"] = integers(0, classes, num_videos)
    return inputs


def scores(outputs):
    """The pooled scores, whatever the head calls them."""
    return outputs.logits if "logits" in outputs else outputs.seq_relationship_logits
