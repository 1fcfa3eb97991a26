# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts check NAME --data_dir DIR`: what of a benchmark is there, whole and where it belongs.

For every split: which videos (or images) are missing, cannot be read, or have another length than the annotations say
(by more than 1 s and more than 5 %); and what leaks between splits: the same id, videos cut from the same recording,
the same file under two names. The files that cannot be used go into a list that `load_benchmark(skip_list=...)` and
recipes (`data.skip_list`) take.

Every result is remembered until the file changes, so a second run, also after an interruption, opens only what it does
not know. The exit status is 0 when every file can be used and nothing leaks, else 1.
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from clipbert.datasets_scripts.building.base import VideoFacts, VideoTextBuilder
from clipbert.datasets_scripts.building.file_memory import FileMemory
from clipbert.datasets_scripts.building.readable import LEVELS, probe_files
from clipbert.datasets_scripts.building.skip_lists import write_skip_list
from clipbert.datasets_scripts.building.usable_videos import find_missing, media_column
from clipbert.datasets_scripts.commands.benchmark_arguments import (
    add_benchmark_arguments,
    build_benchmark,
    default_num_workers,
    load_splits,
)
from clipbert.datasets_scripts.commands.leaks import Leak, find_leaks, find_same_content
from clipbert.support.terminal import printable


TOLERANCE_S, TOLERANCE_SHARE = 1.0, 0.05  # of a duration; the larger one counts: annotators round, containers too
SHOWN = 10  # lines of each kind on the screen; the report has them all


@dataclass
class SplitCounts:
    videos: int
    present: int = 0
    missing: int = 0
    unreadable: int = 0
    wrong_duration: int = 0
    rows: int = 0
    usable_rows: int = 0


@dataclass
class CheckReport:
    """What was found, by the ids of videos or images."""

    benchmark: str
    level: str
    media: str = "video"
    splits: dict[str, SplitCounts] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    wrong_duration: dict[str, str] = field(default_factory=dict)
    leaks: list[Leak] = field(default_factory=list)
    frozen: dict[str, str] = field(default_factory=dict)

    @property
    def unusable(self) -> dict[str, str]:
        """Ids with the reason."""
        return {**self.missing, **self.unreadable, **self.wrong_duration}

    @property
    def is_clean(self) -> bool:
        return not self.unusable and not self.leaks

    def __str__(self) -> str:
        names = ("videos", "present", "missing", "unreadable", "wrong_duration", "rows", "usable_rows")
        titles = (f"{self.media}s", "present", "missing", "unreadable", "wrong length", "rows", "usable rows")
        width = max(map(len, (*self.splits, "split")))
        lines = [f"{self.benchmark}, level {self.level}", "  ".join(["split".ljust(width), *titles])]
        for split, counts in self.splits.items():
            cells = [f"{getattr(counts, name):>{len(title)},}" for name, title in zip(names, titles, strict=True)]
            lines.append("  ".join([split.ljust(width), *cells]))
        for title, listed in (
            ("missing", list_reasons(self.missing)),
            ("unreadable", list_reasons(self.unreadable)),
            ("wrong length", list_reasons(self.wrong_duration)),
            ("leaks between splits", [printable(str(leak)) for leak in self.leaks]),
            ("picture stands still; look at it, no fault was counted", list_reasons(self.frozen)),
        ):
            if listed:
                more = len(listed) - SHOWN
                lines += [f"{title} ({len(listed):,}):", *(f"  {line}" for line in listed[:SHOWN])]
                lines += [f"  ... and {more:,} more; --output writes them all"] * (more > 0)
        return "\n".join(lines)


def list_reasons(reasons: dict[str, str]) -> list[str]:
    return [printable(f"{video_id}: {reason}") for video_id, reason in reasons.items()]


# --------------------------------------------------------------------------------------------------------------------
# The check
# --------------------------------------------------------------------------------------------------------------------


