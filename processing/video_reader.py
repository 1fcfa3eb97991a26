# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""One opened video stream and the two ways to fetch frames from it: in the middle of the file, or from its start."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from .complaints import Complaints
from .decoding_count import note_decoded
from .kept_indexes import KEPT_INDEXES, IndexKey, file_state, is_settled
from .packet_reading import index_packets
from .packet_tables import find_kept
from .video_index import Interval, PacketIndex, place_of, read_packets
from .video_sources import (
    Deadline,
    IndexMismatchError,
    VideoDecodeError,
    check_kind,
    explain,
    naming_source,
    open_readable,
)


# Codecs in which a picture marked as unreferenced is unreferenced for certain. (HEVC means "in its temporal layer".)
CODECS_WITH_SAFE_SKIPPING = {"h264", "mpeg4", "mpeg2video", "mpeg1video"}
# Decoders that mark a damaged picture, and stop at an error if told to; of others, what they log is heard. VP9 is left to
# libvpx where it is there: FFmpeg's own decoder gives garbage without a word.
CODECS_THAT_MARK_DAMAGE = {"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"}
OUTSPOKEN_DECODERS = {"vp9": "libvpx-vp9"}
GIVE_UP_SILENTLY, GAVE_UP = {"vp8"}, "the decoder gave up before the end of a picture"
SILENT_ABOUT_KEYS = {"libvpx-vp9"}  # the index has looked at the headers
# Each packet of these is one picture, if pictures are not stored as two fields. (The first ones may refer to pictures that
# were cut.) In AVI, packets of a few bytes stand for "as before".
ONE_PICTURE_EACH = {"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"}
AS_BEFORE_BYTES = 16
MAX_PIXEL_RATIO = 4  # a wider or higher pixel is a stale tag
MIN_AXIS_RATIO = 10  # a display matrix turns by a right angle, or is garbage
# Demuxers of files that hold a video. Others read lists of further files, or take anything for a video.
CONTAINERS = (
    "3g2,3gp,4xm,amv,apng,asf,asf_o,av1,avi,avif,cavsvideo,dirac,dnxhd,dv,f4v,flic,flv,gif,gxf,h261,h263,h264,hevc,idcin,iff,"
    "ivf,ivr,m4v,matroska,mjpeg,mlv,mm,mov,mp4,mpeg,mpegts,mpegvideo,mtv,mv,mxf,mxg,nsv,nut,nuv,obu,ogg,pva,r3d,rm,roq,rpl,"
    "smjpeg,smk,swf,ty,vc1,vc1test,vivo,vmd,vvc,webm,wtv,xmv,yuv4mpegpipe,"
    "aac,aiff,au,flac,mp3,wav"  # to be told that they hold no video
)
# FFmpeg 5.1 shows matrices that it cannot convert as one of these; later versions refuse them.
KNOWN_MATRICES = {0, 1, 2, 4, 5, 6, 7, 9}  # RGB, BT.709, unknown, FCC, BT.470, SMPTE 170M, SMPTE 240M, BT.2020
STAND_IN_MATRICES, DEFAULT_MATRIX = {10: 9}, 5  # BT.2020 with constant luminance as without; else BT.601
# Packets to read on to the next key frame rather than to seek: reading one costs microseconds.
READ_ON_PACKETS = 64
# Decoded pictures to keep while counting frames, so that short videos are not decoded twice.
KEPT_BYTES, EDGE_PIXELS = 64 << 20, 32
# Pictures from this size on are worth several threads (1.8 times as fast at 1280x720 with two); smaller ones lose.
THREADED_PIXELS, MAX_THREADS = 900_000, 4


