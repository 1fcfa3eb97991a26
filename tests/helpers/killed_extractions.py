# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Extractions that are killed on their way."""

import multiprocessing
import signal
import time
from pathlib import Path

from clipbert.train_scripts import extract


def files_in(folder):
    """Files of a folder by name, but for those that somebody was writing."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if not path.name.startswith(".")}


def extract_killed(arguments, folder, stops, total):
    """Extract, with `kill -9` when there are so many files, and once to the end."""
    for number in stops:
        process = multiprocessing.get_context("fork").Process(target=extract.main, args=(arguments,))
        process.start()
        while process.is_alive() and not (folder.is_dir() and len(files_in(folder)) >= number):
            time.sleep(0.0005)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL and len(files_in(folder)) < total
    return extract.main(arguments)
