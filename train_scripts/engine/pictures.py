# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures of runs of any task, from the files that they leave behind: curves, and the cells of a grid."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.report import is_fraction, results_of
from clipbert.train_scripts.engine.run_files import RunFiles


DPI = 150
STYLES = ("o-", "^:", "s--", "d-.", "v:", "x--")  # of the metrics of a split, as many as one picture shows
TICKS_S = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)  # seconds between the marks of a time axis
SPAN = 1e4  # a rate that falls to nothing is drawn down to this part of its peak


class PicturesError(ImportError):
    """What draws is not installed."""


def new_figure(width: float, height: float) -> Any:
    """A figure of so many inches, which no window and no global state knows of."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PicturesError(f'{error}. Pictures need matplotlib: pip install "clipbert[plots]"') from None
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def save_figure(figure: Any, path: Path) -> Path:
    """Write a picture, of whatever kind its name ends in; the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".svg":
        figure.savefig(path)
        return path
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": path.name}):
        figure.savefig(path, metadata={"Date": None})
    return path


def shorten(name: str, most: int = 32) -> str:
    """A label of somebody else's data as a picture shows it."""
    name = printable(name)
    return name if len(name) <= most else f"{name[: most - 3]}..."


def mark_time(axes: Any, start_s: float, end_s: float) -> None:
    """The marks of a time axis, ten or a few more at most, as minutes and seconds."""
    between = next((seconds for seconds in TICKS_S if end_s - start_s <= 10 * seconds), TICKS_S[-1])
    ticks = np.arange(math.ceil(start_s / between - 1e-6) * between, end_s + 1e-6, between)
    digits = "04.1f" if between < 1 else "02.0f"
    axes.set_xticks(ticks, [f"{int(tick // 60)}:{tick % 60:{digits}}" for tick in ticks])
    axes.set_xlim(start_s, end_s)


def draw_curves(run: RunFiles, path: Path) -> Path:
    """
    Loss, scores and learning rate of a run, with the checkpoint that the tuning split has chosen.

    Args:
        run (`RunFiles`): The run, finished or not.
        path (`Path`): The picture.
    """
    points = run.curve()
    figure = new_figure(8, 8)
    losses, scores, rates = figure.subplots(3, 1, sharex=True)
    epochs = {row["step"]: row["epoch"] for row in run.steps}
    losses.plot(
        list(epochs.values()), [row["loss"] for row in run.steps], color="0.8", linewidth=0.8, label="each step"
    )
    rates.step(list(epochs.values()), [row["lr"] for row in run.steps], where="post", color="C3")
    splits = ["training", *dict.fromkeys(row["split"] for row in run.evaluations if row["purpose"] != "final")]
    for number, split in enumerate(splits):
        rows = [(point["epoch"], point[split]) for point in points if "epoch" in point and split in point]
        names = results_of(rows[0][1]) if rows else {}
        shown = [name for name in names if is_fraction(name)]
        for axes, name, style in [
            *((losses, "loss", "o-") for _ in range("loss" in names)),
            *((scores, name, style) for name, style in zip(shown, STYLES, strict=False)),
        ]:
            values = [metrics.get(name, math.nan) for _, metrics in rows]
            label = f"{shorten(split)} {name.replace('_', ' ')}"
            axes.plot([epoch for epoch, _ in rows], values, style, color=f"C{number}", markersize=4, label=label)
    if run.best_step in epochs:
        for axes in (losses, scores, rates):
            axes.axvline(epochs[run.best_step], color="k", linestyle="--", linewidth=1, label="chosen checkpoint")
    for axes, title in ((losses, "loss"), (scores, "score"), (rates, "learning rate")):
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
        if axes is not rates and axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    if peak := max((row["lr"] for row in run.steps), default=0):
        rates.set_yscale("log")
        rates.set_ylim(bottom=max(rates.get_ylim()[0], peak / SPAN))
    rates.set_xlabel("epoch")
    figure.suptitle(printable(str(run.folder)), parse_math=False)
    return save_figure(figure, path)


def curves_of(runs: Mapping[str, RunFiles]) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """
    What the logs of some runs say over their steps.

    Args:
        runs (`Mapping[str, RunFiles]`): By the names that they are to have.

    Returns:
        `dict`: For `loss`, `lr`, and each metric of an evaluation on the way (`SPLIT METRIC`), of each run that has it its steps and values.
    """
    found: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for name, run in runs.items():
        for column in ("loss", "lr"):
            rows = [(row["step"], row[column]) for row in run.steps if column in row]
            if rows:
                found.setdefault(column, {})[name] = tuple(map(list, zip(*rows, strict=True)))
        by_metric: dict[str, list[tuple[float, float]]] = {}
        for row in run.evaluations:
            if row["purpose"] != "final":
                for metric in filter(is_fraction, results_of(row["metrics"])):
                    by_metric.setdefault(f"{row['split']} {metric}", []).append((row["step"], row["metrics"][metric]))
        for title, points in by_metric.items():
            found.setdefault(title, {})[name] = tuple(map(list, zip(*points, strict=True)))
    return found


