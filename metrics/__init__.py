# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Metrics, one `evaluate` module per folder."""

from pathlib import Path

import clipbert  # noqa: F401  one name for a package, also where it is imported by its bare one


def metric_path(name: str) -> str:
    """
    Where a metric lies, for `evaluate.load`.

    Args:
        name (`str`): Its folder, such as `"retrieval"`.

    Raises:
        ValueError: If there is none; the message lists those that there are.

    Example:
        >>> import evaluate
        >>> metric = evaluate.load(metric_path("multiple_choice"))
        >>> metric.compute(predictions=[[0.1, 0.9]], references=[1])["accuracy"]
        1.0
    """
    from clipbert.support.names import unknown_name

    known = sorted(path.parent.name for path in Path(__file__).parent.glob("*/__init__.py"))
    if name not in known:
        raise ValueError(unknown_name("metric", name, known))
    return str(Path(__file__).parent / name)


__all__ = ["metric_path"]
