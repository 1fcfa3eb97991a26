# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Checkpoints of runs know their files: `trainer/manifest.json` has the size and the digest of each."""

import json
import os
from pathlib import Path

from clipbert.support.files import hash_file


MANIFEST = Path("trainer", "manifest.json")


class CheckpointError(ValueError):
    """A checkpoint that is not whole, or does not belong to this run."""


def write_manifest(folder: Path) -> None:
    """Note what is in a folder, once all of it has reached the disk."""
    files = {path.relative_to(folder).as_posix(): _fingerprint(path) for path in folder.rglob("*") if path.is_file()}
    (folder / MANIFEST).write_text(json.dumps({"files": dict(sorted(files.items()))}, indent=1))
    _fingerprint(folder / MANIFEST)


def verify_checkpoint(folder: Path, with_trainer: bool = True) -> None:
    """
    Compare a checkpoint with its manifest; every file is read once.

    Args:
        folder (`Path`): The checkpoint.
        with_trainer (`bool`, *optional*, defaults to `True`): Also what only a resumed run reads.

    Raises:
        CheckpointError: If there is no manifest, or a file is missing or not what was written. The message names it.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{folder} is not a whole checkpoint: {folder / MANIFEST} cannot be read ({error})."
        ) from error
    for name, expected in files.items():
        is_read = with_trainer or not name.startswith(f"{MANIFEST.parent}/")
        if is_read and (problem := _find_damage(folder / name, name, expected)):
            raise CheckpointError(f"{folder} is not a whole checkpoint: {problem}.")


def verify_if_recorded(place: str | os.PathLike) -> None:
    """
    Verify what a model is about to be read from, where it is a checkpoint of a run. Others have no manifest.

    Raises:
        CheckpointError: If a file is missing or not what was written.
    """
    if not (Path(place) / MANIFEST).is_file():
        return
    try:
        verify_checkpoint(Path(place), with_trainer=False)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error} Take another checkpoint of the run, or run the command that wrote it again in a new run.output_dir. "
            f"If you edited the file on purpose, delete {Path(place) / MANIFEST}."
        ) from error


def _find_damage(path: Path, name: str, expected: dict[str, int | str]) -> str | None:
    if not path.is_file():
        return f"{name} is missing"
    if path.stat().st_size != expected["size"]:
        return f"{name} has {path.stat().st_size} bytes, written were {expected['size']}"
    return None if hash_file(path) == expected["sha256"] else f"the content of {name} has changed"


def _fingerprint(path: Path) -> dict[str, int | str]:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())  # the rename must not reach the disk before the content
    return {"size": path.stat().st_size, "sha256": hash_file(path)}


__all__ = ["MANIFEST", "CheckpointError", "verify_checkpoint", "verify_if_recorded", "write_manifest"]
