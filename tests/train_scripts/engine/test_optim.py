# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Optimizer, parameter groups and schedules against recorded values of the official code."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from clipbert.train_scripts.engine.optim import (
    DecayAfterAdamW,
    build_optimizer,
    build_parameter_groups,
    compute_lr,
    set_lr,
)
from clipbert.train_scripts.engine.recipe import EvalSection, GroupSection, OptimSection
from clipbert.train_scripts.engine.selection import (
    count_reductions,
    count_since_best,
    find_best_step,
    tuning_scores,
)


MUG_STAN = Path(__file__).parents[2] / "fixtures" / "mug_stan"


@pytest.fixture(scope="module")
def recorded(small_parity_dir):
    return json.loads((small_parity_dir / "recipe" / "optim.json").read_text())


def test_schedules_give_the_recorded_rates(recorded):
    checked = 0
    for case in recorded["lr_schedule"]:
        if case["decay"] == "multi_step":
            settings = OptimSection(schedule="multi_step_official", milestones=case["milestones"], warmup_ratio=0.0)
            # the record counts epochs from 0, updates are counted from 1
            values = {int(epoch) + 1: lr for epoch, lr in case["values_by_epoch"].items()}
        else:
            settings = OptimSection(schedule=case["decay"], warmup_ratio=case.get("warmup_ratio", 0.0))
            values = {int(step): lr for step, lr in case["values"].items()}
        for step, lr in values.items():
            assert compute_lr(step, case.get("total", 10), case["lr"], settings) == pytest.approx(lr, rel=1e-12)
            checked += 1
    assert checked > 50


@pytest.mark.parametrize(
    ("name", "total_epochs", "settings"),
    [
        ("msrvtt", 100, {"warmup_ratio": 0.1, "cosine_fall_ratio": 0.045}),
        ("didemo", 20, {"warmup_ratio": 0.2, "cosine_fall_ratio": 0.85}),
        ("lsmdc", 100, {"warmup_ratio": 0.05, "cosine_start_ratio": 0.1, "cosine_fall_ratio": 0.045}),
        ("webvid", 4, {"warmup_ratio": 0.125, "cosine_fall_ratio": 1.125}),
    ],
)
def test_schedules_of_the_released_mug_stan_configs(name, total_epochs, settings):
    """A warm-up from 5 %, and a cosine with a period of its own, which rises again where the run is longer."""
    schedules = json.loads((MUG_STAN / "lr_schedules.json").read_text())
    recorded = next(schedule for title, schedule in schedules.items() if title.startswith(name))
    section = OptimSection(schedule="cosine", warmup_start=0.05, **settings)
    total_steps = total_epochs * recorded["iters_per_epoch"]
    rates = [compute_lr(step, total_steps, 1.0, section) for step in range(1, len(recorded["lr_factor"]) + 1)]
    np.testing.assert_allclose(rates, recorded["lr_factor"], atol=1e-6)


def test_multi_step_halves_once_for_each_milestone():
    settings = OptimSection(schedule="multi_step", milestones=[4, 8], warmup_ratio=0.0)
    rates = [compute_lr(step, 10, 1.0, settings) for step in range(1, 11)]
    assert rates == [1.0] * 4 + [0.5] * 4 + [0.25] * 2


def test_cosine_rises_falls_and_ends_above_zero():
    settings = OptimSection(schedule="cosine", warmup_ratio=0.2)
    rates = [compute_lr(step, 100, 1.0, settings) for step in range(1, 101)]
    assert rates[19] == max(rates) == 1.0
    assert rates[59] == pytest.approx(0.5)
    assert all(later < earlier for earlier, later in zip(rates[19:], rates[20:], strict=False))
    assert rates[-1] == 1e-8


