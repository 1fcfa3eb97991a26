# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A contrastive loss over pairs of texts and videos, and the features of pairs that a model makes its own of."""

from collections.abc import Mapping

import torch

from clipbert.train_scripts.engine.data import Batch
from clipbert.train_scripts.engine.task import Features


Encoded = torch.Tensor | Mapping[str, torch.Tensor]


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
