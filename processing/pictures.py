# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pictures that need no video decoder: arrays, tensors and PIL images in one way into RGB, and animated images."""

import io
import os
from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps

from .decoding_count import note_decoded
from .sampling import VideoTiming
from .video_sources import Deadline, VideoDecodeError, can_seek, naming_source, open_readable


def holds_frames(source: Any) -> bool:
    """Whether `source` is decoded already: an array, a tensor or a list of images."""
    if isinstance(source, (str, bytes)):  # NumPy's kinds of these have a shape
        return False
    return isinstance(source, (list, tuple)) or (hasattr(source, "shape") and hasattr(source, "dtype"))


def upright_rgb(image: PIL.Image.Image, max_pixels: int | None = None) -> np.ndarray:
    """A PIL image as `(height, width, 3)` uint8, the way up it is meant to be seen.

    16 bits are scaled to 8, the rotation of the EXIF header is applied, transparent parts show a white background.

    Raises:
        ValueError: For more than `max_pixels` pixels, and for modes whose range of values nothing tells.
    """
    if max_pixels is not None and image.width * image.height > max_pixels:
        raise ValueError(
            f"it has {image.width}x{image.height} pixels, more than max_pixels={max_pixels}. Raise the limit if you "
            "trust the file"
        )
    image = PIL.ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # a plain conversion cuts 16 bits off at 255 instead of scaling them
        image = PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} state no range of values; convert the image to RGB first")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def image_array(image: Any) -> np.ndarray:
    """`(height, width)` or `(height, width, 3 or 4)`, uint8."""
    image = _to_numpy(image)
    if not image.size:
        raise ValueError(f"expected shape (height, width, 3), got {image.shape}: there are no pixels")
    if image.dtype.kind not in "iu" or image.min() < 0 or image.max() > 255:
        raise ValueError(
            f"expected integers from 0 to 255, got {image.dtype} from {image.min()} to {image.max()}; "
            "e.g. (image * 255).round() for [0, 1]"
        )
    image = image.astype(np.uint8)
    if image.ndim == 2:
        return image
    first, last = image.shape[0] in (1, 3, 4), image.shape[-1] in (1, 3, 4)
    if first == last:
        problem = "both the first and the last axis could be" if first else "neither the first nor the last axis has"
        raise ValueError(f"expected shape (height, width, 3), got {image.shape}: {problem} the colours")
    image = np.moveaxis(image, 0, -1) if first else image
    return image[..., 0] if image.shape[-1] == 1 else np.ascontiguousarray(image)


class FramesInMemory:
    """Frames that came as an array, a tensor or a list of images, with the interface that sampling needs.

    Args:
        source: An array or tensor of shape `(frames, height, width, 3)` or `(frames, 3, height, width)`, uint8, or a
            list of PIL images or of `(height, width, 3)` uint8 arrays, all of one size.
        name (`str`): The source in messages.
    """

    timing: VideoTiming | None = None
    container: str | None = None

    def __init__(self, source: Any, name: str):
        self.name = name
        note_decoded(0)
        if isinstance(source, (list, tuple)):
            self.frames = source
            if not len(source):
                raise VideoDecodeError(name, "the list holds no frames.")
            first = self._as_array(0)
            self.height, self.width = first.shape[:2]
        else:
            self.frames = self._channels_last(source)
            self.height, self.width = (int(side) for side in self.frames.shape[1:3])
        self.num_frames = len(self.frames)

    def take(
        self, frame_indices: np.ndarray, transform: Callable[[np.ndarray], Any] | None = None
    ) -> np.ndarray | list:
        """Copies of the frames asked for, uint8 `(frames, height, width, 3)`; or what `transform` makes of each."""
        pictures = map(self._as_array, map(int, frame_indices))
        if transform is not None:
            return [transform(picture) for picture in pictures]
        taken = np.empty((len(frame_indices), self.height, self.width, 3), dtype=np.uint8)
        for place, picture in enumerate(pictures):
            taken[place] = picture
        return taken

    def _as_array(self, index: int) -> np.ndarray:
        frame = self.frames[index]
        if not isinstance(self.frames, (list, tuple)):
            return frame
        if isinstance(frame, PIL.Image.Image):
            with naming_source(self.name):
                frame = upright_rgb(frame)
        array = _to_numpy(frame)
        if array.ndim != 3 or array.shape[-1] != 3 or array.dtype != np.uint8:
            raise VideoDecodeError(
                self.name,
                "expected PIL images or uint8 arrays of shape (height, width, 3), "
                f"got {type(frame).__name__} of shape {array.shape} and type {array.dtype}.",
                index,
            )
        if index and array.shape[:2] != (self.height, self.width):
            raise VideoDecodeError(
                self.name,
                f"it is {array.shape[0]}x{array.shape[1]} and frame 0 is {self.height}x{self.width}: "
                "give all frames one size.",
                index,
            )
        return array

    def _channels_last(self, source: Any) -> np.ndarray:
        frames = _to_numpy(source)
        expected = "expected uint8 frames of shape (frames, height, width, 3) or (frames, 3, height, width)"
        shape = frames.shape
        if frames.ndim != 4:
            hint = {
                3: "One picture needs a leading axis: frames[None].",
                5: "Pass the videos of a batch one by one.",
            }.get(frames.ndim, "")
            raise VideoDecodeError(self.name, f"{expected}, got {frames.ndim} dimensions: {shape}. {hint}".rstrip())
        last, second = shape[3] == 3, shape[1] == 3
        if last == second:
            problem = "both could be the colours" if last else "neither axis 1 nor axis 3 has 3 colours"
            raise VideoDecodeError(self.name, f"{expected}, got {shape}: {problem}.")
        if 0 in shape:
            raise VideoDecodeError(self.name, f"{expected}, got {shape}: there are no pixels.")
        if frames.dtype != np.uint8:
            raise VideoDecodeError(
                self.name,
                f"{expected}, got {frames.dtype}. Give integers from 0 to 255, e.g. (frames * 255).round() for [0, 1].",
            )
        return frames if last else frames.transpose(0, 2, 3, 1)


