# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What users of transformers expect of every model: Auto classes, saving, attention, compile, export, Trainer."""

import copy
import json
import logging
import pickle
import subprocess
import sys

import pytest
import torch
from tiny_models import (
    HEADS,
    MODELS,
    SCORING_HEADS,
    VOCAB_SIZE,
    WIDTH,
    scores,
    tiny_config,
    tiny_inputs,
    tiny_model,
)
from torch.utils.data import Dataset
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMultipleChoice,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoModelForVisualQuestionAnswering,
    Trainer,
    TrainingArguments,
)

from clipbert.modeling_clipbert import (
    ClipBERTForMultipleChoice,
    ClipBERTForPreTraining,
    ClipBERTForRegression,
    ClipBERTForVideoQA,
    ClipBERTForVideoTextRetrieval,
    ClipBERTModel,
)


AUTO_CLASSES = {
    ClipBERTModel: AutoModel,
    ClipBERTForPreTraining: AutoModelForPreTraining,
    ClipBERTForVideoTextRetrieval: AutoModelForSequenceClassification,
    ClipBERTForVideoQA: AutoModelForVisualQuestionAnswering,
    ClipBERTForMultipleChoice: AutoModelForMultipleChoice,
    ClipBERTForRegression: AutoModelForSequenceClassification,
}
ALL_MODELS = pytest.mark.parametrize("model_class", MODELS, ids=lambda model_class: model_class.__name__)
ALL_HEADS = pytest.mark.parametrize("model_class", HEADS, ids=lambda model_class: model_class.__name__)
SAME = {"rtol": 0, "atol": 1e-5}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def assert_same_weights(model, other):
    state, other_state = model.state_dict(), other.state_dict()
    assert state.keys() == other_state.keys()
    for name, tensor in state.items():
        assert tensor.dtype == other_state[name].dtype, name
        torch.testing.assert_close(tensor, other_state[name], rtol=0, atol=0, equal_nan=True, msg=name)


