# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Names of metrics that are of a group of the examples: `accuracy_evidence=half` is the accuracy of rows whose `evidence` is "half"."""

from collections.abc import Mapping


def split_group(name: str) -> tuple[str, str]:
    """
    A metric and the group that it is of; no group is empty.

    Example:
        >>> split_group("text_to_video_R@1_evidence=half"), split_group("accuracy")
        (('text_to_video_R@1', 'evidence=half'), ('accuracy', ''))
    """
    metric, _, last = name.rpartition("_")
    return (metric, last) if "=" in last and metric else (name, "")


def add_group(metrics: Mapping[str, float], group: str) -> dict[str, float]:
    """The same under the names of a group."""
    return {f"{name}_{group}": value for name, value in metrics.items()}


__all__ = ["add_group", "split_group"]
