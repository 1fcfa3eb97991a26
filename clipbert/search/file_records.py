# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Size and SHA-256 of every file of an index in a folder, because the files of LanceDB have no checksums.

Files of an index are written once and never changed, but for a hint that is not recorded. Each commit adds a record of what is new in
`digests/`; a file without one is of a writer that was killed in between, and the next writer records it.
"""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clipbert.search.protocols import IndexDamagedError
from clipbert.support.files import PARTIAL, hash_file, write_whole


FOLDER = "digests"
UNRECORDED = {"latest_version_hint.json"}  # written anew by each commit


class FileState(NamedTuple):
    """What a file was when it was recorded."""

    size: int
    digest: str


class FileRecords:
    """
    Records of the files of some folders.

    Args:
        root (`Path`): Of the index.
        folders: Names of the folders in it whose files are recorded.
    """

    def __init__(self, root: Path, folders: tuple[str, ...]):
        self.root, self.folders = root, folders
        self._pages: dict[str, dict[str, FileState]] = {}  # as far as read: they do not change

    def read(self) -> dict[str, FileState]:
        """
        All records, by path with `/` below the root.

        Raises:
            IndexDamagedError: If a file of records cannot be read.
        """
        pages = {page.name: page for page in (self.root / FOLDER).glob("*.json")}
        self._pages = {name: self._pages.get(name) or self._read_page(page) for name, page in pages.items()}
        return {path: state for page in self._pages.values() for path, state in page.items()}

    def _read_page(self, page: Path) -> dict[str, FileState]:
        try:
            content = json.loads(page.read_text(encoding="utf-8"))
            return {str(path): FileState(int(size), str(digest)) for path, (size, digest) in content.items()}
        except FileNotFoundError:
            return {}  # joined with others since it was listed
        except (ValueError, TypeError, AttributeError) as error:
            raise IndexDamagedError(
                f"{page} is damaged ({error}): it has the checksums of some files of the index. Delete it, and the next change of the "
                "index records these files as they are."
            ) from error

    def files(self) -> Iterator[str]:
        """Files that are there, by path with `/` below the root."""
        for folder in self.folders:
            for place, _, names in os.walk(self.root / folder):
                for name in names:
                    if name not in UNRECORDED:
                        yield (Path(place) / name).relative_to(self.root).as_posix()

    def unrecorded(self) -> list[str]:
        """Files without a record."""
        known = self.read()
        return sorted(path for path in self.files() if path not in known)

    def add_new(self) -> None:
        """Record the files that have no record."""
        if new := self.unrecorded():
            self._write_page({path: self._state(path) for path in new})

    def join(self) -> None:
        """One page of records of the files that are there, in the place of all pages."""
        known = self.read()
        old, files = list(self._pages), list(self.files())
        self._write_page({path: known.get(path) or self._state(path) for path in files})
        for name in old:
            (self.root / FOLDER / name).unlink(missing_ok=True)
        for leftover in (self.root / FOLDER).glob(f".*{PARTIAL}"):
            leftover.unlink()

    def _write_page(self, states: dict[str, FileState]) -> None:
        write_whole(self.root / FOLDER / f"{uuid.uuid4().hex}.json", json.dumps(states, indent=0))

    def _state(self, path: str) -> FileState:
        return FileState((self.root / path).stat().st_size, hash_file(self.root / path))

    def differing(self, by_size: bool = False) -> dict[str, str]:
        """
        What is wrong, by path: files that are missing, or not what was recorded.

        Args:
            by_size (`bool`, *optional*, defaults to `False`): Do not read the files.
        """
        return {path: fault for path, state in self.read().items() if (fault := self._fault(path, state, by_size))}

    def _fault(self, path: str, expected: FileState, by_size: bool) -> str | None:
        try:
            size = (self.root / path).stat().st_size
            if size != expected.size:
                return f"has {size} bytes, expected {expected.size}"
            if not by_size and hash_file(self.root / path) != expected.digest:
                return "has other content than was written"
        except FileNotFoundError:
            return f"is missing, expected {expected.size} bytes"
        return None


__all__ = ["FileRecords", "FileState"]
