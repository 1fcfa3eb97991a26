# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Batches of training items, and what happens to videos that cannot be decoded."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from clipbert.processing.decoding import VideoDecodeError
from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.cost import Reading, add_readings, read_item
from clipbert.train_scripts.engine.order import ItemKey, PlannedItem
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.sections import DataSection
from clipbert.train_scripts.engine.termination import ignore_termination


logger = logging.getLogger("clipbert.train_scripts")


class Batch(NamedTuple):
    """
    Some items together.

    Args:
        inputs (`dict[str, torch.Tensor]`): What the model's `forward` takes.
        targets (`dict[str, Any]`): What only the task reads.
    """

    inputs: dict[str, torch.Tensor]
    targets: dict[str, Any]


class UndecodableVideosError(ValueError):
    """Training items whose videos cannot be decoded, where the recipe does not allow for them."""


class DeadWorkerError(RuntimeError):
    """A process that decodes for the run was ended from outside."""


class NoCounterpartError(ValueError):
    """Rows among which a video has no wrong caption: a training set with negatives needs other ones, or more."""


class Skipped(NamedTuple):
    """An item that could not be decoded, in an epoch of the run."""

    epoch: int
    id: str
    error: str


class MicroBatch(NamedTuple):
    """One forward pass of one process."""

    batch: Batch
    ids: list[str]
    weight: float  # share of the items that could be decoded
    skipped: list[Skipped]
    cursor: tuple[int, ...] | None = None  # of a streamed set: where the lane stands that it came from
    reading: Reading | None = None  # what it took to read the items


class DecodeGuard:
    """
    A training set whose undecodable videos are left out and reported instead of ending the run.

    A micro-batch keeps its weight in proportion to what is left of it, so a skipped item counts as if its loss were
    constant. If nothing is left, the first decodable item of the set takes the place with weight 0, because all
    processes have to run the same number of forward passes.
    """

    def __init__(self, train_set: Any, collate: Callable[[list], Batch], skip: bool):
        self.train_set, self.collate_items, self.skip = train_set, collate, skip

    def __getitem__(self, item: PlannedItem) -> tuple[str, Any, Reading]:
        (id, content), reading = read_item(lambda: self._decode(item))
        return id, content, reading

    def _decode(self, item: PlannedItem) -> tuple[str, Any]:
        epoch, key = item
        index = key[1]
        try:
            return self.train_set.ids[index], self.train_set[key]
        except VideoDecodeError as error:
            if not self.skip:
                raise UndecodableVideosError(
                    f"Training item {printable(self.train_set.ids[index])}: {error} Repair it, or set data.on_decode_error=skip. A new "
                    "run can leave the video out with data.skip_list."
                ) from error
            return self.train_set.ids[index], Skipped(epoch, self.train_set.ids[index], str(error))

    def collate(self, items: Sequence[tuple[str, Any, Reading]]) -> MicroBatch:
        skipped = [item for _, item, _ in items if isinstance(item, Skipped)]
        usable = [(id, item) for id, item, _ in items if not isinstance(item, Skipped)]
        weight = len(usable) / len(items)
        ids, contents = zip(*(usable or [self._any_item()]), strict=True)
        reading = add_readings(reading for *_, reading in items)
        return MicroBatch(self.collate_items(list(contents)), list(ids), weight, skipped, reading=reading)

    def _any_item(self) -> tuple[str, Any]:
        for index in range(len(self.train_set)):
            id, item = self._decode(PlannedItem(0, ItemKey(0, index)))
            if not isinstance(item, Skipped):
                return id, item
        raise UndecodableVideosError(
            f"None of the {len(self.train_set)} training items can be decoded; the last: {item.error}"
        )


def build_loader(dataset: Any, settings: DataSection, pin_memory: bool = False, **how: Any) -> DataLoader:
    """A loader whose workers outlive SIGTERM, and which draws nothing from the global random generator."""
    warnings.filterwarnings("ignore", "This DataLoader will create")  # more than cores, twice: pace says what is slow
    return DataLoader(
        dataset,
        num_workers=settings.num_workers,
        prefetch_factor=settings.prefetch_factor,
        worker_init_fn=ignore_termination,
        pin_memory=pin_memory,
        generator=torch.Generator(),
        **how,
    )


def find_dead_worker(error: BaseException | None) -> str | None:
    """
    What torch says of a worker that died, if that is behind an error.

    It is said in a signal handler, so in the middle of whatever the main process is doing, such as writing a file.
    """
    while error is not None:
        if isinstance(error, RuntimeError) and (text := str(error)).startswith("DataLoader worker"):
            return text.splitlines()[0].rstrip(".")
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def naming_dead_workers(recipe: Recipe) -> Iterator[None]:
    """Around a run: say what most likely ended a worker, and what to do."""
    try:
        yield
    except Exception as error:
        if (found := find_dead_worker(error)) is None:
            raise
        more = ", ".join(recipe.keys_that_save("memory", "data"))
        raise DeadWorkerError(
            f"{found}. It mostly means that memory ran out: the system ends such processes. Lower data.num_workers "
            f"({recipe.data.num_workers}){f', or {more}' if more else ''}; with a bus error, give /dev/shm more room. The "
            "same command then goes on from the last checkpoint."
        ) from None


def check_skipped(skipped: Sequence[Skipped], num_items: int, limit: float) -> None:
    """Report the items left out in an epoch or an evaluation; more than `limit` of its `num_items` are an error."""
    if not skipped:
        return
    examples = "; ".join(printable(f"{item.id}: {item.error}") for item in skipped[:3])
    message = f"{len(skipped)} of {num_items} items were skipped because their videos cannot be decoded ({examples})"
    logger.warning(message)
    if len(skipped) > limit * num_items:
        raise UndecodableVideosError(
            f"{message}. That is more than data.max_decode_error_rate={limit}. Repair the files, or raise the limit. A new "
            "run can leave the videos out with data.skip_list."
        )


__all__ = [
    "Batch",
    "DeadWorkerError",
    "DecodeGuard",
    "MicroBatch",
    "NoCounterpartError",
    "Skipped",
    "UndecodableVideosError",
    "build_loader",
    "check_skipped",
    "find_dead_worker",
    "ignore_termination",
    "naming_dead_workers",
]
