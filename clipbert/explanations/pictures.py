# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""An explanation as a picture: frames with what their places add, words, clips, and the deletion that checks it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipbert.explanations.attribution import Explanation
from clipbert.support.terminal import show_seconds
from clipbert.train_scripts.engine.pictures import new_figure, save_figure, shorten


MOST_FRAMES, MOST_BARS = 8, 20
SIDE, BAR = 1.5, 0.22  # inches: of a frame, of a bar
FOR, AGAINST = "#b35806", "#542788"  # told apart by the colour-blind, and as dark or light in grey


def draw(found: Explanation, path: Path, title: str = "") -> Path:
    """
    Draw an explanation.

    Args:
        found ([`Explanation`]): What a score rests on.
        path (`Path`): The picture, PNG or SVG; the same explanation gives the same bytes.
        title (`str`, *optional*): Its heading.
    """
    frames = strongest_frames(found)
    bars = {"words": words_of(found), "clips": clips_of(found)}
    bars = {name: rows for name, rows in bars.items() if rows}
    curves = list(found.deletion)
    width = max(SIDE * len(frames) + 0.6, 7.0)
    heights = [SIDE + 0.35, *([BAR * max(map(len, bars.values())) + 0.7] if bars else []), 2.2]
    figure = new_figure(width, sum(heights) + 0.6)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_frames(parts[0], found, frames)
    if bars:
        for axes, (name, rows) in zip(parts[1].subplots(1, len(bars), squeeze=False)[0], bars.items(), strict=True):
            _draw_bars(axes, name, rows)
    for axes, name in zip(parts[-1].subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        _draw_deletion(axes, found, name)
    said = f"{shorten(found.label, 60)}: {found.kind} {found.score:.2f}, of clips in one colour {found.baseline_score:.2f}"
    figure.suptitle("\n".join(filter(None, (shorten(title, 80), said))), fontsize=9, parse_math=False)
    return save_figure(figure, path)


def strongest_frames(found: Explanation) -> list[int]:
    """Those that add most, in order of time."""
    return sorted(np.argsort(-found.frame_scores, kind="stable")[:MOST_FRAMES].tolist())


def words_of(found: Explanation) -> list[tuple[str, float]]:
    rows = zip(found.words, found.word_scores.tolist(), strict=True)
    return [(shorten(word, 20), score) for word, score in rows if math.isfinite(score)][:MOST_BARS]


def clips_of(found: Explanation) -> list[tuple[str, float]]:
    rows = []
    for number, clip in enumerate(found.clips[:MOST_BARS]):
        span = None if clip["start_s"] is None else f"{show_seconds(clip['start_s'])} to {show_seconds(clip['end_s'])}"
        rows.append((span or f"clip {number + 1}", clip["adds"]))
    return rows


def _draw_frames(figure: Any, found: Explanation, frames: list[int]) -> None:
    """Each frame in grey under what its cells add."""
    most = max(float(np.abs(found.places).max()), 1e-12)
    for axes, number in zip(figure.subplots(1, len(frames), squeeze=False)[0], frames, strict=True):
        picture = found.frames[number]
        axes.imshow(picture.mean(axis=-1), cmap="gray", vmin=0, vmax=1)
        extent = (-0.5, picture.shape[1] - 0.5, picture.shape[0] - 0.5, -0.5)
        share = found.places[number] / most
        axes.imshow(share, cmap="PuOr_r", vmin=-1, vmax=1, alpha=np.abs(share) ** 0.5 * 0.8, extent=extent)
        row, column = np.unravel_index(int(found.places[number].argmax()), found.places[number].shape)
        height, width = (size / cells for size, cells in zip(picture.shape[:2], found.places.shape[1:], strict=True))
        axes.plot(
            (column + 0.5) * width - 0.5, (row + 0.5) * height - 0.5, "+", color="k", markersize=9, markeredgewidth=2.5
        )
        axes.plot(
            (column + 0.5) * width - 0.5, (row + 0.5) * height - 0.5, "+", color="w", markersize=8, markeredgewidth=1
        )
        second = found.seconds[number]
        when = show_seconds(float(second)) if math.isfinite(second) else f"frame {number + 1}"
        axes.set_title(f"{when}: {found.frame_scores[number]:+.2f}", fontsize=8)
        axes.set_axis_off()


def _draw_bars(axes: Any, name: str, rows: list[tuple[str, float]]) -> None:
    labels, values = zip(*rows, strict=True)
    for place, value in enumerate(values):
        axes.barh(
            place,
            value,
            color=FOR if value >= 0 else AGAINST,
            hatch=None if value >= 0 else "///",
            edgecolor="k",
            linewidth=0.5,
        )
    axes.axvline(0, color="k", linewidth=0.8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel(f"lost without, {name}", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)


def _draw_deletion(axes: Any, found: Explanation, name: str) -> None:
    curve = found.deletion[name]
    low, high = curve.random.min(axis=0), curve.random.max(axis=0)
    axes.fill_between(curve.fractions, low, high, color="0.75", linewidth=0, label="in random orders")
    axes.plot(curve.fractions, curve.random.mean(axis=0), ":", color="0.3")
    axes.plot(curve.fractions, curve.scores, "o-", color="k", markersize=3, label="strongest first")
    verdict = "faster than at random" if curve.is_faster else "no faster than at random"
    axes.set_title(f"{name} taken away: {verdict}", fontsize=8)
    axes.set_xlabel("share that is gone", fontsize=8)
    axes.set_ylabel(found.kind, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7)


def describe(found: Explanation) -> dict[str, Any]:
    """The same as numbers for JSON, without the pictures."""
    strongest = {}
    for number in strongest_frames(found):
        row, column = np.unravel_index(int(found.places[number].argmax()), found.places[number].shape)
        rows, columns = found.places[number].shape
        strongest[number] = {"x": (int(column) + 0.5) / columns, "y": (int(row) + 0.5) / rows}
    frames = [
        {
            "second": float(found.seconds[n]) if math.isfinite(found.seconds[n]) else None,
            "adds": float(found.frame_scores[n]),
        }
        for n in range(len(found.places))
    ]
    for number, place in strongest.items():
        frames[number]["strongest"] = place
    words = [
        {"word": word, "adds": score if math.isfinite(score) else None}
        for word, score in zip(found.words, found.word_scores.tolist(), strict=True)
    ]
    return {
        "label": found.label,
        "kind": found.kind,
        "score": found.score,
        "baseline_score": found.baseline_score,
        "frames": frames,
        "words": words,
        "clips": found.clips,
        "deletion": {name: _describe_deletion(curve) for name, curve in found.deletion.items()},
    }


def _describe_deletion(curve: Any) -> Mapping[str, Any]:
    areas = curve.random_areas
    low, high = (float(end) for end in np.quantile(areas, (0.025, 0.975)))
    return {
        "fractions": curve.fractions.tolist(),
        "scores": curve.scores.tolist(),
        "area": curve.area,
        "random_area": float(areas.mean()),
        "random_interval": [low, high],
        "is_faster": curve.is_faster,
    }


__all__ = ["describe", "draw", "strongest_frames"]
