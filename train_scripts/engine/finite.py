# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Losses and gradients that are infinite or not a number end a run, and name the items they come from."""

import math
from collections.abc import Mapping, Sequence

import torch
from accelerate.utils import gather_object

from train_scripts.engine.recipe import RunSection


class NonFiniteLossError(ArithmeticError):
    """A loss or a gradient that is infinite or not a number."""


def check_finite(
    values: Mapping[str, float],
    losses_of_items: Sequence[tuple[torch.Tensor, list[str]]],
    step: int,
    settings: RunSection,
) -> None:
    """
    Look at the loss and the gradient norm before the weights are touched.

    Args:
        values (`Mapping[str, float]`): `loss` and `grad_norm`, the same on all processes.
        losses_of_items (`Sequence`): Loss and item ids of each micro-batch of this process.
        step (`int`): The step that the weights are from.
        settings (`RunSection`): With fp16 gradients overflow now and then while the scale is sought, and the scaler
            skips those steps; so only the loss is looked at.

    Raises:
        NonFiniteLossError: If one of them is not finite; it names the items.
    """
    checked = ("loss",) if settings.mixed_precision == "fp16" else ("loss", "grad_norm")
    if all(math.isfinite(values[name]) for name in checked):
        return
    own = [id for loss, ids in losses_of_items for id in ids if not math.isfinite(loss)]
    suspects = gather_object(own) or gather_object([id for _, ids in losses_of_items for id in ids])
    raise NonFiniteLossError(
        f"Step {step + 1}: loss {values['loss']}, gradient norm {values['grad_norm']}, items {suspects}. The weights of "
        f"step {step} are kept. Look at these items, lower optim.lr, or lower optim.max_grad_norm."
    )


__all__ = ["NonFiniteLossError", "check_finite"]