# ----------------------------------------------------------------------------------------------------------------------
# Auto classes, saving and loading
# ----------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
def test_saved_models_come_back_bit_for_bit_through_the_auto_class(model_class, tmp_path):
    model = tiny_model(model_class)
    model.save_pretrained(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    inputs = tiny_inputs(model_class)
    for loader in (model_class, AUTO_CLASSES[model_class]):
        loaded, info = loader.from_pretrained(tmp_path, output_loading_info=True)
        assert type(loaded) is model_class and not loaded.training
        assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert_same_weights(loaded, model)
        torch.testing.assert_close(
            loaded(**inputs).last_hidden_state, model(**inputs).last_hidden_state, rtol=0, atol=0
        )


@ALL_MODELS
def test_saving_what_was_loaded_writes_the_same_bytes(model_class, tmp_path):
    tiny_model(model_class).save_pretrained(tmp_path / "0")
    for turn in range(2):
        model_class.from_pretrained(tmp_path / f"{turn}").save_pretrained(tmp_path / f"{turn + 1}")
    weights = {(tmp_path / turn / "model.safetensors").read_bytes() for turn in "012"}
    configs = {(tmp_path / turn / "config.json").read_text() for turn in "12"}  # loading notes the backbone's dtype
    assert len(weights) == len(configs) == 1


@pytest.mark.parametrize("model_class", [ClipBERTForVideoTextRetrieval, ClipBERTForRegression])
def test_architecture_decides_between_heads_of_one_auto_class(model_class, tmp_path):
    config = tiny_config(model_class, architectures=[model_class.__name__])
    assert type(AutoModelForSequenceClassification.from_config(config)) is model_class


@ALL_HEADS
def test_base_model_of_a_head_and_head_of_a_base_model(model_class, tmp_path):
    head = tiny_model(model_class)
    head.save_pretrained(tmp_path / "head")
    base, info = AutoModel.from_pretrained(tmp_path / "head", output_loading_info=True)
    assert type(base) is ClipBERTModel and not info["missing_keys"]
    assert_same_weights(base, head.clipbert)

    base.save_pretrained(tmp_path / "base")
    config = tiny_config(model_class)
    loaded, info = model_class.from_pretrained(tmp_path / "base", config=config, output_loading_info=True)
    assert_same_weights(loaded.clipbert, base)
    assert info["missing_keys"] and not info["unexpected_keys"]
    assert not any(name.startswith("clipbert.") for name in info["missing_keys"])
    new = {name: parameter for name, parameter in loaded.named_parameters() if not name.startswith("clipbert.")}
    assert not any(parameter.any() for name, parameter in new.items() if name.endswith("bias"))
    assert all(0 < parameter.std() < 0.3 for name, parameter in new.items() if parameter.ndim == 2)


def test_pretrained_weights_go_to_a_task_head(tmp_path):
    pretrained = tiny_model(ClipBERTForPreTraining)
    pretrained.save_pretrained(tmp_path)
    model = ClipBERTForVideoQA.from_pretrained(tmp_path, num_labels=7, score_pooling="lse")
    assert_same_weights(model.clipbert, pretrained.clipbert)
    assert model.classifier.out_proj.out_features == 7


def test_settings_are_overridden_while_loading(tmp_path):
    model, inputs = tiny_model(ClipBERTForVideoTextRetrieval), tiny_inputs()
    model.save_pretrained(tmp_path)
    clip_logits = model(**inputs).clip_logits
    for pooling, expected in (("lse", clip_logits.logsumexp(1)), ("max", clip_logits.amax(1))):
        loaded = ClipBERTForVideoTextRetrieval.from_pretrained(tmp_path, score_pooling=pooling)
        torch.testing.assert_close(loaded(**inputs).logits, expected, rtol=0, atol=0)
    with pytest.raises(TypeError, match="score_poling"):
        ClipBERTForVideoTextRetrieval.from_pretrained(tmp_path, score_poling="lse")


def test_convolutions_of_the_fusion_are_new_identities_when_loaded_over_a_mean(tmp_path):
    tiny_model(ClipBERTModel).save_pretrained(tmp_path)
    inputs = tiny_inputs(num_frames=3)
    expected = ClipBERTModel.from_pretrained(tmp_path)(**inputs).last_hidden_state
    model = ClipBERTModel.from_pretrained(tmp_path, frame_fusion="conv3d")
    torch.testing.assert_close(model(**inputs).last_hidden_state, expected, **SAME)


@ALL_MODELS
def test_copies_and_pickles(model_class):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class)
    expected = model(**inputs).last_hidden_state
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_same_weights(other, model)
        torch.testing.assert_close(other(**inputs).last_hidden_state, expected, rtol=0, atol=0)
    outputs = model(**inputs)
    assert type(pickle.loads(pickle.dumps(outputs))) is type(outputs)


@pytest.mark.slow
def test_importing_prints_nothing():
    done = subprocess.run([sys.executable, "-c", "import clipbert.modeling_clipbert"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ----------------------------------------------------------------------------------------------------------------------
# Word embeddings
# ----------------------------------------------------------------------------------------------------------------------


def test_word_embeddings_and_decoder_are_one_tensor(tmp_path):
    model = tiny_model(ClipBERTForPreTraining)
    words, decoder = model.get_input_embeddings(), model.get_output_embeddings()
    assert decoder.weight is words.weight and decoder.bias is model.cls.predictions.bias
    model.save_pretrained(tmp_path)
    loaded = ClipBERTForPreTraining.from_pretrained(tmp_path)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    loose = ClipBERTForPreTraining.from_pretrained(tmp_path, tie_word_embeddings=False)
    assert loose.get_output_embeddings().weight is not loose.get_input_embeddings().weight


@ALL_MODELS
@pytest.mark.parametrize("size", [VOCAB_SIZE + 13, VOCAB_SIZE - 20])
def test_vocabulary_can_grow_and_shrink(model_class, size, tmp_path):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class)
    inputs["input_ids"] = inputs["input_ids"].clamp(max=70)
    expected = model(**inputs)
    model.resize_token_embeddings(size)
    assert model.config.vocab_size == size and model.get_input_embeddings().weight.shape == (size, WIDTH)
    outputs = model(**inputs)
    torch.testing.assert_close(outputs.last_hidden_state, expected.last_hidden_state, **SAME)
    if model_class is ClipBERTForPreTraining:
        decoder, predictions = model.get_output_embeddings(), outputs.prediction_logits
        assert decoder.weight is model.get_input_embeddings().weight
        assert decoder.bias is model.cls.predictions.bias and decoder.bias.shape == (size,)
        common = min(size, VOCAB_SIZE)
        assert predictions.shape[-1] == size
        torch.testing.assert_close(predictions[..., :common], expected.prediction_logits[..., :common], **SAME)
    model.save_pretrained(tmp_path)
    assert_same_weights(model_class.from_pretrained(tmp_path), model)


# ----------------------------------------------------------------------------------------------------------------------
# Attention implementations, types, devices
# ----------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
def test_sdpa_and_eager_agree(model_class, tmp_path):
    tiny_model(model_class).save_pretrained(tmp_path)
    inputs = tiny_inputs(model_class, num_videos=3)
    assert model_class.from_pretrained(tmp_path).config._attn_implementation == "sdpa"
    states = {}
    for name in ("eager", "sdpa"):
        model = model_class.from_pretrained(tmp_path, attn_implementation=name)
        assert model.config._attn_implementation == name
        states[name] = model(**inputs).last_hidden_state
    torch.testing.assert_close(states["eager"], states["sdpa"], **SAME)


@ALL_MODELS
def test_attention_is_switched_on_a_living_model(model_class, monkeypatch):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class)
    called = []
    fused = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: called.append(1) or fused(*a, **k)
    )
    for name, calls in (("eager", 0), ("sdpa", 2), ("eager", 0)):
        model.set_attn_implementation(name)
        called.clear()
        model(**inputs)
        assert len(called) == calls, name


