# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How scripts end: with what they have learnt saved, and with the line that says why at the bottom of the terminal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stub_task import launch, run, wait_for_step

from clipbert.datasets_scripts.building.records import read_jsonl
from clipbert.datasets_scripts.building.usable_videos import RowCheck
from clipbert.train_scripts.engine import last_word
from clipbert.train_scripts.engine.checkpoint import find_last_checkpoint, list_checkpoints
from clipbert.train_scripts.engine.last_word import ending_with_the_reason
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.sections import DataSection, RunSection
from clipbert.train_scripts.engine.task import PLAIN
from clipbert.train_scripts.tasks.building import check_start
from clipbert.train_scripts.tasks.rows import find_data


LAUNCHER = (sys.executable, "-m", "accelerate.commands.launch")
SLOWLY = ["run.total_steps=3000", "data.options.pause_s=0.02", "data.num_workers=2"]


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(tmp_path):
    process = launch(tmp_path, "data.options.pause_s=20", "data.num_workers=1")
    while not (tmp_path / "log.jsonl").is_file():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    time.sleep(1.2)
    assert process.poll() is None  # the step goes on, to be saved
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 130
    output = process.communicate(timeout=30)[0]
    assert "Ctrl-C again ends at once" in output
    assert output.splitlines()[-1].startswith("Stopped at once, by Ctrl-C. The same command goes on")
    assert "Traceback" not in output


@pytest.fixture
def launched(monkeypatch):
    """Commands in a process group of their own, as a terminal makes it."""
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *given, **more: start(*given, start_new_session=True, **more))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_under_the_launcher_saves_and_says_so_last(tmp_path, launched, processes):
    process = launch_several(tmp_path, processes, *SLOWLY)
    wait_for_step(tmp_path, 3, process)
    os.killpg(process.pid, signal.SIGINT)
    last = " ".join(process.communicate(timeout=120)[0].rstrip().splitlines()[-2:])
    saved = find_last_checkpoint(tmp_path / "checkpoints")
    assert f"Stopped by Ctrl-C after step {int(saved.name[5:])}, which is saved. The same command goes on" in last


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: check_start("parts.text", "no/such/folder", "Name another."),
        lambda: find_data(DataSection(dataset="video_folder", config="retrieval", data_dir="/no/such/folder")),
        lambda: list(read_jsonl(Path(__file__))),
        lambda: RowCheck("error", frozenset(), "own videos")("a", "/no/such.mp4"),
    ],
    ids=["start", "folder", "line", "videos"],
)
def test_mistakes_in_a_recipe_or_in_own_data_come_without_a_traceback(mistake, capsys):
    with pytest.raises(SystemExit), ending_with_the_reason(PLAIN):
        mistake()
    said = capsys.readouterr().err
    assert "no/such" in said or f"{Path(__file__)}, line 1: expected one JSON object" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("launcher", ["at work", "gone"])
def test_a_launcher_that_has_ended_hides_no_line(monkeypatch, launcher):
    started = []
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setattr(last_word.subprocess, "Popen", lambda command, **_: started.append(command[-1]))
    if launcher == "gone":
        monkeypatch.setattr(last_word, "LAUNCHER", 2**22)  # no process has so large a number
    last_word.say_below_launcher("the reason")
    assert started == (["the reason"] if launcher == "at work" else [])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_under_the_launcher_the_last_line_is_the_reason(tmp_path, processes):
    process = launch_several(tmp_path, processes, "optim.lrr=1")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    reason = "RecipeError: --set optim.lrr=1: optim has no key 'lrr'. Did you mean 'lr'?"
    assert output.rstrip().splitlines()[-1] == reason
    assert output.count(f"\n\n{reason}") == 1  # of all processes together


def launch_several(output_dir, processes, *more):
    if processes == 1:
        return launch(output_dir, *more, launcher=(*LAUNCHER, "--cpu"))
    several = (*LAUNCHER, "--multi_gpu", "--num_processes", str(processes), "--main_process_port", "0")
    more = [*more, "run.global_batch_size=8"]
    return launch(output_dir, *more, launcher=several, ACCELERATE_USE_CPU="true")


# ----------------------------------------------------------------------------------------------------------------------
# Checkpoints by time
# ----------------------------------------------------------------------------------------------------------------------


def test_by_default_minutes_are_lost_and_not_everything():
    assert RunSection(output_dir="x").save_seconds == 600


def test_checkpoints_come_by_time(tmp_path):
    started = time.monotonic()
    run(tmp_path, "run.save_every=0.1s", "run.save_total_limit=null", "data.options.pause_s=0.01")
    took = time.monotonic() - started
    steps = [int(folder.name[5:]) for folder in list_checkpoints(tmp_path / "checkpoints")]
    assert 2 <= len(steps) <= took / 0.1 + 1 and steps[-1] == 12
    assert len(steps) < 12  # not after every step of 0.04 s


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10min", 600), ("1.5 h", 5400)])
def test_times_are_written_with_their_unit(text, seconds):
    assert RunSection(output_dir="x", save_every=text).save_seconds == seconds


@pytest.mark.parametrize("text", ["often", "10", "-5min", "0", "2d"])
def test_other_times_are_refused(tmp_path, text):
    with pytest.raises(RecipeError, match=r"run.save_every: expected (steps or a time such as 90s|at least 1)"):
        run(tmp_path, f"run.save_every='{text}'" if text != "0" else "run.save_every=0")


@pytest.mark.slow
def test_names_of_files_do_not_steer_the_terminal(tmp_path):
    process = launch(tmp_path, "optim.\x1b[2Jlr=1")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1 and "\x1b" not in output
    assert output.splitlines()[-1].startswith(r"RecipeError: --set optim.\x1b[2Jlr=1: optim has no key '\x1b[2Jlr'")
