# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Values, losses, what is trained, files, and what is refused."""

import copy

import pytest
import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from tiny_cnn_rnn import BACKBONE, FEATURES, IMAGE_SIZE, NUM_LABELS, VISION, tiny_clips, tiny_model
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForVideoClassification,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    ResNetBackbone,
    ResNetConfig,
    ResNetForImageClassification,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTForImageClassification,
)

from clipbert.modeling_cnn_rnn import CNNRNNForVideoClassification, CNNRNNModel, pool_window_scores
from clipbert.modeling_cnn_rnn.recipe_cnn_rnn import ModelOptions


MODELS = (CNNRNNModel, CNNRNNForVideoClassification)
TRAINABLE = ("none", "last_stage", "last_two_stages", "all")


# ---------------------------------------------------------------------------------------------------------------------
# Values
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_scores_are_those_of_the_plain_modules(kind):
    """The average of the last feature map, torch's module over the frames of one clip, its final state, one layer."""
    model = tiny_model(rnn_type=kind, bidirectional=True, rnn_num_layers=2, frame_projection_size=12)
    frames, _ = tiny_clips([5])
    backbone, projection = model.frame_encoder.backbone, model.cnn_rnn.projection[0]
    vectors = F.relu(projection(backbone(frames[0]).last_hidden_state.mean(dim=(2, 3))))
    final = model.cnn_rnn.rnn(vectors[None])[1]
    final = final[0] if kind == "lstm" else final  # (layers * directions, 1, H)
    expected = model.classifier(torch.cat([final[-2], final[-1]], dim=-1))
    assert torch.allclose(model(frames).logits, expected, atol=1e-5)


def test_the_read_outs():
    states = torch.tensor([[[1.0, 5.0], [3.0, 2.0], [7.0, 7.0]]])
    model = tiny_model(pooling="attention", rnn_hidden_size=2, bidirectional=False)
    pooler, lengths = model.cnn_rnn.pooler, torch.tensor([2])
    states = states.where(torch.tensor([True, True, False])[:, None], 0.0)
    weights = pooler.attention(states)[0, :2].softmax(dim=0)
    assert torch.allclose(pooler(states, lengths), (weights * states[0, :2]).sum(dim=0)[None])
    for mode, expected in (("mean", [2.0, 3.5]), ("max", [3.0, 5.0]), ("last", [3.0, 2.0])):
        pooler.mode = mode
        assert pooler(states, lengths).tolist() == [expected]
    pooler.num_directions = 2  # forwards after the last frame, backwards after the first
    assert pooler(states, lengths).tolist() == [[3.0, 5.0]]


def test_order_matters_unless_it_is_left_out():
    frames, _ = tiny_clips([5])
    scores = {pooling: tiny_model(pooling=pooling) for pooling in ("last", "mean", "order_blind_mean")}
    changes = {name: (m(frames).logits - m(frames.flip(1)).logits).abs().max() for name, m in scores.items()}
    assert changes["order_blind_mean"] < 1e-6 and min(changes["last"], changes["mean"]) > 1e-3
    assert not any(isinstance(module, nn.RNNBase) for module in scores["order_blind_mean"].modules())


def test_scores_of_windows():
    scores = torch.tensor([[[1.0, 0.0, -1.0], [3.0, 4.0, 0.0]]])
    assert torch.allclose(pool_window_scores(scores, "mean"), scores.mean(dim=1))
    probabilities = scores.softmax(dim=-1)
    assert torch.allclose(pool_window_scores(scores, "lse"), probabilities.mean(dim=1).log())
    assert torch.allclose(pool_window_scores(scores, "max"), probabilities.amax(dim=1).log())
    assert torch.allclose(pool_window_scores(scores, "max", is_multi_label=True), scores.amax(dim=1))
    for pooling in ("mean", "lse", "max"):  # what all scores of a window have in common does not matter
        shifted = scores + torch.tensor([[[100.0], [0.0]]])
        expected = pool_window_scores(scores, pooling).softmax(dim=-1)
        assert torch.allclose(pool_window_scores(shifted, pooling).softmax(dim=-1), expected, atol=1e-5)
    with pytest.raises(ValueError, match="'mean', 'max' or 'lse', got 'sum'"):
        pool_window_scores(scores, "sum")


def test_losses():
    frames, mask = tiny_clips([3, 2, 1])
    model, labels = tiny_model(), torch.tensor([4, -100, 0])
    outputs = model(frames, frame_mask=mask, labels=labels)
    assert torch.allclose(outputs.loss, F.cross_entropy(outputs.logits[[0, 2]], labels[[0, 2]]))
    model, labels = tiny_model(problem_type="multi_label_classification"), torch.rand(3, NUM_LABELS)
    outputs = model(frames, frame_mask=mask, labels=labels)
    assert torch.allclose(outputs.loss, F.binary_cross_entropy(outputs.logits.sigmoid(), labels), atol=1e-5)
    assert isinstance(model(frames, frame_mask=mask, return_dict=False), tuple)


