# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of retrieval, from what has been predicted."""

import torch

from clipbert.metrics.retrieval.retrieval import RECALL_AT, chance_recall, compute_retrieval_metrics
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.tasks.pooling import log_odds, pool_clips


RECALLS = tuple(f"R@{k}" for k in RECALL_AT)
METRICS = tuple(
    f"{direction}_{score}"
    for direction in ("text_to_video", "video_to_text")
    for score in (*RECALLS, "median_rank", "mean_rank")
)


def compute_match_odds(predictions: Predictions) -> torch.Tensor:
    """
    Log-odds that texts and videos belong together, pooled over clips as `predictions.info["score_pooling"]` says.

    Returns:
        `torch.FloatTensor` of shape `(texts, videos)`, NaN where a video has no clip.
    """
    clip_logits = torch.as_tensor(predictions.tensors["clip_logits"])  # (texts, videos, clips, labels)
    return log_odds(pool_clips(clip_logits, predictions.info["score_pooling"] or "mean"))


def measure(predictions: Predictions) -> dict[str, float]:
    """
    Metrics of predictions; videos that could not be decoded take no part.

    Args:
        predictions (`Predictions`): A row for each text, with the `video_id` that it belongs to; `info` with
            `video_ids` and `score_pooling`; the tensor `clip_logits` `(texts, videos, clips, labels)`.
    """
    odds = compute_match_odds(predictions)
    columns = {video_id: column for column, video_id in enumerate(predictions.info["video_ids"])}
    gold, usable = torch.tensor([columns[row["video_id"]] for row in predictions.rows]), ~odds.isnan().any(dim=0)
    asked, places = usable[gold], usable.cumsum(0) - 1
    metrics = compute_retrieval_metrics(odds[asked][:, usable].numpy(), places[gold[asked]].numpy())
    chance = {f"chance_R@{k}": chance_recall(metrics["num_videos"], k) for k in RECALL_AT}  # from text to video
    coverage = {name: value for name, value in predictions.info.items() if name == "coverage"}
    counts = {"num_examples": int(asked.sum()), "num_skipped_videos": int((~usable).sum())}
    return {"text_to_video_R@1": metrics.pop("text_to_video_R@1"), **chance, **metrics, **counts, **coverage}


__all__ = ["METRICS", "compute_match_odds", "measure"]
