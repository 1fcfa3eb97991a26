# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Alignment: when what is said in a video is seen, and whether it is seen at all."""

from clipbert.train_scripts.tasks.alignment.measures import measure


__all__ = ["measure"]