def check_benchmark(
    builder: VideoTextBuilder,
    split: str | None = None,
    level: str = "frames",
    num_workers: int = 0,
    memory_file=None,
    progress: bool = True,
) -> CheckReport:
    """Check the files of a benchmark.

    Args:
        builder (`VideoTextBuilder`): The prepared builder, see `build_benchmark`.
        split (`str`, *optional*): The only split to look at; leaks show only between several.
        level (`str`, defaults to `"frames"`): One of `LEVELS`, see `building/readable.py`.
        num_workers (`int`, defaults to 0): Processes that open files; 0: this one.
        memory_file (`str` or `Path`, *optional*): Where results are kept; default: a file in the cache of `datasets`.
        progress (`bool`, defaults to `True`): Show progress bars.

    Raises:
        ValueError: If the videos are no files but bytes inside of archives.
    """
    tables = load_splits(builder, split)
    media = media_column(next(iter(tables.values())))
    report = CheckReport(f"{builder.name}/{builder.config.name}", level, media)
    listed = {name: list_media(table) for name, table in tables.items()}
    paths = list(dict.fromkeys(path for part in listed.values() for path in part["path"].to_pylist()))
    missing = set(find_missing(paths))
    probes = probe_files(
        [path for path in paths if path not in missing],
        level=level,
        media=media,
        num_workers=num_workers,
        memory_file=memory_file,
        progress=progress,
    )
    facts = builder.video_facts()
    for name, part in listed.items():
        counts = report.splits[name] = SplitCounts(videos=len(part))
        for row in part.to_pylist():
            video_id, path = row["id"], row["path"]
            counts.rows += row["rows"]
            probe = probes.get(path)
            if probe is None:
                counts.missing += 1
                add_reason(report.missing, video_id, f"no file {path}")
                continue
            counts.present += 1
            annotated_s = facts.get(video_id, VideoFacts()).duration_s or row["duration_s"]
            if probe.reason:
                counts.unreadable += 1
                add_reason(report.unreadable, video_id, f"{probe.reason} ({path})")
            elif differs(probe.duration_s, annotated_s):
                counts.wrong_duration += 1
                lengths = f"{probe.duration_s:.2f} s, annotated {annotated_s:.2f} s"
                add_reason(report.wrong_duration, video_id, f"{lengths} ({path})")
            else:
                counts.usable_rows += row["rows"]
            if probe.frozen_s:
                start_s, end_s = probe.frozen_s
                add_reason(report.frozen, video_id, f"from {start_s} s to {end_s} s ({path})")
    report.leaks = find_leaks(listed, facts)
    with FileMemory(memory_file) as memory:
        report.leaks += find_same_content(listed, missing, memory, progress)
    return report


def add_reason(reasons: dict[str, str], video_id: str, reason: str) -> None:
    """Splits may have an id in common whose files are two."""
    known = reasons.get(video_id, reason)
    reasons[video_id] = known if reason in known else f"{known}; {reason}"


def list_media(table: Dataset) -> pa.Table:
    """Columns `id`, `path`, `rows` and `duration_s` (null where the rows have none) of the files of a split."""
    media = media_column(table)
    if table.features[media].dtype != "string":
        raise ValueError(
            f"The {media}s of {table.info.builder_name} come as bytes inside of its archives: there are no files to check."
        )
    columns = table.with_format("arrow")[:]
    seconds = columns["duration_s"] if "duration_s" in columns.column_names else pa.nulls(len(columns), pa.float64())
    columns = pa.table({"id": columns[f"{media}_id"], "path": columns[media], "duration_s": seconds})
    grouped = columns.group_by(["id", "path"], use_threads=False)
    grouped = grouped.aggregate([("duration_s", "max"), ([], "count_all")])
    names = {"duration_s_max": "duration_s", "count_all": "rows"}
    return grouped.rename_columns([names.get(name, name) for name in grouped.column_names])


def differs(duration_s: float | None, annotated_s: float | None) -> bool:
    if duration_s is None or annotated_s is None:
        return False
    return abs(duration_s - annotated_s) > max(TOLERANCE_S, TOLERANCE_SHARE * annotated_s)


# --------------------------------------------------------------------------------------------------------------------
# The command
# --------------------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_benchmark_arguments(parser)
    parser.add_argument("--config", help="task or split protocol, where the benchmark has several")
    parser.add_argument("--split", help="the only split to look at")
    parser.add_argument(
        "--level",
        choices=LEVELS,
        default="frames",
        help="header: open the file; frames (default): also decode the first, a middle and the last picture; "
        "full: decode everything",
    )
    parser.add_argument(
        "--skip_list", type=Path, metavar="FILE", help="write the ids that cannot be used to this file"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the whole report to this file, as JSON")
    parser.add_argument(
        "--allow_leaks", action="store_true", help="leaks between splits, which some benchmarks have, are no failure"
    )
    parser.add_argument(
        "--num_workers", type=int, default=default_num_workers(), help="processes (default: one a core); 0: none"
    )


def run(options: argparse.Namespace) -> int:
    """Print the report; 0 if every file can be used and nothing leaks, else 1."""
    builder = build_benchmark(options.name, options.config, options.data_dir, options.video_dir, options.cache_dir)
    report = check_benchmark(
        builder,
        split=options.split,
        level=options.level,
        num_workers=options.num_workers,
        memory_file=Path(options.cache_dir) / "file_facts.jsonl" if options.cache_dir else None,
    )
    print(report)
    print_absent_splits(builder, report.splits)
    if options.skip_list:
        heading = f"What cannot be used of {report.benchmark} (check at level {report.level})"
        write_skip_list(options.skip_list, report.unusable, heading)
        print(f"{len(report.unusable):,} ids to skip: {options.skip_list}")
    if options.output:
        options.output.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
        print(f"whole report: {options.output}")
    return int(bool(report.unusable) or (bool(report.leaks) and not options.allow_leaks))


def print_absent_splits(builder: VideoTextBuilder, checked: Iterable[str]) -> None:
    absent = [split for split in builder.known_splits() if split not in builder.annotations]
    if absent:
        print(f"not looked at, for want of their annotation files: {', '.join(absent)}")
