# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts check`: files that are missing, broken, of another length, and leaks between splits."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.__main__ import main
from clipbert.datasets_scripts.building import readable as probing
from clipbert.datasets_scripts.building.base import VideoFacts
from clipbert.datasets_scripts.building.file_memory import FileMemory
from clipbert.datasets_scripts.building.readable import Probe, Stillness, probe_files, probe_media
from clipbert.datasets_scripts.building.skip_lists import read_skip_list, write_skip_list
from clipbert.datasets_scripts.building.usable_videos import check_videos, find_missing
from clipbert.datasets_scripts.building.workers import run_in_processes
from clipbert.datasets_scripts.commands.benchmark_arguments import build_benchmark
from clipbert.datasets_scripts.commands.check import check_benchmark
from clipbert.processing import decoding


def write_lines(path: Path, *lines: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


GROUPS = {"g": "4", "bf": "0"}  # a key frame in four pictures, which lie in the file in their order


def damage(path: Path, first: int, last: int) -> Path:
    """Overwrite some of the pictures of a video; its header stays whole."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in places[first : last + 1]:
        data[position : position + size] = bytes(size)
    path.write_bytes(data)
    return path


@pytest.fixture
def folder(tmp_path, write_video) -> Path:
    """
    Six videos in two splits: three whole ones, one that breaks in its middle, an empty one, one that is not there.
    """
    root = tmp_path / "data"
    (root / "train").mkdir(parents=True)
    (root / "test").mkdir()
    for name, num_frames in (("train/one", 30), ("train/two", 20), ("test/three", 12)):
        write_video(root / f"{name}.mp4", num_frames=num_frames, options={"g": "10"})
    damage(write_video(root / "train/broken.mp4", num_frames=28, options=GROUPS), 12, 27)
    (root / "test/empty.mp4").touch()
    captions = {"train": ("one", "two", "two", "broken"), "test": ("three", "empty", "gone")}
    for split, names in captions.items():
        rows = [{"video": f"{name}.mp4", "caption": f"{name} {number}"} for number, name in enumerate(names)]
        write_lines(root / split / "captions.jsonl", *rows)
    return root


@pytest.fixture
def check(folder, tmp_path):
    """Run the command on the folder; gives its exit status and the report."""

    def run(*options, data_dir=folder):
        output = tmp_path / "report.json"
        fixed = ["--data_dir", data_dir, "--cache_dir", tmp_path / "cache", "--num_workers", 0, "--output", output]
        status = main(list(map(str, ["check", "video_folder", *fixed, *options])))
        return status, json.loads(output.read_text())

    return run


def spy_on(monkeypatch) -> list[str]:
    """The names of the files that are opened from now on."""
    opened, probe = [], probing.probe_media

    def look(path, level, media="video"):
        opened.append(Path(path).name)
        return probe(path, level, media)

    monkeypatch.setattr(probing, "probe_media", look)
    return opened


# ----------------------------------------------------------------------------------------------------------------------
# The report
# ----------------------------------------------------------------------------------------------------------------------


def test_a_folder_with_missing_empty_and_broken_videos(check, folder, capsys):
    status, report = check()
    assert status == 1
    assert report["splits"] == {
        "train": {
            "videos": 3,
            "present": 3,
            "missing": 0,
            "unreadable": 1,
            "wrong_duration": 0,
            "rows": 4,
            "usable_rows": 3,
        },
        "test": {
            "videos": 3,
            "present": 2,
            "missing": 1,
            "unreadable": 1,
            "wrong_duration": 0,
            "rows": 3,
            "usable_rows": 1,
        },
    }
    assert report["missing"] == {"gone.mp4": f"no file {folder / 'test/gone.mp4'}"}
    assert list(report["unreadable"]) == ["broken.mp4", "empty.mp4"]
    assert report["unreadable"]["broken.mp4"].startswith("frame 13: it is damaged at packet 12: decoding breaks off")
    assert "0 bytes" in report["unreadable"]["empty.mp4"]
    assert report["leaks"] == [] and report["frozen"] == {}
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "video_folder/retrieval, level frames"
    assert shown[2].split() == ["train", "3", "3", "0", "1", "0", "4", "3"]
    assert shown[3].split() == ["test", "3", "2", "1", "1", "0", "3", "1"]


def test_all_is_well(check, folder):
    (folder / "test/captions.jsonl").write_text('{"video": "three.mp4", "caption": "fine"}\n')
    (folder / "train/captions.jsonl").write_text('{"video": "one.mp4", "caption": "fine"}\n')
    status, report = check()
    assert status == 0
    assert [counts["usable_rows"] for counts in report["splits"].values()] == [1, 1]


def test_the_skip_list_loads_what_is_left(check, folder, tmp_path, caplog):
    listed = tmp_path / "skip.txt"
    check("--skip_list", listed)
    assert read_skip_list(listed) == {"gone.mp4", "broken.mp4", "empty.mp4"}
    lines = listed.read_text().splitlines()
    assert lines[0].startswith("# What cannot be used of video_folder/retrieval")
    assert all("  # " in line for line in lines[1:])  # each with its reason
    rows = load_benchmark("video_folder", data_dir=folder, cache_dir=tmp_path / "cache", skip_list=listed)
    assert {split: part["video_id"][:] for split, part in rows.items()} == {
        "train": ["one.mp4", "two.mp4", "two.mp4"],
        "test": ["three.mp4"],
    }


@pytest.mark.parametrize("level", ["header", "frames", "full"])
@pytest.mark.parametrize(
    "error", [KeyError("x\x1b[2J"), MemoryError(), RecursionError("deep"), OverflowError("1e400")]
)
def test_whatever_one_video_raises_the_check_goes_on(check, monkeypatch, level, error, capsys):
    real = {name: getattr(decoding, name) for name in ("decode_video", "read_video_metadata")}

    def fail(name):
        def call(path, *arguments, **options):
            if str(path).endswith("two.mp4"):
                raise error
            return real[name](path, *arguments, **options)

        return call

    for name in real:
        monkeypatch.setattr(decoding, name, fail(name))
    status, report = check("--level", level)
    assert status == 1 and report["unreadable"]["two.mp4"].startswith(type(error).__name__)
    assert set(report["unreadable"]) - {"broken.mp4"} == {"two.mp4", "empty.mp4"}
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


def test_names_do_not_steer_the_terminal(check, folder, write_video, tmp_path, capsys):
    """Nor do they break the report or the skip list: half a character in a file's name included."""
    names = ["\x1b]0;title\x07\u202e.mp4", "line\nbreak.mp4", "\u2028.mp4"]
    rows = [{"video": name, "caption": "a dog"} for name in names]
    write_lines(folder / "train/captions.jsonl", *rows)
    (folder / "train" / names[0]).touch()
    status, report = check("--skip_list", tmp_path / "skip.txt")
    assert status == 1 and set(names) <= {*report["missing"], *report["unreadable"]}
    shown = capsys.readouterr()
    assert all(line.isprintable() for line in (shown.out + shown.err.rpartition("\r")[2]).split("\n"))
    assert set(names) <= read_skip_list(tmp_path / "skip.txt")


def test_links_that_lead_nowhere_or_to_themselves(check, folder):
    for name, target in (("loop.mp4", "loop.mp4"), ("dangling.mp4", "nothing.mp4")):
        (folder / "train" / name).symlink_to(target)
    write_lines(
        folder / "train/captions.jsonl",
        *({"video": f"{name}.mp4", "caption": "a dog"} for name in ("loop", "dangling", "one")),
    )
    status, report = check()
    assert status == 1 and {"loop.mp4", "dangling.mp4"} <= set(report["missing"])


def test_skip_lists_of_other_systems(tmp_path):
    (tmp_path / "skip.txt").write_bytes("\ufeffa.mp4\r\n\r\n\u2028b.mp4  # why\r\n".encode())
    assert read_skip_list(tmp_path / "skip.txt") == {"a.mp4", "b.mp4"}
    (tmp_path / "skip.txt").write_bytes("a.mp4\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"skip\.txt, line 1: expected UTF-8, got UTF-16"):
        read_skip_list(tmp_path / "skip.txt")
    write_skip_list(tmp_path / "skip.txt", {"\udc80.mp4": "no\udc80 file"})
    assert read_skip_list(tmp_path / "skip.txt") == {"\udc80.mp4"}


def test_a_single_split(check):
    assert list(check("--split", "test")[1]["splits"]) == ["test"]


def test_mistakes_on_the_command_line(folder, tmp_path, capsys):
    data = ["--data_dir", str(folder), "--cache_dir", str(tmp_path)]
    assert main(["check", "video_folder", *data, "--split", "tset"]) == 1
    assert "Unknown split of retrieval 'tset'; did you mean 'test'" in capsys.readouterr().err
    assert main(["check", "video_foldr", *data]) == 1
    assert "did you mean 'video_folder'" in capsys.readouterr().err
    assert main(["check", "video_folder", "--data_dir", str(tmp_path / "nowhere")]) == 1
    assert "is not a folder" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------------------------
# Levels
# ----------------------------------------------------------------------------------------------------------------------


def test_each_level_finds_more(write_video, tmp_path):
    """A header is whole where pictures are not, and the pictures looked at where others are not."""
    files = {
        name: str(write_video(tmp_path / f"{name}.mp4", num_frames=40, options=GROUPS))
        for name in ("whole", "late", "between", "early")
    }
    damage(Path(files["late"]), 36, 39)
    damage(Path(files["between"]), 28, 31)
    damage(Path(files["early"]), 0, 3)
    found = {
        level: {name for name, path in files.items() if probe_media(path, level).reason} for level in probing.LEVELS
    }
    assert found == {"header": {"early"}, "frames": {"early", "late"}, "full": {"early", "late", "between"}}
    assert probe_media(files["between"], "full").reason.startswith("only 28 of the 40 frames")
    probe = probe_media(files["whole"], "full")
    assert (probe.num_frames, probe.duration_s, probe.frozen_s) == (40, pytest.approx(4.0), None)


def test_a_file_that_was_cut_off_is_found_by_its_header(write_video, tmp_path):
    path = write_video(tmp_path / "cut.mkv", num_frames=100, options={"g": "10"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for level in probing.LEVELS:
        assert probe_media(str(path), level).reason, level
    assert "cut off: it ends before" in probe_media(str(path), "header").reason


def test_the_real_broken_file(data_dir):
    path = str(data_dir / "videos/technical/corrupted.mp4")
    assert probe_media(path, "header") == Probe(duration_s=5.0, num_frames=50)
    assert "frame 49: it is damaged at packet 30: decoding breaks off" in probe_media(path, "frames").reason
    assert "only 28 of the 50 frames" in probe_media(path, "full").reason
    assert "audio only" in probe_media(str(data_dir / "videos/technical/audio_only.mp3"), "header").reason


@pytest.mark.slow
def test_real_videos_are_fine_at_every_level(data_dir, tmp_path):
    broken = {"corrupted.mp4", "zero_byte.webm", "audio_only.mp3"}
    paths = [str(path) for path in sorted((data_dir / "videos").glob("*/*")) if path.name not in broken]
    probes = probe_files(paths, "full", num_workers=2, memory_file=tmp_path / "facts", progress=False)
    assert len(probes) == 45 and not [probe for probe in probes.values() if probe.reason]
    frozen = {Path(path).name: probe.frozen_s for path, probe in probes.items() if probe.frozen_s}
    assert frozen["demo.mp4"] == pytest.approx((8.32, 9.54), abs=0.1)
    assert set(frozen) == {"demo.mp4", "video_with_failing_audio.mp4"}  # the latter shows an empty sky


def test_a_picture_that_stands_still():
    def see(stillness, number, picture):
        stillness.see(
            av.VideoFrame.from_ndarray(np.repeat(picture[..., None], 3, axis=2), format="rgb24"), number / 10
        )

    pictures = np.random.default_rng(0).integers(0, 256, (40, 64, 64), dtype=np.uint8)
    stillness = Stillness()
    for number in range(40):
        see(stillness, number, pictures[20 if 20 <= number < 32 else number])
    assert stillness.suspicious_s() == (2.0, 3.1)
    short, black = Stillness(), Stillness()
    for number in range(40):
        see(short, number, pictures[20 if 20 <= number < 28 else number])
        see(black, number, pictures[number] if number < 10 else np.zeros((64, 64), dtype=np.uint8))
    assert short.suspicious_s() is None and black.suspicious_s() is None


def test_a_standstill_is_noted_and_no_fault(check, folder, monkeypatch):
    monkeypatch.setattr(
        probing, "probe_media", lambda path, level, media: Probe(duration_s=9.0, num_frames=90, frozen_s=(1.5, 4.0))
    )
    for path in ("train/broken.mp4", "test/gone.mp4", "test/empty.mp4"):
        (folder / path).write_text(path)
    status, report = check("--level", "full")
    assert status == 0 and len(report["frozen"]) == 6
    assert report["frozen"]["one.mp4"].startswith("from 1.5 s to 4.0 s")


def test_unknown_levels_and_numbers_of_workers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one of header, frames, full, got 'all'"):
        probe_files([], "all", memory_file=tmp_path / "facts")
    with pytest.raises(ValueError, match="`num_workers` to be 0 or more, got -1"):
        probe_files([], num_workers=-1, memory_file=tmp_path / "facts")


def test_check_videos_has_levels_too(folder, tmp_path):
    path = str(folder / "train/broken.mp4")
    assert not check_videos([path], tmp_path / "facts", progress=False).broken
    assert path in check_videos([path], tmp_path / "facts", progress=False, level="frames").broken


# ----------------------------------------------------------------------------------------------------------------------
# Durations
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotated_s", "is_fine"), [(3.0, True), (3.9, True), (4.1, False), (1.9, False), (None, True)]
)
def test_durations_within_a_second(folder, check, annotated_s, is_fine):
    rows = [{"video": "one.mp4", "caption": "a", "start_s": 0, "end_s": 1, "duration_s": annotated_s}]
    write_lines(folder / "moments.jsonl", *rows)
    (folder / "one.mp4").write_bytes((folder / "train/one.mp4").read_bytes())  # 3 s
    status, report = check("--config", "moments")
    assert (status == 0) == is_fine
    assert bool(report["wrong_duration"]) == (not is_fine)
    if not is_fine:
        assert report["wrong_duration"]["one.mp4"].startswith(f"3.00 s, annotated {annotated_s:.2f} s")
        assert report["splits"]["train"]["usable_rows"] == 0


def test_durations_of_long_videos_within_five_percent(write_video, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    write_video(tmp_path / "data/long.mp4", num_frames=100, fps=1)
    write_lines(tmp_path / "data/captions.jsonl", {"video": "long.mp4", "caption": "long"})
    builder = build_benchmark("video_folder", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    for annotated_s, is_fine in ((104.0, True), (106.0, False), (95.5, True), (95.0, False)):
        monkeypatch.setattr(builder, "video_facts", lambda s=annotated_s: {"long.mp4": VideoFacts(duration_s=s)})
        report = check_benchmark(builder, memory_file=tmp_path / "facts", progress=False)
        assert bool(report.wrong_duration) != is_fine


# ----------------------------------------------------------------------------------------------------------------------
# Leaks
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(folder, write_video):
    """A folder without splits of its own: a column names them."""
    for num_frames, name in enumerate("abc", start=8):
        write_video(folder / f"{name}.mp4", num_frames=num_frames)
    for split in ("train", "test"):
        (folder / split / "captions.jsonl").unlink()

    def write(*videos):
        rows = [{"video": f"{name}.mp4", "caption": name, "split": split} for name, split in videos]
        write_lines(folder / "captions.jsonl", *rows)
        return folder

    return write


def test_one_video_in_two_splits(shared, check):
    shared(("a", "train"), ("b", "train"), ("a", "test"))
    status, report = check()
    assert status == 1
    assert report["leaks"] == [
        {"kind": "id", "value": "a.mp4", "videos": {"train": ["a.mp4"], "test": ["a.mp4"]}},
    ]
    assert check("--allow_leaks")[0] == 0
    assert check("--split", "test")[0] == 0


def test_one_file_under_two_names(shared, check, folder):
    (folder / "copy.mp4").write_bytes((folder / "a.mp4").read_bytes())
    (folder / "equal_size.mp4").write_bytes((folder / "a.mp4").read_bytes()[:-1] + b"x")
    shared(("a", "train"), ("b", "train"), ("copy", "test"), ("equal_size", "test"))
    (leak,) = check()[1]["leaks"]
    assert (leak["kind"], leak["videos"]) == ("content", {"train": ["a.mp4"], "test": ["copy.mp4"]})
    # two names in one split are no leak
    shared(("a", "train"), ("copy", "train"), ("b", "test"))
    assert not check()[1]["leaks"]


def test_equal_names_in_folders_of_splits_are_no_leak(folder, check, write_video):
    write_video(folder / "train/0001.mp4", num_frames=9)
    write_video(folder / "test/0001.mp4", num_frames=7)
    for split in ("train", "test"):
        write_lines(folder / split / "captions.jsonl", {"video": "0001.mp4", "caption": split})
    assert check()[1]["leaks"] == []


def test_one_recording_in_two_splits(shared, tmp_path, monkeypatch):
    builder = build_benchmark(
        "video_folder",
        data_dir=shared(("a", "train"), ("b", "test"), ("c", "test"), ("a", "test")),
        cache_dir=tmp_path / "cache",
    )
    recordings = {"a.mp4": "film", "b.mp4": "film", "c.mp4": "match"}
    facts = {name: VideoFacts(recording=recording) for name, recording in recordings.items()}
    monkeypatch.setattr(builder, "video_facts", lambda: facts)
    leaks = check_benchmark(builder, memory_file=tmp_path / "facts", progress=False).leaks
    assert [(leak.kind, leak.value) for leak in leaks] == [("id", "a.mp4")]  # told once
    facts["c.mp4"] = VideoFacts(recording="film")
    builder = build_benchmark(
        "video_folder", data_dir=shared(("a", "train"), ("b", "test"), ("c", "test")), cache_dir=tmp_path / "cache"
    )
    monkeypatch.setattr(builder, "video_facts", lambda: facts)
    (leak,) = check_benchmark(builder, memory_file=tmp_path / "facts", progress=False).leaks
    assert str(leak) == "same recording film in train: a.mp4; test: b.mp4, c.mp4"


# ----------------------------------------------------------------------------------------------------------------------
# What is remembered
# ----------------------------------------------------------------------------------------------------------------------


def test_a_second_run_opens_what_changed(check, folder, write_video, monkeypatch):
    opened = spy_on(monkeypatch)
    first = check()
    assert sorted(opened) == ["broken.mp4", "empty.mp4", "one.mp4", "three.mp4", "two.mp4"]
    opened.clear()
    assert check() == first and opened == []
    write_video(folder / "train/broken.mp4", num_frames=10)
    write_video(folder / "test/gone.mp4", num_frames=11)
    assert list(check()[1]["unreadable"]) == ["empty.mp4"] and sorted(opened) == ["broken.mp4", "gone.mp4"]


def test_a_stricter_result_answers_for_a_milder_one_and_not_the_other_way_round(check, monkeypatch):
    opened = spy_on(monkeypatch)
    check("--level", "full")
    opened.clear()
    check("--level", "header")
    assert opened == []
    monkeypatch.setattr("av.__version__", "0.0")
    check("--level", "header")
    opened.clear()
    check("--level", "frames")
    assert sorted(opened) == ["broken.mp4", "one.mp4", "three.mp4", "two.mp4"]  # what did not even open stays broken


def test_files_are_compared_once(shared, check, folder, monkeypatch):
    (folder / "copy.mp4").write_bytes((folder / "a.mp4").read_bytes())
    shared(("a", "train"), ("copy", "test"))
    first = check()[1]["leaks"]
    monkeypatch.setattr(FileMemory, "remember", lambda *_: pytest.fail("a file was read again"))
    assert check()[1]["leaks"] == first != []


def test_memory_outlives_a_line_that_was_cut_short(tmp_path):
    path = tmp_path / "facts.jsonl"
    with FileMemory(path) as memory:
        memory.remember("a.mp4", [1, 2], "x", {"reason": ""})
    path.write_bytes(path.read_bytes() + b'{"file": "b.mp4", "sta')
    with FileMemory(path) as memory:
        assert memory.recall("a.mp4", [1, 2], "x") == {"reason": ""}
        assert memory.recall("a.mp4", [1, 3], "x") is None and memory.recall("a.mp4", [1, 2], "y") is None
        memory.remember("c.mp4", [1, 2], "x", 3)
    with FileMemory(path) as memory:
        assert memory.recall("c.mp4", [1, 2], "x") == 3


def test_a_check_that_is_killed_goes_on_where_it_stopped(check, monkeypatch):
    opened, probe = [], probing.probe_media

    def stop_at_the_third(path, level, media):
        opened.append(path)
        if len(opened) == 3:
            raise KeyboardInterrupt
        return probe(path, level, media)

    monkeypatch.setattr(probing, "probe_media", stop_at_the_third)
    with pytest.raises(FileNotFoundError):  # there is no report
        check()
    check()
    assert len(opened) == 3 + 3


# ----------------------------------------------------------------------------------------------------------------------
# Processes
# ----------------------------------------------------------------------------------------------------------------------


def test_processes_find_the_same(check):
    assert check("--num_workers", 2) == check("--num_workers", 0)


def kill_at_seven(number: int) -> int:
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def test_an_item_that_kills_its_process_costs_no_other():
    results = dict(run_in_processes(kill_at_seven, range(20), num_workers=2, crashed=-1))
    assert results == {number: -1 if number == 7 else number * number for number in range(20)}


def test_errors_of_the_function_are_raised():
    with pytest.raises(ZeroDivisionError):
        list(run_in_processes(one_over, [1, 0, 2], num_workers=2, crashed=None))


def one_over(number):
    return 1 / number


ENDLESS = """
import os, sys, time
from clipbert.datasets_scripts.building.workers import run_in_processes

def wait(_):
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(60)

if __name__ == "__main__":
    list(run_in_processes(wait, range(4), num_workers=2, crashed=None))
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes through /proc")
def test_processes_end_with_the_one_that_started_them(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    parent = subprocess.Popen([sys.executable, tmp_path / "endless.py"], stdout=subprocess.PIPE, env=environment)
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(is_running(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(worker) for worker in workers)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ----------------------------------------------------------------------------------------------------------------------
# Images, bytes, skip lists
# ----------------------------------------------------------------------------------------------------------------------


def test_images(tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    for name in ("whole.png", "cut.png", "cut.jpg"):
        picture.save(tmp_path / name)
    for name in ("cut.png", "cut.jpg"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-40])
    (tmp_path / "text.jpg").write_text("no picture")
    paths = [str(tmp_path / name) for name in ("whole.png", "cut.png", "cut.jpg", "text.jpg")]

    def broken(level):
        probes = probe_files(paths, level, media="image", memory_file=tmp_path / "facts", progress=False)
        return [Path(path).name for path, probe in probes.items() if probe.reason]

    assert broken("header") == ["cut.png", "text.jpg"]  # a JPEG tells nothing about its end
    assert broken("frames") == broken("full") == ["cut.png", "cut.jpg", "text.jpg"]


def test_ids_of_any_kind_survive_the_skip_list(tmp_path):
    names = [
        "plain",
        "#20_Rhythm_clap_u_nm_np1_fr_goo_0",
        "my clip #2.mp4",
        ' "quoted" ',
        '"x',
        "a b",
        "# odd",
        "line\nend",
        "Ünï",
    ]
    write_skip_list(tmp_path / "skip.txt", dict.fromkeys(names, "it is\nbroken # truly"), "two\nlines")
    assert read_skip_list(tmp_path / "skip.txt") == set(names)
    (tmp_path / "by_hand.txt").write_text("# mine\n\na.mp4\nb.mp4 # bad\n  c.mp4  #bad\n#d\n#\n")
    assert read_skip_list(tmp_path / "by_hand.txt") == {"a.mp4", "b.mp4", "c.mp4", "#d"}


def test_find_missing_knows_files_from_folders(folder):
    paths = [str(folder / name) for name in ("train", "train/one.mp4", "nowhere/x.mp4")]
    assert find_missing(paths) == [paths[0], paths[2]]
