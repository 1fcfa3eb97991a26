# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Which files of a folder are opened, by anything, as Linux tells it."""

import ctypes
import os
import struct
from collections import Counter
from contextlib import contextmanager, suppress


IN_OPEN, IN_Q_OVERFLOW, IN_ISDIR = 0x20, 0x4000, 0x40000000


@contextmanager
def opened_files(folder):
    """Counts, by name, how often each file of a folder is opened; complete at the end."""
    libc, counts = ctypes.CDLL(None, use_errno=True), Counter()
    events = libc.inotify_init1(os.O_NONBLOCK)
    if events < 0 or libc.inotify_add_watch(events, os.fsencode(folder), IN_OPEN) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    try:
        yield counts
        with suppress(BlockingIOError):
            while data := os.read(events, 1 << 16):
                place = 0
                while place < len(data):
                    _, mask, _, length = struct.unpack_from("iIII", data, place)
                    assert not mask & IN_Q_OVERFLOW, "more files were opened than can be counted"
                    name = data[place + 16 : place + 16 + length].rstrip(b"\0")
                    counts.update([] if mask & IN_ISDIR else [os.fsdecode(name)])
                    place += 16 + length
    finally:
        os.close(events)
