# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
One name for each package of a clone.

Whoever works in a clone can import its folders by their bare names (`from processing import VideoTextProcessor`), because
the working folder is on the path. That would load every file a second time, beside `clipbert.processing`: two classes
of one name, of which the Auto classes know one. So a bare name of a folder of this clone means the package of that
name below `clipbert`. Folders of that name elsewhere, a user's own `processing`, are left alone.
"""

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path


class OneName(MetaPathFinder):
    """Answers the import of a bare name with the package below `clipbert`."""

    def __init__(self, clone: Path):
        self.clone = clone

    def find_spec(self, fullname, path=None, target=None):
        top, _, rest = fullname.partition(".")
        if rest:
            known = sys.modules.get(f"clipbert.{top}")
            is_ours = known is not None and sys.modules.get(top) is known
        else:
            is_ours = self.holds(top)
        real = importlib.util.find_spec(f"clipbert.{fullname}") if is_ours else None
        if real is None:
            return None
        is_package = real.submodule_search_locations is not None
        return ModuleSpec(
            fullname, _SameModule(real), origin=real.origin, is_package=is_package
        )  # the sys.argv[0] of `-m`

    def holds(self, name: str) -> bool:
        """Whether the path leads from this name to a package of the clone that belongs to the house."""
        folder = self.clone / name
        if name in ("clipbert", "benchmarks", "tests") or not (folder / "__init__.py").is_file():
            return False
        found = PathFinder.find_spec(name)
        return found is not None and found.origin is not None and Path(found.origin).resolve().parent == folder


class _SameModule(Loader):
    def __init__(self, real: ModuleSpec):
        self.real = real

    def create_module(self, spec):
        module = importlib.import_module(self.real.name)
        self.own_spec = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = self.own_spec  # which the import system has replaced; nothing is executed again

    def get_code(self, name):  # for `python -m`
        return self.real.loader.get_code(self.real.name)


def use_one_name(clone: Path) -> None:
    """
    From now on, bare names of the clone's packages mean those below `clipbert`.

    A package that is just being imported by its bare name has asked for it (`import clipbert` is the first line of each
    of them): it is replaced.
    """
    finder = OneName(clone)
    sys.meta_path.insert(0, finder)
    for name in [name for name in sys.modules if "." not in name and finder.holds(name)]:
        sys.modules[name] = importlib.import_module(f"clipbert.{name}")


__all__ = ["use_one_name"]
