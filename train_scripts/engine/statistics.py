# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Running statistics of batch norms that are trained: the same whatever the number of processes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def keep_statistics(model: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The buffers that a forward pass may update, those of modules in training mode, and copies of them."""
    trained = (module for module in model.modules() if module.training)
    return [(buffer, buffer.clone()) for module in trained for buffer in module.buffers(recurse=False)]


def restore_statistics(kept: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Give buffers the values that `keep_statistics` has found in them."""
    for buffer, value in kept:
        buffer.copy_(value)


@contextmanager
def shared_statistics(model: nn.Module, accelerator: Accelerator) -> Iterator[None]:
    """
    Around the forward and backward pass of a micro-batch on each process: afterwards all have the statistics of one
    process that saw the micro-batches one after the other. Left alone, each would evaluate with those of its own share.

    Args:
        model (`nn.Module`): In training mode, except for what is frozen.
        accelerator (`Accelerator`): The processes of the run.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    norms = [norm for norm in norms if norm.track_running_stats and norm.momentum is not None]
    if accelerator.num_processes == 1 or not norms:
        yield
        return
    before = _join(norms)
    yield
    # a norm keeps a share of what it had and adds one of what it sees: kept * before + added
    kept = torch.cat([torch.full_like(_join([norm]), 1 - norm.momentum) for norm in norms])
    found = before
    for added in accelerator.gather((_join(norms) - kept * before)[None]):
        found = kept * found + added
    buffers = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var)]
    for buffer, values in zip(buffers, found.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(values)
    for norm in norms:
        norm.num_batches_tracked += accelerator.num_processes - 1


def _join(norms: list[_BatchNorm]) -> torch.Tensor:
    return torch.cat([part.detach().clone() for norm in norms for part in (norm.running_mean, norm.running_var)])


__all__ = ["keep_statistics", "restore_statistics", "shared_statistics"]
