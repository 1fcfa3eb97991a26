# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How many clips a model needs: its score with each number of them, how sure that is, what it costs, and the smallest that will do."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.draws import summarise
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.engine.report import show_score
from clipbert.train_scripts.engine.resampling import interval, resample_means
from clipbert.train_scripts.engine.sections import goal_of_metric
from clipbert.train_scripts.tasks.clip_plans import NO_CLIP, ClipPlans, draw_places, select_plan


POOLINGS = ("mean", "max", "lse")
METRICS = ("text_to_video_R@1", "accuracy", "vqa_score", "mean_squared_error")  # the first that there is


@dataclass
class ClipPass:
    """
    What one pass over the videos of a split has found.

    Args:
        predictions (`Predictions`): Scores of all views.
        plans ([`ClipPlans`]): The evaluations that it was for.
        places (`np.ndarray` of shape `(V, P, N)`): The views of each plan.
        num_frames (`np.ndarray` of shape `(V, P)`): How many different frames those are.
        read_s (`float`): Seconds of a video to be opened and decoded, for all plans together.
        view_s (`float`): Seconds of a view to be encoded and scored.
        operations (`Mapping`): Multiply-adds of a `"view"` and a `"pair"` of a text and a view; `None` where they cannot be counted.
    """

    predictions: Predictions
    plans: ClipPlans
    places: np.ndarray
    num_frames: np.ndarray
    read_s: float
    view_s: float
    operations: Mapping[str, float | None]

    @property
    def num_crops(self) -> int:
        """Views of a clip."""
        return self.places.shape[2] // self.plans.counts[-1]

    def places_of(self, count: int, draw: int = 0) -> np.ndarray:
        """The views of a plan `(V, count * num_crops)`."""
        return self.places[:, self.plans.of_count(count)[draw], : count * self.num_crops]


def measure_counts(found: ClipPass, pooling: str, metric: str | None, num_draws: int, seed: int) -> dict[str, Any]:
    """
    The curve of a score over the number of clips.

    Args:
        found ([`ClipPass`]): Scores of all views.
        pooling (`str`): How those of a video are pooled.
        metric (`str`, *optional*): The score; by default the first one of the task.
        num_draws (`int`): Draws of clips for the spread, where the plans themselves draw none: each clip independently of the others,
            from those of the same length.
        seed (`int`): Of these draws and of the bootstrap.

    Returns:
        `dict`: `pooling`, `metric`, `rows` (for each number `num_clips`, all `metrics` of that evaluation, the `score`, its `interval` (95 %,
        bootstrap over videos, `None` of a single video), `draws` (`mean`, `std`, `count`, and the means of all `metrics`), what is missing to the best score (`gap`, `gap_interval`;
        positive is worse), whether that says nothing (`is_as_good`), and the `cost`), `best`, `knee`, `is_flat`.

    Raises:
        ValueError: If the metric is no mean over examples.
    """
    task = importlib.import_module(f"{__package__}.{found.predictions.task}")
    rows, values = [], []
    for count in found.plans.counts:
        plans = [
            select_plan(found.predictions, found.places_of(count, draw), pooling)
            for draw in range(found.plans.num_draws)
        ]
        metrics = [task.measure(plan) for plan in plans]
        metric = metric or next(name for name in METRICS if name in metrics[0])
        if metric not in metrics[0]:
            raise ValueError(f"{metric} is not among {', '.join(metrics[0])}.")
        draws = metrics if len(plans) > 1 else []
        if not draws:
            draws = [task.measure(plan) for plan in draw_plans(found, count, pooling, num_draws, seed)]
        values.append(np.mean([task.values_of_rows(plan, metric) for plan in plans], axis=0))
        metrics = metrics[0] if len(metrics) == 1 else summarise(metrics)
        spread = summarise_draws(draws, metric) if draws else None
        rows.append({"num_clips": count, "metrics": metrics, "score": metrics[metric], "draws": spread})
        rows[-1]["cost"] = cost_of(found, count)
    videos = np.array([row["video_id"] for row in found.predictions.rows])
    return {"pooling": pooling, "metric": metric, **compare(rows, np.stack(values, axis=1), videos, metric, seed)}


def summarise_draws(draws: Sequence[Mapping[str, float]], metric: str) -> dict[str, Any]:
    """What several draws of clips come to: `mean` and `std` of the metric, their `count`, the means of all `metrics`."""
    values = [each[metric] for each in draws]
    means = {name: float(np.mean([each[name] for each in draws])) for name in draws[0]}
    return {"mean": float(np.mean(values)), "std": float(np.std(values)), "count": len(draws), "metrics": means}


def draw_plans(found: ClipPass, count: int, pooling: str, num_draws: int, seed: int) -> Iterator[Predictions]:
    """Clips drawn from those of the same length: of the largest plan, or, where each has its own length, of the plan itself."""
    source = found.places_of(found.plans.counts[-1] if found.plans.is_fixed_length else count)
    if source.shape[1] == found.num_crops:  # a single one leaves no choice
        return
    rng = np.random.default_rng((seed, count))
    for _ in range(num_draws):
        yield select_plan(found.predictions, draw_places(source, count, found.num_crops, rng), pooling)


