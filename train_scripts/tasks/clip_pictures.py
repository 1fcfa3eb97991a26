# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures of clips: the score with each number of them, and what each clip of a video says."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipbert.support.terminal import show_seconds
from clipbert.train_scripts.engine.grid_pictures import add_legend, new_panels, set_scale, style_of
from clipbert.train_scripts.engine.groups import split_group
from clipbert.train_scripts.engine.pictures import new_figure, save_figure, shorten
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.tasks.clip_counts import show_clips
from clipbert.train_scripts.tasks.moment_retrieval.showing import read_pictures
from clipbert.train_scripts.tasks.pooling import log_odds, pool_clips
from clipbert.train_scripts.tasks.question_answering.modes import texts_of_questions


LINES = (("o", "-"), ("s", "--"), ("^", ":"))  # marker and line of each pooling
CELL, BARS = 0.95, 0.6  # inches: width of a clip, height of what is said of it
MOST_CLIPS, MOST_STRIPS = 16, 6
COUNTED, FRAMES = "G multiply-adds", "frames"
BROKEN = {"linestyle": ":", "markerfacecolor": "none", "label": None}
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
        axes.axvline(
            first["knee"],
            color="0.4",
            linestyle="-.",
            linewidth=1,
            label=f"knee: {show_clips(first['knee'])}",
            zorder=0,
        )
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


def draw_clips(found: Mapping[str, Any], path: Path) -> Path:
    """
    Score against cost: a line for each way of training through the numbers of clips at test time, evenly spread (whole) and drawn at random
    (broken); a panel for all rows and for each group of them, error bars of the standard deviation over seeds.

    Args:
        found (`Mapping`): What `clips.json` holds.
        path (`Path`): The picture.
    """
    cells, metrics = found["cells"], found["metrics"]
    figure, axes = new_panels(len(metrics), len(cells))
    for panel, metric in zip(axes, metrics, strict=True):
        costs_of_panel = []
        for number, cell in enumerate(cells):
            rows = cell["curves"][0]["rows"]
            costs = [cost_of_row(row) for row in rows]
            costs_of_panel += costs
            style = {**style_of(number), "linestyle": "-"}
            for taken, more in (("uniform", {"label": shorten(cell["name"], 40)}), ("random", BROKEN)):
                shown = [
                    (cost, row[taken][metric])
                    for cost, row in zip(costs, rows, strict=True)
                    if metric in row.get(taken, {})
                ]
                if shown:
                    places, scores = zip(*shown, strict=True)
                    means, stds = [score["mean"] for score in scores], [score.get("std", 0.0) for score in scores]
                    panel.errorbar(places, means, stds if any(stds) else None, **{**style, **more}, capsize=2)
        set_scale(panel, costs_of_panel)
        panel.set_title(split_group(metric)[1].replace("-", " ") or "all", fontsize=9, parse_math=False)
    figure.supylabel(found["metric"].replace("_", " "), fontsize=9, parse_math=False)
    is_counted = all("video_operations" in row["cost"] for cell in cells for row in cell["curves"][0]["rows"])
    figure.supxlabel(
        f"{COUNTED if is_counted else FRAMES} of a video; whole: evenly spread clips, broken: drawn at random",
        fontsize=9,
    )
    add_legend(figure, axes[0], len(cells))
    return save_figure(figure, path)


def cost_of_row(row: Mapping[str, Any]) -> float:
    """Multiply-adds of a video and of a text with it, in billions; where they were not counted, its frames."""
    cost = row["cost"]
    if "video_operations" in cost:
        return (cost["video_operations"] + cost.get("pair_operations", 0.0)) / 1e9
    return cost["frames"]


# ---------------------------------------------------------------------------------------------------------------------
# What each clip says
# ---------------------------------------------------------------------------------------------------------------------


def draw_clip_strips(predictions: Predictions, path: Path, title: str = "", most: int = MOST_STRIPS) -> Path | None:
    """
    A few texts with the clips of their videos: a picture of each clip, when it is shown, and what it says; the one that says most is dark.

    Args:
        predictions (`Predictions`): Of retrieval or questions, with the scores of clips; `info["videos"]` tells where the files lie.
        path (`Path`): The picture.
        title (`str`, *optional*): Its heading.
        most (`int`, *optional*, defaults to 6): Texts, evenly spread over the split.

    Returns:
        `Path`: The picture; `None` where there are no scores of several clips, or no files.
    """
    strips = list(find_strips(predictions, most))
    if not strips:
        return None
    widest = max(len(strip["scores"]) for strip in strips)
    figure = new_figure(1.2 + CELL * max(widest, 5), 0.5 + len(strips) * (CELL * 0.75 + BARS + 0.75))
    panels = figure.subplots(2 * len(strips), 1, height_ratios=[CELL * 0.75, BARS] * len(strips), squeeze=False)[:, 0]
    for pictures, bars, strip in zip(panels[::2], panels[1::2], strips, strict=True):
        _draw_strip(pictures, bars, strip, widest)
    legend = "dark: the clip that says most; dashed: all clips together"
    figure.suptitle("\n".join(filter(None, (shorten(title, 60), legend))), fontsize=9, parse_math=False)
    return save_figure(figure, path)


