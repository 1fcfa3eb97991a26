# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What people do with every model of transformers: save, load, freeze, compile, export, checkpoint, train with the Trainer."""

import copy
import json
import pickle

import pytest
import torch
from clean_process import run_without_package
from tiny_mug_stan import CLIPS, tiny_clip, tiny_config, tiny_model, tiny_texts, tiny_videos
from torch.export import Dim
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForVideoClassification,
    Trainer,
    TrainingArguments,
)
from transformers.dynamic_module_utils import custom_object_save

from clipbert.modeling_mug_stan import (
    MugSTANForActionDetection,
    MugSTANForVideoClassification,
    MugSTANForVideoTextRetrieval,
    MugSTANModel,
)
from clipbert.support.families import find_head, registered_models


AUTO_CLASSES = {
    MugSTANModel: AutoModel,
    MugSTANForVideoTextRetrieval: AutoModelForSequenceClassification,
    MugSTANForVideoClassification: AutoModelForVideoClassification,
    MugSTANForActionDetection: AutoModelForSequenceClassification,
}
ALL_MODELS = pytest.mark.parametrize("model_class", AUTO_CLASSES, ids=lambda model_class: model_class.__name__)


def ready_model(model_class, **fields):
    """A model that has its classes, if it needs them."""
    model = tiny_model(model_class, **fields)
    if model_class is MugSTANForVideoClassification:
        model.set_class_tokens(*tiny_texts([4, 6, 3]))
    return model


def inputs_of(model_class, num_videos=2):
    videos, (input_ids, mask) = tiny_videos(num_videos, 3), tiny_texts([5, 7, 4][:num_videos])
    if model_class is MugSTANForVideoClassification:
        return {"pixel_values": videos, "labels": torch.arange(num_videos)}
    if model_class is MugSTANForActionDetection:
        boxes = torch.tensor([[1.0, 2.0, 20.0, 22.0], [0.0, 0.0, 24.0, 24.0], [3.0, 4.0, 9.5, 11.0]])
        indices = torch.tensor([0, num_videos - 1, 0])
        return {"pixel_values": videos, "boxes": boxes, "video_indices": indices, "labels": torch.ones(3, 2)}
    return {"pixel_values": videos, "input_ids": input_ids, "attention_mask": mask}


def main_name(model_class):
    return {MugSTANModel: "frame_features", MugSTANForVideoTextRetrieval: "logits_per_text"}.get(model_class, "logits")


def main_output(model_class, outputs):
    return outputs[main_name(model_class)]


# ----------------------------------------------------------------------------------------------------------------------
# Saving, loading, freezing
# ----------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize(
    ("model_class", "clip"),
    [
        *((model_class, "clip") for model_class in AUTO_CLASSES),
        *((MugSTANForVideoTextRetrieval, clip) for clip in CLIPS if clip != "clip"),
        (MugSTANForVideoClassification, "siglip"),
    ],
)
def test_saved_models_come_back_bit_for_bit(model_class, clip, tmp_path):
    model, inputs = ready_model(model_class, clip=clip, similarity="wti"), inputs_of(model_class)
    model.save_pretrained(tmp_path)
    for loader in (model_class, AUTO_CLASSES[model_class]):
        loaded, info = loader.from_pretrained(tmp_path, output_loading_info=True)
        assert type(loaded) is model_class and not loaded.training
        assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        state = loaded.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
        # where a weight lies in memory decides by which kernel some processors multiply it
        found, expected = (main_output(model_class, each(**inputs)) for each in (loaded, model))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
        assert trained(loaded) == trained(model)
    assert AutoConfig.from_pretrained(tmp_path).layers_read == [[3, 4]]


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_every_class_is_reachable_through_an_auto_class():
    found = registered_models(type(tiny_config()))
    assert {cls for classes in found.values() for cls in classes} == set(AUTO_CLASSES)
    for head in ("VideoTextRetrieval", "VideoClassification", "ActionDetection"):
        assert find_head(type(tiny_config()), head).__name__ == f"MugSTANFor{head}"


def test_a_retrieval_model_becomes_a_classifier_and_a_detector(tmp_path):
    retrieval = tiny_model()
    retrieval.save_pretrained(tmp_path)
    for model_class in (MugSTANForVideoClassification, MugSTANForActionDetection):
        model, info = model_class.from_pretrained(tmp_path, num_labels=3, output_loading_info=True)
        assert all(name.startswith(("class_", "classifier.")) for name in info["missing_keys"])
        state = model.mug_stan.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in retrieval.mug_stan.state_dict().items())
    classifier = MugSTANForVideoClassification.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="call set_classes"):
        classifier(tiny_videos(1, 2))


