# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""One opened video stream and the two ways to fetch frames from it: in the middle of the file, or from its start."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from .video_index import Interval, PacketIndex, index_packets, read_packets
from .video_sources import Deadline, VideoDecodeError, explain, naming_source, open_readable


# Codecs in which a picture marked as unreferenced is unreferenced for certain. (HEVC means "in its temporal layer".)
CODECS_WITH_SAFE_SKIPPING = {"h264", "mpeg4", "mpeg2video", "mpeg1video"}
# Packets to read on to the next key frame rather than to seek: reading one costs microseconds.
READ_ON_PACKETS = 64
# Decoded pictures to keep while counting frames, so that short videos are not decoded twice.
KEPT_BYTES = 64 << 20
# Pictures from this size on are worth several threads (1.8 times as fast at 1280x720 with two); smaller ones lose.
THREADED_PIXELS, MAX_THREADS = 900_000, 4


class IndexMismatchError(Exception):
    """The pictures that come out are not those that the packets announced."""


class VideoReader:
    """The video stream of a file, opened and indexed. A context manager: leaving it closes everything it opened.

    The arguments are those of `decode_video`; `name` stands for the source in messages.
    """

    def __init__(self, source, name, *, stream_index=0, num_threads=None, timeout_s=None, max_pixels=None):
        if stream_index < 0 or (num_threads or 0) < 0:
            raise ValueError(f"Must not be negative: stream_index={stream_index}, num_threads={num_threads}.")
        self.source, self.name, self.stream_index = source, name, stream_index
        self.num_threads, self.max_pixels, self.deadline = num_threads, max_pixels, Deadline(timeout_s)
        self.index: PacketIndex | None = None
        self.counted_pts: list[int | None] | None = None  # set once the frames were counted by decoding
        self.damage: str | None = None  # why counting broke off
        self._kept: list[av.VideoFrame] | None = None  # the pictures of the count, if they are few
        self._source_stack, self._container_stack = ExitStack(), ExitStack()

    def __enter__(self) -> "VideoReader":
        try:
            with self._naming():
                self._readable = self._source_stack.enter_context(open_readable(self.source, self.name, self.deadline))
                self._open()
                self.index = index_packets(self.container, self.stream, self.deadline)
            if not self.index.num_frames:
                raise VideoDecodeError(self.name, "its video stream holds no whole frame.", 0)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._kept = None
        self._container_stack.close()
        self._source_stack.close()

    def _naming(self):
        return naming_source(self.name, self.deadline.timeout_s)

    # -- opening

    def _open(self, **codec_options: str):
        """Open the container, anew if it is open: its start, and a decoder without a past."""
        self._container_stack.close()
        if hasattr(self._readable, "seek"):
            self._readable.seek(0)
        limit = {} if self.max_pixels is None else {"max_pixels": str(self.max_pixels)}
        self.container = self._container_stack.enter_context(
            av.open(
                self._readable,
                options=limit,
                container_options={"protocol_whitelist": "file"},  # a playlist must not fetch anything
                metadata_errors="replace",
                timeout=self.deadline.timeout_s,
            )
        )
        self.stream = self._choose_stream()
        self.codec = self.stream.codec_context
        if self.codec is None:
            raise VideoDecodeError(self.name, "this build of FFmpeg has no decoder for its video stream.")
        self._check_size(self.codec.width, self.codec.height)
        self.codec.options = limit | codec_options  # the limit again: the header may lie, and pictures may grow
        self.codec.thread_count = self._num_threads()
        self.codec.thread_type = "AUTO"

    def _choose_stream(self) -> "av.VideoStream":
        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in self.container.streams.video if not stream.disposition & cover]
        if not streams:
            kinds = sorted({stream.type for stream in self.container.streams})
            raise VideoDecodeError(
                self.name, f"expected a video stream, the file holds {' and '.join(kinds) or 'no stream'} only."
            )
        if self.stream_index >= len(streams):
            raise VideoDecodeError(
                self.name, f"it has no video stream {self.stream_index}, only {len(streams)}, counted from 0."
            )
        return streams[self.stream_index]

    def _check_size(self, width: int, height: int):
        if self.max_pixels is not None and width * height > self.max_pixels:
            raise VideoDecodeError(
                self.name,
                f"its pictures are {width}x{height}, more than max_pixels={self.max_pixels}. Raise the limit if you "
                "trust the file.",
            )

    def _num_threads(self) -> int:
        if self.num_threads is not None:
            return self.num_threads
        if self.index is not None and not self.index.is_complete:
            return 1  # so that the frames before the damage are always the same ones
        is_worker = multiprocessing.parent_process() is not None
        is_small = self.codec.width * self.codec.height < THREADED_PIXELS
        return 1 if is_worker or is_small else min(MAX_THREADS, os.cpu_count() or 1)

    # -- facts

    @property
    def num_held(self) -> int:
        """Frames that the file gives, as far as is known."""
        return self.index.num_frames if self.counted_pts is None else len(self.counted_pts)

    @property
    def num_promised(self) -> int:
        """Frames that it would give undamaged."""
        if self.counted_pts is not None and self.damage is None and self.index.is_complete:
            return len(self.counted_pts)
        return max(self.index.promised_num_frames, self.num_held)

    @property
    def frame_pts(self) -> np.ndarray | None:
        """Time stamps of the frames in output order `(num_held,)`; `None` if some have none."""
        pts = self.index.frame_pts if self.counted_pts is None else self.counted_pts
        if any(time is None or time == PacketIndex.NO_TIME for time in pts):
            return None
        return np.asarray(pts, dtype=np.int64)

    # -- fetching

    def decode_first(self) -> "PictureBuffer":
        """The first picture that comes out, whatever follows it."""
        pictures = PictureBuffer(self.name, np.zeros(1, dtype=np.int64))
        with self._naming():
            for frame in self.all_frames():
                pictures.add(0, frame)
                return pictures
        raise VideoDecodeError(self.name, self.damage or "no packet of its video stream gives a picture.", 0)

    def decode_sparsely(self, wanted: np.ndarray) -> "PictureBuffer":
        """Frames `wanted` `(K,)`, decoding only the groups of pictures that they need.

        Raises:
            IndexMismatchError: If the packets told frame numbers wrongly.
        """
        self._check_held(wanted)
        pictures = PictureBuffer(self.name, wanted)
        with self._naming():
            feed = PacketFeed(self.container, self.stream, self.index, self.deadline)
            for interval in self.index.plan(wanted):
                self._decode_interval(feed, interval, pictures)
        return pictures

    def _decode_interval(self, feed: "PacketFeed", interval: Interval, pictures: "PictureBuffer"):
        waiting, number = dict(interval.frame_at_pts), interval.start
        may_skip = self.codec.name in CODECS_WITH_SAFE_SKIPPING

        def hand_over(decoded):
            for frame in decoded:
                if frame.pts in waiting and not frame.is_corrupt:
                    pictures.add(waiting.pop(frame.pts), frame)

        feed.go_to(interval.start)
        try:
            for number in range(interval.start, interval.stop + 1):  # noqa: B007
                packet = feed.next()
                if may_skip:  # pictures that no other one refers to
                    self.codec.skip_frame = "DEFAULT" if packet.pts in waiting else "NONREF"
                hand_over(self.codec.decode(packet))
                if not waiting:
                    break
            else:  # what the decoder holds back to put pictures in order
                hand_over(self.codec.decode(None))
        except av.error.ExitError:  # out of time
            raise
        except av.FFmpegError as error:
            reason = f"decoding breaks off at packet {number}: {explain(error)}. Re-encode the file or leave it out."
            raise VideoDecodeError(self.name, reason, min(waiting.values())) from error
        self.codec.flush_buffers()
        if waiting:
            raise IndexMismatchError(f"frame {min(waiting.values())} did not come out where the packets announce it")

    def count_by_decoding(self):
        """Decode everything once, converting nothing, to learn the number and time stamps of the frames."""
        self.damage, self.counted_pts, self._kept = None, None, None
        bits = self.codec.format.padded_bits_per_pixel if self.codec.format else 24
        keep = self.codec.width * self.codec.height * bits // 8 * len(self.index.pts) <= KEPT_BYTES
        # Unless the pictures are of use later, they need not be pretty.
        options = {} if keep else {"skip_loop_filter": "all"}
        kept, counted = [], []
        with self._naming():
            for frame in self.all_frames(**options):
                counted.append(frame.pts)
                if keep:
                    kept.append(frame)
        if not counted:
            raise VideoDecodeError(self.name, self.damage or "no packet of its video stream gives a picture.", 0)
        self.counted_pts, self._kept = counted, kept if keep else None

    def decode_in_order(self, wanted: np.ndarray) -> "PictureBuffer":
        """Frames `wanted` `(K,)`, decoding everything up to the last one; after `count_by_decoding`."""
        self._check_held(wanted)
        pictures, numbers = PictureBuffer(self.name, wanted), set(wanted.tolist())
        with self._naming():
            for number, frame in enumerate(self.all_frames() if self._kept is None else self._kept):
                if number in numbers:
                    pictures.add(number, frame)
                if number == wanted[-1]:
                    return pictures
        raise VideoDecodeError(
            self.name, "it came out once, when frames were counted, but not again.", int(wanted[-1])
        )

    def all_frames(self, **codec_options: str) -> Iterator["av.VideoFrame"]:
        """Every picture from the start on, as it is stored; it ends early where the file is damaged, see `damage`."""
        self._open(**codec_options)
        # Without a broken last packet; damage further in front is for the decoder to judge.
        packets = islice(read_packets(self.container, self.stream), len(self.index.pts) - self.index.ends_broken)
        try:
            for packet in packets:
                self.deadline.check()
                yield from self.codec.decode(packet)
        except av.error.InvalidDataError as error:
            self.damage = f"decoding breaks off: {explain(error)}. Re-encode the file or leave it out."
        if self.damage is None and self.index.is_complete:
            yield from self.codec.decode(None)  # else a lost picture may belong before those held back

    def _check_held(self, wanted: np.ndarray):
        if wanted[-1] >= self.num_held:
            cut_off = (
                f"the file ends after {self.num_held} of the {self.num_promised} frames that its header promises. It is "
                "cut off: fetch it again, or pass allow_truncated=True to do with what is left."
            )
            missing = int(wanted[wanted >= self.num_held][0])
            raise VideoDecodeError(self.name, self.damage or cut_off, missing)


