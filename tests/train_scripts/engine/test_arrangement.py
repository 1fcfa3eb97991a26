# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Ways to compute a run that round otherwise: they are asked for, change nothing else, and go on where they were stopped."""

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import one_thread, steps_of, tiny_run  # noqa: F401

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.train_scripts.engine.arrangement import arrange
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.sections import RunSection
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalTask


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    settings = {"num_train": 12, "num_validation": 2, "num_test": 4, "size": 48, "num_frames": 8}
    return generate_synthetic(tmp_path_factory.mktemp("data") / "easy", preset="easy", **settings)


def run(data, output_dir, *settings):
    result = main(RetrievalTask(), tiny_run("synthetic", "retrieval", data, output_dir, *settings))
    return [row["loss"] for row in steps_of(output_dir)], result


def test_channels_last_is_the_same_run_but_for_rounding(data, tmp_path):
    plain, _ = run(data, tmp_path / "plain")
    losses, _ = run(data, tmp_path / "last", "run.channels_last=true")
    assert losses == pytest.approx(plain, rel=1e-4)
    weights, expected = (
        load_file(tmp_path / name / "checkpoints" / "last" / "model.safetensors") for name in ("last", "plain")
    )
    assert weights.keys() == expected.keys()
    for name, value in weights.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-2, atol=1e-3)


def test_with_channels_last_a_run_goes_on_bit_for_bit(data, tmp_path, monkeypatch):
    settings = ["run.channels_last=true", "run.total_steps=3", "run.save_every=1"]
    whole, _ = run(data, tmp_path / "whole", *settings)
    training_step, calls = RetrievalTask.training_step, []

    def stopped_step(self, model, batch):
        calls.append(batch)
        if len(calls) > 2:  # two micro-batches a step
            raise KeyboardInterrupt
        return training_step(self, model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(RetrievalTask, "training_step", stopped_step)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "parts", *settings)
    parts, _ = run(data, tmp_path / "parts", *settings)
    assert parts == whole
    weights, expected = (
        load_file(tmp_path / name / "checkpoints" / "last" / "model.safetensors") for name in ("parts", "whole")
    )
    assert all(torch.equal(value, expected[name]) for name, value in weights.items())


def test_convolutions_are_laid_out():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv3d(8, 8, 1), torch.nn.Linear(4, 4))
    arrange(model, RunSection(channels_last=True))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last) and not model[0].weight.is_contiguous()
    assert model[1].weight.is_contiguous() and model[2].weight.is_contiguous()
    frames = torch.rand(2, 3, 9, 9)
    assert model[0](frames).is_contiguous(memory_format=torch.channels_last)


def test_a_compiled_run_trains_by_graphs_and_evaluates_as_written(data, tmp_path, monkeypatch):
    plain, expected = run(data, tmp_path / "plain")
    compile_module, modes, graphs, seen = torch.nn.Module.compile, [], [], []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def compile_without_compiler(self, mode):
        modes.append(mode)
        compile_module(self, backend=backend)

    evaluate = RetrievalTask.evaluate

    def counting(*given, **named):
        before = len(graphs)
        result = evaluate(*given, **named)
        seen.append(len(graphs) - before)
        return result

    monkeypatch.setattr(torch.nn.Module, "compile", compile_without_compiler)
    monkeypatch.setattr(RetrievalTask, "evaluate", counting)
    losses, result = run(data, tmp_path / "compiled", "run.compile=max-autotune")
    assert modes == ["max-autotune"] and graphs and seen == [0]
    assert losses == pytest.approx(plain, rel=1e-5)
    metrics = [found["results"]["test"]["metrics"]["text_to_video_mean_rank"] for found in (expected, result)]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["run.compile=default", "run.count_cost=true"], "compiled model are not counted"),
        (["data.prefetch_factor=3"], "need num_workers, which is 0"),
    ],
)
def test_what_does_not_go_together_is_refused(data, tmp_path, settings, message):
    with pytest.raises(RecipeError, match=message):
        run(data, tmp_path, *settings)


def test_workers_decode_ahead(data, tmp_path):
    plain, _ = run(data, tmp_path / "plain")
    ahead, _ = run(data, tmp_path / "ahead", "data.num_workers=1", "data.prefetch_factor=4")
    assert ahead == plain
