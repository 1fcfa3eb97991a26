# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Where the bytes of a video come from: a path, a URL, bytes, an open file, or frames that are in memory already."""

import io
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import av
import numpy as np
from PIL import Image


URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+(::|://)")  # also fsspec chains such as simplecache::https://...
COPY_CHUNK = 1 << 20  # bytes


class VideoDecodeError(ValueError):
    """A video cannot be read, or lacks a frame that was asked for.

    Attributes:
        source (`str`): The file, or a description of what was given instead of one.
        reason (`str`): What was expected, what came, what to do.
        frame_index (`int`, *optional*): First frame that was asked for and is missing.
    """

    def __init__(self, source: str, reason: str, frame_index: int | None = None):
        self.source, self.reason, self.frame_index = source, reason, frame_index
        place = source if frame_index is None else f"frame {frame_index} of {source}"
        super().__init__(f"Cannot decode {place}: {reason}")

    def __reduce__(self):  # loader workers send exceptions to the main process by pickling them
        return type(self), (self.source, self.reason, self.frame_index)


class Deadline:
    """A moment after which `check` raises `TimeoutError`; never, if `timeout_s` is `None`."""

    def __init__(self, timeout_s: float | None):
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"timeout_s must be a positive number of seconds or None, got {timeout_s!r}.")
        self.timeout_s = timeout_s
        self.end = None if timeout_s is None else time.monotonic() + timeout_s

    def check(self):
        if self.end is not None and time.monotonic() > self.end:
            raise TimeoutError


def describe_source(source: Any) -> str:
    """Name of a source for messages; never its content."""
    if isinstance(source, (str, os.PathLike)):
        return str(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"<{len(source)} bytes>"
    if hasattr(source, "shape"):
        return f"<{type(source).__name__} of shape {tuple(source.shape)}>"
    if isinstance(source, Sequence):
        return f"<{type(source).__name__} of {len(source)} images>"
    if isinstance(getattr(source, "name", None), str):
        return source.name
    return f"<{type(source).__name__}>"


@contextmanager
def naming_source(name: str, timeout_s: float | None = None) -> Iterator[None]:
    """Turn whatever goes wrong while reading into a `VideoDecodeError` that names the source and the cause."""
    try:
        yield
    except VideoDecodeError:
        raise
    except (TimeoutError, av.error.ExitError) as error:  # PyAV's own limit ends in ExitError
        raise VideoDecodeError(
            name, f"not done within timeout_s={timeout_s}. Raise the limit, or look whether the source hangs."
        ) from error
    except (av.FFmpegError, OSError, EOFError) as error:
        raise VideoDecodeError(name, explain(error)) from error


def explain(error: Exception) -> str:
    """One line that says what FFmpeg, or the operating system, complained about."""
    text = getattr(error, "strerror", None) or str(error) or "no explanation"
    log = getattr(error, "log", None)
    detail = f" ({log[2].strip()})" if log else ""
    return f"{text}{detail} [{type(error).__name__}]"


# ---------------------------------------------------------------------------------------------------------- files


@contextmanager
def open_readable(source: Any, name: str, deadline: Deadline) -> Iterator[str | io.IOBase]:
    """Give PyAV something it can read and seek in: a path with the prefix `file:`, or a file object."""
    with ExitStack() as stack:
        if isinstance(source, str) and source.startswith("file://"):
            source = url2pathname(urlparse(source).path)
        if isinstance(source, str) and URL.match(source):
            # To disk first: the index needs every packet anyway, and a local copy can be sought in.
            yield stack.enter_context(_copied(stack.enter_context(_open_url(source, deadline)), deadline))
        elif isinstance(source, (str, os.PathLike)):
            yield "file:" + _checked_path(source, name)  # the prefix keeps a ':' in a name from meaning a protocol
        elif isinstance(source, (bytes, bytearray, memoryview)):
            if not len(source):
                raise VideoDecodeError(name, "there are no bytes.")
            yield io.BytesIO(source)
        elif hasattr(source, "read"):
            if hasattr(source, "seekable") and not source.seekable():
                yield stack.enter_context(_copied(source, deadline))
            else:
                source.seek(0)
                yield _WatchedFile(source, deadline)
        else:
            raise TypeError(
                "A video must be a path, a URL, bytes, a file object, an array or tensor of frames, or a list of images; "
                f"got {type(source).__name__}."
            )


def _checked_path(path: str | os.PathLike, name: str) -> str:
    try:
        status = os.stat(path)
    except OSError as error:
        raise VideoDecodeError(name, f"{error.strerror or error} [{type(error).__name__}].") from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe without a writer would never return
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
        raise VideoDecodeError(name, f"expected a file, this is {kind}.")
    if status.st_size == 0:
        raise VideoDecodeError(name, "the file is empty (0 bytes).")
    return os.fspath(path)


class _WatchedFile:
    """A file object of the caller, read no longer than the deadline. Closing it is left to the caller."""

    def __init__(self, file: Any, deadline: Deadline):
        self.file, self.deadline = file, deadline

    def read(self, size: int = -1) -> bytes:
        self.deadline.check()
        data = self.file.read(size)
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise OSError(f"a read gave {type(data).__name__} instead of bytes: open the file in binary mode")
        return bytes(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


@contextmanager
def _open_url(url: str, deadline: Deadline) -> Iterator[Any]:
    """Open a URL for reading; `hf://` goes through the client of the Hub, which registers itself with fsspec."""
    import fsspec

    options = {}
    if url.startswith(("http://", "https://")):
        try:
            from aiohttp import ClientTimeout
        except ImportError:  # fsspec says in its own words that it needs it
            pass
        else:  # for a server that accepts a request and then is silent
            options["client_kwargs"] = {"timeout": ClientTimeout(total=deadline.timeout_s)}
    with fsspec.open(url, "rb", **options) as file:
        yield file


@contextmanager
def _copied(file: Any, deadline: Deadline) -> Iterator[io.IOBase]:
    """A temporary copy on disk, for sources that cannot be sought in, or only slowly."""
    with tempfile.TemporaryFile() as copy:
        watched = _WatchedFile(file, deadline)
        while chunk := watched.read(COPY_CHUNK):
            copy.write(chunk)
        if not copy.tell():
            raise OSError("the source gave no bytes")
        copy.seek(0)
        yield copy


# --------------------------------------------------------------------------------------------------------- frames


def holds_frames(source: Any) -> bool:
    """Whether `source` is decoded already: an array, a tensor or a list of images."""
    return isinstance(source, (list, tuple)) or (hasattr(source, "shape") and hasattr(source, "dtype"))


class FramesInMemory:
    """Frames that came as an array, a tensor or a list of images, with the interface that sampling needs.

    Args:
        source: An array or tensor of shape `(frames, height, width, 3)` or `(frames, 3, height, width)`, uint8, or a
            list of PIL images or of `(height, width, 3)` uint8 arrays, all of one size.
        name (`str`): The source in messages.
    """

    def __init__(self, source: Any, name: str):
        self.name = name
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

    def take(self, frame_indices: np.ndarray) -> np.ndarray:
        """Copies of the frames asked for, uint8 `(frames, height, width, 3)`."""
        taken = np.empty((len(frame_indices), self.height, self.width, 3), dtype=np.uint8)
        for place, index in enumerate(frame_indices):
            taken[place] = self._as_array(int(index)) if isinstance(self.frames, (list, tuple)) else self.frames[index]
        return taken

    def _as_array(self, index: int) -> np.ndarray:
        frame = self.frames[index]
        if isinstance(frame, Image.Image):
            frame = frame.convert("RGB")
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
