# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Text-to-video retrieval: pairs of texts and videos, a contrastive loss, recall."""

from clipbert.train_scripts.tasks.retrieval.measures import measure, values_of_rows


__all__ = ["measure", "values_of_rows"]
