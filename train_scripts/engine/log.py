# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a run writes down: every step and every evaluation, in `log.jsonl` and in accelerate's trackers."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import broadcast_object_list
from safetensors.numpy import save_file

from train_scripts.engine.checkpoint import write_atomically
from train_scripts.engine.recipe import EvalSection, Recipe


logger = logging.getLogger(__name__)


class RunLog:
    """
    One line of JSON a step (`step`, `epoch`, `lr`, losses, ...) and one an evaluation (`step`, `split`, `metrics`,
    ...).

    A resumed run drops the lines that are newer than its checkpoint, so the file always tells of one run without gaps
    or repetitions.

    Args:
        path (`Path`): The file.
        step (`int`): Where the run stands. Evaluations of this very step are made again.
        accelerator (`Accelerator`): The main process writes; all of them know the evaluations.
        recipe (`Recipe`): Given to the trackers.
    """

    def __init__(self, path: Path, step: int, accelerator: Accelerator, recipe: Recipe):
        self.path, self.accelerator, self.log_every = path, accelerator, recipe.run.log_every
        kept = []
        if accelerator.is_main_process:
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = [row for row in _read_rows(path) if row["step"] < step + ("split" not in row)]
            write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept))
        (self.evaluations,) = broadcast_object_list([[row for row in kept if "split" in row]])
        if recipe.run.log_with:
            accelerator.init_trackers("trackers", config=_flatten(asdict(recipe)))

    def add_step(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        self._write({"step": step, "epoch": round(epoch, 4), **values})
        self.accelerator.log(dict(values), step=step)
        if step % self.log_every == 0:
            logger.info(f"step {step}, epoch {epoch:.2f}: {show_values(values)}")

    def add_evaluation(self, step: int, split: str, purpose: str, metrics: Mapping[str, float]) -> None:
        row = {"step": step, "split": split, "purpose": purpose, "metrics": dict(metrics)}
        self.evaluations.append(row)
        self._write(row)
        self.accelerator.log({f"{split}/{name}": value for name, value in metrics.items()}, step=step)
        logger.info(f"step {step}, {split} ({purpose}): {show_values(metrics)}")

    def best_step(self, settings: EvalSection) -> int | None:
        """The step whose checkpoint is the best one on the tuning split; the earliest of equals."""
        sign = 1 if settings.metric_goal == "max" else -1
        scores = [
            (sign * row["metrics"][settings.metric], -row["step"])
            for row in self.evaluations
            if row["purpose"] == "tuning"
        ]
        return -max(scores)[1] if scores else None

    def results(self) -> dict[str, dict[str, Any]]:
        """The newest evaluation of each split."""
        return {row["split"]: row for row in self.evaluations}

    def _write(self, row: Mapping[str, Any]) -> None:
        if self.accelerator.is_main_process:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def write_predictions(
    folder: Path, step: int, metrics: Mapping[str, float], tensors: Mapping, records: Mapping
) -> None:
    """Write `tensors.safetensors` and `records.json`, from which the scores can be computed again."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), folder / "tensors.safetensors")
    write_atomically(folder / "records.json", json.dumps({"step": step, "metrics": dict(metrics), **records}))


def check_trackers(names: list[str]) -> None:
    """Refuse trackers that accelerate would leave out in silence."""
    available = [str(tracker) for tracker in get_available_trackers()]
    for name in names:
        if name not in available:
            raise ValueError(
                f"run.log_with: {name!r} is not installed (found: {', '.join(available) or 'none'}). "
                f"Install it with `pip install {name}`, or leave it out."
            )


def show_values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _read_rows(path: Path) -> list[dict]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break  # a line cut short by the end of its process
    return rows


def _flatten(values: Any, name: str = "") -> dict[str, Any]:
    """Nested values under dotted names, as trackers want them."""
    if not isinstance(values, dict):
        return {name: values if isinstance(values, int | float | str) else str(values)}
    flat = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{name}.{key}" if name else key)
    return flat


__all__ = ["RunLog", "check_trackers", "show_values", "write_predictions"]
