# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What processes that work for others have in common."""

import sys
from types import TracebackType


def leave_quietly(worker_id: int = 0) -> None:
    """
    For workers of a loader: a parent that ends, as by Ctrl-C, breaks off what it was being handed, and that is no error of theirs.

    Tensors are handed over by a thread of Python's own (`multiprocessing.resource_sharer`), which prints whatever happens to it. What
    goes wrong in the work itself reaches the parent, and is raised there.
    """
    sys.excepthook = _print_unless_left


def _print_unless_left(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, traceback)


__all__ = ["leave_quietly"]
