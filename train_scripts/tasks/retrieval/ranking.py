# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Ranks of texts and videos by a model that compares what it has encoded: all pairs, counted block by block, in galleries."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from clipbert.metrics.retrieval.rescaling import QueryBank
from clipbert.metrics.retrieval.retrieval import RetrievalRanks
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.tasks.pooling import mark_absent_clips
from clipbert.train_scripts.tasks.scoring import (
    SCORES_PER_BLOCK,
    EncodedTexts,
    EncodedVideos,
    VisualReader,
    add_tables,
    count_texts,
    encode_all_texts,
    encode_all_videos,
    score_all_texts,
    score_own_pairs,
)


COUNTS = ("better_videos", "tied_videos", "better_texts", "tied_texts")  # of texts, then of videos
MOST_KEPT = 2**22  # scores that predictions hold without being asked
TIED = 2e-6  # of the largest score: what scores of the same pair in other blocks may differ by


def split_galleries(num_videos: int, size: int | None) -> list[range]:
    """
    The videos in galleries of one size, one behind the other; those that are left over are in none.

    Example:
        >>> split_galleries(7, 3), split_galleries(7, None)
        ([range(0, 3), range(3, 6)], [range(0, 7)])
    """
    size = size or num_videos
    return [range(first, first + size) for first in range(0, num_videos - size + 1, size)]


