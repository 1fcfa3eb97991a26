# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a recipe can switch on: averaged weights, early stopping, plateau, grouped and mixed batches, FSDP2."""

import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file
from stub_task import (
    ROOT,
    StubConfig,
    StubModel,
    StubSet,
    StubTask,
    assert_same_run,
    launch,
    run,
    settings_of,
    steps_of,
    weights_of,
)
from tiny_runs import one_thread, tiny_run  # noqa: F401
from torch import nn

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.datasets_scripts.synthetic.images import generate_synthetic_images
from clipbert.modeling_clipbert import ClipBERTForVideoTextRetrieval
from clipbert.support.manifest import CheckpointError
from clipbert.train_scripts.engine import pace
from clipbert.train_scripts.engine.checkpoint import find_last_checkpoint, list_checkpoints, load_tensors
from clipbert.train_scripts.engine.data import UndecodableVideosError
from clipbert.train_scripts.engine.ema import AveragedWeights
from clipbert.train_scripts.engine.launch import seed_everything
from clipbert.train_scripts.engine.mixture import MixedTrainSet
from clipbert.train_scripts.engine.order import BatchPlan, LengthGroupedOrder, build_plan
from clipbert.train_scripts.engine.recipe import DataSection, OptimSection, Recipe, RecipeError, RunSection
from clipbert.train_scripts.engine.selection import count_reductions, find_best_step, tuning_scores
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.pretrain import PretrainTask
from clipbert.train_scripts.retrieval import RetrievalTask


TUNING = ["eval.splits={validation: tuning, test: final}", "eval.metric=error", "eval.metric_goal=min"]


def own_weights_of(output_dir):
    return torch.load(Path(output_dir) / "checkpoints/last/trainer/own_weights.pt", weights_only=True)


def back_to(step, output_dir):
    """As if the process had died after the checkpoint of this step."""
    for folder in list_checkpoints(Path(output_dir) / "checkpoints"):
        if int(folder.name[5:]) > step:
            shutil.rmtree(folder)


# ----------------------------------------------------------------------------------------------------------------------
# Averaged weights
# ----------------------------------------------------------------------------------------------------------------------


def test_published_weights_are_the_average_of_all_steps(tmp_path):
    run(tmp_path / "plain", "run.save_every=1", "run.save_total_limit=null")
    run(tmp_path / "averaged", "optim.ema_decay=0.6")
    assert [row["loss"] for row in steps_of(tmp_path / "averaged")] == [
        row["loss"] for row in steps_of(tmp_path / "plain")
    ]
    seed_everything(42)
    expected = StubModel(StubConfig()).state_dict()
    for step, folder in enumerate(list_checkpoints(tmp_path / "plain" / "checkpoints"), start=1):
        decay = min(0.6, (1 + step) / (10 + step))
        weights = StubModel.from_pretrained(folder).state_dict()
        expected = {name: decay * expected[name] + (1 - decay) * weights[name] for name in expected}
    published, last = weights_of(tmp_path / "averaged"), weights_of(tmp_path / "plain")
    for name in expected:
        torch.testing.assert_close(published[name], expected[name], rtol=1e-5, atol=1e-6)
        assert not torch.equal(published[name], last[name])
        assert torch.equal(own_weights_of(tmp_path / "averaged")[name], last[name])


def test_the_average_is_what_is_evaluated(tmp_path):
    settings = ["eval.splits={test: final}", "optim.ema_decay=0.9"]
    result = run(tmp_path / "run", *settings)["results"]["test"]["metrics"]
    again = run(
        tmp_path / "again",
        "model.config=null",
        f"model.from_pretrained={tmp_path}/run/checkpoints/last",
        "run.total_steps=0",
        "eval.splits={test: final}",
    )
    assert again["results"]["test"]["metrics"] == result


