# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of answers, from what has been predicted."""

import numpy as np
import torch

from clipbert.train_scripts.engine.groups import add_group
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.tasks.groups import find_groups
from clipbert.train_scripts.tasks.pooling import pool_clips
from clipbert.train_scripts.tasks.question_answering.modes import MODES, Counts, texts_of_questions


def pool_by_question(predictions: Predictions) -> list[torch.Tensor]:
    """
    Scores `(texts, labels)` of each question, pooled over clips as `predictions.info["score_pooling"]` says.

    Raises:
        ValueError: If counts are to be pooled by log-sum-exp.
    """
    score_pooling = predictions.info["score_pooling"] or "mean"
    if MODES[predictions.info["answer"]] is Counts and score_pooling == "lse":
        raise ValueError("score_pooling=lse collects evidence for a soft-max over classes, but counts are no classes.")
    scores = pool_clips(torch.as_tensor(predictions.tensors["clip_logits"]), score_pooling)
    return list(scores.split(texts_of_questions(predictions.rows)))


def answer(predictions: Predictions) -> list:
    """For each question a text, the place of an option or a count; `None` where the video could not be decoded."""
    by_question, mode = pool_by_question(predictions), MODES[predictions.info["answer"]]
    seen = [question for question, scores in enumerate(by_question) if not scores.isnan().any()]
    answers: list = [None] * len(by_question)
    if seen:
        scores, rows = torch.cat([by_question[question] for question in seen]), [predictions.rows[q] for q in seen]
        for question, given in zip(seen, mode.predict(scores, rows, predictions.info), strict=True):
            answers[question] = given
    return answers


def measure(predictions: Predictions) -> dict[str, float]:
    """
    Metrics of predictions.

    Questions whose videos could not be decoded, and those whose answers are not published, take no part. Of groups of questions
    there are the same metrics, `NAME_GROUP`, but those of single answer types.

    Args:
        predictions (`Predictions`): A row for each question with `video_id`, `gold`, `groups` and what its mode of answering adds;
            `info` with `answer` (the mode), `score_pooling` and, if there are any, `group_by`; the tensor `clip_logits` `(texts, clips, labels)`.
    """
    by_question, answers, mode = pool_by_question(predictions), answer(predictions), MODES[predictions.info["answer"]]
    metrics: dict[str, float] = {"num_examples": 0}
    seen = [question for question, given in enumerate(answers) if given is not None]

    def measure_some(asked: list[int], **alike: str) -> dict[str, float]:
        scores, rows = torch.cat([by_question[q] for q in asked]), [{**predictions.rows[q], **alike} for q in asked]
        return mode.measure(scores, [answers[q] for q in asked], rows, predictions.info)

    if asked := [question for question in seen if predictions.rows[question]["gold"] is not None]:
        metrics = measure_some(asked)
    for name, members in find_groups(predictions.rows, predictions.info.get("group_by") or ()).items():
        if chosen := sorted(set(members).intersection(asked)):
            metrics |= add_group(measure_some(chosen, answer_type=""), name)
    videos, decoded = ({predictions.rows[q]["video_id"] for q in group} for group in (range(len(answers)), seen))
    coverage = {name: value for name, value in predictions.info.items() if name == "coverage"}
    return {**metrics, "num_skipped_videos": len(videos - decoded), **coverage}


def values_of_rows(predictions: Predictions, metric: str) -> np.ndarray:
    """
    What each question adds to a metric that is a mean over questions.

    Returns:
        `np.ndarray` of shape `(questions,)`: NaN where the video could not be decoded, or the answer is not published.

    Raises:
        ValueError: If the metric is no such mean.
    """
    known = ("accuracy", "vqa_score", "mean_squared_error")
    if metric not in known:
        raise ValueError(f"{metric} is no mean over questions; choose one of {', '.join(known)}.")
    by_question, answers, mode = pool_by_question(predictions), answer(predictions), MODES[predictions.info["answer"]]
    values = np.full(len(answers), np.nan)
    for question, (given, row) in enumerate(zip(answers, predictions.rows, strict=True)):
        if given is not None and row["gold"] is not None:
            values[question] = mode.measure(by_question[question], [given], [row], predictions.info)[metric]
    return values


__all__ = ["answer", "measure", "pool_by_question", "values_of_rows"]
