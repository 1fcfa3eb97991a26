# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pre-training on captions: masked words and matching, mixtures of data sets, an evaluation that knows what is blind."""

from clipbert.train_scripts.tasks.pretraining.measures import measure


__all__ = ["measure"]
