# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
How well words fit frames: mutual guidance (Mug, section III-C of the paper) and what it is compared with.

Everything follows from the cosines S of words and frames: of the embeddings that the paper speaks of only products are
ever needed, because v~ . c~ = sum_ij w_i u_j S_ij. None of it has parameters but `wti`.

Letters: A texts, n words, B videos (or views of them), T frames, P width; j counts words, i frames.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers.utils.generic import maybe_autocast


# An exponential whose sum is smaller than this has lost what it stood for; see `_guided_scores`.
_LOST = 1e-30


class MutualGuidance(NamedTuple):
    """
    What words and frames of pairs say of each other. Dimensions before the last ones are those of the pairs.

    Args:
        word_attention (`torch.FloatTensor` of shape `(..., n, T)`): How each frame attends to words, sum 1 over words (11).
        frame_scores (`torch.FloatTensor` of shape `(..., T)`): How well each frame fits the words that it attends to.
        frame_weights (`torch.FloatTensor` of shape `(..., T)`): Soft-max of them (13).
        frame_attention (`torch.FloatTensor` of shape `(..., n, T)`): How each word attends to frames, sum 1 over
            frames (15).
        word_scores (`torch.FloatTensor` of shape `(..., n)`): How well each word fits the frames that it attends to.
        word_weights (`torch.FloatTensor` of shape `(..., n)`): Soft-max of them (17), 0 for padding.
    """

    word_attention: torch.Tensor
    frame_scores: torch.Tensor
    frame_weights: torch.Tensor
    frame_attention: torch.Tensor
    word_scores: torch.Tensor
    word_weights: torch.Tensor


def cosines(tokens, frames):
    """
    Cosines of all words and frames of pairs, in float32 or better.

    Args:
        tokens (`torch.FloatTensor` of shape `(..., n, P)`), frames (`torch.FloatTensor` of shape `(..., T, P)`).

    Returns:
        `torch.FloatTensor` of shape `(..., n, T)`.
    """
    with _in_full_precision(tokens):
        return _unit(tokens) @ _unit(frames).transpose(-1, -2)


def _unit(features):
    return F.normalize(at_least_float32(features), dim=-1, eps=1e-6)


def _in_full_precision(tensor):
    """Without autocast: in half precision cosines have few digits, and soft-maxes at τ = 100 and rankings need them."""
    return maybe_autocast(device_type=tensor.device.type, enabled=False)


def at_least_float32(tensor):
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def mutual_guidance(similarity, mask, scale):
    """
    Equations 11 to 17.

    Args:
        similarity (`torch.FloatTensor` of shape `(..., n, T)`): Cosines of words and frames.
        mask (`torch.BoolTensor` of shape `(..., n)`): Words that exist, at least one.
        scale (`float`): τ.

    Returns:
        [`MutualGuidance`].
    """
    known = similarity.where(mask[..., None], 0.0)
    word_attention = _soft_max(similarity, mask[..., None], scale, dim=-2)
    frame_attention = (scale * known).softmax(dim=-1)
    frame_scores = (word_attention * known).sum(dim=-2)
    word_scores = (frame_attention * known).sum(dim=-1)
    return MutualGuidance(
        word_attention=word_attention,
        frame_scores=frame_scores,
        frame_weights=(scale * frame_scores).softmax(dim=-1),
        frame_attention=frame_attention,
        word_scores=word_scores,
        word_weights=_soft_max(word_scores, mask, scale, dim=-1),
    )


def _soft_max(scores, mask, scale, dim):
    return (scale * scores).masked_fill(~mask, -math.inf).softmax(dim=dim)


def guide_embeddings(tokens, frames, guidance):
    """
    The embeddings of equations 14 and 18, for whoever wants to see them.

    Args:
        tokens (`torch.FloatTensor` of shape `(..., n, P)`), frames (`torch.FloatTensor` of shape `(..., T, P)`).
        guidance ([`MutualGuidance`]): Of the same pairs.

    Returns:
        The text-guided video and the video-guided text, each of shape `(..., P)`.
    """
    video = (guidance.frame_weights[..., None] * _unit(frames)).sum(dim=-2)
    text = (guidance.word_weights[..., None] * _unit(tokens)).sum(dim=-2)
    return video, text


