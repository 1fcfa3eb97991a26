# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The loop with a ten-line model: accumulation, resume, several processes, evaluation, errors."""

import json
import os
import random
import resource
import signal
import time

import pytest
import torch
from safetensors.torch import load_file
from stub_task import (
    TWO_PROCESSES,
    NoDropout,
    StubModel,
    StubTask,
    assert_same_run,
    launch,
    run,
    steps_of,
    wait_for_step,
)
from tiny_runs import one_thread  # noqa: F401
from torch import nn

from clipbert.support.manifest import CheckpointError
from clipbert.train_scripts.engine.checkpoint import list_checkpoints
from clipbert.train_scripts.engine.data import UndecodableVideosError
from clipbert.train_scripts.engine.finite import NonFiniteLossError
from clipbert.train_scripts.engine.launch import seed_everything
from clipbert.train_scripts.engine.order import BatchPlan, PlannedBatches
from clipbert.train_scripts.engine.predictions import read_predictions


# ----------------------------------------------------------------------------------------------------------------------
# Order and randomness
# ----------------------------------------------------------------------------------------------------------------------


def test_every_epoch_shows_every_item_once_in_another_order():
    plan = BatchPlan(num_items=10, global_batch_size=4, micro_batch_size=2, num_processes=1, seed=0)
    keys = [item.key for batch in PlannedBatches(plan, 0, 5, 0) for item in batch]
    assert [epoch for epoch, _ in keys] == [0] * 10 + [1] * 10
    first, second = ([index for epoch, index in keys if epoch == wanted] for wanted in (0, 1))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert [plan.epoch_at(step) for step in range(6)] == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("num_processes", [1, 2, 4])
def test_micro_batches_do_not_depend_on_processes_or_on_where_a_run_resumes(num_processes):
    plan = BatchPlan(num_items=7, global_batch_size=8, micro_batch_size=2, num_processes=num_processes, seed=3)
    shares = [list(PlannedBatches(plan, 2, 6, process)) for process in range(num_processes)]
    in_turn = [batch for together in zip(*shares, strict=True) for batch in together]
    whole = BatchPlan(num_items=7, global_batch_size=8, micro_batch_size=2, num_processes=1, seed=3)
    assert in_turn == list(PlannedBatches(whole, 0, 6, 0))[2 * 4 :]


def test_batch_sizes_that_cannot_be_divided_are_refused():
    with pytest.raises(ValueError, match=r"global_batch_size=6 .*micro_batch_size=2 on 2 .* multiple of 4"):
        BatchPlan(num_items=7, global_batch_size=6, micro_batch_size=2, num_processes=2, seed=0)
    with pytest.raises(ValueError, match="no items"):
        BatchPlan(num_items=0, global_batch_size=6, micro_batch_size=2, num_processes=1, seed=0)


def test_seed_everything_mixes_all_numbers():
    def draw(*numbers):
        seed_everything(*numbers)
        return random.random(), float(torch.rand(()))

    draws = [draw(1, 2, 3), draw(1, 2, 4), draw(1, 3, 3), draw(2, 2, 3)]
    assert len(set(draws)) == 4
    assert draw(1, 2, 3) == draws[0]


# ----------------------------------------------------------------------------------------------------------------------
# Training
# ----------------------------------------------------------------------------------------------------------------------


def test_a_run_learns_logs_saves_and_evaluates(tmp_path):
    result = run(
        tmp_path,
        "run.total_steps=150",
        "run.eval_every=50",
        "eval.splits={validation: tuning, test: final}",
        "eval.metric=error",
        "eval.metric_goal=min",
    )
    rows = steps_of(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, 151))
    assert rows[0].keys() >= {"epoch", "loss", "mean_x", "grad_norm", "lr"}
    assert sum(row["loss"] for row in rows[-20:]) < 0.3 * sum(row["loss"] for row in rows[:20])
    assert (result["step"], result["finished"]) == (150, True)
    assert result["results"]["test"]["metrics"]["num_examples"] == 7
    written = json.loads((tmp_path / "results.json").read_text())["splits"]
    assert written == result["results"]
    records = json.loads((tmp_path / "predictions" / "test" / "records.json").read_text())
    assert (records["task"], records["rows"][0]) == ("stub", {"id": "item0"})
    predictions = read_predictions(tmp_path / "predictions" / "test")
    assert StubTask().measure(predictions) == records["metrics"] == written["test"]["metrics"]


