# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What an evaluation says of a split: scores, and the predictions that they can be computed from again."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from clipbert.support.files import whole_file, write_whole
from clipbert.train_scripts.engine.checkpoint import writing


RECORDS, TENSORS = "records.json", "tensors.safetensors"


@dataclass
class Predictions:
    """
    What a model says of the examples of a split, without the model.

    Args:
        task (`str`): Name of the task that can measure them (`Task.name`).
        rows (`list[dict[str, Any]]`): One entry for each example or question: ids, texts, gold answers. Written as JSON.
        tensors (`dict[str, np.ndarray]`): Scores as the model gave them; the task says what their dimensions are.
        info (`dict[str, Any]`): What holds for all rows: settings of the evaluation, names of videos or of answers.
    """

    task: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


@dataclass
class Evaluation:
    """
    Result of one split.

    Args:
        metrics (`dict[str, float]`): Scores as fractions, with `num_examples`.
        predictions (`Predictions`): What they were computed from.
        files (`dict[str, Any]`): Further JSON files by name, such as an evaluation server takes.
    """

    metrics: dict[str, float]
    predictions: Predictions
    files: dict[str, Any] = field(default_factory=dict)


def write_predictions(folder: Path, step: int, evaluation: Evaluation) -> None:
    """
    Write an evaluation into a folder: `tensors.safetensors`, `records.json` and its further files.

    `records.json` holds `task`, `step`, `metrics`, all of `Predictions.info`, and `rows`.
    """
    found = evaluation.predictions
    head = {"task": found.task, "step": step, "metrics": evaluation.metrics}
    if taken := found.info.keys() & {*head, "rows"}:
        raise ValueError(f"Predictions.info: {sorted(taken)} have a place of their own in {RECORDS}.")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: np.ascontiguousarray(values) for name, values in found.tensors.items()}
        with whole_file(folder / TENSORS) as partial:  # `save_file` would close it to other users
            Path(partial).write_bytes(save(tensors))
        for name, content in {RECORDS: {**head, **found.info, "rows": found.rows}, **evaluation.files}.items():
            write_whole(folder / name, json.dumps(content))


def read_predictions(folder: str | Path) -> Predictions:
    """
    Read what `write_predictions` wrote.

    Raises:
        FileNotFoundError: If the folder holds no predictions.
        ValueError: If they were written by an earlier version.
    """
    folder = Path(folder)
    if not (folder / RECORDS).is_file():
        raise FileNotFoundError(f"{folder} holds no predictions: expected {RECORDS} and {TENSORS}.")
    records = json.loads((folder / RECORDS).read_text(encoding="utf-8"))
    if "rows" not in records or "task" not in records:
        raise ValueError(
            f"{folder} was written by an earlier version of this package, whose {RECORDS} has no `rows`. Compute its scores "
            "with that version, or evaluate the model again (run.total_steps=0, model.from_pretrained=CHECKPOINT)."
        )
    task, rows = records.pop("task"), records.pop("rows")
    info = {name: value for name, value in records.items() if name not in ("step", "metrics")}
    return Predictions(task, rows, load_file(folder / TENSORS), info)


def rescore(
    folder: str | Path,
    measure: Callable[[Predictions], dict[str, float]],
    options: Mapping[str, Any],
    task: str | None = None,
) -> dict[str, float]:
    """
    The metrics of written predictions.

    Args:
        folder (`str` or `Path`): Where they lie.
        measure (`Callable`): `Task.measure` of the task that wrote them.
        options (`Mapping[str, Any]`): What is to replace entries of `Predictions.info`.
        task (`str`, *optional*): The task that they have to be of.

    Returns:
        `dict`: The metrics. Of several draws (`eval.num_draws`) only the first is written; then `draw` says that it is
        this one, and `num_draws` of how many.

    Raises:
        ValueError: If they are of another task, or leave no choice of an option.
    """
    predictions = read_predictions(folder)
    if task not in (None, predictions.task):
        raise ValueError(f"{folder} has predictions of the task {predictions.task!r}, not of {task!r}.")
    if fixed := [name for name in options if predictions.info.get(name) is None]:
        raise ValueError(f"{folder}: the model that made these predictions leaves no choice of {', '.join(fixed)}.")
    predictions = replace(predictions, info={**predictions.info, **options})
    num_draws = predictions.info.get("num_draws")
    return {**measure(predictions), **({"draw": 1, "num_draws": num_draws} if num_draws else {})}


__all__ = ["Evaluation", "Predictions", "read_predictions", "rescore", "write_predictions"]