def test_what_a_processor_adds_may_be_passed_along():
    frames, mask = tiny_clips([3, 2])
    metadata = {"frame_indices": mask, "frame_seconds": mask.double(), "video_metadata": [{}, {}]}
    for model in map(tiny_model, MODELS):
        model(frames, frame_mask=mask, **metadata)


# ---------------------------------------------------------------------------------------------------------------------
# What is trained
# ---------------------------------------------------------------------------------------------------------------------


def trained_names(model):
    return {name.removeprefix("cnn_rnn.") for name, parameter in model.named_parameters() if parameter.requires_grad}


def expected_names(model):
    """By the config: everything outside the backbone, and of it what is promised."""
    parts = {"none": (), "last_stage": ("encoder.stages.1.",), "last_two_stages": ("encoder.stages.",), "all": ("",)}
    starts = tuple(f"frame_encoder.backbone.{part}" for part in parts[model.config.backbone_trainable])
    names = {name.removeprefix("cnn_rnn.") for name, _ in model.named_parameters()}
    outside = {name for name in names if not name.startswith("frame_encoder.")}
    inside = {name for name in names - outside if name.startswith(starts)}
    return outside | {name for name in inside if model.config.train_batchnorm or "normalization" not in name}


@pytest.mark.parametrize("train_batchnorm", [False, True])
@pytest.mark.parametrize("trainable", TRAINABLE)
def test_exactly_what_is_promised_is_trained_however_the_model_was_made(trainable, train_batchnorm, tmp_path):
    settings = {"backbone_trainable": trainable, "train_batchnorm": train_batchnorm and trainable != "none"}
    settings["frame_chunk_size"] = None
    model = tiny_model(**settings, pooling="attention", frame_projection_size=6, rnn_num_layers=2)
    expected = expected_names(model)
    frames, mask = tiny_clips([3, 1, 2])
    model.train()(frames, frame_mask=mask, labels=torch.arange(3)).loss.backward()
    assert trained_names(model) == expected
    gradients = {name.removeprefix("cnn_rnn."): p.grad for name, p in model.named_parameters()}
    # a bias of attention moves all weights alike, which soft-max does not see: its gradient is there, and zero
    assert {name for name, gradient in gradients.items() if gradient is not None} == expected
    assert {name for name in expected if not gradients[name].any()} <= {"pooler.attention.bias"}
    model.save_pretrained(tmp_path / "model")
    for loader in (CNNRNNForVideoClassification, AutoModelForVideoClassification):
        assert trained_names(loader.from_pretrained(tmp_path / "model")) == expected
    model.frame_encoder.backbone.save_pretrained(tmp_path / "backbone")
    own = {"pooling": "attention", "frame_projection_size": 6, "rnn_num_layers": 2, **settings}
    made = CNNRNNForVideoClassification.from_backbone_pretrained(tmp_path / "backbone", num_labels=NUM_LABELS, **own)
    assert trained_names(made) == expected and trained_names(copy.deepcopy(made).train()) == expected


@pytest.mark.parametrize("trainable", TRAINABLE)
def test_frozen_parts_stay_in_eval_mode_and_build_no_graph(trainable):
    tower = {"model_type": "vit", **VISION, "hidden_dropout_prob": 0.5}
    model = tiny_model(backbone_config=tower, backbone_trainable=trainable)
    backbone, modes = model.frame_encoder.backbone, [trainable == "all", *[trainable == "all"] * 3]
    modes[3] |= trainable in ("last_stage", "last_two_stages")
    modes[2] |= trainable == "last_two_stages"
    for _ in range(2):
        model.eval().train()
        assert [backbone.embeddings.training, *(layer.training for layer in backbone.layers)] == modes
    frames = torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert model.encode_frames(frames).requires_grad == (trainable != "none")
    assert model.train().training and not any(module.training for module in model.eval().modules())


def test_pixels_may_want_gradients_of_a_frozen_backbone():
    frames, _ = tiny_clips([2])
    tiny_model()(frames.requires_grad_(), labels=torch.tensor([0])).loss.backward()
    assert frames.grad.abs().sum() > 0


def test_every_parameter_that_is_trained_gets_a_gradient_from_a_tower_with_a_mask_token():
    tower = {"model_type": "dinov2", **VISION}
    model = tiny_model(backbone_config=tower, backbone_trainable="all").train()
    frames, _ = tiny_clips([2])
    model(frames, labels=torch.tensor([0])).loss.backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in model.parameters())


# ---------------------------------------------------------------------------------------------------------------------
# Backbones
# ---------------------------------------------------------------------------------------------------------------------


