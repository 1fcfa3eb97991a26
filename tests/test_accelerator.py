# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
What a GPU does otherwise than a CPU: precision, compiled kernels, transfers. `python -m benchmarks.gpu` runs these tests,
with `--smoke` on a CPU (`CLIPBERT_TEST_DEVICE=cpu`).
"""

import copy
import os

import pytest
import torch
from accelerate.state import AcceleratorState
from tiny_cnn_rnn import tiny_clips
from tiny_cnn_rnn import tiny_model as tiny_cnn_rnn
from tiny_models import tiny_inputs, tiny_model
from tiny_runs import start_from, steps_of, tiny_run

from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.modeling_clipbert import ClipBERTForVideoQA, ClipBERTForVideoTextRetrieval
from clipbert.train_scripts.engine import loop, step
from clipbert.train_scripts.engine.optim import build_optimizer
from clipbert.train_scripts.engine.sections import OptimSection
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.tasks.scoring import VideoBlock, score_blocks


pytestmark = pytest.mark.gpu
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture
def device():
    device = os.environ.get("CLIPBERT_TEST_DEVICE", "cuda")
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False  # float32 as a CPU computes it
    yield device
    torch.backends.cudnn.allow_tf32 = before
    AcceleratorState._reset_state(reset_partial_state=True)  # it remembers the precision of a run


def to(inputs, device):
    return {name: value.to(device) for name, value in inputs.items()}


def train(model, inputs, device, dtype=None, num_steps=8):
    """Losses of a few steps on one batch."""
    optimizer = build_optimizer(model, OptimSection(lr=1e-3))
    losses = []
    for _ in range(num_steps):
        with torch.autocast(torch.device(device).type, dtype, enabled=dtype is not None):
            loss = model(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    settings = {"num_train": 12, "num_validation": 2, "num_test": 4, "size": 48, "num_frames": 8}
    return generate_synthetic(tmp_path_factory.mktemp("data") / "easy", preset="easy", **settings)


def test_training_in_bfloat16_follows_float32(device):
    model = tiny_model(ClipBERTForVideoQA, **NO_DROPOUT).to(device).train()
    inputs = to(tiny_inputs(ClipBERTForVideoQA, num_videos=4, labels=True), device)
    exact = train(copy.deepcopy(model), inputs, device)
    rounded = train(copy.deepcopy(model), inputs, device, torch.bfloat16)
    assert exact[-1] < 0.7 * exact[0]
    assert rounded == pytest.approx(exact, rel=0.05, abs=0.05)
    assert rounded != exact  # it was another precision


def test_a_step_on_the_device_is_that_of_the_cpu(device):
    model = tiny_model(ClipBERTForVideoTextRetrieval, **NO_DROPOUT).train()
    inputs = tiny_inputs(ClipBERTForVideoTextRetrieval, num_videos=4, labels=True)
    expected = train(copy.deepcopy(model), inputs, "cpu", num_steps=3)
    found = train(copy.deepcopy(model).to(device), to(inputs, device), device, num_steps=3)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_compiled_is_eager(device):
    eager = tiny_model(ClipBERTForVideoQA, **NO_DROPOUT).to(device).train()
    compiled = copy.deepcopy(eager)
    compiled.compile()
    inputs = to(tiny_inputs(ClipBERTForVideoQA, labels=True), device)
    outputs = {}
    for name, model in {"eager": eager, "compiled": compiled}.items():
        outputs[name] = model(**inputs)
        outputs[name].loss.backward()
    torch.testing.assert_close(outputs["compiled"].logits, outputs["eager"].logits, rtol=1e-3, atol=1e-3)
    gradients = {name: value.grad for name, value in eager.named_parameters() if value.grad is not None}
    assert len(gradients) > 20
    for name, value in compiled.named_parameters():
        if name in gradients:
            torch.testing.assert_close(value.grad, gradients[name], rtol=1e-2, atol=1e-3)


def test_scores_on_the_device_are_those_of_the_cpu(device):
    model = tiny_model(ClipBERTForVideoTextRetrieval)
    inputs = tiny_inputs(ClipBERTForVideoTextRetrieval, num_videos=3, num_clips=4)
    scores = {}
    for place in ("cpu", device):
        model, given = model.to(place), to(inputs, place)
        with torch.inference_mode():
            block = VideoBlock([0, 1, 2], model.encode_videos(given["pixel_values"]), None)
            scores[place] = score_blocks(
                model, block, [model.encode_texts(given["input_ids"], given["attention_mask"])]
            )
    assert scores["cpu"].std() > 0.1
    torch.testing.assert_close(scores[device], scores["cpu"], rtol=1e-3, atol=1e-3)


def test_a_run_resumes_in_mixed_precision(device, data, tmp_path, monkeypatch):
    if torch.device(device).type == "cpu":
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    settings = ["run.mixed_precision=bf16", "run.total_steps=4", "run.save_every=2", "data.num_workers=1"]
    main(RetrievalTask(), tiny_run("synthetic", "retrieval", data, tmp_path / "whole", *settings))
    stopped = tiny_run("synthetic", "retrieval", data, tmp_path / "parts", *settings)
    with monkeypatch.context() as patch:
        patch.setattr(RetrievalTask, "training_step", stop_at(3))
        with pytest.raises(KeyboardInterrupt):
            main(RetrievalTask(), stopped)
    result = main(RetrievalTask(), stopped)
    assert result["finished"] and result["step"] == 4
    assert [row["loss"] for row in steps_of(tmp_path / "parts")] == pytest.approx(
        [row["loss"] for row in steps_of(tmp_path / "whole")], rel=0.02
    )
    checkpoint = tmp_path / "parts" / "checkpoints" / "last"
    settings = [*settings[:1], "run.total_steps=0", *start_from(checkpoint)]
    again = tiny_run("synthetic", "retrieval", data, tmp_path / "again", *settings)
    assert main(RetrievalTask(), again)["results"]["test"]["metrics"]["num_examples"] == 4


def stop_at(step):
    """A `training_step` that is interrupted in the middle of a run."""
    original, calls = RetrievalTask.training_step, []

    def training_step(self, model, batch):
        calls.append(step)
        if len(calls) > 2 * (step - 1):  # two micro-batches a step
            raise KeyboardInterrupt
        return original(self, model, batch)

    return training_step


@pytest.mark.parametrize("rnn_backend", ["packed", "padded", "auto"])
@pytest.mark.parametrize("rnn_type", ["rnn", "gru", "lstm"])
def test_clips_of_mixed_lengths_on_the_device_are_those_of_the_cpu(rnn_type, rnn_backend, device):
    settings = {"rnn_type": rnn_type, "rnn_backend": rnn_backend, "bidirectional": True, "rnn_num_layers": 2}
    model = tiny_cnn_rnn(**settings, backbone_trainable="all", head_dropout=0).train()
    frames, mask = tiny_clips([4, 1, 3])  # NaN in padding
    inputs = {"pixel_values": frames, "frame_mask": mask, "labels": torch.arange(3)}
    expected = train(copy.deepcopy(model), inputs, "cpu", num_steps=3)
    found = train(copy.deepcopy(model).to(device), to(inputs, device), device, num_steps=3)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_a_step_waits_once(device, data, tmp_path, monkeypatch):
    """Where torch can tell: it raises where anything but the end of a step, where what is logged is read, would wait."""
    if torch.device(device).type != "cuda":
        pytest.skip("torch watches a CUDA device alone; tests/train_scripts/test_no_waiting.py does it on a CPU")
    train_step, average = loop.Trainer.train_step, step.StepSums.average

    def watched(function, mode):
        def call(self, *given):
            before = torch.cuda.get_sync_debug_mode()
            torch.cuda.set_sync_debug_mode(mode)
            try:
                return function(self, *given)
            finally:
                torch.cuda.set_sync_debug_mode(before)

        return call

    monkeypatch.setattr(loop.Trainer, "train_step", watched(train_step, "error"))
    monkeypatch.setattr(step.StepSums, "average", watched(average, "default"))
    for objective, negatives in (("pair", "random"), ("both", "in_batch")):
        settings = [f"model.objective={objective}", f"data.negatives={negatives}", "data.num_workers=1"]
        result = main(RetrievalTask(), tiny_run("synthetic", "retrieval", data, tmp_path / objective, *settings))
        assert result["finished"]


@pytest.mark.parametrize("more", [["run.channels_last=true"], ["run.compile=default", "run.mixed_precision=bf16"]])
def test_other_ways_to_compute_a_run(device, data, tmp_path, monkeypatch, more):
    if torch.device(device).type == "cpu":
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
        if "run.compile=default" in more:
            pytest.skip("it takes minutes on a CPU")
    losses = {}
    for name, settings in {"plain": more[1:], "faster": more}.items():
        settings = [
            *settings,
            "run.total_steps=3",
            *(f"model.overrides.{key}={value}" for key, value in NO_DROPOUT.items()),
        ]
        main(RetrievalTask(), tiny_run("synthetic", "retrieval", data, tmp_path / name, *settings))
        losses[name] = [row["loss"] for row in steps_of(tmp_path / name)]
    assert losses["faster"] == pytest.approx(losses["plain"], rel=0.02)
