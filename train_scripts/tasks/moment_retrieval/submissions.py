# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Answers in the format of QVHighlights, which its evaluation and other projects write and read, a line for each query:

{"qid": 8737, "query": "A family plays.", "vid": "bP5KfdFJzC4_660.0_810.0", "pred_relevant_windows": [[0, 16, 0.9], ...]}
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipbert.datasets_scripts.building.records import Record, is_number, read_jsonl
from clipbert.metrics.moment_retrieval import compute_moment_metrics
from clipbert.support.files import write_whole
from clipbert.train_scripts.engine.predictions import read_predictions


TASK = "moment_retrieval"
WINDOWS = "pred_relevant_windows"


def read_questions(folder: str | Path) -> list[dict[str, Any]]:
    """
    The questions of written predictions, with their answers (`moments`) and what is right (`windows`).

    Raises:
        ValueError: If they are predictions of another task.
    """
    predictions = read_predictions(folder)
    if predictions.task != TASK:
        raise ValueError(f"{folder} has predictions of the task {predictions.task!r}, not of {TASK!r}")
    return predictions.rows


def write_submission(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """
    Write answers, best first.

    Args:
        path (`str` or `Path`): A `.jsonl` file, which appears when it is complete.
        rows (`Iterable[Mapping]`): Rows of predictions: `question_id`, `caption`, `video_id` and `moments`.

    Example:
        >>> moments = [{"start_s": 0.0, "end_s": 16.0, "score": 0.9}]
        >>> row = {"question_id": "8737", "caption": "A family plays.", "video_id": "mine", "moments": moments}
        >>> write_submission("submission.jsonl", [row])
        >>> read_submission("submission.jsonl", [row]) == [moments]
        True
    """
    lines = []
    for row in rows:
        name = row["question_id"]
        best_first = sorted(row["moments"], key=lambda moment: -moment["score"])
        windows = [[moment["start_s"], moment["end_s"], moment["score"]] for moment in best_first]
        query = {"qid": int(name) if name.isdecimal() else name, "query": row["caption"], "vid": row["video_id"]}
        lines.append(json.dumps({**query, WINDOWS: windows}, ensure_ascii=False))
    write_whole(Path(path), "".join(f"{line}\n" for line in lines))


def read_submission(path: str | Path, questions: Sequence[Mapping[str, Any]]) -> list[list[dict[str, float]]]:
    """
    Read the answers to questions, as `compute_moment_metrics` takes them.

    Args:
        path (`str` or `Path`): A `.jsonl` file, of whatever project.
        questions (`Sequence[Mapping]`): With `question_id` and `video_id`, each of which has to be answered, and no other.

    Raises:
        AnnotationError: If a line is no answer, is about a question that is not asked or has been answered; the message names it.
        ValueError: If questions are not answered.
    """
    asked = {(question["question_id"], question["video_id"]): None for question in questions}
    for record in read_jsonl(Path(path)):
        key = str(record.require("qid", (str, int))), record.require("vid")
        if key not in asked:
            raise record.error(f"expected a query of those that are asked, got qid {key[0]!r} of {key[1]!r}")
        if asked[key] is not None:
            raise record.error(f"expected every query once, got qid {key[0]!r} again")
        asked[key] = _read_windows(record)
    if missing := [name for (name, _), answers in asked.items() if answers is None]:
        raise ValueError(
            f"{path} has no answer to {len(missing)} of {len(asked)} queries, the first of qid {missing[0]!r}"
        )
    return list(asked.values())


def score_submission(
    path: str | Path, questions: Sequence[Mapping[str, Any]], strict: bool = False
) -> dict[str, float]:
    """Metrics of the answers of a file: see `compute_moment_metrics`."""
    return compute_moment_metrics(read_submission(path, questions), questions, strict)


def _read_windows(record: Record) -> list[dict[str, float]]:
    windows = record.values.get(WINDOWS)
    if not isinstance(windows, list):
        raise record.error(f"expected a list {WINDOWS!r}, got {windows!r:.80}")
    for window in windows:
        if not isinstance(window, list) or [is_number(value) for value in window] != [True] * 3:
            raise record.error(f"expected windows [start, end, score], got {window!r:.80}")
    return [dict(zip(("start_s", "end_s", "score"), map(float, window), strict=True)) for window in windows]


__all__ = ["read_questions", "read_submission", "score_submission", "write_submission"]
