# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Accuracy of one class out of many, and of any number of labels; intervals, and a test of two models."""

from .classification import (
    Classification,
    compute_classification_metrics,
    compute_multilabel_metrics,
    count_confusions,
    macro_f1,
    mcnemar_test,
    wilson_interval,
)


__all__ = [
    "Classification",
    "compute_classification_metrics",
    "compute_multilabel_metrics",
    "count_confusions",
    "macro_f1",
    "mcnemar_test",
    "wilson_interval",
]