def test_a_checkpoint_is_a_folder_that_from_pretrained_reads_with_its_recipe(tmp_path):
    run(tmp_path, "optim.lr=3e-3")
    folder = tmp_path / "checkpoints" / "last"
    assert StubModel.from_pretrained(folder).config.width == 6
    assert StubTask.recipe_class.load(folder / "recipe.yaml").optim.lr == 3e-3


@pytest.mark.parametrize("micro_batch_size", [1, 2, 4])
def test_accumulation_gives_the_same_as_one_batch(tmp_path, micro_batch_size):
    run(tmp_path / "whole", "run.global_batch_size=8", "run.micro_batch_size=8", task=NoDropout())
    run(tmp_path / "parts", "run.global_batch_size=8", f"run.micro_batch_size={micro_batch_size}", task=NoDropout())
    assert_same_run(tmp_path / "whole", tmp_path / "parts", rtol=2e-4, atol=1e-5)


def test_summed_accumulation_multiplies_the_gradient(tmp_path):
    run(tmp_path / "mean", "run.total_steps=1", "run.global_batch_size=8")
    run(tmp_path / "sum", "run.total_steps=1", "run.global_batch_size=8", "optim.accumulation=sum")
    (mean,), (summed,) = steps_of(tmp_path / "mean"), steps_of(tmp_path / "sum")
    assert summed["loss"] == mean["loss"]
    assert summed["grad_norm"] == pytest.approx(4 * mean["grad_norm"])


def test_gradients_are_clipped_to_the_norm(tmp_path):
    seen = []

    class Watching(StubTask):
        def training_step(self, model, batch):
            self.model = model
            return super().training_step(model, batch)

    task = Watching()
    real = torch.optim.AdamW.step

    def step(optimizer, closure=None):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        seen.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
        return real(optimizer, closure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        run(tmp_path, "optim.max_grad_norm=0.01", "run.total_steps=2", task=task)
    assert seen == pytest.approx([0.01, 0.01], rel=1e-3)
    assert all(row["grad_norm"] > 0.01 for row in steps_of(tmp_path))


def test_epochs_count_items(tmp_path):
    result = run(tmp_path, "run.total_steps=null", "run.num_epochs=3")
    assert result["step"] == 9  # ceil(3 * 11 / 4)
    assert steps_of(tmp_path)[-1]["epoch"] == pytest.approx(36 / 11, abs=1e-4)


def test_no_steps_means_evaluation_only(tmp_path):
    run(tmp_path / "first")
    result = run(
        tmp_path / "second",
        "model.config=null",
        f"model.from_pretrained={tmp_path / 'first' / 'checkpoints' / 'last'}",
        "run.total_steps=0",
        "eval.splits={test: final}",
    )
    assert result["results"]["test"]["step"] == 0
    assert list_checkpoints(tmp_path / "second" / "checkpoints") == []


def test_tensorboard_receives_the_values(tmp_path):
    pytest.importorskip("tensorboard")
    run(tmp_path, "run.total_steps=2", "run.log_with=[tensorboard]")
    assert list((tmp_path / "trackers").rglob("events.*"))


def test_unknown_tracker_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"run.log_with: 'tensorbord' is not installed"):
        run(tmp_path, "run.log_with=[tensorbord]")


