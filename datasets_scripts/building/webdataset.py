# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Videos with captions in tar archives ("shards") of the WebDataset form, as video2dataset writes them.

A sample is a run of files with one key, the path up to the first dot of its name: `000000012.mp4` (any container of
`VIDEO_SUFFIXES`) with `000000012.txt`, or with a "caption" in `000000012.json`. Other files of it are passed over.
"""

import json
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import AnnotationError, Record


SPLIT_FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}


def find_shards(root) -> dict[str, list[Path]]:
    """The `.tar` files of each split: those in `train/`, `validation/` (or `val/`) and `test/`, else all are "train"."""
    root = Path(root)
    found = {}
    for split, folders in SPLIT_FOLDERS.items():
        if shards := sorted(path for folder in folders for path in (root / folder).glob("*.tar")):
            found[split] = shards
    if not found:
        found = {"train": shards} if (shards := sorted(root.glob("*.tar"))) else {}
    if not found:
        raise FileNotFoundError(f"No .tar in {root} or in its folders train/, validation/ (or val/) and test/.")
    return found


def read_samples(path: Path) -> Iterator[Record]:
    """The samples of a shard as `{"key", "video", "caption"}`: the video as the bytes of its file.

    Raises:
        AnnotationError: If the archive is broken or breaks off, is empty, or a sample has no video or no caption.
    """
    key = None
    for key, members in groupby(read_members(path), key=key_of):
        sample = Record({"key": key}, path, entry=key)
        yield Record({"key": key, **read_sample(sample, list(members))}, path, entry=key)
    if key is None:
        raise AnnotationError(f"{path} holds no sample")


def read_sample(sample: Record, members: list[tuple[str, bytes]]) -> dict:
    names = ", ".join(name for name, _ in members)
    videos = [data for name, data in members if suffix_of(name) in VIDEO_SUFFIXES]
    if len(videos) != 1 or not videos[0]:
        raise sample.error(f"expected one video that is not empty, got {names}")
    captions = {suffix_of(name): data for name, data in members if suffix_of(name) in (".txt", ".json")}
    try:
        if ".txt" in captions:
            caption = captions[".txt"].decode()
        else:
            caption = json.loads(captions.get(".json", b"{}")).get("caption")
    except (ValueError, AttributeError) as error:
        raise sample.error(f"expected a caption in UTF-8, or a JSON object with 'caption' ({error})") from None
    if not isinstance(caption, str) or not caption.strip():
        raise sample.error(f"expected a caption in .txt, or as 'caption' in .json, got {names}")
    return {"video": videos[0], "caption": caption.strip()}


def read_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of each file; the bytes are empty where no sample needs them."""
    name = None
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                needed = suffix_of(name) in VIDEO_SUFFIXES or name.endswith((".txt", ".json"))
                if member.isfile():
                    yield name, archive.extractfile(member).read() if needed else b""
            # tarfile takes a file that stops between two members, or garbage there, for the end
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError("the archive has no end mark")
    except tarfile.TarError as error:
        where = f"after {name}" if name else "at its beginning"
        raise AnnotationError(f"{path}: expected a whole tar archive, it breaks off {where} ({error})") from None


def key_of(member: tuple[str, bytes]) -> str:
    folder, slash, name = member[0].rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0]}"


def suffix_of(name: str) -> str:
    """`.mp4` of `000000012.mp4` and of `000000012.video.MP4`."""
    return f".{name.rpartition('.')[2].lower()}"
