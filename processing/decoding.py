# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The frames asked for from a video, and nothing else: one open, one look at the packets, as little decoding as can
be.

    video --packets--> metadata --choose_frames--> frame numbers --decode--> uint8 frames (K, height, width, 3)

Frame numbers count pictures in the order in which a plain decoder gives them. The packets of a file tell which others
a picture needs, so groups of pictures without a wanted frame are never decoded. Where packets cannot tell (AVI with
re-ordered frames, raw streams, time stamps that contradict the pictures), the video is decoded once from start to end
to count its frames, and a second time to fetch them.

Decoding in order is the definition of a frame, and the packets are a hint: a seek that lands elsewhere, a key frame that
is none, pictures in another order, or a complaint of FFmpeg on the way end the shortcut. A picture that FFmpeg complains
about, or that refers to one, is reported, not returned.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from transformers.utils import logging
from transformers.video_utils import VideoMetadata

from .pictures import FramesInMemory, holds_frames, open_animation
from .sampling import VideoTiming
from .video_reader import PictureBuffer, VideoReader
from .video_sources import IndexMismatchError, VideoDecodeError, describe_source


__all__ = ["DecodedVideo", "DecodedVideoMetadata", "VideoDecodeError", "decode_video", "read_video_metadata"]

logger = logging.get_logger(__name__)

DEFAULT_MAX_PIXELS = 1 << 25  # 8192 x 4096, a little more than an 8K picture
DEFAULT_TIMEOUT_S = 120.0


@dataclass
class DecodedVideoMetadata(VideoMetadata):
    """Facts about a video, with what is needed to choose frames and to say when they are shown.

    The fields of [`~transformers.video_utils.VideoMetadata`] and:

    Args:
        frames_seconds (`list[float]`, *optional*): Seconds from the first frame of the video to each frame in
            `frames_indices`, by their time stamps, so that they are right for variable frame rates, too.
        rotation (`int`): Degrees by which the stored pictures are turned counter-clockwise to be upright. `width` and
            `height` are those of the upright pictures. (While frames are chosen, they are those of the stored ones:
            only a decoded picture carries the rotation flag.)
        codec (`str`, *optional*): Name of the decoder.
        container (`str`, *optional*): Name of the container format; `None` for frames that came without a file.
        pixel_ratio (`float`): Width of a stored pixel divided by its height, by the file. `width` and `height` are those
            of the delivered pictures.
        damage (`str`, *optional*): What is wrong with the file, as far as was noticed when the frames were found.
        timing ([`VideoTiming`], *optional*): Time stamps of all frames and values of the header.
        key_frames (`np.ndarray`, *optional*): Numbers of the frames at which decoding can start, by what the packets say;
            `None` for frames that are not read from packets.
        num_decoded_frames (`int`, *optional*): Pictures that the decoder has given to find the frames: those on the way to
            them, too, and all of a file that had to be counted first. 0 for frames that came decoded; `None` if unknown.
    """

    frames_seconds: list[float] | None = None
    rotation: int = 0
    codec: str | None = None
    container: str | None = None
    pixel_ratio: float = 1.0
    damage: str | None = None
    timing: VideoTiming | None = field(default=None, compare=False, repr=False)
    key_frames: np.ndarray | None = field(default=None, compare=False, repr=False)
    num_decoded_frames: int | None = field(default=None, compare=False, repr=False)

    @property
    def timestamps(self) -> list[float]:
        """Seconds of the delivered frames."""
        if self.frames_seconds is None:
            raise ValueError("No frames were delivered, or they came without a frame rate: pass `fps` with them.")
        return self.frames_seconds

    def seconds_of(self, frame_indices: Sequence[int] | np.ndarray) -> list[float] | None:
        """Seconds from the first frame to each of `frame_indices`; `None` if neither time stamps nor rate are known."""
        pts = self.timing.frame_pts if self.timing is not None else None
        if self.container is not None and _rises(pts):
            ticks, base = (pts[np.asarray(frame_indices, dtype=np.int64)] - pts[0]).tolist(), self.timing.time_base
            return [tick * base.numerator / base.denominator for tick in ticks]  # whole numbers up to the one rounding
        if self.fps is None:
            return None
        return [int(index) / self.fps for index in frame_indices]  # time stamps that run backwards say nothing


