# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures that compare the cells of a grid: score against cost, and score against what rows are grouped by."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipbert.train_scripts.engine.pictures import new_figure, save_figure, shorten
from clipbert.train_scripts.engine.report import CONTEXT


COLOURS, MARKERS, LINES = 10, "osD^vPX<>*", ("-", "--", ":", "-.")  # no two of the first 40 lines look alike
FILLS = ("full", "left", "bottom", "right")  # of markers, with the lines: a single point has none
COSTS = {  # where a summary has them, the first that there is, and how many make one
    "of training": {
        "training, G multiply-adds": (("training", "total_multiply_adds"), 1e9),
        "training and evaluation, minutes": (("minutes",), 1),
    },
    "of a video": {
        "a video, G multiply-adds": (("per_video", "multiply_adds"), 1e9),
        "an example, milliseconds": (("ms_per_example",), 1),
    },
}
NUMBER = re.compile(r"\d+(?:\.\d+)?$")
MOST_ABREAST = 3
LEGEND_ROW, MOST_ROWS = 0.17, 45  # inches; of one column


def draw_score_against_cost(found: Mapping[str, Any], path: Path) -> Path | None:
    """
    The first score of the table of a grid against what it costs to train, and to see a video: a line for each regime of training, through
    the evaluations of it, with the standard deviation over seeds (else the interval) as error bars.

    Args:
        found (`Mapping[str, Any]`): What `table.json` holds.
        path (`Path`): The picture.

    Returns:
        `Path`: The picture; `None` where no cell has both a score and a cost.
    """
    metric, regimes = found["report"][0], group_regimes(found["cells"])
    panels = {}
    for name, choices in COSTS.items():
        of_panel = [(title, points_of(regimes, metric, *where)) for title, where in choices.items()]
        if shown := next(((title, points) for title, points in of_panel if any(points.values())), None):
            panels[name] = shown
    if not panels:
        return None
    figure, axes = new_panels(len(panels), len(regimes))
    for panel, (title, points) in zip(axes, panels.values(), strict=True):
        for number, (name, of_regime) in enumerate(points.items()):
            costs, means, low, high = np.array(of_regime).reshape(-1, 4).T
            label = shorten(name, 40) + ("" if of_regime else " (no score)")
            panel.errorbar(
                costs, means, np.array([means - low, high - means]), **style_of(number), capsize=2, label=label
            )
        set_scale(panel, [point[0] for of_regime in points.values() for point in of_regime])
        panel.set_xlabel(title)
    axes[0].set_ylabel(metric.replace("_", " "), parse_math=False)
    add_legend(figure, axes[0], len(regimes))
    return save_figure(figure, path)


def set_scale(axes: Any, costs: Sequence[float]) -> None:
    """Costs that differ much stand on a logarithmic axis, with marks that can be read."""
    if min(costs) <= 0 or max(costs) <= 10 * min(costs):
        axes.locator_params(axis="x", nbins=5)
        return
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")


def group_regimes(cells: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The cells by how they were trained: those whose settings differ in the section `eval` alone are one."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for cell in cells:
        settings = {key: value for key, value in cell.get("settings", {}).items() if not key.startswith("eval.")}
        settings = settings if cell.get("settings") else {"name": cell["name"]}
        groups.setdefault(repr((cell.get("recipe"), sorted(settings.items(), key=str))), []).append(cell)
    named: dict[str, list[Mapping[str, Any]]] = {}
    for group in groups.values():
        name = name_regime(group)
        named[name if name and name not in named else group[0]["name"]] = group
    return named


def name_regime(cells: Sequence[Mapping[str, Any]]) -> str:
    """What the names of some cells have in common, without the label of what differs."""
    if len(cells) == 1:
        return cells[0]["name"]
    shared = os.path.commonprefix([cell["name"] for cell in cells])
    for key in cells[0].get("settings", {}):
        shared, is_label, _ = (
            shared.partition(f"{key.rpartition('.')[2]}=") if key.startswith("eval.") else (shared, "", "")
        )
        if is_label:
            return shared.rstrip("_")
    return shared.rpartition("_")[0]


def points_of(
    regimes: Mapping[str, Sequence[Mapping[str, Any]]], metric: str, where: Sequence[str], unit: float
) -> dict[str, list[tuple[float, float, float, float]]]:
    """Of each regime the cost, the score and the ends of its error bar, cell by cell; cells that lack one are left out."""
    points: dict[str, list[tuple[float, float, float, float]]] = {}
    for name, cells in regimes.items():
        points[name] = []
        for cell in cells:
            score, cost = score_of(cell["summary"], metric), cost_of(cell["summary"], where)
            if score is not None and cost is not None:
                points[name].append((cost / unit, *score))
    return points


def cost_of(summary: Mapping[str, Any], where: Sequence[str]) -> float | None:
    """A cost that the summary of a cell has, by the keys that lead to it."""
    for key in where:
        summary = summary.get(key, {}) if isinstance(summary, Mapping) else {}
    return float(summary) if isinstance(summary, int | float) and math.isfinite(summary) else None


def score_of(summary: Mapping[str, Any], metric: str) -> tuple[float, float, float] | None:
    """Mean and ends of the error bar of a score: of the final split, else of the first."""
    splits = summary.get("scores", {})
    split = next((name for name, row in splits.items() if row["purpose"] == "final"), next(iter(splits), None))
    score = splits.get(split, {}).get(metric)
    if score is None or not math.isfinite(score["mean"]):
        return None
    mean, std = score["mean"], score.get("std")
    low, high = score.get("interval", (mean, mean)) if std is None else (mean - std, mean + std)
    return mean, min(low, mean), max(high, mean)


# ---------------------------------------------------------------------------------------------------------------------
# Groups of rows
# ---------------------------------------------------------------------------------------------------------------------


def draw_groups(found: Mapping[str, Sequence[Mapping[str, float]]], metric: str, path: Path) -> Path | None:
    """
    A score against a number that rows are grouped by, such as the share of a video in which something is visible: a line for each model,
    the mean over its seeds with their standard deviation.

    Args:
        found (`Mapping[str, Sequence[Mapping[str, float]]]`): Of each model the metrics of every seed; see [`group_of`].
        metric (`str`): The score.
        path (`Path`): The picture.

    Returns:
        `Path`: The picture; `None` where no metric is that of a group.
    """
    curves = {name: groups_of(rows, metric) for name, rows in found.items()}
    if not any(curves.values()):
        return None
    figure, (axes,) = new_panels(1, len(curves))
    titles = set()
    for number, (name, groups) in enumerate(curves.items()):
        places = sorted(groups)
        means, stds = ([function(groups[place][1]) for place in places] for function in (np.mean, np.std))
        bars = stds if any(len(groups[place][1]) > 1 for place in places) else None
        label = shorten(name, 40) + ("" if groups else " (no score)")
        axes.errorbar(places, means, bars, **style_of(number), capsize=2, label=label)
        titles |= {groups[place][0] for place in places}
    places = {place for groups in curves.values() for place in groups}
    if min(places) > 0 and max(places) >= 8 * min(places):
        axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(places), [f"{place:g}" for place in sorted(places)])
    axes.minorticks_off()
    axes.set_xlabel(
        ", ".join(sorted(title.replace("_", " ") for title in titles if title)) or "group", parse_math=False
    )
    axes.set_ylabel(metric.replace("_", " "), parse_math=False)
    add_legend(figure, axes, len(curves))
    return save_figure(figure, path)


