# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the micro-batches of an optimizer step add up to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch.distributed.tensor import DTensor

from clipbert.train_scripts.engine.data import MicroBatch


@dataclass
class StepSums:
    """What the micro-batches of a step add up to on this process."""

    sums: dict[str, torch.Tensor] = field(default_factory=dict)  # of losses and reports, times the weights
    weight: float = 0.0
    wait_s: float = 0.0
    losses: list[tuple[torch.Tensor, list[str]]] = field(default_factory=list)  # with the ids of their items
    micro_batches: list[MicroBatch] = field(default_factory=list)  # without their content

    def add(self, losses: dict[str, torch.Tensor], report: dict[str, Any], micro: MicroBatch) -> None:
        for name, value in {**losses, **report}.items():
            value = torch.as_tensor(value, device=losses["loss"].device).detach().float()
            self.sums[name] = self.sums.get(name, 0.0) + value * micro.weight
        self.weight += micro.weight
        self.losses.append((losses["loss"].detach(), micro.ids))
        self.micro_batches.append(micro._replace(batch=None))

    def average(
        self, accelerator: Accelerator, grad_norm: torch.Tensor, *flags: bool
    ) -> tuple[dict[str, float] | bool, ...]:
        """
        Means over all processes, with the gradient norm, which they have in common; and for each flag whether any of them
        has raised it. All in one message, read in one go: the one place of a step at which an accelerator is waited for.
        """
        own = torch.tensor([self.weight, self.wait_s, *map(float, flags)], device=accelerator.device)
        totals = [torch.as_tensor(total, device=own.device) for total in self.sums.values()]
        sums = accelerator.reduce(torch.cat([torch.stack(totals), own]), reduction="sum")
        grad_norm = grad_norm.full_tensor() if isinstance(grad_norm, DTensor) else grad_norm
        *sums, grad_norm = torch.cat([sums, grad_norm.detach().to(sums).view(1)]).tolist()
        *totals, weight, wait_s = sums[: len(sums) - len(flags)]
        means = {name: total / max(weight, 1e-9) for name, total in zip(self.sums, totals, strict=True)}
        means |= {"wait_s": wait_s / accelerator.num_processes, "grad_norm": grad_norm}
        return means, *(count > 0 for count in sums[len(sums) - len(flags) :])


def weigh_by_rows(micro_batches: Sequence[MicroBatch], target: str, accelerator: Accelerator) -> Iterator[MicroBatch]:
    """
    All micro-batches of a step, so weighed that the mean of their means is that of all rows of a target.

    Args:
        micro_batches (`Sequence[MicroBatch]`): Those of this process.
        target (`str`): Name of the target, whose rows each has another number of.
        accelerator (`Accelerator`): The processes.
    """
    # items that stand in for some that cannot be decoded count nothing
    counts = [len(micro.batch.targets[target]) * (micro.weight > 0) for micro in micro_batches]
    total = float(sum(counts))
    if accelerator.num_processes > 1:
        total = accelerator.reduce(torch.tensor(total, device=accelerator.device), reduction="sum").item()
    per_row = len(micro_batches) * accelerator.num_processes / max(total, 1.0)
    return (micro._replace(weight=count * per_row) for micro, count in zip(micro_batches, counts, strict=True))


__all__ = ["StepSums", "weigh_by_rows"]
