# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Checkpoint folders: whole or not at all, verified on reading, never lost."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from accelerate import Accelerator
from safetensors import SafetensorError
from tiny_models import tiny_model

from clipbert.modeling_clipbert import ClipBERTForMultipleChoice, ClipBERTForVideoQA
from clipbert.support.manifest import CheckpointError, verify_checkpoint
from clipbert.train_scripts.engine.checkpoint import (
    RunCheckpoints,
    find_last_checkpoint,
    list_checkpoints,
    load_weights,
    write_checkpoint,
    writing,
)
from clipbert.train_scripts.engine.recipe import Recipe, RunSection


ROOT = Path(__file__).parents[3]


def write_files(folder):
    (folder / "model.bin").write_bytes(bytes(range(256)) * 20)
    (folder / "trainer" / "state.json").write_text('{"step": 3}')


def test_a_written_checkpoint_is_whole(tmp_path):
    folder = tmp_path / "step_00000003"
    write_checkpoint(folder, write_files)
    verify_checkpoint(folder)
    files = json.loads((folder / "trainer" / "manifest.json").read_text())["files"]
    assert {name: entry["size"] for name, entry in files.items()} == {"model.bin": 5120, "trainer/state.json": 11}
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000003"]


def cut(folder):
    with open(folder / "model.bin", "r+b") as file:
        file.truncate(1000)


def flip_a_bit(folder):
    content = bytearray((folder / "model.bin").read_bytes())
    content[77] ^= 1
    (folder / "model.bin").write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "model.bin has 1000 bytes, written were 5120"),
        (flip_a_bit, "the content of model.bin has changed"),
        (lambda folder: (folder / "model.bin").unlink(), "model.bin is missing"),
        (lambda folder: (folder / "trainer" / "manifest.json").unlink(), "manifest.json cannot be read"),
        (
            lambda folder: (folder / "trainer" / "manifest.json").write_text('{"files": '),
            "manifest.json cannot be read",
        ),
    ],
)
def test_damage_is_named_and_an_earlier_checkpoint_found(tmp_path, caplog, damage, message):
    for step in (2, 3):
        write_checkpoint(tmp_path / f"step_{step:08d}", write_files)
    damage(tmp_path / "step_00000003")
    with pytest.raises(CheckpointError, match=message):
        verify_checkpoint(tmp_path / "step_00000003")
    assert find_last_checkpoint(tmp_path) == tmp_path / "step_00000002"
    assert message in caplog.text


def test_a_full_disk_leaves_earlier_checkpoints_alone(tmp_path):
    write_checkpoint(tmp_path / "step_00000002", write_files)

    def fill_the_disk(folder):
        write_files(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(
        CheckpointError, match=r"Could not write .*step_00000003: .*No space left on device.*untouched"
    ):
        write_checkpoint(tmp_path / "step_00000003", fill_the_disk)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000002"]
    verify_checkpoint(tmp_path / "step_00000002")


def test_what_a_killed_writer_left_is_not_a_checkpoint(tmp_path):
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from clipbert.train_scripts.engine.checkpoint import write_checkpoint\n"
        "def write(folder):\n"
        "    (folder / 'model.bin').write_bytes(b'half')\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
        "write_checkpoint(Path(sys.argv[1]) / 'step_00000003', write)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"writing\n"
        process.kill()
    assert list_checkpoints(tmp_path) == []
    assert find_last_checkpoint(tmp_path) is None
    write_checkpoint(tmp_path / "step_00000003", write_files)  # the leftovers are in nobody's way
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000003"]


def test_writing_a_step_again_replaces_it(tmp_path):
    folder = tmp_path / "step_00000003"
    write_checkpoint(folder, write_files)
    cut(folder)
    write_checkpoint(folder, write_files)
    verify_checkpoint(folder)


def test_pruning_keeps_the_newest_and_the_best(tmp_path):
    recipe = Recipe(run=RunSection(output_dir=str(tmp_path), save_total_limit=1))
    checkpoints = RunCheckpoints(tmp_path, recipe, Accelerator())
    for step in (1, 2):
        write_checkpoint(checkpoints.folder(step), write_files)
    checkpoints.mark_best(1)
    for step in (3, 4):
        write_checkpoint(checkpoints.folder(step), write_files)
    checkpoints.mark_best(1)
    assert [folder.name for folder in list_checkpoints(tmp_path)] == ["step_00000001", "step_00000004"]
    checkpoints.mark_best(4)
    assert [folder.name for folder in list_checkpoints(tmp_path)] == ["step_00000004"]
    assert (tmp_path / "best").resolve() == (tmp_path / "step_00000004").resolve()


def test_steps_are_ordered_as_numbers(tmp_path):
    for step in (900, 1000, 123456789):
        write_checkpoint(tmp_path / f"step_{step:08d}", write_files)
        time.sleep(0.01)
    (tmp_path / "step_notes").mkdir()
    assert [folder.name for folder in list_checkpoints(tmp_path)] == [
        "step_00000900",
        "step_00001000",
        "step_123456789",
    ]


def test_what_could_not_be_written_is_reported_with_the_error_of_any_library(tmp_path):
    refusal = pytest.raises(OSError, match="^Could not write .*log.jsonl: no room.*the same command again")
    with refusal as raised, writing(tmp_path / "log.jsonl"):
        raise SafetensorError("no room")
    assert raised.value.errno is None
    with pytest.raises(OSError, match="No space left") as raised, writing(tmp_path / "log.jsonl"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.errno == errno.ENOSPC


def test_a_head_for_other_data_is_named_by_its_weights(tmp_path):
    # questions with options, in the folder of a run on questions without: transformers spoke of a table further above
    tiny_model(ClipBERTForVideoQA, num_labels=3).save_pretrained(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"does not fit the model \(of another shape: classifier.*run.output_dir"
    ):
        load_weights(tiny_model(ClipBERTForMultipleChoice), tmp_path)
