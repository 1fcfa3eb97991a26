# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures of runs and grids, from the files that they have left behind.

Run:     python train_scripts/plots.py outputs/RUN [outputs/GRID ...]

FOLDER/pictures/curves.png                       loss, scores and learning rate, with the chosen checkpoint
FOLDER/pictures/SPLIT_confusions.png             of classification: what is taken for what, in counts
FOLDER/pictures/SPLIT_classes.png                the accuracy of each class with its 95 % interval
FOLDER/pictures/SPLIT_keyframe_N.png             of action detection: boxes with what is said of them
FOLDER/pictures/SPLIT_moments.png                of moment retrieval: the best and the worst answers along their videos
FOLDER/pictures/SPLIT_clips.png                  of retrieval and questions with several clips: what each clip of a video says
FOLDER/pictures/SPLIT_groups.png                 scores of rows that are grouped by a number
FOLDER/pictures/cells.png, cell_curves.png       of a grid: the scores of all cells, and the curves of all runs
FOLDER/pictures/cost.png, groups.png             of a grid: score against cost, and of rows that are grouped by a number
FOLDER/pictures/clips.png                        of a grid whose runs were asked how many clips they need (clips_needed.py --grid)
FOLDER/pictures/clips_needed.png                 of clips_needed.py: the score with each number of clips

They need matplotlib: `pip install "clipbert[plots]"`.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.grid_pictures import draw_groups, draw_score_against_cost, group_of
from clipbert.train_scripts.engine.pictures import PicturesError, draw_cell_curves, draw_cells, draw_curves
from clipbert.train_scripts.engine.predictions import RECORDS, read_predictions
from clipbert.train_scripts.engine.report import results_of
from clipbert.train_scripts.engine.run_files import read_run
from clipbert.train_scripts.tasks.action_detection.pictures import draw_detections
from clipbert.train_scripts.tasks.classification.measures import CLASSES
from clipbert.train_scripts.tasks.classification.pictures import draw_class_accuracy, draw_confusions
from clipbert.train_scripts.tasks.clip_pictures import draw_clip_strips, draw_clips, draw_counts
from clipbert.train_scripts.tasks.moment_retrieval.pictures import draw_sheet


def draw_run(folder: Path) -> Iterator[Path]:
    """
    Draw what the files of a run, or the table of a grid, can show.

    Args:
        folder (`Path`): `run.output_dir` of a run, or `output_dir` of a grid.

    Returns:
        The pictures, as they are written.

    Raises:
        FileNotFoundError: If the folder holds neither.
    """
    pictures = folder / "pictures"
    if (folder / "table.json").is_file():
        found = json.loads((folder / "table.json").read_text(encoding="utf-8"))
        yield draw_cells(found, pictures / "cells.png")
        yield draw_cell_curves(found, pictures / "cell_curves.png")
        by_cell = {cell["name"]: list(final_metrics(cell["runs"])) for cell in found["cells"]}
        more = [draw_score_against_cost(found, pictures / "cost.png")]
        more.append(draw_groups(by_cell, found["report"][0], pictures / "groups.png"))
        if (folder / "clips.json").is_file():
            clips = json.loads((folder / "clips.json").read_text(encoding="utf-8"))
            more.append(draw_clips(clips, pictures / "clips.png"))
        yield from filter(None, more)
        return
    if (folder / "clips_needed.json").is_file():
        yield draw_counts(
            json.loads((folder / "clips_needed.json").read_text(encoding="utf-8")), pictures / "clips_needed.png"
        )
        return
    run = read_run(folder)
    if run.steps:
        yield draw_curves(run, pictures / "curves.png")
    for path in sorted(folder.glob(f"predictions/*/{CLASSES}")):
        split, found = path.parent.name, json.loads(path.read_text(encoding="utf-8"))
        if "confusions" in found:
            counts, names = np.array(found["confusions"]), [row["name"] for row in found["classes"]]
            title = f"{folder}, {split}"
            yield draw_confusions(counts, names, pictures / f"{split}_confusions.png", title)
            yield draw_class_accuracy(counts, names, pictures / f"{split}_classes.png", title)
    for path in sorted(folder.glob(f"predictions/*/{RECORDS}")):
        task, split = json.loads(path.read_text(encoding="utf-8")).get("task"), path.parent.name
        if task == "action_detection":
            yield from draw_detections(read_predictions(path.parent), pictures, split)
        if task == "moment_retrieval":
            rows = read_predictions(path.parent).rows
            sheet = draw_sheet(rows, pictures / f"{split}_moments.png", f"{folder}, {split}")
            yield from filter(None, [sheet])
        if task in ("retrieval", "question_answering"):
            strips = draw_clip_strips(
                read_predictions(path.parent), pictures / f"{split}_clips.png", f"{folder}, {split}"
            )
            yield from filter(None, [strips])
    for split, row in run.results.get("splits", {}).items():
        metrics = row["metrics"]
        grouped = [name for name in results_of(metrics) if any(group_of(other, name) for other in metrics)]
        for name in grouped[:1]:
            yield from filter(None, [draw_groups({str(folder): [metrics]}, name, pictures / f"{split}_groups.png")])


def final_metrics(runs: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, float]]:
    """The metrics of finished runs of a cell: of the final split, else of the first."""
    for run in runs:
        rows = list(run.get("scores", {}).values())
        row = next((row for row in rows if row["purpose"] == "final"), next(iter(rows), None))
        if row is not None:
            yield row.get("metrics", {})


def main(arguments: Sequence[str] | None = None) -> list[Path]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of a run, or of a grid")
    given = parser.parse_args(arguments)
    written = []
    for folder in given.folders:
        drawn = list(draw_run(folder))
        lines = list(map(str, drawn)) or [f"{folder}: there is no training step to draw, and there are no classes"]
        print("\n".join(map(printable, lines)))
        written += drawn
    return written


if __name__ == "__main__":
    try:
        main()
    except (PicturesError, FileNotFoundError) as error:
        sys.exit(printable(str(error)))
