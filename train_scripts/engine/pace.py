# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How fast a run is, what holds it up, and what to change: reported once, after its first minute."""

import math
import os
import time
from dataclasses import dataclass, field

import torch

from clipbert.train_scripts.engine.recipe import Recipe


FIRST_SECONDS, FIRST_STEPS = 60.0, 100  # the report comes after whichever is over first
WAITING_IS_BOTTLENECK = 0.25  # share of the time


@dataclass
class Pace:
    """
    Times of the steps of this process since it started.

    The first step is left out: it starts the workers, and a GPU's first step chooses its kernels.

    Args:
        items_per_step (`int`): Items of a step over all processes.
    """

    items_per_step: int
    started: float = field(default_factory=time.perf_counter)
    num_steps: int = 0
    busy_s: float = 0.0
    wait_s: float = 0.0
    is_reported: bool = False

    def add_step(self, step_s: float, wait_s: float) -> None:
        self.num_steps += 1
        if self.num_steps > 1:
            self.busy_s, self.wait_s = self.busy_s + step_s, self.wait_s + wait_s

    @property
    def seconds_per_step(self) -> float:
        return self.busy_s / max(self.num_steps - 1, 1)

    def is_due(self) -> bool:
        """Whether the report is to be made now; it is due once."""
        over = self.num_steps >= FIRST_STEPS or time.perf_counter() - self.started >= FIRST_SECONDS
        if self.is_reported or not over or self.num_steps < 2:
            return False
        self.is_reported = True
        return True

    def summarise(self, steps_left: int) -> dict[str, float | str]:
        """Numbers of the report: shares of the time, items per second, the bottleneck, seconds to the end."""
        waiting = self.wait_s / self.busy_s
        return {
            "waiting_share": round(waiting, 4),
            "computing_share": round(1 - waiting, 4),
            "items_per_second": round(self.items_per_step / self.seconds_per_step, 4),
            "bottleneck": "data" if waiting > WAITING_IS_BOTTLENECK else "computing",
            "seconds_left": round(steps_left * self.seconds_per_step, 1),
        }


def advise(bottleneck: str, recipe: Recipe, device: torch.device, accumulation_steps: int, num_processes: int) -> str:
    """What to change first, given what holds the run up."""
    data, run = recipe.data, recipe.run
    smaller = [f"lower {' or '.join(keys)}"] if (keys := recipe.keys_that_save("time", "data", "model")) else []
    if bottleneck == "data":
        spare = (os.cpu_count() or 1) // num_processes - data.num_workers
        advice = [f"raise data.num_workers ({data.num_workers}; {spare} more cores for each process)"] * (spare > 0)
        advice += ["re-encode the videos at the size they are trained at (`python -m datasets_scripts prepare`)"]
    elif device.type == "cpu":
        return "; ".join([*smaller, "use a GPU"])
    else:
        advice = ["set run.mixed_precision to bf16"] * (run.mixed_precision == "no")
        advice += [f"raise run.micro_batch_size ({run.micro_batch_size}) if memory allows"] * (accumulation_steps > 1)
        advice += ["use more processes"] * (accumulation_steps > 1)
        advice += ["set data.group_by_length"] * (not data.group_by_length and not getattr(data, "streaming", False))
    return "; ".join([*advice, *smaller])


def show_duration(seconds: float) -> str:
    """
    Example:
        >>> show_duration(3725), show_duration(59.6), show_duration(200000)
        ('1:02:05', '1:00', '2 days 7:33:20')
    """
    if not math.isfinite(seconds):
        return "unknown"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours}:{minutes:02d}:{seconds:02d}" if hours or days else f"{minutes}:{seconds:02d}"
    return f"{days} days {clock}" if days else clock


__all__ = ["Pace", "advise", "show_duration"]
