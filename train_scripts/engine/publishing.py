# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Checkpoints that carry their code, and the card that tells what they are.

    save_for_hub(model, processor, "OUT", ModelCardInfo(license="apache-2.0", scores=[Scores(dataset="MSR-VTT", ...)]))

writes a folder that `AutoModel...from_pretrained("OUT", trust_remote_code=True)` reads where this package is not
installed:

    OUT/config.json, model.safetensors, processor_config.json, tokenizer.json ...    as `save_pretrained` writes them
        configuration_clipbert.py, modeling_clipbert.py, processing_clipbert.py ...  and what they import, flat
        README.md                                                                    the model card
        .eval_results/scores.yaml        for leaderboards of the Hub, if scores name the task of a benchmark

The usual way, `register_for_auto_class`, marks a class for the rest of the process: every later `save_pretrained`
would copy code, and only the head that was saved would be in the table. Here the tables are written into the files
instead.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import yaml
from huggingface_hub import HfApi, constants, eval_result_entries_to_yaml
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id
from transformers import AutoConfig, AutoProcessor, PreTrainedConfig, PreTrainedModel, ProcessorMixin
from transformers.dynamic_module_utils import custom_object_save
from transformers.models.auto import modeling_auto

from clipbert.train_scripts.engine.model_card import ModelCardInfo, Scores, build_model_card, eval_result_entries


