# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Packages whose names are imported when they are asked for: to read a small file of one does not cost the import of all others."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    package: str, places: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """
    What makes the names of a package lazy (PEP 562).

    Args:
        package (`str`): Its `__name__`.
        places (`dict[str, str]`): Public names and the modules of the package that have them.

    Returns:
        `tuple`: Its `__getattr__`, `__dir__` and `__all__`.

    Example:
        >>> __getattr__, __dir__, __all__ = lazy_names("clipbert.support", {"closest": "names"})
        >>> __getattr__("closest")("lrr", ["eps", "lr"]), __all__
        (['lr'], ['closest'])
    """

    def get_attribute(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{places[name]}"), name)

    def list_names() -> list[str]:
        return sorted({*vars(importlib.import_module(package)), *places})

    return get_attribute, list_names, sorted(places)


__all__ = ["lazy_names"]
