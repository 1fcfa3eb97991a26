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

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import av
import numpy as np

from .bitstreams import REGULAR_SHARE, PacketCheck, build_packet_check, is_hidden_vp8, is_vp9_key
from .complaints import Complaints
from .video_sources import Deadline


# Containers that store presentation times. AVI, raw streams and others do not: what FFmpeg reports there is a guess.
TIMESTAMPED_CONTAINERS = {"mov", "mp4", "matroska", "webm", "flv", "gif"}
# Codecs whose decoder says of each picture whether decoding can start there, so that a key flag need not be believed.
# Intra codecs need no flag. Others (GIF, Animation, Cinepak, ...) build pictures on earlier ones without a word.
CODECS_THAT_TELL_KEYS = {
    "h264", "hevc", "vvc", "vp8", "vp9", "libvpx", "libvpx-vp9", "av1", "libdav1d", "libaom-av1", "vp6", "vp6f", "vp6a", "vp7",
    "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4", "h263", "h263p", "flv", "wmv1", "wmv2", "theora",
}  # fmt: skip
# A header that promises more than the file holds means a cut-off file, if the file holds less than this share of it.
# Below that, headers are known to be off by a few frames; the sample table of an MP4 file is exact.
COMPLETE_SHARE = 0.9
# A gap between time stamps that are regular otherwise, in frames, from which on the shortcut is given up: pictures may
# have been lost there, which the decoder notices.
GAP_FRAMES, LOST_FRAMES = 5, 1.5
# Containers in which one packet follows the next but for a few bytes of head.
TILED_CONTAINERS, SMALL_HEAD = {"flv", "matroska,webm"}, 32
SENT_ONCE = {"mpegts", "matroska,webm", "flv"}  # each picture has a time of its own
TS_PACKETS = (188, 192, 204)  # bytes
ABSURD_S = 10 * 365 * 86400  # no video lasts ten years: a header that says so says nothing


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
    container: "av.container.InputContainer", stream: "av.VideoStream", complaints: Complaints, deadline: Deadline
) -> PacketIndex:
    """Read all packets of `stream` once, from where the container stands (its start, after opening)."""
    stated_s, is_of_stream = _stated_duration(container, stream)
    # a duration of the whole file is that of its longest stream, be it sound or words
    watched = [stream] if stream.frames or is_of_stream else list(container.streams)
    codec = stream.codec_context
    knows_keys = codec.name == "vp9"  # whose decoder, if it is libvpx, does not tell
    hides_pictures = codec.name.startswith(("vp8", "libvpx"))
    check = build_packet_check(container, stream, complaints)
    rows, places, last, latest, ends = [], [], None, None, {}  # last in the file, latest to be shown, ends of streams
    is_cut, damaged_from, damage, num_empty, has_one_description = False, None, None, 0, True

    if complaints.take(container.format.name, ""):
        # FFmpeg has read ahead to open the file, and complained: what it read is read once more, to hear where.
        with contextlib.suppress(av.FFmpegError):
            container.seek(container.start_time or 0)
    with check.listening():
        try:
            for packet in read_packets(container, watched):
                deadline.check()
                pts, size = packet.pts, packet.size
                if packet.stream_index != stream.index:
                    end = (pts or 0) + (packet.duration or 0)
                    ends[packet.stream_index] = max(ends.get(packet.stream_index, 0), end)
                    continue
                if complaints.heard and damage is None:  # the decoder judges what is in a packet, the demuxer finds it
                    damage = complaints.take(container.format.name, "")
                    damaged_from = len(rows) if damage else None
                if not size:
                    num_empty += 1
                    continue
                if (problem := check.add(len(rows), packet)) and damage is None:
                    damaged_from, damage = len(rows), problem
                is_hidden = packet.is_discard or (hides_pictures and is_hidden_vp8(packet))
                if is_key := packet.is_keyframe:
                    has_one_description &= not (rows and packet.has_sidedata("new_extradata"))
                    is_key = not knows_keys or is_vp9_key(packet)
                rows.append((pts, packet.dts, is_key, not is_hidden))
                places.append((packet.pos, size))
                last = packet
                if latest is None or (pts or 0) >= (latest.pts or 0):
                    latest = packet
        except av.error.InvalidDataError:  # what can be read up to here is the file
            is_cut = True

    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    is_shown, ends_broken = np.array(columns[3], dtype=bool), last is not None and _is_broken(container, last)
    if damaged_from is not None and damaged_from == len(rows) - 1:  # the end of a file that is cut off
        ends_broken, damaged_from, damage = True, None, None
    if ends_broken:
        is_shown[-1] = False
    index = PacketIndex(
        pts=_ticks(columns[0]),
        dts=_ticks(columns[1]),
        is_key=np.array(columns[2], dtype=bool),
        is_shown=is_shown,
        places=places,
        tells_keys=codec.name in CODECS_THAT_TELL_KEYS or codec.codec.intra_only,
        has_one_description=has_one_description,
        last_duration=int(latest.duration or 0) if latest is not None else 0,
        ends_broken=ends_broken,
        has_presentation_times=_tells_order(container, stream, columns[0]),
        may_lose_packets="mov" not in container.format.name,
        is_damaged_from=damaged_from,
        damage=damage,
    )
    if index.num_frames:
        ends[stream.index] = int(index.frame_pts[-1]) + index.last_duration
    end_s = max((float(end * (container.streams[number].time_base or 0)) for number, end in ends.items()), default=0.0)
    is_cut |= ends_broken
    if index.is_damaged_from is None:
        damaged_from, damage = _lost_packets(container, stream, index, check, deadline)
        index = replace(index, is_damaged_from=damaged_from, damage=damage)
    promised = _promised_frames(container, stream, index, num_empty, stated_s, end_s, is_cut)
    return replace(index, promised_num_frames=promised)