@pytest.mark.parametrize("name", ["sdpa", "flex_attention"])
def test_attention_weights_are_the_eager_ones(name):
    inputs = tiny_inputs()
    eager, other = tiny_model(ClipBERTModel), tiny_model(ClipBERTModel)
    eager.set_attn_implementation("eager")
    other.set_attn_implementation(name)
    expected, outputs = eager(**inputs, output_attentions=True), other(**inputs, output_attentions=True)
    assert len(outputs.attentions) == 2
    torch.testing.assert_close(outputs.attentions, expected.attentions, **SAME)
    torch.testing.assert_close(outputs.last_hidden_state, expected.last_hidden_state, **SAME)
    assert expected.attentions[0][-1, :, :, :, 5].abs().max() < 1e-6  # the padded token is not looked at


def test_outputs_can_be_asked_for_in_the_config():
    model = tiny_model(ClipBERTModel, output_hidden_states=True)
    outputs = model(**tiny_inputs())
    assert len(outputs.hidden_states) == 3 and "attentions" not in outputs
    assert "hidden_states" not in model(**tiny_inputs(), output_hidden_states=False)


def test_attention_that_is_not_there_is_refused():
    model = tiny_model(ClipBERTModel)
    with pytest.raises((ImportError, ValueError), match="(?i)flash"):
        model.set_attn_implementation("flash_attention_2")  # not installed, or not on a CPU
    with pytest.raises(ValueError, match="loud"):
        model.set_attn_implementation("loud")
    assert model.config._attn_implementation == "sdpa"
    model(**tiny_inputs())


@ALL_HEADS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types(model_class, dtype, tmp_path):
    model, inputs = tiny_model(model_class, initializer_range=0.05), tiny_inputs(model_class, labels=True)
    model.save_pretrained(tmp_path)
    loaded = AUTO_CLASSES[model_class].from_pretrained(tmp_path, dtype=dtype)
    assert {p.dtype for p in loaded.parameters()} == {dtype}
    outputs, expected = loaded(**inputs), model(**inputs)  # pixels may stay float32
    assert outputs.last_hidden_state.dtype == dtype
    assert scores(outputs).dtype == outputs.loss.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(outputs.loss.float(), expected.loss, rtol=0.1, atol=0.1)
    loaded.save_pretrained(tmp_path / "again")
    assert AUTO_CLASSES[model_class].from_pretrained(tmp_path / "again").dtype == dtype


