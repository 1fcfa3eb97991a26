# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures of retrieval: what a score rests on (figures 9 and 10 of the Mug-STAN paper), and first hits of two models (7, 8)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipbert.processing import decode_video
from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.pictures import new_figure, save_figure, shorten
from clipbert.train_scripts.tasks.retrieval.collection import RankedVideo


FRAMES_SHOWN = 4  # of each hit
FRAME_OF_THE_RIGHT = {"color": "tab:green", "linewidth": 3}


@dataclass
class Explanation:
    """
    What a score of a sentence and a view of a video rests on.

    Args:
        frames (`np.ndarray` of shape `(frames, height, width, 3)`): As the model sees them, in [0, 1].
        seconds (`np.ndarray` of shape `(frames,)`): When they are shown; NaN where unknown.
        words (`Sequence[str]`): The tokens of the sentence.
        frame_weights (`np.ndarray` of shape `(frames,)`), word_weights (`np.ndarray` of shape `(words,)`): Sum 1.
        similarity (`np.ndarray` of shape `(words, frames)`): Cosines.
        attention (`np.ndarray` of shape `(frames, rows, columns)`, *optional*): What the class token of the branch looks at.
    """

    frames: np.ndarray
    seconds: np.ndarray
    words: Sequence[str]
    frame_weights: np.ndarray
    word_weights: np.ndarray
    similarity: np.ndarray
    attention: np.ndarray | None = None


def draw_matrix(odds: np.ndarray, owners: Sequence[int], path: Path, title: str = "", most: int = 64) -> Path:
    """
    Scores of texts and videos: each row a text, in the order of the videos that they belong to, which are marked.

    Args:
        odds (`np.ndarray` of shape `(texts, videos)`): Log-odds; NaN where nothing is known.
        owners (`Sequence[int]`): The video of each text.
        path (`Path`): The picture.
        title (`str`, *optional*): Its heading.
        most (`int`, *optional*, defaults to 64): Videos, the first ones, with their texts.
    """
    owners = np.asarray(owners)
    rows = np.flatnonzero((owners >= 0) & (owners < most))
    rows = rows[np.argsort(owners[rows], kind="stable")][: 2 * most]
    shown = odds[rows, :most]
    figure = new_figure(8, 7)
    axes = figure.subplots()
    picture = axes.imshow(shown, cmap="cividis", aspect="auto", interpolation="nearest")
    axes.plot(
        owners[rows],
        np.arange(len(rows)),
        "s",
        markerfacecolor="none",
        markeredgecolor="w",
        markersize=3,
        linewidth=0.5,
    )
    known = np.where(np.isnan(shown), -np.inf, shown)
    best = known.argmax(axis=1)
    wrong = np.flatnonzero(best != owners[rows])
    axes.plot(best[wrong], wrong, "x", color="r", markersize=4, label="best video, where it is another")
    axes.set_xlabel("videos")
    axes.set_ylabel("texts, in the order of their videos (white squares)")
    if len(wrong):
        axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    figure.colorbar(picture, label="score")
    figure.suptitle(shorten(title, 80), fontsize=10, parse_math=False)
    return save_figure(figure, path)


def draw_explanation(found: Explanation, path: Path, title: str = "") -> Path:
    """
    The frames with their weights, what the branch looks at in them, and the words with theirs beside the cosines of both.

    Args:
        found ([`Explanation`]): What to draw.
        path (`Path`): The picture.
        title (`str`, *optional*): Its heading.
    """
    num_frames, num_words = found.similarity.shape[::-1]
    has_attention = found.attention is not None
    heights = [1.0, *([1.0] if has_attention else []), 0.7, 0.25 * num_words]
    cell = min(1.2, 16 / num_frames)
    figure = new_figure(2.6 + cell * num_frames, 0.8 + cell * (1 + has_attention) + 0.8 + 0.25 * num_words)
    heights[: 1 + has_attention] = [cell] * (1 + has_attention)
    grid = figure.add_gridspec(len(heights), num_frames + 2, height_ratios=heights)
    largest = found.attention.max() if has_attention else 1.0
    for place, (frame, second) in enumerate(zip(found.frames, found.seconds, strict=True)):
        shown = [figure.add_subplot(grid[row, place]) for row in range(1 + has_attention)]
        for axes in shown:
            axes.imshow(frame)
            axes.set(xticks=[], yticks=[])
        shown[0].set_title("" if np.isnan(second) else f"{second:.1f} s", fontsize=8)
        if has_attention:
            height, width = frame.shape[:2]
            shown[1].imshow(
                found.attention[place], cmap="inferno", alpha=0.65, vmin=0, vmax=largest, extent=(0, width, height, 0)
            )
    if has_attention:
        label = figure.add_subplot(grid[1, num_frames:])
        label.text(0, 0.5, "attention of the\nbranch's class token", fontsize=8, va="center")
        label.set_axis_off()
    bars = figure.add_subplot(grid[1 + has_attention, :num_frames])
    bars.bar(range(num_frames), found.frame_weights, color="C0")
    bars.set(xlim=(-0.5, num_frames - 0.5), ylim=(0, 1.05 * found.frame_weights.max()), xticks=[])
    bars.set_ylabel("frame\nweight", fontsize=8)
    bars.tick_params(labelsize=7)
    names = [shorten(word, 20) for word in found.words]
    table = figure.add_subplot(grid[2 + has_attention, :num_frames])
    image = table.imshow(found.similarity, aspect="auto", cmap="viridis")
    table.set_yticks(range(num_words), names, fontsize=8, parse_math=False)
    table.set_xticks([])
    table.set_xlabel("cosine of word and frame", fontsize=8)
    weights = figure.add_subplot(grid[2 + has_attention, num_frames:])
    weights.barh(range(num_words), found.word_weights, color="C1")
    weights.set(ylim=(num_words - 0.5, -0.5), yticks=[])
    weights.set_xlabel("word weight", fontsize=8)
    weights.tick_params(labelsize=7)
    figure.colorbar(image, ax=weights, fraction=0.1, pad=0.05).ax.tick_params(labelsize=7)
    figure.suptitle(printable(title), fontsize=10, parse_math=False)
    return save_figure(figure, path)


