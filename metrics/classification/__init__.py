# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Accuracy of one class out of many."""

from .classification import Classification, compute_classification_metrics


__all__ = ["Classification", "compute_classification_metrics"]
