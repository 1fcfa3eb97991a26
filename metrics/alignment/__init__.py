# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""When sentences of a video are seen, and whether they are seen at all."""

from .alignment import Alignment, compute_alignment_metrics, compute_roc_auc, seconds_of_span


__all__ = ["Alignment", "compute_alignment_metrics", "compute_roc_auc", "seconds_of_span"]
