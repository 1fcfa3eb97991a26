# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Makes the families known to transformers' Auto classes, and their tasks to its pipelines, without importing either before
somebody asks.

`AutoX.register` wants classes, and those want torch: seven seconds for a command that only lists benchmarks. So the
families are imported by the first question that a name can be the answer to: the model type of a `config.json`, or the
class that a saved processor names.
"""

import importlib
import sys
import threading
from importlib.abc import MetaPathFinder


AUTO = "transformers.models.auto"
# modules whose mappings are searched by name, and those mappings
MAPPINGS = {
    f"{AUTO}.configuration_auto": "CONFIG_MAPPING",
    f"{AUTO}.processing_auto": "PROCESSOR_MAPPING",
    f"{AUTO}.video_processing_auto": "VIDEO_PROCESSOR_MAPPING",
}
PIPELINES = "transformers.pipelines"


class RegisteredWhenAsked(dict):
    """What was registered with an Auto class; the first look registers the families, too."""

    is_complete = False  # of all such tables at once
    at_work = threading.local()  # registering looks here as well

    def complete(self) -> None:
        shared = RegisteredWhenAsked
        if shared.is_complete or getattr(shared.at_work, "is_registering", False):
            return
        from clipbert.support.families import load_all_families

        shared.at_work.is_registering = True
        try:
            load_all_families()
            shared.is_complete = True  # not after an error: the next look tries again
        finally:
            shared.at_work.is_registering = False

    def __contains__(self, key):
        self.complete()
        if not super().__contains__(key) and isinstance(key, str):  # a model type: a family on the path, perhaps
            from clipbert.support.families import has_family, load_family

            if has_family(key):
                load_family(key)
        return super().__contains__(key)

    def __iter__(self):
        self.complete()
        return super().__iter__()

    def __len__(self):
        self.complete()
        return super().__len__()

    def keys(self):
        self.complete()
        return super().keys()

    def values(self):
        self.complete()
        return super().values()

    def items(self):
        self.complete()
        return super().items()


class _AfterImport(MetaPathFinder):
    """Sees to a mapping, and to the table of pipelines, as soon as transformers has made it."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in MAPPINGS and fullname != PIPELINES:
            return None
        others = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others), None)
        if spec is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            register_in(module)

        spec.loader.exec_module = exec_module
        return spec


def register_in(module) -> None:
    if module.__name__ == PIPELINES:
        importlib.import_module("clipbert.pipelines")
        return
    mapping = getattr(module, MAPPINGS[module.__name__])
    mapping._extra_content = RegisteredWhenAsked(mapping._extra_content)


def register_when_asked() -> None:
    """Let Auto classes and pipelines find the families, whether transformers has been imported already or will be."""
    sys.meta_path.insert(0, _AfterImport())
    for name in (*MAPPINGS, PIPELINES):
        if name in sys.modules:
            register_in(sys.modules[name])


__all__ = ["register_when_asked"]
