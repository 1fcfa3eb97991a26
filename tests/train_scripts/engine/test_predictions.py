# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Predictions on disk: whole, named by their task, and measured again without a model."""

import json
from dataclasses import replace

import numpy as np
import pytest
from stub_task import StubTask, run

from clipbert.train_scripts.engine.draws import evaluate_draws
from clipbert.train_scripts.engine.predictions import (
    Evaluation,
    Predictions,
    read_predictions,
    rescore,
    write_predictions,
)
from clipbert.train_scripts.engine.task import main


class Scaled(StubTask):
    """Its error is measured in units of `eval.batch_size`."""

    rescore_options = ("batch_size",)

    def predict(self, *arguments):
        return replace(super().predict(*arguments), info={"batch_size": 1})

    def measure(self, predictions):
        metrics = super().measure(predictions)
        return {**metrics, "error": metrics["error"] / predictions.info["batch_size"]}


def test_what_is_written_is_read_back_whole(tmp_path):
    rows = [{"id": "a", "gold": 1}, {"id": "b", "gold": None}]
    scores = np.arange(6, dtype=np.float32).reshape(3, 2).T  # not contiguous
    written = Predictions("stub", rows, {"scores": scores}, {"score_pooling": "lse", "video_ids": ["v", "w"]})
    write_predictions(tmp_path / "test", 7, Evaluation({"error": 0.5}, written, {"server.json": ["a"]}))
    found = read_predictions(tmp_path / "test")
    assert (found.task, found.rows, found.info) == (written.task, written.rows, written.info)
    np.testing.assert_array_equal(found.tensors["scores"], scores)
    records = json.loads((tmp_path / "test" / "records.json").read_text())
    assert list(records) == ["task", "step", "metrics", "score_pooling", "video_ids", "rows"]
    assert (records["step"], records["metrics"]) == (7, {"error": 0.5})
    assert json.loads((tmp_path / "test" / "server.json").read_text()) == ["a"]
    assert {path.name for path in (tmp_path / "test").iterdir()} == {
        "records.json",
        "server.json",
        "tensors.safetensors",
    }
    with pytest.raises(ValueError, match=r"\['step'\] have a place of their own"):
        write_predictions(tmp_path, 7, Evaluation({}, Predictions("stub", info={"step": 3})))


def test_a_script_measures_written_predictions_again(tmp_path, capsys):
    metrics = run(tmp_path, "eval.splits={test: final}", task=Scaled())["results"]["test"]["metrics"]
    capsys.readouterr()
    folder = str(tmp_path / "predictions" / "test")
    assert main(Scaled(), ["--rescore", folder]) == metrics == json.loads(capsys.readouterr().out)
    again = main(Scaled(), ["--rescore", folder, "--set", "eval.batch_size=2"])
    assert again == {**metrics, "error": metrics["error"] / 2}
    with pytest.raises(ValueError, match="only --set eval.batch_size=int can be chosen; got --set eval.metric=x"):
        main(Scaled(), ["--rescore", folder, "--set", "eval.metric=x"])
    with pytest.raises(ValueError, match="leaves no choice of score_pooling"):
        rescore(folder, Scaled().measure, {"score_pooling": "max"})


def test_predictions_of_another_task_or_of_an_earlier_version_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no predictions"):
        read_predictions(tmp_path)
    write_predictions(tmp_path / "other", 1, Evaluation({}, Predictions("retrieval", tensors={"x": np.zeros(1)})))
    with pytest.raises(ValueError, match="predictions of the task 'retrieval', not of 'stub'"):
        rescore(tmp_path / "other", StubTask().measure, {}, "stub")
    (tmp_path / "records.json").write_text(json.dumps({"step": 1, "metrics": {}, "video_ids": ["v"], "gold": [0]}))
    with pytest.raises(ValueError, match=r"written by an earlier version.*evaluate the model again"):
        read_predictions(tmp_path)


def test_draws_are_averaged_and_the_first_one_is_kept():
    def evaluate(draw):
        metrics = {"accuracy": float(draw), "coverage": 0.5, "num_examples": 3}
        return Evaluation(metrics, Predictions("stub", [{"draw": draw}], info={"score_pooling": "mean"}))

    assert evaluate_draws(evaluate, 1).metrics == {"accuracy": 0.0, "coverage": 0.5, "num_examples": 3}
    found = evaluate_draws(evaluate, 3)
    assert found.metrics == {
        "accuracy": 1.0,
        "accuracy_std": pytest.approx((2 / 3) ** 0.5),
        "coverage": 0.5,
        "num_examples": 3,
    }
    assert found.predictions.rows == [{"draw": 0}]
    assert found.predictions.info == {"score_pooling": "mean", "num_draws": 3}
