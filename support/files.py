# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Files and folders that appear whole or not at all, and digests of them."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


PARTIAL = ".partial"  # end of the names of what is being written


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole_file(target: str | Path) -> Iterator[str]:
    """
    The name of a hidden file beside `target` to write to; it takes the place of `target` unless an error comes first.

    Folders that are missing are made. Readers see the old content or the new one, also after a crash of the machine.
    """
    folder, name = os.path.split(target)
    os.makedirs(folder or os.curdir, exist_ok=True)
    partial = os.path.join(folder, f".{name}.{os.getpid()}{PARTIAL}")
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())  # the rename must not reach the disk before the content
        os.replace(partial, target)
    finally:
        if os.path.exists(partial):
            os.unlink(partial)


def write_whole(target: str | Path, text: str) -> None:
    """Replace a small text file in one step."""
    with whole_file(target) as partial:
        Path(partial).write_text(text, encoding="utf-8")


@contextmanager
def whole_folder(target: str | Path) -> Iterator[Path]:
    """
    A hidden folder beside `target` to write to; it takes the place of `target`, if there is one, unless an error comes
    first.
    """
    target = Path(target).absolute()
    partial, replaced = (target.with_name(f".{target.name}.{os.getpid()}{end}") for end in (PARTIAL, ".replaced"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if target.exists():
            target.rename(replaced)
        try:
            partial.rename(target)
        except OSError:
            if replaced.exists():
                replaced.rename(target)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Delete the files that runs left behind that were killed while they wrote."""
    for leftover in folder.rglob(f".*{PARTIAL}"):
        if leftover.is_file():
            leftover.unlink()


__all__ = ["PARTIAL", "hash_file", "remove_leftovers", "whole_file", "whole_folder", "write_whole"]
