# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Checkpoints that carry their code, and the card that tells what they are.

    save_for_hub(model, processor, "OUT", ModelCardInfo(license="apache-2.0", scores=[Scores(dataset="MSR-VTT", ...)]))

writes a folder that `AutoModel...from_pretrained("OUT", trust_remote_code=True)` reads where this package is not
installed:

    OUT/config.json, model.safetensors, processor_config.json, tokenizer.json ...    as `save_pretrained` writes them
        configuration_clipbert.py, modeling_clipbert.py, processing_video_text.py ... and what they import, flat
        moment_retrieval.py ...          the pipeline of the model's task, where there is one (`clipbert.pipelines`)
        modules.json ...                 what sentence-transformers loads, where it can (`neighbours.py`)
        handler.py, requirements.txt     for Inference Endpoints of Hugging Face, if asked for (`endpoint_handler`)
        README.md                                                                    the model card
        .eval_results/scores.yaml        for leaderboards of the Hub, if scores name the task of a benchmark

The usual way, `register_for_auto_class`, marks a class for the rest of the process: every later `save_pretrained`
would copy code, and only the head that was saved would be in the table. Here the tables are written into the files
instead.
"""

import ast
import importlib
import inspect
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import eval_result_entries_to_yaml
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedModel, ProcessorMixin
from transformers.dynamic_module_utils import custom_object_save, get_relative_import_files

import clipbert.processing
from clipbert.pipelines import TASKS, find_task
from clipbert.support.families import load_trained, registered_models
from clipbert.support.manifest import verify_if_recorded
from clipbert.train_scripts.publishing.card import ModelCardInfo, build_model_card, eval_result_entries
from clipbert.train_scripts.publishing.neighbours import find_neighbour, write_neighbour_files


logger = logging.getLogger(__name__)
PROCESSOR_FILES = ("processor_config.json", "video_preprocessor_config.json")
HANDLER = Path(__file__).with_name("handler.py")
# what images of Inference Endpoints lack, or have older; the last one opens addresses
HANDLER_NEEDS = {"transformers": ">=5.23", "av": ">=18.1", "aiohttp": ""}
EVAL_RESULTS = Path(".eval_results", "scores.yaml")  # the Hub reads every YAML file of that folder


def save_for_hub(
    model: PreTrainedModel,
    processor: Any,
    output_dir: str | Path,
    card: ModelCardInfo | Mapping[str, Any] | None = None,
    repo_id: str | None = None,
    endpoint_handler: bool = False,
) -> Path:
    """
    Save a model and its processor with their code and a model card.

    Args:
        model (`PreTrainedModel`): Any head; its package must be imported, so that the Auto classes know all of them.
        processor (`ProcessorMixin` or `BaseVideoProcessor`): Makes the model's inputs.
        output_dir (`str` or `Path`): Made if it does not exist. Files of an earlier call are replaced.
        card (`ModelCardInfo` or `dict`, *optional*): What the card cannot find out by itself.
        repo_id (`str`, *optional*): Name on the Hub, for the example of the card. Without it the example is to be run
            in the folder itself.
        endpoint_handler (`bool`, *optional*, defaults to `False`): Whether to add what Inference Endpoints of Hugging Face run.

    Returns:
        `Path`: The folder.

    Raises:
        ValueError: If no Auto class knows the model, the card has unknown keys, or there is no pipeline for endpoints to run.
    """
    card = card if isinstance(card, ModelCardInfo) else ModelCardInfo.from_dict(card or {})
    folder = Path(output_dir)
    auto_map, auto_class = auto_class_table(model)
    readme = build_model_card(model, processor, card, auto_class, repo_id)
    task = find_task(type(model))
    if endpoint_handler and task is None:
        raise ValueError(
            f"{type(model).__name__} has no pipeline, which is what endpoints run: leave out endpoint_handler."
        )

    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    pipeline = [] if task is None else [TASKS[task].pipeline_class]
    for part in dict.fromkeys((model, processor, getattr(processor, "video_processor", processor), *pipeline)):
        custom_object_save(part, folder)  # the file of its class and what that imports from its own folder
    write_neighbour_files(folder, find_neighbour(model))
    _bring_processing_along(folder)
    _add_tables(folder, auto_map, processor, task)
    readme.save(folder / "README.md")
    if endpoint_handler:
        shutil.copy(HANDLER, folder)
        (folder / "requirements.txt").write_text("".join(f"{name}{bound}\n" for name, bound in HANDLER_NEEDS.items()))
    (folder / EVAL_RESULTS).unlink(missing_ok=True)
    if entries := eval_result_entries(card.scores):
        (folder / EVAL_RESULTS).parent.mkdir(exist_ok=True)
        text = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False)
        (folder / EVAL_RESULTS).write_text(text, encoding="utf-8")
    return folder


def load_checkpoint(folder: Path) -> tuple[PreTrainedModel, Any]:
    """
    The model, as the class that its config names, and the processor of a checkpoint folder.

    Clips are pooled as the run evaluated them (`eval.score_pooling`): the processor takes them as the evaluation, too.
    """
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} is no checkpoint: it has no config.json. Pass the folder that holds one.")
    if not any((folder / name).is_file() for name in PROCESSOR_FILES):
        raise FileNotFoundError(
            f"{folder} has no {' or '.join(PROCESSOR_FILES)}: save the processor beside the model."
        )
    verify_if_recorded(folder)
    config = AutoConfig.from_pretrained(folder)
    score_pooling = read_recipe(folder).get("eval", {}).get("score_pooling")
    if score_pooling is None or not hasattr(config, "score_pooling"):
        return load_trained(folder)
    try:
        return load_trained(folder, score_pooling=score_pooling)
    except (ValueError, StrictDataclassError) as error:  # log-sum-exp does not go with every loss
        logger.warning(f"The model is published with score_pooling={config.score_pooling!r} instead: {error}")
        return load_trained(folder)


def read_recipe(checkpoint: str | Path) -> dict[str, Any]:
    """The recipe of the run that wrote a checkpoint; empty if there is none."""
    path = Path(checkpoint, "recipe.yaml")
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}


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
            "registers them (`import clipbert`). A model that was itself loaded with trust_remote_code is "
            "published by copying its folder."
        )
    table = {name: type(model) if name in own else classes[0] for name, classes in heads.items()}
    return {name: _flat_name(cls) for name, cls in {"AutoConfig": type(model.config), **table}.items()}, own[0]


def _flat_name(cls: type) -> str:
    """`module.Class` as it is in a folder without packages."""
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"


def _bring_processing_along(folder: Path) -> None:
    """
    Let files that import ours by their full names, as those of a family outside this package do, import copies of them
    that lie beside them.

    Raises:
        ValueError: If they import anything else of ours, which a published checkpoint does not bring.
    """
    for path in sorted(folder.glob("*.py")):
        lines, copied = path.read_text(encoding="utf-8").splitlines(keepends=True), []
        for node in ast.walk(ast.parse("".join(lines))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in names:
                if name.split(".")[0] != "clipbert":
                    continue
                if not isinstance(node, ast.ImportFrom) or name.split(".")[1:2] != ["processing"]:
                    raise ValueError(
                        f"{path.name} imports {name}, which a published checkpoint does not bring along. What can be "
                        "brought is `from clipbert.processing import ...`."
                    )
                indent = " " * node.col_offset
                imports, files = _as_siblings(node)
                lines[node.lineno - 1 : node.end_lineno] = [
                    "".join(f"{indent}{line}\n" for line in imports),
                    *[""] * (node.end_lineno - node.lineno),
                ]
                copied += files
        if copied:
            path.write_text("".join(lines), encoding="utf-8")
        for file in copied:
            for source in (file, *get_relative_import_files(file)):
                shutil.copy(source, folder)


def _as_siblings(node: ast.ImportFrom) -> tuple[list[str], list[str]]:
    """`from clipbert.processing import X` as imports of the files that hold X, and those files."""
    imports, files = [], []
    for alias in node.names:
        home = node.module
        if home == clipbert.processing.__name__:
            home = getattr(clipbert.processing, alias.name).__module__
        renamed = f" as {alias.asname}" if alias.asname else ""
        imports.append(f"from .{home.rpartition('.')[2]} import {alias.name}{renamed}")
        files.append(inspect.getfile(importlib.import_module(home)))
    return imports, files


def _add_tables(folder: Path, auto_map: dict[str, str], processor: Any, task: str | None) -> None:
    """Write into the saved settings which file has which class. One task at most: of two, `pipeline` would choose none."""
    tables = {"auto_map": auto_map}
    if task is not None:
        found = TASKS[task]
        entry = {"impl": _flat_name(found.pipeline_class), "pt": [found.auto_class], "type": "multimodal"}
        tables["custom_pipelines"] = {task: entry}
    _edit_json(folder / "config.json", lambda settings: settings.update(tables))
    video_auto_map = {"AutoVideoProcessor": _flat_name(type(getattr(processor, "video_processor", processor)))}
    if not isinstance(processor, ProcessorMixin):
        _edit_json(folder / PROCESSOR_FILES[1], lambda settings: settings.update(auto_map=video_auto_map))
        return

    def edit(settings: dict[str, Any]) -> None:
        settings["auto_map"] = {"AutoProcessor": _flat_name(type(processor))}
        settings["video_processor"]["auto_map"] = video_auto_map  # AutoVideoProcessor looks into these

    _edit_json(folder / PROCESSOR_FILES[0], edit)


def _edit_json(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    settings = json.loads(path.read_text(encoding="utf-8"))
    edit(settings)
    text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


__all__ = ["auto_class_table", "load_checkpoint", "read_recipe", "save_for_hub"]
