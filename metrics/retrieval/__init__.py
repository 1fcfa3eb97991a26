# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Recall and ranks of text-to-video and video-to-text retrieval."""

from .retrieval import Retrieval, RetrievalRanks, chance_recall, compute_retrieval_metrics


__all__ = ["Retrieval", "RetrievalRanks", "chance_recall", "compute_retrieval_metrics"]
