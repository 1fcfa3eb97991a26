# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Checkpoints with their code and a model card, in a folder or on the Hub."""

from clipbert.train_scripts.publishing.card import ModelCardInfo, Scores
from clipbert.train_scripts.publishing.checkpoints import load_checkpoint, save_for_hub
from clipbert.train_scripts.publishing.runs import check_repository, publish_run, read_card


__all__ = [
    "ModelCardInfo",
    "Scores",
    "check_repository",
    "load_checkpoint",
    "publish_run",
    "read_card",
    "save_for_hub",
]
