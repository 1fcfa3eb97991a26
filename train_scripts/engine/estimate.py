# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How much memory a run will need, compared with what there is, before the first step.

Weights, gradients, moments and averages are counted. The activations are measured: two training items go through the
real forward pass, each alone and both together, and what autograd keeps for the backward pass is added up; a line (a
parabola for in-batch pairs, whose number grows with the square) gives the micro-batch. Not seen are what an operation
needs while it runs and what an allocator wastes: `MARGIN` stands for them. On a CPU in float32, the measured peaks of
five runs (ClipBERT-base and smaller, 150 to 320 pixels, with and without gradient checkpointing) were 14 to 20 % above
the estimate.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import nn

from clipbert.train_scripts.engine.data import DecodeGuard
from clipbert.train_scripts.engine.order import BatchPlan, ItemKey, PlannedItem
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.stream import StreamedTrainSet
from clipbert.train_scripts.engine.task import Parts, Task
from clipbert.train_scripts.engine.zero import is_zero


logger = logging.getLogger(__name__)
MARGIN = 1.2  # what is really taken, by experience, relative to the estimate
GIB = 2**30
Forward = Callable[[Sequence[int]], Any]


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one process at its fullest, the end of a forward pass; `activations` may be unknown."""

    parameters: int
    gradients: int
    optimizer: int
    average: int
    activations: int | None

    @property
    def total(self) -> int:
        return self.parameters + self.gradients + self.optimizer + self.average + (self.activations or 0)

    def __str__(self) -> str:
        parts = {
            "parameters": self.parameters,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "average": self.average,
            "activations of a micro-batch": self.activations,
        }
        shown = ", ".join(
            f"{name} {'not measured' if size is None else show_bytes(size)}"
            for name, size in parts.items()
            if size != 0
        )
        return f"{show_bytes(self.total)} ({shown})"


def check_memory(
    task: Task, parts: Parts, model: nn.Module, plan: BatchPlan, recipe: Recipe, accelerator: Accelerator
) -> MemoryEstimate:
    """
    Estimate the memory of a run and log it, with a warning if there may be too little.

    Args:
        task (`Task`): Runs the forward pass.
        parts (`Parts`): Its training items.
        model (`nn.Module`): The prepared model.
        plan (`BatchPlan`): Says which items come first.
        recipe (`Recipe`): The run.
        accelerator (`Accelerator`): The processes.

    Raises:
        MemoryError: If a GPU cannot hold even the one or two items that are measured.
    """
    train_set, planned = parts.train_set, plan.items(0, 0)[:2]
    if isinstance(train_set, StreamedTrainSet):
        train_set = train_set.peek()
        planned = [PlannedItem(0, ItemKey(0, number % len(train_set))) for number in range(2)]
    guard = DecodeGuard(train_set, parts.collate, recipe.data.on_decode_error == "skip")
    items = [guard[item] for item in planned]
    whole = accelerator.unwrap_model(model).train()

    def forward(numbers: Sequence[int]) -> torch.Tensor:
        batch = guard.collate([items[number] for number in numbers])
        losses, _ = task.training_step(whole, send_to_device(batch.inputs, accelerator.device))
        return losses["loss"]

    has_average = recipe.optim.ema_decay is not None
    # a divided model fetches its parts in every forward pass, and expects a backward pass to follow
    shares = accelerator.num_processes if is_zero(accelerator) else 1
    found = estimate_memory(
        whole, has_average, plan.micro_batch_size, None if accelerator.is_fsdp2 else forward, shares
    )
    report_memory(found, recipe, accelerator.device, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    return found


def estimate_memory(
    model: nn.Module, has_average: bool, micro_batch_size: int, forward: Forward | None, optimizer_shares: int = 1
) -> MemoryEstimate:
    """
    Estimate the memory of training.

    Args:
        model (`nn.Module`): The model on its device; of a divided one, this process's part is counted.
        has_average (`bool`): Whether a moving average of the weights is kept.
        micro_batch_size (`int`): Items of a forward pass.
        forward (`Callable[[Sequence[int]], Any]`, *optional*): Runs the training forward pass on items 0, 1, or both,
            and returns what keeps its graph alive. Without it the activations are left out.
        optimizer_shares (`int`, *optional*, defaults to 1): Processes that DeepSpeed divides the optimizer's state among; each
            keeps a copy of its share of the weights.

    Raises:
        MemoryError: If a GPU cannot hold even what was measured.
    """
    trained = sum(count_bytes(p) for p in model.parameters() if p.requires_grad)
    weights = sum(count_bytes(tensor) for tensor in (*model.parameters(), *model.buffers()))
    activations = None if forward is None else measure_activations(model, micro_batch_size, forward)
    optimizer = 2 * trained if optimizer_shares == 1 else 3 * trained // optimizer_shares
    return MemoryEstimate(weights, trained, optimizer, trained * has_average, activations)


def measure_activations(model: nn.Module, micro_batch_size: int, forward: Forward) -> int:
    """Bytes that the forward pass of a micro-batch keeps, from one and two items; buffers are left as they were."""
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    try:
        one = count_saved_bytes(model, lambda: forward([0]))
        if micro_batch_size == 1:
            return one
        one = max(one, count_saved_bytes(model, lambda: forward([1])))  # both are padded to the longer one
        two = count_saved_bytes(model, lambda: forward([0, 1]))
    except torch.OutOfMemoryError as error:
        raise MemoryError(
            "The forward pass of one or two training items does not fit into the GPU's memory"
        ) from error
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
    # through both: a * n + b * n^2, or c + a * n where two items keep less than twice as much as one
    square = max(two - 2 * one, 0) / 2
    linear = two - one - 3 * square
    constant = one - linear - square
    return int(constant + linear * micro_batch_size + square * micro_batch_size**2)


def count_saved_bytes(model: nn.Module, forward: Callable[[], Any]) -> int:
    """Bytes of the distinct tensors that autograd keeps in one forward pass, the model's own left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        graph = forward()
    del graph
    return sum(saved.values())