@pytest.mark.parametrize("step", [3, 6])
def test_a_resumed_average_equals_one_without_interruption(tmp_path, step):
    settings = ["optim.ema_decay=0.7", "run.save_every=3", "run.save_total_limit=null", "run.eval_every=2", *TUNING]
    run(tmp_path / "whole", *settings)
    shutil.copytree(tmp_path / "whole", tmp_path / "parts", symlinks=True)
    back_to(step, tmp_path / "parts")
    run(tmp_path / "parts", *settings)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    whole, parts = own_weights_of(tmp_path / "whole"), own_weights_of(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_frozen_weights_and_ties_survive_the_average():
    model = nn.ModuleDict({"words": nn.Embedding(5, 3), "frozen": nn.Linear(3, 3), "out": nn.Linear(3, 5, bias=False)})
    model["out"].weight = model["words"].weight
    model["frozen"].requires_grad_(False)
    average = AveragedWeights(model, 0.5)
    assert list(average.named_tensors()) == ["words.weight"]
    own = model["words"].weight.detach().clone()
    with torch.no_grad():
        model["words"].weight += 1
    average.update(100)
    with average.lent_to_model():
        torch.testing.assert_close(model["out"].weight, own + 0.5)
    torch.testing.assert_close(model["out"].weight, own + 1)


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_decay_that_averages_nothing_is_refused(tmp_path, decay):
    with pytest.raises(RecipeError, match="optim.ema_decay: "):
        run(tmp_path, f"optim.ema_decay={decay}")


# ----------------------------------------------------------------------------------------------------------------------
# Early stopping, and the schedule that follows the evaluations
# ----------------------------------------------------------------------------------------------------------------------


class Scripted(StubTask):
    """The error of each evaluation is read from a list; which one it is, from the evaluations in the log."""

    def __init__(self, *errors):
        self.errors = errors

    def build(self, recipe):
        self.log = Path(recipe.run.output_dir) / "log.jsonl"
        return super().build(recipe)

    def evaluate(self, *arguments):
        result = super().evaluate(*arguments)
        done = self.log.read_text().count('"tuning"') if self.log.is_file() else 0
        result.metrics["error"] = self.errors[min(done, len(self.errors) - 1)]
        return result


STOPPING = ["run.eval_every=2", "run.patience=2", *TUNING]


def test_a_run_stops_when_patience_is_over_and_the_best_step_makes_the_final_scores(tmp_path, caplog):
    task = Scripted(0.5, 0.3, 0.4, 0.35, 0.1)
    result = run(tmp_path, *STOPPING, task=task)
    assert (result["step"], result["finished"]) == (8, True)
    assert result["results"]["test"]["step"] == 4
    assert (tmp_path / "checkpoints" / "best").resolve().name == "step_00000004"
    assert "Stopped after step 8 of 12: error has not been better than at step 4 in 2 evaluations" in caplog.text
    before = (tmp_path / "log.jsonl").read_text()
    again = run(tmp_path, *STOPPING, task=task)  # what has stopped is finished
    assert (again["step"], again["finished"]) == (8, True)
    assert (tmp_path / "log.jsonl").read_text() == before


@pytest.mark.parametrize("step", [2, 4, 6, 8])
def test_a_run_resumed_on_its_way_stops_at_the_same_step(tmp_path, step):
    settings = [*STOPPING, "run.save_total_limit=null"]
    errors = (0.5, 0.3, 0.4, 0.35, 0.1)
    run(tmp_path / "whole", *settings, task=Scripted(*errors))
    shutil.copytree(tmp_path / "whole", tmp_path / "parts", symlinks=True)
    back_to(step, tmp_path / "parts")
    result = run(tmp_path / "parts", *settings, task=Scripted(*errors))
    assert (result["step"], result["results"]["test"]["step"]) == (8, 4)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_more_patience_lets_a_stopped_run_go_on(tmp_path):
    errors = (0.5, 0.3, 0.4, 0.35, 0.1, 0.2)
    run(tmp_path / "whole", *STOPPING, "run.patience=9", task=Scripted(*errors))
    run(tmp_path / "parts", *STOPPING, task=Scripted(*errors))
    result = run(tmp_path / "parts", *STOPPING, "run.patience=9", task=Scripted(*errors))
    assert (result["step"], result["results"]["test"]["step"]) == (12, 10)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_improving_runs_go_to_their_end(tmp_path):
    assert run(tmp_path, *STOPPING, task=Scripted(0.6, 0.5, 0.5, 0.4, 0.4, 0.3))["step"] == 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["run.patience=2", "run.eval_every=2"], "run.patience: needs evaluations"),
        (["run.patience=2", *TUNING], "run.patience: needs evaluations"),
        (["optim.schedule=plateau", "run.eval_every=2"], "optim.schedule: plateau follows the evaluations"),
        (
            ["run.patience=2", "run.eval_every=2", "eval.splits={test: tuning}", "eval.metric=error"],
            "set eval.allow_test_selection",
        ),
        (["run.patience=0", "run.eval_every=2", *TUNING], "run.patience: expected at least 1"),
    ],
)
def test_what_follows_evaluations_needs_some(tmp_path, settings, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        run(tmp_path, *settings)


def test_stopping_by_a_test_split_is_allowed_when_said_and_recorded(tmp_path):
    settings = ["run.eval_every=2", "run.patience=1", "eval.splits={test: tuning}", "eval.metric=error"]
    settings += ["eval.metric_goal=min", "eval.allow_test_selection=true"]
    assert run(tmp_path, *settings, task=Scripted(0.3, 0.4))["step"] == 4
    assert json.loads((tmp_path / "results.json").read_text())["allow_test_selection"] is True


def test_a_score_that_is_not_a_number_is_never_the_best():
    recipe = Recipe()
    recipe.eval.metric = "accuracy"
    for values in ([float("nan"), 0.2, 0.1], [0.2, float("nan"), 0.1], [0.1, 0.2, float("nan")]):
        rows = [{"step": n, "purpose": "tuning", "metrics": {"accuracy": value}} for n, value in enumerate(values)]
        assert find_best_step(tuning_scores(rows, recipe.eval)) == values.index(0.2)


@pytest.mark.parametrize("seed", range(20))
def test_reductions_are_those_of_torch(seed):
    """`ReduceLROnPlateau` waits one evaluation longer than its patience says."""
    rng = np.random.default_rng(seed)
    scores, patience = rng.integers(0, 6, 30).tolist(), int(rng.integers(1, 4))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=patience - 1, threshold=0.0, eps=0.0
    )
    for score in scores:
        torchs.step(score)
    assert optimizer.param_groups[0]["lr"] == 0.5 ** count_reductions(scores, patience)


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("seed", range(10))
def test_the_threshold_of_a_better_metric_is_that_of_torch(seed, mode):
    rng = np.random.default_rng(seed)
    gain = rng.uniform(0.0, 0.1, 40).cumsum()  # slow progress, which a threshold takes for none
    metrics, patience = np.exp(gain if mode == "max" else -gain).tolist(), int(rng.integers(1, 4))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode=mode, factor=0.5, patience=patience - 1, threshold=0.2, eps=0.0
    )
    for metric in metrics:
        torchs.step(metric)
    scores = [metric if mode == "max" else -metric for metric in metrics]
    assert optimizer.param_groups[0]["lr"] == 0.5 ** count_reductions(scores, patience, 0.2, mode)
    assert count_reductions(scores, patience, 0.2, mode) > count_reductions(scores, patience) == 0


