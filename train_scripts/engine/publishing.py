# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Checkpoints that carry their code, and the card that tells what they are.

    save_for_hub(model, processor, "OUT", ModelCardInfo(license="apache-2.0", scores=[Scores(dataset="MSR-VTT", ...)]))

writes a folder that `AutoModel...from_pretrained("OUT", trust_remote_code=True)` reads where this package is not
installed:

    OUT/config.json, model.safetensors, processor_config.json, tokenizer.json ...    as `save_pretrained` writes them
        configuration_clipbert.py, modeling_clipbert.py, processing_clipbert.py ...  what they import of each other,
        flat README.md                                                                    the model card

The usual way, `register_for_auto_class`, marks a class for the rest of the process: every later `save_pretrained`
would copy code, and only the head that was saved would be in the table. Here the tables are written into the files
instead.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from transformers import PreTrainedConfig, PreTrainedModel, ProcessorMixin
from transformers.dynamic_module_utils import custom_object_save
from transformers.models.auto import modeling_auto

from train_scripts.engine.model_card import ModelCardInfo, build_model_card


def save_for_hub(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    output_dir: str | Path,
    card: ModelCardInfo | Mapping[str, Any] | None = None,
    repo_id: str | None = None,
) -> Path:
    """
    Save a model and its processor with their code and a model card.

    Args:
        model (`PreTrainedModel`): Any head; its package must be imported, so that the Auto classes know all of them.
        processor (`ProcessorMixin`): Makes the model's inputs.
        output_dir (`str` or `Path`): Made if it does not exist. Files of an earlier call are replaced.
        card (`ModelCardInfo` or `dict`, *optional*): What the card cannot find out by itself.
        repo_id (`str`, *optional*): Name on the Hub, for the example of the card. Without it the example is to be run
            in the folder itself.

    Returns:
        `Path`: The folder.

    Raises:
        ValueError: If no Auto class knows the model, or the card has unknown keys.
    """
    card = card if isinstance(card, ModelCardInfo) else ModelCardInfo.from_dict(card or {})
    folder = Path(output_dir)
    auto_map, auto_class = auto_class_table(model)
    readme = build_model_card(model, processor, card, auto_class, repo_id)

    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    for part in (model, processor, processor.video_processor):
        custom_object_save(part, folder)  # the file of its class and what that imports from its own folder
    _add_tables(folder, auto_map, processor)
    readme.save(folder / "README.md")
    return folder


def push_folder(folder: str | Path, repo_id: str, private: bool = False, message: str = "Upload model") -> str:
    """
    Upload a folder to the Hub, and make the repository if it does not exist.

    Args:
        folder (`str` or `Path`): What [`save_for_hub`] wrote.
        repo_id (`str`): `"user/name"`.
        private (`bool`, *optional*, defaults to `False`): Whether a new repository is private.
        message (`str`, *optional*): Message of the commit.

    Returns:
        `str`: Address of the commit.
    """
    api = HfApi()
    repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    return api.upload_folder(folder_path=folder, repo_id=repo_id, commit_message=message).commit_url


def registered_models(config_class: type[PreTrainedConfig]) -> dict[str, tuple[type[PreTrainedModel], ...]]:
    """The models of a family by the Auto classes that load them, as its package has registered them."""
    found = {}
    for name, auto_class in vars(modeling_auto).items():
        mapping = getattr(auto_class, "_model_mapping", None)
        if name.startswith("AutoModel") and mapping is not None and config_class in mapping:
            classes = mapping[config_class]
            found[name] = classes if isinstance(classes, tuple) else (classes,)
    return found


def auto_class_table(model: PreTrainedModel) -> tuple[dict[str, str], str]:
    """
    The `auto_map` of a checkpoint: all heads of the family, not only the saved one.

    Args:
        model (`PreTrainedModel`): Where an Auto class has several heads, the table names this one.

    Returns:
        `tuple[dict[str, str], str]`: `"module.Class"` by the name of the Auto class, and the Auto class of this model.

    Raises:
        ValueError: If no Auto class knows the model.
    """
    heads = registered_models(type(model.config))
    own = [name for name, classes in heads.items() if type(model) in classes]
    if not own:
        raise ValueError(
            f"No Auto class knows {type(model).__name__} with a {type(model.config).__name__}: import the package that "
            "registers them (`import modeling_clipbert`). A model that was itself loaded with trust_remote_code is "
            "published by copying its folder."
        )
    table = {name: type(model) if name in own else classes[0] for name, classes in heads.items()}
    return {name: _flat_name(cls) for name, cls in {"AutoConfig": type(model.config), **table}.items()}, own[0]


def _flat_name(cls: type) -> str:
    """`module.Class` as it is in a folder without packages."""
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"


def _add_tables(folder: Path, auto_map: dict[str, str], processor: ProcessorMixin) -> None:
    """Write into the saved settings which file has which class."""
    video_auto_map = {"AutoVideoProcessor": _flat_name(type(processor.video_processor))}
    for name in ("config.json", "processor_config.json"):
        settings = json.loads((folder / name).read_text(encoding="utf-8"))
        if name == "config.json":
            settings["auto_map"] = auto_map
        else:
            settings["auto_map"] = {"AutoProcessor": _flat_name(type(processor))}
            settings["video_processor"]["auto_map"] = video_auto_map  # AutoVideoProcessor looks into these
        text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / name).write_text(text + "\n", encoding="utf-8")
