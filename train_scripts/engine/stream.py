# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Training on shards that are read as they come, without a table of their rows.

The shards are read in lanes, as many as the recipe says. A lane reads one shard after another and holds a window of
rows: their items come in random order, and wrong captions are drawn from them. Micro-batch `b` of the run comes from lane
`b % lanes`, so it is the same one whatever the number of processes and workers, as long as each lane stays with one of
them. Five numbers say where a lane stands; a checkpoint that has them goes on exactly.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import datasets
import numpy as np
from accelerate.utils import gather_object
from torch.utils.data import IterableDataset, get_worker_info

from clipbert.support.manifest import CheckpointError
from clipbert.support.options import option
from clipbert.train_scripts.engine.data import Batch, DecodeGuard, MicroBatch, NoCounterpartError, build_loader
from clipbert.train_scripts.engine.items import TrainItems
from clipbert.train_scripts.engine.mixture import divide
from clipbert.train_scripts.engine.order import ItemKey, PlannedBatches, PlannedItem, shuffle_items
from clipbert.train_scripts.engine.sections import DataSection


logger = logging.getLogger("clipbert.train_scripts")
MOST_JOINED = 16  # windows that become one, before the search for two videos with different captions ends
SEED_OF_LANES, SEED_OF_SHARDS, SEED_OF_WINDOWS = 3, 4, 5  # tell their draws from others with the recipe's seed


@dataclass(kw_only=True)
class StreamSection(DataSection):
    """Data of a task that can be trained on a part of its rows at a time."""

    streaming: bool = option(
        False, "Read the training rows from their files while training, without a table; a file is a shard."
    )
    stream_num_items: int | None = option(
        None, "Training items that count as an epoch (required with `streaming`): a stream cannot tell.", at_least=1
    )
    stream_lanes: int = option(
        8, "Shards that are read side by side: a multiple of processes x num_workers.", at_least=1
    )
    stream_window: int = option(
        256, "Rows that a lane holds: they are shuffled, and wrong captions are drawn from them.", at_least=1
    )

    def problems(self):
        yield from super().problems()
        yield from self.stream_problems()

    def stream_problems(self) -> Iterator[str]:
        if self.streaming != (self.stream_num_items is not None):
            yield f"stream_num_items: needed with `streaming: true`, and only then; got {self.stream_num_items}"
        if self.streaming and self.group_by_length:
            yield "group_by_length: needs the lengths of all items, which a stream does not know"

    def pinned(self):
        return {"skip_list"} if self.streaming else set()  # nobody can compare the items of a stream


class Cursor(NamedTuple):
    """Where a lane stands: at the first row of its window, and how much of the window it has given out."""

    lane: int
    unit: int = 0  # of the shards (or parts of shards) that the lane reads, counted without end
    row: int = 0  # of the unit
    window: int = 0  # windows before this one
    taken: int = 0  # items


class RowStream(NamedTuple):
    """A data set as a stream, and how rows of it become a training set."""

    name: str
    rows: datasets.IterableDataset
    build_set: Callable[[list[dict[str, Any]]], TrainItems]


