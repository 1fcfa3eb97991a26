# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Which training item comes when.

Nothing here has a state. An order is an endless line of items, and the item at each position follows from the seed and
the position alone; a plan says which positions belong to which optimizer step, process and micro-batch. So a run
resumes at any step, and neither the number of workers nor of processes changes what is learned.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch.utils.data import Sampler

from clipbert.train_scripts.engine.recipe import DataSection, RunSection


class ItemKey(NamedTuple):
    """What a training set is asked for: item `index` as epoch `epoch` sees it."""

    epoch: int
    index: int


class PlannedItem(NamedTuple):
    """An item in its place: the epoch of the run (in a mixture another one than the item's own), and its key."""

    epoch: int
    key: ItemKey


class ItemOrder(Protocol):
    """An endless line of items; `key_at` depends on nothing but the position."""

    def key_at(self, position: int) -> ItemKey: ...


@dataclass(frozen=True)
class ShuffledOrder:
    """Every epoch shows every item once, in another order."""

    num_items: int
    seed: tuple[int, ...]

    def key_at(self, position: int) -> ItemKey:
        epoch, place = divmod(position, self.num_items)
        return ItemKey(epoch, int(shuffle_items(self.seed, epoch, self.num_items)[place]))


@functools.lru_cache(maxsize=32)
def shuffle_items(seed: tuple[int, ...], epoch: int, num_items: int) -> np.ndarray:
    """The order of the items in one epoch."""
    return np.random.default_rng((*seed, epoch)).permutation(num_items)


class LengthGroupedOrder:
    """
    A shuffled order whose micro-batches hold items of similar length, so that less of a batch is padding.

    The shuffled epoch is cut into windows, each window is sorted by length and cut into micro-batches, and the
    micro-batches of a window come in random order. So an item still meets others in every epoch, and a step still sees
    long and short items.
    A window has `window` micro-batches: more group better and shuffle less.
    """

    def __init__(self, lengths: Sequence[int], seed: tuple[int, ...], micro_batch_size: int, window: int = 32):
        self.lengths, self.seed = np.asarray(lengths), seed
        self.micro_batch_size, self.window = micro_batch_size, window
        self._epochs: dict[int, np.ndarray] = {}

    def key_at(self, position: int) -> ItemKey:
        epoch, place = divmod(position, len(self.lengths))
        if epoch not in self._epochs:
            if len(self._epochs) > 2:
                self._epochs.clear()
            self._epochs[epoch] = self._order_epoch(epoch)
        return ItemKey(epoch, int(self._epochs[epoch][place]))

    def _order_epoch(self, epoch: int) -> np.ndarray:
        num_items, size = len(self.lengths), self.micro_batch_size
        shuffled = shuffle_items(self.seed, epoch, num_items)
        # the first items complete a micro-batch that the epoch before has begun, the last ones begin another
        head = min(-(epoch * num_items) % size, num_items)
        tail = num_items - (num_items - head) % size
        parts, rng = [shuffled[:head]], np.random.default_rng((*self.seed, epoch, 1))
        for start in range(head, tail, size * self.window):
            chosen = shuffled[start : min(start + size * self.window, tail)]
            chosen = chosen[np.argsort(self.lengths[chosen], kind="stable")].reshape(-1, size)
            parts.append(chosen[rng.permutation(len(chosen))].ravel())
        return np.concatenate([*parts, shuffled[tail:]])


@dataclass(frozen=True)
class BatchPlan:
    """
    Which items belong to which optimizer step, process and micro-batch.

    Step `t` takes the next `global_batch_size` items of the order, in micro-batches that are assigned to the processes in
    turn: step, process and micro-batch decide what is in a micro-batch, and the micro-batches of a step are the same
    ones whatever the number of processes. By default the order is shuffled anew in each epoch.
    """

    num_items: int
    global_batch_size: int
    micro_batch_size: int
    num_processes: int
    seed: int
    order: ItemOrder | None = None

    def __post_init__(self):
        if self.num_items < 1:
            raise ValueError("The training split has no items.")
        if self.global_batch_size % (self.micro_batch_size * self.num_processes):
            raise ValueError(
                f"run.global_batch_size={self.global_batch_size} cannot be divided into micro-batches of "
                f"run.micro_batch_size={self.micro_batch_size} on {self.num_processes} processes. Make it a multiple "
                f"of {self.micro_batch_size * self.num_processes}, or change run.micro_batch_size."
            )
        if self.order is None:
            object.__setattr__(self, "order", ShuffledOrder(self.num_items, (self.seed,)))

    @property
    def accumulation_steps(self) -> int:
        return self.global_batch_size // (self.micro_batch_size * self.num_processes)

    def epoch_at(self, step: int) -> int:
        """Whole epochs that have passed after `step` steps."""
        return step * self.global_batch_size // self.num_items

    def items(self, step: int, micro_batch: int) -> list[PlannedItem]:
        """The items of micro-batch `micro_batch`, counted over all processes, of step `step`."""
        first = step * self.global_batch_size + micro_batch * self.micro_batch_size
        positions = range(first, first + self.micro_batch_size)
        return [PlannedItem(position // self.num_items, self.order.key_at(position)) for position in positions]


def build_plan(train_set: Any, run: RunSection, data: DataSection, num_processes: int) -> BatchPlan:
    """The plan of a run: its batch sizes, and the order that the training set and the recipe ask for."""
    plan = BatchPlan(len(train_set), run.global_batch_size, run.micro_batch_size, num_processes, run.seed)
    return replace(plan, order=train_set.build_order(plan, data.group_by_length, (run.seed,)))


class PlannedBatches(Sampler[list[PlannedItem]]):
    """One process's share of the steps from `first_step` to `last_step`, as a batch sampler."""

    def __init__(self, plan: BatchPlan, first_step: int, last_step: int, process: int):
        self.plan, self.first_step, self.last_step, self.process = plan, first_step, last_step, process

    def __iter__(self) -> Iterator[list[PlannedItem]]:
        for step in range(self.first_step, self.last_step):
            for micro_step in range(self.plan.accumulation_steps):
                yield self.plan.items(step, micro_step * self.plan.num_processes + self.process)

    def __len__(self) -> int:
        return (self.last_step - self.first_step) * self.plan.accumulation_steps


__all__ = [
    "BatchPlan",
    "ItemKey",
    "ItemOrder",
    "LengthGroupedOrder",
    "PlannedBatches",
    "PlannedItem",
    "ShuffledOrder",
    "build_plan",
]
