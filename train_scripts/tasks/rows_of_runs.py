# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a finished run says of each row of a split, for comparisons of runs that have seen the same rows."""

import functools
import importlib
from pathlib import Path

import numpy as np

from clipbert.train_scripts.engine.cell_table import RowsOfSplit
from clipbert.train_scripts.engine.cells import CellRun
from clipbert.train_scripts.engine.groups import split_group
from clipbert.train_scripts.engine.predictions import RECORDS, Predictions, read_predictions
from clipbert.train_scripts.tasks.groups import find_groups


def values_of_rows(predictions: Predictions, metric: str) -> np.ndarray | None:
    """
    What each row adds to a metric, or to that of a group, that is a mean over rows.

    Args:
        predictions (`Predictions`): Of retrieval or of questions.
        metric (`str`): Such as `text_to_video_R@1` or, with `eval.group_by: [evidence]`, `text_to_video_R@1_evidence=half`.

    Returns:
        `np.ndarray` of shape `(rows,)`: NaN where a row adds nothing, because its video could not be decoded or it is of another
        group; `None` if the metric is no mean over rows, or the task cannot say.
    """
    task = importlib.import_module(f"{__package__}.{predictions.task}")
    name, group = split_group(metric)
    try:
        values = task.values_of_rows(predictions, name)
    except (AttributeError, ValueError):
        return None
    if not group:
        return values
    members = find_groups(predictions.rows, predictions.info.get("group_by") or ()).get(group)
    if members is None:
        return None
    return np.where(np.isin(np.arange(len(values)), members), values, np.nan)


def rows_of_run(run: CellRun, split: str, metric: str) -> RowsOfSplit | None:
    """The same of the predictions that a run has left behind; `None` too where there are none."""
    folder = Path(run.folder, "predictions", split)
    try:
        written = (folder / RECORDS).stat().st_mtime_ns
    except OSError:
        return None
    return _read_rows(folder, written, metric)


@functools.cache
def _read_rows(folder: Path, written: int, metric: str) -> RowsOfSplit | None:
    """A grid asks again after each of its runs; `written` tells files that have changed."""
    predictions = read_predictions(folder)
    values = values_of_rows(predictions, metric)
    return None if values is None else RowsOfSplit(values, [row["video_id"] for row in predictions.rows])


__all__ = ["rows_of_run", "values_of_rows"]
