# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the micro-batches of an optimizer step add up to."""

from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator

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

    def average(self, accelerator: Accelerator, *flags: bool) -> tuple[dict[str, float] | bool, ...]:
        """Means over all processes, and for each flag whether any of them has raised it, in one message."""
        values = [*self.sums.values(), self.weight, self.wait_s, *map(float, flags)]
        parts = [torch.as_tensor(value, dtype=torch.float32, device=accelerator.device) for value in values]
        sums = accelerator.reduce(torch.stack(parts), reduction="sum").tolist()
        *totals, weight, wait_s = sums[: len(sums) - len(flags)]
        means = {name: total / max(weight, 1e-9) for name, total in zip(self.sums, totals, strict=True)}
        means["wait_s"] = wait_s / accelerator.num_processes
        return means, *(count > 0 for count in sums[len(sums) - len(flags) :])


__all__ = ["StepSums"]
