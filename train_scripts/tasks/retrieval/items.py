# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Texts paired with videos, matching and not: the training items and batches of retrieval."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import datasets
import numpy as np
import torch

from clipbert.processing.sampling import build_rng
from clipbert.support.options import option
from clipbert.train_scripts.engine.data import NoCounterpartError
from clipbert.train_scripts.engine.predictions import read_predictions
from clipbert.train_scripts.engine.stream import StreamSection
from clipbert.train_scripts.engine.task import Batch
from clipbert.train_scripts.tasks.rows import RowsByVideo, TextsOfVideos, count_words, normalise
from clipbert.train_scripts.tasks.videos import VideoSection, seed_options


@dataclass(kw_only=True)
class PairSection(StreamSection, VideoSection):
    captions_per_video: int = option(1, "Captions of an item. A video is decoded once for all of them.", at_least=1)
    negatives: Literal["random", "in_batch", "hard"] = option(
        "random",
        "`random`: captions of other videos; `hard`: those that a model took for matches, see `hard_negatives`; "
        "`in_batch`: every text with every video of a micro-batch.",
    )
    num_negatives: int = option(1, "Captions of other videos for each caption.", at_least=1)
    hard_negatives: str | None = option(
        None, "Folder of predictions on the training split (an evaluation with `eval.splits: {train: monitor}`)."
    )
    hard_pool: int = option(30, "`hard` draws among this many wrong captions with the highest scores.", at_least=1)

    def problems(self):
        yield from super().problems()
        if (self.negatives == "hard") != (self.hard_negatives is not None):
            yield f"hard_negatives: needed with `negatives: hard`, and only then; got {self.hard_negatives!r}"
        if self.streaming and self.negatives == "hard":
            yield "negatives: hard needs a table of all captions; with `streaming` use random or in_batch"


class PairItem(NamedTuple):
    """One video with texts that match it, and texts that do not."""

    video: dict[str, torch.Tensor]
    video_id: str
    captions: list[str]
    negatives: list[str]
    own_texts: frozenset[str]  # all captions of the video, also those that this item leaves out


