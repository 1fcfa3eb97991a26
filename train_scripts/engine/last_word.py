# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
How a script ends: with one line that says why, below everything else.

`accelerate launch` answers Ctrl-C and exit codes with a traceback of its own, which hides that line. So a process that
outlives both waits for the launcher to end, and says it again (on Linux, where one can wait for a process that is no child).
This file is that process, too: it imports nothing of ours.
"""

import multiprocessing
import os
import select
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress


LAUNCHER = os.getppid()  # as long as it lives
STOPPED = "Stopped at once, by Ctrl-C. The same command goes on from the last checkpoint, if there is one."


@contextmanager
def ending_with_the_reason(plain: tuple[type[Exception], ...]) -> Iterator[None]:
    """
    Around a whole script: end it with the reason where it fails.

    Args:
        plain (`tuple[type[Exception], ...]`): Errors that say all there is to know; others come with a traceback.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr, flush=True)
        say_below_launcher(STOPPED)
        for worker in multiprocessing.active_children():
            worker.kill()
        os._exit(130)
    except Exception as error:
        from clipbert.support.terminal import printable_lines  # not above: see there

        line = printable_lines(f"{type(error).__name__}: {error}")
        whole = line if isinstance(error, plain) else printable_lines("".join(traceback.format_exception(error)))
        print(whole, file=sys.stderr, flush=True)
        say_below_launcher(line)
        sys.exit(1)


def say_below_launcher(line: str) -> None:
    """Print a line below what `accelerate launch` prints last, if that has launched this script and has yet to end."""
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and os.getppid() == LAUNCHER
    if launched and hasattr(os, "pidfd_open"):
        subprocess.Popen([sys.executable, "-S", __file__, str(LAUNCHER), line], start_new_session=True)


def _wait_and_say(launcher: int, line: str) -> None:
    with suppress(ProcessLookupError):
        select.select([os.pidfd_open(launcher)], [], [], 60)
    one_of_all = socket.socket(socket.AF_UNIX)
    with suppress(OSError):  # several processes fail for the same reason: one says it
        one_of_all.bind(f"\0clipbert.{launcher}")
        print(f"\n{line}", file=sys.stderr, flush=True)
        select.select([], [], [], 1)


if __name__ == "__main__":
    _wait_and_say(int(sys.argv[1]), sys.argv[2])


__all__ = ["ending_with_the_reason", "say_below_launcher"]
