# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A grid whose runs have been asked how many clips they need: ways of training beside numbers of clips at test time, over seeds."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.groups import split_group
from clipbert.train_scripts.engine.report import show_score


NAME = "clips_needed"
COSTS = ("frames", "video_operations", "pair_operations", "model_s")
TAKEN_AS = ("uniform", "random")  # how clips of a row are chosen
NOTES = """\
A score is that of evenly spread clips, as the recipe evaluates, and after the stroke that of as many clips drawn at random (the mean of draws):
mean over seeds ± their standard deviation. A video costs its different frames, and the multiply-adds of encoding it and of reading one text with
it; training what all steps of a run come to, forward and backward."""


def summarise_clips(grid: Mapping[str, Any]) -> dict[str, Any]:
    """
    All that the runs of a grid have found out.

    Args:
        grid (`Mapping`): What `table.json` holds; runs without a `*/clips_needed.json` in their folder are left out.

    Returns:
        `dict`: `metric`; `metrics`, that one and those of groups; `cells`, each with `name`, `seeds` (their number), `training` (multiply-adds,
        if they were counted), and `curves`: for each pooling `rows` with `num_clips`, `cost`, and by `uniform` and `random` for each
        metric `mean`, `std` (of two seeds or more) and `values`.

    Raises:
        ValueError: If there is no such run, or the runs have been measured by different metrics.
    """
    cells, names = [], {}
    for cell in grid["cells"]:
        files = [path for run in cell["runs"] for path in sorted(Path(run["folder"]).glob(f"*/{NAME}.json"))[:1]]
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
        if not runs:
            continue
        curves = [join_curves(of_seeds) for of_seeds in zip(*(run["curves"] for run in runs), strict=True)]
        names |= {curve["metric"]: None for run in runs for curve in run["curves"]}
        training = cell["summary"].get("training", {}).get("total_multiply_adds")
        cells.append({"name": cell["name"], "seeds": len(runs), "training": training, "curves": curves})
    if not cells:
        raise ValueError(f"No run of this grid has a {NAME}.json: its file needs `for_each: {{{NAME}: ...}}`.")
    if len(names) > 1:
        raise ValueError(f"The runs of this grid have been measured by different metrics: {', '.join(names)}.")
    (metric,) = names
    measured = dict.fromkeys(name for cell in cells for name in cell["curves"][0]["rows"][0]["uniform"])
    metrics = [metric, *(name for name in measured if name != metric and split_group(name)[0] == metric)]
    return {"metric": metric, "metrics": metrics, "cells": cells}


def join_curves(curves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The same curve of several seeds."""
    rows = []
    for of_seeds in zip(*(curve["rows"] for curve in curves), strict=True):
        first = of_seeds[0]
        row: dict[str, Any] = {"num_clips": first["num_clips"]}
        row["cost"] = {
            name: statistics.fmean(each["cost"][name] for each in of_seeds)
            for name in COSTS
            if all(each["cost"].get(name) is not None for each in of_seeds)
        }
        row["uniform"] = join_metrics([each["metrics"] for each in of_seeds])
        if all(each["draws"] for each in of_seeds):
            row["random"] = join_metrics([each["draws"]["metrics"] for each in of_seeds])
        rows.append(row)
    return {"pooling": curves[0]["pooling"], "metric": curves[0]["metric"], "rows": rows}


def join_metrics(of_seeds: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    found = {}
    for name in of_seeds[0]:
        if not all(name in metrics for metrics in of_seeds):
            continue
        values = [metrics[name] for metrics in of_seeds]
        found[name] = {"values": values, "mean": statistics.fmean(values)}
        if len(values) > 1:
            found[name]["std"] = statistics.stdev(values)
    return found


def describe_clips(found: Mapping[str, Any], title: str) -> str:
    """`clips.md`: what [`summarise_clips`] returns, for people. The metrics of groups stand where clips are pooled as in training."""
    metric, groups = found["metric"], found["metrics"][1:]
    head = ["cell", "seeds", "pooled by", "clips", metric.replace("_", " ")]
    head += [split_group(name)[1].replace("-", " ") for name in groups]
    head += ["frames", "G multiply-adds a video", "T multiply-adds of training"]
    table = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for cell in found["cells"]:
        for number, curve in enumerate(cell["curves"]):
            for row in curve["rows"]:
                shown = [metric, *(groups if number == 0 else ())]
                scores = [show_row(row, name) for name in shown] + [""] * (len(groups) if number else 0)
                training = "" if number or cell["training"] is None else f"{cell['training'] / 1e12:.3g}"
                counted = [
                    row["cost"][name] for name in ("video_operations", "pair_operations") if name in row["cost"]
                ]
                costs = [f"{row['cost']['frames']:.3g}", f"{sum(counted) / 1e9:.3g}" if counted else "not counted"]
                head_cells = [cell["name"], str(cell["seeds"]), curve["pooling"], str(row["num_clips"])]
                table.append([*head_cells, *scores, *costs, training])
    lines = [f"| {' | '.join(map(printable, row))} |" for row in table]
    return "\n".join([f"# {printable(title)}: clips at test time", "", *lines, "", NOTES, ""])


def show_row(row: Mapping[str, Any], name: str) -> str:
    """Evenly spread / drawn."""
    shown = []
    for taken in TAKEN_AS:
        score = row.get(taken, {}).get(name)
        if score is not None:
            spread = f" ± {show_score(name, score['std'])}" if "std" in score else ""
            shown.append(f"{show_score(name, score['mean'])}{spread}".replace(" %", ""))
    return " / ".join(shown)


__all__ = ["NAME", "describe_clips", "summarise_clips"]