@dataclass
class DecodedVideo:
    """Frames of a video.

    Args:
        frames (`np.ndarray` of shape `(K, height, width, 3)`): Upright RGB pictures, uint8: the K different frames
            that were asked for, in output order. With `transform`, the list of what it made of them.
        metadata ([`DecodedVideoMetadata`]): `frames_indices` and `frames_seconds` say which ones they are.
    """

    frames: np.ndarray | list
    metadata: DecodedVideoMetadata

    def take(self, frame_indices: Sequence | np.ndarray) -> np.ndarray:
        """The frames laid out like `frame_indices`: `(clips, frames)` gives `(clips, frames, height, width, 3)`."""
        frame_indices, delivered = np.asarray(frame_indices), np.asarray(self.metadata.frames_indices)
        places = np.minimum(np.searchsorted(delivered, frame_indices), len(delivered) - 1)
        if absent := np.unique(frame_indices[delivered[places] != frame_indices]).tolist():
            raise IndexError(f"Frames {absent[:8]} were not decoded; those that were begin {delivered[:8].tolist()}.")
        return self.frames[places]


def decode_video(
    source: Any,
    choose_frames: Callable[[DecodedVideoMetadata], Any] | Sequence | np.ndarray,
    *,
    stream_index: int = 0,
    fps: float | None = None,
    allow_truncated: bool = False,
    allow_damaged: bool = False,
    square_pixels: bool = True,
    num_threads: int | None = None,
    timeout_s: float | None = DEFAULT_TIMEOUT_S,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
    transform: Callable[[np.ndarray], Any] | None = None,
) -> DecodedVideo:
    """Decode the chosen frames of a video, each once.

    Memory grows with the frames asked for, not with the length of the video. Nothing stays open afterwards.

    A damaged or cut-off file is no obstacle as long as the frames asked for can be decoded; otherwise the error names
    the first one that cannot. `total_num_frames` is the number that the undamaged file would have, so clips that
    should cover a whole video never silently cover only what is left of it.

    Args:
        source: A path (`str` or `Path`), a URL (`http(s)://`, `s3://`, `hf://`, ... through fsspec; copied to a temporary
            file), `bytes`, a binary file object (read from its beginning, left open), an array or tensor of uint8
            frames `(frames, height, width, 3)` or `(frames, 3, height, width)`, or a list of PIL images.
        choose_frames (`Callable` or array of `int`): Frame numbers of any shape, repeats allowed; or a function that
            gives them for the [`DecodedVideoMetadata`] of the video. The function is called a second time, with
            corrected metadata, if the packets of a file turn out to miscount its frames: a random choice should build
            its generator inside.
        stream_index (`int`): Which of the video streams to take, cover pictures not counted; the first by default.
        fps (`float`, *optional*): Frame rate of frames that come without a file. Files state their own.
        allow_truncated (`bool`): Count only the frames that are there if the file is cut off.
        allow_damaged (`bool`): Where a wanted frame is damaged, take all that FFmpeg shows of the file, with the damage:
            a warning names the file, and `metadata.damage` says what is wrong. Frame numbers behind the damage count
            what came out.
        square_pixels (`bool`): Bring pictures whose pixels are not square (DVD, DV, HDV, broadcast) to the width at
            which they are shown. Otherwise they are as stored.
        num_threads (`int`, *optional*): Decoder threads, 0 for one per core. By default one in worker processes and
            for small pictures, where more would only get in each other's way, and up to four otherwise.
        timeout_s (`float`, *optional*): Seconds after which to give up; checked between packets and between reads.
        max_pixels (`int`, *optional*): Largest picture to decode, width times height.
        transform (`Callable`, *optional*): Called with each picture `(height, width, 3)` as it comes; its result is kept
            instead of the picture, which saves memory where it is smaller.

    Returns:
        [`DecodedVideo`]

    Raises:
        VideoDecodeError: If the source cannot be opened or holds no video, if a wanted frame is damaged, missing, or
            larger than `max_pixels`, or if time runs out.
        ValueError: If `choose_frames` gives no frame, or one that the video does not have.

    Example:
        >>> video = decode_video(np.zeros((10, 4, 6, 3), dtype=np.uint8), [[2, 5], [5, 9]], fps=5.0)
        >>> video.frames.shape, video.metadata.frames_indices, video.metadata.timestamps
        ((3, 4, 6, 3), [2, 5, 9], [0.4, 1.0, 1.8])
        >>> video.take([[2, 5], [5, 9]]).shape
        (2, 2, 4, 6, 3)
    """
    name = describe_source(source)
    frames = frames_without_reader(source, name, max_pixels, timeout_s)
    if frames is not None:
        metadata = _metadata_of_frames(frames, fps)
        wanted = _chosen(choose_frames, metadata)
        return _deliver(frames.take(wanted, transform), (frames.height, frames.width), wanted, metadata)

    options = {"stream_index": stream_index, "timeout_s": timeout_s, "max_pixels": max_pixels}
    leniency = {"allow_truncated": allow_truncated, "allow_damaged": allow_damaged}
    with VideoReader(source, name, num_threads=num_threads, **leniency, **options) as reader:
        pixel_ratio = reader.pixel_ratio if square_pixels else None
        # Where damage is allowed, frames are those that come out in order, as long as there is any.
        while reader.index.is_sound and (reader.index.is_complete or not allow_damaged):
            metadata = _metadata_of_file(reader)
            wanted = _chosen(choose_frames, metadata)
            try:
                pictures = PictureBuffer(name, wanted, max_pixels, pixel_ratio, transform)
                pictures.fill(reader.sparse_frames(wanted))
                metadata.num_decoded_frames = reader.num_decoded
                return _deliver(pictures.frames, pictures.size, wanted, metadata, pictures.rotation)
            except IndexMismatchError as mismatch:
                if reader.index_anew():
                    continue
                logger.info(f"{name}: {mismatch}. Decoding it from start to end.")
                break
        announced = reader.num_promised if reader.index.is_sound else 0
        reader.count_by_decoding()
        metadata = _metadata_of_file(reader)
        wanted = _chosen(choose_frames, metadata, name, announced)
        pictures = PictureBuffer(name, wanted, max_pixels, pixel_ratio, transform)
        pictures.fill(reader.frames_in_order(wanted))
        if reader.damage and allow_damaged:
            logger.warning(f"{name}: {reader.damage} Its pictures are taken as they come (allow_damaged=True).")
        metadata.num_decoded_frames = reader.num_decoded
        return _deliver(pictures.frames, pictures.size, wanted, metadata, pictures.rotation)


