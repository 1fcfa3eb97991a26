# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Which videos of a dataset are there and can be opened, known before a training run starts."""

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset, DatasetDict, IterableDatasetDict

from clipbert.datasets_scripts.building.readable import probe_files
from clipbert.support.terminal import printable


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
            lines += [f"  {title}: {printable(line)}" for line in listed[:shown]]
            if len(listed) > shown:
                lines.append(f"  ... and {len(listed) - shown} more {title}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


def check_videos(
    dataset, cache_file=None, progress: bool = True, level: str = "header", num_workers: int = 0
) -> VideoReport:
    """Open every video (or image) of a dataset.

    A file that was fine, or broken, is not opened again until its size or time of change differs.

    Args:
        dataset (`Dataset`, `DatasetDict` or iterable of paths): What to check; a `Dataset` has a column `video` or
            `image`, paths are those of videos.
        cache_file (`str` or `Path`, *optional*): Where results are kept; default: a file in the cache of `datasets`.
        progress (`bool`, defaults to `True`): Show a progress bar.
        level (`str`, defaults to `"header"`): `"header"` reads headers and first pictures, `"frames"` also a middle
            picture and the last one, `"full"` every picture.
        num_workers (`int`, defaults to 0): Processes that open files; 0: this one.

    Returns:
        `VideoReport`: Missing and broken files.

    Example:
        >>> print(check_videos(["my_videos/holiday.mp4"]))
        1 videos: 1 missing, 0 broken
          missing: my_videos/holiday.mp4
    """
    paths = video_paths(dataset)
    report = VideoReport(total=len(paths), missing=find_missing(paths))
    missing = set(report.missing)
    probes = probe_files(
        [path for path in paths if path not in missing],
        level=level,
        media=media_column(dataset) if isinstance(dataset, Dataset | DatasetDict) else "video",
        num_workers=num_workers,
        memory_file=cache_file,
        progress=progress,
    )
    report.broken = {path: probe.reason for path, probe in probes.items() if probe.reason}
    return report


def media_column(dataset) -> str:
    """`"video"`, or `"image"` for benchmarks of images."""
    part = next(iter(dataset.values())) if isinstance(dataset, DatasetDict) else dataset
    return "video" if "video" in part.column_names else "image"


def video_paths(dataset) -> list[str]:
    """The different videos (or images) of a dataset, in order of appearance."""
    if isinstance(dataset, DatasetDict):
        return list(dict.fromkeys(path for part in dataset.values() for path in video_paths(part)))
    if isinstance(dataset, Dataset):
        return dataset.unique(media_column(dataset))
    return list(dict.fromkeys(map(str, dataset)))


def find_missing(paths: Iterable[str]) -> list[str]:
    """Paths that are no files; every folder is listed once, which is quick on network drives too."""
    folders, missing = {}, []
    for path in paths:
        folder, name = os.path.split(os.path.abspath(path))
        if folder not in folders:
            folders[folder] = set()
            with suppress(OSError), os.scandir(folder) as entries:
                folders[folder] = {
                    entry.name
                    for entry in entries
                    if (os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file())
                }
        if name not in folders[folder]:
            missing.append(path)
    return missing


def check_choices(on_missing: str, on_broken: str) -> None:
    for option, value, allowed in (
        ("on_missing", on_missing, ("error", "skip", "keep")),
        ("on_broken", on_broken, ("unchecked", "error", "skip")),
    ):
        if value not in allowed:
            raise ValueError(f"Expected `{option}` to be one of {', '.join(allowed)}, got {value!r}")


@dataclass(frozen=True)
class RowCheck:
    """Whether a row of a stream can be used; an object, because workers may have to be sent it."""

    on_missing: str
    skipped: frozenset[str]
    where: str

    def __call__(self, video_id: str, media) -> bool:
        if video_id in self.skipped:
            return False
        if self.on_missing == "keep" or isinstance(media, bytes) or os.path.isfile(media):
            return True
        if self.on_missing == "error":
            raise UnusableVideosError(
                f'{self.where}: {media} is missing. Bring it back, or use `on_missing="skip"` or "keep".'
            )
        return False


def keep_usable_rows(dataset, on_missing: str, on_broken: str, skipped: frozenset[str], where: str):
    """The same for a stream: each row is looked at when it is reached."""
    check_choices(on_missing, on_broken)
    if on_broken != "unchecked":
        raise ValueError(f"`on_broken={on_broken!r}` opens every video first; a stream can only be 'unchecked'.")
    if isinstance(dataset, IterableDatasetDict):
        parts = {
            split: keep_usable_rows(part, on_missing, on_broken, skipped, where) for split, part in dataset.items()
        }
        return IterableDatasetDict(parts)
    column = media_column(dataset)
    return dataset.filter(RowCheck(on_missing, skipped, where), input_columns=[f"{column}_id", column])


def keep_usable_videos(dataset, on_missing: str, on_broken: str, skipped: frozenset[str], where: str, cache_dir=None):
    """Raise for unusable videos or drop their rows, with the counts logged; `where` names the dataset in messages."""
    check_choices(on_missing, on_broken)
    if skipped:
        dataset = drop_skipped(dataset, skipped, where)
    part = next(iter(dataset.values())) if isinstance(dataset, DatasetDict) else dataset
    if part.features[media_column(part)].dtype != "string":  # the files themselves: none can be missing
        return dataset
    if (on_missing, on_broken) == ("keep", "unchecked"):
        return dataset
    paths = video_paths(dataset)
    if on_broken == "unchecked":
        report = VideoReport(total=len(paths), missing=find_missing(paths))
    else:
        report = check_videos(dataset, cache_file=Path(cache_dir) / "file_facts.jsonl" if cache_dir else None)
    if on_missing == "keep":
        report.missing = []
    if (report.missing and on_missing == "error") or (report.broken and on_broken == "error"):
        raise UnusableVideosError(
            f"{where} has unusable videos. {report}\nBring them back, or drop their rows with "
            '`on_missing="skip"` (and `on_broken="skip"`). `on_missing="keep"` gives the annotations without them.',
            report,
        )
    return drop_videos(dataset, report, where) if report.unusable else dataset


def drop_skipped(dataset, skipped: frozenset[str], where: str):
    """The dataset without the videos of a skip list."""
    if isinstance(dataset, DatasetDict):
        return DatasetDict({split: drop_skipped(part, skipped, f"{where} {split}") for split, part in dataset.items()})
    ids = dataset.with_format("arrow")[:][f"{media_column(dataset)}_id"].to_pylist()
    kept = [index for index, video_id in enumerate(ids) if video_id not in skipped]
    if not kept:
        raise UnusableVideosError(f"{where}: the skip list names all of its {len(set(ids))} videos.")
    if len(kept) < len(ids):
        videos = len(skipped.intersection(ids))
        logger.warning(
            f"{where}: the skip list leaves out {videos} videos and {len(ids) - len(kept)} of {len(ids)} rows"
        )
    return dataset.select(kept) if len(kept) < len(ids) else dataset


def drop_videos(dataset, report: VideoReport, where: str):
    """The dataset without the rows of unusable videos; a split that would be empty is an error."""
    if isinstance(dataset, DatasetDict):
        return DatasetDict({split: drop_videos(part, report, f"{where} {split}") for split, part in dataset.items()})
    unusable = report.unusable
    videos = dataset.with_format("arrow")[:][media_column(dataset)].to_pylist()
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
