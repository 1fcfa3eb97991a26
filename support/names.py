# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Names that somebody has misspelt: which one was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: object, known: Iterable[str], most: int = 1, cutoff: float = 0.6) -> list[str]:
    """
    The known names that are like `name`, likest first; else the one that its initials make.

    Example:
        >>> closest("lrr", ["eps", "lr"]), closest("learning_rate", ["eps", "lr"])
        (['lr'], ['lr'])
    """
    name, known = str(name), list(known)
    initials = "".join(word[:1] for word in name.split("_") if "_" in name)
    return get_close_matches(name, known, n=most, cutoff=cutoff) or [initials] * (initials in known)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """
    The end of a message about an unknown name.

    Example:
        >>> did_you_mean("num_clip", ["num_clips", "num_frames"]), did_you_mean("x", ["num_clips", "num_frames"])
        ("Did you mean 'num_clips'?", 'Known: num_clips, num_frames.')
    """
    known = list(known)
    near = closest(name, known)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known) or 'none'}."


def unknown_name(what: str, name: object, known: Iterable[str]) -> str:
    """
    A message about an unknown name, with all known ones.

    Example:
        >>> unknown_name("benchmark", "msrvt", ["didemo", "msrvtt"])
        "Unknown benchmark 'msrvt'; did you mean 'msrvtt'? Known: didemo, msrvtt"
    """
    known = sorted(known)
    spelt = {each.lower(): each for each in known}
    near = closest(str(name).lower(), spelt)
    hint = f"; did you mean {spelt[near[0]]!r}?" if near else "."
    return f"Unknown {what} {name!r}{hint} Known: {', '.join(known) or 'none'}"


__all__ = ["closest", "did_you_mean", "unknown_name"]
