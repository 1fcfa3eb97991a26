# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The two models that are compared, from one set of options and with one set of weights."""

import argparse
from tempfile import TemporaryDirectory

import torch
from torch import nn

from benchmarks.baseline_model import BaselineClipBERT, copy_weights
from benchmarks.measure import DTYPES
from clipbert.modeling_clipbert import ClipBERTConfig, ClipBERTForVideoTextRetrieval


def build_config(options: argparse.Namespace) -> ClipBERTConfig:
    """
    Sizes from the options of `add_model_arguments`; the rest as published, with log-sum-exp pooling and larger random
    weights, with which texts get clearly different scores.
    """
    stem, depths = options.backbone_width, options.backbone_depths
    return ClipBERTConfig(
        backbone_config={
            "model_type": "resnet",
            "embedding_size": stem,
            "hidden_sizes": [stem * 4 * 2**stage for stage in range(4)],
            "depths": depths,
            "out_features": ["stage4"],
            "downsample_in_bottleneck": True,
        },
        hidden_size=options.hidden_size,
        num_hidden_layers=options.num_layers,
        num_attention_heads=max(options.hidden_size // 64, 1),
        intermediate_size=4 * options.hidden_size,
        vocab_size=options.vocab_size,
        initializer_range=0.05,
        freeze_backbone_stages=options.frozen_stages,
        num_labels=2,
        score_pooling="lse",
    )


def build_sides(options: argparse.Namespace, unused_parameters: int = 0) -> dict[str, nn.Module]:
    """
    The sides that the options ask for, in evaluation mode: both, with the same weights, or the one of `--alone`.

    The batch norms of ours get statistics other than 0 and 1, so that a mistake in them would show. It is saved and loaded,
    as users have it: loading may change what is trained.
    """
    config = build_config(options)
    sides = {}
    if options.alone != "baseline":
        sides["ours"] = ClipBERTForVideoTextRetrieval(config)
        for norm in sides["ours"].clipbert.grid_encoder.backbone_norms():
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
        with TemporaryDirectory() as folder:
            sides["ours"].save_pretrained(folder)
            sides["ours"] = ClipBERTForVideoTextRetrieval.from_pretrained(folder)
        for tensor in sides["ours"].state_dict().values():  # from a file, they are in memory once they have been read
            tensor.sum()
    if options.alone != "ours":
        sides["baseline"] = BaselineClipBERT(config, unused_parameters)
    if options.alone is None:
        copy_weights(sides["ours"], sides["baseline"])
    return {side: model.eval().to(options.device) for side, model in sides.items()}


def compile_ours(model: ClipBERTForVideoTextRetrieval) -> None:
    """Compile the forward of the model, and the CNN for `encode_videos`."""
    model.clipbert.grid_encoder.compile()
    model.compile()


def autocast(options: argparse.Namespace):
    """Autocast to `--dtype`, on the device of the options."""
    dtype = DTYPES[options.dtype]
    return torch.autocast(torch.device(options.device).type, dtype, enabled=dtype != torch.float32)


def build_clips(num_videos: int, num_clips: int, options: argparse.Namespace) -> torch.Tensor:
    """Frames with the range of real ones: `(videos, clips, frames, 3, side, side)`."""
    side = options.image_size
    clips = torch.rand(num_videos, num_clips, options.num_frames, 3, side, side) * 255 - 110
    return clips.to(options.device)


def build_texts(num_texts: int, length: int, options: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """Token indices and attention mask `(texts, length)` of texts that fill their length."""
    input_ids = torch.randint(1, options.vocab_size, (num_texts, length), device=options.device)
    return input_ids, torch.ones_like(input_ids)
