# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures of detection: a key frame with its boxes, and what the model says of each."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clipbert.metrics.detection import box_ious
from clipbert.processing import decode_video
from clipbert.processing.video_processing import frame_shown_at
from clipbert.train_scripts.engine.pictures import new_figure, save_figure, shorten
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.tasks.action_detection.measures import score_boxes


MOST_PICTURES, MOST_CLASSES = 4, 3


def draw_detections(predictions: Predictions, folder: Path, name: str) -> Iterator[Path]:
    """
    A few key frames, evenly spread over a split: each box with its best classes, marked where the person in it does that.

    Args:
        predictions (`Predictions`): Of the task.
        folder (`Path`): Of the pictures.
        name (`str`): How their names begin.

    Returns:
        The pictures, as they are written; key frames of videos that are not there any more have none.
    """
    rows, scores = predictions.rows, score_boxes(predictions)
    shown = [n for n, row in enumerate(rows) if row["boxes"] and not row["skipped"] and Path(row["video"]).is_file()]
    places = np.unique(np.linspace(0, len(shown) - 1, min(MOST_PICTURES, len(shown))).round().astype(int))
    for number in (shown[place] for place in places):
        path = folder / f"{name}_keyframe_{number}.png"
        yield _draw_keyframe(rows[number], scores[number], predictions.info["class_names"], path)


def _draw_keyframe(row: dict, scores: np.ndarray, names: list[str], path: Path) -> Path:
    frame = decode_video(row["video"], lambda facts: [frame_shown_at(facts, row["timestamp_s"])]).frames[0]
    height, width = frame.shape[:2]
    figure = new_figure(8, 1 + 8 * height / width)
    axes = figure.subplots()
    axes.imshow(frame, extent=(0, width, height, 0))
    overlaps = box_ious([box[:4] for box in row["boxes"]], row["people"])
    for number, box in enumerate(row["boxes"]):
        x1, y1, x2, y2 = np.array(box[:4]) * [width, height, width, height]
        colour = f"C{number % 10}"
        axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=colour, linewidth=2)
        does = set()
        if overlaps.shape[1] and overlaps[number].max() >= 0.5:
            does = set(row["gold"][overlaps[number].argmax()])
        best = scores[number].argsort()[::-1][:MOST_CLASSES]
        lines = [f"{shorten(names[n])} {scores[number, n]:.0%}{' (right)' if n in does else ''}" for n in best]
        style = {"boxstyle": "square,pad=0.2", "facecolor": "white", "edgecolor": colour, "alpha": 0.8}
        axes.text(x1, y1, "\n".join(lines), fontsize=8, va="top", bbox=style, parse_math=False)
    axes.set_axis_off()
    axes.set_title(shorten(row["keyframe_id"], 80), fontsize=9, parse_math=False)
    return save_figure(figure, path)


__all__ = ["draw_detections"]
