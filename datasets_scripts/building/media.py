# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Files of videos and images, found by the name that an annotation gives, whatever container they came in."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from os import fspath
from os.path import isdir, splitext
from pathlib import Path


VIDEO_SUFFIXES = frozenset(
    (".3g2", ".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov")
    + (".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv")
)
SEPARATORS = os.sep + (os.altsep or "")
IMAGE_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))


class AmbiguousMediaError(ValueError):
    """A name fits several files."""


def relative_name(name: str) -> str:
    """A path below a folder out of an annotation, with `/` between its parts, however its system writes them.

    Raises:
        ValueError: If it is absolute, leads out of the folder or names nothing.
    """
    parts = re.split(r"[/\\]", name)
    rooted = not parts[0] or re.match(r"[A-Za-z]:[/\\]", name)
    if rooted or ".." in parts or "\0" in name or set(parts) <= {"", "."}:
        raise ValueError(f"expected a path inside the folder, got {name!r:.200}; see `video_dir`")
    return "/".join(part for part in parts if part not in ("", "."))


def visible_files(folder: Path, suffix: str) -> list[Path]:
    """The files of a folder with a suffix in upper or lower case, by name, without the hidden ones that macOS adds."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:  # of a million files: the listing says what is a file
        visible = [entry for entry in entries if not entry.name.startswith(".") and entry.is_file()]
    return sorted(folder / entry.name for entry in visible if splitext(entry.name)[1].lower() == suffix)


def one_spelling(path: str) -> str:
    """The path with composed accents and a suffix in lower case: systems write both in two ways."""
    stem, suffix = splitext(unicodedata.normalize("NFC", path))
    return stem + suffix.lower()


class MediaIndex:
    """The media files below a folder, read once.

    Args:
        root (`str` or `Path`): The folder; sub-folders count, hidden ones do not, links to folders are followed.
        suffixes (`set[str]`): Suffixes with the dot, in lower case.
    """

    def __init__(self, root, suffixes: frozenset[str] = VIDEO_SUFFIXES):
        self.root, self.suffixes = fspath(root), suffixes

    @cached_property
    def files(self) -> dict[str, list[str]]:
        """Paths relative to the folder, by file name without suffix."""
        found: dict[str, list[str]] = {}
        for path in self.walk(self.root, seen=set()):
            stem, _ = splitext(path.rpartition("/")[2])
            found.setdefault(stem, []).append(path)
        return found

    @cached_property
    def spellings(self) -> dict[str, list[str]]:
        """The same paths by `one_spelling` of them."""
        found: dict[str, list[str]] = {}
        for path in (path for paths in self.files.values() for path in paths):
            found.setdefault(one_spelling(path), []).append(path)
        return found

    @cached_property
    def composed(self) -> dict[str, list[str]]:
        """`files` by names with composed accents."""
        found: dict[str, list[str]] = {}
        for stem, paths in self.files.items():
            found.setdefault(unicodedata.normalize("NFC", stem), []).extend(paths)
        return found

    def walk(self, folder: str, seen: set) -> Iterator[str]:
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:  # a link that leads back
            return
        seen.add((state.st_dev, state.st_ino))
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            if entry.name.startswith("."):
                continue
            if (
                isdir(entry.path) if entry.is_symlink() else entry.is_dir()
            ):  # a link to itself is neither, and no error
                yield from self.walk(entry.path, seen)
            elif splitext(entry.name)[1].lower() in self.suffixes:
                yield entry.path[len(self.root) :].lstrip(SEPARATORS).replace(os.sep, "/")

    def digest(self) -> str:
        """Hash of all names: changes when a file comes, goes or is renamed."""
        listing = "\n".join(sorted(path for paths in self.files.values() for path in paths))
        return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()

    def find(self, name: str) -> str:
        """The path of a file by its whole name, as written or as another system writes it; the former if it is not there.

        Raises:
            ValueError: If the name leads out of the folder.
            AmbiguousMediaError: If several files fit.
        """
        fitting = self.spellings.get(one_spelling(name), []) or self.spellings.get(
            one_spelling(relative_name(name)), []
        )
        exact = [path for path in fitting if path == name]
        return f"{self.root}/{self.single(name, exact or fitting) or relative_name(name)}"

    def single(self, name: str, fitting: list[str]) -> str | None:
        if len(fitting) > 1:
            shown = ", ".join(fitting[:4])
            raise AmbiguousMediaError(
                f"{name!r} fits {len(fitting)} files in {self.root}: {shown}. Keep one, or name its folder in `video_dir`"
            )
        return fitting[0] if fitting else None

    def locate(self, name: str, default_suffix: str) -> str:
        """The path of a file, or where it is expected if it is not there.

        Args:
            name (`str`): Name without suffix, with its folder where names repeat: `"video7500"`,
                `"Punch/v_Punch_g01_c01"`. Dots belong to the name.
            default_suffix (`str`): Suffix of the expected path, with the dot.

        Raises:
            AmbiguousMediaError: If several files fit; the message names them.
            ValueError: If the name leads out of the folder.
        """
        name = relative_name(name)
        folder, _, stem = name.rpartition("/")
        fitting = self.files.get(stem) or self.composed.get(unicodedata.normalize("NFC", stem), [])
        if folder and len(fitting) > 1:
            fitting = [path for path in fitting if f"/{splitext(path)[0]}".endswith(f"/{name}")] or fitting
        return f"{self.root}/{self.single(name, fitting) or name + default_suffix}"


def find_videos(place: str | os.PathLike) -> list[Path]:
    """
    The videos of a place that a command line names: a file, whatever it is called, or those below a folder, by their suffix.

    Raises:
        FileNotFoundError: If there is nothing of the name, or no video in the folder.
    """
    place = Path(place)
    if not place.is_dir():
        if not place.exists():
            raise FileNotFoundError(f"{place}: no such folder or file.")
        return [place]
    found = sorted(place / name for name in MediaIndex(place).walk(fspath(place), set()))
    if not found:
        raise FileNotFoundError(f"{place}: no file there ends in {', '.join(sorted(VIDEO_SUFFIXES))}.")
    return found
