# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A loss over all items of a step has the gradients of the whole batch, however it is divided."""

import signal

import pytest
import torch
from accelerate import Accelerator
from stub_task import (
    TWO_PROCESSES,
    PairsModel,
    PairsTask,
    StubConfig,
    StubSet,
    collate_pairs,
    launch,
    run,
    steps_of,
    wait_for_step,
)
from torch import nn

from clipbert.train_scripts.engine.data import MicroBatch
from clipbert.train_scripts.engine.global_batch import add_global_gradients, join
from clipbert.train_scripts.engine.launch import seed_everything


def micro_batches(sizes, weights=None):
    items, start, found = StubSet(sum(sizes)), 0, []
    for number, size in enumerate(sizes):
        batch = collate_pairs([items[0, index] for index in range(start, start + size)])
        found.append(
            MicroBatch(batch, items.ids[start : start + size], 1.0 if weights is None else weights[number], [])
        )
        start += size
    return found


def gradients(model, sizes, weights=None):
    model = model.train()
    model.zero_grad()
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=len(sizes))
    sums = add_global_gradients(
        PairsTask(), model, accelerator, iter(micro_batches(sizes, weights)), len(sizes), (7, 3)
    )
    return sums, {name: parameter.grad for name, parameter in model.named_parameters()}


def exact_gradients(model, sizes, used=None):
    """One graph of all micro-batches, each with the dropout masks that its number gives."""
    model = model.train()
    model.zero_grad()
    parts = []
    for number, micro in enumerate(micro_batches(sizes)):
        seed_everything(7, 3, number)
        features = PairsTask().features(model, micro.batch)
        if used is None or number in used:
            parts.append(features)
    width = max(part["words"].shape[1] for part in parts)
    words = torch.cat([nn.functional.pad(part["words"], (0, 0, 0, width - part["words"].shape[1])) for part in parts])
    mask = torch.cat([nn.functional.pad(part["mask"], (0, width - part["mask"].shape[1])) for part in parts])
    loss = model.contrast(torch.cat([part["videos"] for part in parts]), words, mask)
    loss.backward()
    return loss.detach(), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("sizes", [[64], [8] * 8, [1] * 9, [5, 3, 9]])
def test_gradients_are_those_of_the_whole_batch(sizes):
    model = PairsModel(StubConfig())
    loss, expected = exact_gradients(model, sizes)
    expected = {name: value.clone() for name, value in expected.items()}
    sums, found = gradients(model, sizes)
    torch.testing.assert_close(sums.losses[0][0], loss, rtol=1e-6, atol=1e-6)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7, msg=name)
    assert {name for name, value in expected.items() if value.abs().max() > 0} == set(expected)
    assert sums.sums["loss"] / sums.weight == pytest.approx(loss.item(), rel=1e-6)
    assert sums.sums["num_items"] / sums.weight == sum(sizes)


def test_items_that_stand_in_take_no_part():
    model = PairsModel(StubConfig())
    _, expected = exact_gradients(model, [4, 2, 4], used=[0, 2])
    expected = {name: value.clone() for name, value in expected.items()}
    sums, found = gradients(model, [4, 2, 4], weights=[1.0, 0.0, 1.0])
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7, msg=name)
    assert sums.sums["num_items"] / sums.weight == 8


def test_one_micro_batch_takes_one_pass():
    model, passes = PairsModel(StubConfig()), []
    model.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    gradients(model, [6])
    assert passes == [True]
    passes.clear()
    gradients(model, [3, 3])
    assert passes == [False, False, True, True]


def test_the_pass_without_a_graph_moves_no_statistics():
    class Normed(PairsModel):
        def __init__(self, config):
            super().__init__(config)
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x, words, mask):
            return super().forward(self.norm(x), words, mask)

    model = Normed(StubConfig())
    gradients(model, [4, 4])
    assert model.norm.num_batches_tracked == 2


def test_features_are_filled_up_with_zeros():
    joined = join([{"a": torch.ones(2, 3, 1, dtype=torch.float64)}, {"a": torch.ones(1, 1, 2, dtype=torch.float64)}])
    assert joined["a"].shape == (3, 3, 2) and joined["a"].dtype == torch.float32
    assert joined["a"].sum() == 2 * 3 + 2


STEP = ["run.total_steps=6", "run.global_batch_size=8", "run.save_every=2"]
STEP += ["data.options.num_items=16", "data.options.pause_s=0.01"]


def test_micro_batches_change_nothing_without_dropout(tmp_path, monkeypatch):
    monkeypatch.setattr(nn.functional, "dropout", lambda values, *_: values)
    for size in (8, 2, 1):
        run(tmp_path / str(size), *STEP, f"run.micro_batch_size={size}", task=PairsTask())
    for size in (2, 1):
        for a, b in zip(steps_of(tmp_path / "8"), steps_of(tmp_path / str(size)), strict=True):
            assert a == pytest.approx(b, rel=1e-4)
    assert steps_of(tmp_path / "8")[-1]["loss"] < steps_of(tmp_path / "8")[0]["loss"]


@pytest.mark.slow
def test_two_processes_give_the_steps_of_one(tmp_path):
    run(tmp_path / "one", *STEP, task=PairsTask())
    launcher = (*TWO_PROCESSES, "--main_process_port", "0")
    process = launch(tmp_path / "two", *STEP, launcher=launcher, ACCELERATE_USE_CPU="true", STUB_TASK="pairs")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert "2 items x 2 micro-steps x 2 processes" in output
    for a, b in zip(steps_of(tmp_path / "one"), steps_of(tmp_path / "two"), strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    one, two = (
        PairsModel.from_pretrained(tmp_path / name / "checkpoints/last").state_dict() for name in ("one", "two")
    )
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    run(tmp_path / "whole", *STEP, task=PairsTask())
    process = launch(tmp_path / "killed", *STEP, STUB_TASK="pairs")
    wait_for_step(tmp_path / "killed", 3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run(tmp_path / "killed", *STEP, task=PairsTask())
    assert steps_of(tmp_path / "whole") == steps_of(tmp_path / "killed")
    whole, killed = (
        PairsModel.from_pretrained(tmp_path / name / "checkpoints/last").state_dict() for name in ("whole", "killed")
    )
    assert all(whole[name].equal(killed[name]) for name in whole)
