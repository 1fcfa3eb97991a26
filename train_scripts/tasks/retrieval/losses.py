# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A contrastive loss over pairs of texts and videos, and the features of pairs that a model makes its own of."""

from collections.abc import Mapping

import torch

from clipbert.train_scripts.engine.data import Batch
from clipbert.train_scripts.engine.task import Features


Encoded = torch.Tensor | Mapping[str, torch.Tensor]


def contrastive_loss(
    scores: torch.Tensor,
    labels: torch.Tensor,
    video_indices: torch.Tensor,
    text_indices: torch.Tensor,
    num_videos: int,
    num_texts: int,
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
        num_videos, num_texts (`int`): How many there are. (On an accelerator, looking for the largest index would wait.)

    Returns:
        `torch.FloatTensor` of shape `()`.

    Example:
        >>> pairs = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> contrastive_loss(torch.zeros(4), torch.tensor([1, 0, 0, 1]), pairs[:, 0], pairs[:, 1], 2, 2).item()
        0.6931471824645996
    """
    blank = scores.new_full((num_videos, num_texts), -torch.inf)
    table = blank.index_put((video_indices, text_indices), scores)
    right = blank.index_put((video_indices, text_indices), scores.where(labels == 1, -torch.inf))
    losses, counts = [], []
    for dim in (1, 0):
        competes = (right > -torch.inf).any(dim, keepdim=True) & (table > right).any(dim, keepdim=True)
        # 0 in place of rows without competition, whose logarithms have no gradient
        distance = table.where(competes, 0.0).logsumexp(dim) - right.where(competes, 0.0).logsumexp(dim)
        losses.append(distance.sum() / competes.sum().clamp(min=1))
        counts.append(competes.any())
    return torch.stack(losses).sum() / torch.stack(counts).sum().clamp(min=1)


def flatten_pairs(texts: Encoded, videos: Encoded, batch: Batch) -> Features:
    """What both encoders return, row by row: text i with its own video, and what tells the same ones apart."""
    owners = batch.inputs["video_indices"]
    features = {f"texts.{name}": value for name, value in _named(texts).items()}
    features |= {f"videos.{name}": value[owners] for name, value in _named(videos).items()}
    return features | {name: batch.targets[name] for name in ("text_keys", "video_keys")}


def unflatten_pairs(features: Features) -> dict[str, Encoded]:
    """The arguments of `contrastive_loss` of a model, from what `flatten_pairs` has made."""
    arguments = {name: features[name] for name in ("text_keys", "video_keys")}
    for side in ("texts", "videos"):
        parts = {name.partition(".")[2]: value for name, value in features.items() if name.startswith(f"{side}.")}
        arguments[side] = parts[""] if list(parts) == [""] else parts
    return arguments


def _named(encoded: Encoded) -> Mapping[str, torch.Tensor]:
    return {"": encoded} if torch.is_tensor(encoded) else encoded


__all__ = ["contrastive_loss", "flatten_pairs", "unflatten_pairs"]