class PacketFeed:
    """The packets of an indexed stream, from any key frame on."""

    def __init__(self, container, stream, index: PacketIndex, deadline: Deadline):
        self.container, self.stream, self.index, self.deadline = container, stream, index, deadline
        self.packets: Iterator[av.Packet] = iter(())
        self.position = len(index.pts)  # of the next packet: past the end, where indexing left the container

    def go_to(self, target: int):
        """Make packet `target` the next one."""
        if not self.position <= target <= self.position + READ_ON_PACKETS:
            self._seek(target)
            if self.position > target:
                self._seek(0)
        while self.position < target:
            self.next()

    def _seek(self, target: int):
        """Move to packet `target` or, as containers may, a little before or after it."""
        dts = int(self.index.dts[target])
        time = dts if dts != PacketIndex.NO_TIME else int(self.index.pts[target])
        try:
            self.container.seek(time, stream=self.stream)
        except av.FFmpegError as error:
            raise IndexMismatchError(f"seeking fails: {explain(error)}") from error
        self.packets = read_packets(self.container, self.stream)
        first = next(self.packets, None)
        if first is None:
            self.position = len(self.index.pts)
        else:
            self.packets = chain([first], self.packets)
            self.position = self.index.packet_at_pts.get(first.pts, len(self.index.pts))

    def next(self) -> "av.Packet":
        self.deadline.check()
        packet = next(self.packets, None)
        expected = self.index.pts[self.position] if self.position < len(self.index.pts) else None
        if packet is None or packet.pts != expected:
            raise IndexMismatchError(f"packet {self.position} is not the one that was there before")
        self.position += 1
        return packet