@pytest.mark.slow
@pytest.mark.skipif(torch.accelerator.is_available(), reason="fp16 is for accelerators")
def test_fp16_without_a_gradient_scaler_is_refused(tmp_path):
    process = launch(tmp_path, "run.mixed_precision=fp16")  # a process of its own: accelerate keeps the precision
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "run.mixed_precision=fp16 has no gradient scaler on cpu" in output


def test_unknown_split_is_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"eval.splits names \['dev'\]; the task offers \['test', 'validation'\]"):
        run(tmp_path, "eval.splits={dev: final}")
    assert not (tmp_path / "log.jsonl").exists()


def test_unknown_metric_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"eval.metric='eror' is not among error, num_examples"):
        run(tmp_path, "eval.splits={validation: tuning}", "eval.metric=eror", "run.eval_every=2")


# ----------------------------------------------------------------------------------------------------------------------
# Best and last
# ----------------------------------------------------------------------------------------------------------------------


class WorseLater(StubTask):
    """Reports 0.3 after two steps, 0.1 after four, then grows: step 4 is the best."""

    def measure(self, predictions):
        self.count = getattr(self, "count", 0) + 1
        return {"error": {1: 0.3, 2: 0.1}.get(self.count, 0.5), "num_examples": len(predictions.rows)}

    def evaluate(self, model, *arguments):
        self.last_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        return super().evaluate(model, *arguments)


def test_the_best_checkpoint_is_kept_and_makes_the_final_evaluation(tmp_path):
    task = WorseLater()
    result = run(
        tmp_path,
        "run.eval_every=2",
        "run.save_total_limit=2",
        "eval.splits={validation: tuning, test: final}",
        "eval.metric=error",
        "eval.metric_goal=min",
        task=task,
    )
    root = tmp_path / "checkpoints"
    assert [folder.name for folder in list_checkpoints(root)] == ["step_00000004", "step_00000010", "step_00000012"]
    assert (root / "best").resolve().name == "step_00000004"
    assert (root / "last").resolve().name == "step_00000012"
    assert result["results"]["test"]["step"] == 4
    best = StubModel.from_pretrained(root / "best").state_dict()
    assert all(torch.equal(best[name], task.last_weights[name]) for name in best)


def test_the_last_weights_make_the_final_evaluation_where_the_recipe_wants_it(tmp_path, caplog):
    caplog.set_level("INFO", logger="clipbert.train_scripts")
    settings = ["eval.splits={validation: tuning, test: final}", "eval.metric=error", "eval.metric_goal=min"]
    settings += ["run.eval_every=2", "run.patience=2", "eval.final_checkpoint=last"]
    task = WorseLater()
    result = run(tmp_path, *settings, task=task)
    root = tmp_path / "checkpoints"
    assert (root / "best").resolve().name == "step_00000004"
    assert result["step"] == result["results"]["test"]["step"] == 8  # where the run stopped
    last = StubModel.from_pretrained(root / "last").state_dict()
    assert all(torch.equal(last[name], task.last_weights[name]) for name in last)
    assert f"--checkpoint {root}/last" in caplog.text


# ----------------------------------------------------------------------------------------------------------------------
# Stopping and resuming
# ----------------------------------------------------------------------------------------------------------------------


class StoppedAt(StubTask):
    """Sends SIGTERM to its own process in one step."""

    def __init__(self, step):
        self.calls_left = 2 * step

    def training_step(self, model, batch):
        self.calls_left -= 1
        if self.calls_left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().training_step(model, batch)


