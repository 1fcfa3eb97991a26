# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""One video re-encoded for sparse sampling: smaller, with fewer pictures at their old times, and quick to seek in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from clipbert.support.files import whole_file


TIMEOUT_S = 4 * 3600.0  # of one video
TIME_SLACK_S = 1e-3  # time stamps are rounded
BT601, LIMITED_RANGE = 6, 1  # what swscale makes of RGB, as FFmpeg numbers it: players shall not have to guess


@dataclass(frozen=True)
class PrepareSettings:
    """How videos are re-encoded.

    Args:
        short_side (`int`, defaults to 256): Largest shorter side of a picture in pixels.
        fps (`float`, *optional*, defaults to 3): Most pictures a second; `None` keeps them all.
        keyframe_interval_s (`float`, defaults to 0.3): Longest time between key frames. At three pictures a second all of
            them are key frames: any of them is decoded alone, which `benchmarks.preparation` finds half as fast again as one a
            second, in files of the same size.
        crf (`int`, defaults to 23): Quality, from 0 (lossless) to 51 (worst).
    """

    short_side: int = 256
    fps: float | None = 3.0
    keyframe_interval_s: float = 0.3
    crf: int = 23

    def __post_init__(self):
        if self.short_side < 16 or not 0 <= self.crf <= 51:
            raise ValueError(f"Expected short_side of at least 16 and crf from 0 to 51, got {self}")
        if not self.keyframe_interval_s > 0 or (self.fps is not None and not 0 < self.fps < math.inf):
            raise ValueError(f"Expected fps and keyframe_interval_s above 0, got {self}")

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """Even height and width of the pictures, never more than the given ones but for a single pixel."""
        scale = min(1.0, self.short_side / min(height, width))
        return tuple(max(2, int(side * scale + 1e-6) // 2 * 2) for side in (height, width))


class PrepareError(ValueError):
    """A video that cannot be prepared."""


def prepare_video(source: str, target: str, settings: PrepareSettings) -> int:
    """Re-encode one video.

    Args:
        source (`str`): The video.
        target (`str`): The file to write; it appears when it is whole.
        settings (`PrepareSettings`): How.

    Returns:
        `int`: The number of pictures in the new file.

    Raises:
        VideoDecodeError: If the video is broken, cut off or not there.
        PrepareError: If its pictures change their size or are damaged.
    """
    from clipbert.processing.decoding import read_video_metadata

    metadata = read_video_metadata(source)
    if not metadata.timing.is_complete:
        raise PrepareError(f"cut off before the last of the {metadata.total_num_frames} frames that it promises")
    seconds = metadata.seconds_of(range(metadata.total_num_frames))
    if seconds is None:
        raise PrepareError("neither its pictures nor its header have a time")
    with whole_file(target) as partial_file:
        num_kept = write_video(source, partial_file, metadata, seconds, settings)
        made = read_video_metadata(partial_file)
        if made.total_num_frames != num_kept or abs(made.duration - metadata.duration) > 0.1:
            raise PrepareError(
                f"expected {num_kept} pictures over {metadata.duration:.2f} s, "
                f"wrote {made.total_num_frames} over {made.duration:.2f} s"
            )
    return num_kept


def choose_frames(seconds: Sequence[float], fps: float | None) -> set[int]:
    """The first frame of each 1 / fps seconds."""
    if fps is None:
        return set(range(len(seconds)))
    # a time stamp a hair before a border, by rounding, belongs behind it
    parts = np.floor((np.asarray(seconds) + TIME_SLACK_S) * fps).astype(np.int64)
    return set(np.unique(parts, return_index=True)[1].tolist())


def write_video(source: str, target: str, metadata, seconds: Sequence[float], settings: PrepareSettings) -> int:
    """Encode the chosen pictures with their times; returns their number."""
    from clipbert.processing.video_reader import VideoReader

    wanted, time_base = choose_frames(seconds, settings.fps), metadata.timing.time_base
    last_tick, end_tick = round(seconds[max(wanted)] / time_base), round(metadata.duration / time_base)
    stream, size, next_key_s, number = None, None, 0.0, -1
    with (
        VideoReader(source, source, timeout_s=TIMEOUT_S, num_threads=1) as reader,
        av.open(target, "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):

        def mux(packets):
            for packet in packets:
                if packet.pts == last_tick:  # else the video would end with the beginning of its last picture
                    packet.duration = max(1, end_tick - last_tick)
                container.mux(packet)

        scale = PictureScaler(settings, reader.pixel_ratio)
        for number, frame in enumerate(reader.all_frames()):
            size = size or (frame.width, frame.height)
            if size != (frame.width, frame.height):
                raise PrepareError(f"pictures change their size from {size} to {(frame.width, frame.height)}")
            if frame.is_corrupt:
                raise PrepareError(f"frame {number} is damaged")
            if number not in wanted:
                continue
            picture = scale(frame)
            stream = stream or add_stream(container, picture.shape, time_base, metadata.fps, settings)
            made = av.VideoFrame.from_ndarray(picture, format="rgb24")
            made.pts, made.time_base = round(seconds[number] / time_base), time_base
            if seconds[number] + TIME_SLACK_S >= next_key_s:
                made.pict_type = av.video.frame.PictureType.I
                next_key_s = seconds[number] + settings.keyframe_interval_s
            mux(stream.encode(made))
        if reader.damage or number + 1 != len(seconds):
            raise PrepareError(f"only {number + 1} of {len(seconds)} frames come out. {reader.damage or ''}".strip())
        mux(stream.encode(None))
    return len(wanted)


class PictureScaler:
    """Decoded frames to upright RGB pictures `(height, width, 3)` of square pixels, of the size to be written.

    Args:
        settings (`PrepareSettings`): The largest size.
        pixel_ratio (`Fraction`, *optional*): Width of a stored pixel to its height; `None` if that is 1 or unknown.
    """

    def __init__(self, settings: PrepareSettings, pixel_ratio: Fraction | None):
        from clipbert.processing.video_reader import ShownShape

        self.settings, self.to_rgb, self.shown_shape = settings, VideoReformatter(), ShownShape(pixel_ratio)

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        from clipbert.processing.video_reader import shown_matrix, upright

        matrix, pixel_ratio = self.shown_shape(frame)
        # sides shrink alike, so that the picture may be turned after it was made small
        height, width = self.settings.size_of(frame.height, round(frame.width * (pixel_ratio or 1)))
        options = {"format": "rgb24", "interpolation": "BICUBIC", "threads": 1, "src_colorspace": shown_matrix(frame)}
        small = self.to_rgb.reformat(frame, width, height, **options)
        return np.ascontiguousarray(upright(small.to_ndarray(), matrix))


def add_stream(container, shape: tuple[int, ...], time_base: Fraction, fps: float | None, settings: PrepareSettings):
    """An H.264 stream for pictures of this shape. Key frames come where they are asked for, and at changes of scene."""
    rate = Fraction(min(settings.fps or math.inf, fps or 25.0)).limit_denominator(1001)  # a hint for the bit rate
    options = {"preset": "fast", "crf": str(settings.crf), "bf": "0", "g": "100000", "forced-idr": "1"}
    options["mbtree"] = "0"  # with it x264 writes, once in a hundred times, other bytes for the same small pictures
    stream = container.add_stream("libx264", rate=rate, options=options)
    stream.height, stream.width, stream.pix_fmt = shape[0], shape[1], "yuv420p"
    stream.codec_context.thread_count = 1  # processes work side by side
    stream.codec_context.colorspace, stream.codec_context.color_range = BT601, LIMITED_RANGE
    stream.codec_context.time_base = stream.time_base = time_base
    return stream
