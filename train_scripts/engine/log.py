# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a run writes down: every step and every evaluation, in `log.jsonl` and in accelerate's trackers."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedType, broadcast_object_list

from clipbert.support.files import remove_leftovers, write_whole
from clipbert.train_scripts.engine.checkpoint import writing
from clipbert.train_scripts.engine.cost import describe_cost
from clipbert.train_scripts.engine.memory import peak_memory
from clipbert.train_scripts.engine.order import BatchPlan
from clipbert.train_scripts.engine.pace import Pace, advise, show_duration
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.report import describe_evaluation, verdict
from clipbert.train_scripts.engine.selection import count_reductions, count_since_best, find_best_step, tuning_scores


LOG, COSTS = "log.jsonl", "costs.jsonl"
logger = logging.getLogger("clipbert.train_scripts")


class RunLog:
    """
    One line of JSON a step (`step`, `epoch`, `lr`, losses, ...) and one an evaluation (`step`, `split`, `metrics`, ...).

    A resumed run drops the lines that are newer than its checkpoint, so the file always holds one run without gaps
    or repetitions.

    Evaluations of the step where the run stands, and final ones, are made again. `earlier` are the tuning evaluations that
    the checkpoint knows of: they matter where it comes from another folder, with another log, and where the log has been
    lost. If the checkpoint `is_own`, of this run's folder, what the log lacks of them is written again.
    """

    def __init__(
        self,
        path: Path,
        step: int,
        accelerator: Accelerator,
        recipe: Recipe,
        earlier: Sequence[Mapping[str, Any]] = (),
        is_own: bool = False,
    ):
        self.path, self.accelerator, self.recipe = path, accelerator, recipe
        kept = []
        if accelerator.is_main_process:
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(path.parent)
            kept = [row for row in read_rows(path) if row["step"] < step + ("split" not in row)]
            kept = [row for row in kept if row.get("purpose") != "final"]
            if is_own:
                known = {row["step"] for row in kept if row.get("purpose") == "tuning"}
                kept = [row for row in earlier if row["step"] < step and row["step"] not in known] + kept
            write_whole(path, "".join(json.dumps(row) + "\n" for row in kept))
        (self.evaluations,) = broadcast_object_list([[row for row in kept if "split" in row]])
        known = {row["step"] for row in self.evaluations if row["purpose"] == "tuning"}
        self.earlier = [row for row in earlier if row["step"] < step and row["step"] not in known]
        if recipe.run.log_with:
            accelerator.init_trackers("trackers", config=_flatten(recipe))

    def describe(self, name: str, plan: BatchPlan, total_steps: int, optimizer: torch.optim.Optimizer) -> None:
        """Say what is about to run."""
        run, kind = self.recipe.run, self.accelerator.distributed_type
        logger.info(
            f"{name}: {plan.num_items} items, {total_steps} steps of {plan.global_batch_size} = {plan.micro_batch_size} "
            f"items x {plan.accumulation_steps} micro-steps x {plan.num_processes} processes"
            f"{'' if kind == DistributedType.NO else f' ({kind.value})'} "
            f"({total_steps * plan.global_batch_size / plan.num_items:.2f} epochs), on {self.accelerator.device}, mixed "
            f"precision {run.mixed_precision}, output in {run.output_dir}"
        )
        for group in optimizer.param_groups:
            logger.info(
                f"{group['name']}: {group['size']:,} parameters, lr {group['base_lr']}, weight decay {group['weight_decay']}"
            )

    def add_step(
        self,
        step: int,
        epoch: float,
        values: Mapping[str, float],
        seconds_left: float,
        cost: Mapping[str, float] | None = None,
    ) -> None:
        """A step, with what was counted of it (see `StepCost`), if anything was."""
        row = {"step": step, "epoch": round(epoch, 4), **values}
        if cost is not None:
            row["cost"] = {**cost, "peak_memory": peak_memory(self.accelerator.device)}
        self._write(row)
        self.accelerator.log(
            {**values, **{f"cost/{name}": value for name, value in row.get("cost", {}).items()}}, step=step
        )
        if step % self.recipe.run.log_every == 0:
            left = f", {show_duration(seconds_left)} left" if seconds_left else ""
            logger.info(f"step {step}, epoch {epoch:.2f}: {show_values(values)}{left}")

    def add_pace(self, step: int, pace: Pace, steps_left: int, plan: BatchPlan) -> None:
        """The report of the first minute."""
        found = pace.summarise(steps_left)
        self._write({"step": step, "pace": found})
        device, processes = self.accelerator.device, plan.num_processes
        logger.info(
            f"pace: {found['items_per_second']:.4g} items a second; {found['waiting_share']:.0%} of the time waiting for "
            f"data, {found['computing_share']:.0%} computing; about {show_duration(found['seconds_left'])} to the last "
            f"step, evaluations not counted. The bottleneck is {found['bottleneck']}: to be faster, "
            f"{advise(found['bottleneck'], self.recipe, device, plan.accumulation_steps, processes)}."
        )

    def add_evaluation(self, step: int, split: str, purpose: str, metrics: Mapping[str, float]) -> None:
        row = {"step": step, "split": split, "purpose": purpose, "metrics": dict(metrics)}
        self.evaluations.append(row)
        self._write(row)
        self.accelerator.log({f"{split}/{name}": value for name, value in metrics.items()}, step=step)
        logger.info(describe_evaluation(step, split, purpose, metrics))
        if found := verdict(metrics, self.recipe.eval.metric):
            is_better, sentence = found
            logger.log(logging.INFO if is_better or purpose != "final" else logging.WARNING, f"{split}: {sentence}")

    def add_cost(self, step: int, split: str, seconds: float, counted: Mapping[str, Any] | None = None) -> None:
        """
        How long an evaluation took, the most memory so far, and what was counted (see `EvaluationMeter`), if anything was;
        in a file of its own, as no run repeats them.
        """
        row = {"step": step, "split": split, "seconds": round(seconds, 4)}
        if counted is not None:
            row |= counted
            logger.info(f"{split}: {describe_cost(counted)}")
        self._write(row | {"peak_memory": peak_memory(self.accelerator.device)}, self.path.with_name(COSTS))

    def add_examples(self, split: str, describe: Callable[[Predictions, int], str | None], found: Predictions) -> None:
        """Show what the model says of three examples: the first, and two on the way."""
        numbers = range(0, len(found.rows), max(len(found.rows) // 3, 1))[:3]
        if lines := [f"  {line}" for number in numbers if (line := describe(found, number))]:
            logger.info("\n".join([f"{split}, for example:", *lines]))

    def tuning_rows(self) -> list[dict[str, Any]]:
        """All evaluations of the tuning split, those from before this folder's log included."""
        return [*self.earlier, *(row for row in self.evaluations if row["purpose"] == "tuning")]

    def tuning_scores(self) -> dict[int, float]:
        """The metric that chooses the best checkpoint, by step; larger is better."""
        return tuning_scores(self.tuning_rows(), self.recipe.eval)

    def num_reductions(self) -> int:
        """How often the schedule `plateau` has reduced the rate."""
        optim = self.recipe.optim
        if optim.schedule != "plateau":
            return 0
        scores = list(self.tuning_scores().values())
        return count_reductions(scores, optim.plateau_patience, optim.plateau_threshold, self.recipe.eval.goal)

    def is_out_of_patience(self) -> bool:
        patience = self.recipe.run.patience
        return patience is not None and count_since_best(self.tuning_scores()) >= patience

    def explain_stop(self, step: int, total_steps: int) -> None:
        scores = self.tuning_scores()
        logger.info(
            f"Stopped after step {step} of {total_steps}: {self.recipe.eval.metric} has not been better than at step "
            f"{find_best_step(scores)} in {count_since_best(scores)} evaluations (run.patience)."
        )

    def best_step(self) -> int | None:
        """The step whose checkpoint is the best one of this folder; the earliest of equals."""
        return find_best_step(tuning_scores(self.evaluations, self.recipe.eval))

    def results(self) -> dict[str, dict[str, Any]]:
        """The newest evaluation of each split; of the tuning split the one that chose the best checkpoint."""
        best = self.best_step()
        return {row["split"]: row for row in self.evaluations if row["purpose"] != "tuning" or row["step"] == best}

    def _write(self, row: Mapping[str, Any], path: Path | None = None) -> None:
        path = path or self.path
        if self.accelerator.is_main_process:
            with writing(path), open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


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


def read_rows(path: Path) -> list[dict]:
    """The lines of a log, as far as they are whole."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break  # a line cut short by the end of its process
    return rows


def _flatten(recipe: Recipe) -> dict[str, Any]:
    """All values under dotted names, as trackers want them."""
    return {
        f"{section}.{key}": value if isinstance(value, int | float | str) else str(value)
        for section, values in asdict(recipe).items()
        for key, value in values.items()
    }


__all__ = ["COSTS", "LOG", "RunLog", "check_trackers", "read_rows", "show_values"]
