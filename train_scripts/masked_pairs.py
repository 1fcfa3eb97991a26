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
import pyarrow.compute
import torch

from clipbert.processing.processing_clipbert import VideoTextProcessor
from clipbert.processing.sampling import build_rng
from clipbert.train_scripts.engine.data import Batch, NoCounterpartError
from clipbert.train_scripts.engine.items import TrainItems
from clipbert.train_scripts.masking import IGNORED, WordMasker
from clipbert.train_scripts.pairs import normalise


class MaskedItem(NamedTuple):
    """One picture with masked texts."""

    visual: dict[str, torch.Tensor]
    texts: list[list[int]]
    labels: list[list[int]]
    matches: list[int]  # for each text 1 if it belongs to the picture, else 0


class CaptionTable:
    """
    Captions of pictures or of videos, by the picture they belong to.

    Only the numbers that lead from pictures to rows are held in memory: the captions of millions of regions stay in
    the table on disk.

    Args:
        rows (`datasets.Dataset`): Columns `image_id`, `image`, `caption`, `caption_id`, or the same with `video`.
        processor (`VideoTextProcessor`): Reads pictures and captions.
        video_options (`Mapping[str, Any]`): How clips of videos are chosen. An image is one clip of one frame.
        name (`str`): Tells the table's draws from those of others.
        seed (`int`): Seed of all draws.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        processor: VideoTextProcessor,
        video_options: Mapping[str, Any],
        name: str,
        seed: int,
    ):
        self.kind = "image" if "image_id" in rows.column_names else "video"
        self.rows, self.processor, self.video_options = rows, processor, dict(video_options)
        self.captions = rows.select_columns("caption")  # a row may hold a whole video
        self.name, self.seed = name, seed
        ids = rows.select_columns(f"{self.kind}_id").with_format("arrow")[:].column(0)
        numbered = pyarrow.chunked_array(ids).combine_chunks().dictionary_encode()
        self.visual_ids: list[str] = numbered.dictionary.to_pylist()
        self.visuals = numbered.indices.to_numpy()  # for each row the number of its picture
        self.row_order = np.argsort(self.visuals, kind="stable")
        self.starts = np.searchsorted(self.visuals[self.row_order], np.arange(len(self.visual_ids) + 1))

    @property
    def clip_shape(self) -> tuple[int, int]:
        """Clips of a picture, and frames of a clip."""
        return (1, 1) if self.kind == "image" else (self.video_options["num_clips"], self.video_options["num_frames"])

    def members(self, visual: int) -> np.ndarray:
        """Rows of a picture, in order."""
        return self.row_order[self.starts[visual] : self.starts[visual + 1]]

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
            rng, int(self.visuals[row]), lambda other: caption not in self.captions_of(int(self.visuals[other]))
        )
        return int(self.visuals[other])

    def _draw(self, rng: np.random.Generator, visual: int, is_usable: Callable[[int], bool]) -> int:
        for _ in range(64):  # nearly always the first one will do
            row = int(rng.integers(len(self.rows)))
            if self.visuals[row] != visual and is_usable(row):
                return row
        usable = [row for row in np.flatnonzero(self.visuals != visual).tolist() if is_usable(row)]
        if not usable:
            raise NoCounterpartError(
                f"{self.name}: {self.kind} {self.visual_ids[visual]} has no counterpart: matching needs at least two "
                f"{self.kind}s with different captions, and {len(self.visual_ids)} {self.kind}s with "
                f"{len(self.rows)} captions offer none."
            )
        return usable[int(rng.integers(len(usable)))]

    def load_visual(self, visual: int, seed: int, *key: int, **options: Any) -> dict[str, torch.Tensor]:
        """The picture, or the clips of a video, which lie where `seed` and `key` say if they are random."""
        source = self.rows[int(self.members(visual)[0])][self.kind]
        if self.kind == "image":
            return dict(self.processor(images=[source], **options))
        options = {**self.video_options, **options}
        return dict(self.processor(videos=[source], seeds=[(seed, self.name, *key)], **options))

    def tokenize(self, rows: Sequence[int]) -> list[list[int]]:
        captions = [self.captions[int(row)]["caption"] for row in rows]
        return self.processor(text=captions, padding=False, return_tensors=None)["input_ids"]


class MaskedPairs(TrainItems):
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
        self.table, self.masker, self.name = table, masker, table.name
        self.captions_per_video, self.mismatch_probability = captions_per_video, mismatch_probability
        counts = -(-np.diff(table.starts) // captions_per_video)  # items of each picture
        self.visuals = np.repeat(np.arange(len(counts)), counts)
        self.places = np.arange(len(self.visuals)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.ids = [table.visual_ids[visual] for visual in self.visuals]
        if mismatch_probability:
            table.draw_other_row(0, build_rng(table.seed))  # a table without any counterpart fails here

    def __len__(self) -> int:
        return len(self.visuals)

    def check_counterparts(self) -> None:
        """Raise a `NoCounterpartError` if a picture needs wrong captions and has none: quick for a few pictures."""
        if self.mismatch_probability:
            for visual in range(len(self.table.visual_ids)):
                self.table.draw_other_row(visual, build_rng(self.table.seed))

    @cached_property
    def lengths(self) -> np.ndarray:
        """Words of the longest caption of each item."""
        captions = self.table.rows.select_columns("caption").with_format("arrow")[:].column(0)
        words = np.concatenate(
            [pyarrow.compute.count_substring(part, " ").to_numpy() for part in pyarrow.chunked_array(captions).chunks]
        )
        firsts = self.table.starts[self.visuals] + self.places * self.captions_per_video
        return np.maximum.reduceat(words[self.table.row_order], firsts) + 1

    def __getitem__(self, key: tuple[int, int]) -> MaskedItem:
        epoch, index = key
        table, visual = self.table, int(self.visuals[index])
        rng = build_rng(table.seed, table.name, epoch, index)
        members = table.members(visual)
        first = self.places[index] * self.captions_per_video
        rows = members[first : first + self.captions_per_video].tolist()
        rows += rng.choice(members, self.captions_per_video - len(rows)).tolist()
        matches = [int(rng.random() >= self.mismatch_probability) for _ in rows]
        rows = [row if match else table.draw_other_row(visual, rng) for row, match in zip(rows, matches, strict=True)]
        masked = [self.masker(tokens, rng) for tokens in table.tokenize(rows)]
        texts, labels = map(list, zip(*masked, strict=True))
        return MaskedItem(table.load_visual(visual, table.seed, epoch, index), texts, labels, matches)


class MaskedCollator:
    """
    Items to a batch, each picture once, texts padded to the longest.

    Returns (when called with a list of `MaskedItem`):
        `dict`: Inputs of `ClipBERTForPreTraining`, with `mlm_labels` and `itm_labels`.
    """

    def __init__(self, processor: VideoTextProcessor):
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
