# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Families of models by convention: `model_type` names the package.

A family `x` is the package `modeling_x`: one of ours (`clipbert.modeling_x`), else whatever `modeling_x` is on the path.
Importing it registers its config, heads and processors with the Auto classes of transformers, which know them by their
names and configs from then on. Nobody keeps a list.
"""

import importlib
import importlib.util
import pkgutil
import sys
from types import ModuleType


HOUSE = __package__.rpartition(".")[0]  # "clipbert"
PREFIX = "modeling_"


def list_families() -> list[str]:
    """
    The model types of the families that come with this package.

    Example:
        >>> "clipbert" in list_families()
        True
    """
    modules = pkgutil.iter_modules(sys.modules[HOUSE].__path__)
    return sorted(module.name.removeprefix(PREFIX) for module in modules if module.name.startswith(PREFIX))


def has_family(model_type: str) -> bool:
    """Whether there is a package of this model type, ours or on the path."""
    return _package_name(model_type) is not None


def load_family(model_type: str) -> ModuleType:
    """
    Import the package of a family, and with it register its classes with the Auto classes.

    Args:
        model_type (`str`): What the `config.json` of its checkpoints says, such as `"clipbert"`.

    Raises:
        ModuleNotFoundError: If there is none; the message lists those that there are.

    Example:
        >>> load_family("clipbert").ClipBERTConfig.model_type
        'clipbert'
    """
    name = _package_name(model_type)
    if name is None:
        raise ModuleNotFoundError(
            f"There is no family {model_type!r}: expected a package {PREFIX}{model_type} on the path, or one of "
            f"{', '.join(list_families())}."
        )
    return importlib.import_module(name)


def load_all_families() -> None:
    """Import every family that comes with this package."""
    for model_type in list_families():
        load_family(model_type)


def _package_name(model_type: str) -> str | None:
    module = PREFIX + model_type
    if not module.isidentifier():
        return None
    for name in (f"{HOUSE}.{module}", module):
        if name in sys.modules or importlib.util.find_spec(name) is not None:
            return name
    return None


__all__ = ["has_family", "list_families", "load_all_families", "load_family"]