def read_video_metadata(
    source: Any,
    *,
    stream_index: int = 0,
    fps: float | None = None,
    allow_truncated: bool = False,
    square_pixels: bool = True,
    timeout_s: float | None = DEFAULT_TIMEOUT_S,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
) -> DecodedVideoMetadata:
    """Read what [`decode_video`] would tell `choose_frames`, from the packets and the first picture alone.

    The first picture carries the rotation flag. Files whose packets cannot tell the number and order of frames, e.g.
    AVI with re-ordered frames, are decoded as a whole to be counted. The arguments are those of [`decode_video`].
    """
    name = describe_source(source)
    frames = frames_without_reader(source, name, max_pixels, timeout_s)
    if frames is not None:
        return _metadata_of_frames(frames, fps)
    options = {"stream_index": stream_index, "timeout_s": timeout_s, "max_pixels": max_pixels}
    with VideoReader(source, name, allow_truncated=allow_truncated, **options) as reader:
        if not reader.index.is_sound:
            reader.count_by_decoding(keep=False)
        metadata = _metadata_of_file(reader)
        pixel_ratio = reader.pixel_ratio if square_pixels else None
        first = PictureBuffer(name, np.zeros(1, dtype=np.int64), max_pixels, pixel_ratio)
        first.fill(reader.first_frame())
        metadata.num_decoded_frames = reader.num_decoded
    _describe_pictures(metadata, first.size, first.rotation)
    return metadata


def frames_without_reader(
    source: Any, name: str, max_pixels: int | None, timeout_s: float | None
) -> FramesInMemory | None:
    """Frames that need no video decoder: those in memory, and animated images that FFmpeg does not read."""
    if holds_frames(source):
        return FramesInMemory(source, name)
    return open_animation(source, name, max_pixels, timeout_s)


