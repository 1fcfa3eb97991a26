# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a video file holds, found without decoding a picture: its packets, and which packets a frame needs.

Packets lie in a file in the order in which they are decoded. Their presentation time stamps (pts) tell the order in
which the pictures come out:

    packet      0     1     2     3     4     5     6     7
    picture     I     P     B     B     I     B     B     P         I at 0 and 4 are key frames: decoding can start
    there pts         0     3     1     2     6     4     5     7         -> output order: packets 0 2 3 1 5 6 4 7

Frame 6 (packet 4) can be decoded from packet 4 on. Frame 4 (packet 5) comes after the key frame in the file, but is
shown before it and may refer to pictures before it, so it has to be decoded from packet 0 on.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import av
import numpy as np


# Of distances between pictures, at least this share is the same where one of them says something.
REGULAR_SHARE = 0.9
# A gap between time stamps that are regular otherwise, in frames, from which on the shortcut is given up: pictures may
# have been lost there, which the decoder notices.
GAP_FRAMES = 5


class Interval(NamedTuple):
    """A run of packets to decode from `start`, a key frame, to `stop`, for the frames in `frame_at_pts`."""

    start: int
    stop: int
    frame_at_pts: dict[int, int]


@dataclass
class PacketIndex:
    """The packets of one video stream in decoding order.

    Attributes:
        pts, dts (`np.ndarray` of shape `(packets,)`): Presentation and decoding times in ticks; `NO_TIME` where
            absent.
        is_key (`np.ndarray` of shape `(packets,)`): Whether decoding can start at the packet, by what the file says.
        is_shown (`np.ndarray` of shape `(packets,)`): Whether the packet becomes a frame. Pictures cut away by an edit
            list, pictures that serve as reference only, and broken packets do not.
        places (`np.ndarray` of shape `(packets, 2)`, *optional*): Where each packet lies in the file (-1 where unknown) and its
            size, in bytes.
        tells_keys (`bool`): Whether the decoder would notice a wrong key flag.
        has_one_description (`bool`): Whether one description of the samples (e.g. one parameter set) is for all.
        headless (`frozenset[int]`): Packets in which FFmpeg's parser found no head of a picture. A decoder that is told to
            skip pictures passes over them without a word.
        last_duration (`int`): Ticks that the last frame lasts, 0 if unknown.
        ends_broken (`bool`): Whether the file ends within the last packet.
        promised_num_frames (`int`): Frames that the file would hold if it were not cut off.
        has_presentation_times (`bool`): Whether `pts` can be believed to tell the output order.
        may_lose_packets (`bool`): Whether a damaged file may have fewer packets. (MP4 lists them all in one place.)
        is_damaged_from (`int`, *optional*): First packet before which FFmpeg found something that it could not read.
        damage (`str`, *optional*): What it found.
    """

    NO_TIME = np.iinfo(np.int64).min

    pts: np.ndarray
    dts: np.ndarray
    is_key: np.ndarray
    is_shown: np.ndarray
    places: np.ndarray | None = None
    tells_keys: bool = True
    has_one_description: bool = True
    headless: frozenset[int] = frozenset()
    last_duration: int = 0
    ends_broken: bool = False
    promised_num_frames: int = 0
    has_presentation_times: bool = True
    may_lose_packets: bool = True
    is_damaged_from: int | None = None
    damage: str | None = None
    frame_pts: np.ndarray = field(init=False)
    frame_packet: np.ndarray = field(init=False)

    def __post_init__(self):
        shown = np.flatnonzero(self.is_shown)
        by_time = np.argsort(self.pts[shown], kind="stable")
        self.frame_packet = shown[by_time]
        self.frame_pts = self.pts[self.frame_packet]

    def freeze(self) -> None:
        """Refuse any change of the arrays: several readers share them from now on."""
        for array in (self.pts, self.dts, self.is_key, self.is_shown, self.places, self.frame_pts, self.frame_packet):
            if array is not None:
                array.flags.writeable = False

    @property
    def num_frames(self) -> int:
        return len(self.frame_pts)

    @property
    def key_frames(self) -> np.ndarray:
        """Numbers of the frames at which decoding can start, by what the file says, int64."""
        return np.flatnonzero(self.is_key[self.frame_packet])

    @property
    def is_complete(self) -> bool:
        return self.promised_num_frames <= self.num_frames and self.is_damaged_from is None

    @cached_property
    def num_certain(self) -> int:
        """Frames from the first on whose number is certain, also if the file is cut off or damaged further behind.

        A missing packet is decoded later than all that are in front of it, and no picture is shown before it is
        decoded. So what is shown up to the last decoding time has its number; what is shown later may come after a
        missing one.
        """
        if self.is_complete:
            return self.num_frames
        end = len(self.pts) if self.is_damaged_from is None else self.is_damaged_from
        is_before = self.is_shown & (np.arange(len(self.pts)) < end)
        if not self.has_presentation_times:
            return int(is_before.sum())
        known = self.dts[is_before & (self.dts != self.NO_TIME)]
        return int((self.pts[is_before] <= (known.max() if len(known) else self.NO_TIME)).sum())

    def number_at(self, place: tuple[int, int]) -> int | None:
        """The packet that lies at a place of the file; `None` if none does."""
        first = np.searchsorted(self.places[:, 0], place[0], sorter=self._by_place)
        for packet in self._by_place[first:]:
            if self.places[packet, 0] != place[0]:
                break
            if self.places[packet, 1] == place[1]:
                return int(packet)
        return None

    @cached_property
    def _by_place(self) -> np.ndarray:
        """Numbers of the packets in the order of their places `(packets,)`."""
        return np.lexsort((self.places[:, 1], self.places[:, 0]))

    def _places_differ(self) -> bool:
        in_order = self.places[self._by_place]
        return not (in_order[1:] == in_order[:-1]).all(axis=1).any()

    @cached_property
    def is_sound(self) -> bool:
        """Whether frame numbers can be told from the packets, so that decoding can start in the middle."""
        return (
            self.has_presentation_times
            and self.tells_keys
            and self.has_one_description
            and len(self.pts) > 0
            and self.NO_TIME not in self.pts
            and len(np.unique(self.pts)) == len(self.pts)
            and (self.places is None or self._places_differ())
            and bool(self.is_key[0])
            and self.pts[0] == self.pts.min()  # else the first pictures refer to some that are not in the file
            and self._keys_divide_time()
            and not (self.may_lose_packets and self.has_gap(GAP_FRAMES))
        )

    def _keys_divide_time(self) -> bool:
        """Whether time stamps never run backwards across a key frame.

        What is decoded before a key frame is shown before it. What follows it in the file and is shown before it
        comes right behind it.
        """
        keys = np.flatnonzero(self.is_key)
        latest_before = np.concatenate([[self.NO_TIME], np.maximum.accumulate(self.pts)])[keys]
        num_leading = np.searchsorted(np.sort(self.pts), self.pts[keys]) - keys
        if np.any(latest_before >= self.pts[keys]) or np.any(num_leading < 0):
            return False
        return all(
            self.pts[key + 1 : key + 1 + count].max() < self.pts[key]
            for key, count in zip(keys[num_leading > 0], num_leading[num_leading > 0], strict=True)
        )

    def has_gap(self, num_frames: float) -> bool:
        """Whether pictures come regularly but for a gap of more than `num_frames`, in which some may have been lost."""
        distances = np.diff(self.frame_pts)
        if len(distances) < 2:
            return False
        usual = np.median(distances)
        is_usual = np.abs(distances - usual) <= max(1.5, usual / 50)
        return is_usual.mean() >= REGULAR_SHARE and distances.max() > num_frames * usual

    def plan(self, frames: Iterable[int]) -> list[Interval]:
        """The fewest runs of packets that give `frames`, in file order, not overlapping; of an index that is sound."""
        frames, keys = np.fromiter(frames, np.int64), np.flatnonzero(self.is_key)
        packets, times = self.frame_packet[frames], self.frame_pts[frames]
        # Key frames rise in time, too: the last one that is decoded and shown before.
        last_key = np.minimum(np.searchsorted(keys, packets, "right"), np.searchsorted(self.pts[keys], times, "right"))
        # Also what is decoded later and shown before: a picture with a wrong time would come out before these.
        stops = np.maximum.accumulate(self.frame_packet)[frames]
        runs = sorted(zip(*(each.tolist() for each in (keys[last_key - 1], stops, times, frames)), strict=True))
        intervals: list[Interval] = []
        for start, stop, pts, frame in runs:
            if not intervals or start > intervals[-1].stop:
                intervals.append(Interval(start, stop, {}))
            last = intervals[-1]
            intervals[-1] = last._replace(stop=max(last.stop, stop))
            last.frame_at_pts[pts] = frame
        return intervals


def place_of(packet: "av.Packet") -> tuple[int, int]:
    """Where a packet lies in the file and its size, as `PacketIndex.places` has them."""
    return -1 if packet.pos is None else packet.pos, packet.size


def read_packets(container: "av.container.InputContainer", streams: Iterable) -> Iterator["av.Packet"]:
    """The packets from where the container stands. (PyAV marks the end with empty ones without a time.)"""
    try:
        yield from (packet for packet in container.demux(streams) if packet.size or packet.dts is not None)
    except IndexError:  # at the end, PyAV stumbles over streams that turned up on the way
        return
