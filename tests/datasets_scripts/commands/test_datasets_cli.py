# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts`: the dispatcher, `list` and `fetch`."""

import subprocess
import sys
from pathlib import Path

import pytest

from clipbert.datasets_scripts import find_loader, list_benchmarks
from clipbert.datasets_scripts.__main__ import COMMANDS, main
from clipbert.datasets_scripts.commands.list import how_to_get
from clipbert.datasets_scripts.fetching import downloading
from clipbert.datasets_scripts.fetching.sources import Source


@pytest.fixture
def public(tmp_path, monkeypatch):
    """`msvd` with two public files, which are there already, and one that is placed by hand."""
    urls = ("http://127.0.0.1:1/a",)
    by_hand = Source("by_hand.txt", status="gated", instructions="Ask its authors.")
    fetched = (Source("list.txt", urls, size=4), Source("clips.tar", urls, kind="videos"))
    monkeypatch.setattr(find_loader("msvd"), "SOURCES", (*fetched, by_hand))
    monkeypatch.setattr(downloading.time, "sleep", lambda seconds: None)
    (tmp_path / "list.txt").write_text("a b\n")
    return tmp_path


def test_help_needs_no_library():
    script = "import sys; from clipbert.datasets_scripts.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    script += "print(sorted({'datasets', 'torch', 'av', 'httpx2', 'numpy'} & set(sys.modules)))"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.endswith("[]\n")
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0 and f"datasets_scripts {command}" in capsys.readouterr().out


def test_unknown_commands_are_answered_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["fetsch"])
    assert caught.value.code == 2 and "fetch" in capsys.readouterr().err


def test_list_names_every_benchmark(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = [line.split()[0] for line in lines[2:] if not line.startswith(" ")]
    assert named == list_benchmarks()
    assert any(line.startswith("lsmdc ") and "by hand (gated) / by hand (gated)" in line for line in lines)
    assert len({line.index("configs") for line in lines if "configs" in line}) == 1


def test_a_reader_that_leaves_early_is_no_error():
    root = Path(__file__).parents[3]
    command = f"{sys.executable} -m datasets_scripts list | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.startswith("name ") and "roken pipe" not in done.stderr


def test_list_describes_one_benchmark(capsys):
    assert main(["list", "msrvtt"]) == 0
    shown = capsys.readouterr().out
    assert "retrieval_1ka_9k (retrieval): " in shown and "Licence: " in shown
    assert "train_val_annotation.zip (annotations, public, 2,594,639 bytes, checksum known)" in shown
    assert main(["list", "msrvt"]) == 1
    assert "did you mean 'msrvtt'" in capsys.readouterr().err


def test_how_to_get():
    ways = {name: how_to_get(name) for name in ("synthetic", "video_folder", "charades_sta", "ssv2", "webvid")}
    assert ways == {
        "synthetic": "generated",
        "video_folder": "your own files",
        "charades_sta": "fetched / fetched",
        "ssv2": "some by hand (gated) / by hand (gated)",
        "webvid": "by hand (dead) / -",
    }


def test_fetch_tells_licence_then_what_is_there_then_what_is_left(public, capsys):
    assert main(["fetch", "msvd", "--data_dir", str(public)]) == 0
    shown = capsys.readouterr().out
    parts = [
        "Licence of msvd: ",
        "Fetching 1 file into ",
        "load_benchmark('msvd', data_dir=",
        "--videos",
        "Ask its auth",
    ]
    assert sorted(parts, key=shown.index) == parts
    assert f"By hand (access is restricted): {public}/by_hand.txt" in shown and "clips.tar" in shown


def test_fetch_tells_what_is_left_when_it_fails_too(public, capsys):
    assert main(["fetch", "msvd", "--data_dir", str(public), "--videos"]) == 1
    shown = capsys.readouterr()
    assert "1 of 2 files of msvd" in shown.err and "ConnectError" in shown.err and "Traceback" not in shown.err
    assert "Ask its authors." in shown.out and "load_benchmark" not in shown.out


def test_fetch_of_one_file(public, capsys):
    assert main(["fetch", "msvd", "--data_dir", str(public), "--files", "list.*"]) == 0
    assert main(["fetch", "msvd", "--data_dir", str(public), "--files", "by_hand.txt"]) == 1
    assert "Known: list.txt, clips.tar" in capsys.readouterr().err


def test_fetch_of_what_is_not_public_says_what_to_do(tmp_path, capsys):
    assert main(["fetch", "lsmdc", "--data_dir", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert "LSMDC16_annos_training.csv" in shown.out and "user name and password" in shown.out and not shown.err
    assert main(["fetch", "synthetic"]) == 1
    assert "Unknown benchmark with sources 'synthetic'" in capsys.readouterr().err
