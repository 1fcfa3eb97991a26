# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The optimizers of the released configs of Mug-STAN, by `--set` from our recipe: every parameter, its rate and its decay."""

import json
from pathlib import Path

import pytest
from tiny_mug_stan import tiny_clip, tiny_model

from clipbert.modeling_mug_stan.convert_mug_stan_checkpoint import convert_name
from clipbert.train_scripts.engine.optim import build_optimizer, set_lr
from clipbert.train_scripts.retrieval import RetrievalRecipe


RECIPE = Path(__file__).parents[2] / "train_scripts" / "recipes" / "mug_stan" / "retrieval_msrvtt.yaml"
SMALL = Path(__file__).parents[1] / "fixtures" / "mug_stan"
DECAYED, WARM = "optim.groups.branches.decay_all=true", "optim.warmup_start=0.05"
# what each config says besides; the peak rate of the branch is a multiple of that of CLIP
RELEASED = {
    "mugstan_msrvtt_b32": [],
    "mugstan_lsmdc_b32": ["optim.weight_decay=0.1", "optim.groups.branches.lr=1e-5"],
    "webvid_b32": ["optim.lr=4e-6", "optim.weight_decay=0.05", "optim.groups.branches.lr=4e-5"],
}
# total epochs, and when the rate rises and falls
SCHEDULES = {
    "msrvtt": (100, ["optim.cosine_fall_ratio=0.045"]),
    "didemo": (20, ["optim.warmup_ratio=0.2", "optim.cosine_fall_ratio=0.85"]),
    "lsmdc": (
        100,
        ["optim.warmup_ratio=0.05", "optim.cosine_start_ratio=0.1", "optim.cosine_fall_ratio=0.045"],
    ),
    "webvid": (4, ["optim.warmup_ratio=0.125", "optim.cosine_fall_ratio=1.125"]),
}
pytestmark = pytest.mark.parity


def optimizer_of(*settings):
    """With the names of its parameters."""
    clip = tiny_clip(vision_config={"num_hidden_layers": 6}, text_config={"num_hidden_layers": 3})
    model, settings = tiny_model(clip=clip, stan_num_layers=4), RetrievalRecipe.load(RECIPE, settings).optim
    names = {id(parameter): name.removeprefix("mug_stan.") for name, parameter in model.named_parameters()}
    return build_optimizer(model, settings), names, settings


@pytest.mark.parametrize("name", RELEASED)
def test_every_parameter_has_its_rate_and_decay(name, mug_stan_parity_dir):
    official = json.loads((mug_stan_parity_dir / "optimizer_groups.json").read_text())[name]
    optimizer, names, settings = optimizer_of(DECAYED, *RELEASED[name])
    found = [
        (names[id(parameter)], group["base_lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    expected = [(convert_name(parameter), *values) for parameter, values in official.items()]
    assert sorted(found) == [(place, pytest.approx(lr, rel=1e-12), decay) for place, lr, decay in sorted(expected)]
    assert (settings.betas, settings.eps, settings.max_grad_norm) == ([0.9, 0.98], 1e-8, 5.0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_group_follows_the_schedule(name):
    schedules = json.loads((SMALL / "lr_schedules.json").read_text())
    recorded = next(schedule for title, schedule in schedules.items() if title.startswith(name))
    num_epochs, more = SCHEDULES[name]
    optimizer, _, settings = optimizer_of(DECAYED, WARM, *more)
    for step, factor in enumerate(recorded["lr_factor"], start=1):  # recorded to six digits
        set_lr(optimizer, step, num_epochs * recorded["iters_per_epoch"], settings)
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(group["base_lr"] * factor, abs=1e-6 * group["base_lr"])
