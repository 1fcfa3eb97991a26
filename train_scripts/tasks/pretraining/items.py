# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures or videos with masked captions, their own and others': what pre-training learns from.

Everything drawn for an item (frames, captions, masks) depends on (seed, set, epoch, item) alone, whatever the batch and
the number of workers or processes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch

from clipbert.processing.sampling import build_rng
from clipbert.train_scripts.engine.data import NoCounterpartError
from clipbert.train_scripts.engine.task import Batch
from clipbert.train_scripts.tasks.pretraining.masking import IGNORED, WordMasker
from clipbert.train_scripts.tasks.rows import RowsByVideo, TextsOfVideos, count_words, normalise
from clipbert.train_scripts.tasks.videos import seed_options


class MaskedItem(NamedTuple):
    """One picture with masked texts."""

    visual: dict[str, torch.Tensor]
    texts: list[list[int]]
    labels: list[list[int]]
    matches: list[int]  # for each text 1 if it belongs to the picture, else 0


class CaptionTable(RowsByVideo):
    """
    Captions of pictures or of videos, by the picture they belong to.

    Args:
        rows (`datasets.Dataset`): Columns `image_id`, `image`, `caption`, `caption_id`, or the same with `video`.
        processor (`ProcessorMixin`): Reads pictures and captions.
        video_options (`Mapping[str, Any]`): How clips of videos are chosen. An image is one clip of one frame.
        name (`str`): Tells the table's draws from those of others.
        seed (`int`): Seed of all draws.
    """

    def __init__(self, rows: datasets.Dataset, processor: Any, video_options: Mapping[str, Any], name: str, seed: int):
        super().__init__(rows)
        self.processor, self.video_options = processor, dict(video_options)
        self.captions = rows.select_columns("caption")  # a row may hold a whole video
        self.name, self.seed = name, seed

    @property
    def clip_shape(self) -> tuple[int, int]:
        """Clips of a picture, and frames of a clip."""
        return (
            (1, 1)
            if self.media == "image"
            else tuple(self.video_options.get(name, 1) for name in ("num_clips", "num_frames"))
        )

    def captions_of(self, visual: int) -> set[str]:
        """All captions of a picture, in a form that can be compared."""
        return {normalise(caption) for caption in self.captions[self.members(visual)]["caption"]}

    def draw_other_row(self, visual: int, rng: np.random.Generator) -> int:
        """A row of another picture, whose caption differs from all captions of this one."""
        own = self.captions_of(visual)
        return self._draw(rng, visual, lambda row: normalise(self.captions[row]["caption"]) not in own)

    def draw_other_visual(self, row: int, rng: np.random.Generator) -> int:
        """A picture that does not have the caption of this row."""
        caption = normalise(self.captions[row]["caption"])
        other = self._draw(
            rng, int(self.owners[row]), lambda other: caption not in self.captions_of(int(self.owners[other]))
        )
        return int(self.owners[other])

    def _draw(self, rng: np.random.Generator, visual: int, is_usable: Callable[[int], bool]) -> int:
        for _ in range(64):  # nearly always the first one will do
            row = int(rng.integers(len(self.rows)))
            if self.owners[row] != visual and is_usable(row):
                return row
        usable = [row for row in np.flatnonzero(self.owners != visual).tolist() if is_usable(row)]
        if not usable:
            raise NoCounterpartError(
                f"{self.name}: {self.media} {self.ids[visual]} has no counterpart: matching needs at least two "
                f"{self.media}s with different captions, and {len(self.ids)} {self.media}s with "
                f"{len(self.rows)} captions offer none."
            )
        return usable[int(rng.integers(len(usable)))]

    def load_visual(self, visual: int, seed: int, *key: int, **options: Any) -> dict[str, torch.Tensor]:
        """The picture, or the clips of a video, which lie where `seed` and `key` say if they are random."""
        if self.media == "image":
            return dict(self.processor(images=[self.source(visual)], **options))
        options = {**self.video_options, **options}
        seeds = seed_options(options, seed, self.name, *key)
        return dict(self.processor(videos=[self.source(visual)], **seeds, **options))

    def tokenize(self, rows: Sequence[int]) -> list[list[int]]:
        captions = [self.captions[int(row)]["caption"] for row in rows]
        return self.processor(text=captions, padding=False, return_tensors=None)["input_ids"]


