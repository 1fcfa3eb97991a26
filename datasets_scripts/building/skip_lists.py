# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Lists of videos to leave out: one id a line, with the reason as a comment."""

import json
import os
import re
from contextlib import suppress
from pathlib import Path

from clipbert.datasets_scripts.building.records import read_lines
from clipbert.support.terminal import printable


def read_skip_list(skip_list) -> frozenset[str]:
    """Ids of videos to leave out: given as such, or one a line of a file, with comments as `write_skip_list` has them."""
    if skip_list is None:
        return frozenset()
    if isinstance(skip_list, str | os.PathLike):
        path = Path(skip_list)
        if not path.is_file():
            raise FileNotFoundError(f"skip_list {path} is not a file; expected one video id a line.")
        skip_list = [id_of_line(record.values["line"]) for record in read_lines(path)]
    return frozenset(name for name in skip_list if name)


def id_of_line(line: str) -> str:
    """The id before ` #`. Ids may begin with `#`, as some file names do; `# ` at the beginning is a comment."""
    if line.startswith('"'):
        with suppress(ValueError):
            return json.JSONDecoder().raw_decode(line)[0]
    return re.sub(r"(\s#|^#(\s|$)).*", "", line).strip()


def write_skip_list(path, reasons: dict[str, str], heading: str = "") -> None:
    """One id a line with the reason as a comment; `load_benchmark` and recipes take the file as `skip_list`."""
    lines = [f"# {line}" for line in heading.splitlines()]
    for video_id, reason in reasons.items():
        plain = id_of_line(video_id) == video_id and video_id.isprintable()
        lines.append(f"{video_id if plain else json.dumps(video_id)}  # {printable(' '.join(reason.split()))}")
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
