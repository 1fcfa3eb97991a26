# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A moving average of the weights, which is what gets evaluated and published."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from clipbert.train_scripts.engine.sharding import copy_into


class AveragedWeights:
    """
    The exponential moving average of a model's trainable parameters.

    `torch.optim.swa_utils.AveragedModel` keeps a second model. This keeps the averages alone and lends them to the
    model itself, so the model may be wrapped or divided among processes, frozen weights are not held twice, and the
    memory of evaluation is that of training.
    `decay` is the share of the old average in the new one. In update `t` it is at most `(1 + t) / (10 + t)`, so that the
    weights a run began with do not outlive its first steps.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.names, self.parameters = list(trained), list(trained.values())
        self.averages = [parameter.detach().clone() for parameter in self.parameters]

    def decay_at(self, update: int) -> float:
        return min(self.decay, (1 + update) / (10 + update))

    @torch.no_grad()
    def update(self, update: int) -> None:
        """Take in the weights after update `update`, counted from 1."""
        get_ema_multi_avg_fn(self.decay_at(update))(self.averages, self.parameters, None)

    def named_tensors(self) -> dict[str, torch.Tensor]:
        """The averages by the names of their parameters; the model's own weights while the averages are lent to it."""
        return dict(zip(self.names, self.averages, strict=True))

    def set_own_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Give the model, which has the averages of a checkpoint, the weights that were trained."""
        for name, parameter in zip(self.names, self.parameters, strict=True):
            copy_into(parameter, weights[name])

    @contextmanager
    def lent_to_model(self) -> Iterator[None]:
        """Inside this context the model has the averages, and the averages are the model's own weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for average, parameter in zip(self.averages, self.parameters, strict=True):
            own = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(own)


__all__ = ["AveragedWeights"]