@pytest.mark.parametrize("stop", [1, 4, 11])
def test_sigterm_saves_and_the_resumed_run_equals_one_without_interruption(tmp_path, stop):
    run(tmp_path / "whole")
    result = run(tmp_path / "parts", task=StoppedAt(stop))
    assert (result["step"], result["finished"]) == (stop, False)
    assert (tmp_path / "parts" / "checkpoints" / "last").resolve().name == f"step_{stop:08d}"
    # neither workers nor evaluations nor checkpoints change what is learned
    result = run(
        tmp_path / "parts", "data.num_workers=2", "run.eval_every=3", "run.save_every=5", "eval.splits={test: monitor}"
    )
    assert result["finished"]
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
def test_runs_with_the_optimizers_of_torch_resume_exactly(tmp_path, optimizer):
    settings = [f"optim.optimizer={optimizer}", "optim.groups={head: {lr: 0.01, weight_decay: 0.1}}"]
    run(tmp_path / "whole", *settings)
    assert run(tmp_path / "parts", *settings, task=StoppedAt(5))["step"] == 5
    run(tmp_path / "parts", *settings)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_is_not_trained_again(tmp_path):
    run(tmp_path, "eval.splits={test: final}")
    before = (tmp_path / "log.jsonl").read_text()
    result = run(tmp_path, "eval.splits={test: final}")
    assert result["finished"]
    assert (tmp_path / "log.jsonl").read_text() == before


def kill_and_resume(tmp_path, rng):
    """Kill the process after a random step and a random part of the next one; resume until it is finished."""
    more = ["run.total_steps=30", "run.save_every=4", "data.options.pause_s=0.002", "run.eval_every=7"]
    more += ["eval.splits={validation: tuning}", "eval.metric=error", "eval.metric_goal=min", "data.num_workers=1"]
    more += ["optim.ema_decay=0.8", "optim.schedule=plateau", "optim.plateau_patience=1", "data.group_by_length=true"]
    run(tmp_path / "whole", *more)
    process = launch(tmp_path / "killed", *more)
    wait_for_step(tmp_path / "killed", rng.randrange(1, 27), process)
    time.sleep(rng.random() * 0.05)
    process.kill()
    output = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, output
    assert len(steps_of(tmp_path / "killed")) < 30
    result = run(tmp_path / "killed", *more)
    assert result["finished"]
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert (tmp_path / "whole/checkpoints/best").resolve().name == (
        tmp_path / "killed/checkpoints/best"
    ).resolve().name


@pytest.mark.slow
def test_kill_at_a_random_moment_and_resume(tmp_path):
    kill_and_resume(tmp_path, random.Random())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_kill_at_ten_random_moments_and_resume(tmp_path, seed):
    kill_and_resume(tmp_path, random.Random(seed))


def test_sigterm_ends_the_process_cleanly(tmp_path):
    process = launch(tmp_path, "run.total_steps=2000", "data.options.pause_s=0.002", "data.num_workers=1")
    wait_for_step(tmp_path, 3, process)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert "Stopped by SIGTERM after step" in output
    stopped_at = len(steps_of(tmp_path))
    assert (tmp_path / "checkpoints" / "last").resolve().name == f"step_{stopped_at:08d}"


def test_another_recipe_does_not_resume_a_checkpoint(tmp_path):
    run(tmp_path, "run.total_steps=2")
    with pytest.raises(CheckpointError, match=r"another recipe \(optim.lr: 0.01 != 0.05; here != there\)"):
        run(tmp_path, "run.total_steps=2", "optim.lr=0.01")
    with pytest.raises(CheckpointError, match=r"run.resume=never, but .* holds step_00000002"):
        run(tmp_path, "run.total_steps=2", "run.resume=never")


def test_resume_from_a_named_checkpoint(tmp_path):
    run(tmp_path / "whole", "run.save_every=4", "run.save_total_limit=null")
    run(tmp_path / "branch", f"run.resume={tmp_path}/whole/checkpoints/step_00000004")
    assert steps_of(tmp_path / "branch") == steps_of(tmp_path / "whole")[4:]


def test_a_checkpoint_cut_in_half_is_passed_over(tmp_path, caplog):
    run(tmp_path / "whole")
    run(tmp_path / "cut", "run.save_every=4")
    newest = tmp_path / "cut" / "checkpoints" / "step_00000012" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])
    run(tmp_path / "cut", "run.save_every=4")
    assert "step_00000012 is not a whole checkpoint: model.safetensors has 100 bytes" in caplog.text
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


