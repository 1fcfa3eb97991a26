# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""SIGTERM: the loop saves and ends, its workers wait until it has."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class EvaluationStopped(BaseException):
    """SIGTERM came in an evaluation. No error, so that no task takes it for one of its own."""


class Termination:
    """
    Whether this process was asked to stop.

    Args:
        is_alone (`bool`): Whether there is no other process. Several that did not all get the signal would wait for each
            other, so these finish an evaluation before they stop.
    """

    def __init__(self, is_alone: bool):
        self.is_alone = is_alone
        self.is_asked = False  # this process
        self.is_agreed = False  # all processes know
        self._can_break_off = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        previous = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Around an evaluation: SIGTERM ends it, because the checkpoint is written and it can be made again."""
        self._can_break_off = self.is_alone
        try:
            if self.is_agreed or (self.is_asked and self.is_alone):
                raise EvaluationStopped
            yield
        finally:
            self._can_break_off = False

    def _note(self, signal_number: int, frame: Any) -> None:
        self.is_asked = True
        if self._can_break_off:
            raise EvaluationStopped


def ignore_termination(worker_id: int = 0) -> None:
    """
    For workers: SIGTERM often reaches the whole process group, and the loop needs them until it has saved.

    The signal counts only if their parent sends it, as it does when it ends. A worker deaf to that as well would keep
    a parent that ends by an exception waiting for ever.
    """
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
