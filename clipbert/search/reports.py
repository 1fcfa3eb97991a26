# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What became of the videos of a collection."""

from dataclasses import dataclass, field


@dataclass
class IndexReport:
    """
    What became of the videos of a collection; ids of videos in each list.

    Args:
        added, changed, moved (`list[str]`): New ones; those whose content is another; those that kept their vectors under a new name.
        unchanged (`list[str]`): Nothing was done: they were not opened, or have the same content as before.
        missing (`list[str]`): In the index, but no longer in the collection.
        removed (`list[str]`): Missing ones that were deleted from the index.
        failed (`dict[str, str]`): Not in the index: why.
        ignored (`dict[str, str]`): Files that were not looked at, such as links that leave the collection, and why.
        without_video (`list[str]`): Named by the metadata, but not there.
        num_segments (`int`): Segments that were encoded.
        seconds (`float`): How long it took.
    """

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    without_video: list[str] = field(default_factory=list)
    num_segments: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        counts = {name: len(value) for name, value in vars(self).items() if isinstance(value, list | dict)}
        said = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
        plural = "" if self.num_segments == 1 else "s"
        return f"{said or 'nothing to do'} ({self.num_segments} segment{plural} encoded, {self.seconds:.1f} s)"


__all__ = ["IndexReport"]
