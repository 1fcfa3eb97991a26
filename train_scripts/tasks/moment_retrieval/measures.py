# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of moments, from what has been predicted, beside what can be answered without the video."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch

from clipbert.metrics.moment_retrieval import compute_moment_metrics
from clipbert.processing.moment_spans import decode_moments
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.tasks.moment_retrieval.blind import blind_scores


BLOCK = 128  # questions that are decoded at a time: all pairs of segments of each
DECODING = ("top_k", "nms_iou", "ranking", "rescore_with_segmentation")  # of `info`, what `decode_moments` takes
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
        others too; `blind-NAME_R1@...`, the same of each blind answer; `num_skipped_questions`.
    """
    return score(predictions, decode(predictions))


def decode(predictions: Predictions) -> list[list[dict[str, Any]]]:
    """
    The best moments of each question, from the scores of segments.

    Args:
        predictions (`Predictions`): The tensors `start_logits`, `end_logits` and, of a model that has the third head,
            `segment_logits` `(questions, segments)`; rows with `num_segments`, how many of these there are, and `seen_s`, the
            seconds that they cover; `info` says how many moments are wanted, and by what they are ranked.
    """
    options = {name: predictions.info[name] for name in DECODING}
    moments: list[list[dict[str, Any]]] = []
    for first in range(0, len(predictions.rows), BLOCK):
        rows = predictions.rows[first : first + BLOCK]
        found = {name: torch.from_numpy(values[first : first + BLOCK]) for name, values in predictions.tensors.items()}
        counts = torch.tensor([row["num_segments"] for row in rows])
        mask = torch.arange(found["start_logits"].shape[1]) < counts[:, None]
        outputs = SimpleNamespace(**{"segment_logits": None, **found}, segment_mask=mask)
        moments += decode_moments(outputs, [row["seen_s"] for row in rows], **options)
    return moments


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
    coverage = {name: value for name, value in info.items() if name == "coverage"}
    return {**metrics, "num_skipped_questions": len(rows) - len(asked), **coverage}


def _recalls(
    rows: Sequence[Mapping[str, Any]],
    moments: Sequence[Sequence[Mapping[str, Any]]],
    asked: Sequence[int],
    strict: bool,
) -> dict[str, float]:
    return compute_moment_metrics([moments[number] for number in asked], [rows[number] for number in asked], strict)


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