class FullDisk(StubTask):
    """After two steps no file can grow beyond 3000 bytes, which is too little for the optimizer's state."""

    def training_step(self, model, batch):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
        return super().training_step(model, batch)


def test_a_disk_that_fills_up_costs_nothing_already_saved(tmp_path):
    run(tmp_path / "whole")
    try:
        with pytest.raises(CheckpointError, match=r"Could not write .*step_00000004"):
            run(tmp_path / "full", "run.save_every=2", task=FullDisk())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert [path.name for path in list_checkpoints(tmp_path / "full" / "checkpoints")] == ["step_00000002"]
    run(tmp_path / "full", "run.save_every=2")
    assert_same_run(tmp_path / "whole", tmp_path / "full")


# ----------------------------------------------------------------------------------------------------------------------
# Several processes
# ----------------------------------------------------------------------------------------------------------------------


def test_two_processes_give_the_losses_of_one(tmp_path):
    more = ["run.total_steps=6", "run.global_batch_size=8", "eval.splits={test: monitor}", "eval.batch_size=2"]
    more += [
        "run.save_every=3",
        "data.on_decode_error=skip",
        "data.options.broken=[4]",
        "data.max_decode_error_rate=1",
    ]
    run(tmp_path / "one", *more)
    process = launch(
        tmp_path / "two", *more, launcher=(*TWO_PROCESSES, "--main_process_port", "0"), ACCELERATE_USE_CPU="true"
    )
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert "2 items x 2 micro-steps x 2 processes" in output
    assert_same_run(tmp_path / "one", tmp_path / "two", rtol=1e-4, atol=1e-6)
    one, two = (
        json.loads((tmp_path / name / "results.json").read_text())["splits"]["test"] for name in ("one", "two")
    )
    assert two["metrics"] == pytest.approx(
        one["metrics"], rel=1e-4
    )  # 7 examples in batches of 2: none is counted twice
    # what two processes have saved goes on in one
    (tmp_path / "two/checkpoints/step_00000006/trainer/manifest.json").unlink()
    run(tmp_path / "two", *more)
    assert_same_run(tmp_path / "one", tmp_path / "two", rtol=1e-4, atol=1e-6)