class VideoReader:
    """The video stream of a file, opened and indexed. A context manager: leaving it closes everything it opened.

    The arguments are those of `decode_video`; `name` stands for the source in messages.
    """

    def __init__(
        self,
        source,
        name,
        *,
        stream_index=0,
        num_threads=None,
        timeout_s=None,
        max_pixels=None,
        allow_truncated=False,
        allow_damaged=False,
    ):
        if stream_index < 0 or (num_threads or 0) < 0:
            raise ValueError(f"Must not be negative: stream_index={stream_index}, num_threads={num_threads}.")
        check_kind(source)
        self.source, self.name, self.stream_index = source, name, stream_index
        self.num_threads, self.max_pixels, self.deadline = num_threads, max_pixels, Deadline(timeout_s)
        self.allow_truncated, self.allow_damaged = allow_truncated, allow_damaged
        self.codec: av.VideoCodecContext | None = None
        self.index: PacketIndex | None = None
        self._kept_key: IndexKey | None = None  # under which the index was found
        self.counted_pts: list[int | None] | None = None  # set once the frames were counted by decoding
        self.damage: str | None = None  # why counting broke off, or what was wrong with a picture that was kept
        self._num_certain = 0  # of those counted
        self._kept: list[av.VideoFrame] | None = None  # the pictures of the count, if they are few
        self._has_fields = False  # whether some pictures were stored as two halves
        self._unfinished: UnfinishedPictures | None = None
        self._gave_up = False  # in the picture that came last
        self.num_decoded = 0  # pictures that decoders have given, wanted or not
        note_decoded(0)  # also of a file that cannot be opened
        self.complaints = Complaints()
        self._source_stack, self._container_stack = ExitStack(), ExitStack()

    def __enter__(self) -> "VideoReader":
        try:
            self._source_stack.enter_context(self.complaints)
            with self._naming():
                self._readable = self._source_stack.enter_context(open_readable(self.source, self.name, self.deadline))
            self._open_indexed()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._kept = None
        self._close_container()
        self._source_stack.close()

    def _naming(self):
        return naming_source(self.name, self.deadline.timeout_s)

    # -- opening

    def _open_indexed(self, may_be_kept: bool = True):
        """Open the container, and know its packets: by an index that is kept, here or beside the file, or by reading them all."""
        with self._naming():
            before = file_state(self._readable)
            self._open()
            is_same = before is not None and file_state(self._readable) == before  # it is this file that was opened
            key = IndexKey(before, self.stream_index, self.max_pixels) if is_same else None
            index, is_new = (KEPT_INDEXES.find(key) if may_be_kept else None), False
            if index is None and may_be_kept and is_same and self.stream_index == 0:
                index, is_new = find_kept(before.path, before.size), True
            self._kept_key = None if index is None else key
            if index is None:
                index = index_packets(self.container, self.stream, self._readable, self.complaints, self.deadline)
                is_new = True
            if is_new and is_same and is_settled(before) and file_state(self._readable) == before:
                KEPT_INDEXES.keep(key, index)
            self.index = index
        if not self.index.num_frames:
            raise VideoDecodeError(self.name, "its video stream holds no whole frame.", 0)

    def index_anew(self) -> bool:
        """Whether the index was a kept one: then the packets are read once more, and the container is as after that."""
        if self._kept_key is None:
            return False
        KEPT_INDEXES.forget(self._kept_key)
        self._open_indexed(may_be_kept=False)
        return True

    def _open(self, **codec_options: str):
        """Open the container, anew if it is open: its start, and a decoder without a past."""
        self._close_container()
        if hasattr(self._readable, "seek"):
            self._readable.seek(0)
        limit = {} if self.max_pixels is None else {"max_pixels": str(self.max_pixels)}
        strictness = {} if self.allow_damaged else {"err_detect": "explode"}
        try:
            container = av.open(
                self._readable,
                options=limit,
                # nothing but this one file is read
                container_options={"protocol_whitelist": "file", "format_whitelist": CONTAINERS},
                metadata_errors="replace",
                timeout=self.deadline.timeout_s,
            )
        except av.error.ArgumentError as error:
            if "whitelist" not in str(error):
                raise
            reason = "expected a file that holds a video; this is a list of other files, or of a kind that holds none."
            raise VideoDecodeError(self.name, reason) from error
        self.container = self._container_stack.enter_context(container)
        self.stream = self._choose_stream()
        self.codec = self.stream.codec_context
        if self.codec is None:
            raise VideoDecodeError(self.name, "this build of FFmpeg has no decoder for its video stream.")
        self._check_size(self.codec.width, self.codec.height)
        # the limit again: the header may lie, and pictures may grow
        self._codec_options = limit | strictness | codec_options
        self._set_decoder(outspoken_decoder(self.codec))

    def _set_decoder(self, codec: "av.VideoCodecContext"):
        self.codec = codec
        self.marks_damage = codec.name in CODECS_THAT_MARK_DAMAGE
        codec.options = self._codec_options
        codec.thread_count = self._num_threads()
        codec.thread_type = "AUTO"
        self._unfinished = UnfinishedPictures() if codec.name in GIVE_UP_SILENTLY else None

    def _close_container(self):
        if self.codec is not None:
            # Ends the work of decoder threads. PyAV would wait for it with Python's lock, which they need to log an error.
            self.codec.flush_buffers()
        self._container_stack.close()
        self.container = self.stream = self.codec = None  # with the pictures that the decoder still held

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
        if not self.marks_damage or (self.index is not None and not self.index.is_complete):
            return 1  # complaints are heard, and the frames before the damage are always the same ones
        is_worker = multiprocessing.parent_process() is not None
        is_small = self.stream.width * self.stream.height < THREADED_PIXELS
        return 1 if is_worker or is_small else min(MAX_THREADS, os.cpu_count() or 1)

    # -- facts

    @property
    def pixel_ratio(self) -> Fraction | None:
        """Width of a pixel divided by its height; `None` if that is 1, unknown, or beyond what any recorder makes."""
        ratio = self.stream.sample_aspect_ratio
        return ratio if ratio and ratio != 1 and 1 / MAX_PIXEL_RATIO <= ratio <= MAX_PIXEL_RATIO else None

    @property
    def known_damage(self) -> str | None:
        """What has been found so far."""
        if self.damage is None and self.index.damage is not None:
            return f"it is damaged at packet {self.index.is_damaged_from}: {self.index.damage.rstrip('.')}."
        return self.damage

    @property
    def num_held(self) -> int:
        """Frames that may be asked for: those whose numbers are certain, or all there are where damage is allowed."""
        is_lenient = self.allow_truncated or self.allow_damaged
        if self.counted_pts is not None:
            return len(self.counted_pts) if is_lenient else self._num_certain
        return self.index.num_frames if is_lenient else self.index.num_certain

    @property
    def num_promised(self) -> int:
        """Frames that it would give undamaged."""
        if self.allow_truncated or self.allow_damaged:
            return self.num_held
        if self.counted_pts is not None and self.damage is None and self.index.is_complete:
            return len(self.counted_pts)
        return max(self.index.promised_num_frames, self.num_held)

    @property
    def frame_pts(self) -> np.ndarray | None:
        """Time stamps of the frames in output order `(num_held,)`; `None` if some have none."""
        if self.counted_pts is None:
            pts = self.index.frame_pts[: self.num_held].copy()
        else:
            counted = self.counted_pts[: self.num_held]
            pts = np.array([PacketIndex.NO_TIME if time is None else time for time in counted], dtype=np.int64)
        return None if (pts == PacketIndex.NO_TIME).any() else pts

    # -- fetching

    def first_frame(self) -> Iterator[tuple[int, "av.VideoFrame"]]:
        """Frame 0, whatever follows it."""
        with self._naming():
            for frame in self.all_frames():
                yield 0, frame
                return
        raise VideoDecodeError(self.name, self.damage or "no packet of its video stream gives a picture.", 0)

    def can_pass_to(self, wanted: np.ndarray) -> bool:
        """Whether packets lie in front of those that frames `wanted` `(K,)`, which rise, need, and can be passed over."""
        index = self.index
        is_there = index.is_sound and index.is_complete and wanted[-1] < index.num_frames
        return is_there and index.plan(wanted[:1])[0].start > READ_ON_PACKETS

    def sparse_frames(self, wanted: np.ndarray) -> Iterator[tuple[int, "av.VideoFrame"]]:
        """Frames `wanted` `(K,)` with their numbers, decoding only the groups of pictures that they need.

        Raises:
            IndexMismatchError: If the packets told frame numbers wrongly, or FFmpeg found damage on the way. What came
                out before is not to be trusted.
        """
        self._check_held(wanted)
        with self._naming():
            feed = PacketFeed(self.container, self.stream, self.index, self.deadline)
            for interval in self.index.plan(wanted):
                yield from self._decode_interval(feed, interval)

    def _decode_interval(self, feed: "PacketFeed", interval: Interval) -> Iterator[tuple[int, "av.VideoFrame"]]:
        waiting, start_pts, latest = dict(interval.frame_at_pts), self.index.pts[interval.start], None
        self.complaints.forget()
        for frame in self._frames_of_interval(feed, interval, waiting):
            if latest is None and not is_key_picture(frame, start_pts, self.codec.name):
                raise IndexMismatchError(f"decoding cannot start at packet {interval.start}")
            if frame.pts is None or (latest is not None and frame.pts <= latest) or frame.is_corrupt:
                raise IndexMismatchError("a picture is damaged, or comes out in another order than its time says")
            latest = frame.pts
            if latest in waiting:
                self._refuse_complaints()  # now: this picture may be passed on at once
                yield waiting.pop(latest), frame
        self.codec.flush_buffers()
        self._refuse_complaints()
        if waiting:
            raise IndexMismatchError(f"frame {min(waiting.values())} did not come out where the packets announce it")

    def _refuse_complaints(self):
        if complaint := self._complaint():
            raise IndexMismatchError(complaint)

    def _frames_of_interval(
        self, feed: "PacketFeed", interval: Interval, waiting: dict[int, int]
    ) -> Iterator["av.VideoFrame"]:
        """What comes out of the decoder until nothing is in `waiting` any more."""
        start_pts, may_skip = self.index.pts[interval.start], self.codec.name in CODECS_WITH_SAFE_SKIPPING
        feed.go_to(interval.start)
        if self._unfinished is not None:
            self._set_decoder(new_decoder(self.codec))
        try:
            for number in range(interval.start, interval.stop + 1):
                packet = feed.next()
                if packet.pts < start_pts:
                    continue  # shown before the key frame: it refers to pictures before it
                if may_skip:  # pictures that no other one refers to
                    is_needed = packet.pts in waiting or number == interval.start or number in self.index.headless
                    self.codec.skip_frame = "DEFAULT" if is_needed else "NONREF"
                decoded = self._decode(packet)
                if self._gave_up:
                    raise IndexMismatchError(GAVE_UP)
                yield from decoded
            if waiting:
                yield from self._decode(None)  # what is held back to put pictures in order
        except av.error.ExitError:  # out of time
            raise
        except (av.FFmpegError, EOFError) as error:
            raise IndexMismatchError(f"decoding breaks off: {explain(error)}") from error

    def _decode(self, packet: "av.Packet | None") -> list["av.VideoFrame"]:
        decoded = self.codec.decode(packet)
        self.num_decoded += len(decoded)
        note_decoded(len(decoded))
        self._has_fields = self._has_fields or any(frame.interlaced_frame for frame in decoded)
        self._gave_up = self._unfinished is not None and not all(map(self._unfinished.is_whole, decoded))
        return decoded

    def _complaint(self) -> str | None:
        """What the decoder has logged, if it does not mark damaged pictures."""
        if not self.complaints.heard:
            return None
        names = () if self.marks_damage else (self.codec.name, self.stream.codec_context.name, "")
        return self.complaints.take(*names)

    def count_by_decoding(self, keep: bool = True):
        """Decode everything once, converting nothing, to learn the number and time stamps of the frames.

        With `keep`, the pictures of a short video are kept for `frames_in_order`.
        """
        self._count(keep)
        if self.damage is not None and self.codec.thread_count != 1:  # threads run ahead of the damage
            self.num_threads = 1
            self._count(keep)

    def _count(self, keep: bool):
        self.damage, self.counted_pts, self._kept = None, None, None
        stored = self.stream.codec_context.format
        bits = stored.padded_bits_per_pixel if stored else 24
        size = _held_bytes(self.stream.width, self.stream.height, bits)
        room = KEPT_BYTES if keep and size * len(self.index.pts) <= KEPT_BYTES else 0
        # Unless the pictures are of use later, they need not be pretty.
        options = {} if room else {"skip_loop_filter": "all"}
        kept, counted = [], []
        self._num_certain = 0
        with self._naming():
            for frame in self.all_frames(**options):
                counted.append(frame.pts)
                room -= _held_bytes(frame.width, frame.height, bits)  # the header may have said less
                if room > 0:
                    kept.append(frame)
        if not counted:
            raise VideoDecodeError(self.name, self.damage or "no packet of its video stream gives a picture.", 0)
        if self.damage is None and self.index.is_complete or not self._num_certain:
            self._num_certain = len(counted)
        self.look_for_lost_frames(counted)
        self.counted_pts, self._kept = counted, kept if len(kept) == len(counted) else None

    def look_for_lost_frames(self, counted: list[int | None]) -> None:
        """Note as damage if a picture that the packets announce did not come out. `counted`: time stamps of those that did."""
        index, can_tell = self.index, self.codec.name in ONE_PICTURE_EACH and not self._has_fields
        if not can_tell or self.damage is not None or not index.is_complete:
            return
        is_coded = index.places[:, 1] > AS_BEFORE_BYTES
        if self.container.format.name == "avi":
            num_silent = int(is_coded.sum()) - len(counted)
        elif self._times_are_of_pictures and None not in counted and len(counted) < index.num_frames:
            is_silent = index.is_shown & is_coded & ~np.isin(index.pts, counted) & (index.pts > min(counted))
            num_silent = int(is_silent.sum())
            if num_silent and index.has_presentation_times:
                first = int(np.argmax(is_silent))
                self._goes_on("it gives no picture", first, int((index.frame_pts < index.pts[first]).sum()))
                return
        else:
            return
        if num_silent > 0:
            self._num_certain = 0  # which ones is not known
            self.damage = f"it is damaged: {num_silent} of its {len(index.pts)} packets give no picture."

    @property
    def _times_are_of_pictures(self) -> bool:
        """Whether each packet has the time of the picture in it, be the order of the times right or not."""
        is_stream = self.container.format.name in ("mpeg", "mpegts")
        return (self.index.has_presentation_times or is_stream) and self.index.NO_TIME not in self.index.pts

    def frames_in_order(self, wanted: np.ndarray) -> Iterator[tuple[int, "av.VideoFrame"]]:
        """Frames `wanted` `(K,)` with their numbers, decoding everything up to the last; after `count_by_decoding`."""
        self._check_held(wanted)
        numbers = set(wanted.tolist())
        with self._naming():
            for number, frame in enumerate(self.all_frames() if self._kept is None else self._kept):
                if number in numbers:
                    yield number, frame
                if number == wanted[-1]:
                    return
        raise VideoDecodeError(
            self.name, "it came out once, when frames were counted, but not again.", int(wanted[-1])
        )

    def frames_as_they_come(self, stop: int | None = None) -> Iterator[tuple[int, "av.VideoFrame"]]:
        """All frames with their numbers in one pass, or those in front of number `stop`, as little as is known of them.

        Raises:
            VideoDecodeError: At the end, if the file is damaged or cut off and that is not allowed: frames that came
                before are those of the file.
        """
        counted = []
        self._num_certain = 0
        with self._naming():
            for frame in self.all_frames():
                if stop is not None and len(counted) >= stop:
                    return
                counted.append(frame.pts)
                yield len(counted) - 1, frame
        if not counted:
            raise VideoDecodeError(self.name, self.damage or "no packet of its video stream gives a picture.", 0)
        if stop is not None and len(counted) >= stop:
            return
        self.look_for_lost_frames(counted)
        if self.damage is None and self.index.is_complete:
            self._num_certain = len(counted)
        self.counted_pts = counted
        if not (self.allow_damaged or self.allow_truncated):
            missing = len(counted) if self.known_damage else self.num_promised - 1
            self._check_held(np.arange(max(missing, self.num_promised - 1) + 1))

    def all_frames(self, **codec_options: str) -> Iterator["av.VideoFrame"]:
        """Every picture from the start on, as it is stored.

        It ends early where the file is damaged; where damage is allowed, it goes on. `damage` says what was found.
        """
        self._open(**codec_options)
        self.complaints.forget()
        # Without a broken last packet; damage further in front is for the decoder to judge.
        end = len(self.index.pts) - self.index.ends_broken
        number = given = 0
        for packet in self._packets_in_order():
            self.deadline.check()
            if number >= end:
                break
            if number == self.index.is_damaged_from and not self._goes_on(self.index.damage, number, given):
                return
            decoded, problem = self._decode_one(packet)
            if problem and not self._goes_on(problem, number, given):
                return
            yield from decoded
            number, given = number + 1, given + len(decoded)
        is_lenient = self.allow_damaged or self.allow_truncated
        if is_lenient or (
            self.index.is_complete and self.damage is None
        ):  # else a lost picture may belong before these
            if not self.index.is_complete:
                self._num_certain = self._num_certain or given
            yield from self._held_back(number, given)

    def _packets_in_order(self) -> Iterator["av.Packet"]:
        try:
            yield from (packet for packet in read_packets(self.container, self.stream) if packet.size)
        except av.error.InvalidDataError as error:
            self.damage = self.damage or f"reading breaks off: {explain(error)}."

    def _decode_one(self, packet: "av.Packet") -> tuple[list["av.VideoFrame"], str | None]:
        """The pictures that come out when `packet` goes in, and what is wrong with it."""
        try:
            if self._unfinished is not None and self._unfinished.is_full and packet.is_keyframe:
                self._set_decoder(new_decoder(self.codec))
            decoded = self._decode(packet)
        except av.error.ExitError:  # out of time
            raise
        except (av.FFmpegError, EOFError) as error:
            return [], f"decoding breaks off: {explain(error)}"
        if self._gave_up:
            return decoded, GAVE_UP
        if packet.is_corrupt or any(frame.is_corrupt for frame in decoded):
            return decoded, "the decoder filled in what it could not read of a picture"
        return decoded, self._complaint()

    def _held_back(self, number: int, given: int) -> list["av.VideoFrame"]:
        """What the decoder still has when all packets are in, up to a picture that is damaged."""
        try:
            decoded = self._decode(None)
        except av.error.ExitError:
            raise
        except (av.FFmpegError, EOFError) as error:
            self._goes_on(f"decoding breaks off: {explain(error)}", number, given)
            return []
        for place, frame in enumerate(decoded):
            if frame.is_corrupt and not self._goes_on("a picture is filled in", number, given + place):
                return decoded[:place]
        return decoded

    def _goes_on(self, problem: str, number: int, given: int) -> bool:
        """Note what is wrong with packet `number`, after `given` pictures, and say whether to go on."""
        if self.damage is None:
            self._num_certain = given
            self.damage = f"it is damaged at packet {number}: {problem.rstrip('.')}."
        return self.allow_damaged

    def _check_held(self, wanted: np.ndarray):
        if wanted[-1] < self.num_held:
            return
        missing = int(wanted[wanted >= self.num_held][0])
        if damage := self.known_damage:
            advice = "Fetch it again or leave it out; allow_damaged=True takes what can be shown, with the damage."
            raise VideoDecodeError(self.name, f"{damage} {advice}", missing)
        raise VideoDecodeError(
            self.name,
            f"the file ends after {self.num_held} of the {self.num_promised} frames that its header promises. It is "
            "cut off: fetch it again, or pass allow_truncated=True to do with what is left.",
            missing,
        )


