# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts unpack`: the official stores of videos and images as files."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipbert.datasets_scripts.__main__ import main
from clipbert.datasets_scripts.building.media import MediaIndex
from clipbert.datasets_scripts.commands.unpack import suffix_of, unpack_lmdb
from clipbert.processing.decoding import decode_video


lmdb = pytest.importorskip("lmdb")


def write_store(path: Path, entries: dict, subdir: bool = True) -> Path:
    with (
        lmdb.open(str(path), map_size=1 << 24, subdir=subdir) as environment,
        environment.begin(write=True) as writing,
    ):
        for key, value in entries.items():
            writing.put(key if isinstance(key, bytes) else key.encode(), value)
    return path


@pytest.fixture
def jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def videos(write_video, tmp_path) -> dict[str, bytes]:
    (tmp_path / "made").mkdir()
    codecs = {"video7010.mp4": "libx264", "v_-1IBHYS3L-Y.mkv": "libx264", "a.b.c.avi": "mpeg4", "tgif.webm": "libvpx"}
    return {
        Path(name).stem: write_video(tmp_path / "made" / name, num_frames=6, codec=codec).read_bytes()
        for name, codec in codecs.items()
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_entries_become_files_that_loaders_find(videos, jpeg, tmp_path, capsys):
    store = write_store(tmp_path / "msrvtt", {**videos, "COCO_val2014_000000000042": jpeg})
    assert main(["unpack", str(store), str(tmp_path / "out")]) == 0
    assert contents(tmp_path / "out") == {
        "video7010.mp4": videos["video7010"],
        "v_-1IBHYS3L-Y.mkv": videos["v_-1IBHYS3L-Y"],
        "a.b.c.avi": videos["a.b.c"],
        "tgif.webm": videos["tgif"],
        "COCO_val2014_000000000042.jpg": jpeg,
    }
    assert "5 files written, 0 there before, 0 refused" in capsys.readouterr().out
    for name in videos:
        path = MediaIndex(tmp_path / "out").locate(name, ".mp4")
        assert len(decode_video(path, [0, 5]).frames) == 2
    assert not list(store.glob("lock.mdb-*")) and (tmp_path / "out/video7010.mp4").stat().st_mode & 0o044


def test_a_second_run_writes_what_is_missing_or_cut(videos, tmp_path):
    store = write_store(tmp_path / "store", videos)
    assert unpack_lmdb(store, tmp_path / "out", progress=False).num_written == 4
    whole = contents(tmp_path / "out")
    untouched = (tmp_path / "out/tgif.webm").stat().st_mtime_ns
    (tmp_path / "out/video7010.mp4").unlink()
    (tmp_path / "out/a.b.c.avi").write_bytes(b"half")
    (tmp_path / "out/.tgif.webm.1.partial").write_bytes(b"of a run that was killed")
    report = unpack_lmdb(store, tmp_path / "out", progress=False)
    assert (report.num_written, report.num_present, report.refused) == (2, 2, {})
    assert contents(tmp_path / "out") == whole and (tmp_path / "out/tgif.webm").stat().st_mtime_ns == untouched


@pytest.mark.parametrize(
    "key",
    [
        "../evil",
        "/etc/evil",
        "a/../../evil",
        "a//b",
        "..",
        ".",
        "a/",
        "a\\..\\evil",
        "C:evil",
        "a\0b",
        ".hidden",
        "x" * 300,
    ],
)
def test_keys_that_lead_out_of_the_folder_are_refused(key, jpeg, tmp_path, capsys):
    store = write_store(tmp_path / "store", {key: jpeg, "good": jpeg, "folder/inside": jpeg})
    before = set(tmp_path.rglob("*"))
    assert main(["unpack", str(store), str(tmp_path / "deep/out")]) == 1
    assert "2 files written, 0 there before, 1 refused" in capsys.readouterr().out
    assert set(contents(tmp_path / "deep")) == {"out/good.jpg", "out/folder/inside.jpg"}
    assert {path for path in tmp_path.rglob("*") if "deep" not in path.parts} == before


def test_links_in_the_folder_lead_nowhere(jpeg, tmp_path):
    store = write_store(tmp_path / "store", {"link/evil": jpeg})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/link").symlink_to(tmp_path / "elsewhere")
    report = unpack_lmdb(store, tmp_path / "out", progress=False)
    assert "a link in the folder would lead it out" in report.refused["link/evil"]
    assert not list((tmp_path / "elsewhere").iterdir())


def test_other_values_and_keys_are_listed(jpeg, tmp_path, capsys):
    entries = {"text": b"no picture at all", "empty": b"", b"\xff\xfe": jpeg, "twice": jpeg, "twice.jpg": jpeg}
    assert main(["unpack", str(write_store(tmp_path / "store", entries)), str(tmp_path / "out")]) == 1
    shown = capsys.readouterr().out
    assert "1 files written, 0 there before, 4 refused" in shown
    assert "'text': its 17 bytes are neither a video nor an image" in shown
    assert "the key is not UTF-8" in shown and "another key became twice.jpg already" in shown
    assert contents(tmp_path / "out") == {"twice.jpg": jpeg}


def test_a_store_that_is_one_file(jpeg, tmp_path):
    store = write_store(tmp_path / "store.lmdb", {"a": jpeg}, subdir=False)
    assert unpack_lmdb(store, tmp_path / "out", progress=False).num_written == 1


def test_what_is_no_store(tmp_path, capsys):
    assert main(["unpack", str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 1
    assert "no LMDB store: expected a folder with data.mdb" in capsys.readouterr().err
    (tmp_path / "data.mdb").write_text("this is no store")
    assert main(["unpack", str(tmp_path), str(tmp_path / "out")]) == 1
    assert "cannot be read as an LMDB store" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_the_package_its_installation_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    assert main(["unpack", str(tmp_path), str(tmp_path / "out")]) == 1
    assert 'pip install "clipbert[lmdb]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        (b"\0\0\0\x20ftypisom\0\0\2\0", ".mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\2\0", ".mov"),
        (b"\0\0\0\x08wide\0\0\1\0mdat", ".mov"),
        (b"\0\0\0\x18ftyp3gp4\0\0\2\0", ".3gp"),
        (b"GIF89a\x01\0\x01\0", ".gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", ".webp"),
        (b"\x89PNG\r\n\x1a\n\0\0", ".png"),
        (b"FLV\x01\x05\0\0\0\x09", ".flv"),
        (b"\0\0\1\xba\x44\0", ".mpg"),
    ],
)
def test_suffixes_follow_the_content(head, suffix):
    assert suffix_of(head + bytes(100)) == suffix


def test_suffixes_of_real_files(data_dir):
    for path in (data_dir / "videos").glob("*/*"):
        if path.name not in ("zero_byte.webm", "audio_only.mp3"):
            assert suffix_of(path.read_bytes()[:4096]) == path.suffix, path
