# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Recorded sets of the official Mug-STAN code, and our model with their weights."""

import json

from safetensors.torch import load_file
from transformers import CLIPConfig

from clipbert.modeling_mug_stan.convert_mug_stan_checkpoint import build_model


def load_set(folder):
    """Inputs, outputs and what else is known of a recorded model."""
    inputs = {
        name: tensor.float() if "pixel_values" in name else tensor
        for name, tensor in load_file(folder / "inputs.safetensors").items()
    }
    return inputs, load_file(folder / "outputs.safetensors"), json.loads((folder / "meta.json").read_text())


def recorded_clip_config(folder):
    clip = json.loads((folder / "config.json").read_text())["clip"]
    return CLIPConfig(**clip)


def load_model(folder, **fields):
    """Our model with the weights of a recorded one."""
    return build_model(load_file(folder / "state_dict.safetensors"), recorded_clip_config(folder), **fields)
