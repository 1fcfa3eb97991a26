# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Where training items come from: a table here, a mixture in `mixture.py`, streamed shards in `stream.py`."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from clipbert.train_scripts.engine.data import Batch, DecodeGuard, MicroBatch, build_loader
from clipbert.train_scripts.engine.order import (
    BatchPlan,
    ItemOrder,
    LengthGroupedOrder,
    PlannedBatches,
    ShuffledOrder,
)
from clipbert.train_scripts.engine.recipe import DataSection


class TrainItems:
    """
    What a task trains on: item `index` as epoch `epoch` sees it, decoded. `ids` names the items in messages.

    Every random choice about an item follows from (seed, epoch, index). A task writes `ids`, `__len__` and
    `__getitem__`; what follows them holds for any table of items. `lengths`, one number for each item (say, the words of
    its text), lets `data.group_by_length` put items together, and a `name` tells a set from others in a mixture.
    """

    ids: Sequence[str]
    lengths: Sequence[int] | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, key: tuple[int, int]) -> Any:
        raise NotImplementedError

    def check_division(self, num_processes: int, num_workers: int) -> None:
        """Raise a `ValueError` if so many processes with so many workers each cannot share the items."""

    def build_order(self, plan: BatchPlan, group_by_length: bool, seed: tuple[int, ...]) -> ItemOrder:
        """Which item comes when."""
        if not group_by_length:
            return ShuffledOrder(len(self), seed)
        if self.lengths is None:
            raise ValueError(
                f"data.group_by_length: {type(self).__name__} has no `lengths` of its items, one number for each. Leave "
                "data.group_by_length out, or add them."
            )
        return LengthGroupedOrder(self.lengths, seed, plan.micro_batch_size)

    def loader(
        self,
        collate: Callable[[list], Batch],
        batches: PlannedBatches,
        settings: DataSection,
        pin_memory: bool = False,
    ) -> Iterable[MicroBatch]:
        """One process's micro-batches, in the order of `batches`."""
        guard = DecodeGuard(self, collate, skip=settings.on_decode_error == "skip")
        return build_loader(guard, settings, pin_memory, batch_sampler=batches, collate_fn=guard.collate)

    def advance(self, cursor: Any) -> None:
        """Note that the micro-batch was used that came with this cursor."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to know besides the step, as JSON; all processes call."""
        return {}

    def restore(self, state: dict[str, Any], process_index: int, num_processes: int) -> None:
        """Go on from what `state` gave."""

    def digest(self) -> str | None:
        """What identifies these items, so that no run goes on with other ones; `None`: nobody knows."""
        return hashlib.sha256("\n".join(self.ids).encode()).hexdigest()


class NoTrainSet(TrainItems):
    """The training items of a run that only evaluates: one, at which nothing looks."""

    ids, lengths = ("none",), (1,)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: tuple[int, int]) -> Any:
        raise IndexError("There are no training items: the run only evaluates.")


__all__ = ["NoTrainSet", "TrainItems"]
