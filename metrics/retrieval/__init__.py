# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Recall and ranks of text-to-video and video-to-text retrieval."""

from .rescaling import (
    DualSoftmax,
    QueryBank,
    compute_dual_softmax_metrics,
    dual_softmax,
    query_bank_norm,
    rescale_by_bank,
)
from .retrieval import Retrieval, RetrievalRanks, chance_recall, compute_retrieval_metrics


__all__ = [
    "DualSoftmax",
    "QueryBank",
    "Retrieval",
    "RetrievalRanks",
    "chance_recall",
    "compute_dual_softmax_metrics",
    "compute_retrieval_metrics",
    "dual_softmax",
    "query_bank_norm",
    "rescale_by_bank",
]