def test_a_new_branch_around_saved_clips_copies_their_layers(tmp_path):
    plain = tiny_model(stan_num_layers=0)
    plain.save_pretrained(tmp_path)
    model, info = MugSTANForVideoTextRetrieval.from_pretrained(tmp_path, stan_num_layers=2, output_loading_info=True)
    assert info["missing_keys"] and all(".branches.0." in name for name in info["missing_keys"])
    base = model.mug_stan
    for own, theirs in base.branches[0].copied_layers(base.clip_layers):
        assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in own.state_dict().items())
    assert not base.branches[0].temporal_layers[0].temporal_fc.weight.any()
    # and a trained branch is not copied over
    tiny_model(seed=3).save_pretrained(tmp_path / "trained")
    loaded = MugSTANModel.from_pretrained(tmp_path / "trained")
    assert not torch.equal(loaded.branches[0].spatial_layers[0].mlp.fc1.weight, loaded.clip_layers[2].mlp.fc1.weight)


@pytest.mark.parametrize("clip", ["altclip", "siglip"])
@pytest.mark.parametrize("frozen", [("freeze_text",), ("freeze_vision",), ("freeze_text", "freeze_vision")], ids=str)
def test_what_the_config_freezes(clip, frozen, tmp_path):
    model = tiny_model(clip=clip, **dict.fromkeys(frozen, True))
    model.save_pretrained(tmp_path)
    loaded = MugSTANForVideoTextRetrieval.from_pretrained(tmp_path).train()
    assert trained(loaded) == trained(model.train())
    parts = {name.split(".")[2] for name in trained(model) if ".clip." in name}
    is_text = [part.startswith("text") for part in parts]
    assert not any(is_text) if "freeze_text" in frozen else any(is_text)
    assert ("vision_model" not in parts and "visual_projection" not in parts) == ("freeze_vision" in frozen)
    assert any(".branches." in name for name in trained(model))
    assert loaded.mug_stan.clip.vision_model.training == ("freeze_vision" not in frozen)
    loaded(**inputs_of(MugSTANForVideoTextRetrieval)).loss.backward()
    assert {name for name, p in loaded.named_parameters() if p.grad is not None} == trained(loaded)


@ALL_MODELS
def test_copies_pickles_and_types(model_class):
    model, inputs = ready_model(model_class), inputs_of(model_class)
    pickled = pickle.dumps(
        model
    )  # before its first use: the hooks that record hidden states in transformers cannot be
    expected = main_output(model_class, model(**inputs))
    for other in (copy.deepcopy(model), pickle.loads(pickled)):
        assert torch.equal(main_output(model_class, other(**inputs)), expected)
    half = copy.deepcopy(model).to(torch.bfloat16)
    found = main_output(model_class, half(**inputs))
    assert found.isfinite().all()
    if model_class is MugSTANModel:
        assert found.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model.train()(**inputs)
    if "loss" in outputs:
        outputs["loss"].backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_loaded_in_another_type(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    model = MugSTANForVideoTextRetrieval.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    tiny_model().to(torch.bfloat16).save_pretrained(tmp_path / "half")
    config = AutoConfig.from_pretrained(tmp_path / "half")
    assert {parameter.dtype for parameter in MugSTANModel(config).parameters()} == {torch.float32}


# ----------------------------------------------------------------------------------------------------------------------
# Compile, export, checkpointing
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    "fields",
    [{"drop_path_rate": 0.5}, {"space_time": "joint", "clip": "siglip"}, {"temporal_module": "conv_3layer"}],
    ids=["separate", "joint", "conv"],
)
def test_checkpointing_and_blocks_give_the_same_gradients(fields, checkpointing):
    gradients = []
    for block_size in (2**22, 30):
        model = tiny_model(**fields, head_scale=10.0, similarity_block_size=block_size).double().train()
        if block_size == 30 and checkpointing:
            model.activation_checkpointing_enable()
        inputs = inputs_of(MugSTANForVideoTextRetrieval, 3)
        torch.manual_seed(1)
        model(**{**inputs, "pixel_values": inputs["pixel_values"].double()}).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-9, atol=1e-9, msg=name)


def test_checkpointing_reaches_tower_and_branch():
    model = tiny_model()
    model.activation_checkpointing_enable()
    base = model.mug_stan
    layers = [*base.clip_layers, *base.branches[0].temporal_layers, *base.branches[0].spatial_layers]
    assert all(layer.gradient_checkpointing for layer in layers)


