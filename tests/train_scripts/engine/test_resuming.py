# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a run that goes on may change and what not, where it goes on from, and what it says of broken checkpoints."""

import json
import os
import shutil
import signal

import pytest
from stub_task import StubTask, assert_same_run, run, steps_of
from tiny_runs import tiny_run

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.support.files import hash_file
from clipbert.support.manifest import CheckpointError
from clipbert.train_scripts.engine.checkpoint import list_checkpoints
from clipbert.train_scripts.engine.data import UndecodableVideosError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalTask


class Listed(StubTask):
    """A training set without the items of `data.skip_list`."""

    def build(self, recipe):
        parts = super().build(recipe)
        parts.train_set.ids = [id for id in parts.train_set.ids if id not in recipe.data.skip_list]
        return parts


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def test_the_advice_of_an_error_is_taken_by_the_run_that_gave_it(tmp_path):
    broken = ["data.options.broken=[5]", "run.save_every=1"]
    with pytest.raises(UndecodableVideosError, match=r"set data.on_decode_error=skip"):
        run(tmp_path, *broken)
    done = len(steps_of(tmp_path))
    assert 0 < done < 12  # in mid-run
    with pytest.raises(UndecodableVideosError, match=r"more than data.max_decode_error_rate=0.01.*raise the limit"):
        run(tmp_path, *broken, "data.on_decode_error=skip")
    result = run(tmp_path, *broken, "data.on_decode_error=skip", "data.max_decode_error_rate=0.2")
    assert result["finished"]
    assert [row["step"] for row in steps_of(tmp_path)] == list(range(1, 13))


@pytest.mark.parametrize(
    "setting",
    ["model.gradient_checkpointing=true", "model.clips_per_chunk=1", "run.push_to_hub=null", "run.hub_private=true"],
)
def test_how_and_where_to_may_change(tmp_path, setting):
    run(tmp_path)
    assert run(tmp_path, setting)["finished"]


def test_a_skip_list_may_change_if_the_training_items_do_not(tmp_path):
    run(tmp_path, "run.save_every=1", task=Listed())
    assert run(tmp_path, "data.skip_list=[test_00002]", task=Listed())["finished"]
    with pytest.raises(CheckpointError, match=r"step_00000012 was trained on other items than .*data.skip_list"):
        run(tmp_path, "data.skip_list=[item5]", task=Listed())


def test_a_data_folder_may_move_with_its_tokenizer_but_not_change_its_words(tmp_path):
    data = generate_synthetic(
        tmp_path / "data", progress=False, preset="easy", num_train=6, num_validation=2, num_test=2
    )
    main(RetrievalTask(), tiny_run("synthetic", "retrieval", data, tmp_path / "run"))
    moved = shutil.move(data, tmp_path / "moved")
    settings = tiny_run("synthetic", "retrieval", moved, tmp_path / "run")
    assert main(RetrievalTask(), settings)["finished"]
    vocabulary = tmp_path / "moved" / "vocab.txt"
    words = vocabulary.read_text().splitlines()
    vocabulary.write_text("\n".join([*words[:-2], words[-1], words[-2]]) + "\n")
    with pytest.raises(CheckpointError, match=r"step_00000002 was trained with another tokenizer: .*model.tokenizer"):
        main(RetrievalTask(), settings)


def test_a_run_begun_elsewhere_goes_on_from_its_own_later_checkpoints(tmp_path, caplog):
    run(tmp_path / "whole", "run.save_every=4", "run.save_total_limit=null")
    elsewhere = f"run.resume={tmp_path}/whole/checkpoints/step_00000004"
    run(tmp_path / "branch", elsewhere, "run.save_every=4")
    (newest,) = list_checkpoints(tmp_path / "branch" / "checkpoints")[1:]
    shutil.rmtree(newest)
    caplog.set_level("INFO", logger="clipbert.train_scripts")
    run(tmp_path / "branch", elsewhere, "run.save_every=4")
    assert f"Resumed from {tmp_path}/branch/checkpoints/step_00000008" in caplog.text
    # a folder of its own is what it says: back to that step
    run(tmp_path / "whole", elsewhere, "run.save_every=4")
    assert f"Resumed from {tmp_path}/whole/checkpoints/step_00000004" in caplog.text