class StreamedTrainSet(TrainItems):
    """
    What a task trains on where its rows are streamed.

    Args:
        streams (`Sequence[RowStream]`): The data sets.
        weights (`Sequence[float]`): How often each is drawn: lanes are assigned to them in proportion.
        settings (`StreamSection`): Lanes, window, and the number of items that counts as an epoch.
        seed (`int`): Seed of all draws.

    Raises:
        ValueError: If a set would have no lane.
    """

    def __init__(self, streams: Sequence[RowStream], weights: Sequence[float], settings: StreamSection, seed: int):
        self.settings, self.seed, self.is_mixture = settings, seed, len(streams) > 1
        names = [stream.name for stream in streams]
        try:
            shares = divide(settings.stream_lanes, weights, names)
        except ValueError as error:
            raise ValueError(f"data.stream_lanes={settings.stream_lanes} are assigned by weight. {error}") from error
        lines = [
            ShardLine(stream, int(share), (seed, SEED_OF_SHARDS, number))
            for number, (stream, share) in enumerate(zip(streams, shares, strict=True))
        ]
        owners = np.random.default_rng((seed, SEED_OF_LANES)).permutation(np.repeat(np.arange(len(lines)), shares))
        # for each lane what it reads, and which of the lanes there it is
        self.lanes = [(lines[owner], int((owners[:lane] == owner).sum())) for lane, owner in enumerate(owners)]
        self.num_shards = {line.stream.name: line.num_shards for line in lines}
        self.cursors: dict[int, Cursor] = {}  # where the lanes of this process stand that have begun
        for line in lines:
            logger.info(f"{line.stream.name}: {line.num_shards} shards are streamed in {line.num_lanes} lanes.")

    def __len__(self) -> int:
        return self.settings.stream_num_items

    def check_division(self, num_processes: int, num_workers: int) -> None:
        """Raise a `ValueError` unless every lane can stay with one worker of one process."""
        lanes, workers = self.settings.stream_lanes, max(num_workers, 1)
        if lanes % (num_processes * workers) == 0:
            return
        message = (
            f"data.stream_lanes={lanes} cannot be divided among {num_processes} processes x {workers} workers "
            "(data.num_workers): every lane has to stay with one of them."
        )
        if lanes % num_processes:
            raise ValueError(
                f"{message} Use {show_divisors(lanes)} processes, or a multiple of {num_processes * workers} lanes."
            )
        raise ValueError(f"{message} Set data.num_workers to {show_divisors(lanes // num_processes)}.")

    def loader(self, collate, batches, settings, pin_memory=False):
        batches = StreamedBatches(self, collate, batches, skip=settings.on_decode_error == "skip")
        return build_loader(batches, settings, pin_memory, batch_size=None)  # workers take lanes in turn

    def advance(self, cursor: Cursor) -> None:
        self.cursors[cursor.lane] = cursor

    def state(self) -> dict[str, Any]:
        return {"num_shards": self.num_shards, "cursors": gather_object(list(self.cursors.values()))}

    def restore(self, state: dict[str, Any], process_index: int, num_processes: int) -> None:
        """Take the cursors of a checkpoint, which have a meaning as long as there are as many shards."""
        if state["num_shards"] != self.num_shards:
            raise CheckpointError(
                f"The checkpoint was trained on {state['num_shards']} shards, and there are {self.num_shards}: its places in "
                "their order are lost. Bring the shards back, or start from its weights with model.from_pretrained."
            )
        cursors = [Cursor(*numbers) for numbers in state["cursors"]]
        self.cursors = {cursor.lane: cursor for cursor in cursors if cursor.lane % num_processes == process_index}

    def digest(self) -> None:
        """Nobody knows the items of a stream beforehand."""