@ALL_HEADS
def test_autocast_trains(model_class):
    model, inputs = tiny_model(model_class).train(), tiny_inputs(model_class, num_videos=3, labels=True)
    inputs["clip_mask"] = torch.tensor([[1, 1], [1, 0], [1, 1]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**inputs).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@ALL_MODELS
@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
def test_device_maps(model_class, device_map, tmp_path):
    model, inputs = tiny_model(model_class), tiny_inputs(model_class)
    model.save_pretrained(tmp_path)
    loaded = model_class.from_pretrained(tmp_path, device_map=device_map)
    inputs = {name: tensor.to(loaded.device) for name, tensor in inputs.items()}
    torch.testing.assert_close(
        loaded(**inputs).last_hidden_state.cpu(),
        model(**{k: v.cpu() for k, v in inputs.items()}).last_hidden_state,
        **SAME,
    )


@pytest.mark.parametrize(
    "split", ["embeddings", "frame_fusion", "visual_embeddings", "grid_encoder", "encoder.layer.0"]
)
def test_parts_may_lie_on_disk(split, tmp_path):
    """Modules whose tables are read without calling them must not be split over devices."""
    settings = {"frame_fusion": "conv2plus1d", "use_temporal_position_embeddings": True}
    model, inputs = tiny_model(ClipBERTModel, **settings), tiny_inputs()
    model.save_pretrained(tmp_path / "model")
    parts = [name for name, _ in model.named_children() if name != "encoder"] + ["encoder.layer.0", "encoder.layer.1"]
    device_map = {name: "disk" if name == split else "cpu" for name in parts}
    loaded = ClipBERTModel.from_pretrained(
        tmp_path / "model", device_map=device_map, offload_folder=tmp_path / "offload"
    )
    assert any(p.device.type == "meta" for p in loaded.parameters())
    torch.testing.assert_close(loaded(**inputs).last_hidden_state, model(**inputs).last_hidden_state, **SAME)


# ----------------------------------------------------------------------------------------------------------------------
# A head that a checkpoint does not have
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def warnings_of_models(caplog):
    """Texts of the warnings of the model's module; transformers does not hand its records on by itself."""
    logger = logging.getLogger("clipbert.modeling_clipbert.modeling_clipbert")
    logger.addHandler(caplog.handler)
    yield lambda: list(dict.fromkeys(record.getMessage() for record in caplog.records if record.name == logger.name))
    logger.removeHandler(caplog.handler)


@ALL_MODELS
@pytest.mark.parametrize("saved_class", MODELS, ids=lambda model_class: model_class.__name__)
def test_a_head_that_was_not_trained_is_reported_by_name(model_class, saved_class, tmp_path, warnings_of_models):
    tiny_model(saved_class).save_pretrained(tmp_path)
    settings = {} if model_class is ClipBERTModel else {"num_labels": tiny_config(model_class).num_labels}
    model = model_class.from_pretrained(tmp_path, ignore_mismatched_sizes=True, **settings)
    warnings = [text for text in warnings_of_models() if text.startswith(f"{model_class.__name__}: ")]
    if model_class in (saved_class, ClipBERTModel):
        assert not warnings
    else:
        assert f"one of {saved_class.__name__}: load that class" in warnings[-1]
        head = {name for name in model.state_dict() if not name.startswith("clipbert.")}
        tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
        assert all(name in warnings[-1] for name in head - tied)


def test_a_head_that_fits_by_name_and_size_alone_is_reported(tmp_path, warnings_of_models):
    tiny_model(ClipBERTForVideoTextRetrieval).save_pretrained(tmp_path)
    AutoModelForVisualQuestionAnswering.from_pretrained(tmp_path)
    (warning,) = warnings_of_models()
    for part in ("ClipBERTForVideoQA", str(tmp_path), "another task", "classifier.dense.weight", "trained"):
        assert part in warning
    assert "New weights" not in warning


def test_a_class_of_the_users_own_is_the_head_it_inherits_from(tmp_path, warnings_of_models):
    class MyQA(ClipBERTForVideoQA):
        pass

    tiny_model(ClipBERTForVideoQA).save_pretrained(tmp_path)
    MyQA.from_pretrained(tmp_path)
    assert not warnings_of_models()


# ----------------------------------------------------------------------------------------------------------------------
# Checkpointing, compile, export
# ----------------------------------------------------------------------------------------------------------------------


@ALL_HEADS
def test_gradient_checkpointing_gives_the_same_gradients(model_class):
    inputs = tiny_inputs(model_class, num_videos=3, labels=True)
    gradients, losses = [], []
    for checkpointing in (False, True):
        model = tiny_model(model_class).train()
        if checkpointing:
            model.activation_checkpointing_enable()
            assert model.is_activation_checkpointing
        layers = []
        model.clipbert.encoder.layer[0].intermediate.register_forward_hook(
            lambda *args, layers=layers: layers.append(1)
        )
        torch.manual_seed(5)  # dropout
        loss = model(**inputs).loss
        loss.backward()
        assert len(layers) == 1 + checkpointing  # computed a second time in the backward pass
        losses.append(loss)
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(losses[0], losses[1])
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], msg=name)


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def some_clips(model_class):
    """Inputs with clips that do not exist, holding NaN, and texts in another order than their videos."""
    inputs = tiny_inputs(model_class, num_videos=3, num_clips=3, labels=True)
    inputs["pixel_values"][0, 1] = torch.nan
    clip_mask = torch.tensor([[1, 0, 1], [1, 1, 1], [0, 0, 1]])
    return {**inputs, "clip_mask": clip_mask, "video_indices": torch.tensor([2, 0, 0])}


