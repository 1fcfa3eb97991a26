# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Several training sets in one run, mixed by weight."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from clipbert.train_scripts.engine.items import TrainItems
from clipbert.train_scripts.engine.order import BatchPlan, ItemKey, ItemOrder


ROUND = 8192  # draws in which the weights are kept exactly


class MixedTrainSet(TrainItems):
    """
    Several training sets as one, each drawn from in proportion to its weight.

    The items are numbered through: those of the first set, then those of the second, and so on. An item is asked for
    with the epoch of its own set, so a small set with a large weight goes through many epochs while a large one is
    seen for the first time. An "epoch" of the mixture is as many items as all sets have together.

    Args:
        train_sets (`Sequence[TrainItems]`): The sets. Their items need one collate function.
        weights (`Sequence[float]`): How often each set is drawn, relative to the others. `[1, 1]` draws from both
            equally often, whatever their sizes; the sizes as weights draw every item equally often.
        seed (`int`): Seed of the draws.
        names (`Sequence[str]`, *optional*): Names of the sets, put before the ids of their items. By default their
            attribute `name`, or `set0`, `set1`, ...
        mix_by (`str`, *optional*, defaults to `"micro_batch"`): What is drawn from one set together: an `"item"`, a
            `"micro_batch"`, or all items of a `"step"`, as the released code does.

    Example:
        >>> class Letters(TrainItems):
        ...     def __init__(self, name, letters):
        ...         self.name, self.ids = name, list(letters)
        ...
        ...     def __len__(self):
        ...         return len(self.ids)
        ...
        ...     def __getitem__(self, key):
        ...         return self.ids[key[1]]
        >>> mixed = MixedTrainSet([Letters("latin", "abc"), Letters("greek", "αβ")], weights=[2, 1], seed=0)
        >>> len(mixed), mixed.ids[3], mixed[0, 3]
        (5, 'greek/α', 'α')
    """

    def __init__(
        self,
        train_sets: Sequence[TrainItems],
        weights: Sequence[float],
        seed: int,
        names: Sequence[str] | None = None,
        mix_by: Literal["item", "micro_batch", "step"] = "micro_batch",
    ):
        if len(train_sets) != len(weights) or not train_sets:
            raise ValueError(
                f"Expected a weight for each training set, got {len(weights)} for {len(train_sets)} sets."
            )
        if mix_by not in ("item", "micro_batch", "step"):
            raise ValueError(f"mix_by: expected item, micro_batch or step, got {mix_by!r}.")
        if names is None:
            names = [getattr(train_set, "name", f"set{number}") for number, train_set in enumerate(train_sets)]
        if len(set(names)) != len(train_sets):
            raise ValueError(f"Expected {len(train_sets)} different names of training sets, got {list(names)}.")
        if empty := [name for name, train_set in zip(names, train_sets, strict=True) if not len(train_set)]:
            raise ValueError(f"Training sets without items: {', '.join(empty)}. Leave them out of the mixture.")
        self.train_sets, self.names, self.seed, self.mix_by = list(train_sets), list(names), seed, mix_by
        self.shares = divide(ROUND, weights, names)
        self.starts = np.cumsum([0, *map(len, train_sets)])
        self.ids = [f"{name}/{id}" for name, part in zip(names, train_sets, strict=True) for id in part.ids]

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, index = key
        number = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.train_sets[number][epoch, index - int(self.starts[number])]

    def build_order(self, plan: BatchPlan, group_by_length: bool, seed: tuple[int, ...]) -> "MixedOrder":
        """The orders of the sets, by turns."""
        if group_by_length and self.mix_by == "item":
            raise ValueError(
                "data.group_by_length needs micro-batches of one set; mix the sets by micro_batch or step."
            )
        orders = [
            part.build_order(plan, group_by_length, (*seed, number)) for number, part in enumerate(self.train_sets)
        ]
        together = {"item": 1, "micro_batch": plan.micro_batch_size, "step": plan.global_batch_size}
        return MixedOrder(orders, self.starts, tuple(map(int, self.shares)), self.seed, together[self.mix_by])


@dataclass(frozen=True)
class MixedOrder:
    """
    The items of several orders, taken by turns: blocks of `block_size` items come from one of them.

    In every round of blocks each set has exactly its share, in random places. So how much of a set has been shown
    before a position can be counted without walking there.
    """

    orders: Sequence[ItemOrder]
    starts: Sequence[int]  # number of the first item of each set
    shares: tuple[int, ...]  # blocks of each set in a round
    seed: int
    block_size: int

    def key_at(self, position: int) -> ItemKey:
        block, place = divmod(position, self.block_size)
        round_number, turn = divmod(block, sum(self.shares))
        sets, seen = assign_turns(self.shares, self.seed, round_number)
        number = int(sets[turn])
        block_of_set = round_number * self.shares[number] + int(seen[turn])
        epoch, index = self.orders[number].key_at(block_of_set * self.block_size + place)
        return ItemKey(epoch, int(self.starts[number]) + index)


@functools.lru_cache(maxsize=4)
def assign_turns(shares: tuple[int, ...], seed: int, round_number: int) -> tuple[np.ndarray, np.ndarray]:
    """For each turn of a round, the set it belongs to, and how many turns of the round the set had before."""
    sets = np.random.default_rng((seed, round_number, 2)).permutation(np.repeat(np.arange(len(shares)), shares))
    seen = np.empty_like(sets)
    for number, share in enumerate(shares):
        seen[sets == number] = np.arange(share)
    return sets, seen


def divide(total: int, weights: Sequence[float], names: Sequence[str]) -> np.ndarray:
    """Whole shares of `total` in proportion to the weights, by the largest remainders."""
    weights = np.asarray(weights, dtype=float)
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise ValueError(f"Expected weights above 0, got {dict(zip(names, weights.tolist(), strict=True))}.")
    exact = total * weights / weights.sum()
    shares = np.floor(exact).astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: total - shares.sum()]] += 1
    if (shares == 0).any():
        rare = [name for name, share in zip(names, shares, strict=True) if share == 0]
        raise ValueError(
            f"The weights of {', '.join(rare)} are below 1/{total} of all weights: leave these sets out, or give them "
            "larger weights."
        )
    return shares


__all__ = ["MixedOrder", "MixedTrainSet"]
