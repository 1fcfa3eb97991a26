# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Archives from the network, unpacked without trusting them: whole or not at all, and only below the given folder."""

import json
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from filecmp import cmp as same_content
from pathlib import Path, PurePosixPath

from clipbert.datasets_scripts.fetching import FREE_BYTES, MAX_RATIO
from clipbert.datasets_scripts.fetching.downloading import locked


LONGEST_HEADER = 1 << 20  # bytes; `tarfile` reads them into memory
LONGEST_PADDING = 16 << 20  # bytes after the end of a tar
MARKERS = ".unpacked"  # folder in the unpacked folder
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError)


class ArchiveError(ValueError):
    """An archive that cannot be unpacked: damaged, or of a kind that is not read here."""


class UnsafeArchiveError(ArchiveError):
    """An archive that would write outside its folder, make links, or fill the disk; nothing of it was unpacked."""


@dataclass
class Limits:
    """What an archive may unpack to, counted while it is read: what it says about itself is not trusted."""

    archive: Path
    max_bytes: int
    max_files: int
    max_ratio: float
    names: set[str] = field(default_factory=set)
    num_bytes: int = 0
    num_members: int = 0

    def refuse(self, member: str, reason: str) -> UnsafeArchiveError:
        return UnsafeArchiveError(f"{self.archive}: refused, as {member!r} {reason}. Nothing of it was unpacked.")

    def check_name(self, member: str) -> None:
        parts = re.split(r"[/\\]", member)
        if ".." in parts:
            raise self.refuse(member, "leads out of the folder")
        if not parts[0] or re.match(r"[A-Za-z]:", member):
            raise self.refuse(member, "is an absolute path")
        if "\0" in member:
            raise self.refuse(member, "has a zero byte in its name")

    def admit(self, member: str, is_file: bool) -> str:
        """The path of a member below the folder."""
        self.check_name(member)
        name = str(PurePosixPath(member))
        if is_file and name in self.names:
            raise self.refuse(member, "is in it twice")
        if name.split("/")[0] == MARKERS:
            raise self.refuse(member, "has a name that is kept for marking what is unpacked")
        self.names.add(name)
        self.num_members += 1
        if self.num_members > self.max_files:
            raise self.refuse(member, f"is more than the {self.max_files:,} files allowed")
        return name

    def count(self, member: str, num_bytes: int) -> None:
        self.num_bytes += num_bytes
        if self.num_bytes > self.max_bytes:
            raise self.refuse(member, f"brings it past the {self.max_bytes:,} bytes allowed")
        packed = self.archive.stat().st_size
        if self.num_bytes > max(FREE_BYTES, packed * self.max_ratio):
            raise self.refuse(member, f"brings it past {self.max_ratio:g} times the {packed:,} bytes of the archive")


def unpack_archive(
    path, folder, max_bytes: int = 1 << 40, max_files: int = 2_000_000, max_ratio: float = MAX_RATIO
) -> Path:
    """Unpack a zip or tar (plain, gz, bz2, xz) into a folder.

    The files are written next to the folder and moved when the last one is whole; an interrupted call leaves nothing
    that a loader could take for data, and the next one starts again. A call for an archive that has been unpacked, and
    whose files are all there, does nothing. Files of the folder are never replaced by different ones.

    Args:
        path (`str` or `Path`): The archive.
        folder (`str` or `Path`): Where its files go, under their names in the archive; made if it is not there.
        max_bytes (`int`, defaults to 1 TiB): Most bytes it may unpack to.
        max_files (`int`, defaults to 2,000,000): Most files and folders.
        max_ratio (`float`, defaults to 200): Most bytes for each byte of the archive, beyond the first 16 MiB.

    Returns:
        `Path`: The folder.

    Raises:
        UnsafeArchiveError: If a member leaves the folder, is a link or a device, is in it twice, or a limit is passed.
        ArchiveError: If it is damaged or of another kind, or the disk does not take its files.
        FileExistsError: If the folder has a different file under the name of a member.
    """
    path, folder = Path(path).expanduser(), Path(folder).expanduser()
    if is_unpacked(path, folder):
        return folder
    if not path.is_file():
        raise FileNotFoundError(f"No archive {path}")
    members = reader_of(path)
    workspace = folder if folder.is_dir() else folder.parent  # on the disk of the folder: moving is renaming
    workspace.mkdir(parents=True, exist_ok=True)
    with locked(workspace / f".{folder.name}.unpacking.lock"):
        if is_unpacked(path, folder):  # another process was faster
            return folder
        fresh = workspace / f".{folder.name}.unpacking"
        shutil.rmtree(fresh, ignore_errors=True)  # of an interrupted call
        try:
            fresh.mkdir()
            files = write_members(members, path, fresh, Limits(path, max_bytes, max_files, max_ratio))
            write_marker(path, fresh, files)
            move(fresh, folder, path)
        except FileExistsError:
            raise
        except OSError as error:  # a name longer than the disk allows, a full disk
            raise ArchiveError(f"{path} cannot be unpacked into {folder}: {error}. Nothing of it was.") from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


