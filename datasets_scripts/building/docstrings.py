# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the docstring of a loader's module says about its benchmark: it is the one place for source, terms and traps."""

import inspect
import re

from clipbert.datasets_scripts.building.base import VideoTextBuilder


def read_docstring(loader: type[VideoTextBuilder]) -> dict[str, str]:
    """`title`, `summary` and the parts `Source:`, `Licence:`, ... of the docstring of a loader's module."""
    text = inspect.getdoc(inspect.getmodule(loader)) or loader.__name__
    title, *rest = text.splitlines()
    parts, name = {"title": title.rstrip("."), "summary": ""}, None
    for line in rest:
        heading = re.match(r"([A-Z][a-z]+(?: [a-z]+)?):\s+(\S.*)", line)
        if heading:
            name = heading[1]
            parts[name] = heading[2]
        elif name and line.startswith(" "):
            parts[name] += f"\n{line[11:] if not line[:11].strip() else line.strip()}"
        elif name and line.strip():
            name = None
    for name in ("Source", "Licence"):
        if name in parts:
            parts[name] = " ".join(parts[name].split())
    return parts