def describe_explanation(found: Explanation) -> str:
    """The same weights as bars of a terminal."""

    def bar(weight: float, largest: float) -> str:
        return "█" * round(20 * weight / largest) or "▏"

    lines = ["frames"]
    for number, (second, weight) in enumerate(zip(found.seconds, found.frame_weights, strict=True)):
        name = f"frame {number + 1}" if np.isnan(second) else f"{second:.1f} s"
        lines.append(f"  {name:>12}  {weight:6.1%}  {bar(weight, found.frame_weights.max())}")
    lines.append("words")
    for word, weight in zip(found.words, found.word_weights, strict=True):
        lines.append(f"  {shorten(word, 12):>12}  {weight:6.1%}  {bar(weight, found.word_weights.max())}")
    return "\n".join(lines)


def draw_hits(
    sentence: str,
    hits: Mapping[str, Sequence[RankedVideo]],
    path: Path,
    captions: Mapping[Path, str] | None = None,
) -> Path:
    """
    The first hits for a sentence, a column for each model.

    Args:
        sentence (`str`): What was looked for.
        hits (`Mapping[str, Sequence[RankedVideo]]`): For each model, by name, its hits, best first.
        path (`Path`): The picture.
        captions (`Mapping[Path, str]`, *optional*): What is known of the videos. Those that are captioned with the sentence
            are framed.
    """
    captions = captions or {}
    most = max(map(len, hits.values()))
    figure = new_figure(5.5 * len(hits), 0.9 + 1.9 * most)
    panels = figure.subplots(most, len(hits), squeeze=False)
    for column, (name, found) in enumerate(hits.items()):
        for place, axes in enumerate(panels[:, column]):
            axes.set(xticks=[], yticks=[])
            if place >= len(found):
                axes.set_axis_off()
                continue
            video = found[place]
            axes.imshow(read_strip(video))
            caption = captions.get(video.path, "")
            lines = [f"{place + 1}.  {shorten(video.path.name, 40)}  ({video.score:.2f})"]
            axes.set_title(
                "\n".join([*lines, *([shorten(caption, 60)] if caption else [])]), fontsize=8, parse_math=False
            )
            if caption and caption == sentence:
                for side in axes.spines.values():
                    side.set(**FRAME_OF_THE_RIGHT)
        panels[0, column].annotate(
            shorten(name, 60),
            (0.5, 1.0),
            (0, 34),
            "axes fraction",
            textcoords="offset points",
            ha="center",
            weight="bold",
        )
    figure.suptitle(f'"{shorten(sentence, 100)}"', parse_math=False)
    return save_figure(figure, path)


def read_strip(video: RankedVideo) -> np.ndarray:
    """A few frames of the clip that agrees best, side by side: `(height, frames * width, 3)`."""

    def choose(metadata: Any) -> np.ndarray:
        last = metadata.total_num_frames - 1
        seconds = metadata.seconds_of(range(last + 1))
        ends = (0, last) if seconds is None else np.searchsorted(seconds, [video.start_s, video.end_s]).clip(0, last)
        return np.linspace(*ends, FRAMES_SHOWN).round().astype(int)

    frames = decode_video(video.path, choose).frames
    gap = max(1, frames.shape[2] // 32)
    frames = np.pad(frames, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    return np.concatenate(list(frames), axis=1)[:, :-gap]


__all__ = ["Explanation", "describe_explanation", "draw_explanation", "draw_hits", "draw_matrix"]
