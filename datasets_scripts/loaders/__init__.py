# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""One benchmark, one file: where it comes from, on what terms, its splits and its traps. Its name is the file's name."""

import importlib
import pkgutil

from clipbert.support.names import unknown_name


def list_benchmarks() -> list[str]:
    """Names that `load_benchmark` knows: the modules of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find_loader(name: str) -> type:
    """
    The builder class of a benchmark: the one with configs in the module of its name.

    Raises:
        ValueError: If no module has the name (those that there are are listed).
        ImportError: If the module cannot be imported, or defines no such class or several.
    """
    if name not in list_benchmarks():
        raise ValueError(unknown_name("benchmark", name, list_benchmarks()))
    from clipbert.datasets_scripts.building.base import VideoTextBuilder

    try:
        module = importlib.import_module(f"{__name__}.{name}")
    except Exception as error:
        raise ImportError(f"The loader {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    classes = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, VideoTextBuilder)]
    found = [each for each in classes if each.__module__ == module.__name__ and "BUILDER_CONFIGS" in vars(each)]
    if len(found) != 1:
        listed = ", ".join(each.__name__ for each in found) or "none"
        raise ImportError(
            f"{module.__file__}: expected one subclass of VideoTextBuilder with BUILDER_CONFIGS, got {listed}"
        )
    return found[0]


__all__ = ["find_loader", "list_benchmarks"]