def read_packets(container: "av.container.InputContainer", streams) -> Iterator["av.Packet"]:
    """The packets from where the container stands. (PyAV marks the end with empty ones without a time.)"""
    try:
        yield from (packet for packet in container.demux(streams) if packet.size or packet.dts is not None)
    except IndexError:  # at the end, PyAV stumbles over streams that turned up on the way
        return


def _ticks(times: Iterable[int | None]) -> np.ndarray:
    return np.array([PacketIndex.NO_TIME if time is None else time for time in times], dtype=np.int64)


def _tells_order(container, stream, pts: tuple) -> bool:
    if not stream.codec_context.reorder_depth:
        return True  # pictures come out as they went in
    has_times = bool(TIMESTAMPED_CONTAINERS & set(container.format.name.split(",")))
    # A codec that re-orders under times that never do: they were copied from a container that has none.
    rises = all(a is not None and b is not None and a < b for a, b in zip(pts, pts[1:], strict=False))
    return has_times and not (rises and len(pts) > 1)


def _lost_packets(
    container, stream, index: PacketIndex, check: PacketCheck, deadline: Deadline
) -> tuple[int | None, str | None]:
    """The first packet in front of which another one was lost, and what tells so; `None` twice if all seem there."""
    if not index.num_frames:
        return None, None
    name, positions = container.format.name, np.array([position or 0 for position, _ in index.places])
    if "mov" in name and (irregular := _first_irregular_frame(index, stream)) is not None:
        first = int(index.frame_packet[irregular:].min())
        return first, "pictures are to be decoded at regular times, and shown at others"
    if (first := check.first_lost()) is not None:
        return first, "pictures are missing in front of it or are there twice, by their order numbers"
    if name in SENT_ONCE and (repeated := _first_repetition(index)) is not None:
        return repeated, "it is there a second time"
    if name == "mpegts" and index.has_gap(LOST_FRAMES) and index.NO_TIME not in index.pts:  # of constant rate
        distances = np.diff(index.frame_pts)
        behind = index.frame_pts[1 + int(np.argmax(distances > LOST_FRAMES * np.median(distances)))]
        return int(np.flatnonzero(index.pts >= behind)[0]), "pictures are missing in front of it, by their times"
    if name == "avi":  # its list of chunks names the head of each, 8 bytes in front of the data
        listed = [(entry.pos + 8, entry.size) for entry in stream.index_entries if entry.size]
        pairs = zip(index.places[:-1], listed, strict=False)  # the last one may be cut off
        differs = [packet for packet, (place, listed_place) in enumerate(pairs) if place != listed_place]
        if differs:
            return differs[0], "it is not where the list of the file says"
    # Pictures may come unevenly, or be fewer than a header says. Here, some bytes belong to no packet besides.
    counts_less = name == "avi" and bool(stream.frames) and index.dts[-1] + 1 != stream.frames
    if counts_less or (name in TILED_CONTAINERS and index.has_gap(LOST_FRAMES)):
        places = np.array(sorted(_places_of_all_streams(container, deadline)))  # (packets, 2): begin and end of each
        unread = places[1:, 0] - places[:-1, 1]
        for hole in np.flatnonzero(unread > np.median(unread) + SMALL_HEAD) if len(unread) else ():
            behind = np.flatnonzero(positions >= places[hole + 1, 0])
            if len(behind):
                return int(behind[0]), f"{unread[hole]} bytes in front of it cannot be read, and pictures are missing"
    return None, None