PLATEAU = ["optim.schedule=plateau", "optim.plateau_factor=0.1", "optim.plateau_patience=1", "optim.warmup_ratio=0.25"]
PLATEAU += ["run.eval_every=2", "run.save_total_limit=null", *TUNING]
ERRORS = (0.5, 0.6, 0.4, 0.4, 0.3, 0.3)


def test_plateau_reduces_after_evaluations_without_gain(tmp_path):
    run(tmp_path, *PLATEAU, task=Scripted(*ERRORS))
    rates = [row["lr"] for row in steps_of(tmp_path)]
    expected = [1 / 3, 2 / 3, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01]
    assert rates == pytest.approx([0.05 * factor for factor in expected])


def test_schedule_and_selection_listen_to_a_validation_loss(tmp_path):
    class WithLoss(Scripted):
        def evaluate(self, *arguments):
            result = super().evaluate(*arguments)
            result.metrics["loss"] = result.metrics.pop("error")
            return result

    settings = [*PLATEAU, "eval.metric=loss", "eval.metric_goal=null", "optim.plateau_threshold=0.3"]
    result = run(tmp_path, *settings, task=WithLoss(*ERRORS))
    assert result["results"]["validation"]["step"] == 10  # 0.3, the first of equals
    rates = [row["lr"] for row in steps_of(tmp_path)]  # 0.4 is less than 30 % below 0.5, and 0.3 is not
    assert rates[4::2] == pytest.approx([0.05 * factor for factor in (0.1, 0.01, 0.001, 0.001)])


def test_evaluations_come_once_an_epoch(tmp_path):
    run(tmp_path, "run.eval_every=epoch", *TUNING)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row.get("split") == "validation"] == [3, 6, 9, 11, 12]  # of 11 items by 4


@pytest.mark.parametrize("step", [2, 4, 8])
def test_plateau_resumes_exactly_in_its_folder_and_in_another(tmp_path, step):
    run(tmp_path / "whole", *PLATEAU, task=Scripted(*ERRORS))
    shutil.copytree(tmp_path / "whole", tmp_path / "parts", symlinks=True)
    back_to(step, tmp_path / "parts")
    run(tmp_path / "parts", *PLATEAU, task=Scripted(*ERRORS))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    # another folder has no log of the evaluations before: they come from the checkpoint
    resume = f"run.resume={tmp_path}/whole/checkpoints/step_{step:08d}"
    run(tmp_path / "branch", *PLATEAU, resume, task=Scripted(*ERRORS[step // 2 - 1 :]))
    assert steps_of(tmp_path / "branch") == steps_of(tmp_path / "whole")[step:]


def test_with_plateau_the_evaluations_belong_to_what_is_trained(tmp_path):
    run(tmp_path, *PLATEAU, task=Scripted(*ERRORS))
    back_to(4, tmp_path)
    with pytest.raises(CheckpointError, match="run.eval_every: 3 != 2"):
        run(tmp_path, *PLATEAU, "run.eval_every=3", task=Scripted(*ERRORS))


# ----------------------------------------------------------------------------------------------------------------------
# The report of the first minute
# ----------------------------------------------------------------------------------------------------------------------


class SlowForward(StubTask):
    def training_step(self, model, batch):
        time.sleep(0.1)  # longer than a busy machine keeps the loader waiting
        return super().training_step(model, batch)


@pytest.mark.parametrize(
    ("task", "pause", "bottleneck"), [(StubTask(), 0.03, "data"), (SlowForward(), 0.0, "computing")]
)
def test_the_first_minute_names_the_bottleneck_and_what_to_change(
    tmp_path, caplog, monkeypatch, task, pause, bottleneck
):
    monkeypatch.setattr(pace, "FIRST_STEPS", 5)
    run(tmp_path, f"data.options.pause_s={pause}", "run.log_every=6", "data.image_size=448", task=task)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    ((step, found),) = [(row["step"], row["pace"]) for row in rows if "pace" in row]
    assert (step, found["bottleneck"]) == (5, bottleneck)
    assert found["waiting_share"] + found["computing_share"] == pytest.approx(1, abs=1e-3)
    times = [row for row in rows if "step_s" in row][1:5]  # the first step is a start, not a pace
    seconds = sum(row["step_s"] for row in times)
    assert found["items_per_second"] == pytest.approx(4 * 4 / seconds, rel=1e-3)
    assert found["waiting_share"] == pytest.approx(sum(row["wait_s"] for row in times) / seconds, abs=1e-3)
    assert found["seconds_left"] == pytest.approx(7 * seconds / 4, abs=0.1)
    (line,) = [record.message for record in caplog.records if record.message.startswith("pace:")]
    assert f"The bottleneck is {bottleneck}" in line
    assert "data.image_size (448)" in line
    assert ("data.num_workers (0" in line) == (bottleneck == "data")
    assert any(re.match(r"step 6, .* \d+:\d\d left", record.message) for record in caplog.records)


def test_the_report_comes_after_a_minute_at_the_latest(monkeypatch):
    clock = iter([20.0, 40.0, 61.0, 80.0])
    monkeypatch.setattr(pace.time, "perf_counter", lambda: next(clock))
    found = pace.Pace(items_per_step=8, started=0.0)
    due = []
    for _ in range(4):
        found.add_step(20.0, 5.0)
        due.append(found.is_due())
    assert due == [False, False, True, False]
    assert found.summarise(steps_left=10)["seconds_left"] == 200.0


def test_advice_fits_the_device():
    recipe = Recipe()
    on_gpu = pace.advise("computing", recipe, torch.device("cuda"), accumulation_steps=2, num_processes=1)
    assert on_gpu.startswith("set run.mixed_precision to bf16; raise run.micro_batch_size (8)")
    on_cpu = pace.advise("computing", recipe, torch.device("cpu"), accumulation_steps=2, num_processes=1)
    assert on_cpu.endswith("use a GPU")
    recipe.data.num_workers = 10_000
    assert pace.advise("data", recipe, torch.device("cuda"), 1, 1).startswith("re-encode the videos")


# ----------------------------------------------------------------------------------------------------------------------
# Too little memory
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), None])
def test_a_run_that_does_not_fit_says_which_keys_help(tmp_path, error):
    class TooLarge(StubTask):
        def training_step(self, model, batch):
            if error is not None:
                raise error
            torch.empty(2**60)  # what torch says on a CPU

    with pytest.raises(torch.OutOfMemoryError, match="Out of memory in step 1: ") as raised:
        run(tmp_path, "data.num_clips=4", "run.micro_batch_size=4", task=TooLarge())
    for key in ("run.micro_batch_size (4)", "model.clips_per_chunk (None)", "data.num_clips (4)"):
        assert key in str(raised.value)
    for key in ("model.gradient_checkpointing (False)", "run.mixed_precision (no)"):
        assert key in str(raised.value)


