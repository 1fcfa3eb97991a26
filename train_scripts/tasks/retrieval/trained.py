# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Trained models that match texts with videos, as a command line names them."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from clipbert.support import families
from clipbert.support.families import load_trained
from clipbert.support.manifest import CheckpointError


def find_checkpoint(name: str, option: str = "--checkpoint") -> str:
    """As that of `support.families`; a folder that is none ends the program. `option` is what named it."""
    try:
        return families.find_checkpoint(name)
    except (FileNotFoundError, CheckpointError) as error:
        raise SystemExit(f"{option} {error}") from error


def load_model(name: str) -> tuple[PreTrainedModel, Any]:
    """The model of a checkpoint that matches texts with videos, and its processor; anything else ends the program."""
    try:
        model, processor = load_trained(find_checkpoint(name))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        where = "" if Path(name).exists() else f"no such folder in {Path.cwd()}. As for the Hub: "
        raise SystemExit(f"--checkpoint {name}: {where}{reason}") from error
    if not hasattr(model, "match"):
        raise SystemExit(
            f"--checkpoint {name}: {type(model).__name__} does not match texts with videos; search takes what "
            "train_scripts/retrieval.py has trained."
        )
    return model, processor


__all__ = ["find_checkpoint", "load_model"]
