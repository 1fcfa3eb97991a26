# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What is published of a training run: the measured checkpoint, and a card that traces data, starting points and scores."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.utils import HFValidationError, validate_repo_id

from clipbert.datasets_scripts.loaders import find_loader, list_benchmarks
from clipbert.support import hub
from clipbert.train_scripts.publishing.card import ModelCardInfo, Scores
from clipbert.train_scripts.publishing.checkpoints import load_checkpoint, read_recipe, save_for_hub


logger = logging.getLogger(__name__)


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
        FileNotFoundError: If there are no results where they are named.
        ValueError: If the card has unknown keys, or scores belong to another step than the checkpoint.
    """
    values = yaml.safe_load(card.read_text(encoding="utf-8")) if card else {}
    if not isinstance(values, dict):
        raise ValueError(f"{card}: expected keys of ModelCardInfo with values, got {type(values).__name__}.")
    values |= {name: value for name, value in given.items() if value}
    if (checkpoint / "recipe.yaml").is_file():
        values.setdefault("recipe", (checkpoint / "recipe.yaml").read_text(encoding="utf-8"))
        recipe = read_recipe(checkpoint)
        training_data, base_models = trace_origins(recipe)
        values.setdefault("language", languages_of(recipe))
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
    starts = [model.get("from_pretrained"), *(model.get("parts") or {}).values()]
    for start in filter(None, starts):
        if earlier := read_recipe(start):
            more_data, more_models = trace_origins(earlier)
            training_data += more_data
            base_models += more_models
        elif not Path(start).exists() and _is_hub_name(start):
            base_models.append(start)
    return list(dict.fromkeys(training_data)), list(dict.fromkeys(base_models))


def languages_of(recipe: Mapping[str, Any]) -> list[str] | None:
    """Languages of the training texts, as far as the data sets say."""
    data, found = recipe["data"], []
    for part in data.get("datasets") or [data]:
        if part["dataset"] in list_benchmarks():
            default = getattr(find_loader(part["dataset"]).BUILDER_CONFIG_CLASS, "language", None)
            found.append((part.get("options") or {}).get("language", default))
    return list(dict.fromkeys(filter(None, found))) or None


def _describe_data(data: Mapping[str, Any]) -> str:
    config, split = (data.get(name) and f"{name} {data[name]}" for name in ("config", "train_split"))
    details = ", ".join(filter(None, (config, split and split.replace("train_", ""), _describe_held_out(data))))
    return f"{data['dataset']} ({details})" if details else data["dataset"]


def _describe_held_out(data: Mapping[str, Any]) -> str | None:
    """What a recipe says of training videos that were held out: how many, and whether their siblings were, too."""
    options = data.get("options") or {}
    rule, share = options.get("validation_split"), options.get("validation_fraction") or options.get("held_out")
    if not (rule or share):
        return None
    held_out = f"{share:.0%} held out" if share else "some held out"
    if rule == "clip":
        return f"{held_out} clip by clip, so that validation has siblings of training clips"
    return f"{held_out}, whole recordings where they are known"


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
    state = checkpoint / "trainer" / "state.json"
    for needed, of in ((results, "no results.json of a run"), (state, "nothing that tells the step of the scores")):
        if not needed.is_file():
            raise FileNotFoundError(
                f"{needed} is missing: there is {of}. Name `--checkpoint` and `--results` of one run."
            )
    recipe, step = read_recipe(checkpoint), json.loads(state.read_text(encoding="utf-8"))["step"]
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
        elif selection := _describe_selection(evaluation):
            of_row.append(selection)
        scores.append(
            {"dataset": dataset, "split": split, "metrics": row["metrics"], "note": " ".join(of_row) or None}
        )
    return scores


def _describe_selection(evaluation: Mapping[str, Any]) -> str | None:
    """Which score chose the checkpoint that the final splits were evaluated with."""
    splits = [split for split, purpose in evaluation.get("splits", {}).items() if purpose == "tuning"]
    if not splits or evaluation.get("final_checkpoint") == "last":
        return None
    return f"The checkpoint was chosen by {evaluation['metric']} on {splits[0]}."


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
    return hub.push_folder(published, repo_id, private=private)


def check_repository(repo_id: str, private: bool = False) -> None:
    """Make the repository of a run that is to be uploaded, before its first step; see `clipbert.support.hub`."""
    advice = (
        "Train without run.push_to_hub, and publish the finished run with train_scripts/publish.py from elsewhere."
    )
    hub.check_repository(repo_id, private, "run.push_to_hub", advice)


__all__ = [
    "check_repository",
    "languages_of",
    "measured_rows",
    "publish_run",
    "read_card",
    "read_scores",
    "trace_origins",
]
