# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How many pictures decoders give during a piece of work, whatever it calls to read videos."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


__all__ = ["DecodingCount", "counting_decoding", "note_decoded"]


@dataclass
class DecodingCount:
    """
    What was decoded inside a block of [`counting_decoding`].

    Args:
        num_frames (`int`, *optional*): Pictures that came out of a decoder, wanted or not: those between a key frame and a
            wanted one, too, and those that came twice twice. (A decoder may hold a few more when the last wanted one has
            come.) A picture from an image file is one. `None` if something was decoded that cannot be counted.
    """

    num_frames: int | None = 0


_counts: ContextVar[tuple[DecodingCount, ...]] = ContextVar("counts_of_decoding", default=())


@contextmanager
def counting_decoding() -> Iterator[DecodingCount]:
    """Count what this thread decodes inside a `with` block; blocks may lie in each other."""
    count = DecodingCount()
    token = _counts.set((*_counts.get(), count))
    try:
        yield count
    finally:
        _counts.reset(token)


def note_decoded(num_frames: int | None) -> None:
    """Add pictures that a decoder has given to the counts of the blocks around; `None` if nobody knows how many."""
    for count in _counts.get():
        is_known = num_frames is not None and count.num_frames is not None
        count.num_frames = count.num_frames + num_frames if is_known else None