class PictureBuffer:
    """Room for the wanted frames `(K, height, width, 3)`; pictures are converted to RGB one by one as they come."""

    def __init__(self, name: str, wanted: np.ndarray):
        self.name, self.frames = name, None
        self.rotation = 0  # degrees by which the pictures were turned counter-clockwise
        self.place = {int(frame): place for place, frame in enumerate(wanted)}
        self.to_rgb = VideoReformatter()

    def add(self, number: int, frame: "av.VideoFrame"):
        # One thread: the result is the same, and starting threads takes longer than a small picture.
        picture = self.to_rgb.reformat(frame, format="rgb24", threads=1).to_ndarray()
        picture = upright(picture, display_matrix(frame))
        self.rotation = round(frame.rotation / 90) * 90 % 360
        if self.frames is None:
            self.frames = np.empty((len(self.place), *picture.shape), dtype=np.uint8)
        if picture.shape != self.frames.shape[1:]:
            (height, width), (new_height, new_width) = self.frames.shape[1:3], picture.shape[:2]
            raise VideoDecodeError(
                self.name,
                f"pictures change their size from {width}x{height} to {new_width}x{new_height} within the video. "
                "Re-encode it to one size.",
                number,
            )
        self.frames[self.place[number]] = picture


def display_matrix(frame: "av.VideoFrame") -> tuple[int, int, int, int] | None:
    """(a, b, c, d): a stored point (x, y) is to be shown at (a x + c y, b x + d y), up to a shift; `None` if absent."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
    return a, b, c, d


def upright(picture: np.ndarray, matrix: tuple[int, int, int, int] | None) -> np.ndarray:
    """Turn and mirror a picture `(height, width, 3)` as its display matrix says, to the nearest right angle."""
    if matrix is None:
        return picture
    a, b, c, d = matrix
    along_x, along_y = a, d
    if abs(b) > abs(a):  # the stored x axis is shown as the y axis
        picture = picture.transpose(1, 0, 2)
        along_x, along_y = c, b
    if along_x < 0:
        picture = picture[:, ::-1]
    if along_y < 0:
        picture = picture[::-1]
    return picture
