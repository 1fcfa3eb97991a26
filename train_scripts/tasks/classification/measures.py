# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of classes, from what has been predicted."""

import numpy as np

from clipbert.metrics.classification.classification import compute_classification_metrics
from clipbert.train_scripts.engine.predictions import Predictions


def measure(predictions: Predictions) -> dict[str, float]:
    """
    Metrics of predictions; videos that could not be decoded, and those without a published class, take no part.

    Args:
        predictions (`Predictions`): A row for each video with `gold` (the number of its class, or `None`) and `skipped`;
            `info` with `class_names` and, where there is a training split, `majority_class`; the tensor `logits`
            `(videos, classes)`.

    Returns:
        `dict`: What `compute_classification_metrics` returns, `blind_accuracy` (always the most frequent class of the
        training split) and `num_skipped_videos`.
    """
    rows, info = predictions.rows, predictions.info
    asked = [number for number, row in enumerate(rows) if not row["skipped"] and row["gold"] is not None]
    metrics: dict[str, float] = {"num_examples": 0}
    if asked:
        gold = np.array([rows[number]["gold"] for number in asked])
        metrics = compute_classification_metrics(predictions.tensors["logits"][asked], gold)
        if "majority_class" in info:
            blind = {"blind_accuracy": float((gold == info["majority_class"]).mean())}
            metrics = {"accuracy": metrics.pop("accuracy"), **blind, **metrics}
    coverage = {name: value for name, value in info.items() if name == "coverage"}
    return {**metrics, "num_skipped_videos": sum(bool(row["skipped"]) for row in rows), **coverage}


__all__ = ["measure"]
