# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Accuracy of open-ended answers, overall and by answer type, and the error of counts."""

from .video_qa import VideoQA, compute_count_metrics, compute_video_qa_metrics


__all__ = ["VideoQA", "compute_count_metrics", "compute_video_qa_metrics"]
