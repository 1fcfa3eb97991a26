# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the files of a run say of it, during the run and long after."""

import json
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipbert.train_scripts.engine.log import COSTS, LOG, read_rows


NO_RESULTS = {"step", "epoch", "lr", "grad_norm", "wait_s", "step_s"}  # of what is logged of a step


@dataclass
class RunFiles:
    """
    Args:
        folder (`Path`): `run.output_dir`.
        results (`dict[str, Any]`): Of `results.json`; empty before the end of the run.
        steps (`list[dict[str, Any]]`): The logged steps.
        evaluations (`list[dict[str, Any]]`): The logged evaluations, with `step`, `split`, `purpose` and `metrics`.
        costs (`dict[tuple[int, str], dict[str, Any]]`): For step and split `seconds`, `peak_memory`, and `operations` where
            they were counted.
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
        reading included, and `operations`; what the log does not say is left out.
        """
        seconds = sum(row["step_s"] for row in self.steps) + sum(row["seconds"] for row in self.costs.values())
        found: dict[str, Any] = {"minutes": seconds / 60}
        if self.steps:
            found["ms_per_step"] = 1000 * statistics.median(row["step_s"] - row["wait_s"] for row in self.steps)
        if self.costs:
            found["peak_memory"] = max(row["peak_memory"] for row in self.costs.values())
        rows = sorted(self.evaluations, key=lambda row: (row["purpose"] == "final", row["step"]))
        for row in rows[-1:]:
            cost, examples = self.costs.get((row["step"], row["split"])), row["metrics"].get("num_examples")
            if cost and examples:
                found["ms_per_example"] = 1000 * cost["seconds"] / examples
            if cost and "operations" in cost:
                found["operations"] = cost["operations"]
        return found

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
