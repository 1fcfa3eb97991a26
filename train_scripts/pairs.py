# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Texts paired with videos, matching and not: the training items of retrieval, and a contrastive loss over them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from safetensors.numpy import load_file

from clipbert.processing.processing_clipbert import VideoTextProcessor
from clipbert.processing.sampling import build_rng
from clipbert.train_scripts.engine.data import Batch, NoCounterpartError
from clipbert.train_scripts.engine.items import TrainItems
from clipbert.train_scripts.engine.recipe import option
from clipbert.train_scripts.engine.stream import StreamSection
from clipbert.train_scripts.tasks.videos import VideoSection


@dataclass(kw_only=True)
class PairSection(VideoSection, StreamSection):
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


class CaptionedVideos(TrainItems):
    """
    Training items: a video with `captions_per_video` of its captions and with captions of other videos.

    Which frames and which captions an item has depends on (seed, epoch, item) alone. A caption counts as another
    video's only if it differs from every caption of this one.

    Args:
        rows (`Iterable[Mapping]`): Rows with `video_id`, `video` and `caption`.
        processor (`VideoTextProcessor`): Decodes the videos.
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
        rows: Iterable[Mapping[str, Any]],
        processor: VideoTextProcessor,
        video_options: Mapping[str, Any],
        settings: PairSection,
        seed: int,
    ):
        rows = list(rows)
        self.processor, self.video_options, self.settings, self.seed = processor, video_options, settings, seed
        self.videos = {row["video_id"]: row["video"] for row in rows}
        self.captions = [row["caption"] for row in rows]
        self.members = group_rows([row["video_id"] for row in rows])
        self.own_texts = {
            video_id: frozenset(normalise(self.captions[row]) for row in members)
            for video_id, members in self.members.items()
        }
        self.groups = [
            (video_id, members[start : start + settings.captions_per_video])
            for video_id, members in self.members.items()
            for start in range(0, len(members), settings.captions_per_video)
        ]
        self.ids = [video_id for video_id, _ in self.groups]
        self.lengths = [max(len(self.captions[row].split()) for row in rows) for _, rows in self.groups]
        numbers = {text: number for number, text in enumerate(sorted(set(map(normalise, self.captions))))}
        self.text_numbers = np.array([numbers[normalise(caption)] for caption in self.captions])
        self.hard_rows: dict[str, np.ndarray] = {}
        if settings.negatives == "hard":
            self.hard_rows = self.load_hard_rows(Path(settings.hard_negatives), settings.hard_pool)
        if settings.negatives == "random":
            for video_id, members in self.members.items():
                if len(self.own_texts[video_id]) == len(numbers):
                    source = self.videos[video_id]
                    raise NoCounterpartError(
                        f"Video {video_id} ({'bytes' if isinstance(source, bytes) else source}) has no wrong caption: every caption of the training "
                        f"split is one of its own {len(members)}. Negatives need at least two videos with different captions."
                    )

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, key: tuple[int, int]) -> PairItem:
        epoch, index = key
        video_id, rows = self.groups[index]
        rng = build_rng(self.seed, epoch, index, "texts")
        missing = self.settings.captions_per_video - len(rows)
        if missing:  # the last group of a video is filled up, so that every item has the same number of texts
            rows = [*rows, *rng.choice(self.members[video_id], missing)]
        negatives = []
        if self.settings.negatives != "in_batch":
            negatives = self.draw_negatives(rng, video_id, len(rows) * self.settings.num_negatives)
        video = self.processor(videos=[self.videos[video_id]], seeds=[(self.seed, epoch, index)], **self.video_options)
        captions = [self.captions[row] for row in rows]
        return PairItem(dict(video), video_id, captions, negatives, self.own_texts[video_id])

    def draw_negatives(self, rng: np.random.Generator, video_id: str, number: int) -> list[str]:
        """Captions of other videos, each one of the split (or of the video's hard ones) being as likely as any other."""
        if self.hard_rows:
            allowed = self.hard_rows[video_id]
        else:
            own = np.unique(self.text_numbers[self.members[video_id]])
            allowed = np.flatnonzero(~np.isin(self.text_numbers, own))
        chosen = rng.choice(allowed, number, replace=len(allowed) < number)
        return [self.captions[row] for row in chosen]

    def load_hard_rows(self, folder: Path, pool: int) -> dict[str, np.ndarray]:
        """For each video the rows of the wrong captions to which written predictions gave the highest log-odds."""
        if not (folder / "records.json").is_file():
            raise FileNotFoundError(
                f"data.hard_negatives: {folder} holds no predictions (records.json, tensors.safetensors). Evaluate a model "
                "on the training split first: run.total_steps=0 and eval.splits={train: monitor}."
            )
        records = json.loads((folder / "records.json").read_text(encoding="utf-8"))
        log_odds = load_file(folder / "tensors.safetensors")["log_odds"]  # (texts, videos)
        columns = {video_id: column for column, video_id in enumerate(records["video_ids"])}
        if missing := [video_id for video_id in self.members if video_id not in columns]:
            raise ValueError(
                f"data.hard_negatives: {folder} has no scores of {len(missing)} of the {len(self.members)} training videos, "
                f"such as {missing[0]!r}. Evaluate on the whole training split."
            )
        rows_of = {}  # one row of the split for each text
        for row, caption in enumerate(self.captions):
            rows_of.setdefault(normalise(caption), row)
        rows = np.array([rows_of.get(normalise(caption), -1) for caption in records["captions"]])
        hard = {}
        for video_id, members in self.members.items():
            wrong = (rows >= 0) & ~np.isin(self.text_numbers[rows], self.text_numbers[members])
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

    With random or hard negatives the rows are, video by video, its captions and its negatives. In-batch rows are all pairs of
    a video and a caption of the batch, but for captions that belong to the video without being the item's own: whether
    they are right or wrong is not for the batch to say.

    Returns (when called with a list of `PairItem`):
        `dict`: Inputs of the model with `labels` (1 = match), and `text_indices` `(pairs,)`, which says which text a
        row holds.
    """

    def __init__(self, processor: VideoTextProcessor, negatives: Literal["random", "in_batch", "hard"]):
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
            "text_indices": text_indices,
            "labels": labels,
        }
        return Batch(inputs, {})


def contrastive_loss(
    scores: torch.Tensor, labels: torch.Tensor, video_indices: torch.Tensor, text_indices: torch.Tensor
) -> torch.Tensor:
    """
    Soft-max over the texts of each video, and over the videos of each text.

    A video with several matching texts is pulled to the sum of their probabilities. A direction in which nothing
    competes (each text met one video) is left out; with both, the loss is their mean, with none it is 0.

    Args:
        scores (`torch.FloatTensor` of shape `(pairs,)`): Log-odds that text and video match.
        labels (`torch.LongTensor` of shape `(pairs,)`): 1 for matching pairs, 0 for others.
        video_indices, text_indices (`torch.LongTensor` of shape `(pairs,)`): What each pair consists of. Pairs that
            are not in the batch take no part.

    Returns:
        `torch.FloatTensor` of shape `()`.

    Example:
        >>> pairs = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> contrastive_loss(torch.zeros(4), torch.tensor([1, 0, 0, 1]), pairs[:, 0], pairs[:, 1]).item()
        0.6931471824645996
    """
    shape = (int(video_indices.max()) + 1, int(text_indices.max()) + 1)
    table = scores.new_full(shape, -torch.inf).index_put((video_indices, text_indices), scores)
    right = scores.new_full(shape, -torch.inf).index_put(
        (video_indices, text_indices), scores.where(labels == 1, -torch.inf)
    )
    losses = []
    for dim in (1, 0):
        competes = (right > -torch.inf).any(dim) & (table > right).any(dim)
        if competes.any():
            distance = table.logsumexp(dim) - right.logsumexp(dim)
            losses.append(distance[competes].mean())
    return torch.stack(losses).mean() if losses else 0.0 * scores.sum()


def group_rows(video_ids: Sequence[str]) -> dict[str, list[int]]:
    """The rows of each video, in order of appearance."""
    members: dict[str, list[int]] = {}
    for row, video_id in enumerate(video_ids):
        members.setdefault(video_id, []).append(row)
    return members


def normalise(text: str) -> str:
    """A text without what does not change its meaning: case and the amount of white space."""
    return " ".join(text.casefold().split())


__all__ = ["CaptionedVideos", "PairCollator", "PairItem", "PairSection", "contrastive_loss", "group_rows", "normalise"]