def test_other_errors_pass_as_they_are(tmp_path):
    class NotWritten(StubTask):
        def training_step(self, model, batch):
            raise NotImplementedError("later")

    with pytest.raises(NotImplementedError, match="^later$"):
        run(tmp_path, task=NotWritten())


def test_an_evaluation_that_does_not_fit_names_its_own_keys(tmp_path):
    class TooLarge(StubTask):
        def eval_step(self, model, batch):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError, match=r"Out of memory in test: CUDA .*: eval.batch_size \(8\)\.$"):
        run(tmp_path, "run.total_steps=1", "eval.splits={test: final}", task=TooLarge())


# ----------------------------------------------------------------------------------------------------------------------
# Batches grouped by length
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(25))
def test_grouped_epochs_show_every_item_once(seed):
    rng = np.random.default_rng(seed)
    num_items, size, window = (int(value) for value in rng.integers([1, 1, 1], [120, 9, 5]))
    lengths = rng.integers(1, 40, num_items)
    order = LengthGroupedOrder(lengths, (seed,), size, window)
    for epoch in range(4):
        keys = [order.key_at(epoch * num_items + place) for place in range(num_items)]
        assert {key.epoch for key in keys} == {epoch}
        assert sorted(key.index for key in keys) == list(range(num_items))
    # a position says the same whatever was asked before
    again = LengthGroupedOrder(lengths, (seed,), size, window)
    for position in rng.integers(0, 9 * num_items, 20).tolist():
        assert again.key_at(position) == order.key_at(position)


def test_grouping_saves_padding_and_still_shuffles():
    lengths = np.random.default_rng(0).integers(5, 60, 1000)
    grouped = LengthGroupedOrder(lengths, (0,), micro_batch_size=8)
    plain = BatchPlan(1000, 8, 8, 1, seed=0)
    ours = BatchPlan(1000, 8, 8, 1, seed=0, order=grouped)

    def padding(plan):
        batches = [[lengths[item.key.index] for item in plan.items(step, 0)] for step in range(1000)]
        return sum(8 * max(batch) - sum(batch) for batch in batches) / sum(8 * max(batch) for batch in batches)

    assert padding(plain) > 0.35
    assert padding(ours) < 0.06
    neighbours = [frozenset(item.key.index for item in ours.items(step, 0)) for step in range(250)]
    assert len(set(neighbours[:125]) & set(neighbours[125:])) < 3  # the second epoch puts others together
    means = [np.mean([lengths[index] for index in batch]) for batch in neighbours[:32]]
    assert abs(np.corrcoef(means, range(32))[0, 1]) < 0.5  # long and short batches take turns


def test_grouped_runs_resume_and_divide_like_others(tmp_path):
    settings = ["data.group_by_length=true", "run.save_every=5"]
    run(tmp_path / "whole", *settings)
    shutil.copytree(tmp_path / "whole", tmp_path / "parts", symlinks=True)
    back_to(5, tmp_path / "parts")
    run(tmp_path / "parts", *settings)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    plans = [
        build_plan(
            StubSet(11), RunSection(global_batch_size=4, micro_batch_size=2), DataSection(group_by_length=True), n
        )
        for n in (1, 2)
    ]
    for step in range(20):
        assert plans[0].items(step, 1) == plans[1].items(step, 1)


