# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
The videos that the page opens: those of a collection and those that were uploaded, by their ids. A path or an address that somebody
types is an id like any other: there is no such video.
"""

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from clipbert.demo.limits import Limits, RequestError
from clipbert.processing import VideoDecodeError, read_video_metadata
from clipbert.search import VideoIndex, field
from clipbert.search.errors import SearchIndexError
from clipbert.search.files import resolve, scan
from clipbert.support.terminal import show_bytes, show_seconds


UPLOAD = "upload:"
LISTED = 200  # names that are offered at a time


class FolderVideos:
    """
    The videos below a folder, as they were when it was opened; hidden files and links that lead out are passed over.

    Args:
        root (`str` or `Path`): The folder.
    """

    def __init__(self, root: str | Path):
        self.root = root
        self.names = [file.video_id for file in scan([root], root)]
        self._known = frozenset(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._known

    def path_of(self, video_id: str) -> Path | str:
        return resolve(self.root, video_id)

    def listed(self, text: str) -> Iterator[str]:
        """Ids that contain a text."""
        return (name for name in self.names if text.casefold() in name.casefold())


class IndexVideos:
    """
    The videos of an index.

    Args:
        index ([`VideoIndex`]): It may grow meanwhile.
    """

    def __init__(self, index: VideoIndex):
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, video_id: str) -> bool:
        return self.index.store.count((field("video_id") == video_id) & (field("segment") == 0)) > 0

    def path_of(self, video_id: str) -> Path | str:
        return self.index.path_of(video_id)

    def listed(self, text: str) -> Iterator[str]:
        """Ids that contain a text."""
        where = field("segment") == 0
        where = where & field("video_id").contains(text) if text else where
        for batch in self.index.store.scan(["video_id"], where, batch_size=LISTED):
            yield from batch["video_id"].to_pylist()


class Uploads:
    """
    Videos that were uploaded: renamed, checked, and deleted after a while.

    Args:
        limits ([`Limits`]): What is taken.
        folder (`Path`): Where they lie.
    """

    def __init__(self, limits: Limits, folder: Path):
        self.limits, self.folder = limits, folder
        self._files: dict[str, tuple[Path, float]] = {}  # by id, and until when
        self._changing = threading.Lock()

    def take(self, path: str | Path) -> str:
        """
        Take over a file that the server has received, whose name means nothing here.

        Returns:
            `str`: Its id.

        Raises:
            RequestError: If it is no video, or too large or long a one. The file is deleted then.
        """
        self.sweep()
        token, path = secrets.token_hex(16), Path(path)
        kept = self.folder / token
        shutil.move(path, kept)
        try:
            self._check(kept)
        except BaseException:
            kept.unlink(missing_ok=True)
            raise
        with self._changing:
            self._files[UPLOAD + token] = kept, time.monotonic() + self.limits.keep_s
        return UPLOAD + token

    def _check(self, path: Path) -> None:
        size, limits = path.stat().st_size, self.limits
        if size > limits.upload_bytes:
            raise RequestError(
                f"Expected a file of at most {show_bytes(limits.upload_bytes)}, got {show_bytes(size)}: cut the video, or make it smaller."
            )
        try:
            metadata = read_video_metadata(path, timeout_s=limits.decode_s)
        except VideoDecodeError as error:
            raise RequestError(f"The upload cannot be read as a video: {error.reason}") from error
        if metadata.duration is not None and metadata.duration > limits.upload_s:
            raise RequestError(
                f"Expected a video of at most {show_seconds(limits.upload_s)}, got {show_seconds(metadata.duration)}: cut it."
            )

    def __contains__(self, video_id: str) -> bool:
        self.sweep()
        return video_id in self._files

    def path_of(self, video_id: str) -> Path:
        return self._files[video_id][0]

    def sweep(self) -> None:
        """Delete those whose time is over."""
        now = time.monotonic()
        with self._changing:
            for video_id, (path, until) in list(self._files.items()):
                if until < now:
                    del self._files[video_id]
                    path.unlink(missing_ok=True)


class Videos:
    """
    What may be opened.

    Args:
        collection ([`FolderVideos`] or [`IndexVideos`], *optional*): Without one there are uploads alone.
        limits ([`Limits`], *optional*): Of uploads.

    A context manager: leaving it deletes all uploads and previews.
    """

    def __init__(self, collection: Any = None, limits: Limits | None = None):
        self.collection, self.limits = collection, limits or Limits()
        self._folder = tempfile.TemporaryDirectory(prefix="clipbert_demo_", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        (self.folder / "uploads").mkdir()
        self.uploads = Uploads(self.limits, self.folder / "uploads")

    def __enter__(self) -> "Videos":
        return self

    def __exit__(self, *_: Any) -> None:
        self._folder.cleanup()

    def find(self, video_id: object) -> Path | str:
        """
        The file of a video.

        Raises:
            RequestError: If there is no such video.
        """
        if isinstance(video_id, str) and video_id:
            if video_id in self.uploads:
                return self.uploads.path_of(video_id)
            try:
                if self.collection is not None and video_id in self.collection:
                    path = self.collection.path_of(video_id)
                    if not isinstance(path, Path) or os.path.isfile(path):
                        return path
            except (SearchIndexError, ValueError):  # an id that leads elsewhere, or is none
                pass
        if isinstance(video_id, str) and video_id.startswith(UPLOAD):
            raise RequestError("This upload is not there any more: upload the video again.")
        raise RequestError("There is no such video here: choose one of the list, or upload one.")

    def names(self, text: str = "", limit: int = LISTED) -> list[str]:
        """Ids of the collection that contain a text, the first ones."""
        return [] if self.collection is None else list(islice(self.collection.listed(text), limit))

    def __len__(self) -> int:
        return 0 if self.collection is None else len(self.collection)


__all__ = ["LISTED", "UPLOAD", "FolderVideos", "IndexVideos", "Videos"]
