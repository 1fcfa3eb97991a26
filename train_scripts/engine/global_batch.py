# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A loss over all items of a step, however many micro-batches and processes they come in.

A contrastive loss compares every item with every other one, and the activations of all of them do not fit in memory. So
gradients are cached (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", section
3.2):

    1. each micro-batch becomes features, without a graph;
    2. the features of all micro-batches and processes give the loss and its gradient by each feature;
    3. each micro-batch becomes features once more, with a graph and the same dropout masks, and the gradient of its
       features is sent into the model.

The result is the gradient of the whole batch, exactly. A step of a single micro-batch needs one pass only.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import pad_across_processes, send_to_device
from torch import nn
from torch.distributed.tensor import DTensor

from clipbert.train_scripts.engine.data import Batch, MicroBatch
from clipbert.train_scripts.engine.launch import seed_everything
from clipbert.train_scripts.engine.sharding import distribute_as, outermost_weights_whole
from clipbert.train_scripts.engine.statistics import keep_statistics, restore_statistics, shared_statistics
from clipbert.train_scripts.engine.step import StepSums
from clipbert.train_scripts.engine.task import Features, Losses, Report, Task


class FeatureGradients(NamedTuple):
    """What the loss of a whole batch says to the micro-batches of this process."""

    by_feature: list[Features]  # for each micro-batch; of whole numbers there are none
    by_parameter: list[tuple[nn.Parameter, torch.Tensor]]  # of those that the loss reads besides the features
    losses: Losses
    report: Report


def add_global_gradients(
    task: Task,
    model: nn.Module,
    accelerator: Accelerator,
    batches: Iterator[MicroBatch],
    num_micro_steps: int,
    seed: tuple[int, ...],
    counting: Callable[[list[Batch]], AbstractContextManager] = lambda batches: nullcontext(),
) -> StepSums:
    """
    The gradients of `task.global_loss` over all micro-batches of a step on all processes.

    Args:
        task (`Task`): With `features` and `global_loss`.
        model (`nn.Module`): As `accelerator` has prepared it.
        accelerator (`Accelerator`): The processes.
        batches (`Iterator[MicroBatch]`): The micro-batches of this process.
        num_micro_steps (`int`): How many of them make a step.
        seed (`tuple[int, ...]`): Of the step; the number of the micro-batch comes behind it.
        counting (`Callable`, *optional*): Called with the batches, it gives what all passes are made in (see `StepMeter`).

    Returns:
        [`StepSums`]
    """
    found, waiting = StepSums(), time.perf_counter()
    micro_batches = [next(batches) for _ in range(num_micro_steps)]
    found.wait_s += time.perf_counter() - waiting

    def compute_features(micro_step: int) -> Features:
        micro = micro_batches[micro_step]
        seed_everything(*seed, micro_step * accelerator.num_processes + accelerator.process_index)
        features = task.features(model, send_to_device(micro.batch, accelerator.device, non_blocking=True))
        # items that stand in for some that cannot be decoded take no part
        return features if micro.weight else {name: feature[:0] for name, feature in features.items()}

    with counting([micro.batch for micro in micro_batches]):
        cached = None
        if num_micro_steps > 1:
            statistics = keep_statistics(model)  # are updated in the other pass
            with torch.no_grad():
                cached = [compute_features(micro_step) for micro_step in range(num_micro_steps)]
                restore_statistics(statistics)
        gradients = None
        # `backward` divides by the micro-steps, and processes are averaged; here both are to be summed
        scale = num_micro_steps * accelerator.num_processes
        for micro_step, micro in enumerate(micro_batches):
            with accelerator.accumulate(model), shared_statistics(model, accelerator):
                features = compute_features(micro_step)
                if gradients is None:
                    gradients = differentiate(task, accelerator, model, cached or [features])
                    add_direct_gradients(gradients.by_parameter, accelerator)
                chained = [(features[name], gradient) for name, gradient in gradients.by_feature[micro_step].items()]
                surrogate = sum((feature.float() * gradient).sum() for feature, gradient in chained)
                # parameters that only the loss reads take part, so that processes share their gradients, too
                whole = [parameter for parameter, _ in gradients.by_parameter if not isinstance(parameter, DTensor)]
                surrogate = surrogate + sum(0.0 * parameter.sum() for parameter in whole)
                accelerator.backward(surrogate * scale)
            found.add(gradients.losses, gradients.report, micro)
    return found


