# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Options of a call: unknown names and wrong types are refused, not passed over."""

import difflib
from collections.abc import Collection, Iterable
from typing import Any

from huggingface_hub.dataclasses import validate_typed_dict
from huggingface_hub.errors import StrictDataclassFieldValidationError


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
    try:
        validate_typed_dict(schema, {name: value for name, value in given.items() if value is not None})
    except StrictDataclassFieldValidationError as error:
        raise TypeError(str(error.__cause__ or error)) from error
