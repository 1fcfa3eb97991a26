# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Two models on the same videos: who is right where the other is not, and whether that is chance."""

from pathlib import Path
from typing import Any

from clipbert.metrics.classification.classification import mcnemar_test, wilson_interval
from clipbert.support.terminal import printable
from clipbert.support.weights import listed
from clipbert.train_scripts.engine.predictions import Predictions, read_predictions
from clipbert.train_scripts.tasks.classification.measures import find_asked


def compare_predictions(first: str | Path, second: str | Path) -> dict[str, Any]:
    """
    McNemar's exact test between two folders of predictions.

    Args:
        first, second (`str` or `Path`): `OUTPUT_DIR/predictions/SPLIT` of two runs.

    Returns:
        `dict`: `num_examples`, `num_left_out` (videos that one of them could not decode), for each model `accuracy` and
        `interval`, and what [`mcnemar_test`] returns.

    Raises:
        ValueError: If they are not of one class a video, or not of the same videos with the same classes.
    """
    found = [read_predictions(folder) for folder in (first, second)]
    (gold, right), (other_gold, other_right) = map(_read_answers, found, (first, second))
    if found[0].info["class_names"] != found[1].info["class_names"]:
        raise ValueError(f"{first} and {second} are of other classes: their answers cannot be compared.")
    if differing := sorted({name for name, _ in gold.items() ^ other_gold.items()}):
        raise ValueError(
            f"{first} and {second} are not of the same videos with the same classes: {len(differing)} "
            f"differ:{listed(map(printable, differing), most=5)}"
        )
    common = [name for name in right if name in other_right]
    if not common:
        raise ValueError(f"{first} and {second} have no video in common that both could decode.")
    answers = [[known[name] for name in common] for known in (right, other_right)]
    models = [{"accuracy": sum(a) / len(a), "interval": wilson_interval(sum(a), len(a))} for a in answers]
    return {
        "num_examples": len(common),
        "num_left_out": len(gold) - len(common),
        "first": models[0],
        "second": models[1],
        **mcnemar_test(*answers),
    }


def _read_answers(predictions: Predictions, folder: str | Path) -> tuple[dict[str, Any], dict[str, bool]]:
    """The right class of each video that has one, and of those that were decoded whether it was found."""
    if predictions.task != "classification" or any(isinstance(row["gold"], list) for row in predictions.rows):
        raise ValueError(f"{folder}: expected predictions of one class a video, of video_classification.py.")
    gold = {row["video_id"]: row["gold"] for row in predictions.rows if row["gold"] is not None}
    best = predictions.tensors["logits"].argmax(axis=1)
    rows = [(predictions.rows[number], int(best[number])) for number in find_asked(predictions)]
    return gold, {row["video_id"]: row["gold"] == label for row, label in rows}


__all__ = ["compare_predictions"]
