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


URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+(::|://)")  # also fsspec chains such as simplecache::https://...
COPY_CHUNK, MAX_COPY = 1 << 20, 16 << 30  # bytes; what a server sends compressed may become anything


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


class IndexMismatchError(Exception):
    """The pictures that come out are not those that the packets announced, or FFmpeg complained on the way."""


class Deadline:
    """A moment after which `check` raises `TimeoutError`; never, if `timeout_s` is `None`."""

    def __init__(self, timeout_s: float | None):
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"timeout_s must be a positive number of seconds or None, got {timeout_s!r}.")
        self.timeout_s = timeout_s
        self.restart()

    def restart(self):
        """Begin anew."""
        self.end = None if self.timeout_s is None else time.monotonic() + self.timeout_s

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
    except IndexMismatchError:
        raise
    except Exception as error:  # whatever a library raises over one file: one file never ends a run
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
        elif can_seek(source):
            source.seek(0)
            yield _WatchedFile(source, deadline)
        else:
            yield stack.enter_context(_copied(source, deadline))


def check_kind(source: Any) -> None:
    """Raise `TypeError` for what is no file at all."""
    if not isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)) and not hasattr(source, "read"):
        raise TypeError(
            "A video must be a path, a URL, bytes, a file object, an array or tensor of frames, or a list of images; "
            f"got {type(source).__name__}."
        )


def can_seek(file: Any) -> bool:
    """Whether an open file can be read from any place; not so pipes, sockets and the members of a streamed tar."""
    try:
        return file.seekable() if hasattr(file, "seekable") else hasattr(file, "seek")
    except (AttributeError, io.UnsupportedOperation):  # a wrapper that asks something that cannot be asked
        return False


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
def local_copy(source: Any, timeout_s: float | None = None) -> Iterator[Any]:
    """What is read again and again, near at hand: of a URL the path of a temporary copy, which is gone afterwards; all else as it is.

    Raises:
        VideoDecodeError: If it cannot be fetched within `timeout_s`.
    """
    if not isinstance(source, str) or source.startswith("file://") or not URL.match(source):
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        path, deadline = os.path.join(folder, "copy"), Deadline(timeout_s)
        with naming_source(source, timeout_s), _open_url(source, deadline) as file, open(path, "wb") as copy:
            _fill(copy, file, deadline)
        os.utime(path, (0, 0))  # nobody else writes it: what is known of it stays valid
        yield path


@contextmanager
def _copied(file: Any, deadline: Deadline) -> Iterator[io.IOBase]:
    """A temporary copy on disk, for sources that cannot be sought in, or only slowly."""
    with tempfile.TemporaryFile() as copy:
        _fill(copy, file, deadline)
        copy.seek(0)
        yield copy


def _fill(copy: io.IOBase, file: Any, deadline: Deadline) -> None:
    watched = _WatchedFile(file, deadline)
    while chunk := watched.read(COPY_CHUNK):
        copy.write(chunk)
        if copy.tell() > MAX_COPY:
            raise OSError(f"the source gives more than {MAX_COPY >> 30} GiB; fetch it to a file yourself")
    if not copy.tell():
        raise OSError("the source gave no bytes")
