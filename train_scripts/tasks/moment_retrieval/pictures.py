# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures of moments: a sentence along its video with what the model thinks of it, and the best and worst answers of a split."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipbert.metrics.moment_retrieval import temporal_iou
from clipbert.support.terminal import show_seconds
from clipbert.train_scripts.engine.pictures import mark_time, new_figure, save_figure, shorten
from clipbert.train_scripts.tasks.moment_retrieval.showing import read_thumbnails


WIDTH, STRIP, BAR, WORD = 11.0, 0.8, 0.22, 0.2  # inches
MOST_WORDS, MOST_COLUMNS = 25, 600  # of the table of words
RIGHT, ANSWERS = "tab:green", "tab:blue"
CURVES = {"start": "tab:orange", "end": "tab:red"}


def draw_moments(found: Mapping[str, Any], path: Path, title: str = "") -> Path:
    """
    A sentence along its video: pictures, the right moment, the answers, the curves of the heads, and which words look where.

    Args:
        found (`Mapping`): `query`, `moments` (best first), and as far as there are any: `curves` of [`EncodedVideo`], `windows`
            (the right moments, `(start_s, end_s)`), and `video`, whose pictures are shown.
        path (`Path`): The picture.
        title (`str`, *optional*): Its heading, such as the name of the video.
    """
    moments, windows, curves = found["moments"], found.get("windows", ()), found.get("curves")
    start_s, end_s = _range(found)
    has_words = curves is not None and curves["word_weights"] is not None
    words = list(curves["words"])[:MOST_WORDS] if has_words else []
    heights = [] if found.get("video") is None else [STRIP] * (1 + bool(moments))
    num_strips = len(heights)
    heights.append(0.25 + BAR * (len(moments) + bool(windows)))
    heights += [1.3] if curves is not None else []
    heights += [WORD * len(words)] if words else []
    figure = new_figure(WIDTH, 1.0 + sum(heights) + 0.28 * len(heights))
    rows = list(figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    if num_strips:
        _draw_strip(rows[0], found["video"], (start_s, end_s))
    if num_strips > 1:
        best = (moments[0]["start_s"], moments[0]["end_s"])
        _draw_strip(rows[1], found["video"], best)
        rows[1].set_ylabel("first\nanswer", fontsize=8)
    _draw_spans(rows[num_strips], moments, windows, start_s, end_s)
    if curves is not None:
        _draw_curves(rows[num_strips + 1], curves)
    if words:
        _draw_words(rows[-1], curves, words)
    for axes in rows[num_strips:]:
        mark_time(axes, start_s, end_s)
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(labelsize=8)
    rows[-1].set_xlabel("time (minutes:seconds)", fontsize=8)
    heading = [f'"{shorten(found["query"], 110)}"', *([shorten(title, 110)] if title else [])]
    figure.suptitle("\n".join(heading), fontsize=10, parse_math=False)
    return save_figure(figure, path)


def draw_sheet(rows: Sequence[Mapping[str, Any]], path: Path, title: str = "", most: int = 6) -> Path | None:
    """
    The best and the worst answers of an evaluation, by how much of the right moment the first answer has.

    Args:
        rows (`Sequence[Mapping]`): Of each question `caption`, `windows` (the right moments), `moments` (best first), `duration_s`, and
            `video`; those whose videos are not there any more are left out.
        path (`Path`): The picture.
        title (`str`, *optional*): Its heading.
        most (`int`, *optional*, defaults to 6): Questions of either side.

    Returns:
        `Path`: The picture; `None` where no question can be shown.
    """
    shown = [row for row in rows if row.get("moments") and Path(row.get("video") or "?").is_file()]
    overlaps = [_overlap(row) for row in shown]
    order = np.argsort(overlaps, kind="stable")[::-1].tolist()
    most = min(most, -(-len(order) // 2))
    if not order:
        return None
    sides = {"best": order[:most], "worst": order[::-1][:most]}
    figure = new_figure(WIDTH, 0.8 + 1.75 * most)
    columns = figure.subfigures(1, 2)
    for column, (name, numbers) in zip(columns, sides.items(), strict=True):
        column.suptitle(f"{name} first answers", fontsize=10)
        panels = column.subplots(2 * most, 1, height_ratios=[0.6, 0.35] * most, squeeze=False)[:, 0]
        for strip, spans, number in zip(panels[::2], panels[1::2], numbers, strict=True):
            row = shown[number]
            _draw_strip(strip, row["video"], (0.0, row["duration_s"]), width=WIDTH / 2 - 0.6, height=0.6)
            heading = f'"{shorten(row["caption"], 62)}"   IoU {overlaps[number]:.2f}'
            strip.set_title(heading, fontsize=8, parse_math=False)
            _draw_spans(spans, row["moments"][:1], row["windows"], 0.0, row["duration_s"], has_labels=False)
            mark_time(spans, 0.0, row["duration_s"])
            spans.tick_params(labelsize=7)
    legend = "upper bar, green: right; lower, blue: first answer"
    figure.suptitle(f"{shorten(title, 80)} ({legend})" if title else legend, fontsize=10, parse_math=False)
    return save_figure(figure, path)


def _range(found: Mapping[str, Any]) -> tuple[float, float]:
    """What of a video there is to show, in seconds."""
    curves = found.get("curves")
    if curves is not None:
        return curves["start_s"][0], curves["end_s"][-1]
    spans = [(moment["start_s"], moment["end_s"]) for moment in found["moments"]]
    ends = [end for _, end in [*spans, *found.get("windows", ())]]
    return 0.0, found.get("duration_s") or max(ends, default=1.0)


def _overlap(row: Mapping[str, Any]) -> float:
    best = row["moments"][0]
    return float(temporal_iou(np.array([best["start_s"], best["end_s"]]), np.array(row["windows"])).max())


def _draw_strip(
    axes: Any, video: Any, span_se: tuple[float, float], width: float = WIDTH - 1.2, height: float = STRIP
) -> None:
    """As many pictures of a part of a video as fill a row of so many inches, each at its time, little distorted."""
    ((_, first),) = read_thumbnails(video, span_se, 1)
    count = max(round(width / (height * first.shape[1] / first.shape[0])), 1)
    start_s, end_s = span_se
    step = (end_s - start_s) / count
    for place, (_, picture) in enumerate(read_thumbnails(video, span_se, count)):
        left = start_s + place * step
        axes.imshow(picture, extent=(left, left + step, 0, 1), aspect="auto")
    axes.set(xlim=span_se, ylim=(0, 1), yticks=[])
    axes.set_xticks(span_se, [show_seconds(second) for second in span_se], fontsize=7)
    axes.tick_params(length=0)


def _draw_spans(
    axes: Any,
    moments: Sequence[Mapping[str, Any]],
    windows: Sequence[Sequence[float]],
    start_s: float,
    end_s: float,
    has_labels: bool = True,
) -> None:
    """The right moments, and below them the answers; an edge keeps those of an hour from vanishing."""
    spans = [(RIGHT, [(start, end) for start, end in windows], "right")] if windows else []
    for place, moment in enumerate(moments, start=1):
        times = [show_seconds(moment[name]) for name in ("start_s", "end_s")]
        label = f"{place}.  {' to '.join(times)}   score {moment['score']:.3g}"
        spans.append((ANSWERS, [(moment["start_s"], moment["end_s"])], label))
    for line, (colour, of_line, label) in enumerate(spans):
        bars = [(start, end - start) for start, end in of_line]
        axes.broken_barh(bars, (line - 0.35, 0.7), facecolors=colour, edgecolors=colour, linewidth=1.5, alpha=0.8)
        if has_labels:
            _label(axes, label, line, min(of_line)[0], max(end for _, end in of_line), (start_s, end_s))
    axes.set(ylim=(len(spans) - 0.4, -0.6), yticks=[])


def _label(axes: Any, text: str, line: int, start_s: float, end_s: float, range_se: tuple[float, float]) -> None:
    """A text beside a bar, where there is more room; on a bar that leaves none."""
    before, behind = start_s - range_se[0], range_se[1] - end_s
    at, offset, side, colour = (end_s, 5, "left", "black") if behind >= before else (start_s, -5, "right", "black")
    if max(before, behind) < 0.3 * (range_se[1] - range_se[0]):
        at, offset, side, colour = start_s, 5, "left", "white"
    style = {"fontsize": 7, "va": "center", "ha": side, "color": colour}
    axes.annotate(text, (at, line), (offset, 0), textcoords="offset points", **style)


def _edges(curves: Mapping[str, Any]) -> np.ndarray:
    """Borders of segments. The last window of a video may begin within a segment of the one before."""
    return np.array([*curves["start_s"], curves["end_s"][-1]])


def _draw_curves(axes: Any, curves: Mapping[str, Any]) -> None:
    """Inside as it is, start and end by their own maxima: the soft-max of an hour is small everywhere."""
    edges = _edges(curves)
    if curves["inside"] is not None:
        axes.stairs(curves["inside"], edges, fill=True, color="0.6", alpha=0.5, label="inside")
    for name, colour in CURVES.items():
        values = np.array(curves[name])
        label = f"{name} (1 is {values.max():.2g})"
        axes.stairs(values / values.max(), edges, baseline=None, color=colour, linewidth=1.2, label=label)
    axes.set(ylim=(0, 1.05), yticks=[0, 0.5, 1])
    axes.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderpad=0.2)


def _draw_words(axes: Any, curves: Mapping[str, Any], words: Sequence[str]) -> None:
    """How much each segment reads each word, of many segments the largest of neighbours."""
    weights = np.array(curves["word_weights"])[:, : len(words)]  # (segments, words)
    firsts = np.arange(0, len(weights), -(-len(weights) // MOST_COLUMNS))
    shown = np.maximum.reduceat(weights, firsts, axis=0).T
    edges = _edges(curves)[[*firsts, len(weights)]]
    axes.pcolormesh(edges, np.arange(len(words) + 1) - 0.5, shown, cmap="viridis", vmin=0)
    axes.set_yticks(range(len(words)), [shorten(word, 14) for word in words], fontsize=7, parse_math=False)
    axes.set_ylim(len(words) - 0.5, -0.5)
    axes.set_title(
        f"how much each segment reads each word (dark: 0, light: {shown.max():.2f})", fontsize=7, loc="right"
    )


__all__ = ["draw_moments", "draw_sheet"]
