# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of moments, from what has been predicted, beside what can be answered without the video."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch

from clipbert.metrics.moment_retrieval import compute_moment_metrics
from clipbert.processing.moment_spans import RANKINGS, decode_moments, join_windows
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.tasks.moment_retrieval.blind import blind_scores


BLOCK = 128  # questions that are decoded at a time: all pairs of segments of each
DECODING = (
    "top_k",
    "nms_iou",
    "ranking",
    "rescore_with_segmentation",
    "max_seconds",
)  # of `info`, what `decode_moments` takes
SELECTION = "R1@0.7+mIoU"
BLIND, ONE_WORD = "blind", "one_word"
RECALLS = ("R1@0.3", "R1@0.5", "R1@0.7")


def measure(predictions: Predictions) -> dict[str, float]:
    """
    Metrics of predictions; questions of videos that could not be decoded take no part.

    Args:
        predictions (`Predictions`): A row for each question with `question_id`, `video_id`, `caption`, `windows`,
            `duration_s` and `skipped`, and what [`decode`] reads; `info` with `strict_iou`; in `blind` and `blind_one_word` what is
            reached without the video, by `blind_strict_iou`.

    Returns:
        `dict`: What `compute_moment_metrics` returns; `R1@0.7+mIoU`; `R1@..._one_word` of questions of one word, if there are
        others too; `R1@..._by_RANKING` where videos were seen by windows; `blind-NAME_R1@...`, the same of each blind answer;
        `num_skipped_questions`.
    """
    return score(predictions, decode(predictions))


def decode(predictions: Predictions, ranking: str | None = None) -> list[list[dict[str, Any]]]:
    """
    The best moments of each question, from the scores of segments.

    Args:
        predictions (`Predictions`): The tensors `start_logits`, `end_logits` and, of a model that has the third head,
            `segment_logits` `(rows, segments)`, a row for each window of each question; rows with `windows_seen`, the start, the
            end and the number of segments of each; `info` says how many moments are wanted, and by what they are ranked.
        ranking (`str`, *optional*): In the place of that of `info`.
    """
    options = {name: predictions.info[name] for name in DECODING if name in predictions.info}
    options |= {"ranking": ranking or options["ranking"], "max_seconds": options.get("max_seconds") or None}
    seen = [window for row in predictions.rows for window in row["windows_seen"]]
    moments: list[list[dict[str, Any]]] = []
    for first in range(0, len(seen), BLOCK):
        starts, ends, counts = map(torch.tensor, zip(*seen[first : first + BLOCK], strict=True))
        found = {name: torch.from_numpy(values[first : first + BLOCK]) for name, values in predictions.tensors.items()}
        mask = torch.arange(found["start_logits"].shape[1]) < counts[:, None]
        outputs = SimpleNamespace(**{"segment_logits": None, **found}, segment_mask=mask)
        answers = decode_moments(outputs, (ends - starts).double(), **options)
        for start_s, of_window in zip(starts.tolist(), answers, strict=True):
            moments.append([_later(each, start_s) for each in of_window])
    of_windows = iter(moments)
    return [
        join_windows([next(of_windows) for _ in row["windows_seen"]], options["top_k"], options["nms_iou"])
        for row in predictions.rows
    ]


