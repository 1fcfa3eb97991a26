# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of all questions about videos: each video encoded once, its sentences in blocks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.tasks.moment_retrieval.items import AskedVideo


HEADS = ("start_logits", "end_logits", "segment_logits")


def segment_features(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Vectors of segments `(videos, segments, features)`, 0 where there is none: as they are given, or made of frames."""
    if "video_features" in inputs:
        return inputs["video_features"]
    mask = inputs["video_mask"].bool()
    return model.base_model.segment_features(inputs["pixel_values"], mask, inputs.get("frame_mask"))


def match_in_blocks(
    model: PreTrainedModel, texts: Mapping[str, torch.Tensor], videos: Any, video_indices: torch.Tensor, block: int
) -> torch.Tensor:
    """
    Scores of the segments of each sentence's video.

    Args:
        model (`PreTrainedModel`): Keeps the contract of moments.
        texts (`Mapping[str, torch.Tensor]`): `input_ids` and `attention_mask` of all sentences.
        videos (`Any`): What `encode_videos` returned.
        video_indices (`torch.Tensor` of shape `(queries,)`): The video of each sentence.
        block (`int`): Most sentences at a time.

    Returns:
        `torch.FloatTensor` of shape `(heads, queries, segments)`: those of `HEADS` that the model has, in float32.
    """
    found = []
    for first in range(0, len(video_indices), block):
        some = slice(first, first + block)
        encoded = model.encode_texts(**{name: values[some] for name, values in texts.items()})
        outputs = model.match_moments(encoded, videos, video_indices[some])
        logits = (getattr(outputs, name) for name in HEADS)
        found.append(torch.stack([each.float() for each in logits if each is not None]))
    return torch.cat(found, dim=1)


def by_question(videos: Sequence[AskedVideo], found: Predictions, info: Mapping[str, Any]) -> Predictions:
    """
    What was found of videos, question by question.

    Args:
        videos (`Sequence[AskedVideo]`): All videos of the split.
        found (`Predictions`): A row for each with its `number`, `skipped`, `seen_s` (the seconds that its segments cover) and
            `scores` `(heads, questions, segments)`; the latter two are `None` where it could not be decoded.
        info (`Mapping[str, Any]`): Of the evaluation.

    Returns:
        `Predictions`: As `measures.measure` takes them.
    """
    rows, parts = [], []
    is_known = [row["scores"] for row in found.rows if row["scores"] is not None]
    num_heads, longest = len(is_known[0]) if is_known else 2, max((each.shape[2] for each in is_known), default=1)
    for row in found.rows:
        questions = videos[row["number"]].questions
        scores = np.zeros((num_heads, len(questions), 1), np.float32) if row["scores"] is None else row["scores"]
        parts.append(np.pad(scores, ((0, 0), (0, 0), (0, longest - scores.shape[2]))))
        known = {"skipped": row["skipped"], "seen_s": row["seen_s"] or 1.0, "num_segments": scores.shape[2]}
        rows += [{**each, "duration_s": each["duration_s"] or row["seen_s"], **known} for each in questions]
    scores = np.concatenate(parts, axis=1) if parts else np.zeros((num_heads, 0, 1), np.float32)
    return Predictions(found.task, rows, dict(zip(HEADS, scores, strict=False)), dict(info))


__all__ = ["HEADS", "by_question", "match_in_blocks", "segment_features"]
