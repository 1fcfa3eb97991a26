# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Question answering about videos and images: modes of answering, items, blind baselines, scores."""

from clipbert.train_scripts.tasks.question_answering.measures import measure, values_of_rows


__all__ = ["measure", "values_of_rows"]
