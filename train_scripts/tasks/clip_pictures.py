# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures of clips: the score with each number of them, and what each clip of a video says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipbert.train_scripts.engine.pictures import new_figure, save_figure, shorten


LINES = (("o", "-"), ("s", "--"), ("^", ":"))  # marker and line of each pooling
SHIFT = 0.03  # of the number of clips, so that error bars stand side by side


def draw_counts(result: Mapping[str, Any], path: Path) -> Path:
    """
    The score with each number of clips, one line for each pooling, with intervals, the spread over draws, and the knee of the first.

    Args:
        result (`Mapping`): What `clips_needed.json` holds.
        path (`Path`): The picture.
    """
    curves = result["curves"]
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    for number, (curve, (marker, line)) in enumerate(zip(curves, LINES, strict=False)):
        rows, shift = curve["rows"], (1 + SHIFT) ** (number - (len(curves) - 1) / 2)
        places, scores = [row["num_clips"] * shift for row in rows], [row["score"] for row in rows]
        style = {"color": f"C{number}", "marker": marker, "linestyle": line}
        axes.plot(places, scores, **style, markersize=5, label=f"pooled by {curve['pooling']}")
        for place, row in zip(places, rows, strict=True):
            if row["interval"]:
                axes.plot([place, place], row["interval"], color=f"C{number}", linewidth=1)
    first = curves[0]
    drawn = [row for row in first["rows"] if row["draws"]]
    if drawn:
        low, high = ([row["draws"]["mean"] + side * row["draws"]["std"] for row in drawn] for side in (-1, 1))
        counts = [row["num_clips"] for row in drawn]
        axes.fill_between(
            counts,
            low,
            high,
            color="0.6",
            alpha=0.35,
            linewidth=0,
            label=f"random clips, {first['pooling']}: mean ± std",
        )
    if first["num_videos"] > 1 and not first["is_flat"]:
        axes.axvline(first["knee"], color="k", linestyle="-.", linewidth=1, label=f"knee: {first['knee']} clips")
    counts = [row["num_clips"] for row in first["rows"]]
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, list(map(str, counts)))
    axes.minorticks_off()
    axes.set_xlabel("clips of a video")
    axes.set_ylabel(first["metric"].replace("_", " "), parse_math=False)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    flat = " (flat within its spread)" if first["is_flat"] else ""
    figure.suptitle(
        f"{shorten(result['checkpoint'], 50)}, {shorten(result['split'], 20)}{flat}", fontsize=10, parse_math=False
    )
    return save_figure(figure, path)


__all__ = ["draw_counts"]
