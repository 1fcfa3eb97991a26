# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""SIGTERM and Ctrl-C: the loop saves and ends, its workers wait until it has."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clipbert.support.workers import leave_quietly


NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
SAME_SIGNAL_S = 1.0  # launchers pass on what the terminal has sent already


class EvaluationStopped(BaseException):
    """The run was asked to stop in an evaluation. No error, so that no task takes it for one of its own."""


class Termination:
    """
    Whether this process was asked to stop.

    Args:
        is_alone (`bool`): Whether there is no other process. Several that did not all get the signal would wait for each
            other, so these finish an evaluation before they stop.
        is_main (`bool`, *optional*, defaults to `True`): Whether this process answers a Ctrl-C.
    """

    def __init__(self, is_alone: bool, is_main: bool = True):
        self.is_alone, self.is_main = is_alone, is_main
        self.is_asked = False  # this process
        self.reason = "another process"  # what asked
        self._asked_at, self._pid = 0.0, os.getpid()
        self.is_agreed = False  # all processes know
        self._can_break_off = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        previous = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Around an evaluation: a signal ends it, because the checkpoint is written and it can be made again."""
        self._can_break_off = self.is_alone
        try:
            if self.is_agreed or (self.is_asked and self.is_alone):
                raise EvaluationStopped
            yield
        finally:
            self._can_break_off = False

    def _note(self, signal_number: int, frame: Any) -> None:
        if os.getpid() != self._pid:  # a worker that has just begun
            return
        if self.is_asked and signal_number == signal.SIGINT:
            if time.monotonic() - self._asked_at < SAME_SIGNAL_S:
                return
            raise KeyboardInterrupt
        if not self.is_asked:
            self.reason, self._asked_at = NAMES[signal_number], time.monotonic()
            if signal_number == signal.SIGINT and self.is_main:
                os.write(2, b"\nSaving after this step; Ctrl-C again ends at once, without.\n")  # as handlers may
        self.is_asked = True
        if self._can_break_off:
            raise EvaluationStopped


def ignore_termination(worker_id: int = 0) -> None:
    """
    For workers: SIGTERM often reaches the whole process group, and the loop needs them until it has saved.

    The signal counts only if their parent sends it, as it does when it ends. A worker deaf to that as well would keep
    a parent that ends by an exception waiting for ever.
    """
    leave_quietly()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # comes from the terminal to all processes
    if not hasattr(signal, "sigwaitinfo"):  # where senders cannot be told apart, torch's own handler stays
        return
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # threads begun from here on inherit it
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)


__all__ = ["EvaluationStopped", "Termination", "ignore_termination"]
