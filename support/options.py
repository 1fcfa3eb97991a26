# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Options of recipes: fields of dataclasses with a help text and bounds. The engine, tasks and families declare them."""

from dataclasses import field
from typing import Any


def option(
    default: Any,
    help: str,
    at_least: float | None = None,
    at_most: float | None = None,
    is_changeable: bool = False,
    saves: str = "",
) -> Any:
    """
    A field of a section of a recipe.

    Args:
        default (`Any`): Its default.
        help (`str`): One or two sentences for `--help`.
        at_least, at_most (`float`, *optional*): Bounds, inclusive.
        is_changeable (`bool`, *optional*, defaults to `False`): Whether a run may be resumed with another value: of
            options that say where, how fast and how often, not what is learnt.
        saves (`str`, *optional*): What a smaller value (or switching it on) saves: `"memory"`, `"time"` or both in one
            string. Messages about a run that lacks either name these options.
    """
    metadata = {"help": help, "at_least": at_least, "at_most": at_most, "is_changeable": is_changeable, "saves": saves}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def changeable(default: Any, help: str, **more: Any) -> Any:
    """An [`option`] that a resumed run may change."""
    return option(default, help, is_changeable=True, **more)


__all__ = ["changeable", "option"]
