# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Rows of moments as questions: windows of one question stand together, as metrics and blind baselines take them."""

from collections.abc import Iterable, Mapping
from typing import Any


def group_questions(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """
    One question for all rows with its `question_id` and video, in the order in which they first come.

    Args:
        rows (`Iterable[Mapping]`): Rows of the task `moments`. Without `question_id` each row is a question by itself.

    Returns:
        `list[dict]`: Of each question `question_id`, `video_id`, `caption`, `duration_s` and `windows`, a list of
        `(start_s, end_s)`: references of `compute_moment_metrics`.

    Raises:
        ValueError: If rows of one question have different sentences or durations.

    Example:
        >>> row = {"video_id": "a", "caption": "a dog runs", "duration_s": 30.0, "question_id": "7"}
        >>> rows = [{**row, "start_s": 2.0, "end_s": 6.0}, {**row, "start_s": 20.0, "end_s": 22.0}]
        >>> [question["windows"] for question in group_questions(rows)]
        [[(2.0, 6.0), (20.0, 22.0)]]
    """
    questions = {}
    for number, row in enumerate(rows):
        name = row.get("question_id") or row.get("moment_id") or str(number)
        facts = {key: row[key] for key in ("video_id", "caption", "duration_s")}
        question = questions.setdefault((row["video_id"], name), {"question_id": name, **facts, "windows": []})
        if different := [key for key in facts if facts[key] != question[key]]:
            raise ValueError(
                f"Expected rows of the question {name!r} of {row['video_id']!r} to have one {different[0]}, got "
                f"{question[different[0]]!r} and {facts[different[0]]!r}"
            )
        question["windows"].append((row["start_s"], row["end_s"]))
    return list(questions.values())


__all__ = ["group_questions"]
