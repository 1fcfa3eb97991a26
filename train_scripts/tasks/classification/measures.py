# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of classes, from what has been predicted."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from clipbert.metrics.classification.classification import (
    compute_classification_metrics,
    compute_multilabel_metrics,
    count_confusions,
    wilson_interval,
)
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.tasks.classification.items import mark_labels


CLASSES = "classes.json"  # beside the predictions: what `describe_classes` returns


def measure(predictions: Predictions) -> dict[str, float]:
    """
    Metrics of predictions; videos that could not be decoded, and those without a published class, take no part.

    Args:
        predictions (`Predictions`): A row for each video with `gold` (the number of its class, a list of them where there
            may be several, or `None`) and `skipped`; `info` with `class_names` and, where there is a training split,
            `majority_class`; the tensor `logits` `(videos, classes)`.

    Returns:
        `dict`: What `compute_classification_metrics` returns (with several classes a video `compute_multilabel_metrics`),
        `loss` (cross-entropy), `blind_accuracy` (always the most frequent class of the training split) and
        `num_skipped_videos`.
    """
    rows, info = predictions.rows, predictions.info
    asked = find_asked(predictions)
    metrics: dict[str, float] = {"num_examples": 0}
    if asked:
        logits, labels = predictions.tensors["logits"][asked].astype(np.float64), [rows[n]["gold"] for n in asked]
        if isinstance(labels[0], list):
            gold = mark_labels(labels, logits.shape[1])
            metrics = compute_multilabel_metrics(logits, gold)
            loss = F.binary_cross_entropy_with_logits(torch.from_numpy(logits), torch.from_numpy(gold).double())
        else:
            gold = np.array(labels)
            metrics = compute_classification_metrics(logits, gold)
            loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(gold))
            if "majority_class" in info:
                blind = {"blind_accuracy": float((gold == info["majority_class"]).mean())}
                metrics = {"accuracy": metrics.pop("accuracy"), **blind, **metrics}
        metrics["loss"] = float(loss)
    coverage = {name: value for name, value in info.items() if name == "coverage"}
    return {**metrics, "num_skipped_videos": sum(bool(row["skipped"]) for row in rows), **coverage}


def find_asked(predictions: Predictions) -> list[int]:
    """Numbers of the rows that take part: decoded, and with a published class."""
    return [n for n, row in enumerate(predictions.rows) if not row["skipped"] and row["gold"] is not None]


def describe_classes(predictions: Predictions) -> dict[str, Any]:
    """
    How well each class is known, and for which others it is taken.

    Returns:
        `dict`: `classes`, one entry for each with `name`, `num_examples`, `accuracy` and its 95 % interval (`None` without
        an example), and `confusions`: right classes down, predicted ones across. Nothing where a video has several.
    """
    asked, names = find_asked(predictions), predictions.info["class_names"]
    gold = [predictions.rows[number]["gold"] for number in asked]
    if not gold or isinstance(gold[0], list):
        return {}
    predicted = predictions.tensors["logits"][asked].argmax(axis=1)
    counts = count_confusions(predicted, gold, len(names))
    classes = []
    for label, name in enumerate(names):
        hits, total = int(counts[label, label]), int(counts[label].sum())
        shares = {"accuracy": hits / total, "interval": wilson_interval(hits, total)} if total else {}
        classes.append({"name": name, "num_examples": total, **({"accuracy": None, "interval": None} | shares)})
    return {"classes": classes, "confusions": counts.tolist()}


__all__ = ["CLASSES", "describe_classes", "find_asked", "measure"]