def cost_of(found: ClipPass, count: int) -> dict[str, float | None]:
    """
    Of a video with so many clips: different `frames`, `views`, `model_s` (encoded and scored, as long as a view took on average), and
    multiply-adds of the video (`video_operations`) and of a text with it (`pair_operations`), `None` where they cannot be counted.
    """
    is_seen = (found.places_of(count) != NO_CLIP).any(axis=1)
    views = float((found.places_of(count)[is_seen] != NO_CLIP).sum(axis=1).mean())
    counted = (found.operations.get(unit) for unit in ("view", "pair"))
    of_video, of_pair = (None if number is None else views * number for number in counted)
    frames = float(found.num_frames[is_seen, found.plans.of_count(count)[0]].mean())
    cost = {"frames": frames, "views": views, "model_s": views * found.view_s}
    return {**cost, "video_operations": of_video, "pair_operations": of_pair}


def compare(
    rows: Sequence[dict[str, Any]], values: np.ndarray, videos: np.ndarray, metric: str, seed: int
) -> dict[str, Any]:
    """Each number of clips with the best one, by what every video says of both: see [`measure_counts`]."""
    sign = 1 if goal_of_metric(metric) == "max" else -1
    best = int(np.argmax([sign * row["score"] for row in rows]))  # of equals the fewest clips
    is_counted = np.isfinite(values).all(axis=1)
    num_videos = len(set(videos[is_counted].tolist()))
    means = resample_means(values[is_counted], videos[is_counted], seed) if num_videos > 1 else None
    for number, row in enumerate(rows):
        row["interval"] = None if means is None else interval(means[:, number])
        row["gap"] = sign * (rows[best]["score"] - row["score"])
        row["gap_interval"] = None if means is None else interval(sign * (means[:, best] - means[:, number]))
        spread = row["draws"]["std"] if row["draws"] else 0.0
        row["is_as_good"] = row["gap"] <= spread or means is None or row["gap_interval"][0] <= 0
    knee = next(row["num_clips"] for row in rows if row["is_as_good"])
    is_flat = len(rows) > 1 and all(row["is_as_good"] for row in rows)
    return {"rows": rows, "best": rows[best]["num_clips"], "knee": knee, "is_flat": is_flat, "num_videos": num_videos}


# ---------------------------------------------------------------------------------------------------------------------
# In words
# ---------------------------------------------------------------------------------------------------------------------


def describe_counts(curve: Mapping[str, Any]) -> str:
    """A curve as a table, and its knee."""
    metric = curve["metric"]
    head = [
        "clips",
        metric.replace("_", " "),
        "95 % interval",
        "random clips",
        "missing to the best",
        "frames",
        "ms",
        "G multiply-adds",
    ]
    table = [head]
    for row in curve["rows"]:
        cost, draws = row["cost"], row["draws"]
        mark = " <- knee" if row["num_clips"] == curve["knee"] and not curve["is_flat"] else ""
        counted = [cost[name] for name in ("video_operations", "pair_operations") if cost[name] is not None]
        table.append(
            [
                str(row["num_clips"]),
                show_score(metric, row["score"]),
                show_ends(metric, row["interval"]),
                f"{show_score(metric, draws['mean'])} ± {show_score(metric, draws['std'])}" if draws else "",
                f"{show_score(metric, row['gap'])} {show_ends(metric, row['gap_interval'])}" if row["gap"] else "",
                f"{cost['frames']:.4g}",
                f"{1000 * cost['model_s']:.4g}",
                (f"{sum(counted) / 1e9:.4g}" if counted else "not counted") + mark,
            ]
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row[:-1], widths[:-1], strict=True)) + "  " + row[-1]
        for row in table
    ]
    return "\n".join([f"pooled by {curve['pooling']}", *map(printable, lines), describe_knee(curve)])


def show_ends(metric: str, ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"[{' to '.join(show_score(metric, end).removesuffix(' %') for end in ends)}]"


def describe_knee(curve: Mapping[str, Any]) -> str:
    """The smallest number of clips that will do, or why none can be named."""
    metric, rows, num_videos = curve["metric"], curve["rows"], curve["num_videos"]
    if num_videos < 2:
        return "One video says nothing about others: there is no interval, and no knee."
    if len(rows) == 1:
        return f"Only {rows[0]['num_clips']} clips were asked for: there is nothing to compare."
    least, most = rows[0]["num_clips"], rows[-1]["num_clips"]
    best, knee = (next(row for row in rows if row["num_clips"] == curve[name]) for name in ("best", "knee"))
    if curve["is_flat"]:
        unseen = show_score(metric, max(row["gap_interval"][1] for row in rows))
        return (
            f"Flat within its spread: from {least} to {most} clips no score can be told from the best one ({show_clips(best['num_clips'])}) by these "
            f"{num_videos} videos. They would not show a difference of up to {unseen}: {least} will do, or more videos are needed."
        )
    said = f"Knee: {show_clips(knee['num_clips'])}, "
    said += (
        "the best"
        if knee is best
        else f"not to be told from the best ({show_clips(best['num_clips'])}, {show_score(metric, best['score'])})"
    )
    said += f", by these {num_videos} videos{'' if knee is rows[0] else '; fewer score worse'}."
    worse = [row for row in rows if row["num_clips"] > knee["num_clips"] and not row["is_as_good"]]
    if worse:
        last = worse[-1]
        said += f" More do not help: {show_clips(last['num_clips'])} lose {show_score(metric, last['gap'])} {show_ends(metric, last['gap_interval'])}."
    return said


def show_clips(count: int) -> str:
    return f"{count} clip{'s' if count > 1 else ''}"


__all__ = ["METRICS", "POOLINGS", "ClipPass", "describe_counts", "describe_knee", "measure_counts", "show_clips"]
