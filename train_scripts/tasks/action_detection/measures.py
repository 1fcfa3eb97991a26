# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Frame mAP, from what has been predicted."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from clipbert.metrics.detection import compute_detection_metrics, rank_detections
from clipbert.train_scripts.engine.predictions import Predictions


CLASSES = "classes.json"  # beside the predictions: what `describe_classes` returns


def measure(predictions: Predictions) -> dict[str, float]:
    """
    Metrics of predictions; key frames that could not be decoded take no part.

    Args:
        predictions (`Predictions`): A row for each key frame with `people` (boxes), `gold` (the classes of each), `boxes` (those
            that were scored, with a detector's score behind x1, y1, x2, y2), `video_id` and `skipped`; `info` with
            `class_names`, `evaluated_classes` (numbers) and `use_proposal_scores`; the tensor `logits` `(scored boxes,
            classes)`, in the order of the rows.

    Returns:
        `dict`: What `compute_detection_metrics` returns, the interval over videos; `blind_mAP`, each box scored by the
        frequencies of the classes: boxes have equal scores in each class, whatever the frequencies are;
        `num_skipped_keyframes`.
    """
    rows, info = predictions.rows, predictions.info
    found, people, videos = _pairs(predictions)
    classes, metrics = info["evaluated_classes"], {"num_examples": 0}
    if any(labels for keyframe in people for labels in keyframe["labels"]) and any(each["boxes"] for each in found):
        metrics = compute_detection_metrics(found, people, classes=classes, groups=videos)
        blind = [{**each, "scores": np.zeros_like(each["scores"])} for each in found]
        ranked = [each.average_precision() for each in rank_detections(blind, people, classes=classes)]
        metrics = {"mAP": metrics.pop("mAP"), "blind_mAP": float(np.nanmean(ranked)), **metrics}
    coverage = {name: value for name, value in info.items() if name == "coverage"}
    return {**metrics, "num_skipped_keyframes": sum(bool(row["skipped"]) for row in rows), **coverage}


def describe_classes(predictions: Predictions) -> dict[str, Any]:
    """
    How well each class is found.

    Returns:
        `dict`: `classes`, one entry for each with `name`, `is_evaluated`, `num_boxes` and `average_precision` (`None`
        without an example).
    """
    found, people, _ = _pairs(predictions)
    names, evaluated = predictions.info["class_names"], set(predictions.info["evaluated_classes"])
    if not any(each["boxes"] for each in found):
        return {}
    classes = []
    for label, ranked in enumerate(rank_detections(found, people)):
        total = int(ranked.num_people.sum())
        precision = ranked.average_precision() if total else None
        row = {"name": names[label], "is_evaluated": label in evaluated, "num_boxes": total}
        classes.append({**row, "average_precision": precision})
    return {"classes": classes}


def score_boxes(predictions: Predictions) -> list[np.ndarray]:
    """For each row the scores of its boxes `(boxes, classes)`: probabilities, times those of a detector if the run says so."""
    counts = [len(row["boxes"]) for row in predictions.rows]
    parts = np.split(1 / (1 + np.exp(-predictions.tensors["logits"].astype(np.float64))), np.cumsum(counts)[:-1])
    if not predictions.info["use_proposal_scores"]:
        return parts
    own = [np.array([box[4] for box in row["boxes"]]).reshape(-1, 1) for row in predictions.rows]
    return [part * weights for part, weights in zip(parts, own, strict=True)]


def _pairs(predictions: Predictions) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]], list[str]]:
    """Detections, people and video of the key frames that could be decoded, as the metric takes them."""
    found, people, videos = [], [], []
    for row, scores in zip(predictions.rows, score_boxes(predictions) if predictions.rows else (), strict=True):
        if not row["skipped"]:
            found.append({"boxes": [box[:4] for box in row["boxes"]], "scores": scores})
            people.append({"boxes": row["people"], "labels": row["gold"]})
            videos.append(row["video_id"])
    return found, people, videos


__all__ = ["CLASSES", "describe_classes", "measure", "score_boxes"]
