# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Classification of videos: items, scores."""

from clipbert.train_scripts.tasks.classification.measures import measure


__all__ = ["measure"]
