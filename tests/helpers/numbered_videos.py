# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Videos whose pictures carry their number, in every container and codec at hand.

A picture has eight columns, and bit b of its number is 1 where column b is brighter in the top third than in the middle
third.
"""

import functools
import os
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np


class Kind(NamedTuple):
    """A way to write a video, and whether its packets tell its frames, so that it can be decoded from the middle."""

    suffix: str
    codec: str
    options: dict = {}
    pixel_format: str = "yuv420p"
    is_sound: bool = True


H264 = {"g": "12", "bf": "2", "crf": "12"}
KINDS = {
    "mp4_h264": Kind(".mp4", "libx264", H264),
    "mp4_h264_no_b_frames": Kind(".mp4", "libx264", {"g": "12", "bf": "0"}),
    "mp4_h264_pyramid": Kind(".mp4", "libx264", {"g": "30", "bf": "7", "x264-params": "b-pyramid=normal:b-adapt=0"}),
    "mp4_h264_open_gop": Kind(".mp4", "libx264", {"x264-params": "open-gop=1:keyint=10:min-keyint=10:bframes=3:b-adapt=0"}),
    "mp4_h264_intra_refresh": Kind(".mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=10:bframes=0"}),
    "mp4_h264_intra": Kind(".mp4", "libx264", {"g": "1"}),
    "mp4_h264_10_bits": Kind(".mp4", "libx264", H264, "yuv420p10le"),
    "mp4_h264_444": Kind(".mp4", "libx264", H264, "yuv444p"),
    "mp4_hevc": Kind(".mp4", "libx265", {"x265-params": "keyint=12:bframes=3:log-level=none"}),
    "mp4_hevc_open_gop": Kind(
        ".mp4", "libx265", {"x265-params": "keyint=10:min-keyint=10:open-gop=1:bframes=4:b-adapt=0:log-level=none"}
    ),
    "mp4_mpeg4": Kind(".mp4", "mpeg4", {"g": "12", "bf": "2"}),
    "mov_h264": Kind(".mov", "libx264", H264),
    "mkv_h264": Kind(".mkv", "libx264", H264),
    "mkv_av1": Kind(".mkv", "libsvtav1", {"g": "16", "preset": "8", "crf": "15", "svtav1-params": "lp=1"}),
    "mkv_mjpeg": Kind(".mkv", "mjpeg", {}, "yuvj420p"),
    "webm_vp9": Kind(".webm", "libvpx-vp9", {"g": "16", "deadline": "realtime", "cpu-used": "8", "threads": "1"}),
    "webm_vp8": Kind(".webm", "libvpx", {"g": "16", "deadline": "realtime", "cpu-used": "8"}),
    "flv_h264": Kind(".flv", "libx264", H264),
    "flv_flv1": Kind(".flv", "flv", {"g": "12"}),
    "gif": Kind(".gif", "gif", {}, "rgb8", is_sound=False),
    "avi_mpeg4": Kind(".avi", "mpeg4", {"g": "12"}),
    "avi_mpeg4_b_frames": Kind(".avi", "mpeg4", {"g": "12", "bf": "2"}, is_sound=False),
    "avi_h264_b_frames": Kind(".avi", "libx264", H264, is_sound=False),
    "avi_mjpeg": Kind(".avi", "mjpeg", {}, "yuvj420p"),
    "ts_h264": Kind(".ts", "libx264", H264, is_sound=False),
    "ts_mpeg2": Kind(".ts", "mpeg2video", {"g": "12", "bf": "2"}, is_sound=False),
    "mpg_mpeg1": Kind(".mpg", "mpeg1video", {"g": "12", "bf": "2"}, is_sound=False),
    "wmv_wmv2": Kind(".wmv", "wmv2", {"g": "12"}, is_sound=False),
    "raw_h264": Kind(".h264", "libx264", H264, is_sound=False),
}  # fmt: skip


def numbered_picture(number: int, height: int = 96, width: int = 128) -> np.ndarray:
    picture = np.full((height, width, 3), 128, dtype=np.uint8)
    for bit in range(8):
        column = slice(bit * width // 8, (bit + 1) * width // 8)
        for third, grey in enumerate((225, 30) if number >> bit & 1 else (30, 225)):
            picture[third * height // 3 : (third + 1) * height // 3, column] = grey
    picture[2 * height // 3 :] = 40 + 6 * (number % 32)
    return picture


def read_number(picture: np.ndarray) -> int:
    height, width = picture.shape[:2]
    grey, edge = picture.mean(axis=-1), 3
    number = 0
    for bit in range(8):
        column = slice(bit * width // 8 + edge, (bit + 1) * width // 8 - edge)
        top, middle = (
            grey[edge : height // 3 - edge, column],
            grey[height // 3 + edge : 2 * height // 3 - edge, column],
        )
        number |= int(top.mean() > middle.mean()) << bit
    return number


def write_numbered(
    path, num_frames=60, kind=KINDS["mp4_h264"], fps=25, times=None, change_packet=None, **stream_options
):
    """Write a video of numbered pictures.

    `times`: a time stamp for each, in 1/fps s. `change_packet(packet, number)` may give another packet instead.
    """
    height, width = stream_options.pop("size", (96, 128))
    container_options = stream_options.pop("container_options", {})
    before_writing = stream_options.pop("before_writing", lambda container, stream: None)
    with same_priority(), av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(kind.codec, rate=fps, options=dict(kind.options))
        stream.width, stream.height, stream.pix_fmt = width, height, kind.pixel_format
        stream.codec_context.thread_count = 1
        before_writing(container, stream)
        written = 0

        def mux(packets):
            nonlocal written
            for packet in packets:
                changed = change_packet(packet, written) if change_packet is not None else None
                container.mux(changed or packet)
                written += 1

        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number, height, width), format="rgb24")
            frame.pts, frame.time_base = number if times is None else times[number], Fraction(1, fps)
            mux(stream.encode(frame))
        mux(stream.encode())
    return Path(path)


@contextmanager
def same_priority():
    """SVT-AV1, where root runs it, gives its caller real-time priority for good, and then nothing else runs on that core."""
    is_unix = hasattr(os, "sched_setscheduler")
    before = (os.sched_getscheduler(0), os.sched_getparam(0)) if is_unix else None
    try:
        yield
    finally:
        if before is not None:
            os.sched_setscheduler(0, *before)


@functools.cache
def plain_decode(path) -> tuple[np.ndarray, list]:
    """All pictures and time stamps, by the shortest way there is."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.video[0]))
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]), [frame.pts for frame in frames]
