# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Videos with a class: training items, evaluation items, batches."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from clipbert.processing import VideoDecodeError, read_video_metadata
from clipbert.train_scripts.engine.items import TrainItems
from clipbert.train_scripts.engine.order import BatchPlan, ItemKey, ItemOrder, shuffle_items
from clipbert.train_scripts.engine.task import Batch
from clipbert.train_scripts.tasks.scoring import decode_or_explain
from clipbert.train_scripts.tasks.videos import seed_options


UNSAID = {"sampling": None}  # left to the processor, which then draws nothing


class LabelledItem(NamedTuple):
    """One video with the number of its class, or a list of them."""

    visual: dict[str, torch.Tensor]
    label: int | list[int]


class LabelledVideos(TrainItems):
    """
    Training items: a video with its class. What is drawn for it depends on (seed, epoch, item) alone.

    Args:
        rows (`datasets.Dataset`): Columns `video_id`, `video` and `label`.
        processor: Decodes the videos, or reads what has been made of them.
        video_options (`Mapping[str, Any]`): Which frames are seen, and what alters them.
        seed (`int`): Seed of all choices.
        with_copies (`bool`, *optional*, defaults to `False`): Let each video be followed by one altered copy, the same in
            all epochs, and show the video itself as it is: twice as many items.
        balances_classes (`bool`, *optional*, defaults to `False`): Show classes in turn, see `BalancedOrder`.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        processor: Any,
        video_options: Mapping[str, Any],
        seed: int,
        with_copies: bool = False,
        balances_classes: bool = False,
    ):
        self.rows, self.processor, self.video_options = rows, processor, dict(video_options)
        self.seed, self.with_copies, self.balances_classes = seed, with_copies, balances_classes
        self.ids = list(rows["video_id"])
        if with_copies:
            self.ids += [f"{name} (altered copy)" for name in self.ids]

    def build_order(self, plan: BatchPlan, group_by_length: bool, seed: tuple[int, ...]) -> ItemOrder:
        if not self.balances_classes:
            return super().build_order(plan, group_by_length, seed)
        return BalancedOrder(self.rows["label"][:] * (1 + self.with_copies), seed)

    @cached_property
    def lengths(self) -> list[int]:
        """Frames of each item, by which `data.group_by_length` puts them together."""
        videos = tqdm(self.rows["video"][:], desc="counting frames", unit="video", disable=None)
        return [count_frames(self.processor, video) for video in videos] * (1 + self.with_copies)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: tuple[int, int]) -> LabelledItem:
        epoch, index = key
        is_copy, number = divmod(index, len(self.rows))
        row, options = self.rows[number], self.video_options
        if self.with_copies:
            epoch = 0 if is_copy else epoch
            options = options if is_copy else {**options, "augmentation": None}
        seeds = seed_options({**UNSAID, **options}, self.seed, epoch, index)
        return LabelledItem(dict(self.processor(videos=[row["video"]], **seeds, **options)), row["label"])


class BalancedOrder:
    """
    An order in which classes take turns: every epoch shows every item once, in rounds with one item of each class that has
    some left. So the classes of a batch are as many as possible, and none is there more often than others.

    Args:
        labels (`Sequence[int]`): The class of each item.
        seed (`tuple[int, ...]`): Decides which item of a class is in which round, and where in it.
    """

    def __init__(self, labels: Sequence[int], seed: tuple[int, ...]):
        self.labels, self.seed = np.asarray(labels), seed
        self._epoch: tuple[int, np.ndarray] = (-1, np.zeros(0, dtype=int))

    def key_at(self, position: int) -> ItemKey:
        epoch, place = divmod(position, len(self.labels))
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._order_epoch(epoch)
        return ItemKey(epoch, int(self._epoch[1][place]))

    def _order_epoch(self, epoch: int) -> np.ndarray:
        shuffled = shuffle_items(self.seed, epoch, len(self.labels))
        labels, rounds = self.labels[shuffled], np.zeros(len(shuffled), dtype=int)
        for label in np.unique(labels):
            rounds[labels == label] = np.arange(np.count_nonzero(labels == label))
        return shuffled[np.argsort(rounds, kind="stable")]


def count_frames(processor: Any, video: Any) -> int:
    """Frames of a video, as a cache or the file says; 0 where neither can be read, which decoding will tell."""
    if hasattr(processor, "num_frames") and callable(processor.num_frames):
        return processor.num_frames(video)
    try:
        return read_video_metadata(video).total_num_frames
    except VideoDecodeError:
        return 0


def join_videos(visuals: Sequence[Mapping[str, torch.Tensor]], mask: str = "frame_mask") -> dict[str, torch.Tensor]:
    """
    Inputs of single videos to those of a batch. Videos with a mask, such as `frame_mask` `(1, ..., frames)`, may differ in its
    dimensions: shorter ones are padded with zeros on the right, in all inputs alike.
    """
    if mask in visuals[0]:
        shapes = [visual[mask].shape[1:] for visual in visuals]
        longest = [max(sizes) for sizes in zip(*shapes, strict=True)]
        visuals = [{name: _pad(values, longest) for name, values in visual.items()} for visual in visuals]
    return {name: torch.cat([visual[name] for visual in visuals]) for name in visuals[0]}


def _pad(values: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """Zeros on the right of the dimensions that follow the first, up to `sizes`."""
    missing = [size - had for size, had in zip(sizes, values.shape[1:], strict=False)]
    after = values.dim() - 1 - len(sizes)
    return F.pad(values, [0, 0] * after + [part for number in reversed(missing) for part in (0, number)])


class LabelledCollator:
    """
    Items to a batch.

    Args:
        num_labels (`int`, *optional*): Number of classes, where an item may have several.

    Returns (when called with a list of `LabelledItem`):
        `Batch`: Inputs of the model; target `labels` `(videos,)`, or with several `(videos, classes)` of 0.0 and 1.0.
    """

    def __init__(self, num_labels: int | None = None):
        self.num_labels = num_labels

    def __call__(self, items: Sequence[LabelledItem]) -> Batch:
        labels = [item.label for item in items]
        if self.num_labels is None:
            targets = torch.tensor(labels)
        else:
            targets = torch.from_numpy(mark_labels(labels, self.num_labels)).float()
        return Batch(join_videos([item.visual for item in items]), {"labels": targets})


def mark_labels(labels: Sequence[int | Sequence[int]], num_labels: int) -> np.ndarray:
    """For each example 1 where it has a label, else 0: `(examples, classes)`."""
    marks = np.zeros((len(labels), num_labels), dtype=np.int64)
    for row, found in zip(marks, labels, strict=True):
        row[found] = 1
    return marks


class EvaluatedVideos(Dataset):
    """
    The videos of an evaluation, one after the other; those that cannot be decoded come with the reason.

    Args:
        rows (`datasets.Dataset`): As for `LabelledVideos`.
        processor: Decodes the videos.
        video_options (`Mapping[str, Any]`): How clips are chosen.
        skip (`bool`): Let videos that cannot be decoded pass, with the reason, instead of failing.
        seed (`int`): Seed of random clips; those of a video depend on it and on its number.
    """

    def __init__(
        self, rows: datasets.Dataset, processor: Any, video_options: Mapping[str, Any], skip: bool, seed: int
    ):
        self.rows, self.processor, self.video_options = rows, processor, video_options
        self.skip, self.seed = skip, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[dict[str, Any], dict[str, torch.Tensor] | str]:
        row = self.rows[index]
        seeds = seed_options({**UNSAID, **self.video_options}, self.seed, index)
        visual = decode_or_explain(
            lambda: dict(self.processor(videos=[row["video"]], **seeds, **self.video_options)), self.skip
        )
        return {"video_id": row["video_id"], "gold": row["label"]}, visual

    def collate(self, items: Sequence[tuple[dict[str, Any], dict[str, torch.Tensor] | str]]) -> dict[str, Any]:
        """`inputs` of those that could be decoded; the names of all, and why the others could not."""
        decoded = [visual for _, visual in items if not isinstance(visual, str)]
        return {
            "inputs": join_videos(decoded) if decoded else {},
            "rows": [row for row, _ in items],
            "skipped": [visual if isinstance(visual, str) else "" for _, visual in items],
        }


__all__ = [
    "BalancedOrder",
    "EvaluatedVideos",
    "LabelledCollator",
    "LabelledItem",
    "LabelledVideos",
    "join_videos",
    "mark_labels",
]
