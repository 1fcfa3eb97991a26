# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Accuracy of masked words and of matching, compared with what can be had without looking."""

from .pretraining import Pretraining, compute_pretraining_metrics


__all__ = ["Pretraining", "compute_pretraining_metrics"]
