# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Frames to vectors by an image model, and which segments of a training video keep a gradient.

Letters: B videos, N segments, M frames, D_v size of a frame vector.
"""

import copy
from inspect import signature

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING, MODEL_MAPPING


def tower_class(config):
    """
    The class for an image model: the bare model, or the backbone where transformers has no other.

    Raises:
        ValueError: If transformers has neither.
    """
    for mapping in (MODEL_MAPPING, MODEL_FOR_BACKBONE_MAPPING):
        model_class = mapping.get(type(config), None)
        is_image_model = model_class is not None and model_class.main_input_name == "pixel_values"
        if is_image_model or config.model_type == "clipbert":
            return model_class
    raise ValueError(
        f"frame_encoder_config is that of a {config.model_type!r}, for which transformers has no image model. Take a ResNet, "
        "another image backbone, a vision tower such as that of CLIP, or a ClipBERT."
    )


def pooling_options(model_class):
    """A pooling layer that may be left out, such as that of ViT or BERT, is: many checkpoints lack its weights."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in signature(model_class.__init__).parameters else {}


def accept_any_attention(model):
    """
    Let a part accept whatever attention implementation its parent asks for.

    transformers refuses `attn_implementation="sdpa"` for a model with a part that does not declare support for it. A CNN
    has no attention to switch, so it is given the declaration: this one alone, a class made here could not be pickled.
    """
    if not model._supports_sdpa:
        for flag in ("_supports_sdpa", "_supports_flash_attn", "_supports_flex_attn", "_supports_attention_backend"):
            setattr(model, flag, True)
    return model


def build_tower(config):
    """An image model with random weights; of a ClipBERT its grid encoder."""
    model_class = tower_class(config)
    if config.model_type == "clipbert":
        lean = copy.deepcopy(config)  # its words and layers are not taken, so they need not be large
        lean.vocab_size, lean.num_hidden_layers = 100, 1
        return model_class(lean, add_pooling_layer=False).grid_encoder
    if not model_class._supports_sdpa:
        config._attn_implementation = "eager"
    return accept_any_attention(model_class(config, **pooling_options(model_class)))


def tower_size(tower, config):
    """D_v, which the config of an image model has under one of several names."""
    if channels := getattr(tower, "channels", None):
        return channels[-1]
    sizes = [getattr(config, name, None) for name in ("hidden_sizes", "hidden_size", "hidden_dim")]
    size = next(filter(None, sizes), None)
    if size is None:
        raise ValueError(f"{type(tower).__name__} does not say how long its vectors are (hidden_size, hidden_sizes).")
    return size[-1] if isinstance(size, (list, tuple)) else size


class CIMHAFrameEncoder(GradientCheckpointingLayer):
    """
    Frames to vectors: the average over the picture of a CNN, or the pooled output of a tower (section 12).

    With gradient checkpointing a call keeps its frames alone, and is repeated when its gradient is due.
    """

    def __init__(self, config):
        super().__init__()
        self.is_trainable = config.frame_encoder_trainable
        self.train_batchnorm = config.train_batchnorm
        self.tower = build_tower(config.frame_encoder_config)
        self.has_class_token = any(name.endswith("cls_token") for name, _ in self.tower.named_parameters())
        self.feature_size = tower_size(self.tower, config.frame_encoder_config)
        self.freeze()

    def freeze(self):
        """Stop the training of all of it, or of batch norms unless they are to be trained."""
        self.tower.requires_grad_(self.is_trainable)
        if not self.train_batchnorm:
            for norm in self.norms():
                norm.requires_grad_(False)
        for name, parameter in self.tower.named_parameters():
            if name.endswith("mask_token"):  # of the pretraining of some towers; whole pictures do not need it
                parameter.requires_grad_(False)
        if hasattr(self.tower, "freeze"):  # a grid encoder keeps its first stages
            self.tower.freeze()
        self.train(self.training)

    def norms(self):
        return [module for module in self.tower.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def train(self, mode=True):
        super().train(mode)
        self.tower.train(mode and self.is_trainable)
        if not self.train_batchnorm:
            for norm in self.norms():
                norm.eval()
        return self

    def forward(self, frames, anchor=None):
        # frames: (M, 3, S, S) -> (M, D_v); `anchor` see `encode_frames`
        outputs = self.tower(frames)
        if isinstance(outputs, torch.Tensor):  # a grid
            return outputs.mean(dim=(-2, -1))
        if "feature_maps" in outputs:
            return outputs.feature_maps[-1].mean(dim=(-2, -1))
        if outputs.get("pooler_output") is not None:
            return outputs.pooler_output.flatten(1)
        if outputs.last_hidden_state.ndim == 4:
            return outputs.last_hidden_state.mean(dim=(-2, -1))
        return outputs.last_hidden_state[:, 0] if self.has_class_token else outputs.last_hidden_state.mean(dim=1)

    def encode(self, frames, chunk_size):
        """Vectors `(M, D_v)` of any number of frames, `chunk_size` at a time."""
        frames = frames.to(next(self.tower.parameters()).dtype)
        if chunk_size is None or torch.compiler.is_compiling():
            chunk_size = frames.shape[0]
        # reentrant checkpointing looks for gradients among inputs alone, and frames have none
        anchor = frames.new_empty(0, requires_grad=self.is_trainable) if self.gradient_checkpointing else None
        if chunk_size == frames.shape[0]:
            return self(frames, anchor)
        return torch.cat([self(chunk, anchor) for chunk in frames.split(chunk_size)])


def choose_grad_segments(is_inside, exists, num_segments):
    """
    Draw the segments of each video whose frames keep a gradient: half inside a moment, half outside (section 12).

    Where one side has too few, the other one fills up.

    Args:
        is_inside (`torch.BoolTensor` of shape `(videos, segments)`): Segments of a moment that is asked for.
        exists (`torch.BoolTensor` of shape `(videos, segments)`): Segments that are none of padding.
        num_segments (`int`): How many of each video.

    Returns:
        `torch.BoolTensor` of shape `(videos, segments)`.
    """
    draw = torch.rand(exists.shape, device=exists.device)
    turn = torch.full_like(draw, torch.inf)  # when it is the turn of a segment: both sides draw alternately
    for side, delay in ((is_inside & exists, 0.0), (~is_inside & exists, 0.5)):
        rank = draw.masked_fill(~side, torch.inf).argsort(dim=1).argsort(dim=1)
        turn = torch.where(side, rank + delay, turn)
    return (turn.argsort(dim=1).argsort(dim=1) < num_segments) & exists


__all__ = [
    "CIMHAFrameEncoder",
    "accept_any_attention",
    "build_tower",
    "choose_grad_segments",
    "pooling_options",
    "tower_class",
    "tower_size",
]
