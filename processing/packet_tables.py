# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The packet indexes of all videos of a collection, kept in one file in its folder, so that nobody who reads one lists its packets first.

    FOLDER/packet_indexes.safetensors       written by `prepare` and by `synthetic`; without it packets are listed as ever
      pts, dts, is_key, places              of all packets `(packets, ...)`, one video after the other, as `PacketIndex` has them
      starts                                where each video begins among them `(videos + 1,)`
      last_durations, sizes, marks          of each video `(videos, ...)`: ticks of its last frame, bytes, a digest of its beginning and end
      checks                                a digest of its row `(videos, 16)`, so that no damaged one is believed
      version, names                        in the metadata `videos`, as JSON: paths below the folder, with `/`, four folders deep at most

It is looked into by place and read in parts, so that a thousand videos or a million cost a reader the same. A row counts as long as its file has the
size and the digest that it had: copies and downloads have them, files that were written anew do not. What is read is compared with it, packet by
packet, besides; where it differs, the packets are listed after all. Only plain files are in it: whole ones that show every packet once.
"""

import functools
import hashlib
import json
import logging
import os

import numpy as np
from safetensors import SafetensorError, safe_open

from .video_index import PacketIndex


TABLE, VERSION = "packet_indexes.safetensors", 1
ENTRY = "videos"  # the only one: several are written in any order, and the same videos have the same table
OF_PACKETS = {"pts": (np.int64, ()), "dts": (np.int64, ()), "is_key": (np.uint8, ()), "places": (np.int64, (2,))}
OF_VIDEOS = {
    "last_durations": (np.int64, ()),
    "sizes": (np.int64, ()),
    "marks": (np.uint8, (16,)),
    "checks": (np.uint8, (16,)),
}
DIGEST_BYTES = 16
MARKED_BYTES = 16 << 10  # at either end of a file
# What a row leaves out, because it is the same for all of them.
PLAIN = {
    "tells_keys": True,
    "has_one_description": True,
    "headless": frozenset(),
    "ends_broken": False,
    "has_presentation_times": True,
    "may_lose_packets": False,
    "is_damaged_from": None,
    "damage": None,
}
MOST_TABLES = 256  # that are open at a time
MOST_FOLDERS = 5  # from that of a video up to that of its collection

logger = logging.getLogger(__name__)


class PacketTable:
    """
    The indexes of a collection.

    Args:
        path (`str`): The file.

    Raises:
        ValueError: If it is no whole table of this version.
        OSError: If it cannot be read.
    """

    def __init__(self, path: str):
        try:
            self._file = safe_open(path, framework="np")
            told = json.loads((self._file.metadata() or {}).get(ENTRY, "{}"))
            if told.get("version") != VERSION or not set(self._file.keys()) >= {*OF_PACKETS, *OF_VIDEOS, "starts"}:
                raise ValueError(f"it is no table of version {VERSION}")
            self.rows = {name: row for row, name in enumerate(told["names"])}
            self.starts = self._file.get_tensor("starts")
            self.of_videos = {name: self._file.get_tensor(name) for name in OF_VIDEOS}
            shapes = {name: tuple(self._file.get_slice(name).get_shape()) for name in (*OF_PACKETS, *OF_VIDEOS)}
            lengths = dict.fromkeys(OF_PACKETS, int(self.starts[-1])) | dict.fromkeys(OF_VIDEOS, len(self.rows))
        except (SafetensorError, AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        expected = {name: (lengths[name], *shape) for name, (_, shape) in (OF_PACKETS | OF_VIDEOS).items()}
        if shapes != expected or self.starts.shape != (len(self.rows) + 1,) or (np.diff(self.starts) < 1).any():
            raise ValueError("its parts do not belong together")

    def find(self, name: str, size: int, mark: bytes) -> PacketIndex | None:
        """The index of a file with this size and [`mark_of`]; `None` if there is none."""
        row = self.rows.get(name)
        if row is None or self.of_videos["sizes"][row] != size or self.of_videos["marks"][row].tobytes() != mark:
            return None
        packets = slice(int(self.starts[row]), int(self.starts[row + 1]))
        pts, dts, is_key, places = (self._file.get_slice(part)[packets] for part in OF_PACKETS)
        index = PacketIndex(
            pts,
            dts,
            is_key.astype(bool),
            np.ones(len(pts), dtype=bool),
            places,
            last_duration=int(self.of_videos["last_durations"][row]),
            promised_num_frames=len(pts),
            **PLAIN,
        )
        return index if self.of_videos["checks"][row].tobytes() == check_of(index) else None


def find_kept(path: str, size: int) -> PacketIndex | None:
    """The index of a video that its collection keeps; `None` if none keeps one of this file as it is."""
    folder, name = os.path.split(path)
    for _ in range(MOST_FOLDERS):
        table = os.path.join(folder, TABLE)
        try:
            state = os.stat(table)
        except OSError:
            state = None
        if state is not None:
            opened = open_table(table, state.st_size, state.st_mtime_ns, state.st_ino)
            if opened is not None and name in opened.rows:
                try:
                    return opened.find(name, size, mark_of(path))
                except OSError:  # told when it is opened
                    return None
        folder, above = os.path.split(folder)
        if not above:
            break
        name = f"{above}/{name}"
    return None


@functools.lru_cache(MOST_TABLES)
def open_table(path: str, *state: int) -> PacketTable | None:
    """A table in one state of its file; `None`, with a warning, if it cannot be read."""
    try:
        return PacketTable(path)
    except (OSError, ValueError) as error:
        logger.warning(
            f"{path} is left aside, packets are listed instead: {error}. Delete it, or run `prepare` again."
        )
        return None


def mark_of(path: str) -> bytes:
    """A digest of the beginning and the end of a file, 16 bytes."""
    with open(path, "rb", buffering=0) as file:
        head = file.read(MARKED_BYTES)
        file.seek(max(file.seek(0, os.SEEK_END) - MARKED_BYTES, 0))
        return hashlib.blake2b(head + file.read(MARKED_BYTES), digest_size=DIGEST_BYTES).digest()


def check_of(index: PacketIndex) -> bytes:
    """A digest of what a row says of an index, 16 bytes."""
    digest = hashlib.blake2b(index.last_duration.to_bytes(8, "little", signed=True), digest_size=DIGEST_BYTES)
    for part, (kind, _) in OF_PACKETS.items():
        digest.update(np.ascontiguousarray(getattr(index, part), dtype=kind))
    return digest.digest()


def is_plain(index: PacketIndex) -> bool:
    """Whether a row of a table says all of an index."""
    as_plain = all(getattr(index, name) == value for name, value in PLAIN.items())
    is_whole = index.is_complete and index.promised_num_frames == len(index.pts) and bool(index.is_shown.all())
    return as_plain and is_whole and index.places is not None and index.is_sound


__all__ = [
    "ENTRY",
    "MOST_FOLDERS",
    "OF_PACKETS",
    "OF_VIDEOS",
    "TABLE",
    "VERSION",
    "PacketTable",
    "check_of",
    "find_kept",
    "is_plain",
    "mark_of",
    "open_table",
]