def write_backbone(kind, folder):
    """A checkpoint of a kind, and what the vectors of frames should be."""
    torch.manual_seed(0)
    resnet = {key: value for key, value in BACKBONE.items() if key != "model_type"}
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"vocab_size": 9, "bos_token_id": 0, "eos_token_id": 1}
    build = {
        "resnet classifier": lambda: ResNetForImageClassification(ResNetConfig(**resnet, num_labels=7)),
        "resnet backbone": lambda: ResNetBackbone(ResNetConfig(**resnet)),
        "clip": lambda: CLIPModel(CLIPConfig(vision_config=VISION, text_config=text)),
        "clip tower": lambda: CLIPVisionModel(CLIPVisionConfig(**VISION)),
        "siglip tower": lambda: SiglipVisionModel(SiglipVisionConfig(**VISION)),
        "vit classifier": lambda: ViTForImageClassification(ViTConfig(**VISION)),
        "dinov2": lambda: Dinov2Model(Dinov2Config(**{k: v for k, v in VISION.items() if k != "intermediate_size"})),
    }
    model = build[kind]().eval()
    model.save_pretrained(folder)
    read = {
        "resnet classifier": lambda x: model.resnet(x).pooler_output.flatten(1),
        "resnet backbone": lambda x: model(x).feature_maps[-1].mean(dim=(2, 3)),
        "clip": lambda x: model.vision_model(x).pooler_output,
        "vit classifier": lambda x: model.vit(x).last_hidden_state[:, 0],
    }
    return read.get(kind, lambda x: model(x).pooler_output)


@pytest.mark.parametrize(
    "kind",
    ["resnet classifier", "resnet backbone", "clip", "clip tower", "siglip tower", "vit classifier", "dinov2"],
)
def test_frames_are_seen_as_the_pretrained_model_sees_them(kind, tmp_path):
    read = write_backbone(kind, tmp_path / "backbone")
    model = CNNRNNForVideoClassification.from_backbone_pretrained(tmp_path / "backbone", num_labels=3)
    frames = torch.randn(5, 3, IMAGE_SIZE, IMAGE_SIZE)
    with torch.no_grad():
        assert torch.allclose(model.encode_frames(frames), read(frames), atol=1e-6)
    assert model.frame_feature_size == read(frames).shape[1] and not model.training
    model.save_pretrained(tmp_path / "model")
    config = (tmp_path / "model" / "config.json").read_text()
    assert str(tmp_path) not in config and "LABEL_6" not in config  # of the classifier that the backbone was
    loaded = CNNRNNForVideoClassification.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded.encode_frames(frames), model.encode_frames(frames))


