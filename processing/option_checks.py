# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Options of a call: unknown names and wrong types are refused, not passed over."""

import difflib
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

from huggingface_hub.dataclasses import validate_typed_dict
from huggingface_hub.errors import StrictDataclassFieldValidationError


SIMPLE_TYPES = (bool, int, float, str)  # of values that say all by themselves, so that one look at them is enough


def refuse_unknown_options(given: Iterable[str], known: Collection[str], place: str) -> None:
    """Raise `TypeError` for a name in `given` that is not in `known`, and suggest the one that was probably meant.

    Example:
        >>> refuse_unknown_options(["num_clip"], ["num_clips", "num_frames"], "ClipBERTVideoProcessor")
        Traceback (most recent call last):
        TypeError: ClipBERTVideoProcessor has no option 'num_clip': did you mean num_clips?
    """
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the options are {', '.join(sorted(known))}."
            raise TypeError(f"{place} has no option {name!r}: {hint}")


def check_option_types(given: dict[str, Any], schema: type) -> None:
    """Raise `TypeError` for a value that is not of the type its option has in a `TypedDict`; `None` is never wrong."""
    others, hints = {}, schema.__annotations__
    try:
        for name, value in given.items():
            if type(value) in SIMPLE_TYPES:
                _check_simple(schema, name, value)
            elif value is not None and hints.get(name) is not Any:
                others[name] = value
        if others:
            validate_typed_dict(schema, others)
    except StrictDataclassFieldValidationError as error:
        raise TypeError(str(error.__cause__ or error)) from error


@lru_cache(maxsize=4096, typed=True)
def _check_simple(schema: type, name: str, value: bool | int | float | str) -> None:
    """The same calls come again for every video; what has passed once passes again, and errors are not remembered."""
    validate_typed_dict(schema, {name: value})
