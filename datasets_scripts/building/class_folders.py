# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Folders of videos by class, with or without folders of splits around them, as Kinetics has them."""

from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.classes import warn
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES, MediaIndex
from clipbert.datasets_scripts.building.records import Record


SPLIT_NAMES = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
OTHER_FOLDERS = {"videos", *SPLIT_NAMES}  # of layouts with annotation files: no classes


def read_class_folders(root: Path, split: str = "") -> Iterator[Record]:
    """The videos of `root/<split>/<class>/`, at any depth below. Those that lie beside the folders of classes are named."""
    folder, loose = root / split, []
    if not folder.is_dir():
        return
    for name in sorted(MediaIndex(folder, VIDEO_SUFFIXES).walk(str(folder), set())):
        label, slash, _ = name.partition("/")
        if not slash:
            loose.append(name)
        elif label not in OTHER_FOLDERS:
            video = f"{split}/{name}" if split else name
            yield Record({"video": video, "label": label}, folder, entry=name)
    if loose:
        warn(
            f"{folder}: {len(loose):,} of its videos lie in no folder of a class and are left out, the first is {loose[0]}"
        )


def class_folders(root: Path) -> dict[str, list[Path]]:
    """The folders of splits whose sub-folders hold videos; else `root` for training, if its own do. One class is none."""
    below = {name: found for name in SPLIT_NAMES if (found := classes_below(root, name))}
    if "val" in below and "validation" in below:
        raise ValueError(
            f"Expected one folder for the split 'validation', got {root / 'val'} and {root / 'validation'}"
        )
    if len(set().union(*below.values())) > 1:
        return {SPLIT_NAMES[name]: [root / name] for name in below}
    return {"train": [root]} if not below and len(classes_below(root)) > 1 else {}


def lone_class(root: Path) -> str | None:
    """The name of the only folder of a class, where there is just one: too few to tell apart."""
    found = set().union(*(classes_below(root, split) for split in ("", *SPLIT_NAMES)))
    return found.pop() if len(found) == 1 else None


def classes_below(root: Path, split: str = "") -> set[str]:
    """Names of the sub-folders that hold videos."""
    return {record.values["label"] for record in read_class_folders(root, split)}


__all__ = ["SPLIT_NAMES", "class_folders", "lone_class", "read_class_folders"]