@ALL_HEADS
def test_compiled_in_one_graph(model_class, fresh_compiler):
    model, inputs = tiny_model(model_class, num_hidden_layers=1), tiny_inputs(model_class, labels=True)
    outputs = torch.compile(model, fullgraph=True, backend="eager")(**inputs)
    expected = model(**inputs)
    torch.testing.assert_close(scores(outputs), scores(expected), **SAME)
    torch.testing.assert_close(outputs.loss, expected.loss, rtol=1e-5, atol=1e-5)


def loss_and_gradients(model, inputs, call):
    """One step in training, which leaves the model as it was."""
    state = copy.deepcopy(model.state_dict())
    loss = call(**inputs).loss
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.load_state_dict(state)
    return loss, gradients


@pytest.mark.slow
@ALL_HEADS
def test_compiled_training_in_one_graph(model_class, fresh_compiler):
    model = tiny_model(model_class, num_hidden_layers=1, **NO_DROPOUT).train()
    inputs = some_clips(model_class)
    expected_loss, expected = loss_and_gradients(model, inputs, model)
    loss, gradients = loss_and_gradients(model, inputs, torch.compile(model, fullgraph=True, backend="eager"))
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
@ALL_HEADS
@pytest.mark.parametrize("masked", [False, True])
def test_compiled_by_inductor(model_class, masked, fresh_compiler):
    model = tiny_model(model_class, **NO_DROPOUT).train()
    inputs = some_clips(model_class) if masked else tiny_inputs(model_class, num_videos=3, labels=True)
    expected_loss, expected = loss_and_gradients(model, inputs, model)
    loss, gradients = loss_and_gradients(model, inputs, torch.compile(model, fullgraph=True))
    torch.testing.assert_close(loss, expected_loss, rtol=1e-4, atol=1e-4)
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["max", "conv3d", "conv2plus1d", "none"])
def test_compiled_and_exported_with_every_fusion(fusion, fresh_compiler):
    settings = {"frame_fusion": fusion, "use_temporal_position_embeddings": True, "pixel_random_sampling_size": 2}
    model, inputs = (
        tiny_model(ClipBERTForVideoTextRetrieval, num_hidden_layers=1, **settings),
        tiny_inputs(labels=True),
    )
    program = torch.export.export(model, (), inputs, strict=True).module()
    torch.testing.assert_close(program(**inputs).logits, model(**inputs).logits, **SAME)
    loss = torch.compile(model.train(), fullgraph=True, backend="eager")(**inputs).loss  # draws cells
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)


@pytest.mark.slow
def test_compiled_once_for_several_shapes(fresh_compiler):
    model = tiny_model(ClipBERTForVideoTextRetrieval, num_hidden_layers=1)
    compiled = torch.compile(model, fullgraph=True, backend="eager", dynamic=True)
    for num_videos, num_clips, length in ((2, 2, 6), (4, 3, 7)):
        inputs = tiny_inputs(num_videos=num_videos, num_clips=num_clips, length=length)
        torch.testing.assert_close(compiled(**inputs).logits, model(**inputs).logits, **SAME)


