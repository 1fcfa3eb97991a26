# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
How the heads of `distilled.py` learn: a cross-encoder scores texts with videos, and they are trained to say the same.

    texts, and pieces of them -> cross-encoder -> scores (texts, videos) -> soft-max over the videos of each text
                              -> two heads     -> scores (texts, videos) -> soft-max
    texts and videos held out -> first places and top ten that shortlists keep -> DistillationReport
"""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from clipbert.search.distilled import DistillationReport, DistilledHeads, take_videos, tokenize
from clipbert.search.protocols import Reranker, SearchIndexError
from clipbert.search.shortlists import ShortlistReport, TextRanking, measure_losses


REFERENCE = (
    50,
    0.1,
)  # size of the shortlist that decides: so many videos, but no more than this share of those held out
SIZES = (10, 20, 50, 100)  # of the shortlists in the report
MIN_TEXTS = MIN_VIDEOS = 10  # to learn from, and to hold out
SPREAD = 3.0  # standard deviation to which scores are brought: their soft-max is neither flat nor one video alone
TEXTS_PER_STEP, VIDEOS_PER_STEP = 64, 256
VIDEOS_PER_SCORE = 64  # that the cross-encoder gets at a time
VARIED = 8  # texts, at most, that are made of each
TEXTS_PER_VIDEO = 2  # where not all can be scored
LEARNT = 0.8  # of the pairs; the others are held out
LEFT_OUT = 0.3  # of the words
LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 2e-3, 0.01, 0.1
REGRESSION_WEIGHT = 0.1


class Pairs(NamedTuple):
    """Some texts, some videos, and log-odds of each with each."""

    texts: list[str]
    videos: np.ndarray  # their numbers
    scores: np.ndarray  # (texts, videos)


def distil(
    reranker: Reranker,
    texts: Sequence[str],
    parts: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    owners: Sequence[int] | None = None,
    num_held_out_texts: int | None = None,
    num_held_out_videos: int | None = None,
    max_pairs: int = 400_000,
    steps: int = 600,
    width: int = 128,
    seed: int = 0,
    progress: bool = False,
) -> tuple[DistilledHeads, DistillationReport]:
    """
    Teach two heads the scores of a cross-encoder.

    Texts, and variations of them, are scored with videos, as many of both as `max_pairs` allows. Some texts and videos are held out; what
    shortlists lose among those is the report. The same arguments and seed give the same heads on the same machine.

    Args:
        reranker ([`Reranker`]): The cross-encoder, with its `model` and `processor`.
        texts (`Sequence[str]`): Sentences as people will search with; those that repeat count once.
        parts (`np.ndarray` of shape `(videos, clips, ..., hidden_size)`): What it made of videos; may be a file in memory.
        mask (`np.ndarray` of shape `(videos, clips)`, *optional*): Which clips exist.
        owners (`Sequence[int]`, *optional*): For each text the number of the video that it belongs to: for the recall in the report.
        num_held_out_texts, num_held_out_videos (`int`, *optional*): By default a fifth of the texts, and a fifth of the videos or 1,000.
        max_pairs (`int`, *optional*, defaults to 400,000): Pairs that the cross-encoder scores, at most: by far most of the time.
        steps (`int`, *optional*, defaults to 600): Of the training.
        width (`int`, *optional*, defaults to 128): Numbers in a vector.
        seed (`int`, *optional*, defaults to 0): Decides what is held out, the first weights and the order.
        progress (`bool`, *optional*, defaults to `False`): Whether to show bars.

    Returns:
        [`DistilledHeads`] and their [`DistillationReport`].

    Raises:
        SearchIndexError: If there are too few texts or videos to learn from and to hold out, or scores are not finite.
    """
    rng = np.random.default_rng(seed)
    first_owner = dict(zip(reversed(texts), reversed(owners or [None] * len(texts)), strict=True))
    texts = list(dict.fromkeys(texts))
    owners = None if owners is None else np.array([first_owner[text] for text in texts])
    num_texts = min(len(texts) // 5, 1000) if num_held_out_texts is None else num_held_out_texts
    num_videos = min(len(parts) // 5, 1000) if num_held_out_videos is None else num_held_out_videos
    _check_enough("texts", len(texts) - num_texts, num_texts, MIN_TEXTS)
    _check_enough("videos", len(parts) - num_videos, num_videos, MIN_VIDEOS)
    held_texts, learnt_texts = np.split(rng.permutation(len(texts)), [num_texts])
    videos = rng.permutation(len(parts))
    if owners is not None:  # those of held-out texts come first
        videos = np.array(list(dict.fromkeys([*owners[held_texts], *videos])))
    held_videos, learnt_videos = np.split(videos, [num_videos])
    # as many of both as may be scored
    num_learnt, of_learnt = plan_pairs(VARIED * len(learnt_texts), len(learnt_videos), int(LEARNT * max_pairs))
    num_held, of_held = plan_pairs(len(held_texts), len(held_videos), max_pairs - int(LEARNT * max_pairs))
    learnt_videos, held_videos, held_texts = learnt_videos[:of_learnt], held_videos[:of_held], held_texts[:num_held]
    if owners is not None:
        held_texts = held_texts[np.isin(owners[held_texts], held_videos)]

    started = time.perf_counter()
    chosen = vary_texts([texts[row] for row in learnt_texts], reranker.processor.tokenizer, num_learnt, rng)
    learnt = _score_all(reranker, chosen, parts, mask, learnt_videos, "scores to learn" if progress else None)
    chosen = [texts[row] for row in held_texts]
    held_out = _score_all(reranker, chosen, parts, mask, held_videos, "scores to compare" if progress else None)
    scoring_s, started = time.perf_counter() - started, time.perf_counter()
    heads = _train(reranker, learnt, parts, mask, steps=steps, width=width, seed=seed, progress=progress)
    training_s = time.perf_counter() - started
    heads.teacher = reranker.fingerprint
    found = _compare(heads, reranker, held_out, parts, mask, None if owners is None else owners[held_texts])
    reference = reference_size(len(held_out.videos))
    kept = next(loss.first_kept.mean for loss in found.losses if loss.size == reference)
    heads.report = DistillationReport(
        num_texts=len(learnt.texts),
        num_videos=len(learnt.videos),
        steps=steps,
        seed=seed,
        scoring_s=scoring_s,
        training_s=training_s,
        reference=reference,
        first_kept=kept,
        held_out=found.to_dict(),
    )
    return heads, heads.report


def reference_size(num_videos: int) -> int:
    """The size of the shortlist by which heads are accepted or refused, among so many videos."""
    most, share = REFERENCE
    return max(1, min(most, int(share * num_videos)))


def _check_enough(what: str, num_learnt: int, num_held_out: int, least: int) -> None:
    if min(num_learnt, num_held_out) < least:
        raise SearchIndexError(
            f"To distil takes at least {least} different {what} to learn from and {least} to hold out, got {num_learnt} and "
            f"{num_held_out}: give more {what}, or score everything."
        )


def plan_pairs(num_texts: int, num_videos: int, max_pairs: int) -> tuple[int, int]:
    """
    How many of the texts and videos to score, each with each: several texts for each video, because sentences differ in more ways.

    Example:
        >>> plan_pairs(1000, 100, 10**6), plan_pairs(1000, 1000, 40_000), plan_pairs(50, 1000, 40_000)
        ((1000, 100), (283, 141), (50, 800))
    """
    videos = min(num_videos, max(1, math.isqrt(max_pairs // TEXTS_PER_VIDEO), max_pairs // num_texts))
    return min(num_texts, max(1, max_pairs // videos)), videos


def vary_texts(texts: Sequence[str], tokenizer: Any, number: int, rng: np.random.Generator) -> list[str]:
    """So many different texts: no more than half of them as they are, as far as others can be made of them."""
    found = dict.fromkeys(texts[: (number + 1) // 2])
    for _ in range(2 * number):
        if len(found) == number:
            break
        found.setdefault(vary(texts[rng.integers(len(texts))], tokenizer, rng))
    return list(found)


def vary(text: str, tokenizer: Any, rng: np.random.Generator) -> str:
    """
    What somebody might type who has this text in mind, in some ways: a piece of it, its end first, with words left out, or with others in
    between. A cross-encoder knows what to say of each; without them the heads would not.
    """
    words = text.split()
    for way in rng.permutation(4)[: rng.integers(1, 3)]:
        place = rng.integers(len(words))
        if way == 0:
            words = words[place : rng.integers(place + 1, len(words) + 1)]
        elif way == 1:
            words = words[place:] + words[:place]
        elif way == 2:
            words = [word for word in words if rng.random() > LEFT_OUT] or words
        else:
            for _ in range(rng.integers(1, 4)):
                words.insert(rng.integers(len(words) + 1), draw_word(tokenizer, rng))
    return " ".join(words)


def draw_word(tokenizer: Any, rng: np.random.Generator) -> str:
    """Any token of the vocabulary that has letters, or digits."""
    while True:
        word = tokenizer.decode([rng.integers(len(tokenizer))], skip_special_tokens=True).strip().removeprefix("##")
        if any(map(str.isalnum, word)):
            return word


def _score_all(
    reranker: Reranker,
    texts: Sequence[str],
    parts: np.ndarray,
    mask: np.ndarray | None,
    videos: np.ndarray,
    name: str | None,
) -> Pairs:
    """The cross-encoder on each text with each video, a block of videos after the other."""
    encoded, blocks = reranker.encode_texts(texts), []
    with tqdm(total=len(texts) * len(videos), desc=name, unit="pair", disable=name is None) as bar:
        for first in range(0, len(videos), VIDEOS_PER_SCORE):
            some = videos[first : first + VIDEOS_PER_SCORE]
            blocks.append(reranker.score(encoded, parts[some], None if mask is None else mask[some])[0])
            bar.update(blocks[-1].size)
    scores = np.concatenate(blocks, axis=1)
    if not np.isfinite(scores).all():
        row, column = np.argwhere(~np.isfinite(scores))[0]
        raise SearchIndexError(
            f"Expected finite scores to learn from, got {scores[row, column]} for the text {texts[row]!r} and video {videos[column]}."
        )
    return Pairs(list(texts), videos, scores)


def _train(
    reranker: Any, pairs: Pairs, parts: np.ndarray, mask: np.ndarray | None, *, steps, width, seed, progress
) -> DistilledHeads:
    """
    Heads whose scores of the videos for a text have the soft-max of the cross-encoder's, and nearly its numbers.

    The soft-max makes the first places matter most.
    """
    factor = SPREAD / max(float(pairs.scores.std()), 1e-6)
    target = torch.from_numpy(pairs.scores).float() * factor
    device = reranker.model.device
    with torch.random.fork_rng():  # the numbers that others draw do not depend on this
        torch.manual_seed(seed)
        heads = _build_heads(reranker, parts.shape[-1], width).to(device)
    input_ids, words = tokenize(reranker.processor, pairs.texts)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=WARM_UP)
    for _ in tqdm(range(steps), desc="distilling", unit="step", disable=not progress):
        rows = torch.randperm(len(pairs.texts), generator=generator)[:TEXTS_PER_STEP]
        columns = torch.randperm(len(pairs.videos), generator=generator)[:VIDEOS_PER_STEP]
        seen, exists = take_videos(parts, mask, pairs.videos[columns.numpy()], device)
        scores = heads(heads.text(input_ids[rows].to(device), words[rows].to(device)), heads.video(seen, exists))
        wanted = target[rows][:, columns].to(device)
        listwise = F.kl_div(scores.log_softmax(1), wanted.log_softmax(1), log_target=True, reduction="batchmean")
        loss = listwise + REGRESSION_WEIGHT * F.smooth_l1_loss(scores, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():  # back to log-odds
        heads.scale -= math.log(factor)
        heads.bias /= factor
    return heads.cpu().eval()


def _build_heads(reranker: Any, hidden_size: int, width: int) -> DistilledHeads:
    """New heads, whose words start as those of the cross-encoder."""
    words = reranker.model.get_input_embeddings().weight.detach().float().cpu()
    heads = DistilledHeads(*words.shape, hidden_size, width)
    heads.text.words.weight.data.copy_(words)
    return heads


def _compare(
    heads: DistilledHeads,
    reranker: Reranker,
    pairs: Pairs,
    parts: np.ndarray,
    mask: np.ndarray | None,
    owners: np.ndarray | None,
) -> ShortlistReport:
    """What shortlists of the heads lose among videos, and for texts, that they have not seen."""
    vectors = heads.encode_texts(reranker.processor, pairs.texts)
    similarities = vectors @ heads.encode_videos(parts, mask, pairs.videos).T
    order = np.argsort(-similarities, axis=1, kind="stable")
    ids = pairs.videos.tolist()
    rankings = [
        TextRanking(ids, scores, pairs.videos[nearest].tolist(), None if owners is None else int(owners[row]))
        for row, (scores, nearest) in enumerate(zip(pairs.scores, order, strict=True))
    ]
    return measure_losses(rankings, sorted({*SIZES, reference_size(len(ids))}))


__all__ = ["distil", "plan_pairs", "reference_size", "vary", "vary_texts"]