def _held_bytes(width: int, height: int, bits_per_pixel: int) -> int:
    """What a decoded picture takes, with the edges that decoders put around it."""
    return (width + 2 * EDGE_PIXELS) * (height + 2 * EDGE_PIXELS) * bits_per_pixel // 8


def outspoken_decoder(codec: "av.VideoCodecContext") -> "av.VideoCodecContext":
    """Another decoder of the same codec that tells damage, where this build of FFmpeg has one."""
    other = OUTSPOKEN_DECODERS.get(codec.name)
    if other not in av.codecs_available:
        return codec
    return new_decoder(codec, other)


def new_decoder(codec: "av.VideoCodecContext", name: str | None = None) -> "av.VideoCodecContext":
    """A decoder for the same pictures that has none in memory."""
    made = av.CodecContext.create(name or codec.name, "r")
    made.extradata = codec.extradata
    return made


class UnfinishedPictures:
    """Tells pictures whose end was not decoded, where the decoder breaks off without a word.

    Memory for pictures is 0 when FFmpeg takes it, so what is not decoded has 0 in all three planes, a colour beyond
    those of pictures. Memory of pictures that nobody holds any more is used again: so they are held, as many as there
    is room for.
    """

    _CORNER = 8  # pixels of the coarser planes

    def __init__(self):
        self._held: list[av.VideoFrame] = []
        self._room = KEPT_BYTES

    @property
    def is_full(self) -> bool:
        return self._room <= 0

    def is_whole(self, frame: "av.VideoFrame") -> bool:
        """Whether the last corner of a picture is there; yes if that cannot be told any more."""
        if self.is_full:
            self._held.clear()
            return True
        self._held.append(frame)
        self._room -= sum(plane.buffer_size for plane in frame.planes)
        return any(self._last_row(plane).any() for plane in frame.planes[:3])  # a fourth one is transparency

    def _last_row(self, plane: "av.video.plane.VideoPlane") -> np.ndarray:
        rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)
        return rows[plane.height - 1, max(0, plane.width - self._CORNER) : plane.width]