@pytest.mark.parametrize("schedule", ["linear", "cosine", "invsqrt", "constant"])
@pytest.mark.parametrize("warmup_ratio", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("total_steps", [1, 2, 7])
def test_short_runs_have_a_rate_in_every_step(schedule, warmup_ratio, total_steps):
    settings = OptimSection(schedule=schedule, warmup_ratio=warmup_ratio)
    rates = [compute_lr(step, total_steps, 1e-3, settings) for step in range(1, total_steps + 2)]
    assert all(0 < rate <= 1e-3 for rate in rates)


def test_a_rate_of_zero_stays_zero():
    assert compute_lr(3, 10, 0.0, OptimSection()) == 0.0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_optimizer_takes_the_recorded_steps(recorded, dtype):
    record = recorded["adamw"]
    weight = nn.Parameter(torch.tensor(record["w0"], dtype=dtype))
    bias = nn.Parameter(torch.tensor(record["b0"], dtype=dtype))
    optimizer = DecayAfterAdamW(
        [
            {"params": [weight], "weight_decay": record["weight_decay_w"]},
            {"params": [bias], "weight_decay": record["weight_decay_b"]},
        ],
        lr=1.0,
        betas=record["betas"],
        eps=record["eps"],
    )
    for (weight_grad, bias_grad), expected in zip(record["grads"], record["after_each_step"], strict=True):
        weight.grad, bias.grad = torch.tensor(weight_grad, dtype=dtype), torch.tensor(bias_grad, dtype=dtype)
        for group in optimizer.param_groups:
            group["lr"] = expected["lr"]
        optimizer.step()
        tolerance = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-6, "atol": 1e-6}
        torch.testing.assert_close(weight, torch.tensor(expected["w"], dtype=dtype), **tolerance)
        torch.testing.assert_close(bias, torch.tensor(expected["b"], dtype=dtype), **tolerance)


def official_step(parameter, gradient, first, second, step, lr, weight_decay, betas=(0.9, 0.98), eps=1e-6):
    """The rule of the specification, one tensor at a time."""
    first.mul_(betas[0]).add_(gradient, alpha=1 - betas[0])
    second.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    size = lr * math.sqrt(1 - betas[1] ** step) / (1 - betas[0] ** step)
    parameter.addcdiv_(first, second.sqrt().add_(eps), value=-size)
    parameter.add_(parameter, alpha=-lr * weight_decay)


def test_optimizer_follows_the_rule_over_many_steps_and_a_reload():
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(7, 5, dtype=torch.float64))
    unused = nn.Parameter(torch.ones(3, dtype=torch.float64))
    expected = parameter.detach().clone()
    first, second = torch.zeros_like(expected), torch.zeros_like(expected)
    optimizer = DecayAfterAdamW([parameter, unused], lr=0.01, weight_decay=0.1)
    for step in range(1, 41):
        # tiny gradients: there the place of eps decides
        gradient = torch.randn(7, 5, dtype=torch.float64) * 10.0 ** (-step % 8)
        parameter.grad = gradient
        optimizer.step()
        official_step(expected, gradient, first, second, step, lr=0.01, weight_decay=0.1)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-11, atol=1e-13)
        if step == 20:
            saved = optimizer.state_dict()
            optimizer = DecayAfterAdamW([parameter, unused], lr=5.0)
            optimizer.load_state_dict(saved)
    assert torch.equal(unused.detach(), torch.ones(3, dtype=torch.float64))  # no gradient, no decay
    assert optimizer.param_groups[0]["eps"] == 1e-6


class TwoParts(nn.Module):
    def __init__(self):
        super().__init__()
        self.grid_encoder = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
        self.words = nn.Embedding(11, 4)
        self.layer_norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)
        self.tied = nn.Linear(4, 11, bias=False)
        self.tied.weight = self.words.weight
        self.grid_encoder[0].requires_grad_(False)


def test_parameter_groups():
    model = TwoParts()
    settings = OptimSection(
        lr=1e-3, weight_decay=0.1, groups={"grid_encoder": GroupSection(lr=1e-4, weight_decay=0.2)}
    )
    groups = {group["name"]: group for group in build_parameter_groups(model, settings)}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    members = {key: [names[id(parameter)] for parameter in group["params"]] for key, group in groups.items()}
    assert members == {
        "the rest": ["words.weight", "head.weight"],
        "the rest, not decayed": ["layer_norm.weight", "layer_norm.bias", "head.bias"],
        "grid_encoder": ["grid_encoder.2.weight"],
        "grid_encoder, not decayed": ["grid_encoder.1.weight", "grid_encoder.1.bias", "grid_encoder.2.bias"],
    }
    assert [(group["lr"], group["weight_decay"]) for group in groups.values()] == [
        (1e-3, 0.1),
        (1e-3, 0.0),
        (1e-4, 0.2),
        (1e-4, 0.0),
    ]


def test_biases_and_norms_of_a_group_may_be_decayed():
    model = nn.ModuleDict({"tower": nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), "branch": nn.Linear(2, 2)})
    settings = OptimSection(lr=1.0, weight_decay=0.1, groups={"branch": GroupSection(lr=10.0, decay_all=True)})
    groups = {
        group["name"]: (group["size"], group["lr"], group["weight_decay"])
        for group in build_parameter_groups(model, settings)
    }
    assert groups == {"the rest": (4, 1.0, 0.1), "the rest, not decayed": (6, 1.0, 0.0), "branch": (6, 10.0, 0.1)}