def differentiate(
    task: Task, accelerator: Accelerator, model: nn.Module, cached: Sequence[Features]
) -> FeatureGradients:
    """The loss of all features on all processes, and its gradients by those of this process."""
    sizes = [len(next(iter(features.values()))) for features in cached]
    whole, first = gather_features(join(cached), accelerator)
    leaves = {name: feature.requires_grad_() for name, feature in whole.items() if feature.is_floating_point()}
    bare = accelerator.unwrap_model(model)
    with outermost_weights_whole(bare):
        losses, report = task.global_loss(bare, whole)
        read = {name: parameter for name, parameter in bare.named_parameters() if parameter.requires_grad}
        found = torch.autograd.grad(losses["loss"], [*leaves.values(), *read.values()], allow_unused=True)
    by_feature, by_parameter = found[: len(leaves)], dict(zip(read, found[len(leaves) :], strict=True))
    own = {}
    for (name, leaf), gradient in zip(leaves.items(), by_feature, strict=True):
        gradient = torch.zeros_like(leaf) if gradient is None else gradient
        own[name] = gradient[first : first + sum(sizes)].split(sizes)
    per_micro_batch = []
    for micro_step, features in enumerate(cached):
        cut = {name: parts[micro_step][_corner(features[name])] for name, parts in own.items()}
        per_micro_batch.append(cut)
    own_parameters = bare.named_parameters()  # divided again, where they were
    direct = [(p, by_parameter[name]) for name, p in own_parameters if by_parameter.get(name) is not None]
    detached = {name: loss.detach() for name, loss in losses.items()}
    return FeatureGradients(per_micro_batch, direct, detached, report)


def add_direct_gradients(gradients: Sequence[tuple[nn.Parameter, torch.Tensor]], accelerator: Accelerator) -> None:
    """Gradients of parameters that the loss itself reads: all processes have the same, and average them."""
    factor = 1.0 if accelerator.scaler is None else accelerator.scaler.get_scale()
    for parameter, gradient in gradients:
        gradient = distribute_as((gradient * factor).to(parameter.dtype), parameter)
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def join(parts: Sequence[Features]) -> Features:
    """Features of micro-batches one behind the other, in float32, each filled up with zeros to the largest shape."""
    joined = {}
    for name in parts[0]:
        tensors = [part[name].detach() for part in parts]
        shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
        filled = tensors[0].new_zeros((sum(map(len, tensors)), *shape))
        start = 0
        for tensor in tensors:
            filled[start : start + len(tensor)][_corner(tensor)] = tensor
            start += len(tensor)
        joined[name] = filled.float() if filled.is_floating_point() else filled
    return joined


def gather_features(features: Features, accelerator: Accelerator) -> tuple[Features, int]:
    """The features of all processes, and at which row those of this one begin."""
    if accelerator.num_processes == 1:
        return features, 0
    own = torch.tensor([len(next(iter(features.values())))], device=accelerator.device)
    sizes = accelerator.gather(own).tolist()
    gathered = {}
    for name, feature in features.items():
        is_mask = feature.dtype == torch.bool  # which not every backend sends
        padded = feature.to(torch.uint8) if is_mask else feature
        for dim in range(padded.ndim):
            padded = pad_across_processes(padded, dim=dim)
        parts = accelerator.gather(padded.contiguous()).split(max(sizes))
        whole = torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
        gathered[name] = whole.bool() if is_mask else whole
    return gathered, sum(sizes[: accelerator.process_index])


def _corner(tensor: torch.Tensor) -> tuple[slice, ...]:
    """Where a tensor lies in one that was filled up, behind the first dimension."""
    return (slice(None), *(slice(size) for size in tensor.shape[1:]))


__all__ = ["FeatureGradients", "add_global_gradients", "differentiate", "gather_features", "join"]