def is_key_picture(frame: "av.VideoFrame", pts: int, decoder: str) -> bool:
    """Whether `frame` is the one with this time stamp and, by its decoder, one at which decoding can start."""
    if frame.pts != pts:
        return False
    if decoder in SILENT_ABOUT_KEYS:
        return True
    is_intra = frame.pict_type in (PictureType.I, PictureType.SI)
    # H.264 gives no picture before it has found a point to start from, which need not be a key frame by its own word.
    return is_intra and (frame.key_frame or decoder == "h264")


class PacketFeed:
    """The packets of an indexed stream, from any key frame on."""

    def __init__(self, container, stream, index: PacketIndex, deadline: Deadline):
        self.container, self.stream, self.index, self.deadline = container, stream, index, deadline
        self.packets: Iterator[av.Packet] = iter(())
        self.position = len(index.pts)  # of the next packet: none, so that the first one is sought
        self._announced: list[tuple[int, int, int]] = []  # time and place of packets from `_announced_from` on
        self._announced_from = 0

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
        self.packets = (packet for packet in read_packets(self.container, self.stream) if packet.size)
        first = next(self.packets, None)
        if first is None:
            self.position = len(self.index.pts)
        else:
            self.packets = chain([first], self.packets)
            number = self.index.number_at(place_of(first))
            self.position = len(self.index.pts) if number is None else number

    def next(self) -> "av.Packet":
        self.deadline.check()
        packet = next(self.packets, None)
        if packet is None or self.position >= len(self.index.pts) or not self._is_at(packet, self.position):
            raise IndexMismatchError(f"packet {self.position} is not the one that was there before")
        if packet.is_corrupt:
            raise IndexMismatchError(f"packet {self.position} is damaged")
        self.position += 1
        return packet

    def _is_at(self, packet: "av.Packet", position: int) -> bool:
        number = position - self._announced_from
        if not 0 <= number < len(self._announced):  # as Python's numbers, which are compared much faster
            number, rows = 0, slice(position, position + READ_ON_PACKETS)
            times, places = self.index.pts[rows].tolist(), self.index.places[rows].tolist()
            self._announced = [(pts, *place) for pts, place in zip(times, places, strict=True)]
            self._announced_from = position
        return (packet.pts, *place_of(packet)) == self._announced[number]