class ShardLine:
    """
    The shards of a data set in an endless line, shuffled anew in each epoch, which its lanes take in turn.

    Where there are fewer shards than lanes, a shard counts as several units, each of which has every n-th row.
    """

    def __init__(self, stream: RowStream, num_lanes: int, seed: tuple[int, ...]):
        self.stream, self.num_lanes, self.seed = stream, num_lanes, seed
        self.num_shards = stream.rows.num_shards
        self.parts = -(-num_lanes // self.num_shards)
        if self.parts > 1:
            logger.warning(
                f"{stream.name} has {self.num_shards} shards for {num_lanes} lanes: each is read {self.parts} times an epoch, "
                f"for every {self.parts}th row. More and smaller shards, or fewer data.stream_lanes, save that."
            )

    def __len__(self) -> int:
        return self.num_shards * self.parts

    def unit_at(self, lane: int, number: int) -> tuple[int, int]:
        """The unit that a lane reads after `number` others: its shard, and which part of it."""
        epoch, place = divmod(number * self.num_lanes + lane, len(self))
        return divmod(int(shuffle_items(self.seed, epoch, len(self))[place]), self.parts)

    def read(self, shard: int, part: int) -> Iterator[dict[str, Any]]:
        rows = self.stream.rows.shard(num_shards=self.num_shards, index=shard)
        # in a worker, `iter(rows)` would give this shard to the first worker alone; `rows.iter` leaves it whole
        for batch in islice(rows.iter(batch_size=1), part, None, self.parts):
            yield {name: values[0] for name, values in batch.items()}


class Lane:
    """
    A reader of shards, which gives out the items of its windows in random order.
    Shards before its cursor are not opened; rows of the cursor's shard before it are passed over.
    """

    def __init__(self, train_set: StreamedTrainSet, cursor: Cursor):
        self.line, self.number = train_set.lanes[cursor.lane]
        self.settings, self.seed, self.is_mixture = train_set.settings, train_set.seed, train_set.is_mixture
        self.window = self.settings.stream_window
        self.rows = self.read(cursor.unit, cursor.row)
        self.cursor = cursor
        self.open_window(cursor.window)
        self.cursor = self.cursor._replace(taken=cursor.taken)

    def take(self) -> ItemKey:
        """The next item of the lane: what `train_set`, that of the present window, is to be asked for."""
        while self.cursor.taken == len(self.order):
            self.open_window(self.cursor.window + 1)
        key = ItemKey(self.epoch, int(self.order[self.cursor.taken]))
        self.cursor = self.cursor._replace(taken=self.cursor.taken + 1)
        return key

    def open_window(self, number: int) -> None:
        """Read the rows of the next window in the place of the last one's."""
        self.train_set = None
        (_, unit, row), self.train_set = self.fill_window()
        if self.is_mixture:
            self.train_set.ids = [f"{self.line.stream.name}/{id}" for id in self.train_set.ids]
        self.epoch = number * self.settings.stream_lanes + self.cursor.lane  # unlike that of any other window
        self.order = shuffle_items((self.seed, SEED_OF_WINDOWS), self.epoch, len(self.train_set))
        self.cursor = Cursor(self.cursor.lane, unit, row, number)

    def fill_window(self) -> tuple[tuple[dict[str, Any], int, int], TrainItems]:
        """The first row of a window with its place, and the training set of them all."""
        read: list[tuple[dict[str, Any], int, int]] = []
        for _ in range(MOST_JOINED):
            read += islice(self.rows, self.window)
            try:
                return read[0], self.line.stream.build_set([row for row, *_ in read])
            except NoCounterpartError as error:
                problem = error
        raise NoCounterpartError(
            f"{self.line.stream.name}: {len(read)} rows in line, {MOST_JOINED} times data.stream_window={self.window}, have "
            f"no wrong captions for each other. Shuffle the rows among the shards. ({problem})"
        )

    def read(self, unit: int, row: int) -> Iterator[tuple[dict[str, Any], int, int]]:
        """All rows from this one on, without end, each with its place."""
        empty: set[tuple[int, int]] = set()
        while len(empty) < len(self.line):
            source = self.line.unit_at(self.number, unit)
            number = -1
            for number, content in enumerate(self.line.read(*source)):
                if number >= row:
                    yield content, unit, number
            empty = {*empty, source} if number < 0 else set()
            unit, row = unit + 1, 0
        raise ValueError(
            f"{self.line.stream.name}: none of the {self.line.num_shards} shards has a row that can be used."
        )


class StreamedBatches(IterableDataset):
    """One process's share of the micro-batches, each with the cursor of its lane afterwards."""

    def __init__(
        self,
        train_set: StreamedTrainSet,
        collate: Callable[[list], Batch],
        share: PlannedBatches,
        skip: bool,
    ):
        self.train_set, self.collate, self.share, self.skip = train_set, collate, share, skip
        self.cursors = dict(train_set.cursors)  # as they are now: the lanes go ahead of those that were used

    def __iter__(self) -> Iterator[MicroBatch]:
        plan, worker = self.share.plan, get_worker_info()
        per_step = plan.accumulation_steps * plan.num_processes
        first, last = self.share.first_step * per_step, self.share.last_step * per_step
        numbers = range(first + self.share.process, last, plan.num_processes)
        lanes: dict[int, Lane] = {}
        for number in numbers if worker is None else numbers[worker.id :: worker.num_workers]:
            chosen = number % len(self.train_set.lanes)
            if chosen not in lanes:
                lanes[chosen] = Lane(self.train_set, self.cursors.get(chosen, Cursor(chosen)))
            yield self.read_batch(lanes[chosen], number)

    def read_batch(self, lane: Lane, number: int) -> MicroBatch:
        plan, items = self.share.plan, []

        def guard() -> DecodeGuard:  # of the present window, to keep none alive that is over
            return DecodeGuard(lane.train_set, self.collate, self.skip)

        for position in range(number * plan.micro_batch_size, (number + 1) * plan.micro_batch_size):
            key = lane.take()
            items.append(guard()[PlannedItem(position // plan.num_items, key)])
        return guard().collate(items)._replace(cursor=lane.cursor)


def show_divisors(number: int) -> str:
    """
    Example:
        >>> show_divisors(8)
        '1, 2, 4 or 8'
    """
    *smaller, last = [str(divisor) for divisor in range(1, number + 1) if number % divisor == 0]
    return f"{', '.join(smaller)} or {last}" if smaller else last


__all__ = ["Cursor", "RowStream", "StreamSection", "StreamedTrainSet"]