class MaskedPairs(TextsOfVideos):
    """
    Training items: a picture with some of its captions, each replaced by that of another picture now and then.

    Args:
        table (`CaptionTable`): Pictures with captions.
        masker (`WordMasker`): Hides words, of replaced captions too.
        captions_per_video (`int`): Captions of an item; the last item of a picture is filled up with more of its own.
        mismatch_probability (`float`): Chance of a caption to be replaced.
    """

    def __init__(
        self, table: CaptionTable, masker: WordMasker, captions_per_video: int = 1, mismatch_probability: float = 0.5
    ):
        super().__init__(table, captions_per_video)
        self.table, self.masker, self.name = table, masker, table.name
        self.mismatch_probability = mismatch_probability
        if mismatch_probability:
            table.draw_other_row(0, build_rng(table.seed))  # a table without any counterpart fails here

    def check_counterparts(self) -> None:
        """Raise a `NoCounterpartError` if a picture needs wrong captions and has none: quick for a few pictures."""
        if self.mismatch_probability:
            for visual in range(len(self.table)):
                self.table.draw_other_row(visual, build_rng(self.table.seed))

    @cached_property
    def lengths(self) -> np.ndarray:
        """Words of the longest caption of each item."""
        return self.longest_of_items(count_words(self.table.rows, "caption"))

    def __getitem__(self, key: tuple[int, int]) -> MaskedItem:
        epoch, index = key
        table, visual = self.table, int(self.owners[index])
        rng = build_rng(table.seed, table.name, epoch, index)
        rows = self.fill_up(self.own_rows(index), index, rng)
        matches = [int(rng.random() >= self.mismatch_probability) for _ in rows]
        rows = [row if match else table.draw_other_row(visual, rng) for row, match in zip(rows, matches, strict=True)]
        masked = [self.masker(tokens, rng) for tokens in table.tokenize(rows)]
        texts, labels = map(list, zip(*masked, strict=True))
        return MaskedItem(table.load_visual(visual, table.seed, epoch, index), texts, labels, matches)


class MaskedCollator:
    """
    Items to a batch, each picture once, texts padded to the longest.

    Returns (when called with a list of `MaskedItem`):
        `Batch`: Inputs of a pre-training head, `mlm_labels` and `itm_labels` among them; no targets.
    """

    def __init__(self, processor: Any):
        self.tokenizer = processor.tokenizer

    def __call__(self, items: Sequence[MaskedItem]) -> Batch:
        shapes = {tuple(item.visual["pixel_values"].shape[1:3]) for item in items}
        if len(shapes) > 1:
            raise ValueError(
                f"A batch has pictures of {sorted(shapes)} clips and frames; set data.mix_by=micro_batch."
            )
        texts = self.tokenizer.pad({"input_ids": [text for item in items for text in item.texts]}, return_tensors="pt")
        labels = torch.full_like(texts["input_ids"], IGNORED)
        for row, values in zip(labels, (values for item in items for values in item.labels), strict=True):
            row[: len(values)] = torch.tensor(values)
        inputs = {
            **{name: torch.cat([item.visual[name] for item in items]) for name in items[0].visual},
            **{name: texts[name] for name in ("input_ids", "attention_mask")},
            "video_indices": torch.tensor([number for number, item in enumerate(items) for _ in item.texts]),
            "mlm_labels": labels,
            "itm_labels": torch.tensor([match for item in items for match in item.matches]),
        }
        return Batch(inputs, {})


__all__ = ["CaptionTable", "MaskedCollator", "MaskedItem", "MaskedPairs"]
