# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""One run at a time writes to an output folder. Two of them once mixed the weights of one recipe with the optimizer of another."""

import os
import re
import socket
import subprocess

import pytest
from stub_task import StubTask, assert_same_run, launch, run, wait_for_step

from clipbert.support.manifest import verify_checkpoint
from clipbert.train_scripts.engine.output import OutputError
from clipbert.train_scripts.engine.recipe import RecipeError


SLOWLY = ["data.options.pause_s=0.02", "data.num_workers=2", "run.save_every=1"]


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
    launcher = (os.sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2")
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


@pytest.fixture(params=["ro", "size=4k"])
def poor_disk(tmp_path, request):
    """A file system that cannot be written to, or is full, where the system lets us make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", request.param, "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a file system here")
    try:
        if request.param != "ro":
            (folder / "filling").write_bytes(bytes(4096))
        yield folder, "Read-only file system" if request.param == "ro" else "No space left on device"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_cannot_be_written_to_is_named_before_anything_is_trained(poor_disk):
    folder, reason = poor_disk
    with pytest.raises(OutputError, match=rf"run.output_dir: cannot write to .*disk/run: {reason}. Name a folder"):
        run(folder / "run")
    assert not (folder / "run" / "log.jsonl").exists()