# ---------------------------------------------------------------------------------------------------------------------
# Scores of pairs
# ---------------------------------------------------------------------------------------------------------------------


def _guided_scores(similarity, mask, scale):
    """
    `frame_scores` and `word_scores` of [`MutualGuidance`] by one exponential, where that would take two.

    The exponential is shifted by the largest cosine of the pair. A frame whose cosines all lie 69 / τ below it has lost
    its sum to rounding, and gets a score far below all others instead: a frame near the largest cosine has a score of at
    least that cosine less log(n) / τ, so that the weight of the lost frame is 1e-30 at most either way. The same of words.
    """
    mask = mask[..., None]  # (..., n, 1)
    known = similarity.where(mask, 0.0)
    scaled = (scale * similarity).masked_fill(~mask, -math.inf)
    shift = scaled.detach().amax(dim=(-2, -1), keepdim=True)
    exponentials = (scaled - shift).exp()
    weighted = exponentials * known
    floor = (shift[..., 0] + 2 * math.log(_LOST)) / scale  # (..., 1)

    def mean(dim):
        total = exponentials.sum(dim=dim)
        is_there = total > _LOST
        return (weighted.sum(dim=dim) / total.where(is_there, 1.0)).where(is_there, floor)

    return mean(-2), mean(-1)


def _weigh(similarity, mask, word_weights, frame_weights):
    """Sum of w_i u_j S_ij."""
    by_frame = (similarity.where(mask[..., None], 0.0) * word_weights[..., None]).sum(dim=-2)
    return (by_frame * frame_weights).sum(dim=-1)


def _best(scores, k, dim):
    """Equal weights for the k best along a dimension, fewer where fewer exist (those that do not are -inf)."""
    k = min(k, scores.shape[dim])
    values, places = scores.topk(k, dim=dim)
    chosen = torch.zeros_like(scores).scatter(dim, places, values.isfinite().to(scores.dtype))
    return chosen / chosen.sum(dim=dim, keepdim=True)


def _select(similarity, mask, k):
    """The four soft-maxes replaced by the k best, weighted alike (table VIII; the weighting is ours)."""
    known = similarity.where(mask[..., None], 0.0)
    valid = similarity.masked_fill(~mask[..., None], -math.inf)
    frame_scores = (_best(valid, k, -2) * known).sum(dim=-2)
    word_scores = (_best(similarity, k, -1) * known).sum(dim=-1).masked_fill(~mask, -math.inf)
    return _weigh(similarity, mask, _best(word_scores, k, -1), _best(frame_scores, k, -1))


def _interact(similarity, mask, word_weights, frame_weights, padding):
    """Weighted token-wise interaction of DRL: each word with its best frame, each frame with its best word."""
    words = similarity.amax(dim=-1).where(mask, 0.0)
    frames = similarity.masked_fill(~mask[..., None], padding).amax(dim=-2)
    return ((word_weights * words).sum(dim=-1) + (frame_weights * frames).sum(dim=-1)) / 2


