# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Where a collection lies: a folder of this machine, or an address that fsspec reads (`s3://`, `hf://`, `memory://`, `tar://::FILE.tar` ...).

Both list what is below a place, and find the file of a name; neither leads out of the root.
"""

import hashlib
import os
import re
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from datetime import datetime
from os.path import abspath, isdir, join, lexists, realpath, splitext
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse
from urllib.request import url2pathname

from fsspec.core import url_to_fs

from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.processing.video_sources import URL
from clipbert.search.errors import SearchIndexError
from clipbert.support.terminal import printable


LEAVES = "a link that leads out of the collection"
VERSIONS = ("ETag", "etag", "blob_id", "sha256", "md5Hash", "content_md5")  # what stores call the version of a file
TIMES = ("mtime", "LastModified", "last_modified", "created")
SHARD = ".tar"
BROKEN = (tarfile.TarError, zipfile.BadZipFile)


class ListedFile(NamedTuple):
    """A file below a root: its name there, with `/` and spelt as the system does, and what the listing says."""

    name: str
    path: Path | str
    size: int
    mtime_ns: int | None


def open_root(root: str | os.PathLike, follow_links: bool = False) -> "LocalRoot | RemoteRoot":
    """The root of a collection: a folder, or an address."""
    if isinstance(root, str) and root.startswith("file://"):
        root = url2pathname(urlparse(root).path)
    return RemoteRoot(root) if isinstance(root, str) and URL.match(root) else LocalRoot(root, follow_links)


def clean_name(name: str) -> str:
    """
    A name below a root as an id: NFC.

    Raises:
        SearchIndexError: If it cannot be one: absolute, with `..`, empty parts, NUL or what is no Unicode.
    """
    if fault := find_fault(name):
        raise SearchIndexError(f"{shown(name)!r:.300}: {fault}.")
    return unicodedata.normalize("NFC", name)


def find_fault(name: str) -> str | None:
    """Why a name below a root cannot be an id."""
    parts = name.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or ".." in re.split(r"[/\\]", name) or name.startswith("\\"):
        return "expected a path below the root of the collection"
    if "\0" in name or re.search("[\ud800-\udfff]", name):
        return "expected a name in UTF-8 without NUL"
    return None


def shown(name: str) -> str:
    """A name that may have anything in it, for messages."""
    return printable(name)


def _is_video(name: str) -> bool:
    return splitext(name)[1].lower() in VIDEO_SUFFIXES


def _is_shard(name: str) -> bool:
    return splitext(name)[1].lower() == SHARD


def _is_listed(name: str) -> bool:
    return _is_video(name) or _is_shard(name)


def rest_of(path: str, folder: str, separator: str) -> str | None:
    """What of a path is below a folder, `""` for the folder itself, or `None`."""
    if path == folder:
        return ""
    folder = folder.rstrip(separator) + separator
    return path[len(folder) :] if path.startswith(folder) else None


class LocalRoot:
    """
    A folder, and `.tar` files in it as if they were folders. Links that leave it are not followed unless `follow_links`; hidden files and
    folders are passed over.
    """

    def __init__(self, root: str | os.PathLike, follow_links: bool = False):
        self.path, self.real, self.follow_links = abspath(root), realpath(root), follow_links

    def name_of(self, place: str | os.PathLike) -> str:
        """The name of a place below the root, `""` for the root."""
        if isinstance(place, str) and place.startswith("file://"):
            place = url2pathname(urlparse(place).path)
        below = rest_of(abspath(place), self.path, os.sep)
        below = rest_of(realpath(place), self.real, os.sep) if below is None else below
        if below is None:
            raise SearchIndexError(f"{place}: expected a place below the root of the collection, {self.path}.")
        return below.replace(os.sep, "/")

    def _leaves(self, path: str) -> bool:
        return not self.follow_links and rest_of(realpath(path), self.real, os.sep) is None

    def walk(self, name: str, ignored: dict[str, str]) -> Iterator[ListedFile]:
        """The videos below a place, and, where the place is a file, that one. Nothing but tars is opened."""
        path = join(self.path, name) if name else self.path
        if not os.path.exists(path):
            raise SearchIndexError(f"{path}: no such folder or file.")
        if self._leaves(path):
            raise SearchIndexError(f"{path}: {LEAVES}. Allow that by follow_links=True.")
        if isdir(path):
            yield from self._walk_folder(path, name, ignored)
        else:
            yield from self._list_file(path, name, ignored)

    def _walk_folder(self, path: str, name: str, ignored: dict[str, str]) -> Iterator[ListedFile]:
        folders, linked, seen = [(path, name)], [], set()
        while folders or linked:
            folder, below = folders.pop() if folders else linked.pop()  # links last: a folder keeps its own name
            try:
                state = os.stat(folder)
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name, reverse=True)
            except OSError as error:
                if folder == path:
                    raise SearchIndexError(f"{shown(folder)}: cannot be listed: {error.strerror}.") from error
                ignored[shown(below)] = f"cannot be listed: {error.strerror}"
                continue
            if (state.st_dev, state.st_ino) in seen:  # a link that leads back
                continue
            seen.add((state.st_dev, state.st_ino))
            for entry in listed:
                entry_name = f"{below}/{entry.name}" if below else entry.name
                if entry.name.startswith("."):
                    continue
                is_link = entry.is_symlink()
                is_folder = isdir(entry.path) if is_link else entry.is_dir()
                if is_link and (is_folder or _is_listed(entry.name)) and self._leaves(entry.path):
                    ignored[shown(entry_name)] = LEAVES
                elif is_folder:
                    (linked if is_link else folders).append((entry.path, entry_name))
                elif _is_listed(entry.name):
                    yield from self._list_file(entry.path, entry_name, ignored)

    def _list_file(self, path: str, name: str, ignored: dict[str, str]) -> Iterator[ListedFile]:
        try:
            state = os.stat(path)
        except OSError as error:  # a link to nothing, or to itself
            ignored[shown(name)] = str(error.strerror)
            return
        if not stat.S_ISREG(state.st_mode):
            ignored[shown(name)] = "a pipe, a socket or a device"
        elif _is_shard(name):
            yield from self._list_shard(path, name, ignored)
        else:
            yield ListedFile(name, Path(path), state.st_size, state.st_mtime_ns)

    @staticmethod
    def _list_shard(path: str, name: str, ignored: dict[str, str]) -> Iterator[ListedFile]:
        inside: dict[str, str] = {}
        try:
            members = list(_shard(path).walk("", inside))
        except SearchIndexError as error:
            ignored[shown(name)] = str(error)
            return
        ignored |= {f"{shown(name)}/{member}": why for member, why in inside.items()}
        for member in members:
            yield member._replace(name=f"{name}/{member.name}")

    def find(self, name: str) -> Path | str:
        """The file of a name in NFC, however the system spells it; where it would be, if there is none. Of a tar the address in it."""
        path, parts = self.path, name.split("/")
        for place, part in enumerate(parts, start=1):
            path = self._spelt(path, part)
            if _is_shard(part) and place < len(parts) and os.path.isfile(path):
                self._check(path, name)
                return _shard(path).find("/".join(parts[place:]))
        self._check(path, name)
        return Path(path)

    def _check(self, path: str, name: str) -> None:
        if self._leaves(path):
            raise SearchIndexError(
                f"{shown(name)!r:.300}: {LEAVES}, {self.path}. Open an index whose collection has such links with follow_links=True."
            )

    @staticmethod
    def _spelt(folder: str, part: str) -> str:
        path = join(folder, part)
        if part.isascii() or lexists(path) or not isdir(folder):
            return path
        fitting = (name for name in sorted(os.listdir(folder)) if unicodedata.normalize("NFC", name) == part)
        return join(folder, next(fitting, part))

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        path = self.find(name)
        return path.exists() if isinstance(path, Path) else is_object(path)


def _shard(path: str) -> "RemoteRoot":
    if "::" in path:
        raise SearchIndexError(f"{shown(path)!r:.300}: '::' in a name is no part of an address.")
    return RemoteRoot(f"tar://::file://{path}")


class RemoteRoot:
    """An address that fsspec reads, chains such as `simplecache::s3://bucket/videos` and `tar://::FILE.tar` among them."""

    def __init__(self, url: str):
        self.url = url
        links = url.split("::")
        first = next(number for number, link in enumerate(links) if "://" in link)  # whose path the names continue
        self.before, self.head, self.after = links[:first], links[first], links[first + 1 :]
        self.is_archive = self.head.startswith(("tar://", "zip://"))

    def url_of(self, name: str) -> str:
        """The address of a name, as `processing` opens it."""
        head = self.head if self.head.endswith("/") else f"{self.head}/"
        return "::".join([*self.before, f"{head}{name}", *self.after])

    def name_of(self, place: str | os.PathLike) -> str:
        """The name of a place below the root, `""` for the root."""
        links = str(place).split("::")
        number = len(self.before)
        same = links[:number] == self.before and links[number + 1 :] == self.after and number < len(links)
        below = rest_of(links[number].rstrip("/"), self.head.rstrip("/"), "/") if same else None
        if below is None:
            raise SearchIndexError(f"{place}: expected a place below the root of the collection, {self.url}.")
        return below.lstrip("/")

    def walk(self, name: str, ignored: dict[str, str]) -> Iterator[ListedFile]:
        """The videos below a place, as the store lists them now."""
        address = self.url_of(name) if name else self.url
        try:
            found, path, version = self._list(address)
        except (OSError, ValueError, ImportError, *BROKEN) as error:
            raise SearchIndexError(f"{address}: cannot be listed: {error}") from error
        if name and not found:
            raise SearchIndexError(f"{address}: no such folder or file.")
        for full, facts in sorted(found.items()):
            below = (rest_of(full, path, "/") if path else full) or ""
            spelt = "/".join(part for part in (name, below) if part)
            clean = spelt.removeprefix("./")
            if any(part.startswith(".") for part in clean.split("/")) or not (_is_video(clean) or not below):
                continue
            if "::" in spelt:
                ignored[shown(clean)] = "'::' in a name is no part of an address"
            elif facts.get("linkname"):
                ignored[shown(clean)] = "a link inside an archive"
            else:
                yield ListedFile(clean, self.url_of(spelt), facts["size"] or 0, version or read_version(facts))

    def _list(self, address: str) -> tuple[dict[str, dict[str, Any]], str, int | None]:
        """What fsspec tells of the files below an address, its path there, and the version of the archive, if it is one."""
        files, path = url_to_fs(address)
        files.invalidate_cache()
        if not self.is_archive:
            return files.find(path, detail=True), path, None
        files.clear_instance_cache()  # it has the list of an archive that may have been replaced since
        files, path = url_to_fs(address)
        archives, archive = url_to_fs("::".join(self.after))
        found = files.find(path, detail=True), path, read_version(archives.info(archive))
        files.clear_instance_cache()  # it keeps the archive open
        return found

    def find(self, name: str) -> str:
        """The address of the file of a name in NFC, however the store spells it; where it would be, if there is none."""
        if "::" in name:
            raise SearchIndexError(f"{shown(name)!r:.300}: '::' in a name is no part of an address.")
        if self.is_archive or not name.isascii():
            for spelling in (name, unicodedata.normalize("NFD", name), f"./{name}"):
                if is_object(self.url_of(spelling)):
                    return self.url_of(spelling)
        return self.url_of(name)


def is_object(address: str) -> bool:
    """
    Whether there is such an object.

    Raises:
        SearchIndexError: If it is in an archive that is none.
    """
    try:
        files, path = url_to_fs(address)
        return files.isfile(path)
    except (OSError, ValueError, ImportError, *BROKEN) as error:
        raise SearchIndexError(f"{address}: {error}") from error


def read_version(facts: dict[str, Any]) -> int | None:
    """
    A number that is another one when a file of an object store is another one: of its version, or its time in nanoseconds.

    Args:
        facts (`dict`): What fsspec tells of a file. `None` is returned where that is nothing.
    """
    if version := next((facts[name] for name in VERSIONS if facts.get(name)), None):
        return int.from_bytes(hashlib.sha256(str(version).encode()).digest()[:7], "big")
    time = next((facts[name] for name in TIMES if facts.get(name) is not None), None)
    time = time.timestamp() if isinstance(time, datetime) else time
    return int(time * 1_000_000_000) if isinstance(time, int | float) else None


__all__ = [
    "ListedFile",
    "LocalRoot",
    "RemoteRoot",
    "clean_name",
    "find_fault",
    "open_root",
    "read_version",
    "rest_of",
    "shown",
]
