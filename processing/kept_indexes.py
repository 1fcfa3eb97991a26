# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The packet indexes of the files that were read last, so that whoever reads a long video in parts, or some hundred short ones in
every epoch, lists their packets once.

An index belongs to one state of a file: another size, time or inode, and the packets are listed anew. What is damaged or
cut off is listed each time. An hour at 25 frames a second takes 5 MB.
"""

import os
import time
from typing import NamedTuple

from .video_index import PacketIndex


MOST_FILES = 1024
MOST_PACKETS = 1 << 20  # of all of them together, 60 MB; the last one is kept in any case
# A file written less than this ago may be written again without a change of its time: clocks of file systems are coarse.
SETTLED_NS = 2_000_000_000


class FileState(NamedTuple):
    """What becomes another one when a file is replaced or written."""

    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class IndexKey(NamedTuple):
    """What an index depends on."""

    file: FileState
    stream_index: int
    max_pixels: int | None


class KeptIndexes:
    """Indexes by key. They are replaced together, so that threads need no lock, which a fork would leave locked."""

    def __init__(self):
        self._indexes: dict[IndexKey, PacketIndex] = {}

    def find(self, key: IndexKey | None) -> PacketIndex | None:
        """The index of this state of a file, if it is kept."""
        return self._indexes.get(key)

    def keep(self, key: IndexKey, index: PacketIndex) -> None:
        """Keep an index that is whole, and forget the oldest ones."""
        if not index.is_complete or index.damage is not None:
            return
        index.freeze()
        others = [(other, kept) for other, kept in self._indexes.items() if other.file.path != key.file.path]
        num_packets = len(index.pts) + sum(len(kept.pts) for _, kept in others)
        while others and (len(others) >= MOST_FILES or num_packets > MOST_PACKETS):
            num_packets -= len(others.pop(0)[1].pts)
        self._indexes = dict([*others, (key, index)])

    def forget_all(self) -> None:
        self._indexes = {}

    def forget(self, key: IndexKey) -> None:
        self._indexes = {other: index for other, index in self._indexes.items() if other != key}


def file_state(readable: object) -> FileState | None:
    """The state of the file that a container reads; `None` for what is no path."""
    if not isinstance(readable, str):
        return None
    path = os.path.abspath(readable.removeprefix("file:"))
    try:
        found = os.stat(path)
    except OSError:  # opening it says what is wrong
        return None
    return FileState(path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def is_settled(file: FileState) -> bool:
    """Whether a further change of the file is certain to change its time, too."""
    return time.time_ns() - file.mtime_ns > SETTLED_NS


KEPT_INDEXES = KeptIndexes()  # of this process