class CaptionedVideos(TextsOfVideos):
    """
    Training items: a video with `captions_per_video` of its captions and with captions of other videos.

    Which frames and which captions an item has depends on (seed, epoch, item) alone. A caption counts as another
    video's only if it differs from every caption of this one.

    Args:
        rows (`datasets.Dataset`): Rows with `video_id`, `video` and `caption`; with `start_s` and `end_s`, where a part of the
            video is meant.
        processor (`ProcessorMixin`): Decodes the videos.
        video_options (`Mapping[str, Any]`): How clips are chosen.
        settings (`PairSection`): Captions of an item and negatives.
        seed (`int`): Seed of all choices.

    Raises:
        NoCounterpartError: If random negatives are asked for and a video has no caption that is not its own.
        ValueError: If hard negatives are asked for and a video has no scores.
        FileNotFoundError: If `settings.hard_negatives` holds no predictions.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        processor: Any,
        video_options: Mapping[str, Any],
        settings: PairSection,
        seed: int,
    ):
        super().__init__(RowsByVideo(rows), settings.captions_per_video)
        self.processor, self.video_options, self.settings, self.seed = processor, video_options, settings, seed
        self.captions = rows.select_columns("caption")
        numbers: dict[str, int] = {}  # equal texts have equal numbers
        texts = map(normalise, self.captions["caption"])
        self.text_numbers = np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=int)
        self.lengths = self.longest_of_items(count_words(rows, "caption"))
        self.hard_rows: dict[str, np.ndarray] = {}
        if settings.negatives == "hard":
            self.hard_rows = self.find_hard_rows(Path(settings.hard_negatives), settings.hard_pool)
        if settings.negatives == "random":
            self.check_counterparts()

    def check_counterparts(self) -> None:
        num_texts = self.text_numbers.max(initial=-1) + 1
        for number, video_id in enumerate(self.grouped.ids):
            members = self.grouped.members(number)
            if len(members) >= num_texts and len(set(self.text_numbers[members].tolist())) == num_texts:
                source = self.grouped.source(number)
                raise NoCounterpartError(
                    f"Video {video_id} ({'bytes' if isinstance(source, bytes) else source}) has no wrong caption: every "
                    f"caption of the training split is one of its own {len(members)}. Negatives need at least two videos "
                    "with different captions."
                )

    def __getitem__(self, key: tuple[int, int]) -> PairItem:
        epoch, index = key
        number = int(self.owners[index])
        video_id, members = self.grouped.ids[number], self.grouped.members(number)
        rng = build_rng(self.seed, epoch, index, "texts")
        rows, negatives = self.fill_up(self.own_rows(index), index, rng), []
        if self.settings.negatives != "in_batch":
            negatives = self.draw_negatives(rng, number, len(rows) * self.settings.num_negatives)
        seeds = seed_options(self.video_options, self.seed, epoch, index)
        options = {**self.grouped.span_options(number), **seeds, **self.video_options}
        video = self.processor(videos=[self.grouped.source(number)], **options)
        own = dict(zip(map(int, members), self.read_captions(members), strict=True))
        captions, own_texts = [own[int(row)] for row in rows], frozenset(map(normalise, own.values()))
        return PairItem(dict(video), video_id, captions, self.read_captions(negatives), own_texts)

    def read_captions(self, rows: Sequence[int]) -> list[str]:
        return self.captions[[int(row) for row in rows]]["caption"] if len(rows) else []

    def draw_negatives(self, rng: np.random.Generator, number: int, how_many: int) -> np.ndarray:
        """Rows of other videos, each one of the split (or of the video's hard ones) being as likely as any other."""
        if self.hard_rows:
            allowed = self.hard_rows[self.grouped.ids[number]]
        else:
            own = np.unique(self.text_numbers[self.grouped.members(number)])
            allowed = np.flatnonzero(~np.isin(self.text_numbers, own))
        return rng.choice(allowed, how_many, replace=len(allowed) < how_many)

    def find_hard_rows(self, folder: Path, pool: int) -> dict[str, np.ndarray]:
        """For each video the rows of the wrong captions to which written predictions gave the highest log-odds."""
        if not (folder / "records.json").is_file():
            raise FileNotFoundError(
                f"data.hard_negatives: {folder} holds no predictions (records.json, tensors.safetensors). Evaluate a model "
                "on the training split first: run.total_steps=0 and eval.splits={train: monitor}."
            )
        predictions = read_predictions(folder)
        if "log_odds" not in predictions.tensors:
            raise ValueError(
                f"data.hard_negatives: {folder} holds ranks, but not the scores of all pairs. Evaluate again with "
                "eval.keep_scores=true."
            )
        log_odds = predictions.tensors["log_odds"]  # (texts, videos)
        columns = {video_id: column for column, video_id in enumerate(predictions.info["video_ids"])}
        if missing := [video_id for video_id in self.grouped.ids if video_id not in columns]:
            raise ValueError(
                f"data.hard_negatives: {folder} has no scores of {len(missing)} of the {len(self.grouped)} training videos, "
                f"such as {missing[0]!r}. Evaluate on the whole training split."
            )
        rows_of = {}  # one row of the split for each text
        for row, caption in enumerate(self.captions["caption"]):
            rows_of.setdefault(normalise(caption), row)
        rows = np.array([rows_of.get(normalise(row["caption"]), -1) for row in predictions.rows])
        hard = {}
        for number, video_id in enumerate(self.grouped.ids):
            wrong = (rows >= 0) & ~np.isin(self.text_numbers[rows], self.text_numbers[self.grouped.members(number)])
            odds = np.where(wrong, np.nan_to_num(log_odds[:, columns[video_id]], nan=-np.inf), -np.inf)
            best = rows[np.argsort(-odds, kind="stable")[: int(wrong.sum())]]
            unique = best[np.sort(np.unique(best, return_index=True)[1])][:pool]  # repeated captions count once
            if not len(unique):
                raise ValueError(f"data.hard_negatives: {folder} has no wrong caption for the video {video_id!r}.")
            hard[video_id] = unique
        return hard


class PairCollator:
    """
    Items to a batch of pairs, each video decoded and each text tokenised once.

    With random or hard negatives the rows are, video by video, its captions and its negatives. In-batch rows are all
    pairs of a video and a caption of the batch, but for captions that belong to the video without being the item's own:
    whether they are right or wrong is not for the batch to say.

    Returns (when called with a list of `PairItem`):
        `Batch`: Inputs of the model with `video_indices`; targets `labels` (1 = match) and `text_indices` `(pairs,)`,
        which says which text a row holds; `num_texts`, and whether there is a choice: a pair that is no match.
    """

    def __init__(self, processor: Any, negatives: Literal["random", "in_batch", "hard"]):
        self.processor, self.negatives = processor, negatives

    def __call__(self, items: Sequence[PairItem]) -> Batch:
        texts = [text for item in items for text in (*item.captions, *item.negatives)]
        owners = [owner for owner, item in enumerate(items) for _ in (*item.captions, *item.negatives)]
        rows = []  # (video, text, label)
        for video, item in enumerate(items):
            for number, (text, owner) in enumerate(zip(texts, owners, strict=True)):
                if owner == video:
                    rows.append((video, number, 1))
                elif self.negatives == "in_batch" and normalise(text) not in item.own_texts:
                    rows.append((video, number, 0))
        if self.negatives != "in_batch":
            matches = [match for item in items for match in [1] * len(item.captions) + [0] * len(item.negatives)]
            rows = [(video, number, match) for (video, number, _), match in zip(rows, matches, strict=True)]
        video_indices, text_indices, labels = torch.tensor(rows).unbind(1)
        encoded = self.processor(text=texts)
        inputs = {
            **{name: torch.cat([item.video[name] for item in items]) for name in items[0].video},
            **{name: encoded[name][text_indices] for name in ("input_ids", "attention_mask")},
            "video_indices": video_indices,
        }
        numbers = {"num_texts": len(texts), "has_choice": bool((labels == 0).any())}
        return Batch(inputs, {"labels": labels, "text_indices": text_indices, **numbers})


class MatchCollator:
    """
    Items to a batch of texts, each with its own video: what is not its own is for the whole batch of a step to say.

    Returns (when called with a list of `PairItem`):
        `Batch`: Inputs of the model with `video_indices` `(texts,)`; targets `text_keys` and `video_keys` `(texts,)`,
        equal where texts (but for case and spaces) or videos are the same.
    """

    def __init__(self, processor: Any):
        self.processor = processor

    def __call__(self, items: Sequence[PairItem]) -> Batch:
        texts = [text for item in items for text in item.captions]
        owners = [owner for owner, item in enumerate(items) for _ in item.captions]
        encoded = self.processor(text=texts)
        inputs = {
            **{name: torch.cat([item.video[name] for item in items]) for name in items[0].video},
            **{name: encoded[name] for name in ("input_ids", "attention_mask")},
            "video_indices": torch.tensor(owners),
        }
        keys = {
            "text_keys": torch.tensor([key_of(normalise(text)) for text in texts]),
            "video_keys": torch.tensor([key_of(items[owner].video_id) for owner in owners]),
        }
        return Batch(inputs, keys)


def key_of(text: str) -> int:
    """A whole number of 63 bits for a text, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big") >> 1


__all__ = ["CaptionedVideos", "MatchCollator", "PairCollator", "PairItem", "PairSection", "key_of"]
