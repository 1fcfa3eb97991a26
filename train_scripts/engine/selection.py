# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the evaluations of the tuning split decide: the best step, when to stop, when to lower the learning rate.

All of it is computed from the evaluations themselves, which the log and the checkpoints hold. So there is no state
that a resumed run could lose.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from clipbert.train_scripts.engine.sections import EvalSection


def tuning_scores(evaluations: Iterable[Mapping[str, Any]], settings: EvalSection) -> dict[int, float]:
    """The tuning split's metric by step, larger being better; a metric that is not finite is the worst."""
    sign = 1 if settings.goal == "max" else -1
    scores = {}
    for row in evaluations:
        if row["purpose"] == "tuning" and settings.metric in row["metrics"]:
            value = row["metrics"][settings.metric]
            scores[row["step"]] = sign * value if math.isfinite(value) else -math.inf
    return dict(sorted(scores.items()))


def find_best_step(scores: Mapping[int, float]) -> int | None:
    """The step with the best score; the earliest of equals."""
    return max(scores, key=lambda step: (scores[step], -step)) if scores else None


def count_since_best(scores: Mapping[int, float]) -> int:
    """Evaluations since the best one."""
    best = find_best_step(scores)
    return sum(step > best for step in scores)


def count_reductions(
    scores: Sequence[float], patience: int, threshold: float = 0.0, goal: Literal["max", "min"] = "max"
) -> int:
    """
    How often a rate has been reduced that is reduced after every `patience` evaluations without a better score.
    Scores are those of `tuning_scores`: larger is better, and with the goal `"min"` they are metrics times -1. A better
    metric differs from the best by its share `threshold` at least.

    Example:
        >>> count_reductions([0.1, 0.3, 0.2, 0.3, 0.2, 0.1], patience=2)
        2
    """
    best, waited, reductions = -math.inf, 0, 0
    margin = 1 + threshold if goal == "max" else 1 - threshold  # as torch's ReduceLROnPlateau has it
    for score in scores:
        if score > (best * margin if math.isfinite(best) else best):
            best, waited = score, 0
            continue
        waited += 1
        if waited == patience:
            waited, reductions = 0, reductions + 1
    return reductions


__all__ = ["count_reductions", "count_since_best", "find_best_step", "tuning_scores"]
