# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Which videos of a dataset are there and can be opened, known before a training run starts."""

import json
import logging
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import av
import datasets
from datasets import Dataset, DatasetDict
from tqdm import tqdm


logger = logging.getLogger(__name__)


class UnusableVideosError(FileNotFoundError):
    """Videos of a dataset are missing or cannot be read; `report` lists them all."""

    def __init__(self, message: str, report: "VideoReport | None" = None):
        super().__init__(message)
        self.report = report


@dataclass
class VideoReport:
    """What `check_videos` found. `broken` maps a path to the reason."""

    total: int
    missing: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def unusable(self) -> set[str]:
        return {*self.missing, *self.broken}

    def summary(self, shown: int = 10) -> str:
        """Counts, then the first files of each kind."""
        lines = [f"{self.total} videos: {len(self.missing)} missing, {len(self.broken)} broken"]
        for title, listed in (
            ("missing", self.missing),
            ("broken", [f"{path} ({reason})" for path, reason in self.broken.items()]),
        ):
            lines += [f"  {title}: {line}" for line in listed[:shown]]
            if len(listed) > shown:
                lines.append(f"  ... and {len(listed) - shown} more {title}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


def check_videos(dataset, cache_file=None, progress: bool = True) -> VideoReport:
    """Open every video of a dataset, reading its header and not its pictures.

    A file that was fine, or broken, is not opened again until its size or time of change differs.

    Args:
        dataset (`Dataset`, `DatasetDict` or iterable of paths): What to check; a `Dataset` has a column `video`.
        cache_file (`str` or `Path`, *optional*): Where results are kept; default: a file in the cache of `datasets`.
        progress (`bool`, defaults to `True`): Show a progress bar.

    Returns:
        `VideoReport`: Missing and broken files.

    Example:
        >>> print(check_videos(["my_videos/holiday.mp4"]))
        1 videos: 1 missing, 0 broken
          missing: my_videos/holiday.mp4
    """
    from processing.decoding import VideoDecodeError, read_video_metadata  # torch and transformers only when needed

    paths = video_paths(dataset)
    report = VideoReport(total=len(paths), missing=find_missing(paths))
    missing = set(report.missing)
    cache_file = Path(cache_file or Path(datasets.config.HF_DATASETS_CACHE) / "video_checks.json")
    known = load_results(cache_file)
    fresh = {}
    try:
        for path in tqdm(paths, desc="checking videos", unit="video", disable=not progress):
            if path in missing:
                continue
            state = os.stat(path)
            file, key = os.path.abspath(path), [state.st_size, state.st_mtime_ns]
            if known.get(file, [None])[0] != key:
                try:
                    read_video_metadata(path)
                    reason = ""
                except (VideoDecodeError, OSError) as error:
                    reason = str(error)
                known[file] = fresh[file] = [key, reason]
            if known[file][1]:
                report.broken[path] = known[file][1]
    finally:
        if fresh:  # an interrupted check goes on where it stopped
            save_results(cache_file, fresh)
    return report


def video_paths(dataset) -> list[str]:
    """The different videos of a dataset, in order of appearance."""
    if isinstance(dataset, DatasetDict):
        return list(dict.fromkeys(path for part in dataset.values() for path in part.unique("video")))
    return dataset.unique("video") if isinstance(dataset, Dataset) else list(dict.fromkeys(map(str, dataset)))


def find_missing(paths: Iterable[str]) -> list[str]:
    """Paths that are no files; every folder is listed once, which is quick on network drives too."""
    folders, missing = {}, []
    for path in paths:
        folder, name = os.path.split(os.path.abspath(path))
        if folder not in folders:
            try:
                with os.scandir(folder) as entries:
                    folders[folder] = {entry.name for entry in entries if entry.is_file()}
            except (FileNotFoundError, NotADirectoryError):
                folders[folder] = set()
        if name not in folders[folder]:
            missing.append(path)
    return missing


def load_results(cache_file: Path) -> dict:
    """Remembered results, as long as the same FFmpeg would give them."""
    try:
        stored = json.loads(cache_file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return stored["results"] if stored.get("av") == av.__version__ else {}


def save_results(cache_file: Path, fresh: dict) -> None:
    """Add results to the file in one step, so that a reader never sees half of it."""
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    stored = {"av": av.__version__, "results": {**load_results(cache_file), **fresh}}
    handle, temporary = tempfile.mkstemp(dir=cache_file.parent, prefix=f"{cache_file.name}.")
    with os.fdopen(handle, "w") as file:
        json.dump(stored, file)
    os.replace(temporary, cache_file)


def keep_usable_videos(dataset, on_missing: str, on_broken: str, where: str, cache_dir=None):
    """Raise for unusable videos or drop their rows, with the counts logged; `where` names the dataset in messages."""
    for option, value, allowed in (
        ("on_missing", on_missing, ("error", "skip")),
        ("on_broken", on_broken, ("unchecked", "error", "skip")),
    ):
        if value not in allowed:
            raise ValueError(f"Expected `{option}` to be one of {', '.join(allowed)}, got {value!r}")
    paths = video_paths(dataset)
    if on_broken == "unchecked":
        report = VideoReport(total=len(paths), missing=find_missing(paths))
    else:
        report = check_videos(paths, cache_file=Path(cache_dir) / "video_checks.json" if cache_dir else None)
    if (report.missing and on_missing == "error") or (report.broken and on_broken == "error"):
        raise UnusableVideosError(
            f"{where} has unusable videos. {report}\nBring them back, or drop their rows with "
            '`on_missing="skip"` (and `on_broken="skip"`).',
            report,
        )
    return drop_videos(dataset, report, where) if report.unusable else dataset


def drop_videos(dataset, report: VideoReport, where: str):
    """The dataset without the rows of unusable videos; a split that would be empty is an error."""
    if isinstance(dataset, DatasetDict):
        return DatasetDict({split: drop_videos(part, report, f"{where} {split}") for split, part in dataset.items()})
    unusable = report.unusable
    videos = dataset.with_format("arrow")[:]["video"].to_pylist()
    kept = [index for index, path in enumerate(videos) if path not in unusable]
    if not kept:
        raise UnusableVideosError(f"{where}: none of its videos can be used. {report}", report)
    own = set(videos)
    dropped = VideoReport(
        total=len(own),
        missing=[path for path in report.missing if path in own],
        broken={path: reason for path, reason in report.broken.items() if path in own},
    )
    if dropped.unusable:
        logger.warning("%s: dropped %d of %d rows. %s", where, len(videos) - len(kept), len(videos), dropped)
    return dataset.select(kept)
