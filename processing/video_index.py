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
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import av
import numpy as np

from .video_sources import Deadline


# Containers that store presentation times. AVI, raw streams and others do not: what FFmpeg reports there is a guess.
TIMESTAMPED_CONTAINERS = {"mov", "mp4", "matroska", "webm", "flv", "gif"}
# A header that promises more than the file holds means a cut-off file, if the file holds less than this share of it.
# Below that, headers are known to be off by a few frames; the sample table of an MP4 file is exact.
COMPLETE_SHARE = 0.9


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
        is_key (`np.ndarray` of shape `(packets,)`): Whether decoding can start at the packet.
        is_shown (`np.ndarray` of shape `(packets,)`): Whether the packet becomes a frame. Pictures cut away by an edit
            list, pictures that serve as reference only, and broken packets do not.
        last_duration (`int`): Ticks that the last frame lasts, 0 if unknown.
        ends_broken (`bool`): Whether the file ends within the last packet.
        promised_num_frames (`int`): Frames that the file would hold if it were not cut off.
        has_presentation_times (`bool`): Whether `pts` can be believed to tell the output order.
    """

    NO_TIME = np.iinfo(np.int64).min

    pts: np.ndarray
    dts: np.ndarray
    is_key: np.ndarray
    is_shown: np.ndarray
    last_duration: int = 0
    ends_broken: bool = False
    promised_num_frames: int = 0
    has_presentation_times: bool = True
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
    def is_complete(self) -> bool:
        return self.promised_num_frames <= self.num_frames

    @cached_property
    def packet_at_pts(self) -> dict[int, int]:
        return {int(pts): packet for packet, pts in enumerate(self.pts)}

    @property
    def is_sound(self) -> bool:
        """Whether frame numbers can be told from the packets, so that decoding can start in the middle."""
        return (
            self.has_presentation_times
            and len(self.pts) > 0
            and self.NO_TIME not in self.pts
            and len(np.unique(self.pts)) == len(self.pts)
            and bool(self.is_key[0])
            and self.pts[0] == self.pts.min()  # else the first pictures refer to some that are not in the file
        )

    def plan(self, frames: Iterable[int]) -> list[Interval]:
        """The fewest runs of packets that give `frames`, in file order, not overlapping."""
        keys = np.flatnonzero(self.is_key)
        runs = []
        for frame in frames:
            packet, pts = int(self.frame_packet[frame]), int(self.frame_pts[frame])
            usable = keys[(keys <= packet) & (self.pts[keys] <= pts)]
            runs.append((int(usable[-1]), packet, pts, int(frame)))
        intervals: list[Interval] = []
        for start, stop, pts, frame in sorted(runs):
            if intervals and start <= intervals[-1].stop:
                last = intervals[-1]
                intervals[-1] = Interval(last.start, max(last.stop, stop), last.frame_at_pts | {pts: frame})
            else:
                intervals.append(Interval(start, stop, {pts: frame}))
        return intervals


def index_packets(
    container: "av.container.InputContainer", stream: "av.VideoStream", deadline: Deadline
) -> PacketIndex:
    """Read all packets of `stream` once, from where the container stands (its start, after opening)."""
    header_is_silent = not stream.frames and "DURATION" not in stream.metadata
    watched = (
        [other for other in container.streams if other.type in ("video", "audio")] if header_is_silent else [stream]
    )
    hides_pictures = stream.codec_context.name.startswith(("vp8", "libvpx"))
    rows, last, latest, end_s = [], None, None, 0.0  # last in the file, latest to be shown
    is_damaged = False

    try:
        for packet in read_packets(container, watched):
            deadline.check()
            if packet.pts is not None:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index != stream.index:
                continue
            is_hidden = packet.is_discard or (hides_pictures and _is_hidden_vp8(packet))
            rows.append((packet.pts, packet.dts, packet.is_keyframe, not is_hidden))
            last = packet
            if latest is None or (packet.pts or 0) >= (latest.pts or 0):
                latest = packet
    except av.error.InvalidDataError:  # what can be read up to here is the file
        is_damaged = True

    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    index = PacketIndex(
        pts=_ticks(columns[0]),
        dts=_ticks(columns[1]),
        is_key=np.array(columns[2], dtype=bool),
        is_shown=np.array(columns[3], dtype=bool),
        last_duration=int(latest.duration or 0) if latest is not None else 0,
        ends_broken=last is not None and _is_broken(container, last),
        has_presentation_times=_tells_order(container, stream, columns[0]),
    )
    promised = _promised_frames(container, stream, index, end_s, is_damaged)
    return _without_lost_end(index, promised)


def read_packets(container: "av.container.InputContainer", streams) -> Iterator["av.Packet"]:
    """The packets with data, from where the container stands. (PyAV marks the end with empty ones.)"""
    try:
        yield from (packet for packet in container.demux(streams) if packet.size)
    except IndexError:  # at the end, PyAV stumbles over streams that turned up on the way
        return


def _ticks(times: Iterable[int | None]) -> np.ndarray:
    return np.array([PacketIndex.NO_TIME if time is None else time for time in times], dtype=np.int64)


def _is_hidden_vp8(packet: "av.Packet") -> bool:
    """A VP8 picture that others refer to and that is never shown: bit 4 of the first byte is 0."""
    return not memoryview(packet)[0] >> 4 & 1


def _tells_order(container, stream, pts: tuple) -> bool:
    if not stream.codec_context.reorder_depth:
        return True  # pictures come out as they went in
    has_times = bool(TIMESTAMPED_CONTAINERS & set(container.format.name.split(",")))
    # A codec that re-orders under times that never do: they were copied from a container that has none.
    rises = all(a is not None and b is not None and a < b for a, b in zip(pts, pts[1:], strict=False))
    return has_times and not (rises and len(pts) > 1)


def _promised_frames(container, stream, index: PacketIndex, end_s: float, is_damaged: bool) -> int:
    """Frames the file should hold according to its header; not more than it does hold, unless it is cut off."""
    held, packets = index.num_frames, len(index.pts)
    if not held:
        return 0
    if stream.frames:
        is_exact = "mov" in container.format.name
        if packets < stream.frames * (1 if is_exact or index.ends_broken or is_damaged else COMPLETE_SHARE):
            return held + stream.frames - packets
    else:
        share = _held_share(container, stream, index, end_s)
        if share < COMPLETE_SHARE:
            return max(held + 1, round(held / share))
    return held + int(is_damaged)


def _held_share(container, stream, index: PacketIndex, end_s: float) -> float:
    """Share of the stated duration that is there; 1 if no duration is stated."""
    if "DURATION" in stream.metadata:  # Matroska, for this stream
        stated_s = _clock_s(stream.metadata["DURATION"])
        end_s = float((index.frame_pts[-1] + index.last_duration) * stream.time_base)
    else:
        stated_s = (container.duration or 0) / av.time_base
        end_s -= (container.start_time or 0) / av.time_base
    return max(end_s, 1e-9) / stated_s if stated_s > 0 else 1.0


def _clock_s(text: str) -> float:
    """Seconds of `hh:mm:ss.fraction`; 0 if it is something else."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return 0.0