def draw_runs(runs: Mapping[str, RunFiles], path: Path, most: int = 6) -> Path:
    """
    The curves of several runs, one panel for the loss, the learning rate, and each of the first metrics: a line for each run.

    Args:
        runs (`Mapping[str, RunFiles]`): By the names that they are to have.
        path (`Path`): The picture.
        most (`int`, *optional*, defaults to 6): Panels.

    Raises:
        ValueError: If no run has a step yet.
    """
    curves = dict(list(curves_of(runs).items())[:most])
    if not curves:
        raise ValueError(f"There is no step yet in {', '.join(runs)}.")
    columns = min(len(curves), 3)
    rows = math.ceil(len(curves) / columns)
    figure = new_figure(4 * columns, 2.8 * rows + 0.2 * len(runs))
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels[len(curves) :]:
        panel.remove()
    for panel, (title, lines) in zip(panels, curves.items(), strict=False):
        for number, name in enumerate(runs):
            steps, values = lines.get(name, ([], []))
            style = "-" if title in ("loss", "lr") else STYLES[number % len(STYLES)]
            width = 0.8 if title == "loss" else 1.5
            panel.plot(
                steps, values, style, color=f"C{number % 10}", linewidth=width, markersize=4, label=shorten(name, 60)
            )
        panel.set_title(
            "learning rate" if title == "lr" else shorten(title.replace("_", " "), 40), fontsize=9, parse_math=False
        )
        panel.set_xlabel("step", fontsize=8)
        panel.grid(alpha=0.3)
    legend = figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return save_figure(figure, path)


def draw_cells(found: Mapping[str, Any], path: Path) -> Path:
    """
    The first score of the table of a grid, cell by cell: every seed, their mean, and the interval where there is one.

    Args:
        found (`Mapping[str, Any]`): What `table.json` holds.
        path (`Path`): The picture.
    """
    cells, metric = found["cells"], found["report"][0]
    figure = new_figure(9, 1.5 + 0.3 * len(cells))
    axes = figure.subplots()
    titles = set()
    for place, cell in enumerate(cells):
        splits = cell["summary"].get("scores", {})
        split = next((name for name, row in splits.items() if row["purpose"] == "final"), next(iter(splits), None))
        score = splits.get(split, {}).get(metric)
        if score is None:
            continue
        titles.add(split)
        if "interval" in score:
            axes.plot(score["interval"], [place, place], color="C0", linewidth=4, alpha=0.3)
        axes.plot(score["values"], [place] * len(score["values"]), "o", color="C0", markersize=4, alpha=0.6)
        axes.plot(score["mean"], place, "|", color="k", markersize=12)
    for number, (kind, by_split) in enumerate(found["baselines"].items(), start=1):
        for split in titles & by_split.keys():
            if metric in by_split[split]:
                axes.axvline(
                    by_split[split][metric][1], color=f"C{number}", linestyle=("-", "--", ":")[number % 3], label=kind
                )
    axes.set_yticks(range(len(cells)), [shorten(cell["name"], 60) for cell in cells], fontsize=8, parse_math=False)
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.set_xlabel(f"{', '.join(sorted(titles))} {metric.replace('_', ' ')}", parse_math=False)
    axes.grid(axis="x", alpha=0.3)
    if found["baselines"]:
        axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(found["baselines"]))
    return save_figure(figure, path)


def draw_cell_curves(found: Mapping[str, Any], path: Path, columns: int = 4) -> Path:
    """
    How the metric that compares the cells of a grid went, in one panel for each cell with a line for each seed.

    Args:
        found (`Mapping[str, Any]`): What `table.json` holds.
        path (`Path`): The picture.
        columns (`int`, *optional*, defaults to 4): Panels side by side.
    """
    cells, metric = found["cells"], found["metric"]
    rows = math.ceil(len(cells) / columns)
    figure = new_figure(3 * columns, 2.2 * rows)
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for panel, cell in zip(panels, cells, strict=False):
        for run in cell["runs"]:
            tuning = [split for split, row in run.get("scores", {}).items() if row["purpose"] == "tuning"]
            points = [point for point in run.get("curve", ()) if "epoch" in point and tuning and tuning[0] in point]
            values = [point[tuning[0]].get(metric, math.nan) for point in points]
            panel.plot([point["epoch"] for point in points], values, ".-", label=f"seed {run['seed']}")
        panel.set_title(shorten(cell["name"], 40), fontsize=7, parse_math=False)
        panel.grid(alpha=0.3)
    for panel in panels[len(cells) :]:
        panel.set_axis_off()
    figure.supxlabel("epoch")
    figure.supylabel(str(metric).replace("_", " "), parse_math=False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels) or 1, fontsize=8)
    return save_figure(figure, path)


__all__ = [
    "PicturesError",
    "curves_of",
    "draw_cell_curves",
    "draw_cells",
    "draw_curves",
    "draw_runs",
    "mark_time",
    "new_figure",
    "save_figure",
    "shorten",
]
