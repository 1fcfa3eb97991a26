# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How much of a published split an evaluation has seen."""

from datasets import Dataset

from clipbert.datasets_scripts.checks import compute_coverage


def coverage_of(*rows: Dataset) -> dict[str, float]:
    """`coverage`, the share of the published rows that are there, unless all are: the scores stand on these alone."""
    coverage = compute_coverage(*rows)
    return {} if coverage.is_complete else {"coverage": coverage.share}


__all__ = ["coverage_of"]