def _is_broken(container, last: "av.Packet") -> bool:
    """Whether the last packet of the file lacks its end."""
    return last.is_corrupt or (container.format.name == "gif" and not _holds_whole_gif_picture(bytes(last)))


def _holds_whole_gif_picture(data: bytes) -> bool:
    """Whether the data of a GIF packet go on to the end of its picture; the decoder gives half pictures unasked."""
    position = 0

    def skip_palette(flags: int):
        nonlocal position
        position += 3 << (flags & 7) + 1 if flags & 0x80 else 0

    def skip_blocks():
        nonlocal position
        while data[position]:  # each block begins with its length, 0 ends them
            position += 1 + data[position]
        position += 1

    try:
        if data.startswith(b"GIF8"):
            position = 13
            skip_palette(data[10])
        while data[position] == 0x21:  # extensions, e.g. the delay
            position += 2
            skip_blocks()
        if data[position] != 0x2C:  # a picture
            return False
        position += 10
        skip_palette(data[position - 1])
        position += 1
        skip_blocks()
    except IndexError:
        return False
    return True


def _without_lost_end(index: PacketIndex, promised: int) -> PacketIndex:
    """Note what the file promises; if it is cut off, hide pictures at its end that are broken or whose number is open."""
    is_shown = index.is_shown.copy()
    if index.ends_broken:
        is_shown[-1] = False
    if promised > is_shown.sum() and index.has_presentation_times:
        # A missing packet is decoded later than all that are there, and no picture is shown before it is decoded. So
        # what is shown up to the last decoding time has its number; what is shown later may come after a missing one.
        known = index.dts[is_shown & (index.dts != PacketIndex.NO_TIME)]
        is_shown &= index.pts <= (known.max() if len(known) else PacketIndex.NO_TIME)
    return replace(index, is_shown=is_shown, promised_num_frames=promised)
