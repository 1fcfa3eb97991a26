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
        places (`list[tuple[int, int]]`, *optional*): Where each packet lies in the file and its size, in bytes.
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
    places: list[tuple[int, int]] | None = None
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

    @cached_property
    def place_number(self) -> dict[tuple[int, int], int]:
        return {place: packet for packet, place in enumerate(self.places or ())}

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
            and (self.places is None or len(self.place_number) == len(self.pts))
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
        """The fewest runs of packets that give `frames`, in file order, not overlapping."""
        keys = np.flatnonzero(self.is_key)
        # Also what is decoded later and shown before: a picture with a wrong time would come out before these.
        stops = np.maximum.accumulate(self.frame_packet)
        runs = []
        for frame in frames:
            packet, pts = int(self.frame_packet[frame]), int(self.frame_pts[frame])
            usable = keys[(keys <= packet) & (self.pts[keys] <= pts)]
            runs.append((int(usable[-1]), int(stops[frame]), pts, int(frame)))
        intervals: list[Interval] = []
        for start, stop, pts, frame in sorted(runs):
            if intervals and start <= intervals[-1].stop:
                last = intervals[-1]
                intervals[-1] = Interval(last.start, max(last.stop, stop), last.frame_at_pts | {pts: frame})
            else:
                intervals.append(Interval(start, stop, {pts: frame}))
        return intervals


def read_packets(container: "av.container.InputContainer", streams: Iterable) -> Iterator["av.Packet"]:
    """The packets from where the container stands. (PyAV marks the end with empty ones without a time.)"""
    try:
        yield from (packet for packet in container.demux(streams) if packet.size or packet.dts is not None)
    except IndexError:  # at the end, PyAV stumbles over streams that turned up on the way
        return
