# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""CNN-RNN models with a ResNet of two stages, and clips for them: fast enough for every test."""

import torch

from clipbert.modeling_cnn_rnn import CNNRNNConfig, CNNRNNForVideoClassification


IMAGE_SIZE, NUM_LABELS, FEATURES = 16, 5, 16
BACKBONE = {
    "model_type": "resnet",
    "layer_type": "basic",
    "embedding_size": 8,
    "hidden_sizes": [8, FEATURES],
    "depths": [1, 1],
}
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
VISION |= {"image_size": IMAGE_SIZE, "patch_size": 8}


def tiny_config(**overrides):
    """Linear layers start fifty times larger than usual, so that differences between scores are far above rounding."""
    settings = {"backbone_config": dict(BACKBONE), "rnn_hidden_size": 8, "num_labels": NUM_LABELS}
    return CNNRNNConfig(**{"initializer_range": 1.0, **settings, **overrides})


def tiny_model(model_class=CNNRNNForVideoClassification, seed=0, **overrides):
    """A model in evaluation mode whose batch norms have seen something; `seed` decides its weights."""
    torch.manual_seed(seed)
    model = model_class(tiny_config(**overrides)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def tiny_clips(lengths, num_frames=None, padding=float("nan"), seed=0):
    """
    Clips of so many frames each and their mask, as the processor makes them; `padding` stands after the frames.

    `lengths` of several lists give windows: `(clips, windows, frames, 3, side, side)`.
    """
    lengths = torch.tensor(lengths)
    num_frames = num_frames or int(lengths.max())
    shape = (*lengths.shape, num_frames, 3, IMAGE_SIZE, IMAGE_SIZE)
    pixel_values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    frame_mask = (torch.arange(num_frames) < lengths[..., None]).long()
    pixel_values[frame_mask == 0] = padding
    return pixel_values, frame_mask