def _to_numpy(frames: Any) -> np.ndarray:
    if hasattr(frames, "detach"):  # a tensor, on any device
        frames = frames.detach().cpu()
    return np.asarray(frames)


# -------------------------------------------------------------------------------------------------------- animations


class Animation(FramesInMemory):
    """The pictures of an animated image, read by Pillow one by one when they are asked for.

    Args:
        image (`PIL.Image.Image`): The opened image.
        name (`str`): The source in messages.
        max_pixels (`int`, *optional*): Largest picture.
    """

    container = "webp"

    def __init__(self, image: PIL.Image.Image, name: str, max_pixels: int | None, deadline: Deadline):
        self.image, self.name, self.max_pixels, self.deadline = image, name, max_pixels, deadline
        self.num_frames, self.width, self.height = image.n_frames, image.width, image.height
        if max_pixels is not None and self.width * self.height > max_pixels:
            raise VideoDecodeError(
                name, f"its pictures are {self.width}x{self.height}, more than max_pixels={max_pixels}."
            )
        milliseconds = []
        note_decoded(None)  # Pillow does not tell how often it decodes a picture to show another one
        for number in range(self.num_frames):
            deadline.check()
            image.seek(number)
            image.load()  # only then is the duration known
            milliseconds.append(max(int(image.info.get("duration", 0)), 1))
        ends = np.cumsum(milliseconds)
        self.timing = VideoTiming(
            frame_pts=ends - milliseconds,
            header_num_frames=self.num_frames,
            header_duration=int(ends[-1]),
            header_fps=1000 * self.num_frames / int(ends[-1]),
            time_base=Fraction(1, 1000),
        )

    def _as_array(self, index: int) -> np.ndarray:
        self.deadline.check()
        with naming_source(self.name, self.deadline.timeout_s):
            self.image.seek(index)
            return upright_rgb(self.image, self.max_pixels)


def open_animation(
    source: Any, name: str, max_pixels: int | None = None, timeout_s: float | None = None
) -> Animation | None:
    """The animated WebP that `source` is; `None` if it is something else, which FFmpeg reads."""
    if not _is_animated_webp(_first_bytes(source)):
        return None
    deadline = Deadline(timeout_s)
    with naming_source(name, timeout_s), ExitStack() as stack:
        file = stack.enter_context(open_readable(source, name, deadline))
        if isinstance(file, str):
            file = stack.enter_context(open(file.removeprefix("file:"), "rb"))
        data = io.BytesIO(file.read())
        return Animation(PIL.Image.open(data), name, max_pixels, deadline)


def _first_bytes(source: Any, count: int = 32) -> bytes:
    """The beginning of a file, without moving what is open; nothing of what cannot be looked at for free."""
    try:
        if isinstance(source, (bytes, bytearray, memoryview)):
            return bytes(source[:count])
        if isinstance(source, (str, os.PathLike)):
            if not os.path.isfile(source):
                return b""
            with open(source, "rb") as file:
                return file.read(count)
        if hasattr(source, "read") and can_seek(source):
            source.seek(0)
            return source.read(count)
    except (OSError, ValueError):  # told when it is read
        pass
    return b""


def _is_animated_webp(head: bytes | str) -> bool:
    return isinstance(head, bytes) and head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & 2)