def score_pairs(mode, similarity, mask, scale, pooled=None, k=3, word_weights=None, frame_weights=None):
    """
    How well texts fit videos, from the cosines of their words and frames.

    Args:
        mode (`str`): See `similarity` of [`MugSTANConfig`]; all but `"mean_pool"`, which reads no words.
        similarity (`torch.FloatTensor` of shape `(..., n, T)`): Cosines of words and frames.
        mask (`torch.BoolTensor` of shape `(..., n)`): Words that exist, at least one.
        scale (`float`): τ.
        pooled (`torch.FloatTensor` of shape `(..., T)`, *optional*): Cosines of text and frames, for the modes with
            `"frame_text"`.
        k (`int`): Of `"top_k"`.
        word_weights, frame_weights (`torch.FloatTensor` of shape `(..., n)` and `(..., T)`, *optional*):
            Of the modes with `"wti"`.

    Returns:
        `torch.FloatTensor` of shape `(...)`, in [-1, 1].

    Raises:
        ValueError: If the mode is unknown.

    Example:
        >>> similarity = torch.tensor([[0.1, 0.9], [0.3, 0.2]])  # of two words and two frames
        >>> round(score_pairs("mug_exact", similarity, torch.ones(2, dtype=torch.bool), scale=100.0).item(), 4)
        0.9
    """
    if mode == "frame_text_official":  # both halves of the average of the code are this number
        return ((scale * pooled).softmax(dim=-1) * pooled).sum(dim=-1)
    if mode == "top_k":
        return _select(similarity, mask, k)
    if mode in ("wti", "wti_official"):  # the code takes padding for words whose cosine is 0
        padding = 0.0 if mode == "wti_official" else -math.inf
        return _interact(similarity, mask, word_weights, frame_weights, padding)
    frame_scores, word_scores = _guided_scores(similarity, mask, scale)
    if mode == "frame_text":
        return ((scale * frame_scores).softmax(dim=-1) * pooled).sum(dim=-1)
    word_weights = _soft_max(word_scores, mask, scale, dim=-1)
    if mode == "video_token":
        return (word_weights * similarity.mean(dim=-1).where(mask, 0.0)).sum(dim=-1)
    frame_weights = (scale * frame_scores).softmax(dim=-1)
    if mode == "mug":
        words = (word_weights * word_scores.where(mask, 0.0)).sum(dim=-1)
        return (words + (frame_weights * frame_scores).sum(dim=-1)) / 2
    if mode == "mug_exact":
        return _weigh(similarity, mask, word_weights, frame_weights)
    raise ValueError(f"There is no similarity {mode!r}.")


# ---------------------------------------------------------------------------------------------------------------------
# All pairs, in blocks
# ---------------------------------------------------------------------------------------------------------------------


