# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts list`: every benchmark, or the configs and files of one."""

import argparse
import shutil
import textwrap

from clipbert.datasets_scripts.building.docstrings import read_docstring
from clipbert.datasets_scripts.loaders import find_loader, list_benchmarks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="show the configs and the files of this benchmark")


def run(options: argparse.Namespace) -> int:
    print(describe_benchmark(options.name) if options.name else describe_all())
    return 0


def describe_all() -> str:
    """A table: name, how to get it, tasks, configs."""
    rows = [("name", "annotations / videos", "task", "configs")]
    for name in list_benchmarks():
        configs = find_loader(name).BUILDER_CONFIGS
        tasks = ", ".join(dict.fromkeys(config.task for config in configs))
        rows.append((name, how_to_get(name), tasks, ", ".join(config.name for config in configs)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    room = max(shutil.get_terminal_size((140, 24)).columns - sum(widths) - 6, 30)
    lines = []
    for row in rows:
        first, *others = textwrap.wrap(row[3], room, break_long_words=False, break_on_hyphens=False) or [""]
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + "  " + first)
        lines += [" " * (sum(widths) + 6) + other for other in others]
    lines.insert(1, "  ".join("-" * width for width in widths) + "  " + "-" * len("configs"))
    return "\n".join(line.rstrip() for line in lines)


def how_to_get(name: str) -> str:
    """`fetched / by hand (gated)`: annotations, then videos or images."""
    loader = find_loader(name)
    if not loader.SOURCES:
        return "generated" if hasattr(loader.BUILDER_CONFIG_CLASS, "generate") else "your own files"
    parts = []
    for kind in ("annotations", "videos"):
        sources = [source for source in loader.SOURCES if source.kind == kind]
        placed = [source for source in sources if not source.urls]
        status = next((f" ({source.status})" for source in placed if source.status != "public"), "")
        if not placed:
            parts.append("fetched" if sources else "-")
        else:
            parts.append(f"{'some ' * (len(placed) < len(sources))}by hand{status}")
    return " / ".join(parts)


def describe_benchmark(name: str) -> str:
    """Configs with what distinguishes them, licence, and every file with its address or what to do."""
    loader = find_loader(name)
    lines = [f"{name}: {(loader.__doc__ or '').strip()}"]
    lines += [f"  {config.name} ({config.task}): {config.description}" for config in loader.BUILDER_CONFIGS]
    lines.append(loader.LAYOUT)
    if licence := read_docstring(loader).get("Licence"):
        lines.append(f"Licence: {licence}")
    for source in loader.SOURCES:
        size = f", {source.size:,} bytes" if source.size else ""
        verified = ", checksum known" if source.sha256 else ""
        lines.append(f"  {source.file} ({source.kind}, {source.status}{size}{verified})")
        lines += [f"    {line}" for line in (*source.urls, source.instructions) if line]
    return "\n".join(line for line in lines if line)