def test_backbones_that_do_not_do(tmp_path):
    ResNetBackbone(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    tensors = load_file(weights)
    del tensors["encoder.stages.0.layers.0.layer.0.convolution.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 tensors of a ResNetModel: encoder\.stages\.0"):
        CNNRNNModel.from_backbone_pretrained(tmp_path)
    with pytest.raises(ValueError, match="out_features=.* ends before the last stage, 'stage2'"):
        tiny_model(backbone_config={**BACKBONE, "out_features": ["stage1"]})
    encoder = tiny_model(backbone_trainable="last_stage").frame_encoder
    encoder.backbone = nn.Conv2d(3, 4, 1)
    with pytest.raises(ValueError, match="'last_stage': Conv2d has no list of stages or layers"):
        encoder.freeze()
    with pytest.raises(ValueError, match="that of a 'bert', for which"):
        tiny_model(backbone_config={"model_type": "bert"})


# ---------------------------------------------------------------------------------------------------------------------
# Files and precisions
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["packed", "padded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("model_class", MODELS)
def test_saved_and_loaded(model_class, dtype, backend, tmp_path):
    model = tiny_model(model_class, rnn_backend=backend, bidirectional=True, rnn_num_layers=2).to(dtype)
    model.save_pretrained(tmp_path)
    loaded = (AutoModel if model_class is CNNRNNModel else AutoModelForVideoClassification).from_pretrained(
        tmp_path, dtype="auto"
    )
    assert type(loaded) is model_class and loaded.dtype == dtype
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.get_parameter_or_buffer(name))
    for lengths in ([3], [2, 4]):
        frames, mask = tiny_clips(lengths)
        outputs, others = model(frames, frame_mask=mask), loaded(frames, frame_mask=mask)
        for name in outputs:
            # products depend on where in memory a matrix begins, by an ulp
            assert torch.allclose(outputs[name], others[name], atol=1e-6) and outputs[name].isfinite().all()


def test_a_classifier_from_a_model_without_one(tmp_path):
    model = tiny_model(CNNRNNModel)
    model.save_pretrained(tmp_path)
    loaded = CNNRNNForVideoClassification.from_pretrained(tmp_path)
    frames, mask = tiny_clips([2, 3])
    assert torch.equal(loaded(frames, frame_mask=mask).pooler_output, model(frames, frame_mask=mask).pooler_output)


def test_recurrent_layers_that_a_checkpoint_lacks_are_made_as_new_ones(tmp_path):
    tiny_model(pooling="order_blind_mean").save_pretrained(tmp_path)
    for kind in ("rnn", "gru", "lstm"):
        model = CNNRNNForVideoClassification.from_pretrained(
            tmp_path, pooling="last", rnn_type=kind, rnn_hidden_size=16
        )
        for parameter in model.cnn_rnn.rnn.parameters():
            assert parameter.abs().max() <= 0.25 and parameter.std() > 0.1  # uniform up to 1 / sqrt(16)


# ---------------------------------------------------------------------------------------------------------------------
# What is refused
# ---------------------------------------------------------------------------------------------------------------------


FRAMES, MASK = tiny_clips([2, 3], padding=0.0)
VECTORS = torch.randn(2, 3, FEATURES)
WRONG = {
    "nothing": ({}, "Exactly one of"),
    "both": ({"pixel_values": FRAMES, "frame_features": VECTORS}, "got both or neither"),
    "images": ({"pixel_values": FRAMES[0]}, r"got \(3, 3, 16, 16\)"),
    "channels last": ({"pixel_values": FRAMES.movedim(2, -1)}, r"got \(2, 3, 16, 16, 3\)"),
    "no frames": ({"pixel_values": FRAMES[:, :0]}, "none of them 0"),
    "bytes": ({"pixel_values": (FRAMES * 10).byte()}, "torch.uint8: raw frames lack"),
    "arrays": ({"pixel_values": FRAMES.numpy()}, "must be a torch.Tensor, got ndarray"),
    "other vectors": (
        {"frame_features": VECTORS[..., :7]},
        "7 features a frame, but the backbone of this model makes 16",
    ),
    "flat vectors": ({"frame_features": VECTORS[0]}, r"got \(3, 16\)"),
    "whole vectors": ({"frame_features": VECTORS.long()}, "of torch.int64"),
    "two masks": ({"frame_mask": MASK, "frame_lengths": torch.tensor([2, 3])}, "At most one"),
    "short mask": ({"frame_mask": MASK[:, :2]}, r"shape \(2, 3\), that of the frames"),
    "mask of windows": ({"frame_mask": MASK[:, None]}, r"got \(2, 1, 3\)"),
    "mask of weights": ({"frame_mask": MASK * 0.5}, "1 for frames and 0 for padding, got 0.5"),
    "empty clip": ({"frame_mask": MASK * torch.tensor([[1], [0]])}, "none for 1 of 2"),
    "length 0": ({"frame_lengths": torch.tensor([2, 0])}, "frame_lengths has none for 1"),
    "too long": ({"frame_lengths": torch.tensor([2, 4])}, r"\[0, 3\], the number of frames; got 4"),
    "broken lengths": ({"frame_lengths": torch.tensor([2.0, 3.0])}, "must hold integers, got torch.float32"),
    "NaN": ({"pixel_values": FRAMES * float("nan")}, "finite where there are frames"),
    "label": ({"labels": torch.tensor([0, NUM_LABELS])}, r"\[0, 4\], the classes.*; got 5"),
    "negative label": ({"labels": torch.tensor([-1, 0])}, "got -1"),
    "broken label": ({"labels": torch.tensor([0.0, 1.0])}, "must hold integers"),
    "several labels": ({"labels": torch.zeros(2, NUM_LABELS)}, "problem_type=None"),
    "no labels": ({"labels": torch.tensor([-100, -100])}, "nothing to learn"),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG.values(), ids=WRONG)
def test_inputs_that_are_refused(wrong, message):
    given = (
        wrong if {"pixel_values", "frame_features"} & set(wrong) or not wrong else {"pixel_values": FRAMES, **wrong}
    )
    with pytest.raises(ValueError, match=message):
        tiny_model()(**given)


def test_labels_of_several_kinds_that_are_refused():
    model = tiny_model(problem_type="multi_label_classification")
    for labels, message in ((torch.tensor([0, 1]), r"shape \(2, 5\)"), (torch.full((2, NUM_LABELS), 2.0), "from 2.0")):
        with pytest.raises(ValueError, match=message):
            model(FRAMES, labels=labels)


def test_batch_norms_are_not_trained_on_parts_of_a_batch_or_twice():
    model = tiny_model(backbone_trainable="all", train_batchnorm=True, frame_chunk_size=None)
    with pytest.raises(ValueError, match="batch norms would count: switch it off"):
        model.activation_checkpointing_enable()
    assert not model.frame_encoder.gradient_checkpointing
    with pytest.raises((StrictDataclassError, ValueError), match="frame_chunk_size=4 shows the backbone parts"):
        ModelOptions(frame_chunk_size=4).apply(model)
