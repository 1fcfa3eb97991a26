# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of alignment, from what has been predicted."""

import numpy as np

from clipbert.metrics.alignment.alignment import compute_alignment_metrics
from clipbert.train_scripts.engine.predictions import Predictions


CONTEXTS = ("windowed", "global")  # with sentences said about then, with all of the video
METRICS = ("R@1", "roc_auc", "global_R@1", "global_roc_auc")


def measure(predictions: Predictions) -> dict[str, float]:
    """
    Metrics of predictions; videos that could not be decoded take no part.

    Args:
        predictions (`Predictions`): A row for each sentence with `alignable`, `start_s`, `end_s`, `num_seconds` and `skipped`; for
            each context the tensor of all scores, sentence after sentence.

    Returns:
        `dict`: What `compute_alignment_metrics` returns for windows, and for whole videos the same with `global_` in front.
    """
    asked = [number for number, row in enumerate(predictions.rows) if not row["skipped"]]
    rows = [predictions.rows[number] for number in asked]
    ends = np.cumsum([row["num_seconds"] for row in predictions.rows])[:-1]
    skipped = {row["video_id"] for row in predictions.rows if row["skipped"]}
    metrics = {"num_videos": len({row["video_id"] for row in rows}), "num_skipped_videos": len(skipped)}
    for context in CONTEXTS:
        scores = np.split(predictions.tensors[context], ends)
        spans = [(row["start_s"], row["end_s"]) for row in rows]
        found = compute_alignment_metrics([scores[n] for n in asked], spans, [row["alignable"] for row in rows])
        is_global = context == "global"
        metrics |= {
            f"global_{name}" if is_global else name: value
            for name, value in found.items()
            if not (is_global and name.startswith(("num_", "chance_")))
        }
    coverage = {name: value for name, value in predictions.info.items() if name == "coverage"}
    return {"R@1": metrics.pop("R@1"), **metrics, **coverage}


__all__ = ["CONTEXTS", "METRICS", "measure"]
