# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Videos with a class: training items, evaluation items, batches."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import datasets
import torch
from torch.utils.data import Dataset

from clipbert.train_scripts.engine.items import TrainItems
from clipbert.train_scripts.engine.task import Batch
from clipbert.train_scripts.tasks.scoring import decode_or_explain


class LabelledItem(NamedTuple):
    """One video and the number of its class."""

    visual: dict[str, torch.Tensor]
    label: int


class LabelledVideos(TrainItems):
    """
    Training items: a video with its class. Which frames it shows depends on (seed, epoch, item) alone.

    Args:
        rows (`datasets.Dataset`): Columns `video_id`, `video` and `label`.
        processor: Decodes the videos.
        video_options (`Mapping[str, Any]`): How clips are chosen.
        seed (`int`): Seed of all choices.
    """

    def __init__(self, rows: datasets.Dataset, processor: Any, video_options: Mapping[str, Any], seed: int):
        self.rows, self.processor, self.video_options, self.seed = rows, processor, video_options, seed
        self.ids = list(rows["video_id"])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: tuple[int, int]) -> LabelledItem:
        epoch, index = key
        row = self.rows[index]
        seeds = {"seeds": [(self.seed, epoch, index)]} if self.video_options.get("sampling") == "random" else {}
        return LabelledItem(dict(self.processor(videos=[row["video"]], **seeds, **self.video_options)), row["label"])


class LabelledCollator:
    """
    Items to a batch.

    Returns (when called with a list of `LabelledItem`):
        `Batch`: Inputs of the model; target `labels` `(videos,)`.
    """

    def __call__(self, items: Sequence[LabelledItem]) -> Batch:
        inputs = {name: torch.cat([item.visual[name] for item in items]) for name in items[0].visual}
        return Batch(inputs, {"labels": torch.tensor([item.label for item in items])})


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
        seeds = {"seeds": [(self.seed, index)]} if self.video_options.get("sampling") == "random" else {}
        visual = decode_or_explain(
            lambda: dict(self.processor(videos=[row["video"]], **seeds, **self.video_options)), self.skip
        )
        return {"video_id": row["video_id"], "gold": row["label"]}, visual

    def collate(self, items: Sequence[tuple[dict[str, Any], dict[str, torch.Tensor] | str]]) -> dict[str, Any]:
        """`inputs` of those that could be decoded; the names of all, and why the others could not."""
        decoded = [visual for _, visual in items if not isinstance(visual, str)]
        inputs = {name: torch.cat([visual[name] for visual in decoded]) for name in decoded[0]} if decoded else {}
        return {
            "inputs": inputs,
            "rows": [row for row, _ in items],
            "skipped": [visual if isinstance(visual, str) else "" for _, visual in items],
        }


__all__ = ["LabelledCollator", "LabelledItem", "LabelledVideos", "EvaluatedVideos"]
