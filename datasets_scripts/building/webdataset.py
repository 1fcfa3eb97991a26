# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Videos with captions in tar archives ("shards") of the WebDataset form, as video2dataset writes them.

A sample is a run of files with one key, the path up to the first dot of its name: `000000012.mp4` (any container of
`VIDEO_SUFFIXES`) with `000000012.txt`, or with a "caption" in `000000012.json`. Other files of it, and hidden ones, are
passed over.
"""

import os
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES, visible_files
from clipbert.datasets_scripts.building.records import AnnotationError, Record, is_visible, parse_json
from clipbert.datasets_scripts.fetching.unpacking import TarMember


LARGEST_MEMBER = 1 << 30  # bytes, which are read into memory
SPLIT_FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}


def find_shards(root) -> dict[str, list[Path]]:
    """The `.tar` files of each split: those in `train/`, `validation/` (or `val/`) and `test/`, else all are "train"."""
    root = Path(root)
    found = {}
    for split, folders in SPLIT_FOLDERS.items():
        if shards := [path for folder in folders for path in visible_files(root / folder, ".tar")]:
            found[split] = shards
    if not found and (shards := visible_files(root, ".tar")):
        found = {"train": shards}
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
            caption = captions[".txt"].decode("utf-8-sig")
        else:
            caption = parse_json(captions.get(".json", b"{}").decode("utf-8-sig")).get("caption")
    except (ValueError, AttributeError) as error:
        raise sample.error(f"expected a caption in UTF-8, or a JSON object with 'caption' ({error})") from None
    if not isinstance(caption, str) or not caption.strip():
        raise sample.error(f"expected a caption in .txt, or as 'caption' in .json, got {names}")
    return {"video": videos[0], "caption": caption.strip()}


def read_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of each file; the bytes are empty where no sample needs them."""
    name = None
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:", tarinfo=TarMember) as archive:
            num_bytes = os.fstat(file.fileno()).st_size
            for member in archive:
                if not (member.isfile() and is_visible(member.name)):
                    continue
                needed = suffix_of(member.name) in (*VIDEO_SUFFIXES, ".txt", ".json")
                if needed and (member.issparse() or member.size > LARGEST_MEMBER):
                    kind = "is sparse" if member.issparse() else f"has more than {LARGEST_MEMBER:,}"
                    raise AnnotationError(f"{path}: refused, as {member.name!r} of {member.size:,} bytes {kind}")
                if member.offset_data + member.size > num_bytes and not member.issparse():
                    raise tarfile.ReadError(f"{member.name!r} goes on beyond its end")
                name = member.name.removeprefix("./")
                yield name, archive.extractfile(member).read() if needed else b""
            if not getattr(archive, "has_end", False):
                raise tarfile.ReadError("the archive has no end mark")
    except AnnotationError:
        raise
    except (tarfile.TarError, OverflowError, ValueError) as error:  # of headers that are no numbers, too
        where = f"after {name}" if name else "at its beginning"
        raise AnnotationError(f"{path}: expected a whole tar archive, it breaks off {where} ({error})") from None


def key_of(member: tuple[str, bytes]) -> str:
    folder, slash, name = member[0].rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0]}"


def suffix_of(name: str) -> str:
    """`.mp4` of `000000012.mp4` and of `000000012.video.MP4`."""
    return f".{name.rpartition('.')[2].lower()}"