def test_compiled_for_encoded_videos(fresh_compiler):
    model, inputs = tiny_model(ClipBERTForVideoTextRetrieval, num_hidden_layers=1), tiny_inputs()
    expected = model(**inputs).logits
    encode = torch.compile(model.encode_videos, fullgraph=True, backend="eager")
    inputs["visual_embeds"] = encode(inputs.pop("pixel_values"))
    outputs = torch.compile(model, fullgraph=True, backend="eager")(**inputs)
    torch.testing.assert_close(outputs.logits, expected, **SAME)


@ALL_MODELS
def test_exported(model_class):
    model, inputs = tiny_model(model_class, num_hidden_layers=1), some_clips(model_class)
    inputs = {name: tensor for name, tensor in inputs.items() if "labels" not in name}
    program = torch.export.export(model, (), inputs, strict=False)
    outputs, expected = program.module()(**inputs), model(**inputs)
    exists = inputs["clip_mask"][0].bool()
    torch.testing.assert_close(outputs.last_hidden_state[-1, exists], expected.last_hidden_state[-1, exists], **SAME)
    if model_class is not ClipBERTModel:
        torch.testing.assert_close(scores(outputs), scores(expected), **SAME)


@pytest.mark.parametrize(
    "model_class, strict",
    [
        pytest.param(
            model_class,
            strict,
            marks=() if (model_class, strict) == (ClipBERTForVideoTextRetrieval, True) else pytest.mark.slow,
            id=f"{model_class.__name__}-{'strict' if strict else 'not strict'}",
        )
        for model_class in MODELS
        for strict in (True, False)
    ],
)
def test_exported_with_any_batch_and_length(model_class, strict):
    model, inputs = tiny_model(model_class, num_hidden_layers=1), tiny_inputs(model_class, num_videos=3)
    batch, length = torch.export.Dim("batch", max=64), torch.export.Dim("length", min=2, max=64)
    of_text = {0: batch, inputs["input_ids"].ndim - 1: length}
    shapes = {"input_ids": of_text, "attention_mask": of_text, "pixel_values": {0: batch}}
    program = torch.export.export(model, (), inputs, dynamic_shapes=shapes, strict=strict).module()
    for num_videos, num_tokens in ((2, 6), (5, 11)):
        inputs = tiny_inputs(model_class, num_videos=num_videos, length=num_tokens)
        torch.testing.assert_close(program(**inputs).last_hidden_state, model(**inputs).last_hidden_state, **SAME)


# ----------------------------------------------------------------------------------------------------------------------
# Trainer
# ----------------------------------------------------------------------------------------------------------------------


class Examples(Dataset):
    """One video with its text and labels per example."""

    def __init__(self, model_class, size=6):
        self.inputs = tiny_inputs(model_class, num_videos=size, labels=True)

    def __len__(self):
        return len(self.inputs["input_ids"])

    def __getitem__(self, index):
        return {name: tensor[index] for name, tensor in self.inputs.items()}


def train_arguments(folder, **settings):
    defaults = {
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 2,
        "max_steps": 2,
        "learning_rate": 1e-3,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "seed": 1,
    }
    return TrainingArguments(output_dir=str(folder), **{**defaults, **settings})


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@ALL_HEADS
def test_trainer_trains_evaluates_and_predicts(model_class, tmp_path):
    model, examples = tiny_model(model_class), Examples(model_class)
    before = copy.deepcopy(model.state_dict())
    trainer = Trainer(model, train_arguments(tmp_path), train_dataset=examples, eval_dataset=examples)
    trainer.train()
    assert len(losses(trainer)) == 2 and all(loss > 0 for loss in losses(trainer))

    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    running = {name for name in before if name.startswith("regressor.norm.")}
    assert trainable - changed <= {name for name in trainable if name.endswith("key.bias")}
    assert changed - trainable - running <= {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}  # tied

    model.eval()
    whole = model(**examples.inputs)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(
        sum(model(**{k: v[i : i + 2] for k, v in examples.inputs.items()}).loss.item() for i in (0, 2, 4)) / 3,
        rel=1e-4,
    )
    predicted = trainer.predict(examples)
    torch.testing.assert_close(torch.tensor(predicted.predictions), scores(whole), **SAME)
    if model_class is ClipBERTForPreTraining:
        words, matching = predicted.label_ids
        assert (words == examples.inputs["mlm_labels"].numpy()).all()
        assert (matching == examples.inputs["itm_labels"].numpy()).all()
    else:
        assert (predicted.label_ids == examples.inputs["labels"].numpy()).all()