def test_a_set_without_lengths_cannot_be_grouped(tmp_path):
    class NoLengths(StubTask):
        def build(self, recipe):
            parts = super().build(recipe)
            del parts.train_set.lengths
            return parts

    with pytest.raises(ValueError, match="data.group_by_length: StubSet has no `lengths`"):
        run(tmp_path, "data.group_by_length=true", task=NoLengths())


# ----------------------------------------------------------------------------------------------------------------------
# Mixed training sets
# ----------------------------------------------------------------------------------------------------------------------


def mixture(sizes=(7, 3), weights=(3, 1), **options):
    return MixedTrainSet([StubSet(size) for size in sizes], weights, seed=5, names=["large", "small"], **options)


def plan_of(mixed, global_batch_size=8, micro_batch_size=2, num_processes=1, **data):
    sizes = RunSection(global_batch_size=global_batch_size, micro_batch_size=micro_batch_size, seed=5)
    return build_plan(mixed, sizes, DataSection(**data), num_processes)


def test_ids_and_items_of_a_mixture():
    mixed = mixture()
    assert len(mixed) == 10
    assert (mixed.ids[0], mixed.ids[6], mixed.ids[7]) == ("large/item0", "large/item6", "small/item0")
    torch.testing.assert_close(mixed[4, 8]["x"], StubSet(3)[4, 1]["x"])


@pytest.mark.parametrize("mix_by", ["item", "micro_batch", "step"])
def test_sets_are_drawn_by_weight_and_their_items_in_epochs(mix_by):
    plan = plan_of(mixture(mix_by=mix_by))
    items = [item for step in range(2000) for micro in range(4) for item in plan.items(step, micro)]
    drawn = Counter("small" if item.key.index >= 7 else "large" for item in items)
    assert drawn["small"] / len(items) == pytest.approx(0.25, abs=0.03)
    assert [item.epoch for item in items[:25]] == [0] * 10 + [1] * 10 + [2] * 5
    for first, size in ((0, 7), (7, 3)):  # each set goes through its own epochs, whole ones but for the last
        own = [item.key for item in items if first <= item.key.index < first + size]
        assert [key.epoch for key in own] == [number // size for number in range(len(own))]
        assert len(set(own)) == len(own)


def test_what_is_drawn_together_comes_from_one_set():
    def sets(items):
        return {item.key.index >= 7 for item in items}

    by_micro, by_step, by_item = (plan_of(mixture(mix_by=mix_by)) for mix_by in ("micro_batch", "step", "item"))
    steps = range(300)
    assert all(len(sets(by_micro.items(step, micro))) == 1 for step in steps for micro in range(4))
    together = [sets([item for micro in range(4) for item in by_step.items(step, micro)]) for step in steps]
    assert all(len(found) == 1 for found in together)
    assert {frozenset(found) for found in together} == {frozenset([True]), frozenset([False])}
    assert any(len(sets(by_micro.items(step, 0) + by_micro.items(step, 1))) == 2 for step in steps)
    assert any(len(sets(by_item.items(step, 0))) == 2 for step in steps)


def test_a_position_of_a_mixture_does_not_depend_on_what_came_before():
    plan, again = plan_of(mixture()), plan_of(mixture())
    expected = [plan.items(step, 0) for step in range(6000)]  # several rounds
    for step in (5999, 0, 4321, 17):
        assert again.items(step, 0) == expected[step]
    other = plan_of(MixedTrainSet([StubSet(7), StubSet(3)], [3, 1], seed=6, names=["large", "small"]))
    assert [other.items(step, 0) for step in range(50)] != expected[:50]
    two = plan_of(mixture(), num_processes=2)
    assert [two.items(step, 3) for step in range(50)] == [plan.items(step, 3) for step in range(50)]


def test_grouping_works_inside_a_mixture():
    mixed = mixture(sizes=(600, 400), weights=(1, 1))
    plan = plan_of(mixed, group_by_length=True)
    lengths = [*mixed.train_sets[0].lengths, *mixed.train_sets[1].lengths]
    spans = [np.ptp([lengths[item.key.index] for item in plan.items(step, 1)]) for step in range(100)]
    assert np.mean(spans) < 0.3
    with pytest.raises(ValueError, match="data.group_by_length needs micro-batches of one set"):
        plan_of(mixture(mix_by="item"), group_by_length=True)


class Mixing(StubTask):
    def build(self, recipe):
        parts = super().build(recipe)
        small = StubSet(4, broken=recipe.data.options.get("broken_small", ()))
        parts.train_set = MixedTrainSet([parts.train_set, small], [1, 1], recipe.run.seed, ["large", "small"])
        return parts


def test_a_run_on_a_mixture_resumes_and_reports_its_own_epochs(tmp_path, caplog):
    settings = ["run.save_every=5", "data.options.broken_small=[2]", "data.on_decode_error=skip"]
    settings.append("data.max_decode_error_rate=0.5")
    run(tmp_path / "whole", *settings, task=Mixing())
    shutil.copytree(tmp_path / "whole", tmp_path / "parts", symlinks=True)
    back_to(5, tmp_path / "parts")
    run(tmp_path / "parts", *settings, task=Mixing())
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert re.search(r"\d of 15 items were skipped .*small/item2", caplog.text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([StubSet(3)], [1, 1], 0), "a weight for each training set, got 2 for 1 sets"),
        (([StubSet(3), StubSet(2)], [1, 0], 0), r"weights above 0, got .*'set1': 0.0"),
        (([StubSet(3), StubSet(2)], [1, 1e-9], 0), "The weights of set1 are below 1/8192"),
        (([StubSet(3), StubSet(0)], [1, 1], 0), "Training sets without items: set1"),
        (([StubSet(3), StubSet(2)], [1, 1], 0, ["a", "a"]), "2 different names"),
        (([StubSet(3), StubSet(2)], [1, 1], 0, None, "epoch"), "mix_by: expected item"),
    ],
)
def test_mixtures_that_cannot_be_drawn_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MixedTrainSet(*arguments)


