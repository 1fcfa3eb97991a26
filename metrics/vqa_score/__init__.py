# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""VQA score: how many annotators agree with an answer, overall and by answer type."""

from .vqa_score import VQAScore, compute_vqa_score


__all__ = ["VQAScore", "compute_vqa_score"]