@pytest.mark.parametrize("model_class", [ClipBERTForVideoTextRetrieval, ClipBERTForVideoQA, ClipBERTForMultipleChoice])
def test_accumulated_steps_equal_one_large_step(model_class, tmp_path):
    """Guards the loss scale: without `accepts_loss_kwargs = False` the Trainer would add up losses that are means."""
    weights, logged = [], []
    for size, steps in ((4, 1), (2, 2)):
        model = tiny_model(model_class, **NO_DROPOUT)
        arguments = train_arguments(
            tmp_path, per_device_train_batch_size=size, gradient_accumulation_steps=steps, optim="sgd", max_grad_norm=0
        )
        trainer = Trainer(model, arguments, train_dataset=Examples(model_class, size=8))
        trainer.train()
        weights.append(model.state_dict())
        logged.append(losses(trainer))
    assert logged[0] == pytest.approx(logged[1], rel=1e-3)
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-4, atol=1e-6, msg=name)


@ALL_HEADS
def test_trainer_resumes_where_it_stopped(model_class, tmp_path):
    arguments = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    straight = Trainer(
        tiny_model(model_class), train_arguments(tmp_path / "run", **arguments), train_dataset=Examples(model_class)
    )
    straight.train()
    checkpoint = tmp_path / "run" / "checkpoint-2"
    names = {file.name for file in checkpoint.iterdir()}
    assert "model.safetensors" in names and "pytorch_model.bin" not in names
    resumed = Trainer(
        tiny_model(model_class, seed=9),
        train_arguments(tmp_path / "run", **arguments),
        train_dataset=Examples(model_class),
    )
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert losses(resumed) == losses(straight)
    assert_same_weights(resumed.model, straight.model)
    loaded = AUTO_CLASSES[model_class].from_pretrained(tmp_path / "run" / "checkpoint-4")
    assert_same_weights(loaded, straight.model)


def test_trainer_computes_metrics_of_pooled_scores(tmp_path):
    examples = Examples(ClipBERTForVideoQA)

    def accuracy(prediction):
        assert prediction.predictions.shape == (6, 5)
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    model = tiny_model(ClipBERTForVideoQA)
    trainer = Trainer(model, train_arguments(tmp_path), eval_dataset=examples, compute_metrics=accuracy)
    right = (model(**examples.inputs).logits.argmax(-1) == examples.inputs["labels"]).float().mean().item()
    assert trainer.evaluate()["eval_accuracy"] == pytest.approx(right)


# ----------------------------------------------------------------------------------------------------------------------
# Several heads as one table
# ----------------------------------------------------------------------------------------------------------------------


def test_every_model_is_reachable_through_an_auto_class():
    assert set(AUTO_CLASSES) == set(MODELS) and set(SCORING_HEADS) < set(MODELS)
    config = tiny_config()
    assert type(AutoConfig.for_model("clipbert")) is type(config)
    for model_class, auto_class in AUTO_CLASSES.items():
        registered = auto_class._model_mapping[type(config)]
        assert model_class in (registered if isinstance(registered, tuple) else (registered,))


def test_config_file_has_no_private_keys(tmp_path):
    tiny_model(ClipBERTForVideoQA).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert not [key for key in written if key.startswith("_")]
    assert written["architectures"] == ["ClipBERTForVideoQA"] and "auto_map" not in written


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize("training", [False, True])
def test_returned_states_and_attentions_lie_on_the_path_to_the_scores(model_class, training):
    model = tiny_model(model_class).train(training)
    outputs = model(**tiny_inputs(model_class), output_hidden_states=True, output_attentions=True)
    returned = [*outputs.hidden_states, *outputs.attentions]
    for tensor in returned:
        tensor.retain_grad()
    outputs.pooler_output.sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in returned)
    assert outputs.last_hidden_state is outputs.hidden_states[-1]
