# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A contrastive loss over pairs of texts and videos."""

import torch


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


__all__ = ["contrastive_loss"]
