# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Which files a collection has, and what became of those that an index knows.

    scan     places below a root -> files, by what their folders tell; none is opened
    compare  files, those of an index -> added, changed, moved ...; those are opened whose size does not decide it
    resolve  the id of a video -> its file, never one outside the root
"""

import hashlib
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fsspec.core import url_to_fs

from clipbert.processing.video_sources import URL
from clipbert.search.errors import SearchIndexError
from clipbert.search.roots import LocalRoot, clean_name, find_fault, open_root, shown


BLOCK = 1 << 16  # bytes


@dataclass(frozen=True)
class FileState:
    """
    A file of a collection.

    Args:
        video_id (`str`): Its path below the root, with `/`, NFC.
        path (`Path` or `str`): What opens it: a path, or the address of an object (`s3://...`, `tar://a.mp4::file:///shard.tar`).
        size (`int`): Bytes.
        mtime_ns (`int`, *optional*): When it was written; of objects a number made of their version, where the store has versions.
            `None`: nothing is known.
    """

    video_id: str
    path: Path | str
    size: int
    mtime_ns: int | None


@dataclass(frozen=True)
class KnownFile:
    """A file as it was when it was encoded; see [`FileState`] and [`digest_file`]."""

    size: int
    mtime_ns: int | None
    digest: str


@dataclass
class Changes:
    """
    What became of files since they were encoded; all in the order of ids.

    Args:
        added (`list[FileState]`): New ones.
        unchanged (`list[FileState]`): Same size and time; they were not opened.
        touched (`list[FileState]`): Same content, another time: nothing is to be encoded.
        moved (`dict[str, FileState]`): By the id that they had: same content, another name.
        changed (`list[FileState]`): Same name, another content.
        missing (`list[str]`): Ids whose files have vanished, and are not among the moved ones.
    """

    added: list[FileState] = field(default_factory=list)
    unchanged: list[FileState] = field(default_factory=list)
    touched: list[FileState] = field(default_factory=list)
    moved: dict[str, FileState] = field(default_factory=dict)
    changed: list[FileState] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def scan(
    places: Iterable[str | os.PathLike],
    root: str | os.PathLike,
    follow_links: bool = False,
    ignored: dict[str, str] | None = None,
) -> list[FileState]:
    """
    The videos at some places of a collection, by their suffix (a file that is a place is one, whatever it is called).

    Hidden files and folders are passed over. A folder that several names lead to is listed once, by its own one if that is there. Members of
    `.tar` files in a folder are videos, too: `shard.tar/a.mp4`, with the time of the whole file; to list them, its headers are read. In object
    stores a tar is not looked into, unless it is the root itself.

    Args:
        places: Files and folders below the root; of an address, addresses.
        root (`str` or `os.PathLike`): A folder, or an address of fsspec, such as `s3://bucket/videos` or `tar://::FILE.tar`.
        follow_links (`bool`, *optional*, defaults to `False`): Whether links that lead out of the root are followed.
        ignored (`dict[str, str]`, *optional*): Gets what was not looked at, by name, and why: such links, pipes, folders that cannot be listed,
            names that are no UTF-8, broken tars.

    Returns:
        `list[FileState]`: In the order of ids.

    Raises:
        SearchIndexError: If a place is not there or not below the root, or if two names are equal after Unicode normalisation.
    """
    base, found = open_root(root, follow_links), {}
    ignored = {} if ignored is None else ignored
    for place in places:
        for listed in base.walk(base.name_of(place), ignored):
            if fault := find_fault(listed.name):
                ignored[shown(listed.name)] = fault
                continue
            video = clean_name(listed.name)
            other = found.setdefault(video, listed)
            if other.name != listed.name:
                raise SearchIndexError(
                    f"Two files have one name after Unicode normalisation: {ascii(other.name)} and {ascii(listed.name)}. Rename one."
                )
    return [FileState(video, *listed[1:]) for video, listed in sorted(found.items())]


def absence(
    places: Iterable[str | os.PathLike],
    root: str | os.PathLike,
    follow_links: bool = False,
    ignored: Iterable[str] = (),
) -> Callable[[str], bool]:
    """
    What tells of a video that [`scan`] did not find at these places whether its file has vanished.

    It has not if it lies below what was `ignored`; of another place, if the file is there, and, in an object store, in any case.
    """
    base = open_root(root, follow_links)
    names = {base.name_of(place) for place in places}
    ignored = set(ignored)

    def has_vanished(video: str) -> bool:
        parts = video.split("/")
        above = {"", *("/".join(parts[:count]) for count in range(1, len(parts) + 1))}
        if not ignored.isdisjoint(map(shown, above)):
            return False
        if above & names:
            return True
        try:
            return isinstance(base, LocalRoot) and not base.has(clean_name(video))
        except SearchIndexError:  # of a hostile index
            return False

    return has_vanished


def resolve(root: str | os.PathLike, video_id: str, follow_links: bool = False) -> Path | str:
    """
    The file of a video that an index names, which need not be trusted.

    Args:
        root (`str` or `os.PathLike`): See [`scan`].
        video_id (`str`): The path below it.
        follow_links (`bool`, *optional*, defaults to `False`): Whether links may lead out of the root.

    Returns:
        `Path`, or the address of an object, or of a member of a tar, as `str`. Whether it is there is not checked.

    Raises:
        SearchIndexError: If it leads out of the root, or into a tar that is broken.
    """
    return open_root(root, follow_links).find(clean_name(video_id))


def digest_file(path: str | os.PathLike, size: int) -> str:
    """
    SHA-256 over the size of a file and three blocks of 64 KiB: its start, its middle and its end. In hexadecimal digits.

    Args:
        path (`str` or `os.PathLike`): A file, or an address, of which these ranges alone are read.
        size (`int`): Its bytes.

    Raises:
        OSError: If it cannot be read.
    """
    digest = hashlib.sha256(f"{size}\0".encode())
    starts = (0, max(size - BLOCK, 0) // 2, max(size - BLOCK, 0))
    if isinstance(path, str) and URL.match(path):
        files, place = url_to_fs(path)
        for start in starts if size else ():
            digest.update(files.cat_file(place, start=start, end=min(start + BLOCK, size)))
        return digest.hexdigest()
    with open(path, "rb") as file:
        for start in starts:
            file.seek(start)
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def compare(
    found: Iterable[FileState],
    known: Mapping[str, KnownFile],
    has_vanished: Callable[[str], bool] = lambda video: True,
) -> Changes:
    """
    What became of the files that an index knows.

    Opened are files whose time is another one, and new ones of the same size as one that has vanished. Each vanished file is found again
    at most once: where several files have its content, one of its own name, else the first. Files that cannot be read count as added or
    changed.

    Args:
        found (`Iterable[FileState]`): What is there now.
        known (`Mapping[str, KnownFile]`): The files of the index, by id.
        has_vanished (*optional*): Whether the file of a video that was not found has vanished; see [`absence`]. By default all have.
    """
    found = {file.video_id: file for file in sorted(found, key=lambda file: file.video_id)}
    vanished = [video for video in sorted(known) if video not in found and has_vanished(video)]
    sizes = {known[video].size for video in vanished}
    changes, digests = Changes(), {}
    for file in found.values():
        before = known.get(file.video_id)
        if before is None and file.size in sizes:
            digests[file.video_id] = _try_digest(file)
        elif before is None:
            pass
        elif before.size == file.size and before.mtime_ns == file.mtime_ns is not None:
            changes.unchanged.append(file)
        elif before.size == file.size and before.digest == _try_digest(file):
            changes.touched.append(file)
        else:
            changes.changed.append(file)
    old_names = _match({video: known[video].digest for video in vanished}, digests)
    changes.moved = {old: found[new] for new, old in sorted(old_names.items(), key=lambda pair: pair[1])}
    changes.added = [file for video, file in found.items() if video not in known and video not in old_names]
    changes.missing = [video for video in vanished if video not in changes.moved]
    return changes


def _try_digest(file: FileState) -> str | None:
    try:
        return digest_file(file.path, file.size)
    except OSError:  # said when it is to be encoded
        return None


def _match(old: Mapping[str, str], new: Mapping[str, str | None]) -> dict[str, str]:
    """The old name of new files, by digests: first those that kept the last part of their names."""
    matched: dict[str, str] = {}

    def by_content_and_name(video, digest):
        return digest, video.rpartition("/")[2]

    def by_content(video, digest):
        return digest

    for key in (by_content_and_name, by_content):
        waiting, taken = defaultdict(deque), set(matched.values())
        for video, digest in old.items():
            if video not in taken:
                waiting[key(video, digest)].append(video)
        for video, digest in new.items():
            if video not in matched and (names := waiting[key(video, digest)]):
                matched[video] = names.popleft()
    return matched


__all__ = ["Changes", "FileState", "KnownFile", "absence", "compare", "digest_file", "resolve", "scan"]
