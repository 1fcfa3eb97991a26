# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""One run at a time writes to an output folder. Two of them once mixed the weights of one recipe with the optimizer of another."""

import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from stub_task import StubTask, assert_same_run, launch, run, wait_for_step

from clipbert.support.manifest import CheckpointError, verify_checkpoint
from clipbert.train_scripts.engine.data import DeadWorkerError
from clipbert.train_scripts.engine.output import OutputError
from clipbert.train_scripts.engine.recipe import RecipeError


SLOWLY = ["data.options.pause_s=0.02", "data.num_workers=2", "run.save_every=1"]


@pytest.mark.slow
def test_a_second_run_names_the_first_and_stops_and_killing_the_first_frees_the_folder(tmp_path):
    first = launch(tmp_path / "run", "run.total_steps=20", *SLOWLY)
    try:
        wait_for_step(tmp_path / "run", 2, first)
        with pytest.raises(OutputError) as refusal:
            run(tmp_path / "run", "run.total_steps=20", "optim.lr=0.3")
        verify_checkpoint((tmp_path / "run" / "checkpoints" / "last").resolve())  # readers do not wait
    finally:
        first.kill()
        first.wait()
    expected = rf"another run writes to .*run: process {first.pid} on {socket.gethostname()}, since 2\d.*optim.lr=0.05"
    assert re.search(expected, str(refusal.value))
    # its workers may live a little longer, and nobody has to wait or to delete anything by hand
    run(tmp_path / "run", "run.total_steps=20", *SLOWLY, "data.options.pause_s=0.02")
    run(tmp_path / "whole", "run.total_steps=20", "data.options.pause_s=0.02")
    assert_same_run(tmp_path / "whole", tmp_path / "run")


class Failing(StubTask):
    def training_step(self, model, batch):
        raise FloatingPointError


def test_a_run_that_fails_gives_its_folder_back(tmp_path):
    with pytest.raises(FloatingPointError):
        run(tmp_path, task=Failing())
    assert run(tmp_path)["finished"]
    assert not (tmp_path / ".lock.json").exists()


@pytest.mark.slow
def test_of_several_processes_all_stop(tmp_path):
    launcher = (sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2")
    launcher = (*launcher, "--main_process_port", "0")
    first = launch(tmp_path, "run.total_steps=2000", "run.global_batch_size=8", *SLOWLY)
    try:
        wait_for_step(tmp_path, 2, first)
        second = launch(tmp_path, "run.global_batch_size=8", launcher=launcher, ACCELERATE_USE_CPU="true")
        output = second.communicate(timeout=120)[0]
    finally:
        first.kill()
        first.wait()
    assert second.returncode != 0
    assert f"another run writes to {tmp_path}: process {first.pid}" in output


def test_a_link_to_nowhere_is_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "unmounted")
    with pytest.raises(OutputError, match=r"link is a link to .*unmounted, which does not exist. Make that folder"):
        run(tmp_path / "link")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError, match=r"output_dir: .*file is a file; name a folder"):
        run(tmp_path / "file")
    with pytest.raises(OutputError, match=r"cannot write to .*file/below: Not a directory. Name a folder"):
        run(tmp_path / "file" / "below")


@contextmanager
def file_system(folder, options):
    """A file system in memory, where the system lets us make one."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True).returncode:
        pytest.skip("cannot mount a file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("options", "reason"), [("ro", "Read-only file system"), ("size=4k", "No space left on device")]
)
def test_a_disk_that_cannot_be_written_to_is_named_before_anything_is_trained(tmp_path, options, reason):
    with file_system(tmp_path / "disk", options) as disk:
        if options != "ro":
            (disk / "filling").write_bytes(bytes(4096))
        with pytest.raises(OutputError, match=rf"run.output_dir: cannot write to .*disk/run: {reason}. Name a folder"):
            run(disk / "run")
        assert not (disk / "run" / "log.jsonl").exists()


# ----------------------------------------------------------------------------------------------------------------------
# What goes wrong later
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kilobytes", range(24, 64, 8))
def test_whichever_file_a_full_disk_breaks_the_reason_is_said(tmp_path, kilobytes):
    """torch said "enforce fail at inline_container", or "iostream error"."""
    refusal = pytest.raises(
        CheckpointError, match=r"^Could not write .*step_\d+: No space left .*run.save_total_limit"
    )
    with file_system(tmp_path / "disk", f"size={kilobytes}k") as disk, refusal:
        run(disk / "run", "run.save_every=1", "run.save_total_limit=null")


class WithoutWorker(StubTask):
    """A worker is killed, as a system does that is out of memory: in a step, or while a checkpoint is written."""

    def __init__(self, when):
        self.when, self.calls = when, 0

    def build(self, recipe):
        parts = super().build(recipe)
        save = parts.model.save_pretrained

        def save_without_worker(*arguments, **options):
            if self.when == "save":
                self.kill()
            save(*arguments, **options)

        parts.model.save_pretrained = save_without_worker
        return parts

    def training_step(self, model, batch):
        self.calls += 1
        if self.when == "step" and self.calls == 3:
            self.kill()
        return super().training_step(model, batch)

    @staticmethod
    def kill():
        workers = [child for child in multiprocessing.active_children() if child.daemon]  # as those of a loader are
        os.kill(workers[0].pid, signal.SIGKILL)  # not what another test has left
        time.sleep(0.2)  # not a moment: the signal comes in the middle of something


@pytest.mark.parametrize("when", ["step", pytest.param("save", marks=pytest.mark.slow)])
def test_a_worker_that_was_killed_is_what_an_error_speaks_of(tmp_path, when):
    settings = ["data.num_workers=2", "data.options.pause_s=0.01", "run.save_every=3"]
    message = r"^DataLoader worker \(pid \d+\) is killed by signal: Killed. .*memory.* Lower data.num_workers \(2\)"
    with pytest.raises(DeadWorkerError, match=message) as raised:
        run(tmp_path, *settings, task=WithoutWorker(when))
    assert raised.value.__suppress_context__  # nothing else is printed before it
    run(tmp_path, *settings)
    run(tmp_path / "whole", *settings)
    assert_same_run(tmp_path / "whole", tmp_path)