class PictureBuffer:
    """Room for the wanted frames; pictures are converted to upright RGB one by one as they come.

    Args:
        name (`str`): The source in messages.
        wanted (`np.ndarray` of shape `(K,)`): Numbers of the frames.
        max_pixels (`int`, *optional*): Largest picture.
        pixel_ratio (`Fraction`, *optional*): Width of a pixel divided by its height; `None` for square pixels.
        transform (`Callable`, *optional*): What to make of a picture `(height, width, 3)` before it is kept.
    """

    def __init__(
        self,
        name: str,
        wanted: np.ndarray,
        max_pixels: int | None = None,
        pixel_ratio: Fraction | None = None,
        transform: Callable[[np.ndarray], Any] | None = None,
    ):
        self.name, self.max_pixels, self.transform = name, max_pixels, transform
        self.shown_shape = ShownShape(pixel_ratio)
        self.frames: Any = None  # (K, height, width, 3), or K results of `transform`
        self.size: tuple[int, int] | None = None  # height, width
        self.rotation = 0  # degrees by which the pictures were turned counter-clockwise
        self.place = {int(frame): place for place, frame in enumerate(wanted)}
        self.to_rgb = VideoReformatter()

    def fill(self, frames: Iterable[tuple[int, "av.VideoFrame"]]) -> "PictureBuffer":
        """Take frames with their numbers until there is none."""
        for number, frame in frames:
            self.add(number, frame)
        return self

    def add(self, number: int, frame: "av.VideoFrame"):
        try:
            picture = self._to_picture(frame)
        except Exception as error:  # whatever the conversion raises
            raise VideoDecodeError(self.name, f"it does not become RGB: {explain(error)}", number) from error
        if self.size is None:
            self.size = picture.shape[:2]
            shape = (len(self.place), *picture.shape)
            self.frames = np.empty(shape, dtype=np.uint8) if self.transform is None else [None] * len(self.place)
        if picture.shape[:2] != self.size:
            (height, width), (new_height, new_width) = self.size, picture.shape[:2]
            raise VideoDecodeError(
                self.name,
                f"pictures change their size from {width}x{height} to {new_width}x{new_height} within the video. "
                "Re-encode it to one size.",
                number,
            )
        self.frames[self.place[number]] = (
            picture if self.transform is None else self.transform(np.ascontiguousarray(picture))
        )

    def _to_picture(self, frame: "av.VideoFrame") -> np.ndarray:
        # One thread: the result is the same, and starting threads takes longer than a small picture.
        options = {"format": "rgb24", "threads": 1, "src_colorspace": shown_matrix(frame)}
        matrix, pixel_ratio = self.shown_shape(frame)
        if pixel_ratio is not None:
            options["width"], options["height"] = square_size(frame.width, frame.height, pixel_ratio)
            if self.max_pixels is not None and options["width"] * options["height"] > self.max_pixels:
                raise ValueError(
                    f"with square pixels it has {options['width']}x{options['height']}, more than "
                    f"max_pixels={self.max_pixels}; square_pixels=False takes it as it is stored"
                )
        picture = self.to_rgb.reformat(frame, **options).to_ndarray()
        self.rotation = 0 if matrix is None else round(frame.rotation / 90) * 90 % 360
        return upright(picture, matrix)