def _first_irregular_frame(index: PacketIndex, stream) -> int | None:
    """The first frame that is not shown at the rate at which all packets are decoded; `None` if that varies, too.

    Encoders decode at the times at which pictures are shown, delayed by some frames. So of an uneven video the last ones
    may be irregular, unless the tables of the file contradict each other besides.
    """
    steps, distances = np.diff(index.dts), np.diff(index.frame_pts)
    if len(steps) < 2 or index.NO_TIME in index.dts or index.NO_TIME in index.pts:
        return None
    usual = np.median(steps)
    if usual <= 0 or np.abs(steps - usual).max() > max(1.5, usual / 50):
        return None
    delay = 0 if stream.frames != len(stream.index_entries) else round((index.frame_pts[0] - index.dts[0]) / usual)
    irregular = np.flatnonzero((distances > LOST_FRAMES * usual) | (distances < usual / 2))
    irregular = irregular[irregular < len(distances) - max(delay, 0)]
    return int(irregular[0]) + 1 if len(irregular) else None


def _first_repetition(index: PacketIndex) -> int | None:
    """The first packet whose times and size are those of an earlier one."""
    seen = set()
    for packet, (pts, dts, (_, size)) in enumerate(zip(index.pts, index.dts, index.places, strict=True)):
        if (pts, dts, size) in seen:
            return packet
        seen.add((pts, dts, size))
    return None


def _places_of_all_streams(container, deadline: Deadline) -> Iterator[tuple[int, int]]:
    container.seek(container.start_time or 0)
    for packet in read_packets(container, list(container.streams)):
        deadline.check()
        if packet.size and packet.pos is not None and packet.pos >= 0:
            yield packet.pos, packet.pos + packet.size


def _promised_frames(
    container, stream, index: PacketIndex, num_empty: int, stated_s: float, end_s: float, is_cut: bool
) -> int:
    """Frames the file should hold according to its header; not more than it does hold, unless it is cut off."""
    held, read = index.num_frames, len(index.pts) + num_empty
    if not held:
        return 0
    share = 1 if is_cut else COMPLETE_SHARE
    if "mov" in container.format.name and stream.frames:  # the sample table, less what an edit list cuts away
        return held + max(len(stream.index_entries) - read, int(is_cut))
    if stream.frames:
        if container.format.name == "avi" and index.dts[-1] != PacketIndex.NO_TIME:
            read = int(index.dts[-1]) + 1  # times count chunks there, also those that the demuxer passes over
        return held + (stream.frames - read if read < stream.frames * share else int(is_cut))
    if stated_s > 0 and (held_share := max(end_s, 1e-9) / stated_s) < COMPLETE_SHARE:
        return max(held + 1, round(held / held_share))
    return held + int(is_cut)


def _stated_duration(container, stream) -> tuple[float, bool]:
    """Seconds until the end according to the header, 0 if it does not say; and whether it says so of this stream."""
    whole_s = (container.duration or 0) / av.time_base
    if "mov" not in container.format.name:  # there it is the end, also in a segment that starts late
        whole_s += max(container.start_time or 0, 0) / av.time_base
    # Matroska; tools that cut a file may leave the tag of the uncut one
    tags = [_clock_s(value) for name, value in stream.metadata.items() if name.upper().startswith("DURATION")]
    tag_s = min((seconds for seconds in tags if seconds > 0), default=0.0)
    if tag_s and not 0 < whole_s < tag_s * COMPLETE_SHARE:
        return tag_s, True
    return max(whole_s, 0.0), False


def _clock_s(text: str) -> float:
    """Seconds of `hh:mm:ss.fraction`; 0 if it is something else, or longer than anything."""
    try:
        hours, minutes, seconds = text.split(":")
        total = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return 0.0
    return total if 0 < total < ABSURD_S else 0.0


def _is_broken(container, last: "av.Packet") -> bool:
    """Whether the last packet of the file lacks its end."""
    if container.format.name == "mpegts" and all(container.size % unit for unit in TS_PACKETS):
        return True
    return last.is_corrupt