def test_modules_take_the_common_values_by_default():
    settings = OptimSection(lr=2e-3, weight_decay=0.3, groups={"grid_encoder": GroupSection()})
    groups = build_parameter_groups(TwoParts(), settings)
    assert len(groups) == 4
    assert [group["name"] for group in build_parameter_groups(TwoParts(), OptimSection())] == [
        "all",
        "all, not decayed",
    ]
    assert {(group["lr"], group["weight_decay"]) for group in groups} == {(2e-3, 0.3), (2e-3, 0.0)}


def test_set_lr_scales_each_group_by_its_own_peak():
    settings = OptimSection(lr=1e-3, warmup_ratio=0.5, groups={"grid_encoder": GroupSection(lr=1e-4)})
    optimizer = build_optimizer(TwoParts(), settings)
    for step in (1, 2, 1):  # computed from the number of the step: no state to go wrong
        set_lr(optimizer, step, 8, settings)
    assert {group["lr"] for group in optimizer.param_groups} == {1e-3 / 4, 1e-4 / 4}


def test_the_first_pattern_that_fits_counts():
    groups = {"grid_encoder.2": GroupSection(lr=1.0), "grid_*": GroupSection(lr=2.0), "head": GroupSection(lr=3.0)}
    found = build_parameter_groups(TwoParts(), OptimSection(lr=0.5, groups=groups))
    assert {group["name"].split(",")[0]: group["lr"] for group in found} == {
        "the rest": 0.5,
        "grid_encoder.2": 1.0,
        "grid_*": 2.0,
        "head": 3.0,
    }


def test_a_pattern_that_fits_no_module_is_refused_with_the_modules():
    with pytest.raises(ValueError, match=r"'grid_encodr'. Did you mean 'grid_encoder'\? Modules: grid_encoder, words"):
        build_optimizer(TwoParts(), OptimSection(groups={"grid_encodr": GroupSection()}))


def test_a_pattern_may_name_a_list_of_layers_that_is_empty():
    model = TwoParts()
    model.branches = nn.ModuleList()
    found = build_parameter_groups(model, OptimSection(groups={"branches": GroupSection(lr=1.0)}))
    assert {group["name"] for group in found} == {"the rest", "the rest, not decayed"}


def test_optimizers_are_chosen_by_name_and_torchs_is_the_default():
    kinds = {name: type(build_optimizer(TwoParts(), OptimSection(optimizer=name))) for name in ("adamw", "adam")}
    assert kinds == {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    assert type(build_optimizer(TwoParts(), OptimSection())) is torch.optim.AdamW
    assert type(build_optimizer(TwoParts(), OptimSection(optimizer="adamw_official"))) is DecayAfterAdamW


def random_losses(seed):
    """A loss that falls, with noise, ever more slowly; one in three series breaks down in the end."""
    rng = np.random.default_rng(seed)
    losses = np.exp(-rng.uniform(0.02, 0.4) * np.arange(30)) + rng.uniform(0.001, 0.2) * rng.normal(size=30)
    losses = np.round(np.abs(losses), int(rng.integers(2, 6)))  # with equals
    if seed % 3 == 0:
        losses[int(rng.integers(5, 30)) :] = np.nan if seed % 2 else np.inf
    return losses.tolist()


@pytest.mark.parametrize("block", range(4))
def test_rates_stops_and_chosen_epochs_are_those_of_torch(block):
    """The settings of the recipes: torch's `patience=1` is `plateau_patience: 2` here."""
    settings = OptimSection(
        lr=1e-4, schedule="plateau", plateau_factor=0.1, plateau_patience=2, plateau_threshold=1e-4, warmup_ratio=0.0
    )
    evaluation = EvalSection(splits={"validation": "tuning"}, metric="loss")
    for seed in range(50 * block, 50 * block + 50):
        losses = random_losses(seed)
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
        torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", factor=0.1, patience=1)
        best, best_epoch, rows = float("inf"), 1, []
        for epoch, loss in enumerate(losses, start=1):
            torchs.step(loss)
            rows.append({"step": epoch, "purpose": "tuning", "metrics": {"loss": loss}})
            scores = tuning_scores(rows, evaluation)
            reductions = count_reductions(list(scores.values()), 2, 1e-4, evaluation.goal)
            assert compute_lr(epoch + 1, 31, 1e-4, settings, reductions) == optimizer.param_groups[0]["lr"]
            if loss < best:
                best, best_epoch = loss, epoch
            assert find_best_step(scores) == best_epoch
            assert (count_since_best(scores) >= 5) == (epoch - best_epoch >= 5)  # where `run.patience: 5` stops