def available_memory(device: torch.device, local_processes: int) -> int:
    """Bytes that this process can still take: of its GPU, or its share of the machine's (or container's) RAM."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    available = psutil.virtual_memory().available
    limit, used = (Path("/sys/fs/cgroup", name) for name in ("memory.max", "memory.current"))
    if limit.is_file() and (text := limit.read_text().strip()) != "max":
        available = min(available, max(int(text) - int(used.read_text()), 0))
    return available // local_processes


def report_memory(estimate: MemoryEstimate, recipe: Recipe, device: torch.device, local_processes: int) -> bool:
    """Log the estimate; a warning with what to change, and `False`, if the memory there is may not be enough."""
    in_use = estimate.parameters + estimate.average  # already there
    free = available_memory(device, local_processes)
    message = f"Memory of one process on {device}: about {estimate}; {show_bytes(free + in_use)} can be had."
    if (estimate.total - in_use) * MARGIN <= free:
        logger.info(message)
        return True
    logger.warning(f"{message} It may not be enough: {advise(recipe)}.")
    return False


def advise(recipe: Recipe) -> str:
    """What to change so that less memory is needed, what costs least first."""
    model, data, run = recipe.model, recipe.data, recipe.run
    advice = []
    if run.micro_batch_size > 1:
        advice.append(f"lower run.micro_batch_size ({run.micro_batch_size}; the global batch stays what it is)")
    if data.num_clips > 1 and model.clips_per_chunk is None:
        advice.append(f"set model.clips_per_chunk (of {data.num_clips} clips)")
    if not model.gradient_checkpointing:
        advice.append("set model.gradient_checkpointing")
    if run.mixed_precision == "no":
        advice.append("set run.mixed_precision to bf16")
    return ", ".join([*advice, f"or lower data.image_size ({data.image_size})"])


def count_bytes(tensor: torch.Tensor) -> int:
    local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local.numel() * local.element_size()


def show_bytes(size: float) -> str:
    return f"{size / GIB:.2f} GiB" if size >= 0.1 * GIB else f"{size / 2**20:.1f} MiB"


__all__ = ["MemoryEstimate", "available_memory", "check_memory", "estimate_memory", "report_memory"]