@pytest.mark.parametrize(
    "model_class",
    [
        MugSTANForVideoTextRetrieval,
        *(
            pytest.param(other, marks=pytest.mark.slow)
            for other in list(AUTO_CLASSES)
            if other is not MugSTANForVideoTextRetrieval
        ),
    ],
)
def test_compiled_in_one_graph(model_class, fresh_compiler):
    model = ready_model(model_class, clip=tiny_clip(num_layers=2), head_scale=10.0, stan_num_layers=1)
    inputs = inputs_of(model_class)
    expected = model(**inputs)
    compiled = torch.compile(model, backend="eager", fullgraph=True)(**inputs)
    torch.testing.assert_close(
        main_output(model_class, compiled), main_output(model_class, expected), rtol=1e-5, atol=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("clip", CLIPS)
def test_compiled_training_in_one_graph(clip, fresh_compiler):
    model, inputs = tiny_model(clip=clip, drop_path_rate=0.0).train(), inputs_of(MugSTANForVideoTextRetrieval)
    expected = model(**inputs).loss
    loss = torch.compile(model, backend="aot_eager", fullgraph=True)(**inputs).loss
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    loss.backward()


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize(
    ("clip", "space_time"),
    [
        ("clip", "separate"),
        ("clip", "joint"),
        ("siglip", "separate"),
        ("altclip", "separate"),
        ("chinese_clip", "separate"),
    ],
)
def test_exported_for_any_batch_and_length(clip, space_time):
    model = tiny_model(clip=clip, space_time=space_time)
    videos, frames, texts = Dim("videos", min=1, max=64), Dim("frames", min=2, max=64), Dim("texts", min=1, max=64)

    class Scores(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixel_values, input_ids, attention_mask):
            video, text = self.model.encode_video(pixel_values), self.model.encode_text(input_ids, attention_mask)
            return self.model.similarity(text, video)

    given = tiny_videos(3, 4), *tiny_texts([6, 9], padded_to=20)
    shapes = {0: videos, 1: frames}, {0: texts}, {0: texts}
    program = torch.export.export(Scores(), given, dynamic_shapes=shapes).module()
    for num_videos, num_frames, lengths in ((3, 4, [6, 9]), (2, 7, [4, 12, 20]), (5, 2, [8] * 4)):
        given = tiny_videos(num_videos, num_frames), *tiny_texts(lengths, padded_to=20)
        torch.testing.assert_close(program(*given), Scores()(*given), rtol=0, atol=1e-5)


# ----------------------------------------------------------------------------------------------------------------------
# Trainer
# ----------------------------------------------------------------------------------------------------------------------


def test_the_trainer_trains_retrieval_as_it_is(tmp_path):
    model = tiny_model(similarity="mean_pool", loss_scale=10.0)
    videos, (input_ids, mask) = tiny_videos(4, 3), tiny_texts([5, 7, 4, 6])
    rows = [
        {"pixel_values": video, "input_ids": ids, "attention_mask": row}
        for video, ids, row in zip(videos, input_ids, mask, strict=True)
    ]
    settings = {
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "max_steps": 30,
        "learning_rate": 0.01,
    }
    arguments = TrainingArguments(tmp_path, **settings, report_to=[], disable_tqdm=True, save_strategy="no")
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.3 * before
    assert model(input_ids, videos, mask).logits_per_text.argmax(dim=1).tolist() == [
        0,
        1,
        2,
        3,
    ]


def test_the_trainer_trains_classes_by_their_names(tmp_path):
    model = ready_model(MugSTANForVideoClassification, similarity="mean_pool", loss_scale=10.0)
    classes = model.class_tokens.clone()
    rows = [{"pixel_values": video, "labels": i % 3} for i, video in enumerate(tiny_videos(6, 3))]
    settings = {"per_device_train_batch_size": 6, "max_steps": 30, "learning_rate": 0.01}
    arguments = TrainingArguments(tmp_path, **settings, report_to=[], disable_tqdm=True, save_strategy="no")
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.5 * before
    assert trainer.predict(rows).predictions.shape == (6, 3)  # the logits alone
    assert torch.equal(model.class_tokens, classes)


# ----------------------------------------------------------------------------------------------------------------------
# With its code, where this package is not
# ----------------------------------------------------------------------------------------------------------------------

READ = """
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForVideoClassification
folder, auto_class = sys.argv[1:3]
model = {cls.__name__: cls for cls in (AutoModel, AutoModelForSequenceClassification, AutoModelForVideoClassification)}[
    auto_class].from_pretrained(folder, trust_remote_code=True)
inputs = torch.load(folder + "/inputs.pt")
outputs = model(**inputs)
torch.save({name: value for name, value in outputs.items()}, folder + "/outputs.pt")
"""


@pytest.mark.slow
@torch.no_grad()
@ALL_MODELS
def test_with_its_code_in_a_process_without_this_package(model_class, tmp_path):
    model, inputs, auto_class = ready_model(model_class), inputs_of(model_class), AUTO_CLASSES[model_class].__name__
    folder = tmp_path / "published"
    model.save_pretrained(folder)
    custom_object_save(model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "configuration_mug_stan.MugSTANConfig",
        auto_class: f"modeling_mug_stan.{model_class.__name__}",
    }
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(inputs, folder / "inputs.pt")
    run_without_package(READ, tmp_path / "elsewhere", folder, auto_class)
    found = torch.load(folder / "outputs.pt")
    assert torch.equal(found[main_name(model_class)], main_output(model_class, model(**inputs)))
