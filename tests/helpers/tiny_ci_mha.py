# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""CI-MHA models of width 16 and inputs for them: fast enough for every test."""

import torch

from clipbert.modeling_ci_mha import CIMHAConfig, CIMHAForMomentRetrieval


FEATURES, WORDS, IMAGE_SIZE = 6, 20, 16
RESNET = {
    "model_type": "resnet",
    "layer_type": "basic",
    "embedding_size": 8,
    "hidden_sizes": [8, FEATURES],
    "depths": [1, 1],
}
BERT = {
    "model_type": "bert",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": WORDS,
}


def tiny_config(**overrides):
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "vocab_size": WORDS, "word_size": 8, "max_segments": 16}
    return CIMHAConfig(**{**sizes, "dropout": 0.0, "video_feature_size": FEATURES, **overrides})


def tiny_model(model_class=CIMHAForMomentRetrieval, seed=0, **overrides):
    """A model in evaluation mode; `seed` decides its weights."""
    torch.manual_seed(seed)
    return model_class(tiny_config(**overrides)).eval()


def tiny_frame_model(seed=0, **overrides):
    """The same with a ResNet of two stages for its frames."""
    return tiny_model(seed=seed, video_feature_size=None, frame_encoder_config=dict(RESNET), **overrides)


def rows(lengths, longest=None):
    """A mask with so many ones in each row, first."""
    return (torch.arange(longest or max(lengths)) < torch.tensor(lengths)[:, None]).long()


def tiny_texts(lengths, longest=None, seed=0):
    """`input_ids` of so many words each, and their mask."""
    mask = rows(lengths, longest)
    ids = torch.randint(2, WORDS, mask.shape, generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids * mask, "attention_mask": mask}


def tiny_videos(lengths, longest=None, padding=0.0, seed=0):
    """`video_features` of so many segments each, and their mask; `padding` stands behind them."""
    mask = rows(lengths, longest)
    features = torch.randn(*mask.shape, FEATURES, generator=torch.Generator().manual_seed(seed))
    return {"video_features": features.masked_fill(mask[..., None] == 0, padding), "video_mask": mask}


def tiny_frames(lengths, num_frames=2, padding=0.0, seed=0):
    """`pixel_values` of so many segments each, and their mask."""
    mask = rows(lengths)
    shape = (*mask.shape, num_frames, 3, IMAGE_SIZE, IMAGE_SIZE)
    frames = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    frames[mask == 0] = padding
    return {"pixel_values": frames, "video_mask": mask}
