# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What FFmpeg complains about while a video is read.

Decoders hide damage: they log an error, fill the hole with something, and return a picture. PyAV throws these messages
away unless its logging is switched on, for the whole process.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import av.logging


class Complaints:
    """The errors that FFmpeg logs in this thread while the block runs. A context manager, once.

    What decoder threads of FFmpeg say is not heard: their decoders mark a damaged picture besides.
    """

    _lock = threading.Lock()
    _listeners, _listeners_in_detail = 0, 0
    _level_before: int | None = None
    _level_in_brief: int | None = None
    _skipped_repeated = True
    _of_decoder_threads: "av.logging.Capture | None" = None

    def __init__(self):
        self.heard: list[tuple[int, str, str]] = []  # level, who, what
        self._capture = None

    def __enter__(self) -> "Complaints":
        cls = Complaints
        with cls._lock:
            if not cls._listeners:
                cls._level_before = av.logging.get_level()
                if cls._level_before is None or cls._level_before < av.logging.ERROR:
                    av.logging.set_level(av.logging.ERROR)
                cls._skipped_repeated = av.logging.get_skip_repeated()
                av.logging.set_skip_repeated(False)  # the same words about another video are not the same complaint
                cls._of_decoder_threads = av.logging.Capture(local=False)
                cls._of_decoder_threads.__enter__()  # else they would be printed
            cls._listeners += 1
        self._capture = av.logging.Capture()
        self.heard = self._capture.__enter__()
        return self

    def __exit__(self, *error):
        cls = Complaints
        self._capture.__exit__(*error)
        with cls._lock:
            cls._listeners -= 1
            if not cls._listeners:
                cls._of_decoder_threads.__exit__(*error)
                av.logging.set_skip_repeated(cls._skipped_repeated)
                av.logging.set_level(cls._level_before)
        self.forget()

    @contextmanager
    def in_detail(self) -> Iterator[None]:
        """Hear what is logged as information as well."""
        cls = Complaints
        with cls._lock:
            cls._listeners_in_detail += 1
            level = av.logging.get_level()
            if cls._listeners_in_detail == 1 and level < av.logging.INFO:
                av.logging.set_level(av.logging.INFO)
                cls._level_in_brief = level
        try:
            yield
        finally:
            with cls._lock:
                cls._listeners_in_detail -= 1
                if not cls._listeners_in_detail and cls._level_in_brief is not None:
                    av.logging.set_level(cls._level_in_brief)
                    cls._level_in_brief = None

    def forget(self) -> None:
        """Begin anew."""
        before = Complaints._level_before
        if before is not None:  # somebody listens to PyAV besides: hand on what was heard
            for level, who, what in (entry for entry in self.heard if entry[0] <= before):
                logging.getLogger(f"libav.{who or 'generic'}").log(av.logging.adapt_level(level), what.strip())
        self.heard.clear()

    def has_error_of(self, name: str) -> bool:
        """Whether `name` has logged an error since the last call of `take`."""
        return any(level <= av.logging.ERROR and who == name for level, who, _ in self.heard)

    def take(self, *names: str) -> str | None:
        """The first error since the last call that one of `names` (decoder or demuxer) logged; `None` if there is none."""
        said = [what.strip() for level, who, what in self.heard if level <= av.logging.ERROR and who in names]
        self.forget()
        return said[0] if said else None
