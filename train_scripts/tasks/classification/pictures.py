# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures of classification: what is taken for what, how well each class is known, and the labels along a long video."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipbert.metrics.classification.classification import wilson_interval
from clipbert.train_scripts.engine.pictures import mark_time, new_figure, save_figure, shorten


MOST_COUNTED = 150  # classes whose confusions are written as numbers


def draw_confusions(counts: np.ndarray, names: Sequence[str], path: Path, title: str = "") -> Path:
    """
    The confusion matrix: colours are shares of a row, numbers are counts (of more than 150 classes, colours alone).

    Args:
        counts (`np.ndarray` of shape `(classes, classes)`): How often a class was taken for which: right classes down,
            predicted ones across.
        names (`Sequence[str]`): The classes.
        path (`Path`): The picture.
        title (`str`, *optional*): Its heading.
    """
    has_counts, small = len(names) <= MOST_COUNTED, len(names) > 12
    cell = 0.2 if has_counts else 0.12  # inches, for three digits or a line of the class names
    side = max(5.0, 3.0 + cell * len(names))
    size = (7 if small else 9) if has_counts else 6
    figure = new_figure(side, side)
    if not has_counts:
        figure.set_dpi(100)  # some 5,000 pixels a side at 400 classes
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for gold, predicted in np.argwhere(counts) if has_counts else ():
        colour = "white" if shares[gold, predicted] > 0.5 else "black"
        axes.text(
            predicted,
            gold,
            f"{counts[gold, predicted]}",
            ha="center",
            va="center",
            color=colour,
            fontsize=6 if small else 10,
        )
    labels, places = [shorten(name) for name in names], range(len(names))
    axes.set_xticks(places, labels, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(places, labels, fontsize=size, parse_math=False)
    axes.set_xticks(np.arange(-0.5, len(names)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(names)), minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.set(xlabel="predicted", ylabel="right")
    axes.set_title(title, parse_math=False)
    return save_figure(figure, path)


def draw_class_accuracy(counts: np.ndarray, names: Sequence[str], path: Path, title: str = "") -> Path:
    """
    Accuracy of each class that occurs, best first, with its 95 % interval (Wilson) and the number of its examples.

    Args:
        counts, names, path, title: See [`draw_confusions`].
    """
    total, hits = counts.sum(axis=1), counts.diagonal()
    shown = sorted(np.flatnonzero(total), key=lambda label: (-hits[label] / total[label], names[label]))
    figure = new_figure(8, 1.5 + 0.2 * len(shown))
    axes = figure.subplots()
    accuracy = np.array([hits[label] / total[label] for label in shown])
    ends = np.array([wilson_interval(int(hits[label]), int(total[label])) for label in shown]).reshape(-1, 2)
    places = np.arange(len(shown))
    axes.barh(places, accuracy, color="C0", alpha=0.5)
    axes.hlines(places, ends[:, 0], ends[:, 1], color="k", linewidth=1)
    for place, label in enumerate(shown):
        axes.text(1.02, place, f"{hits[label]:,} of {total[label]:,}", va="center", fontsize=7)
    mean = hits.sum() / max(total.sum(), 1)
    axes.axvline(mean, color="C3", linestyle="--", linewidth=1, label=f"all {total.sum():,} together: {mean:.1%}")
    axes.set_yticks(places, [shorten(names[label]) for label in shown], fontsize=7, parse_math=False)
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.4, -0.6), xlabel="accuracy")
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.suptitle(title, parse_math=False)
    return save_figure(figure, path)


def draw_timeline(windows: Sequence[Mapping[str, Any]], path: Path, title: str = "") -> Path:
    """
    The label of each window of a long video along its time, the darker the surer.

    Args:
        windows (`Sequence[Mapping]`): Each with `start_s`, `end_s`, `label` (a name) and `score` (a probability).
        path (`Path`): The picture.
        title (`str`, *optional*): Its heading, such as the name of the video.
    """
    names = list(dict.fromkeys(window["label"] for window in windows))  # as they appear
    figure = new_figure(10, 1.5 + 0.3 * len(names))
    axes = figure.subplots()
    for place, name in enumerate(names):
        of_name = [window for window in windows if window["label"] == name]
        bars = [(window["start_s"], window["end_s"] - window["start_s"]) for window in of_name]
        colours = [(0.12, 0.47, 0.71, 0.15 + 0.85 * window["score"]) for window in of_name]
        axes.broken_barh(bars, (place - 0.4, 0.8), facecolors=colours)
    axes.set_yticks(range(len(names)), [shorten(name) for name in names], fontsize=8, parse_math=False)
    end = max(window["end_s"] for window in windows)
    axes.set(ylim=(len(names) - 0.5, -0.5), xlabel="time (minutes:seconds); the darker, the surer")
    mark_time(axes, 0, end)
    axes.grid(alpha=0.3)
    axes.set_title(title, parse_math=False)
    return save_figure(figure, path)


__all__ = ["draw_class_accuracy", "draw_confusions", "draw_timeline"]