@dataclass
class Ranking:
    """
    Ranks every text among the videos of its gallery, and every video among its texts.

    Args:
        model (`PreTrainedModel`): Has `match_all`; see `tasks.scoring`.
        reader (`VisualReader`): The videos.
        texts (`Sequence[str]`): Sentences.
        owners (`Sequence[int]`): For each text the number of its video.
        recipe (`Recipe`): `eval` says which galleries there are, and what is kept.
        bank (`Sequence[str]`, *optional*): Other texts, for query-bank normalisation.
    """

    model: PreTrainedModel
    reader: VisualReader
    texts: Sequence[str]
    owners: Sequence[int]
    recipe: Recipe
    bank: Sequence[str] = ()

    def __post_init__(self):
        num_texts, num_videos, settings = len(self.texts), len(self.reader.visuals), self.recipe.eval
        self.owners = np.asarray(self.owners)
        sizes = dict(zip(COUNTS, (num_texts, num_texts, num_videos, num_videos), strict=True))
        self.counts = {name: np.zeros(size, dtype=np.int64) for name, size in sizes.items()}
        self.own_odds = np.full(num_texts, np.nan, dtype=np.float32)
        self.best = np.full((2, num_texts), -np.inf)  # the highest score of each text, and whose it is
        self.galleries = split_galleries(num_videos, settings.gallery_size)
        keeps = settings.keep_scores
        if keeps is None:
            keeps = bool(settings.rescaling) or num_texts * num_videos <= MOST_KEPT
        self.table = torch.zeros(num_texts, num_videos) if keeps else None
        self.bank_log_sums, self.bank_activated = np.zeros(num_videos), np.zeros(num_videos, dtype=bool)
        self.num_blocks = 0

    def run(self) -> dict[str, np.ndarray]:
        """
        Encode and score, with the other processes.

        Returns:
            `dict`: Of each text `own_odds`, `better_videos` and `tied_videos` (how many score higher than its own video, and
            how many the same) and `best_video`; of each video `better_texts`, `tied_texts` and `is_usable`; `log_odds` `(texts,
            videos)` where they are kept, NaN for pairs of different galleries; with a bank `bank_log_sums` and
            `bank_activated` of each video. Texts whose video could not be decoded, or that is in no gallery, have the
            `own_odds` NaN.
        """
        videos = encode_all_videos(self.model, self.reader)
        is_usable = np.ones(len(self.reader.visuals), dtype=bool)
        is_usable[list(self.reader.skipped)] = False
        bank = encode_all_texts(self.model, self.bank, self.reader, self.batch_size) if self.bank else None
        for gallery in self.galleries:
            numbers = np.array([number for number in gallery if is_usable[number]], dtype=int)
            rows = np.flatnonzero(np.isin(self.owners, numbers))
            if len(rows):
                self.rank_gallery(videos, numbers, rows)
            if bank is not None and len(numbers):
                self.note_bank(bank, videos, numbers)
        return {**self.gather(), "is_usable": is_usable}

    @property
    def batch_size(self) -> int:
        return max(1, self.recipe.eval.pairs_per_forward // self.reader.num_clips)

    @property
    def accelerator(self) -> Accelerator:
        return self.reader.accelerator

    def rank_gallery(self, videos: EncodedVideos, numbers: np.ndarray, rows: np.ndarray) -> None:
        """Count the pairs of some texts and videos: those blocks that are this process's turn."""
        device = self.accelerator.device
        texts = encode_all_texts(self.model, [self.texts[row] for row in rows], self.reader, self.batch_size)
        own = score_own_pairs(self.model, texts, videos, self.owners[rows].tolist(), device).numpy()
        self.check_finite(own[:, None], rows, self.owners[rows, None])
        self.own_odds[rows] = own
        gold = np.searchsorted(numbers, self.owners[rows])
        ranks = RetrievalRanks(own, gold, len(numbers), tolerance=TIED * float(np.abs(own).max()))
        step = max(1, SCORES_PER_BLOCK // len(rows))
        for first in range(0, len(numbers), step):
            self.num_blocks += 1
            if self.num_blocks % self.accelerator.num_processes != self.accelerator.process_index:
                continue
            columns = numbers[first : first + step]
            scores = score_all_texts(self.model, texts, videos.block(columns.tolist(), device)).numpy()
            self.check_finite(scores, rows, columns[None])
            ranks.update(scores, first_video=first)
            best = scores.argmax(axis=1)
            values = scores[np.arange(len(rows)), best]
            is_better = values > self.best[0, rows]
            self.best[:, rows[is_better]] = values[is_better], columns[best[is_better]]
            if self.table is not None:
                self.table[np.ix_(rows, columns)] = torch.from_numpy(scores)
        for name, counts in self.counts.items():
            counts[rows if name.endswith("videos") else numbers] = getattr(ranks, name)

    def check_finite(self, scores: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        """Raise if a score is not finite; `columns` says whose they are and broadcasts to the shape of `scores`."""

        def name(row: int, column: int) -> str:
            video = np.broadcast_to(columns, scores.shape)[row, column]
            return f"the text {self.texts[rows[row]]!r} and the video {self.reader.visuals[video]}"

        mark_absent_clips(torch.from_numpy(scores)[..., None, None], None, name)

    def note_bank(self, bank: EncodedTexts, videos: EncodedVideos, numbers: np.ndarray) -> None:
        """What the bank says of the videos of a gallery; every process finds the same."""
        settings, device = self.recipe.eval, self.accelerator.device
        scale = self.model.similarity_scale
        found = QueryBank(self.bank, len(numbers), settings.query_bank_scale, settings.query_bank_top_k)
        for encoded in bank.blocks:
            some = EncodedTexts(list(range(count_texts(encoded))), [encoded])
            step = max(1, SCORES_PER_BLOCK // len(some.numbers))
            scores = [
                score_all_texts(self.model, some, videos.block(numbers[first : first + step].tolist(), device))
                for first in range(0, len(numbers), step)
            ]
            found.update(torch.cat(scores, dim=1).numpy() / scale)
        self.bank_log_sums[numbers], self.bank_activated[numbers] = found.sums.log_sums, found.activated

    def gather(self) -> dict[str, np.ndarray]:
        """What all processes have counted."""
        found = {name: add_tables(torch.from_numpy(counts), self.accelerator) for name, counts in self.counts.items()}
        best = torch.from_numpy(self.best).to(self.accelerator.device, torch.float32)  # numbers up to 2**24
        best = self.accelerator.gather(best[None]).cpu()  # (processes, 2, texts)
        chosen = best[:, 0].argmax(dim=0)
        tensors = {name: counts.numpy() for name, counts in found.items()}
        tensors["own_odds"] = self.own_odds
        is_asked = ~np.isnan(self.own_odds)
        tensors["best_video"] = np.where(is_asked, best[chosen, 1, torch.arange(len(chosen))].numpy(), -1).astype(int)
        if self.table is not None:
            tensors["log_odds"] = self.gather_table().numpy()
        if self.bank:
            tensors |= {"bank_log_sums": self.bank_log_sums, "bank_activated": self.bank_activated}
        return tensors

    def gather_table(self) -> torch.Tensor:
        """The scores of all processes, NaN where there is none."""
        table = add_tables(self.table, self.accelerator)
        places = np.full(len(self.reader.visuals), -1)  # of each video its gallery
        for place, gallery in enumerate(self.galleries):
            places[gallery.start : gallery.stop] = place
        is_apart = places[self.owners][:, None] != places
        table[torch.from_numpy(is_apart | (places < 0) | np.isnan(self.own_odds)[:, None])] = torch.nan
        table[:, list(self.reader.skipped)] = torch.nan
        return table


__all__ = ["COUNTS", "TIED", "Ranking", "split_galleries"]
