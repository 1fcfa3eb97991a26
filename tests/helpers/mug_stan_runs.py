# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Runs of retrieval with Mug-STAN that take seconds: what they read, and their settings."""

import json

import pytest
from tiny_mug_stan import write_clip

from clipbert.datasets_scripts.synthetic import generate_synthetic


@pytest.fixture(scope="module", name="shapes")
def shapes_fixture(tmp_path_factory):
    """Thirty-two generated videos with captions."""
    counts = {"num_train": 24, "num_validation": 4, "num_test": 8}
    return generate_synthetic(tmp_path_factory.mktemp("data") / "shapes", progress=False, preset="easy", **counts)


@pytest.fixture(scope="module", name="clip")
def clip_fixture(tmp_path_factory):
    """A CLIP from random weights, as a folder of the Hub has it."""
    return write_clip(tmp_path_factory.mktemp("clip"))


def mug_stan_run(clip, shapes, output_dir, *more):
    """The command line of a run of four steps on generated videos; later settings replace earlier ones."""
    values = [
        "model.family=mug_stan",
        f"model.parts={json.dumps({'clip': str(clip)})}",
        "model.overrides={stan_num_layers: 2, loss_scale: 20.0}",
        "model.objective=contrastive",
        "data.dataset=synthetic",
        "data.config=retrieval",
        f"data.data_dir={shapes}",
        "data.negatives=in_batch",
        "data.num_frames=3",
        "data.num_workers=0",
        "optim.lr=1e-3",
        "optim.groups={branches: {lr: 1e-2, decay_all: true}}",
        "run.total_steps=4",
        "run.global_batch_size=8",
        "run.micro_batch_size=4",
        "run.save_every=1",
        "run.save_total_limit=null",
        f"run.output_dir={output_dir}",
        "eval.splits={test: final}",
        *more,
    ]
    return [part for value in values for part in ("--set", value)]
