# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
What a browser shows of a video: the file itself where browsers play such files, else a short preview around the seconds of interest, and single
frames. Each is asked for by the id of a video:

    media/video?id=ID                         the file, also in parts (HTTP ranges)
    media/preview?id=ID&start_s=S&end_s=S     these seconds as H.264, without sound; made once, and kept within a limit
    media/frame?id=ID&second=S                the frame that is shown then, as JPEG
"""

import hashlib
import io
import math
import os
import threading
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import av
import numpy as np
import PIL.Image
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from clipbert.demo.limits import Limits, RequestError
from clipbert.demo.videos import Videos
from clipbert.processing import VideoDecodeError, decode_video, read_video_metadata
from clipbert.processing.streaming import stream_video
from clipbert.processing.video_processing import frame_shown_at, times_of_frames


# What browsers play: by container the media type, and codecs that they have without a licence of the system.
PLAYED = {
    "mp4": ("video/mp4", {"h264", "av1", "libdav1d", "libaom-av1"}),
    "webm": ("video/webm", {"vp8", "vp9", "av1", "libdav1d", "libaom-av1", "libvpx", "libvpx-vp9"}),
}
EIGHT_BITS = {"yuv420p", "yuvj420p"}
FRAME_SIDE, PREVIEW_SIDE, PREVIEW_FPS = 320, 640, 25
MILLISECOND = Fraction(1, 1000)
LEAD_S = 2.0  # before and behind what a preview is about
NUM_FRAMES_KEPT = 512
SAFE = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=300"}


class Media:
    """
    Files, previews and frames of videos.

    Args:
        videos ([`Videos`]): What may be opened.
    """

    def __init__(self, videos: Videos):
        self.videos, self.limits = videos, videos.limits
        self.folder = videos.folder / "previews"
        self.folder.mkdir()
        self._one_at_a_time = threading.Lock()
        self._frame = lru_cache(NUM_FRAMES_KEPT)(self._read_frame)

    def routes(self) -> list[Route]:
        """For a server."""
        return [
            Route("/media/video", self._answer(self.serve_video)),
            Route("/media/preview", self._answer(self.serve_preview)),
            Route("/media/frame", self._answer(self.serve_frame)),
        ]

    def _answer(self, serve: Callable[..., Response]) -> Callable[[Request], Any]:
        async def respond(request: Request) -> Response:
            try:
                return await run_in_threadpool(serve, **request.query_params)
            except VideoDecodeError as error:
                return JSONResponse({"error": f"The video cannot be read: {error.reason}"}, 422, headers=SAFE)
            except (ValueError, TypeError) as error:
                message = (
                    str(error) if isinstance(error, ValueError) else "Expected id, and seconds where they are needed."
                )
                return JSONResponse({"error": message}, 404, headers=SAFE)

        return respond

    def serve_video(self, id: str) -> Response:
        path = self.videos.find(id)
        if (played := media_type(path)) is None:
            raise RequestError("Browsers do not play this file: ask for media/preview.")
        return FileResponse(path, media_type=played, headers=SAFE, content_disposition_type="inline")

    def serve_preview(self, id: str, start_s: str, end_s: str) -> Response:
        path, (start, end) = self.videos.find(id), map(read_second, (start_s, end_s))
        return FileResponse(self.preview(path, start, end), media_type="video/mp4", headers=SAFE)

    def serve_frame(self, id: str, second: str) -> Response:
        return Response(self.frame(id, read_second(second)), media_type="image/jpeg", headers=SAFE)

    def frame(self, video_id: str, second: float) -> bytes:
        """The frame that is shown so many seconds after the first, as JPEG of 320 pixels at most."""
        path = self.videos.find(video_id)
        return self._frame(path, state_of(path), second)

    def _read_frame(self, path: Path | str, state: tuple, second: float) -> bytes:
        with self._one_at_a_time:
            video = decode_video(
                path,
                lambda metadata: [frame_shown_at(metadata, second)],
                timeout_s=self.limits.decode_s,
                transform=shrink,
            )
        written = io.BytesIO()
        video.frames[0].save(written, "JPEG", quality=85)
        return written.getvalue()

    def preview(self, path: Path | str, start_s: float, end_s: float) -> Path:
        """A file of H.264 with these seconds, of which there is one for the same seconds of the same file."""
        end_s = min(max(end_s, start_s + 1), start_s + self.limits.preview_s)
        key = repr((str(path), state_of(path), start_s, end_s))
        target = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.mp4"
        with self._one_at_a_time:
            if target.exists():
                os.utime(target)  # used last
                return target
            unfinished = target.with_suffix(".part")
            try:
                write_preview(path, unfinished, start_s, end_s, self.limits)
                unfinished.rename(target)
            finally:
                unfinished.unlink(missing_ok=True)
            self._forget_oldest(target)
        return target

    def _forget_oldest(self, newest: Path) -> None:
        files = sorted(self.folder.glob("*.mp4"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        total = 0
        for file in files:
            total += file.stat().st_size
            if total > self.limits.cache_bytes and file != newest:
                file.unlink(missing_ok=True)

    def source(self, video_id: str, start_s: float, end_s: float) -> tuple[str, float]:
        """Where a browser gets the seconds around a clip from, and the second of the video at which that begins."""
        if media_type(self.videos.find(video_id)) is not None:
            return f"media/video?{urlencode({'id': video_id})}", 0.0
        begin = max(round(start_s - LEAD_S, 3), 0.0)
        part = {"id": video_id, "start_s": begin, "end_s": round(end_s + LEAD_S, 3)}
        return f"media/preview?{urlencode(part)}", begin

    def frame_source(self, video_id: str, second: float) -> str:
        """Where a browser gets a frame from."""
        return f"media/frame?{urlencode({'id': video_id, 'second': round(second, 3)})}"


def media_type(path: Path | str) -> str | None:
    """The media type of a file that browsers play; `None` of another one, and of what lies elsewhere."""
    return _media_type(path, state_of(path)) if isinstance(path, Path) else None


@lru_cache(4096)
def _media_type(path: Path, state: tuple) -> str | None:
    try:
        with av.open(path, container_options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
            found, stream = container.format.name.split(","), next(iter(container.streams.video), None)
            context = None if stream is None else stream.codec_context
            if context is None or context.pix_fmt not in EIGHT_BITS:
                return None
            # a Matroska file may be a WebM; its name alone tells
            kind = "mp4" if "mp4" in found else "webm" if "webm" in found and is_webm(path) else None
            played, codecs = PLAYED.get(kind, (None, ()))
            return played if context.name in codecs else None
    except (av.FFmpegError, OSError):
        return None


def is_webm(path: Path) -> bool:
    with open(path, "rb") as file:
        return b"webm" in file.read(64)


def state_of(path: Path | str) -> tuple:
    """What becomes another one when a file is replaced or written."""
    if not isinstance(path, Path):
        return ()
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def read_second(text: str) -> float:
    """
    Raises:
        RequestError: If it is no number of seconds, from 0 on.
    """
    try:
        second = float(text)
    except ValueError:
        second = math.nan
    if not 0 <= second < 1e9:
        raise RequestError(f"Expected seconds from 0 on, got {text!r:.40}.")
    return second


def write_preview(source: Path | str, target: Path, start_s: float, end_s: float, limits: Limits) -> None:
    """
    Write some seconds of a video as H.264, at most 640 pixels wide or high, at most 25 frames a second, without sound.

    Raises:
        VideoDecodeError: If they cannot be read.
        RequestError: If the video ends before them.
    """
    metadata = read_video_metadata(source, timeout_s=limits.decode_s)
    begins, length_s = times_of_frames(metadata)
    if start_s >= length_s:
        raise RequestError(f"Expected seconds of the video, which lasts {length_s:g} s, got {start_s:g} to {end_s:g}.")
    wanted = choose_frames(begins, start_s, end_s)
    chunks = stream_video(
        source,
        chunk_size=16,
        frame_indices=wanted,
        transform=lambda one: shrink(one, PREVIEW_SIDE),
        timeout_s=limits.decode_s,
    )
    with av.open(target, "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = None  # as large as the first picture
        for chunk in chunks:
            for second, picture in zip(chunk.frame_seconds, chunk.frames, strict=True):
                if stream is None:
                    stream = container.add_stream("libx264", PREVIEW_FPS, options={"preset": "veryfast", "crf": "23"})
                    stream.width, stream.height = (max(side // 2 * 2, 2) for side in picture.size)
                    stream.pix_fmt, stream.codec_context.time_base = "yuv420p", MILLISECOND
                frame = av.VideoFrame.from_image(picture.resize((stream.width, stream.height)))
                frame.pts, frame.time_base = round((second - begins[wanted[0]]) * 1000), MILLISECOND
                container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))


def choose_frames(begins: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    """
    Numbers of the frames that begin in these seconds, with the one that is shown at their start, and at most 25 of a second.

    Example:
        >>> choose_frames(np.arange(100) / 50, 0.5, 0.75).tolist()
        [25, 27, 29, 31, 33, 35, 37]
    """
    first = max(int(np.searchsorted(begins, start_s, side="right")) - 1, 0)
    chosen, due = [], -math.inf
    for number in range(first, int(np.searchsorted(begins, end_s, side="right"))):
        if begins[number] >= due - 1e-6:
            chosen.append(number)
            due = max(due, begins[number]) + 1 / PREVIEW_FPS
    return np.array(chosen, dtype=np.int64)


def shrink(picture: np.ndarray, side: int = FRAME_SIDE) -> PIL.Image.Image:
    """A picture `(height, width, 3)` whose longer side is this one at most."""
    image = PIL.Image.fromarray(picture)
    image.thumbnail((side, side), PIL.Image.Resampling.BILINEAR)
    return image


__all__ = ["Media"]
