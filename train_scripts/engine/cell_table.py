# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The runs of a grid as a table: scores over seeds with their intervals, what guessing gives, and what each cell costs."""

import itertools
import math
import re
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from clipbert.metrics.classification.classification import wilson_interval
from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.cells import CellRun, Grid
from clipbert.train_scripts.engine.groups import split_group
from clipbert.train_scripts.engine.operations import show_giga
from clipbert.train_scripts.engine.report import describe_baseline, find_baselines, show_score
from clipbert.train_scripts.engine.resampling import interval, resample_means
from clipbert.train_scripts.engine.run_files import read_run
from clipbert.train_scripts.engine.sections import goal_of_metric


class RowsOfSplit(NamedTuple):
    """
    What a run says of each row of a split.

    Args:
        values (`np.ndarray` of shape `(rows,)`): What each adds to a metric that is their mean; NaN where it adds nothing.
        videos (`list[str]`): Of each row.
    """

    values: np.ndarray
    videos: list[str]


RowsOfRun = Callable[
    [CellRun, str, str], RowsOfSplit | None
]  # of a run, a split and a metric; None if that is no mean over rows
COUNTS_HITS = re.compile(r"(top\d+_)?accuracy")  # a fraction of the examples, each of which is a hit or none
NOTES = """\
A score is the mean over seeds ± their standard deviation. The interval is Wilson's at 95 %, of the hits of all seeds
together; seeds share their examples, so it says more of the seeds than of other examples. `chosen by` is the tuning split.
Minutes are those of training and evaluation of one run; milliseconds of a step the median, waiting for data not counted, of
an example those of an evaluation, reading included; memory is the most that the first process took, of the GPU if there is
one, workers not counted."""
OPERATIONS = """
G multiply-adds, which papers call GFLOPs, are those of one view (a clip or crop) of a video, times its views, whole and without
the products inside attention."""
COMPARED = """
What a cell has more than the cell of reference is the mean over their common seeds; its interval (95 %) is a paired bootstrap over videos,
and says nothing of other seeds. A cell whose interval holds 0, or whose difference is smaller than the deviation over seeds of either,
cannot be told from the reference: (?)."""
COUNTED = """
What is said of training is what all steps of a run come to, forward and backward (of multiply-adds and frames the mean step
that was counted, times the steps; CPU seconds are those of decoding, too); of a video the mean of an evaluation: the frames that
decoders gave, those between a key frame and a wanted one included, and the frames that went through the tower or CNN."""
COUNTED_COLUMNS = {  # where it stands in a summary, and how many of it make one
    "training: G multiply-adds": ("training", "total_multiply_adds", 1e9),
    "training: frames decoded": ("training", "total_frames_decoded", 1),
    "training: frames encoded": ("training", "total_frames_encoded", 1),
    "training: CPU s": ("training", "total_cpu_s", 1),
    "a video: G multiply-adds": ("per_video", "multiply_adds", 1e9),
    "a video: frames decoded": ("per_video", "frames_decoded", 1),
    "a video: frames encoded": ("per_video", "frames_encoded", 1),
    "a video: ms to read": ("per_video", "read_ms", 1),
    "a video: ms in the model": ("per_video", "model_ms", 1),
}


def summarise(
    grid: Grid, runs: Sequence[CellRun], states: Mapping[CellRun, str], rows_of: RowsOfRun | None = None
) -> dict[str, Any]:
    """
    All that is known of a grid, for JSON.

    Args:
        grid (`Grid`): The grid.
        runs (`Sequence[CellRun]`): All of its runs.
        states (`Mapping[CellRun, str]`): Of those that are not finished, why.
        rows_of (`RowsOfRun`, *optional*): For the comparison with `grid.reference`; `None` compares nothing.

    Returns:
        `dict`: `metric`; `report`; `published`; `reference`; `ranking`, the names of the cells of which all seeds are finished, best first; `cells`,
        each with `name`, `recipe`, `settings`, `runs` (with the curve of each), `summary` and `differences`; `baselines`: for each kind,
        split and metric the lowest and the highest value that the runs report.
    """
    cells, baselines = [], {}
    differences = {} if rows_of is None else compare_with_reference(grid, runs, states, rows_of)
    for cell, of_cell in itertools.groupby(runs, key=lambda run: run.cell):
        entries = [describe_run(run, states, grid) for run in of_cell]
        finished = [entry for entry in entries if "scores" in entry]
        described = {"name": cell.name, "recipe": cell.recipe, "settings": dict(cell.settings), "runs": entries}
        compared = {"differences": differences[cell.name]} if cell.name in differences else {}
        cells.append({**described, "summary": summarise_cell(grid, finished), **compared})
        for entry, metric in itertools.product(finished, grid.report):
            for split, row in entry["scores"].items():
                for kind, value in find_baselines(metric, row["metrics"]).items():
                    low, high = baselines.setdefault(kind, {}).setdefault(split, {}).get(metric, (value, value))
                    baselines[kind][split][metric] = [min(low, value), max(high, value)]
    ranking = rank_cells(cells, grid.metric)
    head = {"metric": grid.metric, "report": grid.report, "published": grid.published, "reference": grid.reference}
    return {**head, "ranking": ranking, "cells": cells, "baselines": baselines}


