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
        num_noted (`int`): Pictures that came out of a decoder, wanted or not: those between a key frame and a wanted one, too,
            and those that came twice twice. (A decoder may hold a few more when the last wanted one has come.) A picture from
            an image file is one.
        is_complete (`bool`, *optional*): Whether those are all. `None` as long as nothing has said anything: somebody may have
            decoded with means of their own.
    """

    num_noted: int = 0
    is_complete: bool | None = None

    @property
    def num_frames(self) -> int | None:
        """All pictures that were decoded; `None` if that is not known."""
        return self.num_noted if self.is_complete else None


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
    """
    Add pictures that a decoder has given to the counts of the blocks around. Who takes the place of a decoder says 0; `None` if
    nobody knows how many.
    """
    for count in _counts.get():
        count.num_noted += num_frames or 0
        count.is_complete = count.is_complete is not False and num_frames is not None