def reader_of(path: Path):
    """The function that reads the members of this kind of archive."""
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return read_zip
    if start.startswith(b"Rar!"):
        raise ArchiveError(
            f"{path} is a rar archive, which is not unpacked here. Use `unrar x {path.name}` in its folder."
        )
    return read_tar


def write_members(members, path: Path, fresh: Path, limits: Limits) -> dict[str, int]:
    """Write all members below `fresh`; the size of each file."""
    files = {}
    for member, content in members(path, fresh, limits):
        name = limits.admit(member, is_file=content is not None)
        target = fresh / name
        try:
            (target.parent if content else target).mkdir(parents=True, exist_ok=True)
            file = target.open("xb") if content else None
        except (FileExistsError, NotADirectoryError):
            raise limits.refuse(
                member, "is a file and a folder at once, or differs from another in case only"
            ) from None
        if content:
            with file, content:
                for chunk in read_chunks(content, path):
                    limits.count(member, len(chunk))
                    file.write(chunk)
                files[name] = file.tell()
    return files


def read_zip(path: Path, fresh: Path, limits: Limits) -> Iterator[tuple[str, object]]:
    with reading(path), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was made on another system
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise limits.refuse(info.filename, "is a link or a special file")
            if info.flag_bits & 1:
                raise limits.refuse(info.filename, "is encrypted")
            yield info.filename, None if info.is_dir() else archive.open(info)


def read_tar(path: Path, fresh: Path, limits: Limits) -> Iterator[tuple[str, object]]:
    with reading(path), tarfile.open(path, tarinfo=TarMember) as archive:
        for member in archive:
            if not (member.isreg() or member.isdir()):
                raise limits.refuse(member.name, "is a link or a special file")
            limits.check_name(member.name)
            try:
                tarfile.data_filter(member, str(fresh))
            except tarfile.FilterError as error:
                raise limits.refuse(member.name, f"was refused by tarfile ({error})") from None
            yield member.name, None if member.isdir() else archive.extractfile(member)
        if not getattr(archive, "has_end", False):
            raise tarfile.ReadError("its end is missing, or a header within is broken")
        num_padding = 0
        while chunk := archive.fileobj.read(1 << 20):  # up to the checksum, which gz, bz2 and xz have at their end
            num_padding += len(chunk)
            if num_padding > LONGEST_PADDING:
                raise limits.refuse("what follows the last file", f"is more than {LONGEST_PADDING:,} bytes")


class TarMember(tarfile.TarInfo):
    """Headers as `tarfile` reads them, which takes a broken or cut one for the end and reads long ones into memory."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        member = super().frombuf(buf, encoding, errors)
        if member.size > LONGEST_HEADER and not (member.isreg() or member.isdir()):
            raise tarfile.ReadError(f"a header of {member.size:,} bytes")
        return member

    @classmethod
    def fromtarfile(cls, archive):
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            archive.has_end = True
            raise


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What the readers of archives raise for damaged ones, as one error."""
    try:
        yield
    except DAMAGED as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise ArchiveError(
            f"{path} is damaged, or neither zip nor tar ({reason}). Delete it and fetch it again."
        ) from error


def read_chunks(content, path: Path) -> Iterator[bytes]:
    with reading(path):
        while chunk := content.read(1 << 20):
            yield chunk


# --------------------------------------------------------------------------------------------------------------------
# What has been unpacked already
# --------------------------------------------------------------------------------------------------------------------


def marker_path(path: Path, folder: Path) -> Path:
    return folder / MARKERS / f"{path.name}.json"


def write_marker(path: Path, fresh: Path, files: dict[str, int]) -> None:
    state, marker = path.stat(), marker_path(path, fresh)
    marker.parent.mkdir(exist_ok=True)
    marker.write_text(json.dumps({"archive": [state.st_size, state.st_mtime_ns], "files": files}), encoding="utf-8")


def is_unpacked(path, folder) -> bool:
    """Whether the files of an archive, which may be gone since, are all in the folder."""
    path, folder = Path(path), Path(folder)
    try:
        marker = json.loads(marker_path(path, folder).read_text(encoding="utf-8"))
        if path.exists():
            state = path.stat()
            if marker["archive"] != [state.st_size, state.st_mtime_ns]:
                return False
        return all((folder / name).stat().st_size == size for name, size in marker["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def move(fresh: Path, folder: Path, path: Path) -> None:
    """Make the new files those of the folder: at once where it is new, else one by one and the marker last."""
    if not folder.exists():
        os.rename(fresh, folder)
        return
    marker = marker_path(path, fresh)
    names = [each.relative_to(fresh) for each in sorted(fresh.rglob("*")) if not each.is_dir() and each != marker]
    for name in names:
        target = folder / name
        if target.is_symlink() or target.exists() and not same_content(fresh / name, target, shallow=False):
            raise FileExistsError(f"{target} is there and differs from the one in {path}. Move it away first.")
    for name in [*names, marker.relative_to(fresh)]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(fresh / name, folder / name)
