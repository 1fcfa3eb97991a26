# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How a model computes what it computes: faster, and rounded otherwise, so that a recipe has to ask for it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from clipbert.train_scripts.engine.sections import RunSection


def arrange(model: nn.Module, settings: RunSection) -> None:
    """
    Lay out and compile a model in place, as `run.channels_last` and `run.compile` say.

    Args:
        model (`nn.Module`): Before an optimizer is made of its parameters.
        settings (`RunSection`): Of the recipe.
    """
    if settings.channels_last:
        for parameter in model.parameters():
            if parameter.dim() == 4:  # of two-dimensional convolutions, whose inputs and outputs then follow
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    if settings.compile is not None:
        model.compile(mode=settings.compile)


@contextmanager
def as_written(settings: RunSection) -> Iterator[None]:
    """Around evaluations: a compiled model runs as it is written, because each block of texts has another length."""
    if settings.compile is None:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


__all__ = ["arrange", "as_written"]
