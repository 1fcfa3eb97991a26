# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Retrieval in two stages, for models that read every pair: all pairs with a few clips, and the best ones with all of them.

Dense inference is what makes an evaluation slow: 16 clips of a thousand videos with a thousand texts are 16 million readings.
One clip is enough to see that most pairs do not belong together. What the shortlist loses is measured: some texts are also
scored with everything.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from clipbert.metrics.retrieval.retrieval import RECALL_AT, first_within
from clipbert.train_scripts.engine.resampling import interval, resample_means
from clipbert.train_scripts.tasks.pooling import log_odds, mark_absent_clips, pool_clips
from clipbert.train_scripts.tasks.retrieval.options import RetrievalEvalSection
from clipbert.train_scripts.tasks.scoring import (
    SharedTable,
    VideoBlock,
    VisualReader,
    build_text_blocks,
    match_texts,
    matches_of_clips,
    score_all_pairs,
)


logger = logging.getLogger("clipbert.train_scripts")
Gallery = tuple[Sequence[int], Sequence[int]]  # numbers of its videos, and of its texts


@dataclass
class Cascade:
    """
    Scores all pairs in two stages.

    Args:
        model (`PreTrainedModel`): Keeps the contract of matching, and reads text and video together; in evaluation mode.
        reader (`VisualReader`): The videos. What is encoded of those of this process is held in memory.
        texts (`Sequence[str]`): Sentences.
        galleries (`Sequence[Gallery]`): Who is looked for among whom.
        settings (`RetrievalEvalSection`): `shortlist`, `shortlist_clips` and `shortlist_check`.
        score_pooling (`str`): Over clips.
    """

    model: PreTrainedModel
    reader: VisualReader
    texts: Sequence[str]
    galleries: Sequence[Gallery]
    settings: RetrievalEvalSection
    score_pooling: str

    def __post_init__(self):
        self.num_first = self.settings.shortlist_clips
        self.kept: list[VideoBlock] = []
        self.first_clips = SharedTable((len(self.reader.visuals),), self.reader.accelerator)

    def run(self) -> dict[str, np.ndarray]:
        """
        Read all pairs with few clips, then those of the shortlists, and all of some texts, with all clips.

        Returns:
            `dict`: `clip_logits` `(texts, videos, clips, labels)`, NaN for clips that have not been read with a text; `is_first_clip`
            `(videos, clips)`; `is_shortlisted` `(texts, videos)`; `is_checked` `(texts,)`: texts that all videos have been read with.
        """
        limit = self.settings.pairs_per_forward
        first = score_all_pairs(
            self.model, self.reader, self.texts, limit, self.galleries, self.keep_and_choose, self.num_first
        )
        is_shortlisted = self.shortlist(first)
        is_checked = np.zeros(len(self.texts), dtype=bool)
        number = min(self.settings.shortlist_check, len(self.texts))
        is_checked[np.arange(number) * len(self.texts) // max(number, 1)] = True
        odds = self.pool(first)
        wanted = is_shortlisted | (torch.from_numpy(is_checked)[:, None] & ~odds.isnan())
        whole = self.score(wanted)
        places = self.first_clips.gather().long()  # (videos, first clips)
        blank = torch.full_like(whole, torch.nan)
        index = places[None, :, :, None].expand(len(self.texts), -1, -1, whole.shape[-1])
        found = whole.where(wanted[:, :, None, None], blank.scatter(2, index, first))
        is_first = torch.zeros(whole.shape[1:3], dtype=torch.bool).scatter(1, places, True)
        num_pairs = int((~odds.isnan()).sum())
        work = self.num_first + (self.reader.num_clips) * int(is_shortlisted.sum()) / max(num_pairs, 1)
        logger.info(
            f"Shortlist: {int(is_shortlisted.sum()):,} of {num_pairs:,} pairs are read with all {self.reader.num_clips} clips, all of them "
            f"with {self.num_first}: {work:.2f} readings of a clip a pair, and {number} texts with everything, to see what that loses."
        )
        found = {"clip_logits": found, "is_first_clip": is_first, "is_shortlisted": is_shortlisted}
        return {**{name: value.numpy() for name, value in found.items()}, "is_checked": is_checked}

    def pool(self, clip_logits: torch.Tensor) -> torch.Tensor:
        return log_odds(pool_clips(clip_logits, self.score_pooling))

    def keep_and_choose(self, block: VideoBlock) -> VideoBlock:
        """A few clips of each video, evenly spread over those that exist; the whole block is kept for the second stage."""
        mask = block.clip_mask
        self.kept.append(VideoBlock(block.numbers, block.videos.cpu(), None if mask is None else mask.cpu()))
        if mask is None:
            places = [spread(range(block.videos.shape[1]), self.num_first)] * len(block.numbers)
        else:
            places = [spread(row.nonzero().flatten().tolist(), self.num_first) for row in self.kept[-1].clip_mask]
        self.first_clips.fill(block.numbers, torch.tensor(places, dtype=torch.float32))
        rows = torch.arange(len(places), device=block.videos.device)[:, None]
        return VideoBlock(block.numbers, block.videos[rows, torch.tensor(places, device=rows.device)], None)

    def shortlist(self, first: torch.Tensor) -> torch.Tensor:
        """The best videos of each text and the best texts of each video, `(texts, videos)`, by the scores of the first stage."""
        odds, size = self.pool(first), self.settings.shortlist
        chosen = torch.zeros(odds.shape, dtype=torch.bool)
        for videos, texts in self.galleries:
            part = odds[list(texts)][:, list(videos)].nan_to_num(nan=-torch.inf)
            is_best = torch.zeros(part.shape, dtype=torch.bool)
            for dim in (0, 1):
                best = part.topk(min(size, part.shape[dim]), dim=dim).indices
                is_best.scatter_(dim, best, True)
            chosen[np.ix_(list(texts), list(videos))] = is_best
        return chosen & ~odds.isnan()

    def score(self, wanted: torch.Tensor) -> torch.Tensor:
        """Scores `(texts, videos, clips, labels)` of the pairs that are `wanted` `(texts, videos)`, with all clips; NaN for others."""
        reader, device = self.reader, self.reader.accelerator.device
        (texts,) = build_text_blocks(self.texts, reader.processor, len(self.texts), device)  # longest first
        is_fixed = getattr(reader.processor, "padding", None) == "max_length"
        lengths = texts.attention_mask.sum(dim=1).tolist()
        step = max(1, self.settings.pairs_per_forward // reader.num_clips)
        table = SharedTable((len(reader.visuals), len(self.texts)), reader.accelerator)
        while self.kept:
            block = self.kept.pop(0)
            pairs = wanted[texts.numbers][:, block.numbers].nonzero()  # (pairs, 2): places of texts, and of videos
            mask = None if block.clip_mask is None else block.clip_mask.to(device)
            on_device = VideoBlock(block.numbers, block.videos.to(device), mask)
            parts = []
            for some in pairs.split(step):
                rows, longest = some[:, 0].to(device), texts.input_ids.shape[1] if is_fixed else lengths[some[0, 0]]
                encoded = self.model.encode_texts(
                    texts.input_ids[rows, :longest], texts.attention_mask[rows, :longest]
                )
                parts.append(
                    matches_of_clips(match_texts(self.model, encoded, on_device, some[:, 1].to(device))).cpu()
                )
            if not parts:
                continue
            scores, (places, videos) = torch.cat(parts), pairs.T

            def name(row: int, places=places, videos=videos, block=block) -> str:
                text, video = self.texts[texts.numbers[places[row]]], reader.visuals[block.numbers[videos[row]]]
                return f"the text {text!r} and the video {video}"

            scores = mark_absent_clips(scores, None if mask is None else block.clip_mask[videos], name)
            rows = scores.new_full((len(block.numbers), len(self.texts), *scores.shape[1:]), torch.nan)
            rows[videos, torch.tensor(texts.numbers)[places]] = scores
            table.fill(block.numbers, rows)
        return table.gather().transpose(0, 1).contiguous()


def spread(places: Sequence[int], number: int) -> list[int]:
    """
    So many of some places, evenly spread; some of them twice where there are fewer.

    Example:
        >>> spread(range(16), 1), spread(range(16), 4), spread([3], 2)
        ([8], [2, 6, 10, 14], [3, 3])
    """
    return [places[(2 * index + 1) * len(places) // (2 * number)] for index in range(number)]


def leave_out_unread(clip_logits: torch.Tensor, tensors: dict[str, Any]) -> torch.Tensor:
    """Of what a [`Cascade`] has found, what the ranking goes by: not what was read to check it."""
    if "is_shortlisted" not in tensors:
        return clip_logits
    is_whole, is_first = (torch.as_tensor(tensors[name]) for name in ("is_shortlisted", "is_first_clip"))
    return clip_logits.where((is_whole[:, :, None] | is_first)[..., None], torch.nan)


def measure_loss(
    tensors: dict[str, Any], odds: np.ndarray, score_pooling: str, gold: np.ndarray, galleries: Sequence[Sequence[int]]
) -> dict[str, float]:
    """
    What the shortlist loses of the recall from text to video, with 95 % intervals: a paired bootstrap over videos.

    Args:
        tensors (`dict`): What a [`Cascade`] has found.
        odds (`np.ndarray` of shape `(texts, videos)`): What the ranking goes by.
        score_pooling (`str`): Over clips.
        gold (`np.ndarray` of shape `(texts,)`): Each text's own video.
        galleries (`Sequence[Sequence[int]]`): Numbers of their videos.
    """
    (rows,) = np.nonzero(tensors["is_checked"])
    exact = log_odds(pool_clips(torch.as_tensor(tensors["clip_logits"][rows]), score_pooling)).numpy()
    place = {video: np.array(gallery, dtype=int) for gallery in galleries for video in gallery}
    found, owners = [], []
    for row, whole in zip(rows, exact, strict=True):
        videos, own = place.get(gold[row]), gold[row]
        if videos is None or np.isnan(whole[own]):
            continue
        hits = []
        for scores in (whole, odds[row]):
            among = scores[videos]
            better, tied = (among > scores[own]).sum(), (among == scores[own]).sum() - 1
            hits += [first_within(k - better, tied, 1) for k in RECALL_AT]
        found.append(hits)
        owners.append(own)
    if not found:
        return {}
    hits = np.array(found, dtype=float)  # (texts, exact and shortlisted recalls)
    lost = hits[:, : len(RECALL_AT)] - hits[:, len(RECALL_AT) :]
    draws = resample_means(lost, np.array(owners))
    losses = {}
    for column, k in enumerate(RECALL_AT):
        name, (low, high) = f"R@{k}_lost_by_shortlist", interval(draws[:, column])
        losses |= {name: float(lost[:, column].mean()), f"{name}_ci_low": low, f"{name}_ci_high": high}
    return {**losses, "num_checked_texts": len(hits)}


__all__ = ["Cascade", "leave_out_unread", "measure_loss", "spread"]
