# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the files of a run say of it, during the run and long after."""

import json
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipbert.train_scripts.engine.log import COSTS, LOG, read_rows


NO_RESULTS = {"step", "epoch", "lr", "grad_norm", "wait_s", "step_s", "cost"}  # of what is logged of a step
TIMES = ("read_s", "cpu_s")
PER_STEP = ("frames_decoded", "frames_encoded", "multiply_adds_forward", "multiply_adds_backward", *TIMES)


@dataclass
class RunFiles:
    """
    Args:
        folder (`Path`): `run.output_dir`.
        results (`dict[str, Any]`): Of `results.json`; empty before the end of the run.
        steps (`list[dict[str, Any]]`): The logged steps.
        evaluations (`list[dict[str, Any]]`): The logged evaluations, with `step`, `split`, `purpose` and `metrics`.
        costs (`dict[tuple[int, str], dict[str, Any]]`): For step and split `seconds`, `peak_memory`, and where they were counted
            `operations`, `videos` and `per_video` (see `EvaluationMeter.summarise`).
    """

    folder: Path
    results: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    costs: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)

    @property
    def best_step(self) -> int | None:
        """The step that the tuning split has chosen."""
        chosen = [row["step"] for row in self.results.get("splits", {}).values() if row["purpose"] == "tuning"]
        return chosen[0] if chosen else None

    def cost(self) -> dict[str, Any]:
        """
        `minutes` of training and evaluation, `ms_per_step`, the median of the training steps without the time that they waited
        for data, `peak_memory` in bytes, and of the latest evaluation of a final split (else of any) `ms_per_example`,
        reading included, `operations` and `per_video`, and of training what `training_cost` says; what was not counted is left
        out.
        """
        seconds = sum(row["step_s"] for row in self.steps) + sum(row["seconds"] for row in self.costs.values())
        found: dict[str, Any] = {"minutes": seconds / 60}
        if self.steps:
            found["ms_per_step"] = 1000 * statistics.median(
                row["step_s"] - row["wait_s"] for row in self.timed_steps()
            )
        if self.costs:
            found["peak_memory"] = max(row["peak_memory"] for row in self.costs.values())
        rows = sorted(self.evaluations, key=lambda row: (row["purpose"] == "final", row["step"]))
        for row in rows[-1:]:
            cost, examples = self.costs.get((row["step"], row["split"])), row["metrics"].get("num_examples")
            if cost and examples:
                found["ms_per_example"] = 1000 * cost["seconds"] / examples
            found |= {name: cost[name] for name in ("operations", "per_video") if cost and name in cost}
        if training := self.training_cost():
            found["training"] = training
        return found

    def timed_steps(self) -> list[dict[str, Any]]:
        """The steps that took no longer for being counted; all, if there are no others."""
        return [row for row in self.steps if not row.get("cost", {}).get("is_counted")] or self.steps

    def training_cost(self) -> dict[str, float]:
        """
        Means over the steps of which each is known, with the same names as in the log, `step_ms` and `steps`, and what they come
        to in all steps: `total_multiply_adds`, `total_frames_decoded`, `total_frames_encoded`, `total_cpu_s`. Empty where
        `run.count_cost` was off.
        """
        counted = [row["cost"] for row in self.steps if "cost" in row]
        if not counted:
            return {}
        timed = [row["cost"] for row in self.timed_steps() if "cost" in row]
        found: dict[str, float] = {"steps": len(self.steps)}
        for name in PER_STEP:
            values = [cost[name] for cost in (timed if name in TIMES else counted) if name in cost]
            if values:
                found[name] = math.fsum(values) / len(values)
        found["step_ms"] = 1000 * statistics.fmean(row["step_s"] for row in self.timed_steps())
        found["peak_memory"] = max(cost["peak_memory"] for cost in counted)
        passes = [found.get(f"multiply_adds_{name}") for name in ("forward", "backward")]
        sums = {name: found[name] for name in ("frames_decoded", "frames_encoded", "cpu_s") if name in found}
        sums |= {} if None in passes else {"multiply_adds": sum(passes)}
        return found | {f"total_{name}": value * len(self.steps) for name, value in sums.items()}

    def counted(self) -> dict[str, Any]:
        """What `run.count_cost` and `eval.count_cost` have counted: of `training`, and of `evaluations` by split, the latest of each."""
        found = {"training": training} if (training := self.training_cost()) else {}
        of_splits = {split: row for (_, split), row in sorted(self.costs.items()) if "operations" in row}
        return found | ({"evaluations": of_splits} if of_splits else {})

    def curve(self) -> list[dict[str, Any]]:
        """
        A point for each evaluation on the way: `step`, `epoch`, the learning rate `lr`, `training` (the means of losses and
        of what else a step reports, since the point before), and the metrics of each split under its name.
        """
        points: dict[int, dict[str, Any]] = {}
        for row in self.evaluations:
            if row["purpose"] != "final":
                points.setdefault(row["step"], {"step": row["step"]})[row["split"]] = row["metrics"]
        before = 0
        for step in sorted(points):
            rows = [row for row in self.steps if before < row["step"] <= step]
            if rows:
                means = {
                    name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0].keys() - NO_RESULTS
                }
                points[step] |= {"epoch": rows[-1]["epoch"], "lr": rows[-1]["lr"], "training": means}
            before = step
        return [points[step] for step in sorted(points)]


def read_run(folder: str | Path) -> RunFiles:
    """
    Read what a run has written so far.

    Raises:
        FileNotFoundError: If the folder holds no run.
    """
    folder = Path(folder)
    if not (folder / LOG).is_file():
        raise FileNotFoundError(f"{folder} is no folder of a run: it has no {LOG}. Name a run.output_dir.")
    run, results = RunFiles(folder), folder / "results.json"
    if results.is_file():
        run.results = json.loads(results.read_text(encoding="utf-8"))
    rows = read_rows(folder / LOG)
    run.evaluations = [row for row in rows if "split" in row]
    run.steps = [row for row in rows if "loss" in row]
    run.costs = {(row["step"], row["split"]): row for row in read_rows(folder / COSTS)}  # the latest of each
    return run


__all__ = ["RunFiles", "read_run"]
