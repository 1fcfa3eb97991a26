# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A contrastive step of Mug-STAN has the loss and the gradients of its whole batch, however that is divided."""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from mug_stan_contrast import SPLITS, build_model, by_the_engine, micro_batches, one_graph
from stub_task import ROOT, TWO_PROCESSES

from clipbert.modeling_mug_stan.guidance_mug_stan import contrastive_loss


def assert_same(found, expected):
    """The loss to 1e-6, gradients to 1e-5, both relative."""
    (loss, gradients), (exact_loss, exact) = found, expected
    assert loss.item() == pytest.approx(exact_loss.item(), rel=1e-6)
    assert gradients.keys() == exact.keys() and len(exact) > 50
    largest = max(gradient.norm() for gradient in exact.values())
    for name, gradient in exact.items():
        # biases of keys have no gradient but rounding
        allowed = 1e-5 * gradient.norm() if gradient.norm() > 1e-6 * largest else 1e-6 * largest
        assert (gradients[name] - gradient).norm() <= allowed, name


@pytest.mark.parametrize(
    ("similarity", "sizes"),
    [
        ("mug", [64]),
        ("mug", [8] * 8),
        *((similarity, [5, 1, 10]) for similarity in ("mug_exact", "wti", "mean_pool")),
        *(
            pytest.param(similarity, [8] * 8, marks=pytest.mark.slow)
            for similarity in ("mug_exact", "wti", "mean_pool")
        ),
    ],
    ids=str,
)
def test_micro_batches_with_dropout_and_stochastic_depth(similarity, sizes):
    model, batches = build_model(similarity), micro_batches(sizes)
    expected = one_graph(model, batches)
    assert_same(by_the_engine(model, batches, Accelerator(cpu=True)), expected)
    assert abs(one_graph(model.eval(), batches)[0] - expected[0]) > 1e-3  # something was drawn


@pytest.mark.parametrize("sizes", [[8] * 8, pytest.param([1] * 64, marks=pytest.mark.slow)], ids=["eights", "ones"])
@pytest.mark.parametrize("count_duplicates", [False, True])
def test_the_size_of_micro_batches_without_dropout(count_duplicates, sizes):
    model = build_model(count_duplicates=count_duplicates).eval()
    whole = by_the_engine(model, micro_batches([64]), Accelerator(cpu=True))
    assert_same(by_the_engine(model, micro_batches(sizes), Accelerator(cpu=True)), whole)


def test_duplicates_and_undecodable_items():
    model, batches = build_model(), micro_batches(*SPLITS["with undecodable"])
    assert_same(by_the_engine(model, batches, Accelerator(cpu=True)), one_graph(model, batches))
    # by hand: what is left, with each of its duplicates no negative
    model = model.eval()
    inputs = [micro.batch.inputs for micro in batches if micro.weight]
    texts = [model.encode_text(one["input_ids"], one["attention_mask"]) for one in inputs]
    videos = torch.cat([model.encode_video(one["pixel_values"]).frame_features for one in inputs])
    logits = 20.0 * torch.cat([model.similarity(text, videos) for text in texts])
    keys = {name: torch.cat([m.batch.targets[name] for m in batches if m.weight]) for name in batches[0].batch.targets}
    same = sum((keys[name][:, None] == keys[name]).int() for name in keys) > 0
    assert same.sum() > len(same)
    loss, _ = by_the_engine(model, batches, Accelerator(cpu=True))
    assert loss.item() == pytest.approx(contrastive_loss(logits, same).item(), rel=1e-6)


def test_a_step_without_a_decodable_video():
    model, batches = build_model(), micro_batches([4, 4], undecodable=(0, 1))
    loss, gradients = by_the_engine(model, batches, Accelerator(cpu=True))
    assert loss == 0 and not any(gradient.any() for gradient in gradients.values())


@pytest.mark.slow
@pytest.mark.parametrize("similarity", ["mug", "wti"])
def test_two_processes_of_four_micro_batches_each(similarity, tmp_path):
    script = Path(__file__).parents[1] / "helpers" / "mug_stan_contrast.py"
    command = [*TWO_PROCESSES, "--main_process_port", "0", str(script), str(tmp_path), similarity]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    subprocess.run(command, env=environment, check=True, timeout=300, capture_output=True)
    for name, (sizes, undecodable) in SPLITS.items():
        loss, gradients, num_processes = torch.load(tmp_path / f"{name}.pt")
        assert num_processes == 2
        expected = one_graph(build_model(similarity), micro_batches(sizes, undecodable))
        assert_same((loss, gradients), expected)
