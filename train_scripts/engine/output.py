# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The output folder of a run: it can be written to, and one run at a time does."""

import json
import os
import shlex
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

from clipbert.support.files import write_whole
from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.recipe import Recipe


LOCK, HOLDER = ".lock", ".lock.json"
TAKEN = "another run writes to"  # in the last words of a run that found its folder held
WORKERS_END_WITHIN = (
    30  # seconds; the loader's workers of a run that was killed notice it, and hold its lock until then
)


class OutputError(OSError):
    """The output folder of a run cannot be written to, or another run writes to it."""


@contextmanager
def own_output(recipe: Recipe, accelerator: Accelerator) -> Iterator[None]:
    """
    Hold `run.output_dir`, alone, while a run writes to it. The main process holds it for all.

    The system gives the lock back when the process ends, however that comes about. Nobody who reads has to ask for it.

    Raises:
        OutputError: If the folder cannot be written to, or another run holds it; on all processes.
    """
    folder, lock, problem = Path(recipe.run.output_dir), None, None
    is_new = not folder.exists()
    if accelerator.is_main_process:
        try:
            lock = hold(folder, recipe)
        except OutputError as error:
            problem = str(error)
    (problem,) = broadcast_object_list([problem])
    if problem is not None:
        raise OutputError(problem)
    try:
        yield
    finally:
        if lock is not None:
            with suppress(OSError):  # whatever is wrong with the disk, the run has spoken of it
                (folder / HOLDER).unlink(missing_ok=True)
                if is_new and [path.name for path in folder.iterdir()] == [LOCK]:  # it failed before it wrote anything
                    (folder / LOCK).unlink()
                    folder.rmdir()
            lock.release()


def hold(folder: Path, recipe: Recipe) -> FileLock:
    """The lock of a folder, which is made if need be."""
    if folder.is_symlink() and not folder.exists():
        raise OutputError(
            f"run.output_dir: {folder} is a link to {os.readlink(folder)}, which does not exist. Make that folder, or name "
            "another one."
        )
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            lock.acquire(timeout=WORKERS_END_WITHIN if is_dead(read_holder(folder)) else 0)
        write_whole(folder / HOLDER, json.dumps(describe(recipe), indent=1))
    except Timeout:
        raise OutputError(
            f"run.output_dir: {TAKEN} {folder}: {show(read_holder(folder))}. Wait for it, stop it, or name "
            "another folder."
        ) from None
    except OSError as error:
        lock.release()
        raise OutputError(
            f"run.output_dir: cannot write to {folder}: {error.strerror or error}. Name a folder that can be written to, "
            "on a disk with space."
        ) from error
    return lock


def describe(recipe: Recipe) -> dict[str, Any]:
    """What others are to know of this run."""
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": since, "recipe": shlex.join(recipe.arguments)}


def read_holder(folder: Path) -> dict[str, Any]:
    """What the run that holds a folder said of itself; empty if it has not come to that."""
    with suppress(OSError, ValueError):
        return dict(json.loads((folder / HOLDER).read_text(encoding="utf-8")))
    return {}


def show(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "it has just begun"
    return printable("process {pid} on {host}, since {since}, with {recipe}".format(**holder))


def is_dead(holder: Mapping[str, Any]) -> bool:
    """Whether the process that took the lock is known to be gone."""
    if holder.get("host") != socket.gethostname():
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


__all__ = ["OutputError", "own_output"]
