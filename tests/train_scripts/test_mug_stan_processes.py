# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Mug-STAN through the door on several processes, with divided weights, and killed: as one process trains it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mug_stan_runs import clip_fixture, mug_stan_run, shapes_fixture  # noqa: F401
from safetensors.torch import load_file
from stub_task import wait_for_step
from tiny_runs import one_thread, steps_of  # noqa: F401

from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalTask


ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "train_scripts" / "retrieval.py"
DIVIDED = ROOT / "tests" / "helpers" / "divided_on_cpu.py"
SETTINGS = ["data.num_workers=0", "run.micro_batch_size=2", "run.save_every=2", "model.gradient_checkpointing=true"]
pytestmark = pytest.mark.slow


def start(*command):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *map(str, command)], env=environment, **pipes)


def overrides(similarity):
    fields = f"stan_num_layers: 2, loss_scale: 20.0, head_scale: 10.0, drop_path_rate: 0.3, similarity: {similarity}"
    return f"model.overrides={{{fields}}}"


@pytest.mark.parametrize("similarity", ["mug", "wti"])
@pytest.mark.parametrize("config", ["two_cpu_processes", "fsdp2"])
def test_two_processes_give_the_losses_weights_and_scores_of_one(config, similarity, clip, shapes, tmp_path):
    settings = [*SETTINGS, overrides(similarity)]
    one = main(RetrievalTask(), mug_stan_run(clip, shapes, tmp_path / "one", *settings))
    file = ROOT / "train_scripts" / "recipes" / "accelerate" / f"{config}.yaml"
    launcher = ["-m", "accelerate.commands.launch", "--config_file", file, "--num_processes", 2]
    launcher += ["--main_process_port", 0, *([DIVIDED, "retrieval"] if config == "fsdp2" else [SCRIPT])]
    process = start(*launcher, *mug_stan_run(clip, shapes, tmp_path / "two", *settings))
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    assert "2 items x 2 micro-steps x 2 processes" in output
    for ours, theirs in zip(steps_of(tmp_path / "one"), steps_of(tmp_path / "two"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    weights, scores = (
        [load_file(tmp_path / name / place) for name in ("one", "two")]
        for place in ("checkpoints/last/model.safetensors", "predictions/test/tensors.safetensors")
    )
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(*scores, rtol=1e-3, atol=1e-3)
    results = json.loads((tmp_path / "two" / "results.json").read_text())["splits"]
    assert results["test"]["metrics"] == pytest.approx(one["results"]["test"]["metrics"], rel=1e-3)


def test_a_killed_run_goes_on_bit_for_bit(clip, shapes, tmp_path):
    settings = [*SETTINGS, overrides("mug"), "run.total_steps=6"]
    main(RetrievalTask(), mug_stan_run(clip, shapes, tmp_path / "whole", *settings))
    process = start(SCRIPT, *mug_stan_run(clip, shapes, tmp_path / "killed", *settings))
    wait_for_step(tmp_path / "killed", 3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(steps_of(tmp_path / "killed")) < 6
    main(RetrievalTask(), mug_stan_run(clip, shapes, tmp_path / "killed", *settings))
    assert steps_of(tmp_path / "killed") == steps_of(tmp_path / "whole")
    for place in ("checkpoints/last/model.safetensors", "predictions/test/tensors.safetensors"):
        whole, killed = (load_file(tmp_path / name / place) for name in ("whole", "killed"))
        assert all(torch.equal(tensor, killed[name]) for name, tensor in whole.items())