def _metadata_of_frames(frames: FramesInMemory, fps: float | None) -> DecodedVideoMetadata:
    timing = frames.timing or VideoTiming.constant_rate(frames.num_frames, fps)
    duration = None if fps is None else frames.num_frames / fps
    if frames.timing is not None:
        duration = float(timing.header_duration * timing.time_base)
        fps = timing.header_fps
    return DecodedVideoMetadata(
        total_num_frames=frames.num_frames,
        fps=fps,
        width=frames.width,
        height=frames.height,
        duration=duration,
        container=frames.container,
        timing=timing,
        num_decoded_frames=0 if frames.container is None else None,
    )


def _metadata_of_file(reader: VideoReader) -> DecodedVideoMetadata:
    stream, pts, held, total = reader.stream, reader.frame_pts, reader.num_held, reader.num_promised
    fps = float(stream.average_rate or stream.guessed_rate or 0) or None
    duration = None
    if _rises(pts):
        last_s = reader.index.last_duration * stream.time_base or (1 / fps if fps else 0)
        present_s = float((int(pts[-1]) - int(pts[0])) * stream.time_base + last_s)
        seconds = ((pts - pts[0]) * float(stream.time_base)).astype(np.float64)
        # The header's rate, or FFmpeg's guess, counts as long as it says when frames are shown, to within one frame.
        if present_s and not (fps and np.abs(seconds * fps - np.arange(len(seconds))).max() <= 1):
            fps = len(pts) / present_s
        duration = present_s * total / len(pts)
    elif fps:
        duration = total / fps
    return DecodedVideoMetadata(
        total_num_frames=total,
        fps=fps,
        width=stream.width,
        height=stream.height,
        duration=duration,
        video_backend="pyav",
        codec=stream.codec_context.name,
        container=reader.container.format.name,
        pixel_ratio=float(reader.pixel_ratio or 1),
        damage=reader.known_damage,
        timing=VideoTiming(
            frame_pts=pts,
            header_num_frames=stream.frames,
            header_duration=stream.duration,
            header_fps=float(stream.average_rate) if stream.average_rate else None,
            time_base=stream.time_base,
            start_pts=int(pts[0]) if pts is not None and len(pts) else stream.start_time or 0,
            is_complete=held >= total,
        ),
        key_frames=reader.index.key_frames,
    )


def _rises(pts: np.ndarray | None) -> bool:
    return pts is not None and len(pts) > 0 and bool(np.all(np.diff(pts) > 0))


def _chosen(choose_frames: Any, metadata: DecodedVideoMetadata, name: str = "", announced: int = 0) -> np.ndarray:
    """Sorted different frame numbers `(K,)`. `announced`: frames that the packets promised, if fewer came out."""
    chosen = np.asarray(choose_frames(metadata) if callable(choose_frames) else choose_frames)
    if chosen.size == 0 or chosen.dtype.kind not in "iu":
        raise ValueError(
            f"choose_frames must give at least one frame number, all integers; got {chosen.size} of type {chosen.dtype}."
        )
    if metadata.total_num_frames <= chosen.max() < announced:
        reason = f"only {metadata.total_num_frames} frames come out where {announced} were announced: it is damaged."
        raise VideoDecodeError(name, reason, int(chosen[chosen >= metadata.total_num_frames].min()))
    if chosen.min() < 0 or chosen.max() >= metadata.total_num_frames:
        raise ValueError(
            f"choose_frames must give frame numbers from 0 to {metadata.total_num_frames - 1}, "
            f"got {chosen.min()} to {chosen.max()}."
        )
    return np.unique(chosen).astype(np.int64)


def _deliver(frames, size: tuple[int, int], wanted: np.ndarray, metadata: DecodedVideoMetadata, rotation: int = 0):
    metadata.frames_indices = wanted.tolist()
    metadata.frames_seconds = metadata.seconds_of(wanted)
    _describe_pictures(metadata, size, rotation)
    return DecodedVideo(frames, metadata)


def _describe_pictures(metadata: DecodedVideoMetadata, size: tuple[int, int], rotation: int):
    metadata.height, metadata.width, metadata.rotation = *size, rotation
