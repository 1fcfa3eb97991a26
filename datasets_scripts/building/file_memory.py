# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What was found out about files, remembered until they change."""

import json
import os
from pathlib import Path
from typing import Any

import datasets


class FileMemory:
    """Facts about files that hold until the file changes, in a file of JSON lines.

    Every fact is written as soon as it is known, so whatever ends a process costs nothing; several processes may write
    to one memory. A context manager.

    Args:
        path (`str` or `Path`, *optional*): The file of the memory; default: one in the cache of `datasets`.
    """

    def __init__(self, path: str | os.PathLike | None = None):
        self.path = Path(path or Path(datasets.config.HF_DATASETS_CACHE) / "file_facts.jsonl")
        self.known: dict[tuple[str, str], tuple[list[int], Any]] = {}

    def __enter__(self) -> "FileMemory":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.path, "a+b")  # noqa: SIM115  closed on exit
        self.file.seek(0)
        content = self.file.read()
        for line in content.splitlines():
            try:
                entry = json.loads(line)
                self.known[entry["file"], entry["what"]] = (entry["state"], entry["facts"])
            except (ValueError, KeyError, TypeError):
                continue  # a line that was cut short
        if content and not content.endswith(b"\n"):
            self.file.write(b"\n")
        return self

    def __exit__(self, *error) -> None:
        self.file.close()

    def recall(self, file: str, state: list[int], what: str) -> Any:
        """What is known about a file in this state; `None` if nothing."""
        known_state, facts = self.known.get((os.path.abspath(file), what), (None, None))
        return facts if known_state == state else None

    def remember(self, file: str, state: list[int], what: str, facts: Any) -> None:
        file = os.path.abspath(file)
        self.known[file, what] = (state, facts)
        line = json.dumps({"file": file, "state": state, "what": what, "facts": facts})
        self.file.write(line.encode() + b"\n")
        self.file.flush()


def file_state(path: str) -> list[int]:
    """Size and time of the last change: a file that keeps both is taken to be the same."""
    state = os.stat(path)
    return [state.st_size, state.st_mtime_ns]