def describe_run(run: CellRun, states: Mapping[CellRun, str], grid: Grid) -> dict[str, Any]:
    """Seed, folder, and either what is missing (`state`) or `scores` by split, `parameters`, `cost` and `curve`."""
    head = {"seed": run.seed, "folder": str(run.folder)}
    results = run.results()
    if run in states or results is None:
        return {**head, "state": states.get(run, "not run yet")}
    if missing := run.to_follow(grid):
        return {**head, "state": f"finished, but not yet {', '.join(missing)}"}
    files = read_run(run.folder)
    sizes = {name: results[f"num_{name}"] for name in ("parameters", "trainable_parameters")}
    return {**head, "scores": results["splits"], **sizes, "cost": files.cost(), "curve": files.curve()}


def summarise_cell(grid: Grid, finished: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Scores and costs over the finished seeds of a cell."""
    if not finished:
        return {}
    found: dict[str, Any] = {"scores": {}}
    for split, row in finished[0]["scores"].items():
        rows = [entry["scores"][split]["metrics"] for entry in finished]
        metrics = dict.fromkeys(filter(None, (grid.metric, *grid.report)))
        summary = {name: summarise_scores(name, rows) for name in metrics if all(name in each for each in rows)}
        found["scores"][split] = {"purpose": row["purpose"], **summary}
    costs = [entry["cost"] for entry in finished]
    mean = statistics.mean
    for name, of_all in (("minutes", mean), ("ms_per_step", mean), ("ms_per_example", mean), ("peak_memory", max)):
        if values := [cost[name] for cost in costs if name in cost]:
            found[name] = of_all(values)
    if counted := [cost["operations"] for cost in costs if "operations" in cost]:
        found["operations"] = counted[0]
    for group in ("training", "per_video"):
        if counted := [cost[group] for cost in costs if group in cost]:
            shared = [name for name in counted[0] if all(isinstance(each.get(name), int | float) for each in counted)]
            found[group] = {name: mean(each[name] for each in counted) for name in shared}
    return {**found, **{name: finished[0][name] for name in ("parameters", "trainable_parameters")}}


def summarise_scores(name: str, rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """`mean`, from two seeds on `std`, and `interval` of metrics that count hits."""
    values = [row[name] for row in rows]
    found = {"values": values, "mean": statistics.fmean(values)}
    if len(values) > 1:
        found["std"] = statistics.stdev(values)
    metric, group = split_group(name)
    if COUNTS_HITS.fullmatch(metric):
        count = f"num_examples_{group}" if group else "num_examples"
        hits = round(sum(row[name] * row[count] for row in rows))
        found["interval"] = list(wilson_interval(hits, round(sum(row[count] for row in rows))))
    return found


def compare_with_reference(
    grid: Grid, runs: Sequence[CellRun], states: Mapping[CellRun, str], rows_of: RowsOfRun
) -> dict[str, Any]:
    """
    Of each cell but the reference, by split and metric: how much more it scores than the reference with the same seeds (`mean`), and
    the `interval` that 95 % of draws of videos give (a paired bootstrap of the means over seeds). Metrics that are no mean over rows
    are left out.
    """
    finished = [run for run in runs if run not in states and run.results() is not None and not run.to_follow(grid)]
    by_cell: dict[str, dict[int, CellRun]] = {}
    for run in finished:
        by_cell.setdefault(run.cell.name, {})[run.seed] = run
    theirs = by_cell.pop(grid.reference, {})
    found: dict[str, Any] = {}
    for name, ours in by_cell.items():
        pairs = [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
        if not pairs:
            continue
        for split, metric in itertools.product(pairs[0][0].results()["splits"], grid.report):
            rows = [tuple(rows_of(run, split, metric) for run in pair) for pair in pairs]
            if any(side is None for pair in rows for side in pair):
                continue
            if difference := compare_rows(rows):
                found.setdefault(name, {}).setdefault(split, {})[metric] = difference
    return found


def compare_rows(pairs: Sequence[tuple[RowsOfSplit, RowsOfSplit]]) -> dict[str, Any] | None:
    """The difference of two cells, of which each pair has what one seed says of each row; `None` if those are other rows."""
    videos = pairs[0][0].videos
    if any(side.videos != videos for pair in pairs for side in pair):
        return None
    differences = np.mean([ours.values - theirs.values for ours, theirs in pairs], axis=0)
    is_counted = np.isfinite(differences)
    groups = np.array(videos)[is_counted]
    found: dict[str, Any] = {"mean": float(differences[is_counted].mean()), "seeds": len(pairs)} if len(groups) else {}
    if len(set(groups.tolist())) > 1:
        found["interval"] = list(interval(resample_means(differences[is_counted, None], groups)[:, 0]))
    return found or None


def rank_cells(cells: Sequence[Mapping[str, Any]], metric: str | None) -> list[str]:
    """The cells of which all seeds are finished, by the mean of the metric that the tuning split gives; equals by name."""
    scores = {}
    for cell in cells:
        rows = [row for row in cell["summary"].get("scores", {}).values() if row["purpose"] == "tuning"]
        is_complete = all("scores" in run for run in cell["runs"])
        if is_complete and rows and metric in rows[0] and math.isfinite(rows[0][metric]["mean"]):
            scores[cell["name"]] = rows[0][metric]["mean"]
    sign = -1 if goal_of_metric(metric or "") == "max" else 1
    return sorted(scores, key=lambda name: (sign * scores[name], name))


# ---------------------------------------------------------------------------------------------------------------------
# Markdown
# ---------------------------------------------------------------------------------------------------------------------


def show_table(title: str, found: Mapping[str, Any]) -> str:
    """`table.md`: what `summarise` returns, for people."""
    splits = {}
    for cell in found["cells"]:
        for split, row in cell["summary"].get("scores", {}).items():
            splits.setdefault(split, row["purpose"])
    shown = [split for split, purpose in splits.items() if purpose == "final"] or list(splits)
    columns = list(itertools.product(shown, found["report"]))
    chosen = [split for split, purpose in splits.items() if purpose == "tuning" and split not in shown]
    head, compared = ["cell", "seeds"], found["reference"] if any("differences" in c for c in found["cells"]) else None
    intervals = {column for column in columns if any("interval" in score_of(cell, *column) for cell in found["cells"])}
    for split, metric in columns:
        head += [f"{split} {metric.replace('_', ' ')}", *["95 % interval"] * ((split, metric) in intervals)]
    head += [f"minus {compared}: {split} {metric.replace('_', ' ')}" for split, metric in columns if compared]
    head += [f"chosen by: {split} {found['metric']}" for split in chosen]
    head += ["parameters", "trained", "minutes", "ms a step", "ms an example", "memory"]
    is_counted = any("operations" in cell["summary"] for cell in found["cells"])
    costs = [
        name
        for name, (group, key, _) in COUNTED_COLUMNS.items()
        if any(key in cell["summary"].get(group, {}) for cell in found["cells"])
    ]
    head += costs
    head += ["G multiply-adds", "without attention products"] if is_counted else []
    head += [f"published: {title}" for title in found["published"]]
    is_clear = is_best_beyond_spread(found)
    rows = [
        _show_cell(cell, columns, intervals, chosen, found, costs, is_counted, is_clear) for cell in found["cells"]
    ]
    for kind, by_split in found["baselines"].items():
        levels = [_show_range(metric, by_split.get(split, {}).get(metric)) for split, metric in columns]
        scores = [
            cell
            for column, level in zip(columns, levels, strict=True)
            for cell in (level, *[""] * (column in intervals))
        ]
        row = [f"*{describe_baseline(kind)}*", "", *scores]
        rows.append([*row, *[""] * (len(head) - len(row))])
    table = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    notes = NOTES + (COMPARED if compared else "") + (COUNTED if costs else "") + (OPERATIONS if is_counted else "")
    lines = [f"# {title}", "", *(f"| {' | '.join(map(printable, row))} |" for row in table), "", notes]
    missing = [
        f"- {cell['name']}, seed {run['seed']}: {printable(run['state'])}"
        for cell in found["cells"]
        for run in cell["runs"]
        if "state" in run
    ]
    return "\n".join([*lines, *(["", "Not finished:", "", *missing] if missing else []), ""])


def score_of(cell: Mapping[str, Any], split: str, name: str) -> Mapping[str, Any]:
    """Mean, deviation and interval of a cell's score; empty where there is none."""
    return cell["summary"].get("scores", {}).get(split, {}).get(name, {})


def _show_cell(
    cell: Mapping[str, Any],
    columns: Sequence[tuple[str, str]],
    intervals: Collection[tuple[str, str]],
    chosen: Sequence[str],
    found: Mapping[str, Any],
    costs: Sequence[str],
    is_counted: bool,
    is_clear: bool,
) -> list[str]:
    summary, metric = cell["summary"], found["metric"]
    row = [f"**{cell['name']}**" if is_clear and cell["name"] in found["ranking"][:1] else cell["name"]]
    row.append(f"{sum('scores' in run for run in cell['runs'])} of {len(cell['runs'])}")
    for split, name in columns:
        score = score_of(cell, split, name)
        row.append(_show_mean(name, score))
        if (split, name) in intervals:
            row.append(" to ".join(show_score(name, end) for end in score.get("interval", ())))
    if any("differences" in other for other in found["cells"]):
        row += [_show_difference(cell, found, split, name) for split, name in columns]
    row += [_show_mean(metric, summary.get("scores", {}).get(split, {}).get(metric, {})) for split in chosen]
    row += [f"{summary[name]:,}" if name in summary else "" for name in ("parameters", "trainable_parameters")]
    row += [f"{summary[name]:.2f}" if name in summary else "" for name in ("minutes", "ms_per_step", "ms_per_example")]
    row.append(f"{summary['peak_memory'] / 1e9:.2f} GB" if "peak_memory" in summary else "")
    row += [_show_counted(summary, *COUNTED_COLUMNS[name]) for name in costs]
    if is_counted:
        row += _show_operations(summary)
    return [*row, *(str(column.get(cell["name"], "")) for column in found["published"].values())]


def _show_counted(summary: Mapping[str, Any], group: str, key: str, unit: float) -> str:
    if not summary:
        return ""
    value = summary.get(group, {}).get(key)
    return "not counted" if value is None else f"{value / unit:,.4g}" if value < 1e4 * unit else f"{value / unit:,.0f}"


def _show_operations(summary: Mapping[str, Any]) -> list[str]:
    if not summary:
        return ["", ""]
    view = summary.get("operations", {}).get("view")
    if view is None:
        return ["not counted", "not counted"]
    times = f"{view['per_video']} x " if view["per_video"] > 1 else ""
    return [times + show_giga(view[name]) for name in ("whole", "without_attention")]


def _show_mean(name: str, score: Mapping[str, Any]) -> str:
    if not score:
        return ""
    return show_score(name, score["mean"]) + (f" ± {show_score(name, score['std'])}" if "std" in score else "")


def _show_difference(cell: Mapping[str, Any], found: Mapping[str, Any], split: str, name: str) -> str:
    if cell["name"] == found["reference"]:
        return "reference"
    difference = cell.get("differences", {}).get(split, {}).get(name)
    if difference is None:
        return ""
    reference = next(other for other in found["cells"] if other["name"] == found["reference"])
    stds = [each["summary"]["scores"][split].get(name, {}).get("std", 0.0) for each in (cell, reference)]
    ends = difference.get("interval")
    is_unclear = ends is None or ends[0] <= 0 <= ends[1] or abs(difference["mean"]) <= max(stds)
    shown = f"{'+' if difference['mean'] >= 0 else ''}{show_score(name, difference['mean'])}"
    shown += f" [{' to '.join(show_score(name, end) for end in ends)}]" if ends else ""
    return shown + (" (?)" if is_unclear else "")


def is_best_beyond_spread(found: Mapping[str, Any]) -> bool:
    """Whether the best cell is better than the second by more than the deviation over seeds of either; also of a single cell."""
    if len(found["ranking"]) < 2:
        return True
    scores = []
    for name in found["ranking"][:2]:
        summary = next(cell["summary"] for cell in found["cells"] if cell["name"] == name)
        scores.append(next(row[found["metric"]] for row in summary["scores"].values() if row["purpose"] == "tuning"))
    return abs(scores[0]["mean"] - scores[1]["mean"]) > max(score.get("std", 0.0) for score in scores)


def _show_range(name: str, ends: Sequence[float] | None) -> str:
    return " to ".join(dict.fromkeys(show_score(name, end) for end in ends or ()))


__all__ = ["RowsOfSplit", "compare_with_reference", "rank_cells", "show_table", "summarise"]
