# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of pre-training, from what has been predicted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from clipbert.metrics.pretraining.pretraining import compute_pretraining_metrics
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.tasks.pooling import log_odds, pool_clips


def compute_match_odds(predictions: Predictions) -> np.ndarray:
    """
    Log-odds `(rows, 2)` that a text belongs to its own and to the other picture, pooled over clips as
    `predictions.info["score_pooling"]` says.
    """
    clip_logits = torch.as_tensor(predictions.tensors["clip_logits"])  # (rows, 2, clips, 2)
    return log_odds(pool_clips(clip_logits, predictions.info["score_pooling"] or "mean")).numpy()


def measure(predictions: Predictions) -> dict[str, float]:
    """
    Metrics of predictions; rows that could not be decoded take no part.

    Args:
        predictions (`Predictions`): A row for each caption, as `evaluation.predict_batch` gives them, with its `dataset`;
            `info` with `score_pooling`; the tensor `clip_logits` `(rows, 2, clips, 2)`.

    Returns:
        `dict`: What `compute_pretraining_metrics` returns, with `mlm_loss`, `mlm_blind_loss`, `itm_loss` and
        `num_skipped_rows`, of all rows and, where they come from several data sets, of each as `DATASET_metric`.
    """
    odds, rows = compute_match_odds(predictions), predictions.rows
    metrics, names = _measure_rows(odds, rows), list(dict.fromkeys(row["dataset"] for row in rows))
    for name in names if len(names) > 1 else []:
        chosen = [number for number, row in enumerate(rows) if row["dataset"] == name]
        of_set = _measure_rows(odds[chosen], [rows[number] for number in chosen])
        metrics |= {f"{name}_{key}": value for key, value in of_set.items()}
    return metrics | {name: value for name, value in predictions.info.items() if name == "coverage"}


def _measure_rows(odds: np.ndarray, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    usable = [number for number, row in enumerate(rows) if not row["skipped"]]
    own, other = np.asarray(odds, dtype=np.float64)[usable].T

    def gather(name: str) -> list:
        return [rows[number][name] for number in usable]

    metrics = compute_pretraining_metrics(
        gather("predicted_words") + gather("blind_words"),
        gather("words") + gather("words"),
        [*(own > 0), *(other > 0)],
        [1] * len(own) + [0] * len(other),
    )
    losses = {
        "mlm_loss": np.mean(np.concatenate(gather("word_losses"))),
        "mlm_blind_loss": np.mean(np.concatenate(gather("blind_word_losses"))),
        "itm_loss": np.mean(np.logaddexp(0, [-own, other])),
    }
    return {
        **metrics,
        **{name: float(value) for name, value in losses.items()},
        "num_skipped_rows": len(rows) - len(usable),
    }


__all__ = ["compute_match_odds", "measure"]
