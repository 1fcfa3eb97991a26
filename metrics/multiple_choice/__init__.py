# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Accuracy of choosing one of several options, compared with guessing."""

from .multiple_choice import MultipleChoice, compute_multiple_choice_metrics


__all__ = ["MultipleChoice", "compute_multiple_choice_metrics"]
