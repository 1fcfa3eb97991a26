# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Monte-Carlo over the choice of clips: the same evaluation with several random draws, as mean and spread."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from clipbert.train_scripts.engine.predictions import Evaluation


def evaluate_draws(evaluate: Callable[[int], Evaluation], num_draws: int) -> Evaluation:
    """
    Evaluate a split with the clips of draw 0, 1, ...
    The metrics are means and, of more than one draw, `NAME_std` (standard deviation of the population of draws). The
    predictions are those of the first draw, the one that `num_draws: 1` makes.
    """
    results = [evaluate(draw) for draw in range(num_draws)]
    if len(results) == 1:
        return results[0]
    metrics, first = summarise([result.metrics for result in results]), results[0].predictions
    return replace(
        results[0], metrics=metrics, predictions=replace(first, info={**first.info, "num_draws": num_draws})
    )


def summarise(draws: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of each metric, and its spread; counts (`num_...`) and `coverage` are the same in all draws.

    Example:
        >>> summarise([{"accuracy": 0.5, "num_examples": 8}, {"accuracy": 0.75, "num_examples": 8}])
        {'accuracy': 0.625, 'accuracy_std': 0.125, 'num_examples': 8}
    """
    metrics = {}
    for name in draws[0]:
        values = [draw[name] for draw in draws]
        metrics[name] = statistics.mean(values)
        if not name.startswith("num_") and name != "coverage":
            metrics[f"{name}_std"] = statistics.pstdev(values)
    return metrics


def average_scores(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The same of evaluations of different examples, such as three official splits: of what all have, without intervals."""
    shared = set(found[0]).intersection(*found[1:])
    names = [name for name in found[0] if name in shared and "ci" not in name.split("_")]
    return summarise([{name: metrics[name] for name in names} for metrics in found])


__all__ = ["average_scores", "evaluate_draws", "summarise"]
