# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""When in a video a sentence happens: answers in seconds against the windows that annotators gave."""

from .moment_retrieval import MomentRetrieval, compute_moment_metrics, reaches, temporal_iou


__all__ = ["MomentRetrieval", "compute_moment_metrics", "reaches", "temporal_iou"]