logger = logging.getLogger(__name__)
EVAL_RESULTS = Path(".eval_results", "scores.yaml")  # the Hub reads every YAML file of that folder


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
    (folder / EVAL_RESULTS).unlink(missing_ok=True)
    if entries := eval_result_entries(card.scores):
        (folder / EVAL_RESULTS).parent.mkdir(exist_ok=True)
        text = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False)
        (folder / EVAL_RESULTS).write_text(text, encoding="utf-8")
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

    Raises:
        ConnectionError: If the Hub cannot be reached.
    """
    api = HfApi()
    with _reaching_hub(f"{folder} is complete: `hf upload {repo_id} {folder}` sends it later."):
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        return api.upload_folder(folder_path=folder, repo_id=repo_id, commit_message=message).commit_url


def load_checkpoint(folder: Path) -> tuple[PreTrainedModel, ProcessorMixin]:
    """
    The model, as the class that its config names, and the processor of a checkpoint folder.

    Clips are pooled as the run evaluated them (`eval.score_pooling`): the processor takes them as the evaluation, too.
    """
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} is no checkpoint: it has no config.json. Pass the folder that holds one.")
    if not (folder / "processor_config.json").is_file():
        raise FileNotFoundError(f"{folder} has no processor_config.json: save the processor beside the model.")
    config = AutoConfig.from_pretrained(folder)
    classes = {cls.__name__: cls for group in registered_models(type(config)).values() for cls in group}
    name = (config.architectures or [None])[0]
    if name not in classes:
        raise ValueError(f"{folder}/config.json names the architecture {name!r}; known are {', '.join(classes)}.")
    score_pooling = read_recipe(folder).get("eval", {}).get("score_pooling")
    try:
        model = classes[name].from_pretrained(folder, score_pooling=score_pooling or config.score_pooling)
    except ValueError as error:  # log-sum-exp does not go with every loss
        logger.warning(f"The model is published with score_pooling={config.score_pooling!r} instead: {error}")
        model = classes[name].from_pretrained(folder)
    return model, AutoProcessor.from_pretrained(folder)


def read_recipe(checkpoint: str | Path) -> dict[str, Any]:
    """The recipe of the run that wrote a checkpoint; empty if there is none."""
    path = Path(checkpoint, "recipe.yaml")
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}


def read_card(card: Path | None, checkpoint: Path, results: Path | None, **given: Any) -> ModelCardInfo:
    """
    Put together what the card says: the YAML file, stronger values from the command line, recipe and scores of the
    run.

    Args:
        card (`Path`, *optional*): YAML with keys of [`ModelCardInfo`].
        checkpoint (`Path`): Its `recipe.yaml` is taken, unless the card has a recipe, and tells of data and starting
            points, unless the card does.
        results (`Path`, *optional*): `results.json` of a training run, whose scores are added to those of the card.
        given: Values of the command line; `None` where there are none.

    Raises:
        ValueError: If the card has unknown keys, or scores belong to another step than the checkpoint.
    """
    values = yaml.safe_load(card.read_text(encoding="utf-8")) if card else {}
    if not isinstance(values, dict):
        raise ValueError(f"{card}: expected keys of ModelCardInfo with values, got {type(values).__name__}.")
    values |= {name: value for name, value in given.items() if value}
    if (checkpoint / "recipe.yaml").is_file():
        values.setdefault("recipe", (checkpoint / "recipe.yaml").read_text(encoding="utf-8"))
        training_data, base_models = trace_origins(read_recipe(checkpoint))
        values.setdefault("training_data", training_data)
        values.setdefault("base_models", base_models)
    if results is not None:
        values["scores"] = [*values.get("scores", []), *read_scores(results, checkpoint)]
    return ModelCardInfo.from_dict(values)


def trace_origins(recipe: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """
    What a model has learnt from.

    Args:
        recipe (`Mapping`): The recipe of its run. Checkpoints that it started from are followed to their recipes.

    Returns:
        `list[str]`, `list[str]`: Data sets, those of the latest run first, and models on the Hub.
    """
    data, model = recipe["data"], recipe["model"]
    training_data = [_describe_data({**data, **part}) for part in data.get("datasets") or [data]]
    base_models = []
    for start in filter(None, (model.get("from_pretrained"), model.get("vision"), model.get("text"))):
        if earlier := read_recipe(start):
            more_data, more_models = trace_origins(earlier)
            training_data += more_data
            base_models += more_models
        elif not Path(start).exists() and _is_hub_name(start):
            base_models.append(start)
    return list(dict.fromkeys(training_data)), list(dict.fromkeys(base_models))


def _describe_data(data: Mapping[str, Any]) -> str:
    config, split = (data.get(name) and f"{name} {data[name]}" for name in ("config", "train_split"))
    details = ", ".join(filter(None, (config, split and split.replace("train_", ""))))
    return f"{data['dataset']} ({details})" if details else data["dataset"]


def _is_hub_name(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def read_scores(results: Path, checkpoint: Path) -> list[dict[str, Any]]:
    """
    The scores of a run, which must have been measured with this checkpoint: those of the final splits or, where none
    has any, of the tuning split, said to be selected on.
    """
    recipe = read_recipe(checkpoint)
    step = json.loads((checkpoint / "trainer" / "state.json").read_text(encoding="utf-8"))["step"]
    rows = measured_rows(results)
    if not rows:
        raise ValueError(
            f"{results} has no scores of a final split, nor of a tuning split. Name one in `eval.splits` of the recipe."
        )
    for row in rows:
        if row["step"] != step:
            raise ValueError(
                f"{results}: the scores of {row['split']!r} were measured at step {row['step']}, but {checkpoint} is of "
                f"step {step}. Publish the checkpoint that was measured."
            )
    mixed = [part["dataset"] for part in recipe["data"].get("datasets", [])]  # pre-training mixes several
    dataset, evaluation = recipe["data"]["dataset"] or " + ".join(dict.fromkeys(mixed)), recipe.get("eval", {})
    notes = []
    if evaluation.get("num_draws", 1) > 1:
        notes.append(f"Mean of {evaluation['num_draws']} random draws of clips.")
    if evaluation.get("score_pooling"):
        notes.append(f"Scores of clips were pooled by {evaluation['score_pooling']}.")
    scores = []
    for row in rows:
        split, of_row = row["split"], list(notes)
        if row["purpose"] == "tuning":
            split = f"{split} (selected on)"
            of_row.append("The checkpoint was chosen for its score on this split: on new data expect less.")
        scores.append(
            {"dataset": dataset, "split": split, "metrics": row["metrics"], "note": " ".join(of_row) or None}
        )
    return scores


def measured_rows(results: Path) -> list[dict[str, Any]]:
    """Evaluations of the weights that are to be published: see [`read_scores`]."""
    rows = json.loads(results.read_text(encoding="utf-8"))["splits"].values() if results.is_file() else []
    # questions whose answers only an evaluation server knows are counted, and have no score
    rows = [row for row in rows if Scores(dataset="", metrics=row["metrics"]).results()]
    final, tuning = ([row for row in rows if row["purpose"] == purpose] for purpose in ("final", "tuning"))
    return final or tuning


def publish_run(output_dir: str | Path, repo_id: str, private: bool = False) -> str:
    """
    Upload what a finished training run has measured: checkpoint, code, and a card with recipe, data and scores.

    Args:
        output_dir (`str` or `Path`): Folder of the run. The published form is left in `output_dir/published`.
        repo_id (`str`): `"user/name"`.
        private (`bool`, *optional*, defaults to `False`): Whether a new repository is private.

    Returns:
        `str`: Address of the commit.
    """
    checkpoints, results = Path(output_dir, "checkpoints"), Path(output_dir, "results.json")
    checkpoint = checkpoints / "last"
    if rows := measured_rows(results):
        checkpoint = checkpoints / f"step_{rows[0]['step']:08d}"
        if not checkpoint.is_dir():
            logger.warning(
                f"{checkpoint}, which was measured, is gone: the last weights are published, without scores."
            )
            checkpoint, rows = checkpoints / "last", []
    info = read_card(None, checkpoint, results if rows else None)
    model, processor = load_checkpoint(checkpoint)
    published = save_for_hub(model, processor, Path(output_dir, "published"), info, repo_id=repo_id)
    return push_folder(published, repo_id, private=private)


def check_repository(repo_id: str, private: bool = False) -> None:
    """
    Make the repository, before a run spends hours on what nobody may upload.

    Raises:
        ValueError: If the Hub refuses: no token, no rights, or a name it does not allow.
        ConnectionError: If it cannot be reached.
    """
    advice = (
        "Train without run.push_to_hub, and publish the finished run with train_scripts/publish.py from elsewhere."
    )
    try:
        with _reaching_hub(advice):
            HfApi().create_repo(repo_id, private=private, exist_ok=True)
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError) as error:
        raise ValueError(
            f"run.push_to_hub={repo_id!r}: the Hub does not let this user write there ({error}). Log in with "
            "`hf auth login`, or name a repository of yours as USER/NAME."
        ) from error


@contextmanager
def _reaching_hub(advice: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.TransportError, OfflineModeIsEnabled) as error:
        raise ConnectionError(f"The Hub ({constants.ENDPOINT}) cannot be reached: {error} {advice}") from error


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
            "registers them (`import clipbert`). A model that was itself loaded with trust_remote_code is "
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
