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


def mean_of_videos(features: torch.Tensor, mask: torch.Tensor, num_windows: Sequence[int]) -> torch.Tensor:
    """The mean vector of the segments of each video `(videos, features)`, from those of its windows; NaN where it has none."""
    sums, counts = features.float().sum(dim=1), mask.sum(dim=1).float()  # padding is 0
    parts = zip(sums.split(num_windows), counts.split(num_windows), strict=True)
    return torch.stack([of_video.sum(dim=0) / count.sum() for of_video, count in parts])


def match_in_blocks(
    model: PreTrainedModel, texts: Mapping[str, torch.Tensor], videos: Any, rows: torch.Tensor, block: int
) -> torch.Tensor:
    """
    Scores of the segments of the videos, or windows, that sentences ask of.

    Args:
        model (`PreTrainedModel`): Keeps the contract of moments.
        texts (`Mapping[str, torch.Tensor]`): `input_ids` and `attention_mask` of all sentences.
        videos (`Any`): What `encode_videos` returned.
        rows (`torch.Tensor` of shape `(rows, 2)`): Numbers of a sentence and of a video.
        block (`int`): Most of either at a time.

    Returns:
        `torch.FloatTensor` of shape `(heads, rows, segments)`: those of `HEADS` that the model has, in float32.
    """
    parts = [
        model.encode_texts(**{name: values[first : first + block] for name, values in texts.items()})
        for first in range(0, len(texts["input_ids"]), block)
    ]
    encoded, found = [torch.cat(each) for each in zip(*parts, strict=True)], []
    for some in rows.split(block):
        outputs = model.match_moments(type(parts[0])(*(each[some[:, 0]] for each in encoded)), videos, some[:, 1])
        logits = (getattr(outputs, name) for name in HEADS)
        found.append(torch.stack([each.float() for each in logits if each is not None]))
    return torch.cat(found, dim=1)


def by_question(videos: Sequence[AskedVideo], found: Predictions, info: Mapping[str, Any]) -> Predictions:
    """
    What was found of videos, question by question.

    Args:
        videos (`Sequence[AskedVideo]`): All videos of the split.
        found (`Predictions`): A row for each with its `number`, `skipped`, `windows_seen` (start and end in seconds and number of
            segments of each window; one where a video was seen as a whole, none where it could not be decoded), and `scores`
            `(heads, questions times windows, segments)`.
        info (`Mapping[str, Any]`): Of the evaluation.

    Returns:
        `Predictions`: As `measures.measure` takes them.
    """
    rows, parts = [], [row["scores"] for row in found.rows if row["windows_seen"]]
    longest = max((each.shape[2] for each in parts), default=1)
    for row in found.rows:
        seen = row["windows_seen"]
        known = {"video": videos[row["number"]].video, "skipped": row["skipped"], "windows_seen": seen}
        for each in videos[row["number"]].questions:
            duration_s = each["duration_s"] or (seen[-1][1] if seen else None)
            rows.append({**each, "duration_s": duration_s, **known})
    padded = [np.pad(each, ((0, 0), (0, 0), (0, longest - each.shape[2]))) for each in parts]
    scores = np.concatenate(padded, axis=1) if padded else np.zeros((2, 0, 1), np.float32)
    return Predictions(found.task, rows, dict(zip(HEADS, scores, strict=False)), dict(info))


__all__ = ["HEADS", "by_question", "match_in_blocks", "mean_of_videos", "segment_features"]