def find_strips(predictions: Predictions, most: int) -> Iterator[dict[str, Any]]:
    """
    Of each row that can be shown: `video`, `heading`, `scores` `(clips,)` and `pooled`, what they are pooled to, `label` (what is scored), and
    `spans` `(clips, 2)`, first and last second of each clip.
    """
    logits, times = (predictions.tensors.get(name) for name in ("clip_logits", "frame_seconds"))
    if logits is None or times is None or times.ndim != 3 or "videos" not in predictions.info:
        return
    columns = {video_id: number for number, video_id in enumerate(predictions.info["video_ids"])}
    owners = [columns[row["video_id"]] for row in predictions.rows]
    files = [path is not None and Path(path).is_file() for path in predictions.info["videos"]]
    shown = [n for n, owner in enumerate(owners) if files[owner] and np.isfinite(times[owner]).all(axis=-1).sum() > 1]
    places = np.unique(np.linspace(0, len(shown) - 1, min(most, len(shown))).round().astype(int))
    firsts = np.cumsum([0, *texts_of_questions(predictions.rows)])
    pooling = predictions.info["score_pooling"] or "mean"
    for number in (shown[place] for place in places):
        row, owner = predictions.rows[number], owners[number]
        own = logits[number, owner][None] if logits.ndim == 4 else logits[firsts[number] : firsts[number + 1]]
        exists = np.isfinite(own[0, :, 0]) & np.isfinite(times[owner]).all(axis=-1)
        own = torch.from_numpy(own[:, exists])  # (texts, clips, labels)
        if own.shape[1] > 1:
            scores, label, heading = read_clips(predictions, row, own)
            pooled, _, _ = read_clips(predictions, row, pool_clips(own, pooling)[:, None])
            spans = times[owner][exists][:, [0, -1]]
            strip = {"video": predictions.info["videos"][owner], "spans": spans, "label": label, "heading": heading}
            yield {**strip, "scores": scores, "pooled": float(pooled[0])}


def read_clips(predictions: Predictions, row: Mapping[str, Any], logits: torch.Tensor) -> tuple[np.ndarray, str, str]:
    """What clips `(texts, clips, labels)` say of the right answer, or of the given one, `(clips,)`; what that is, and a heading."""
    if predictions.task == "retrieval":
        return log_odds(logits)[0].numpy(), "log-odds", f'"{row["caption"]}"'
    answer = row["prediction"] if row["gold"] is None or isinstance(row["gold"], dict) else row["gold"]
    mode, heading = predictions.info["answer"], f'"{row["question"]}"'
    if mode == "count":
        return logits[0, :, 0].numpy(), "count", f"{heading} {answer}"
    if "options" in row:
        odds = log_odds(logits) if mode == "retrieval" else logits[..., 0]  # (options, clips)
        return odds.softmax(dim=0)[answer].numpy(), "probability", f"{heading} {row['options'][answer]}"
    answers = predictions.info["answers"]
    answer = answer if answer in answers else row["prediction"]
    return logits[0].softmax(dim=-1)[:, answers.index(answer)].numpy(), "probability", f"{heading} {answer}"


def _draw_strip(pictures: Any, bars: Any, strip: Mapping[str, Any], widest: int) -> None:
    """One text: pictures of its clips, bars below; of very many clips every few are shown."""
    scores, spans = strip["scores"], strip["spans"]
    shown = np.unique(np.linspace(0, len(scores) - 1, min(len(scores), MOST_CLIPS)).round().astype(int))
    best = int(scores[shown].argmax())
    for place, picture in enumerate(read_pictures(strip["video"], spans[shown].mean(axis=1), height=108)):
        pictures.imshow(picture, extent=(place + 0.05, place + 0.95, 0.06, 0.94), aspect="auto")
    left, right = best + 0.01, best + 0.99  # around the picture, which may be dark itself
    pictures.plot([left, right, right, left, left], [0, 0, 1, 1, 0], color="k", linewidth=2, clip_on=False)
    colours = ["0.15" if place == best else "0.7" for place in range(len(shown))]
    bars.bar(np.arange(len(shown)) + 0.5, scores[shown], 0.8, color=colours, edgecolor="0.15", linewidth=0.6)
    bars.hlines(0, 0, len(shown), colors="k", linewidth=0.6)
    bars.hlines(strip["pooled"], 0, len(shown), colors="k", linestyles="--", linewidth=0.8)
    widest = min(max(widest, 5), MOST_CLIPS)
    for axes in (pictures, bars):
        axes.set_xlim(0, widest)
        for side in ("top", "right", "bottom", "left"):
            axes.spines[side].set_visible(axes is bars and side == "left")
    pictures.set(ylim=(0, 1), xticks=[], yticks=[])
    pictures.set_title(shorten(strip["heading"], 12 * widest), fontsize=9, loc="left", parse_math=False)
    bars.set_xticks(np.arange(len(shown)) + 0.5, [show_seconds(spans[n].mean()) for n in shown], fontsize=7)
    bars.tick_params(axis="x", length=0)
    bars.tick_params(axis="y", labelsize=7)
    bars.set_ylabel(strip["label"], fontsize=7)


__all__ = ["draw_clip_strips", "draw_counts"]
