# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Order of the training items, and what happens to videos that cannot be decoded.

Nothing here has a state: which items a step sees, and every random choice about an item, follow from (seed, epoch,
item). So a run resumes at any step, and neither the number of workers nor of processes changes what is learned.
"""

import functools
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from processing.decoding import VideoDecodeError
from train_scripts.engine.recipe import DataSection


logger = logging.getLogger(__name__)


class TrainSet(Protocol):
    """What a task trains on: item `index` as epoch `epoch` sees it, decoded; `ids` names the items in messages."""

    ids: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, key: tuple[int, int]) -> Any: ...


class UndecodableVideosError(ValueError):
    """Training items whose videos cannot be decoded, where the recipe does not allow for them."""


class Skipped(NamedTuple):
    """An item that could not be decoded."""

    epoch: int
    id: str
    error: str


class MicroBatch(NamedTuple):
    """One forward pass of one process."""

    inputs: dict[str, torch.Tensor]
    ids: list[str]
    weight: float  # share of the items that could be decoded
    skipped: list[Skipped]


@dataclass(frozen=True)
class BatchPlan:
    """
    Which items belong to which optimizer step, process and micro-batch.

    The epochs' permutations follow each other as one endless line, and step `t` takes the next `global_batch_size`
    items of it, in micro-batches that are dealt to the processes in turn: step, process and micro-batch decide what is
    in a micro-batch, and the micro-batches of a step are the same ones whatever the number of processes.

    Args:
        num_items (`int`): Items of an epoch.
        global_batch_size (`int`): Items of a step.
        micro_batch_size (`int`): Items of a forward pass.
        num_processes (`int`): Processes that share a step.
        seed (`int`): Seed of the permutations.
    """

    num_items: int
    global_batch_size: int
    micro_batch_size: int
    num_processes: int
    seed: int

    def __post_init__(self):
        if self.num_items < 1:
            raise ValueError("The training split has no items.")
        if self.global_batch_size % (self.micro_batch_size * self.num_processes):
            raise ValueError(
                f"run.global_batch_size={self.global_batch_size} cannot be divided into micro-batches of "
                f"run.micro_batch_size={self.micro_batch_size} on {self.num_processes} processes. Make it a multiple "
                f"of {self.micro_batch_size * self.num_processes}, or change run.micro_batch_size."
            )

    @property
    def accumulation_steps(self) -> int:
        return self.global_batch_size // (self.micro_batch_size * self.num_processes)

    def epoch_at(self, step: int) -> int:
        """Whole epochs that have passed after `step` steps."""
        return step * self.global_batch_size // self.num_items

    def keys(self, step: int, micro_batch: int) -> list[tuple[int, int]]:
        """The (epoch, index) keys of micro-batch `micro_batch`, counted over all processes, of step `step`."""
        first = step * self.global_batch_size + micro_batch * self.micro_batch_size
        keys = []
        for position in range(first, first + self.micro_batch_size):
            epoch, place = divmod(position, self.num_items)
            keys.append((epoch, int(shuffle_items(self.seed, epoch, self.num_items)[place])))
        return keys


@functools.lru_cache(maxsize=4)
def shuffle_items(seed: int, epoch: int, num_items: int) -> np.ndarray:
    """The order of the items in one epoch."""
    return np.random.default_rng((seed, epoch)).permutation(num_items)


class PlannedBatches(Sampler[list[tuple[int, int]]]):
    """One process's share of the steps from `first_step` to `last_step`, as a batch sampler."""

    def __init__(self, plan: BatchPlan, first_step: int, last_step: int, process: int):
        self.plan, self.first_step, self.last_step, self.process = plan, first_step, last_step, process

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.first_step, self.last_step):
            for micro_step in range(self.plan.accumulation_steps):
                yield self.plan.keys(step, micro_step * self.plan.num_processes + self.process)

    def __len__(self) -> int:
        return (self.last_step - self.first_step) * self.plan.accumulation_steps


class DecodeGuard:
    """
    A training set whose undecodable videos are left out and reported instead of ending the run.

    A micro-batch keeps its weight in proportion to what is left of it, so a skipped item counts as if its loss were
    constant. If nothing is left, the first decodable item of the set takes the place with weight 0, because all
    processes have to run the same number of forward passes.
    """

    def __init__(self, train_set: TrainSet, collate: Callable[[list], dict[str, torch.Tensor]], skip: bool):
        self.train_set, self.collate_items, self.skip = train_set, collate, skip

    def __getitem__(self, key: tuple[int, int]) -> tuple[str, Any]:
        epoch, index = key
        try:
            return self.train_set.ids[index], self.train_set[key]
        except VideoDecodeError as error:
            if not self.skip:
                raise UndecodableVideosError(
                    f"Training item {self.train_set.ids[index]}: {error} Repair it, list the video in data.skip_list, or "
                    "set data.on_decode_error=skip."
                ) from error
            return self.train_set.ids[index], Skipped(epoch, self.train_set.ids[index], str(error))

    def collate(self, items: Sequence[tuple[str, Any]]) -> MicroBatch:
        skipped = [item for _, item in items if isinstance(item, Skipped)]
        usable = [(id, item) for id, item in items if not isinstance(item, Skipped)]
        weight = len(usable) / len(items)
        ids, contents = zip(*(usable or [self._any_item()]), strict=True)
        return MicroBatch(self.collate_items(list(contents)), list(ids), weight, skipped)

    def _any_item(self) -> tuple[str, Any]:
        for index in range(len(self.train_set)):
            id, item = self[0, index]
            if not isinstance(item, Skipped):
                return id, item
        raise UndecodableVideosError(
            f"None of the {len(self.train_set)} training items can be decoded; the last: {item.error}"
        )


def build_train_loader(
    train_set: TrainSet,
    collate: Callable[[list], dict[str, torch.Tensor]],
    batches: PlannedBatches,
    settings: DataSection,
    pin_memory: bool = False,
) -> DataLoader:
    """A loader of `MicroBatch`es in the order of `batches`."""
    guard = DecodeGuard(train_set, collate, skip=settings.on_decode_error == "skip")
    return DataLoader(
        guard,
        batch_sampler=batches,
        collate_fn=guard.collate,
        num_workers=settings.num_workers,
        worker_init_fn=ignore_termination,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # otherwise the loader's base seed is drawn from the global stream
    )


def ignore_termination(worker_id: int = 0) -> None:
    """For workers: SIGTERM often reaches the whole process group, and the loop needs them until it has saved."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def check_skipped(skipped: Sequence[Skipped], num_items: int, limit: float) -> None:
    """Report the items left out since the last report; more than `limit` of an epoch's `num_items` are an error."""
    if not skipped:
        return
    examples = "; ".join(f"{item.id}: {item.error}" for item in skipped[:3])
    message = f"{len(skipped)} of {num_items} items were skipped because their videos cannot be decoded ({examples})"
    logger.warning(message)
    if len(skipped) > limit * num_items:
        raise UndecodableVideosError(
            f"{message}. That is more than data.max_decode_error_rate={limit}. Repair the files, list the videos in "
            "data.skip_list, or raise the limit."
        )


__all__ = [
    "BatchPlan",
    "DecodeGuard",
    "MicroBatch",
    "PlannedBatches",
    "Skipped",
    "TrainSet",
    "UndecodableVideosError",
    "build_train_loader",
    "check_skipped",
]
