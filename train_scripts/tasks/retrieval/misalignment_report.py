# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What `analyse_alignment.py` has found, in words, as files, and as a picture."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipbert.support.files import write_whole
from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.pictures import PicturesError, new_figure, save_figure, shorten
from clipbert.train_scripts.tasks.retrieval.misalignment import GROUPS


def describe(found: dict[str, Any]) -> str:
    """The analysis in words."""
    lines, names = [], found["names"]
    if "reference" in found:
        rule = f"aligned above a {found['unit']} of {found['threshold']:.4g}"
        if found["equal_error"] is not None:
            rule += (
                f", at which {found['equal_error']:.1%} of frames of other videos pass and as many of the own one fail"
            )
        printed = ", ".join(
            f"{number} {name}" for name, number in found["pairs_by_the_rule_of_the_paper"].items() if name != "all"
        )
        lines += [f"{found['reference']}, {found['num_frames']} frames a video: {rule}.",
                  f"As printed in the paper (sigmoid above 0.5) there would be {printed}."]  # fmt: skip
    else:
        lines += [f"Shares as {found['shares']} has them."]
    table = [["frames aligned", "pairs", *names]]
    for group, row in found["groups"].items():
        cells = [show(model) for model in row["models"]]
        table.append([f"{group}{GROUPS[group] and f' ({GROUPS[group]})'}", str(row["num_pairs"]), *cells])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join(map(printable, [*lines, "R@1 from text to video, with 95 % intervals."]))


def show(model: dict[str, Any] | None) -> str:
    if model is None:
        return "-"
    low, high = model["interval"]
    return f"{100 * model['R@1']:.1f} % [{100 * low:.1f} to {100 * high:.1f}]"


def draw(found: dict[str, Any], path: Path) -> Path:
    """R@1 of each group, a bar for each model."""
    figure = new_figure(8, 4)
    axes, names = figure.subplots(), found["names"]
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        models = [row["models"][place] for row in found["groups"].values()]
        shown = [(number, model) for number, model in enumerate(models) if model is not None]
        spots = [number + (place - (len(names) - 1) / 2) * width for number, _ in shown]
        values = np.array([100 * model["R@1"] for _, model in shown])
        ends = 100 * np.array([model["interval"] for _, model in shown]).reshape(-1, 2).T
        axes.bar(spots, values, width, yerr=abs(ends - values), capsize=3, label=shorten(name))
    labels = [f"{group}\n{GROUPS[group]}\n{row['num_pairs']} pairs" for group, row in found["groups"].items()]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel("text to video R@1 in %")
    axes.set_ylim(0, 100)
    axes.grid(axis="y", alpha=0.3)
    axes.set_xlabel("frames that fit the caption")
    figure.legend(fontsize=8, loc="outside upper right", ncols=len(names))
    return save_figure(figure, path)


def write(folder: Path, found: dict[str, Any], rows: Sequence[dict], shares: np.ndarray) -> None:
    """The analysis, the share of each pair, and, where matplotlib is installed, a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "alignment.json", json.dumps(found, indent=1))
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["group", "num_pairs", "model", "R@1", "low", "high"])
    for group, row in found["groups"].items():
        for name, model in zip(found["names"], row["models"], strict=True):
            cells = ["", "", ""] if model is None else [model["R@1"], *model["interval"]]
            table.writerow([group, row["num_pairs"], name, *cells])
    write_whole(folder / "alignment.csv", text.getvalue())
    keys = [{name: row[name] for name in ("caption_id", "video_id")} for row in rows]
    known = [(key, share) for key, share in zip(keys, shares.tolist(), strict=True) if not np.isnan(share)]
    write_whole(
        folder / "shares.jsonl", "".join(json.dumps({**key, "aligned_share": share}) + "\n" for key, share in known)
    )
    try:
        draw(found, folder / "alignment.png")
    except PicturesError as error:
        print(printable(f"No picture: {error}"))


__all__ = ["describe", "draw", "write"]
