# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Packets that a damaged file no longer holds: FFmpeg passes over the place where they were, and says nothing.

Containers say things twice: how long a video lasts and when its pictures are shown, where a packet lies and where it was
found, how large the file was and how large it is. Where the two differ, pictures are missing, or are there twice.
"""

import contextlib
import io
from collections import defaultdict

import av
import numpy as np

from .bitstreams import PacketCheck
from .video_index import PacketIndex, read_packets
from .video_sources import Deadline


LOST_FRAMES = 1.5  # a gap of so many frames between regular times
# Containers in which one packet follows the next but for a few bytes of head.
TILED_CONTAINERS, SMALL_HEAD = {"flv", "matroska,webm"}, 32
SENT_ONCE = {"mpegts", "matroska,webm", "flv"}  # each picture has a time of its own
FEWEST_PACKETS = 3  # of a stream
MAX_AVI_LIST = 8 << 20  # bytes: half a million packets
MAX_FLV_TAIL = 64  # bytes behind the last packet: an end mark, and sizes
# Matroska: what holds all packets, and what may follow them (cues, tags, chapters, attachments)
SEGMENT, HEAD_BYTES = b"\x18\x53\x80\x67", 4096
MATROSKA_TAIL = (b"\x1c\x53\xbb\x6b", b"\x12\x54\xc3\x67", b"\x10\x43\xa7\x70", b"\x19\x41\xa4\x69")


class LostPackets:
    """Compares what a container says with the packets that were read of it.

    Args:
        container, stream: Open in PyAV; packets may be read from it again.
        index (`PacketIndex`): The packets that were read.
        readable (`str` or file): What `container` reads.
        deadline (`Deadline`): Until when to read.
    """

    def __init__(
        self,
        container: "av.container.InputContainer",
        stream: "av.VideoStream",
        index: "PacketIndex",
        readable: str | io.IOBase,
        deadline: Deadline,
    ):
        self.container, self.stream, self.index = container, stream, index
        self.readable, self.deadline = readable, deadline
        self.format = container.format.name

    def first(self, check: PacketCheck) -> tuple[int | None, str | None]:
        """The first packet in front of which another one was lost, and what tells so; `None` twice if all seem there."""
        index = self.index
        if not index.num_frames:
            return None, None
        if "mov" in self.format and (found := self._in_sample_table()):
            return found
        if (first := check.first_lost()) is not None:
            return first, "pictures are missing in front of it or are there twice, by their order numbers"
        if self.format in SENT_ONCE and (repeated := self._first_repetition()) is not None:
            return repeated, "it is there a second time"
        # a stream of constant rate
        if self.format == "mpegts" and index.has_gap(LOST_FRAMES) and index.NO_TIME not in index.pts:
            return self._behind_gap(), "pictures are missing in front of it, by their times"
        if self.format == "avi" and (unlisted := self._first_unlisted()) is not None:
            return unlisted, "it is not where the list of the file says"
        # Pictures may come unevenly, or be fewer than a header says. Here, some bytes belong to no packet besides.
        if self._counts_less() or (self.format in TILED_CONTAINERS and index.has_gap(LOST_FRAMES)):
            if (hole := self._hole()) is not None:
                return hole
            if self.format == "matroska,webm" and self._is_shorter_than_segment():
                return self._behind_gap(), "pictures are missing in front of it, and the file is shorter than it says"
        return None, None

    def end_is_missing(self, has_complaint: bool) -> bool:
        """Whether the file ends where a packet ends, but not where its header says, or was not read to its end.

        `has_complaint`: FFmpeg could not read what is behind the last packet.
        """
        if self.format == "flv":
            ends = self._places[:, 1]
            return bool(len(ends)) and self.container.size - int(ends.max()) > MAX_FLV_TAIL
        if self.format != "matroska,webm" or not (has_complaint or self._is_shorter_than_segment()):
            return False
        ends = [end for _, end in self._places_of_all_streams()]
        behind = self._read(max(ends, default=0), SMALL_HEAD)
        return not any(mark in behind for mark in MATROSKA_TAIL)

    # -- MP4

    def _in_sample_table(self) -> tuple[int, str] | None:
        index, stream = self.index, self.stream
        steps = np.diff(index.dts)
        if len(steps) < 2 or index.NO_TIME in index.dts or index.NO_TIME in index.pts:
            return None
        usual = np.median(steps)
        if usual <= 0 or np.abs(steps - usual).max() > max(1.5, usual / 50):
            return None  # it varies when packets are to be decoded
        # Encoders decode at the times at which pictures are shown, delayed by some frames. So of an uneven video the last
        # ones may be irregular, unless the tables of the file contradict each other besides.
        distances = np.diff(index.frame_pts)
        delay = 0 if stream.frames != len(stream.index_entries) else round((index.frame_pts[0] - index.dts[0]) / usual)
        irregular = np.flatnonzero((distances > LOST_FRAMES * usual) | (distances < usual / 2))
        irregular = irregular[irregular < len(distances) - max(delay, 0)]
        if len(irregular):
            first = int(index.frame_packet[irregular[0] + 1 :].min())
            return first, "pictures are to be decoded at regular times, and shown at others"
        # An edit list cuts pictures away, but not from the duration that remains.
        is_cut_off = len(index.pts) < len(stream.index_entries)
        missing = (stream.duration or 0) / usual - index.num_frames
        if not index.is_shown.all() and not is_cut_off and missing > LOST_FRAMES:
            return 0, f"its edit list hides {round(missing)} pictures more than the duration allows"
        return None

    # -- all others

    def _behind_gap(self) -> int:
        """The first packet that is shown after the first gap."""
        distances = np.diff(self.index.frame_pts)
        behind = self.index.frame_pts[1 + int(np.argmax(distances > LOST_FRAMES * np.median(distances)))]
        return int(np.flatnonzero(self.index.pts >= behind)[0])

    def _first_repetition(self) -> int | None:
        """The first packet whose times and size are those of an earlier one."""
        index, seen = self.index, set()
        columns = (index.pts.tolist(), index.dts.tolist(), index.places[:, 1].tolist())
        for packet, times_and_size in enumerate(zip(*columns, strict=True)):
            if times_and_size in seen:
                return packet
            seen.add(times_and_size)
        return None

    def _hole(self) -> tuple[int, str] | None:
        """The first packet in front of which bytes belong to none."""
        places = np.array(self._places_of_all_streams()).reshape(-1, 2)
        unread = places[1:, 0] - places[:-1, 1]
        for hole in np.flatnonzero(unread > np.median(unread) + SMALL_HEAD) if len(unread) else ():
            behind = np.flatnonzero(self._places[:, 0] >= places[hole + 1, 0])
            if len(behind):
                return int(behind[0]), f"{unread[hole]} bytes in front of it cannot be read, and pictures are missing"
        return None

    @property
    def _places(self) -> np.ndarray:
        """Begin and end of each packet `(packets, 2)`."""
        begins = self.index.places[:, 0].clip(min=0)
        return np.stack([begins, begins + self.index.places[:, 1]], axis=1)

    def _places_of_all_streams(self) -> list[tuple[int, int]]:
        """Begin and end of each packet of the file, without those of streams that damage made up."""
        self.container.seek(self.container.start_time or 0)
        places = defaultdict(list)
        for packet in read_packets(self.container, list(self.container.streams)):
            self.deadline.check()
            if packet.size and packet.pos is not None and packet.pos >= 0:
                places[packet.stream_index].append((packet.pos, packet.pos + packet.size))
        return sorted(place for found in places.values() if len(found) >= FEWEST_PACKETS for place in found)

    # -- AVI

    def _counts_less(self) -> bool:
        """Whether fewer, or more, pictures were found than the header of an AVI file counts."""
        return self.format == "avi" and bool(self.stream.frames) and self.index.dts[-1] + 1 != self.stream.frames

    def _first_unlisted(self) -> int | None:
        # The list names the head of each chunk, 8 bytes in front of the data. The last one may be cut off.
        listed = [(entry.pos + 8, entry.size) for entry in self.stream.index_entries if entry.size]
        pairs = zip(map(tuple, self.index.places[:-1].tolist()), listed, strict=False)
        for packet, (place, listed_place) in enumerate(pairs):
            if place != listed_place:
                return packet
        if self._counts_less():  # FFmpeg does not find a list that is no longer where it was
            pairs = zip(self.index.places[:, 1].tolist(), self._sizes_at_end(), strict=False)
            return next((packet for packet, (size, listed) in enumerate(pairs) if size != listed), None)
        return None

    def _sizes_at_end(self) -> list[int]:
        """Sizes of the packets of the stream in the list at the end of an AVI file, without empty ones."""
        file_size = self.container.size
        start = max(0, file_size - MAX_AVI_LIST)
        tail = self._read(start, file_size - start)
        place = tail.rfind(b"idx1")
        if place < 0 or len(tail) - place - 8 != int.from_bytes(tail[place + 4 : place + 8], "little"):
            return []
        entries = np.frombuffer(tail[place + 8 :], dtype=[("name", "S4"), ("words", "<u4", 3)])
        is_ours = np.char.startswith(entries["name"], b"%02d" % self.stream.index)
        return [int(size) for size in entries["words"][is_ours, 2] if size]

    # -- Matroska

    def _is_shorter_than_segment(self) -> bool:
        head = self._read(0, HEAD_BYTES)
        place = head.find(SEGMENT)
        if place < 0:
            return False
        start = place + len(SEGMENT)
        length = 9 - head[start].bit_length()  # bytes of the number, by its leading zeros
        size = int.from_bytes(head[start : start + length], "big") & (1 << 7 * length) - 1
        is_known = size != (1 << 7 * length) - 1
        return is_known and self.container.size < start + length + size

    def _read(self, start: int, size: int) -> bytes:
        """Bytes of the file."""
        if isinstance(self.readable, str):
            with open(self.readable.removeprefix("file:"), "rb") as file:
                file.seek(start)
                return file.read(size)
        before = self.readable.tell()
        with contextlib.ExitStack() as stack:
            stack.callback(self.readable.seek, before)
            self.readable.seek(start)
            return self.readable.read(size)
