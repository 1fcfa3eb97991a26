# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scripts that begin without waiting for their imports: in copies of an interpreter that has imported everything already."""

import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from clipbert.support.families import list_families


# What runs import on their way, and their scripts do not: torch's optimizers ask for its compiler, backbones for timm, where that is; the
# Auto classes for all families.
OF_RUNS = (
    "torch._dynamo",
    "torch.utils.flop_counter",
    "transformers.modeling_utils",
    "transformers.generation.utils",
    "timm",
    *(f"clipbert.modeling_{model_type}" for model_type in list_families()),
)


class ForkedScript(ForkServerProcess):
    """
    `python SCRIPT ARGUMENTS` in a session of its own, as `subprocess.Popen(..., start_new_session=True)` would start it.

    Args:
        script (`str`): Path of a Python file.
        arguments (`Sequence[str]`): Its arguments.
        console (`Path`): File to the end of which everything is written that it prints.
        environment (`Mapping[str, str]`): What it has in its environment beside that of this process.
    """

    def __init__(self, script: str, arguments: Sequence[str], console: Path, environment: Mapping[str, str]):
        place = (os.getcwd(), {**os.environ, **environment})  # those of the interpreter are of when it was started
        super().__init__(target=_run, args=(script, list(arguments), str(console), *place))

    def wait(self) -> int:
        """Returns the exit code, minus the number of the signal if one ended it."""
        self.join()
        return self.exitcode


def can_fork() -> bool:
    """Whether this system has cheap copies that are safe: on macOS some of its libraries are not, on Windows there are none."""
    return sys.platform == "linux"


def import_ahead(modules: Sequence[str], environment: Mapping[str, str]) -> None:
    """
    Start the interpreter that the scripts of this process are copies of, once.

    Args:
        modules (`Sequence[str]`): What it imports; those that fail will fail again, and be told of, in the scripts.
        environment (`Mapping[str, str]`): The environment of it, and so of the scripts.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload([*modules, *OF_RUNS])
    before = dict(os.environ)
    try:
        os.environ.update(environment)
        multiprocessing.forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _run(script: str, arguments: Sequence[str], console: str, folder: str, environment: Mapping[str, str]) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with open(console, "a", encoding="utf-8") as printed:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(printed.fileno(), stream.fileno())
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).resolve().parent))
    runpy.run_path(script, run_name="__main__")


__all__ = ["ForkedScript", "can_fork", "import_ahead"]
