# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Monte-Carlo over the choice of clips: the same evaluation with several random draws, as mean and spread."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.task import Evaluation


def evaluate_draws(evaluate: Callable[[Recipe], Evaluation], recipe: Recipe) -> Evaluation:
    """
    Evaluate once for each of `eval.num_draws` draws, which differ in the seed alone.

    Args:
        evaluate (`Callable`): Evaluates a split as a recipe says; clips depend on `recipe.run.seed`.
        recipe (`Recipe`): The run.

    Returns:
        `Evaluation`: Means of the metrics and, for more than one draw, `NAME_std` (standard deviation of the
        population of draws). Predictions are those of the first draw, the one that `num_draws: 1` makes.
    """
    results = [evaluate(each) for each in _recipes_of_draws(recipe)]
    if len(results) == 1:
        return results[0]
    metrics = summarise([result.metrics for result in results])
    return replace(results[0], metrics=metrics, records={**results[0].records, "num_draws": len(results)})


def summarise(draws: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of each metric, and its spread; counts (`num_...`) keep their name alone.

    Example:
        >>> summarise([{"accuracy": 0.5, "num_examples": 8}, {"accuracy": 0.75, "num_examples": 8}])
        {'accuracy': 0.625, 'accuracy_std': 0.125, 'num_examples': 8}
    """
    metrics = {}
    for name in draws[0]:
        values = [draw[name] for draw in draws]
        metrics[name] = statistics.mean(values)
        if not name.startswith("num_"):
            metrics[f"{name}_std"] = statistics.pstdev(values)
    return metrics


def _recipes_of_draws(recipe: Recipe) -> Iterator[Recipe]:
    for draw in range(recipe.eval.num_draws):
        yield replace(recipe, run=replace(recipe.run, seed=recipe.run.seed + draw))


__all__ = ["evaluate_draws", "summarise"]
