# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Losses and gradients that are infinite or not a number end a run, and name the items they come from."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate.utils import gather_object
from torch import nn
from torch.distributed.tensor import DTensor

from clipbert.train_scripts.engine.recipe import RunSection


class NonFiniteLossError(ArithmeticError):
    """A loss or a gradient that is infinite or not a number."""


def is_finite(values: Mapping[str, float], settings: RunSection) -> bool:
    """
    Look at the loss and the gradient norm before the weights are touched.
    With fp16 gradients overflow now and then while the scale is sought, and the scaler skips those steps; so only the
    loss is looked at.
    """
    checked = ("loss",) if settings.mixed_precision == "fp16" else ("loss", "grad_norm")
    return all(math.isfinite(values[name]) for name in checked)


def has_finite_weights(model: nn.Module) -> bool:
    """Whether the weights that this process holds are all finite."""
    own = (p.to_local() if isinstance(p, DTensor) else p for p in model.parameters())
    return all(bool(parameter.isfinite().all()) for parameter in own)


def explain(
    values: Mapping[str, float],
    losses_of_items: Sequence[tuple[torch.Tensor, list[str]]],
    step: int,
    checkpoint: Path | None,
) -> NonFiniteLossError:
    """The error of the step after `step`, with the newest checkpoint of finite weights, if there is one."""
    own = [id for loss, ids in losses_of_items for id in ids if not math.isfinite(loss)]
    suspects = gather_object(own) or gather_object([id for _, ids in losses_of_items for id in ids])
    kept = f" The weights before it are in {checkpoint}, for model.from_pretrained of a new run." if checkpoint else ""
    return NonFiniteLossError(
        f"Step {step + 1}: loss {values['loss']}, gradient norm {values['grad_norm']}, items {suspects}.{kept} Look at these "
        "items, lower optim.lr, or lower optim.max_grad_norm."
    )


__all__ = ["NonFiniteLossError", "explain", "has_finite_weights", "is_finite"]