def test_a_checkpoint_of_an_earlier_version_is_said_to_be_one(tmp_path):
    run(tmp_path)
    recipe = tmp_path / "checkpoints" / "last" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("  parts: null", "  vision: null\n  text: null"))
    manifest = recipe.parent / "trainer" / "manifest.json"
    files = json.loads(manifest.read_text())["files"]
    files["recipe.yaml"] = {"size": recipe.stat().st_size, "sha256": hash_file(recipe)}
    manifest.write_text(json.dumps({"files": files}))
    with pytest.raises(CheckpointError, match=r"model has no key 'vision'.*earlier version.*model.from_pretrained"):
        run(tmp_path)


def test_a_broken_start_is_named_with_what_to_do(tmp_path):
    run(tmp_path / "first")
    start = tmp_path / "first" / "checkpoints" / "last"
    cut(start / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model.from_pretrained: .*last is not a whole .* Take another"):
        run(tmp_path / "second", "model.config=null", f"model.from_pretrained={start}")


class Scripted(StubTask):
    """Reports the given errors, one an evaluation of the tuning split."""

    def __init__(self, *errors):
        self.errors = list(errors)

    def measure(self, predictions):
        return {**super().measure(predictions), "error": self.errors.pop(0)}


BEST = ["run.eval_every=2", "run.total_steps=6", "eval.metric=error", "run.save_total_limit=null"]


def test_a_lost_log_does_not_move_the_best_checkpoint(tmp_path):
    settings = [*BEST, "eval.splits={validation: tuning}"]
    run(tmp_path, *settings, task=Scripted(0.1, 0.3, 0.2))
    (tmp_path / "log.jsonl").unlink()
    run(tmp_path, *settings, task=Scripted(0.2))
    assert (tmp_path / "checkpoints" / "best").resolve().name == "step_00000002"
    run(tmp_path, *settings, task=Scripted(0.2))  # and the log knows of it again
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "split" in row] == [2, 4, 6]


def test_a_broken_best_checkpoint_is_named_and_not_evaluated(tmp_path, caplog):
    settings = [*BEST, "eval.splits={validation: tuning, test: final}"]
    run(tmp_path, *settings, task=Scripted(0.1, 0.3, 0.2, 0.4))
    cut(tmp_path / "checkpoints" / "step_00000002" / "model.safetensors")
    result = run(tmp_path, *settings, task=Scripted(0.2, 0.4))
    assert result["results"]["test"]["step"] == 6
    assert "step 2, but " in caplog.text and "model.safetensors has 100 bytes" in caplog.text
    assert "The final splits see the weights of step 6." in caplog.text


class StoppedInEvaluation(StubTask):
    """Sends SIGTERM to its own process at one of the examples of an evaluation."""

    def __init__(self, evaluation, answers_after_it=0):
        self.evaluation, self.answers_after_it = evaluation, answers_after_it

    def evaluate(self, *arguments):
        self.evaluation -= 1
        return super().evaluate(*arguments)

    def eval_step(self, model, batch):
        if self.evaluation == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            self.answers_after_it += 1
        return super().eval_step(model, batch)


@pytest.mark.parametrize(("evaluation", "step"), [(1, 4), (3, 12), (4, 12)], ids=["tuning", "last tuning", "final"])
def test_sigterm_breaks_an_evaluation_off_and_the_next_run_makes_it_again(tmp_path, evaluation, step):
    settings = ["run.eval_every=4", "eval.metric=error", "eval.splits={validation: tuning, test: final}"]
    whole = run(tmp_path / "whole", *settings)["results"]
    task = StoppedInEvaluation(evaluation)
    result = run(tmp_path / "parts", *settings, task=task)
    assert (result["step"], result["finished"]) == (step, False)
    assert task.answers_after_it == 0 and not (tmp_path / "parts" / "results.json").exists()
    result = run(tmp_path / "parts", *settings)
    assert result["finished"] and result["results"] == whole
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


class StoppedBeforeEvaluation(StubTask):
    """Sends SIGTERM to its own process in the last step before the first evaluation."""

    def training_step(self, model, batch):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().training_step(model, batch)

    def evaluate(self, *arguments):
        raise AssertionError("an evaluation was begun")


def test_no_evaluation_is_begun_after_sigterm(tmp_path):
    settings = ["run.eval_every=4", "eval.splits={test: monitor}"]
    assert not run(tmp_path, *settings, task=StoppedBeforeEvaluation())["finished"]
    assert [folder.name for folder in list_checkpoints(tmp_path / "checkpoints")] == ["step_00000004"]
