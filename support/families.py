# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Families of models by convention: `model_type` names the package.

A family `x` is the package `modeling_x`: one of ours (`clipbert.modeling_x`), else whatever `modeling_x` is on the path.
Importing it registers its config, heads and processors with the Auto classes of transformers, which know them by their
names and configs from then on. Nobody keeps a list.
"""

import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from clipbert.support.manifest import verify_if_recorded


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
        >>> load_family(list_families()[0]).__doc__ is not None
        True
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


def config_class(model_type: str) -> type:
    """The config class of a family."""
    from transformers import CONFIG_MAPPING

    load_family(model_type)
    if model_type not in CONFIG_MAPPING:
        raise ValueError(
            f"The package {_package_name(model_type)} registers no config for the model type {model_type!r}: it has to call "
            f'`AutoConfig.register("{model_type}", ...)` when it is imported.'
        )
    return CONFIG_MAPPING[model_type]


def registered_models(config: type) -> dict[str, tuple[type, ...]]:
    """The models of a family by the Auto classes that load them, as its package has registered them."""
    from transformers.models.auto import modeling_auto

    found = {}
    for name, auto_class in vars(modeling_auto).items():
        mapping = getattr(auto_class, "_model_mapping", None)
        if name.startswith("AutoModel") and mapping is not None and config in mapping:
            classes = mapping[config]
            found[name] = classes if isinstance(classes, tuple) else (classes,)
    return found


def find_head(config: type, head: str) -> type:
    """
    The class of a family for a task.

    Args:
        config (`type`): Its config class.
        head (`str`): What the name of the class ends in, after `For`, such as `"VideoTextRetrieval"`.

    Raises:
        ValueError: If there is none; the message lists those that there are.

    Example:
        >>> find_head(config_class("clipbert"), "VideoQA").__name__.endswith("ForVideoQA")
        True
    """
    classes = {cls.__name__: cls for group in registered_models(config).values() for cls in group}
    for name, cls in classes.items():
        if name.endswith(f"For{head}"):
            return cls
    raise ValueError(
        f"The family {config.model_type!r} has no head ...For{head}; registered with the Auto classes are "
        f"{', '.join(classes) or 'none'}."
    )


def processor_classes(config: type) -> tuple[type | None, type]:
    """
    The processor and the video processor of a family; the first is `None` where its models read no words.

    Raises:
        ValueError: If no video processor is registered.
    """
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
    from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING

    video_processor = VIDEO_PROCESSOR_MAPPING.get(config, None)
    if video_processor is None:
        raise ValueError(
            f"The family {config.model_type!r} has no video processor: its package has to call "
            f"`AutoVideoProcessor.register({config.__name__}, ...)` when it is imported."
        )
    if isinstance(video_processor, dict):  # by backend
        video_processor = next(iter(video_processor.values()))
    return PROCESSOR_MAPPING.get(config, None), video_processor


def find_checkpoint(name: str | os.PathLike, is_verified: bool = True) -> str:
    """
    A checkpoint folder or a name on the Hub; of a run its best checkpoint, else its last.

    Args:
        name (`str` or `os.PathLike`): The folder of a run or of a checkpoint, or a name on the Hub.
        is_verified (`bool`, *optional*, defaults to `True`): Whether to compare the files of a run's checkpoint with what was
            written, which reads all of them.

    Raises:
        FileNotFoundError: If it is a folder and neither of them.
        CheckpointError: If a run wrote it and its files are not those that were written.
    """
    folder = Path(name)
    for checkpoint in (folder, *(folder / "checkpoints" / which for which in ("best", "last"))):
        if (checkpoint / "config.json").is_file():
            if is_verified:
                verify_if_recorded(checkpoint)  # before its config is read, which says less of what is wrong
            return str(checkpoint)
    if folder.exists():
        raise FileNotFoundError(
            f"{name}: neither a checkpoint (it has no config.json) nor a run with a finished one "
            "(checkpoints/best or checkpoints/last)."
        )
    return str(name)


def load_trained(
    name_or_path: str | os.PathLike,
    head: str | None = None,
    hub_options: Mapping[str, Any] | None = None,
    **config_overrides: Any,
) -> tuple[Any, Any]:
    """
    A trained model, as the class that its config names, and its processor.

    Args:
        name_or_path (`str` or `os.PathLike`): Folder of a checkpoint, or its name on the Hub.
        head (`str`, *optional*): Another class of its family than that one, see [`find_head`].
        hub_options (`dict`, *optional*): `revision`, `token`, `cache_dir` and the like.
        **config_overrides: Config values that replace those of the checkpoint, and options of the model's `from_pretrained`.

    Raises:
        CheckpointError: If it is a checkpoint of a run and its files are not those that were written.
        ValueError: If its family does not have the class.
    """
    from transformers import AutoConfig, AutoProcessor, AutoVideoProcessor

    verify_if_recorded(name_or_path)
    hub_options = hub_options or {}
    config = AutoConfig.from_pretrained(name_or_path, **hub_options)
    classes = {cls.__name__: cls for group in registered_models(type(config)).values() for cls in group}
    name = (config.architectures or [None])[0] if head is None else find_head(type(config), head).__name__
    if name not in classes:
        raise ValueError(
            f"{name_or_path}/config.json names the architecture {name!r}; known are {', '.join(classes) or 'none'}."
        )
    has_words = processor_classes(type(config))[0] is not None
    processor = (AutoProcessor if has_words else AutoVideoProcessor).from_pretrained(name_or_path, **hub_options)
    return classes[name].from_pretrained(name_or_path, **hub_options, **config_overrides), processor


def _package_name(model_type: str) -> str | None:
    module = PREFIX + model_type
    if not module.isidentifier():
        return None
    for name in (f"{HOUSE}.{module}", module):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:  # a file alone is a model's, copied flat
            return name
    return None


__all__ = [
    "config_class",
    "find_checkpoint",
    "find_head",
    "has_family",
    "list_families",
    "load_all_families",
    "load_family",
    "load_trained",
    "processor_classes",
    "registered_models",
]
