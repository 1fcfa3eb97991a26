# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Sentences with times in the two layouts that most moment benchmarks have: ActivityNet Captions' and Charades-STA's."""

import re
from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.records import Record, is_number, read_lines


def timed_sentences(record: Record) -> list[tuple[float, float, str]]:
    """
    Start, end and sentence of each moment of `{"timestamps": [[start, end], ...], "sentences": [...]}`.

    Raises:
        AnnotationError: If there are not as many of both, or one is no pair of numbers or no text.
    """
    times, sentences = record.require("timestamps", list), record.require("sentences", list)
    if len(times) != len(sentences):
        raise record.error(f"expected as many timestamps as sentences, got {len(times)} and {len(sentences)}")
    moments = []
    for number, (span, sentence) in enumerate(zip(times, sentences, strict=True)):
        if not (isinstance(span, list) and len(span) == 2 and all(map(is_number, span))):
            raise record.error(f"expected timestamps[{number}] as [start, end], two numbers, got {span!r}")
        if not isinstance(sentence, str) or not sentence.strip():
            raise record.error(f"expected sentences[{number}] to be a non-empty text, got {sentence!r}")
        moments.append((*span, sentence))
    return moments


def positive_number(record: Record, name: str) -> float:
    """A column that has to be a number above 0, such as a `duration` in seconds."""
    value = record.require(name, (int, float))
    if not is_number(value) or value <= 0:
        raise record.error(f"expected a {name!r} above 0, got {value}")
    return value


def read_timed_lines(path: Path) -> Iterator[Record]:
    """
    `video_id`, `start_s`, `end_s` and `caption` of lines `<video> <start> <end>##<sentence>`.

    Raises:
        AnnotationError: If a line is another one, or stands twice.
    """
    lines = {}
    for record in read_lines(path):
        match = re.fullmatch(r"(\S+) ([\d.]+) ([\d.]+)##(.*)", record.values["line"].strip())
        if not match:
            raise record.error(f"expected '<video> <start> <end>##<sentence>', got {record.values['line']!r}")
        if (first := lines.setdefault(match[0], record)) is not record:
            raise record.error(f"expected every line once, got that of {first.place} again")
        found = Record({"start_s": match[2], "end_s": match[3]}, record.file, record.line)
        seconds = {name: found.number(name) for name in found.values}
        yield Record({"video_id": match[1], **seconds, "caption": match[4]}, record.file, record.line)


__all__ = ["positive_number", "read_timed_lines", "timed_sentences"]
