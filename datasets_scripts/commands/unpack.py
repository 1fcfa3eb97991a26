# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts unpack LMDB_FOLDER OUTPUT`: the official ClipBERT stores of videos and images as files.

In these stores the key is the name of a file without its suffix, as UTF-8, and the value is the whole video file, or an
image as JPEG. Each entry becomes `OUTPUT/<key>.<suffix>`, with the suffix that its content has, where loaders find it
as `video_dir=OUTPUT`. Files that are there already are left alone, so another run goes on where one was interrupted.
Keys that would lead out of OUTPUT and values that are neither video nor image are listed and not written; the exit
status is then 1.

Needs the extra `lmdb`: pip install "clipbert[lmdb]".
"""

import argparse
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from clipbert.support.files import remove_leftovers, whole_file


SHOWN = 10  # entries that were not written, on the screen
# How files begin: the bytes from the start on, `.` for any byte. Brands of MP4 and names of RIFF stand further in.
SIGNATURES = {
    ".jpg": rb"\xff\xd8\xff",
    ".png": rb"\x89PNG\r\n\x1a\n",
    ".gif": rb"GIF8[79]a",
    ".webp": rb"RIFF....WEBP",
    ".avi": rb"RIFF....AVI ",
    ".mov": rb"....(?:ftypqt  |moov|mdat|wide|free|skip)",  # QuickTime of before `ftyp` begins with any box
    ".3gp": rb"....ftyp3g",
    ".mp4": rb"....ftyp",
    ".webm": rb"\x1a\x45\xdf\xa3.{0,60}?webm",
    ".mkv": rb"\x1a\x45\xdf\xa3",
    ".flv": rb"FLV\x01",
    ".mpg": rb"\x00\x00\x01[\xba\xb3]",
    ".wmv": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    ".ogv": rb"OggS",
    ".ts": rb"\x47.{187}\x47",
}
PATTERNS = {suffix: re.compile(pattern, re.DOTALL) for suffix, pattern in SIGNATURES.items()}


@dataclass
class UnpackReport:
    """What became of the entries; `refused` maps a key to the reason."""

    num_written: int = 0
    num_present: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{self.num_written:,} files written, {self.num_present:,} there before, {len(self.refused):,} refused"
        ]
        lines += [f"  {key!r}: {reason}" for key, reason in list(self.refused.items())[:SHOWN]]
        return "\n".join(lines + [f"  ... and {len(self.refused) - SHOWN:,} more"] * (len(self.refused) > SHOWN))


def unpack_lmdb(store: str | Path, output_dir: str | Path, progress: bool = True) -> UnpackReport:
    """Write every entry of an LMDB store as a file.

    Args:
        store (`str` or `Path`): Folder with `data.mdb`, or a store that is one file; it is opened for reading only.
        output_dir (`str` or `Path`): Folder of the files; made if it is not there.
        progress (`bool`, defaults to `True`): Show a progress bar.

    Raises:
        FileNotFoundError: If there is no store.
        ImportError: If the extra `lmdb` is not installed.
    """
    output_dir, report, names = Path(output_dir), UnpackReport(), set()
    with open_store(Path(store)) as (total, entries):
        output_dir.mkdir(parents=True, exist_ok=True)
        remove_leftovers(output_dir)
        root = output_dir.resolve()
        for key, value in tqdm(
            entries, total=total, desc="unpacking", unit="file", disable=None if progress else True
        ):
            try:
                name = file_name(key, value)
                target = root / name
                if not target.parent.resolve().is_relative_to(root):
                    raise ValueError("a link in the folder would lead it out of the folder")
                if name in names:
                    raise ValueError(f"another key became {name} already")
            except ValueError as error:
                report.refused[key.decode("utf-8", "backslashreplace")] = str(error)
                continue
            names.add(name)
            if target.is_file() and target.stat().st_size == len(value):
                report.num_present += 1
                continue
            with whole_file(target) as partial, open(partial, "wb") as file:
                file.write(value)
            report.num_written += 1
    return report


@contextmanager
def open_store(store: Path) -> Iterator[tuple[int, Iterator[tuple[bytes, memoryview]]]]:
    """The number of entries, and the entries."""
    try:
        import lmdb
    except ImportError as error:
        raise ImportError('Reading LMDB stores needs the package lmdb: pip install "clipbert[lmdb]"') from error
    if not (store.is_file() or (store / "data.mdb").is_file()):
        raise FileNotFoundError(f"{store} is no LMDB store: expected a folder with data.mdb, or such a file.")
    try:
        # without a lock: stores may lie where nothing can be written
        environment = lmdb.open(str(store), subdir=store.is_dir(), readonly=True, lock=False, readahead=False)
        with closing(environment), environment.begin(buffers=True) as transaction:
            yield environment.stat()["entries"], ((bytes(key), value) for key, value in transaction.cursor())
    except lmdb.Error as error:
        raise ValueError(f"{store} cannot be read as an LMDB store: {error}") from error


def file_name(key: bytes, value) -> str:
    """Name of the file of an entry, below the output folder."""
    try:
        name = key.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("the key is not UTF-8") from None
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\\\0:]", name):
        raise ValueError("the key is no name of a file inside the folder")
    if any(part.startswith(".") or len(part.encode()) > 240 for part in parts):
        raise ValueError("the key names a hidden file, or is too long for a name")
    suffix = suffix_of(value)
    return name if name.lower().endswith(suffix) else name + suffix


def suffix_of(value) -> str:
    """The suffix that fits the content."""
    head = bytes(value[:192])
    for suffix, pattern in PATTERNS.items():
        if pattern.match(head):
            return suffix
    raise ValueError(
        f"its {len(value):,} bytes are neither a video nor an image that is known; they begin {head[:12]!r}"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", type=Path, metavar="LMDB_FOLDER", help="folder with data.mdb")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="folder of the files")


def run(options: argparse.Namespace) -> int:
    """Unpack; 0 if every entry is a file now, else 1."""
    report = unpack_lmdb(options.store, options.output)
    print(f"{options.output}: {report}")
    return int(bool(report.refused))
