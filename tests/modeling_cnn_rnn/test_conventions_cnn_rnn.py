# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What people do with every model of transformers: compile, export, autocast, checkpoint, copy, train with the Trainer."""

import copy
import pickle
import sys

import pytest
import torch
from tiny_cnn_rnn import BACKBONE, FEATURES, tiny_clips, tiny_config, tiny_model
from torch.export import Dim
from transformers import Trainer, TrainingArguments

from clipbert.modeling_cnn_rnn import CNNRNNForVideoClassification, CNNRNNModel
from clipbert.support.families import registered_models


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def inputs_of(kind, lengths):
    """Frames, their vectors or windows of them, with NaN in padding."""
    if kind == "windows":
        frames, mask = tiny_clips([[length, 0, 2] for length in lengths])
    else:
        frames, mask = tiny_clips(lengths)
    if kind != "vectors":
        return {"pixel_values": frames, "frame_mask": mask}
    vectors = torch.randn(*mask.shape, FEATURES).masked_fill(mask[..., None] == 0, torch.nan)
    return {"frame_features": vectors, "frame_mask": mask}


def assert_exported(model, kind):
    """One program for batches and lengths that it has not seen."""
    batch, length = Dim("batch", min=1, max=64), Dim("length", min=1, max=512)
    inputs = inputs_of(kind, [4, 1, 3])
    shape = {0: batch, 2 if kind == "windows" else 1: length}
    program = torch.export.export(model, (), inputs, dynamic_shapes=dict.fromkeys(inputs, shape)).module()
    for lengths in ([4, 1, 3], [7], [2, 9, 3, 1, 3]):
        inputs = inputs_of(kind, lengths)
        torch.testing.assert_close(program(**inputs).logits, model(**inputs).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_exported_with_any_batch_and_length():
    assert_exported(tiny_model(rnn_type="rnn"), "vectors")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["frames", "windows", "vectors"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("rnn_type", ["rnn", "gru", "lstm"])
def test_exported_of_every_kind(rnn_type, bidirectional, kind):
    pooling = {"frames": "last", "windows": "attention", "vectors": "max"}[kind]
    model = tiny_model(rnn_type=rnn_type, bidirectional=bidirectional, rnn_num_layers=2, pooling=pooling)
    assert_exported(model, kind)


def test_frames_may_stand_anywhere_in_an_exported_program():
    model, inputs = tiny_model(rnn_type="rnn"), inputs_of("vectors", [4, 2])
    inputs = {name: tensor.flip(1) for name, tensor in inputs.items()}
    program = torch.export.export(model, (), inputs).module()
    torch.testing.assert_close(program(**inputs).logits, model(**inputs).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["frames", "windows", "vectors"])
def test_compiled(kind, fresh_compiler):
    model = tiny_model(bidirectional=True, backbone_trainable="all", head_dropout=0).train()
    inputs = {**inputs_of(kind, [4, 1, 3]), "labels": torch.tensor([0, 1, 2])}
    results = []
    for call in (model, torch.compile(model)):
        outputs = call(**inputs)
        model.zero_grad()
        outputs.loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        results.append({"logits": outputs.logits, **gradients})
    assert results[0].keys() == results[1].keys()
    for name, expected in results[0].items():
        torch.testing.assert_close(results[1][name], expected, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("backend", ["packed", "padded"])
@pytest.mark.parametrize("rnn_type", ["rnn", "gru", "lstm"])
def test_autocast_trains(rnn_type, backend):
    model = tiny_model(rnn_type=rnn_type, rnn_backend=backend, bidirectional=True, backbone_trainable="all").train()
    inputs = inputs_of("frames", [4, 1, 3])
    with torch.autocast("cpu", torch.bfloat16):
        model(**inputs, labels=torch.tensor([0, 1, 2])).loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_gives_the_same_gradients(reentrant):
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model(backbone_trainable="last_stage", head_dropout=0).double().train()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
        inputs = inputs_of("frames", [4, 1, 3])
        model(**{**inputs, "pixel_values": inputs["pixel_values"].double()}, labels=torch.arange(3)).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(gradient, gradients[1][name], atol=1e-12) for name, gradient in gradients[0].items())


def test_copies_and_pickles():
    model, inputs = tiny_model(), inputs_of("frames", [2, 3])
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(**inputs).logits, model(**inputs).logits)


def test_every_class_is_reachable_through_an_auto_class():
    found = registered_models(type(tiny_config()))
    assert found["AutoModel"] == (CNNRNNModel,)
    assert found["AutoModelForVideoClassification"] == (CNNRNNForVideoClassification,)


def test_the_trainer_trains_evaluates_and_predicts(tmp_path):
    model = tiny_model(head_dropout=0)
    frames, mask = tiny_clips([4, 1, 3, 2], padding=0.0)
    rows = [
        {"pixel_values": f, "frame_mask": m, "labels": i % 2}
        for i, (f, m) in enumerate(zip(frames, mask, strict=True))
    ]
    settings = {
        "per_device_train_batch_size": 2,
        "max_steps": 40,
        "learning_rate": 0.01,
        "lr_scheduler_type": "constant",
    }
    arguments = TrainingArguments(tmp_path, **settings, report_to=[], disable_tqdm=True, save_strategy="no")
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.2 * before
    predicted = trainer.predict(rows)
    assert predicted.predictions.shape == (4, 5)  # the logits alone
    assert predicted.predictions.argmax(axis=1).tolist() == [0, 1, 0, 1]


def test_models_of_timm():
    pytest.importorskip("timm", reason="timm is not installed")
    backbone = {"model_type": "timm_backbone", "backbone": "vgg11"}
    model = tiny_model(backbone_config=backbone, backbone_trainable="all").train()
    assert model.frame_feature_size == 512
    model(torch.randn(1, 2, 3, 32, 32), labels=torch.tensor([0])).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_without_timm_its_models_are_refused_by_name(monkeypatch):
    if "timm" in sys.modules:
        pytest.skip("timm is installed")
    with pytest.raises(ImportError, match="timm"):
        tiny_model(backbone_config={"model_type": "timm_backbone", "backbone": "vgg11"})
    assert tiny_model(backbone_config=dict(BACKBONE)).frame_feature_size == FEATURES