def test_processes_that_do_not_know_of_each_other_are_refused(tmp_path, monkeypatch):
    """`accelerate launch --num_processes 2` without ACCELERATE_USE_CPU trains twice into the same folder."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were launched.*ACCELERATE_USE_CPU=true"):
        run(tmp_path)


# ----------------------------------------------------------------------------------------------------------------------
# Bad numbers and bad videos
# ----------------------------------------------------------------------------------------------------------------------


class NotFinite(StubTask):
    def training_step(self, model, batch):
        losses, report = super().training_step(model, batch)
        self.seen = getattr(self, "seen", 0) + 1
        if self.seen == 6:
            losses["loss"] = losses["loss"] * float("nan")
        return losses, report


def test_a_loss_that_is_not_finite_stops_and_names_step_and_items(tmp_path):
    plan = BatchPlan(num_items=11, global_batch_size=4, micro_batch_size=2, num_processes=1, seed=42)
    items = [f"item{item.key.index}" for item in plan.items(step=2, micro_batch=1)]
    with pytest.raises(NonFiniteLossError) as error:
        run(tmp_path / "stopped", task=NotFinite())
    assert f"Step 3: loss nan, gradient norm nan, items {items}" in str(error.value)
    assert f"The weights before it are in {tmp_path}/stopped/checkpoints/step_00000002" in str(error.value)
    # nothing of the step is left behind, so the run goes on as if it had never been tried
    run(tmp_path / "whole")
    run(tmp_path / "stopped")
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


class Normalised(NotFinite):
    """Its batch norm takes in what is not a number."""

    def build(self, recipe):
        parts = super().build(recipe)
        parts.model.grid_encoder = nn.Sequential(parts.model.grid_encoder, nn.BatchNorm1d(parts.model.config.width))
        return parts

    def training_step(self, model, batch):
        poisoned = getattr(self, "seen", 0) == 5
        inputs = {**batch.inputs, "x": batch.inputs["x"] * (float("nan") if poisoned else 1)}
        return super().training_step(model, batch._replace(inputs=inputs))


def test_statistics_of_the_step_that_is_not_finite_are_not_saved(tmp_path):
    with pytest.raises(NonFiniteLossError, match="step_00000002"):
        run(tmp_path, task=Normalised())
    saved = load_file(tmp_path / "checkpoints" / "last" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in saved.values())
    assert saved["grid_encoder.1.num_batches_tracked"] == 4


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    class Broken(StubTask):
        def build(self, recipe):
            parts = super().build(recipe)
            parts.model.head.weight.data.fill_(float("nan"))
            return parts

    with pytest.raises(NonFiniteLossError, match=r"items \[.*\]. Look at these items"):
        run(tmp_path, task=Broken())
    assert list_checkpoints(tmp_path / "checkpoints") == []


def test_a_broken_video_stops_by_default(tmp_path):
    with pytest.raises(
        UndecodableVideosError, match="Training item item5: Cannot decode item5.mp4: it is broken .*data.skip_list"
    ):
        run(tmp_path, "data.options.broken=[5]")


def test_broken_videos_are_skipped_counted_and_limited(tmp_path, caplog):
    skip = ["data.on_decode_error=skip", "data.options.broken=[5]", "run.total_steps=9"]
    run(tmp_path / "skipped", *skip, "data.max_decode_error_rate=0.2")
    counts = [record.message for record in caplog.records if "items were skipped" in record.message]
    assert [count.split(" items")[0] for count in counts] == ["1 of 11"] * 4  # three whole epochs, and one begun
    assert "because their videos cannot be decoded (item5: Cannot decode item5.mp4: it is broken)" in counts[0]
    with pytest.raises(UndecodableVideosError, match=r"1 of 11 .* more than data.max_decode_error_rate=0.05"):
        run(tmp_path / "too_many", *skip, "data.max_decode_error_rate=0.05")


@pytest.mark.parametrize("micro_batch_size", [1, 2, 4])
def test_skipped_items_weigh_nothing_however_the_batch_is_divided(tmp_path, micro_batch_size):
    more = ["data.on_decode_error=skip", "data.options.broken=[5, 6, 7]", "data.max_decode_error_rate=1"]
    for name, size in (("whole", 4), ("parts", micro_batch_size)):
        run(tmp_path / name, *more, f"run.micro_batch_size={size}", task=NoDropout())
    assert_same_run(tmp_path / "whole", tmp_path / "parts", rtol=2e-4, atol=1e-5)


def test_nothing_decodable_at_all(tmp_path):
    with pytest.raises(UndecodableVideosError, match="None of the 3 training items can be decoded"):
        run(tmp_path, "data.on_decode_error=skip", "data.options={num_items: 3, broken: [0, 1, 2]}")


def test_skipped_items_are_remembered_when_the_run_resumes(tmp_path, caplog):
    more = [
        "data.on_decode_error=skip",
        "data.options.broken=[0, 1, 2, 3, 4, 5, 6, 7]",
        "data.max_decode_error_rate=1",
    ]
    plan = BatchPlan(num_items=11, global_batch_size=4, micro_batch_size=2, num_processes=1, seed=42)
    (twelfth,) = plan.items(step=2, micro_batch=1)[1:]
    expected = ["8 of 11", "1 of 11"] if twelfth.key.index < 8 else ["8 of 11"]
    run(tmp_path, *more, "run.total_steps=3", task=StoppedAt(2))
    assert "items were skipped" not in caplog.text  # the first epoch was not over
    run(tmp_path, *more, "run.total_steps=3")
    counts = [record.message.split(" items")[0] for record in caplog.records if "were skipped" in record.message]
    assert counts == expected
