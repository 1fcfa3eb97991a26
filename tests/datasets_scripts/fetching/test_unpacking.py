# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Archives are unpacked whole or not at all: paths that lead out, links, bombs, damage, interruptions."""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib

import pytest

from clipbert.datasets_scripts.fetching import unpacking
from clipbert.datasets_scripts.fetching.unpacking import ArchiveError, UnsafeArchiveError, is_unpacked, unpack_archive


FILES = {"videos/a.mp4": b"first film", "videos/b.mp4": b"second film", "list.txt": b"a\nb\n"}
PACKERS = {"tar": bytes, "tar.gz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress}


def write_zip(path, files=FILES, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tar_bytes(*members) -> bytes:
    """A tar of (name, content) pairs and of `TarInfo`s."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return packed.getvalue()


def write_archive(path, files=FILES):
    suffix = path.name.partition(".")[2]
    if suffix == "zip":
        return write_zip(path, files)
    path.write_bytes(PACKERS[suffix](tar_bytes(*files.items())))
    return path


def contents(folder) -> dict[str, bytes]:
    """The files of a folder, without what is hidden."""
    found = (path for path in folder.rglob("*") if path.is_file())
    names = ((path.relative_to(folder).as_posix(), path) for path in found)
    return {name: path.read_bytes() for name, path in names if not name.startswith(".")}


def special_member(kind: bytes, name: str = "special", target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("suffix", ["zip", *PACKERS])
@pytest.mark.parametrize("exists", [False, True])
def test_files_come_out_as_they_went_in(tmp_path, suffix, exists):
    archive, folder = write_archive(tmp_path / f"a.{suffix}"), tmp_path / "out"
    expected = dict(FILES)
    if exists:
        folder.mkdir()
        (folder / "mine.txt").write_bytes(b"mine")
        expected["mine.txt"] = b"mine"
    assert unpack_archive(archive, folder) == folder
    assert contents(folder) == expected
    assert not list(tmp_path.rglob("*.unpacking"))


def test_folders_and_modes(tmp_path):
    folder = special_member(tarfile.DIRTYPE, "empty/")
    script = tarfile.TarInfo("run.sh")
    script.mode = 0o6777
    (tmp_path / "a.tar").write_bytes(tar_bytes(folder, folder, script))
    unpack_archive(tmp_path / "a.tar", tmp_path / "out")
    assert (tmp_path / "out/empty").is_dir()
    assert not (tmp_path / "out/run.sh").stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR)


# --------------------------------------------------------------------------------------------------------------------
# Unsafe archives
# --------------------------------------------------------------------------------------------------------------------

UNSAFE_NAMES = {
    "../evil": "leads out of the folder",
    "videos/../../evil": "leads out of the folder",
    "..\\evil": "leads out of the folder",
    "..": "leads out of the folder",
    "/tmp/evil": "is an absolute path",
    "\\evil": "is an absolute path",
    "C:\\evil": "is an absolute path",
    "C:evil": "is an absolute path",
    ".unpacked/evil": "is kept for marking",
    "./.unpacked/evil": "is kept for marking",
}


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_names_that_lead_elsewhere(tmp_path, suffix, name):
    inner = tmp_path / "inner"
    inner.mkdir()
    archive = write_archive(inner / f"a.{suffix}", {"good.txt": b"good", name: b"evil"})
    with pytest.raises(UnsafeArchiveError, match=UNSAFE_NAMES[name]) as caught:
        unpack_archive(archive, inner / "out")
    assert repr(name) in str(caught.value) and str(archive) in str(caught.value)
    assert {path.name for path in tmp_path.rglob("*")} == {"inner", archive.name, ".out.unpacking.lock"}


SPECIAL_KINDS = {
    "symlink": special_member(tarfile.SYMTYPE, target="/etc/passwd"),
    "inner symlink": special_member(tarfile.SYMTYPE, target="good.txt"),
    "hard link": special_member(tarfile.LNKTYPE, target="good.txt"),
    "device": special_member(tarfile.CHRTYPE),
    "block device": special_member(tarfile.BLKTYPE),
    "pipe": special_member(tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("kind", SPECIAL_KINDS)
def test_links_and_devices_in_a_tar(tmp_path, kind):
    (tmp_path / "a.tar").write_bytes(tar_bytes(("good.txt", b"good"), SPECIAL_KINDS[kind]))
    with pytest.raises(UnsafeArchiveError, match="'special' is a link or a special file"):
        unpack_archive(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_behind_a_link_in_a_tar(tmp_path):
    link = special_member(tarfile.SYMTYPE, "videos", str(tmp_path))
    (tmp_path / "a.tar").write_bytes(tar_bytes(link, ("videos/evil", b"evil")))
    with pytest.raises(UnsafeArchiveError):
        unpack_archive(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip(tmp_path, kind):
    info = zipfile.ZipInfo("special")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UnsafeArchiveError, match="'special' is a link or a special file"):
        unpack_archive(tmp_path / "a.zip", tmp_path / "out")


def test_names_that_collide(tmp_path):
    (tmp_path / "twice.tar").write_bytes(tar_bytes(("a", b"1"), ("./a", b"2")))
    (tmp_path / "both.tar").write_bytes(tar_bytes(("a", b"1"), ("a/b", b"2")))
    (tmp_path / "other.tar").write_bytes(tar_bytes(("a/b", b"1"), ("a", b"2")))
    for name, reason in (("twice", "is in it twice"), ("both", "a folder at once"), ("other", "a folder at once")):
        with pytest.raises(UnsafeArchiveError, match=reason):
            unpack_archive(tmp_path / f"{name}.tar", tmp_path / "out")


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar.xz"])
def test_a_bomb_is_stopped_before_it_fills_the_disk(tmp_path, suffix, monkeypatch):
    written = []
    count = unpacking.Limits.count
    monkeypatch.setattr(unpacking.Limits, "count", lambda self, *args: (written.append(args[1]), count(self, *args)))
    archive = write_archive(tmp_path / f"a.{suffix}", {"zeros": bytes(100 << 20)})
    with pytest.raises(UnsafeArchiveError, match=r"'zeros' brings it past 200 times the [\d,]+ bytes of the archive"):
        unpack_archive(archive, tmp_path / "out")
    assert sum(written) <= max(unpacking.FREE_BYTES, 200 * archive.stat().st_size) + (1 << 20)
    assert not (tmp_path / "out").exists()


def test_limits(tmp_path):
    archive, folder = write_archive(tmp_path / "a.tar"), tmp_path / "out"
    with pytest.raises(UnsafeArchiveError, match="past the 20 bytes allowed"):
        unpack_archive(archive, folder, max_bytes=20)
    with pytest.raises(UnsafeArchiveError, match="more than the 2 files allowed"):
        unpack_archive(archive, folder, max_files=2)
    unpack_archive(archive, folder, max_bytes=25, max_files=3)


def test_a_long_header_is_not_read_into_memory(tmp_path):
    header = special_member(tarfile.XHDTYPE, "pax")
    header.size = 1 << 32
    (tmp_path / "a.tar").write_bytes(tar_bytes(("a", b"film"))[:1024] + header.tobuf() + bytes(10_240))
    with pytest.raises(ArchiveError, match="4,294,967,296 bytes"):
        unpack_archive(tmp_path / "a.tar", tmp_path / "out")


def test_a_bomb_behind_the_end_of_a_tar(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(tar_bytes(("a", b"film")) + bytes(20 << 20)))
    with pytest.raises(UnsafeArchiveError, match="what follows the last file"):
        unpack_archive(tmp_path / "a.tar.gz", tmp_path / "out")


# --------------------------------------------------------------------------------------------------------------------
# Damage and other kinds
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["zip", *PACKERS])
def test_a_cut_archive_is_damaged(tmp_path, suffix):
    noise = {f"{number}.bin": os.urandom(2000) for number in range(8)}
    whole = write_archive(tmp_path / f"whole.{suffix}", noise).read_bytes()
    for kept in (0, 10, 700, len(whole) // 2, len(whole) - (10_000 if suffix == "tar" else 5)):
        archive = tmp_path / f"a.{suffix}"
        archive.write_bytes(whole[:kept])
        with pytest.raises(ArchiveError, match="is damaged, or neither zip nor tar .* Delete it and fetch it again"):
            unpack_archive(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tar_cut_between_two_members_is_damaged(tmp_path):
    whole = tar_bytes(("a", bytes(512)), ("b", bytes(512)))
    (tmp_path / "a.tar").write_bytes(whole[:1024])
    with pytest.raises(ArchiveError, match="its end is missing"):
        unpack_archive(tmp_path / "a.tar", tmp_path / "out")


def test_a_broken_header_within_a_tar_is_not_taken_for_the_end(tmp_path):
    whole = bytearray(tar_bytes(("a", bytes(512)), ("b", bytes(512))))
    whole[1030] ^= 0xFF
    (tmp_path / "a.tar").write_bytes(whole)
    with pytest.raises(ArchiveError, match="a header within is broken"):
        unpack_archive(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.xz"])
def test_changed_bytes_in_a_compressed_tar(tmp_path, suffix):
    archive = write_archive(tmp_path / f"a.{suffix}")
    data = bytearray(archive.read_bytes())
    data[-6] ^= 0xFF  # of the checksum, behind everything that makes files
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="is damaged"):
        unpack_archive(archive, tmp_path / "out")


def test_changed_bytes_in_a_zip(tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"a": b"film" * 100}, zipfile.ZIP_STORED)
    data = bytearray(archive.read_bytes())
    data[100] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="Bad CRC-32"):
        unpack_archive(archive, tmp_path / "out")


def test_an_encrypted_zip(tmp_path):
    data = bytearray(write_zip(tmp_path / "a.zip", {"a": b"film"}).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ArchiveError, match="'a' is encrypted"):
        unpack_archive(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"<html>", zlib.compress(b"film"), bytes(3)])
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(ArchiveError, match="neither zip nor tar"):
        unpack_archive(tmp_path / "a.bin", tmp_path / "out")


def test_rar_is_told_what_to_do_with(tmp_path):
    (tmp_path / "UCF101.rar").write_bytes(b"Rar!\x1a\x07\x00")
    with pytest.raises(ArchiveError, match="unrar x UCF101.rar"):
        unpack_archive(tmp_path / "UCF101.rar", tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        unpack_archive(tmp_path / "none.zip", tmp_path / "out")


# --------------------------------------------------------------------------------------------------------------------
# Once, and whole
# --------------------------------------------------------------------------------------------------------------------


def test_a_second_call_does_nothing(tmp_path, monkeypatch):
    archive, folder = write_archive(tmp_path / "a.tar.gz"), tmp_path / "out"
    unpack_archive(archive, folder)
    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "write_members", None)
        unpack_archive(archive, folder)
        archive.rename(tmp_path / "elsewhere")  # deleted to save space
        unpack_archive(archive, folder)
    (tmp_path / "elsewhere").rename(archive)
    (folder / "videos/a.mp4").unlink()
    assert not is_unpacked(archive, folder)
    unpack_archive(archive, folder)
    assert contents(folder) == FILES


@pytest.mark.parametrize("exists", [False, True])
def test_an_interrupted_call_leaves_nothing_and_is_done_again(tmp_path, monkeypatch, exists):
    archive, folder = write_archive(tmp_path / "a.tar"), tmp_path / "out"
    if exists:
        folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "write_marker", interrupt)
        with pytest.raises(KeyboardInterrupt):
            unpack_archive(archive, folder)
    assert not folder.exists() or not contents(folder)
    unpack_archive(archive, folder)
    assert contents(folder) == FILES


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    archive, folder = write_archive(tmp_path / "a.tar"), tmp_path / "out"
    left = tmp_path / ".out.unpacking"
    left.mkdir()
    (left / "half.mp4").touch()
    unpack_archive(archive, folder)
    assert contents(folder) == FILES and not left.exists()


def test_moving_that_was_interrupted_is_finished(tmp_path, monkeypatch):
    archive, folder = write_archive(tmp_path / "a.tar"), tmp_path / "out"
    folder.mkdir()
    moved, replace = [], os.replace

    def replace_twice(source, target):
        if len(moved) == 2:
            raise KeyboardInterrupt
        moved.append(target)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(unpacking.os, "replace", replace_twice)
        with pytest.raises(KeyboardInterrupt):
            unpack_archive(archive, folder)
    assert len(contents(folder)) == 2 and not is_unpacked(archive, folder)
    unpack_archive(archive, folder)
    assert contents(folder) == FILES


def test_different_files_of_the_folder_stay(tmp_path):
    archive, folder = write_archive(tmp_path / "a.zip"), tmp_path / "out"
    (folder / "videos").mkdir(parents=True)
    (folder / "videos/b.mp4").write_bytes(b"my own film")
    with pytest.raises(FileExistsError, match="b.mp4 is there and differs"):
        unpack_archive(archive, folder)
    assert contents(folder) == {"videos/b.mp4": b"my own film"}
    (folder / "videos/b.mp4").write_bytes(FILES["videos/b.mp4"])
    unpack_archive(archive, folder)
    assert contents(folder) == FILES


def test_links_in_the_folder_are_not_followed_out_of_it(tmp_path):
    archive, folder = write_archive(tmp_path / "a.zip"), tmp_path / "out"
    folder.mkdir()
    (tmp_path / "elsewhere.txt").write_bytes(FILES["list.txt"])
    (folder / "list.txt").symlink_to(tmp_path / "elsewhere.txt")
    with pytest.raises(FileExistsError, match="list.txt"):
        unpack_archive(archive, folder)


def test_an_archive_that_changed_is_unpacked_again(tmp_path):
    folder = tmp_path / "out"
    unpack_archive(write_zip(tmp_path / "a.zip"), folder)
    unpack_archive(write_zip(tmp_path / "a.zip", {**FILES, "new.mp4": b"third film"}), folder)
    assert contents(folder)["new.mp4"] == b"third film"
    unpack_archive(write_zip(tmp_path / "b.zip", {"other": b"x"}), folder)  # archives share a folder
    assert is_unpacked(tmp_path / "a.zip", folder) and is_unpacked(tmp_path / "b.zip", folder)