class TextFeatures(NamedTuple):
    """
    Texts as the similarity reads them.

    Args:
        tokens (`torch.FloatTensor` of shape `(A, n, P)`): Of words.
        mask (`torch.BoolTensor` of shape `(A, n)`): Words that exist.
        pooled (`torch.FloatTensor` of shape `(A, P)`): Of texts.
        weights (`torch.FloatTensor` of shape `(A, n)`, *optional*): Of words, for `"wti"`.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    pooled: torch.Tensor
    weights: torch.Tensor | None = None

    def __getitem__(self, rows):
        return TextFeatures(*(None if part is None else part[rows] for part in self))

    def cut(self, length):
        weights = None if self.weights is None else self.weights[:, :length]
        return TextFeatures(self.tokens[:, :length], self.mask[:, :length], self.pooled, weights)


class FrameFeatures(NamedTuple):
    """
    Videos as the similarity reads them.

    Args:
        frames (`torch.FloatTensor` of shape `(B, T, P)`).
        weights (`torch.FloatTensor` of shape `(B, T)`, *optional*): Of frames, for `"wti"`.
    """

    frames: torch.Tensor
    weights: torch.Tensor | None = None

    def __getitem__(self, rows):
        return FrameFeatures(*(None if part is None else part[rows] for part in self))


def score_all_pairs(texts, videos, mode, scale, k=3, block_size=2**22):
    """
    How well every text fits every video, a block of pairs at a time; in training a block is computed again when its
    gradient is due, so that memory does not grow with their number.

    Args:
        texts ([`TextFeatures`]): A texts.
        videos ([`FrameFeatures`]): B videos, of equally many frames.
        mode, scale, k: See [`score_pairs`]; also `"mean_pool"`.
        block_size (`int`): Most cosines of words and frames at a time.

    Returns:
        `torch.FloatTensor` of shape `(A, B)`.
    """
    if mode == "mean_pool":
        with _in_full_precision(texts.pooled):
            return _unit(texts.pooled) @ _unit(at_least_float32(videos.frames).mean(dim=1)).T
    num_texts, num_words = texts.mask.shape
    num_videos, num_frames = videos.frames.shape[:2]
    if torch.compiler.is_compiling() or num_texts * num_words * num_videos * num_frames <= block_size:
        return _score_block(texts, videos, mode, scale, k)
    # texts of similar length stand together, so that little of a block is padding
    places = torch.arange(1, num_words + 1, device=texts.mask.device)
    lengths, order = (texts.mask * places).amax(dim=1).sort()
    texts, lengths = texts[order], lengths.tolist()
    video_step = max(1, min(num_videos, block_size // (num_words * num_frames)))
    rows, first = [], 0
    while first < num_texts:
        last = first + 1  # as many texts as fit with the length of the longest
        while last < num_texts and (last + 1 - first) * lengths[last] * video_step * num_frames <= block_size:
            last += 1
        # what the official interaction makes of a text depends on its padding
        block = texts[first:last].cut(num_words if mode == "wti_official" else lengths[last - 1])
        row = [
            _score_again_backward(block, videos[start : start + video_step], mode, scale, k)
            for start in range(0, num_videos, video_step)
        ]
        rows.append(torch.cat(row, dim=1))
        first = last
    return torch.cat(rows)[order.argsort()]


def _score_again_backward(texts, videos, mode, scale, k):
    if torch.is_grad_enabled() and (texts.tokens.requires_grad or videos.frames.requires_grad):
        return checkpoint(_score_block, texts, videos, mode, scale, k, use_reentrant=False)
    return _score_block(texts, videos, mode, scale, k)


def _score_block(texts, videos, mode, scale, k):
    pooled, unit_frames = None, _unit(videos.frames)
    with _in_full_precision(texts.tokens):
        # one product of matrices; its dimensions are only looked at in another order
        products = _unit(texts.tokens).flatten(0, 1) @ unit_frames.flatten(0, 1).T  # (A*n, B*T)
        if mode.startswith("frame_text"):
            pooled = torch.einsum("ap,btp->abt", _unit(texts.pooled), unit_frames)
    similarity = products.view(*texts.mask.shape, *videos.frames.shape[:2]).transpose(1, 2)  # (A, B, n, T)
    return score_pairs(
        mode,
        similarity,
        texts.mask[:, None],
        scale,
        pooled=pooled,
        k=k,
        word_weights=None if texts.weights is None else texts.weights[:, None],
        frame_weights=videos.weights,
    )


# ---------------------------------------------------------------------------------------------------------------------
# The contrastive objective
# ---------------------------------------------------------------------------------------------------------------------


def contrastive_loss(logits, no_negatives=None):
    """
    The sum of both directions (equation 19); the loss of transformers' CLIP is half of it.

    Args:
        logits (`torch.FloatTensor` of shape `(pairs, pairs)`): Scores of the texts (rows) with the videos (columns) of
            all pairs; those that belong together on the diagonal.
        no_negatives (`torch.BoolTensor` of shape `(pairs, pairs)`, *optional*): Pairs that are left out, because they
            belong together, too. The diagonal is not looked at.

    Returns:
        `torch.FloatTensor` of shape `()`.

    Example:
        >>> contrastive_loss(torch.zeros(2, 2)).item()  # 2 ln 2
        1.3862943649291992
    """
    labels = torch.arange(len(logits), device=logits.device)
    if no_negatives is not None:
        others = no_negatives & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(others, -math.inf)
    return F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)


def same_words(input_ids, mask):
    """
    Which texts have the same words, whatever they are padded with.

    Args:
        input_ids (`torch.LongTensor` of shape `(A, n)`), mask (`torch.BoolTensor` of shape `(A, n)`).

    Returns:
        `torch.BoolTensor` of shape `(A, A)`.
    """
    words = input_ids.masked_fill(~mask, -1)
    return (words[:, None] == words[None]).all(dim=-1)


def pool_views(scores, score_pooling):
    """
    Scores of several views of a video to one.

    Args:
        scores (`torch.FloatTensor` of shape `(..., views)`).
        score_pooling (`str`): `"mean"`, `"max"`, or `"lse"`: log of the mean exponential.

    Returns:
        `torch.FloatTensor` of shape `(...)`.

    Raises:
        ValueError: If `score_pooling` is another word.
    """
    if score_pooling == "mean":
        return scores.mean(dim=-1)
    if score_pooling == "max":
        return scores.amax(dim=-1)
    if score_pooling == "lse":
        return scores.logsumexp(dim=-1) - math.log(scores.shape[-1])
    raise ValueError(f"score_pooling must be 'mean', 'max' or 'lse', got {score_pooling!r}.")


__all__ = [
    "FrameFeatures",
    "MutualGuidance",
    "TextFeatures",
    "at_least_float32",
    "contrastive_loss",
    "cosines",
    "guide_embeddings",
    "mutual_guidance",
    "pool_views",
    "same_words",
    "score_all_pairs",
    "score_pairs",
]