def _later(moment: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    return {**moment, "start_s": moment["start_s"] + seconds, "end_s": moment["end_s"] + seconds}


def score(predictions: Predictions, moments: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Metrics of answers: see [`measure`]."""
    rows, info = predictions.rows, predictions.info
    asked = [number for number, row in enumerate(rows) if not row["skipped"]]
    metrics: dict[str, float] = {"num_examples": 0}
    if asked:
        metrics = _recalls(rows, moments, asked, info["strict_iou"])
        metrics |= {SELECTION: metrics["R1@0.7"] + metrics["mIoU"], **_blind_metrics(info, BLIND)}
    short = [number for number in asked if is_one_word(rows[number])]
    if 0 < len(short) < len(asked):
        found = {**_recalls(rows, moments, short, info["strict_iou"]), **_blind_metrics(info, f"{BLIND}_{ONE_WORD}")}
        kept = {name: value for name, value in found.items() if name.endswith(RECALLS) and not name.startswith("dR")}
        metrics |= {f"{name}_{ONE_WORD}": value for name, value in kept.items()}
        metrics[f"num_examples_{ONE_WORD}"] = len(short)
    if any(len(rows[number]["windows_seen"]) > 1 for number in asked):
        metrics |= _recalls_by_ranking(predictions, asked)
    coverage = {name: value for name, value in info.items() if name == "coverage"}
    return {**metrics, "num_skipped_questions": len(rows) - len(asked), **coverage}


def _recalls(
    rows: Sequence[Mapping[str, Any]],
    moments: Sequence[Sequence[Mapping[str, Any]]],
    asked: Sequence[int],
    strict: bool,
) -> dict[str, float]:
    return compute_moment_metrics([moments[number] for number in asked], [rows[number] for number in asked], strict)


def _recalls_by_ranking(predictions: Predictions, asked: Sequence[int]) -> dict[str, float]:
    """R@1 of videos that were seen by windows, whatever these are compared by."""
    has_third = "segment_logits" in predictions.tensors
    found = {}
    for ranking in RANKINGS if has_third else [name for name in RANKINGS if name != "joint_with_segmentation"]:
        metrics = _recalls(predictions.rows, decode(predictions, ranking), asked, predictions.info["strict_iou"])
        found |= {f"{recall}_by_{ranking}": metrics[recall] for recall in RECALLS}
    return found


def _blind_metrics(info: Mapping[str, Any], part: str) -> dict[str, float]:
    """Those of blind answers, unless they have been counted in another way."""
    blind = info[part] if info["strict_iou"] == info["blind_strict_iou"] else {}
    return {
        f"{BLIND}-{name.replace('_', '-')}_{recall}": found[recall]
        for name, found in blind.items()
        for recall in RECALLS
    }


def is_one_word(question: Mapping[str, Any]) -> bool:
    return len(question["caption"].split()) == 1


def describe_blind(
    train_rows: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], strict: bool
) -> dict[str, Any]:
    """
    What is reached without any video: `blind` of all questions, `blind_one_word` of those of one word.

    Args:
        train_rows, rows (`Sequence[Mapping]`): Rows of the training split, and of the one that is measured. Those of videos
            whose duration nobody knows take no part.
        strict (`bool`): Whether a hit needs an IoU above the threshold.

    Returns:
        `dict`: For each, R@1 at each threshold by the name of the blind answer, nothing without rows of either split;
        `blind_strict_iou`.
    """
    train_rows, rows = ([row for row in each if row["duration_s"]] for each in (train_rows, rows))
    parts = {BLIND: rows, f"{BLIND}_{ONE_WORD}": [row for row in rows if is_one_word(row)]}
    is_known = bool(train_rows)
    found = {name: blind_scores(train_rows, part, strict) if is_known and part else {} for name, part in parts.items()}
    return {**found, "blind_strict_iou": strict}


def add_blind_model(predictions: Predictions, unseen: Predictions) -> None:
    """Let `blind` and `blind_one_word` of predictions say what the same model reaches that does not see the videos."""
    metrics = score(unseen, decode(unseen))
    for name, ending in ((BLIND, ""), (f"{BLIND}_{ONE_WORD}", f"_{ONE_WORD}")):
        if f"{RECALLS[0]}{ending}" in metrics:
            found = {recall: metrics[f"{recall}{ending}"] for recall in RECALLS}
            predictions.info[name] = {**predictions.info[name], "model": found}


__all__ = ["DECODING", "SELECTION", "add_blind_model", "decode", "describe_blind", "measure", "score"]