def square_size(width: int, height: int, pixel_ratio: Fraction) -> tuple[int, int]:
    """Width and height of a picture whose pixels are made square: the height stays, as in players."""
    return max(1, round(width * pixel_ratio)), height


def shown_matrix(frame: "av.VideoFrame") -> int | None:
    """The colour matrix to convert from where FFmpeg does not know the one that the frame names; else `None`."""
    matrix = int(frame.colorspace)
    if matrix in KNOWN_MATRICES:
        return None
    return STAND_IN_MATRICES.get(matrix, DEFAULT_MATRIX)


class ShownShape:
    """How to turn the stored pictures of a stream to show them, and how wide their pixels are.

    Args:
        pixel_ratio (`Fraction`, *optional*): Width of a pixel divided by its height, by the stream; `None` for square
            ones.
    """

    def __init__(self, pixel_ratio: Fraction | None):
        self.pixel_ratio = pixel_ratio
        self._known: dict[float, tuple] = {}

    def __call__(self, frame: "av.VideoFrame") -> tuple[tuple[int, int, int, int] | None, Fraction | None]:
        """The display matrix (a, b, c, d), or `None`, and the ratio of the pixels.

        A stored point (x, y) is to be shown at (a x + c y, b x + d y), up to a shift. Both are `None` if the matrix
        turns by no right angle: it is garbage, of which FFmpeg makes a pixel ratio besides.
        """
        # Asked once: in PyAV, a frame whose side data were asked for lives on until Python looks for cycles.
        angle = frame.rotation
        if angle not in self._known:
            self._known[angle] = self._look(frame)
        return self._known[angle]

    def _look(self, frame: "av.VideoFrame") -> tuple[tuple[int, int, int, int] | None, Fraction | None]:
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return None, self.pixel_ratio
        a, b, u, c, d, v, _, _, _ = np.frombuffer(bytes(matrix), dtype=np.int32).tolist()
        (_, other), (smaller, larger) = sorted((sorted((abs(a), abs(d))), sorted((abs(b), abs(c)))))
        if u or v or smaller <= MIN_AXIS_RATIO * other or larger > MAX_PIXEL_RATIO * smaller:
            return None, None
        return (a, b, c, d), self.pixel_ratio


def upright(picture: np.ndarray, matrix: tuple[int, int, int, int] | None) -> np.ndarray:
    """Turn and mirror a picture `(height, width, 3)` as its display matrix says, by a right angle."""
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
