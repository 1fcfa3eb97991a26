# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Reading the packets of a video file, once, into a `PacketIndex`: what they are, and what is wrong with them."""

import contextlib
import io
from collections.abc import Iterable
from dataclasses import replace

import av
import numpy as np

from .bitstreams import build_packet_check, is_hidden_vp8, is_vp9_key
from .complaints import Complaints
from .lost_packets import LostPackets
from .video_index import PacketIndex, place_of, read_packets
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
TS_PACKETS = (188, 192, 204)  # bytes
ABSURD_S = 10 * 365 * 86400  # no video lasts ten years: a header that says so says nothing


def index_packets(
    container: "av.container.InputContainer",
    stream: "av.VideoStream",
    readable: str | io.IOBase,
    complaints: Complaints,
    deadline: Deadline,
) -> PacketIndex:
    """Read all packets of `stream` once, from where the container stands (its start, after opening).

    `readable` is what the container reads.
    """
    stated_s, is_of_stream = _stated_duration(container, stream)
    # a duration of the whole file is that of its longest stream, be it sound or words
    watched = [stream] if stream.frames or is_of_stream else list(container.streams)
    codec = stream.codec_context
    knows_keys = codec.name == "vp9"  # whose decoder, if it is libvpx, does not tell
    hides_pictures = codec.name.startswith(("vp8", "libvpx"))
    check = build_packet_check(container, stream, complaints)
    rows, places, last, latest, ends = [], [], None, None, {}  # last in the file, latest to be shown, ends of streams
    is_cut, damaged_from, damage, num_empty = False, None, None, 0
    has_one_description, headless = True, set()

    if complaints.take(container.format.name, "") or check.listens_to_reading:
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
                problem = check.add(len(rows), packet) if size else None
                if (
                    complaints.heard
                ):  # the demuxer finds a packet, the parser the head of a picture, the decoder judges
                    if size and complaints.has_error_of(codec.name):
                        headless.add(len(rows))
                    problem = complaints.take(container.format.name, "") or problem
                if problem and damage is None:
                    damaged_from, damage = len(rows), problem
                if not size:
                    num_empty += 1
                    continue
                is_hidden = packet.is_discard or (hides_pictures and is_hidden_vp8(packet))
                if is_key := packet.is_keyframe:
                    has_one_description &= not (rows and packet.has_sidedata("new_extradata"))
                    is_key = not knows_keys or is_vp9_key(packet)
                rows.append((pts, packet.dts, is_key, not is_hidden))
                places.append(place_of(packet))
                last = packet
                if latest is None or (pts or 0) >= (latest.pts or 0):
                    latest = packet
        except av.error.InvalidDataError:  # what can be read up to here is the file
            is_cut = True
        complaint_at_end = complaints.take(container.format.name, "")
        if complaint_at_end and damage is None and rows and check.listens_to_reading:
            damaged_from = len(rows) - 1

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
        places=np.array(places, dtype=np.int64).reshape(-1, 2),
        tells_keys=codec.name in CODECS_THAT_TELL_KEYS or codec.codec.intra_only,
        has_one_description=has_one_description,
        headless=frozenset(headless),
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
        lost = LostPackets(container, stream, index, readable, deadline)
        damaged_from, damage = lost.first(check)
        index = replace(index, is_damaged_from=damaged_from, damage=damage)
        is_cut |= lost.end_is_missing(complaint_at_end is not None)
    promised = _promised_frames(container, stream, index, num_empty, stated_s, end_s, is_cut)
    return replace(index, promised_num_frames=promised)


def _ticks(times: Iterable[int | None]) -> np.ndarray:
    return np.array([PacketIndex.NO_TIME if time is None else time for time in times], dtype=np.int64)


def _tells_order(container, stream, pts: tuple) -> bool:
    if not stream.codec_context.reorder_depth:
        return True  # pictures come out as they went in
    has_times = bool(TIMESTAMPED_CONTAINERS & set(container.format.name.split(",")))
    # A codec that re-orders under times that never do: they were copied from a container that has none.
    rises = all(a is not None and b is not None and a < b for a, b in zip(pts, pts[1:], strict=False))
    return has_times and not (rises and len(pts) > 1)


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