def groups_of(rows: Sequence[Mapping[str, float]], metric: str) -> dict[float, tuple[str, list[float]]]:
    """Of each group, by its number: what it is a number of, and the values of all seeds; those that are not finite are left out."""
    groups: dict[float, tuple[str, list[float]]] = {}
    for row in rows:
        for name, value in row.items():
            if (found := group_of(name, metric)) is not None and math.isfinite(value):
                title, place = found
                groups.setdefault(place, (title, []))[1].append(value)
    return groups


def group_of(name: str, metric: str) -> tuple[str, float] | None:
    """
    What the name of a metric says of a group: `METRIC_COLUMN=NUMBER`, `METRIC_COLUMN_NUMBER` or `METRIC_NUMBER`.

    Example:
        >>> group_of("accuracy_visible_share=0.125", "accuracy"), group_of("accuracy_0.5", "accuracy")
        (('visible_share', 0.125), ('', 0.5))
        >>> group_of("accuracy_what", "accuracy"), group_of("accuracy_std", "accuracy")
        (None, None)
    """
    if not name.startswith(f"{metric}_"):
        return None
    rest = name.removeprefix(f"{metric}_")
    number = NUMBER.search(rest)
    if number is None or CONTEXT & set(re.split("[_=]", rest)):
        return None
    return rest[: number.start()].rstrip("=_"), float(number[0])


# ---------------------------------------------------------------------------------------------------------------------
# Many lines
# ---------------------------------------------------------------------------------------------------------------------


def style_of(number: int) -> dict[str, Any]:
    """
    Marker with its filling, and line, that no other of the first lines has, also in black and white and where a line is a
    single point; and a colour.
    """
    turn = number // len(MARKERS) % len(LINES)
    return {
        "color": f"C{number % COLOURS}",
        "marker": MARKERS[number % len(MARKERS)],
        "fillstyle": FILLS[turn],
        "linestyle": LINES[turn],
        "markersize": 5,
    }


def new_panels(num_panels: int, num_lines: int) -> tuple[Any, list[Any]]:
    """A figure with panels side by side, in rows of three at most, and room for a legend at the right."""
    columns, abreast = math.ceil(num_lines / MOST_ROWS), min(num_panels, MOST_ABREAST)
    rows = math.ceil(num_panels / abreast)
    height = max(4.0 if rows == 1 else 3.2 * rows, 0.6 + LEGEND_ROW * min(num_lines, MOST_ROWS))
    figure = new_figure((4.5 if rows == 1 else 3.6) * abreast + 2.5 * columns, height)
    axes = list(figure.subplots(rows, abreast, sharey=True, squeeze=False).flat)
    for panel in axes[num_panels:]:
        panel.remove()
    for panel in axes[:num_panels]:
        panel.grid(alpha=0.3)
    return figure, axes[:num_panels]


def add_legend(figure: Any, axes: Any, num_lines: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="outside right upper", fontsize=7, ncols=math.ceil(num_lines / MOST_ROWS)
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


__all__ = [
    "add_legend",
    "draw_groups",
    "draw_score_against_cost",
    "group_of",
    "group_regimes",
    "new_panels",
    "set_scale",
    "style_of",
]
