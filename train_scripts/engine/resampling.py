# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Bootstrap over groups of examples, such as the rows of one video, which stand or fall together."""

import numpy as np


NUM_RESAMPLES = 2000
VALUES_PER_BLOCK = 2**24  # bounds the memory, not the result


def resample_means(values: np.ndarray, groups: np.ndarray, seed: int = 0) -> np.ndarray:
    """
    Means of several columns over examples, in draws of as many groups as there are. A draw has the same groups in every column, so
    that columns can be compared draw by draw (a paired bootstrap).

    Args:
        values (`np.ndarray` of shape `(examples, columns)`): Without NaN.
        groups (`np.ndarray` of shape `(examples,)`): The group of each example.
        seed (`int`, *optional*, defaults to 0): Of the draws.

    Returns:
        `np.ndarray` of shape `(draws, columns)`.

    Raises:
        ValueError: If there is no example, or a value is not finite.

    Example:
        >>> means = resample_means(np.array([[0.0, 0.5], [1.0, 1.5]]), np.array([0, 1]))
        >>> means.shape, bool(np.allclose(means[:, 1] - means[:, 0], 0.5))
        ((2000, 2), True)
    """
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"Expected finite values of at least one example, got shape {values.shape}.")
    _, members = np.unique(groups, return_inverse=True)
    counts = np.bincount(members)
    sums = np.stack([np.bincount(members, weights=column) for column in values.T], axis=1)  # (groups, columns)
    rng, size, means = np.random.default_rng(seed), len(counts), []
    at_once = max(1, VALUES_PER_BLOCK // size)
    for first in range(0, NUM_RESAMPLES, at_once):
        draws = min(at_once, NUM_RESAMPLES - first)
        times = rng.multinomial(size, np.full(size, 1 / size), size=draws)  # how often each group counts
        means.append((times @ sums) / (times @ counts)[:, None])
    return np.concatenate(means)


def interval(means: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of draws."""
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


__all__ = ["interval", "resample_means"]