# ----------------------------------------------------------------------------------------------------------------------
# Weights divided among processes
# ----------------------------------------------------------------------------------------------------------------------


RECIPES = ROOT / "train_scripts" / "recipes" / "accelerate"


def run_divided(name, arguments):
    """`accelerate launch` with a recipe for FSDP2, on two CPU processes."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(RECIPES / name)]
    launcher += [
        "--num_processes",
        "2",
        "--main_process_port",
        "0",
        str(ROOT / "tests" / "helpers" / "divided_on_cpu.py"),
    ]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([*launcher, *arguments], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fsdp2.yaml", "fsdp2_zero2.yaml"])
def test_divided_weights_give_the_losses_of_one_process_and_resume(tmp_path, name):
    settings = ["run.total_steps=6", "run.global_batch_size=8", "run.eval_every=3", "optim.ema_decay=0.9", *TUNING]
    run(tmp_path / "one", *settings)
    log = run_divided(name, ["stub", *settings_of(tmp_path / "two", *settings)])
    assert "2 processes (FSDP)" in log
    assert_same_run(tmp_path / "one", tmp_path / "two", rtol=1e-4, atol=1e-6)
    one, two = (json.loads((tmp_path / folder / "results.json").read_text())["splits"] for folder in ("one", "two"))
    assert two["test"]["metrics"] == pytest.approx(one["test"]["metrics"], rel=1e-4)
    # resumed by as many processes: the same run; by another number: the same but for rounding
    for source, folder in (("two", "again"), ("two", "whole"), ("one", "divided")):
        shutil.copytree(tmp_path / source, tmp_path / folder, symlinks=True)
        back_to(3, tmp_path / folder)
    log = run_divided(name, ["stub", *settings_of(tmp_path / "again", *settings)])
    assert "Resumed from" in log
    assert_same_run(tmp_path / "two", tmp_path / "again")
    run(tmp_path / "whole", *settings)
    assert_same_run(tmp_path / "two", tmp_path / "whole", rtol=1e-4, atol=1e-6)
    run_divided(name, ["stub", *settings_of(tmp_path / "divided", *settings)])
    assert_same_run(tmp_path / "one", tmp_path / "divided", rtol=1e-4, atol=1e-6)
    states = [load_tensors(tmp_path / folder / "checkpoints/last", "optimizer") for folder in ("one", "divided")]
    one, two = (state["optimizer"] for state in states)
    assert one["param_groups"] == two["param_groups"]
    torch.testing.assert_close(one["state"], two["state"], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["retrieval", "pretrain"])
def test_a_divided_clipbert_gives_the_losses_and_scores_of_a_whole_one(tmp_path, name):
    task, settings = RetrievalTask, ["data.negatives=in_batch"]
    data = tmp_path / "data"
    if name == "pretrain":  # words and their decoder, and its bias, are tied
        task, settings = PretrainTask, ["data.dataset=synthetic_images", "data.config=image_text"]
        generate_synthetic_images(data, num_train=10, num_validation=4, num_test=4)
    else:
        generate_shapes(data)
    settings += [
        "run.total_steps=3",
        "run.global_batch_size=8",
        "model.overrides={freeze_backbone_norm: true, num_hidden_layers: 2}",
    ]
    main(task(), retrieval_settings(data, tmp_path / "one", *settings))
    run_divided("fsdp2.yaml", [name, *retrieval_settings(data, tmp_path / "two", *settings)])
    for ours, theirs in zip(steps_of(tmp_path / "one"), steps_of(tmp_path / "two"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    one, two = (json.loads((tmp_path / folder / "results.json").read_text())["splits"] for folder in ("one", "two"))
    assert two["test"]["metrics"] == pytest.approx(one["test"]["metrics"], rel=1e-3)
    weights = [load_file(tmp_path / folder / "checkpoints/last/model.safetensors") for folder in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()
    for key, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][key], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_divided_clipbert_leaves_alone_what_is_frozen_in_a_checkpoint(tmp_path):
    data, start = tmp_path / "data", tmp_path / "start/checkpoints/last"
    generate_shapes(data)
    settings = ["run.total_steps=2", "run.global_batch_size=8", "data.negatives=in_batch"]
    overrides = "model.overrides={freeze_backbone_norm: true, freeze_backbone_stages: 2}"
    main(RetrievalTask(), retrieval_settings(data, tmp_path / "start", *settings, overrides))
    settings += [f"model.from_pretrained={start}", "model.config=null", "model.tokenizer=null"]
    run_divided("fsdp2.yaml", ["retrieval", *retrieval_settings(data, tmp_path / "divided", *settings)])
    model = ClipBERTForVideoTextRetrieval.from_pretrained(start)
    moved = load_file(tmp_path / "divided/checkpoints/last/model.safetensors")
    same = {name for name, parameter in model.named_parameters() if torch.equal(parameter, moved[name])}
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen and same - frozen <= {name for name in same if name.endswith("key.bias")}  # without a gradient
    assert frozen <= same


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_divided_runs_too(tmp_path):
    settings = settings_of(tmp_path, "run.global_batch_size=8", "optim.lr=1.0e+15")
    with pytest.raises(AssertionError, match="NonFiniteLossError: Step 2: loss (nan|inf)"):
        run_divided("fsdp2.yaml", ["stub", *settings])
    assert all(weight.isfinite().all() for weight in weights_of(tmp_path).values())


def test_deepspeed_is_refused_with_what_to_use_instead(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(ValueError, match=r"asks for DeepSpeed.*fsdp2.yaml.*or fsdp2_zero2.yaml"):
        run(tmp_path)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_launch_recipes_are_read_by_accelerate_and_say_how_to_run_them(path):
    config = load_config_from_file(str(path))
    assert config.num_processes >= 1
    assert f"--config_file {path.relative_to(ROOT)}" in path.read_text()
    if config.fsdp_config:
        assert config.fsdp_config["fsdp_version"] == 2


# ----------------------------------------------------------------------------------------------------------------------
# Trouble, through the real script
# ----------------------------------------------------------------------------------------------------------------------


def generate_shapes(folder, num_train=10):
    return generate_synthetic(folder, progress=False, preset="easy", num_train=num_train, num_validation=4, num_test=4)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return generate_shapes(tmp_path_factory.mktemp("options") / "shapes", num_train=20)


def retrieval_settings(shapes, output_dir, *more):
    return tiny_run("synthetic", "retrieval", shapes, output_dir, "run.total_steps=4", *more)


def retrieval(*arguments, wait=True):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "train_scripts" / "retrieval.py"), *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if not wait:
        return process
    output = process.communicate(timeout=300)[0]
    return process.returncode, output


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 KB, where the system lets us make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_with_a_message_and_keeps_what_was_saved(shapes, small_disk, tmp_path):
    settings = ["run.save_every=1", "run.save_total_limit=null"]
    code, output = retrieval(*retrieval_settings(shapes, small_disk / "run", *settings))
    assert code == 1
    assert re.search(r"CheckpointError: Could not write .*/step_0000000\d: .*[Nn]o space left", output), output[-2000:]
    saved = list_checkpoints(small_disk / "run" / "checkpoints")
    assert saved
    assert find_last_checkpoint(small_disk / "run" / "checkpoints") == saved[-1]
    # with room again the same command finishes, and gives what an undisturbed run gives
    shutil.copytree(small_disk / "run", tmp_path / "run", symlinks=True)
    assert main(RetrievalTask(), retrieval_settings(shapes, tmp_path / "run", *settings))["finished"]
    main(RetrievalTask(), retrieval_settings(shapes, tmp_path / "whole", *settings))
    assert steps_of(tmp_path / "run") == steps_of(tmp_path / "whole")


def test_a_full_disk_names_the_log_it_could_not_write(tmp_path, small_disk):
    (small_disk / "filling").write_bytes(bytes(590_000))
    with pytest.raises((OSError, CheckpointError), match=r"Could not write .*[Nn]o space left"):
        run(small_disk / "run", "run.total_steps=300")


def test_a_run_whose_checkpoints_are_all_broken_is_not_begun_again(tmp_path):
    run(tmp_path, "run.save_every=6")
    log = (tmp_path / "log.jsonl").read_text()
    for folder in list_checkpoints(tmp_path / "checkpoints"):
        with open(folder / "model.safetensors", "r+b") as file:
            file.truncate(50)
    with pytest.raises(CheckpointError) as error:
        run(tmp_path, "run.save_every=6")
    for part in ("step_00000006", "step_00000012", "model.safetensors has 50 bytes", "choose another run.output_dir"):
        assert part in str(error.value)
    assert (tmp_path / "log.jsonl").read_text() == log


def test_five_percent_of_broken_videos(shapes, tmp_path, caplog):
    shutil.copytree(shapes, tmp_path / "data")
    broken = sorted((tmp_path / "data" / "train" / "videos").iterdir())[3]
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 3])
    settings = ["data.on_decode_error=skip", "run.total_steps=null", "run.num_epochs=2", "run.global_batch_size=6"]
    result = main(
        RetrievalTask(),
        retrieval_settings(tmp_path / "data", tmp_path / "run", *settings, "data.max_decode_error_rate=0.05"),
    )
    assert result["finished"]
    counts = [record.message for record in caplog.records if "were skipped" in record.message]
    assert [count.split(" items")[0] for count in counts] == ["1 of 20", "1 of 20"]
    assert broken.stem in counts[0]
    with pytest.raises(UndecodableVideosError, match=r"1 of 20 items .* more than data.max_decode_error_rate=0.04"):
        main(
            RetrievalTask(),
            retrieval_settings(tmp_path / "data", tmp_path / "strict", *settings, "data.max_decode_error_rate=0.04"),
        )
    with pytest.raises(
        UndecodableVideosError,
        match=rf"Training item {broken.stem}: .*set data.on_decode_error=skip. .*data.skip_list",
    ):
        main(RetrievalTask(), retrieval_settings(tmp_path / "data", tmp_path / "raise", *settings[1:]))


def test_a_recipe_for_a_missing_dataset_says_what_to_place_where(tmp_path):
    recipe = ROOT / "train_scripts" / "recipes" / "clipbert" / "retrieval_msrvtt.yaml"
    # the precision of the process is fixed by the tests before
    arguments = ["--recipe", str(recipe), "--set", "run.mixed_precision=no"]
    arguments += ["--set", f"run.output_dir={tmp_path}/run", "--set"]
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a folder. It holds .*train_val_annotation.zip"):
        main(RetrievalTask(), [*arguments, f"data.data_dir={tmp_path}/nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"No annotation file of MSRVTT/\w+ in .*empty. Expected for each split"
    ):
        main(RetrievalTask(), [*arguments, f"data.data_dir={tmp_path}/empty"])
    with pytest.raises(RecipeError, match=r"data has no key 'datadir'. Did you mean 'data_dir'\?"):
        main(RetrievalTask(), [*arguments, f"data.datadir={tmp_path}"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.max_text_length=65", r"data.max_text_length=65: the model has positions for texts of 64 tokens"),
        (
            "model.overrides.score_pooling=maximum",
            r"model.config, model.overrides: .*'score_pooling' expected one of",
        ),
    ],
)
def test_what_the_model_cannot_do_is_said_before_training_and_with_its_key(shapes, tmp_path, setting, message):
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        main(RetrievalTask(), retrieval_settings(shapes, tmp_path, setting))
    assert not (tmp_path / "log.jsonl").exists()


def test_tar_archives_are_trained_on_as_a_table(shapes, tmp_path):
    videos = sorted((shapes / "train" / "videos").iterdir())[:6]
    (tmp_path / "tars").mkdir()
    for shard in (0, 1):
        with tarfile.open(tmp_path / "tars" / f"{shard:05d}.tar", "w") as archive:
            for number in range(3 * shard, 3 * shard + 3):
                archive.add(videos[number], f"{number}.mp4")
                caption = f"caption {number}".encode()
                entry = tarfile.TarInfo(f"{number}.txt")
                entry.size = len(caption)
                archive.addfile(entry, io.BytesIO(caption))
    settings = ["data.dataset=webvid", "data.config=webdataset", f"data.data_dir={tmp_path}/tars", "eval.splits={}"]
    settings += ["run.total_steps=null", "run.num_epochs=1", "run.global_batch_size=2"]
    result = main(RetrievalTask(), retrieval_settings(shapes, tmp_path / "run", *settings))
    assert (result["step"], result["finished"]) == (3, True)


@pytest.mark.slow
def test_a_script_that_fails_does_not_wait_for_its_workers(tmp_path):
    """Workers that were deaf to SIGTERM kept a failing script waiting for ever."""
    process = launch(tmp_path, "data.options.broken=[3]", "data.num_workers=1")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert "Training item item3: Cannot decode item3.mp4" in output


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_outlive_a_signal_to_the_whole_group(tmp_path, number):
    """Ctrl-C and schedulers signal every process of a group; the loop still needs its workers for the running step."""
    settings = ["run.total_steps=5000", "data.options.pause_s=0.01", "data.num_workers=1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "tests" / "helpers" / "stub_task.py"), *settings_of(tmp_path, *settings)]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    while not (tmp_path / "log.jsonl").is_file() or (tmp_path / "log.jsonl").read_text().count('"loss"') < 3:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    os.killpg(process.pid, number)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert f"Stopped by {'SIGTERM' if number == signal.SIGTERM else 'Ctrl-C'} after step" in output
    assert "Traceback" not in output and "KeyboardInterrupt" not in output
    assert find_last_checkpoint(tmp_path / "checkpoints") is not None


@pytest.mark.slow
def test_retrieval_killed_ten_times_equals_an_uninterrupted_run(shapes, tmp_path):
    settings = ["run.total_steps=60", "run.save_every=2", "run.eval_every=20", "optim.ema_decay=0.9"]
    settings += ["data.num_workers=1", "data.negatives=in_batch", "eval.splits={validation: tuning, test: final}"]
    settings += ["eval.metric=text_to_video_R@1", "run.save_total_limit=3"]
    main(RetrievalTask(), retrieval_settings(shapes, tmp_path / "whole", *settings))
    arguments, rng = retrieval_settings(shapes, tmp_path / "killed", *settings), random.Random(0)
    log, kills = tmp_path / "killed" / "log.jsonl", 0
    while kills < 10:
        begun = log.read_text().count('"loss"') if log.is_file() else 0
        process = retrieval(*arguments, wait=False)
        wanted = min(begun + rng.randrange(0, 7), 58)
        while not (log.is_file() and log.read_text().count('"loss"') >= wanted):
            assert process.poll() is None, process.communicate()[0][-3000:]
            time.sleep(0.01)
        time.sleep(rng.random() * 0.5)
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    code, output = retrieval(*arguments)
    assert code == 0, output[-3000:]
    assert steps_of(tmp_path / "killed") == steps_of(tmp_path / "whole")
    for name in ("model.safetensors", "trainer/own_weights.pt"):
        whole, killed = (tmp_path / folder / "checkpoints" / "last" / name for folder in ("whole", "killed"))
        if name.endswith(".pt"):
            a, b = (torch.load(path, weights_only=True) for path in (whole, killed))
            assert all(torch.equal(a[key], b[key]) for key in a)
        else:
            assert whole.read_bytes() == killed.read_bytes()


def test_settings_of_the_schedule_are_bounded(tmp_path):
    with pytest.raises(RecipeError, match="optim.plateau_factor: expected at least 0 and at most 1"):
        run(tmp_path, "optim.plateau_factor=2")
    assert OptimSection().ema_decay is None
