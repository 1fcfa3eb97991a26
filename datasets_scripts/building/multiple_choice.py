# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Questions with options, in the form that several annotation files share."""

from clipbert.datasets_scripts.building.records import Record


WHICH_CAPTION = "Which caption describes the video?"  # where the options are captions, without a question of their own


def chosen_option(record: Record) -> dict:
    """The columns `options`, `answer_index` and `answer` of a record whose 'answer' is a position among 'options'."""
    options, index = record.require("options", list), record.require("answer", int)
    if not 0 <= index < len(options):
        raise record.error(f"expected 'answer' to be a position from 0 to {len(options) - 1}, got {index}")
    return {"options": options, "answer_index": index, "answer": options[index]}
