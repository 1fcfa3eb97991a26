# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a config freezes is frozen, however the model came to be.

Loading puts new parameters into a model, all of them trained. That once set the whole CNN free, batch norms included, in
every run that began from a checkpoint.
"""

import copy

import pytest
import torch
from official_model import SIZES, official_config, random_official_state_dict
from tiny_models import BACKBONE, HEADS, MODELS, VOCAB_SIZE, WIDTH, tiny_config, tiny_inputs, tiny_model
from torch import nn
from transformers import AutoModel, BertConfig, BertForPreTraining, ResNetBackbone, ResNetConfig

from clipbert.modeling_clipbert import ClipBERTForPreTraining, ClipBERTForVideoTextRetrieval, ClipBERTModel, from_parts
from clipbert.modeling_clipbert.convert_clipbert_checkpoint import build_official_model


SETTINGS = {
    "default": {},
    "nothing": {"freeze_backbone_stages": 0, "freeze_backbone_norm": False},
    "norms": {"freeze_backbone_stages": 0},
    "stages": {"freeze_backbone_stages": 3, "freeze_backbone_norm": False},
}
NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
ALL_SETTINGS = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


def frozen_names(model):
    """The parameters and buffers that the config wants to stay as they are, by their names."""
    backbone = model.base_model.grid_encoder.backbone
    parts = ["embedder.", *(f"encoder.stages.{stage}." for stage in range(len(backbone.encoder.stages)))]
    frozen = parts[: model.config.freeze_backbone_stages]
    if model.config.freeze_backbone_norm:
        frozen += [f"{name}." for name, module in backbone.named_modules() if isinstance(module, NORMS)]
    prefix = next(name for name, module in model.named_modules() if module is backbone)
    return {f"{prefix}.{name}" for name in backbone.state_dict() if name.startswith(tuple(frozen))}


def assert_frozen(model, inputs=None):
    """Exactly what the config says is trained, and nothing else moves in a forward pass of training."""
    expected, state = frozen_names(model), model.state_dict()
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == expected & {
        name for name, _ in model.named_parameters()
    }
    before = {name: tensor.clone() for name, tensor in state.items()}
    with torch.no_grad():
        model(**inputs or tiny_inputs(type(model), num_videos=3))
    assert not [name for name in expected if not torch.equal(before[name], state[name])]


@ALL_SETTINGS
@pytest.mark.parametrize("model_class", MODELS)
def test_a_model_from_a_config_and_a_loaded_one(model_class, settings, tmp_path):
    model = model_class(tiny_config(model_class, **settings))
    assert model.training
    assert_frozen(model)  # nobody has called `train`
    model.save_pretrained(tmp_path)
    assert_frozen(model_class.from_pretrained(tmp_path).train())


@pytest.mark.parametrize(
    "options",
    [{"output_loading_info": True}, {"dtype": "auto"}, {"dtype": torch.float64}, {"device_map": "cpu"}],
    ids=str,
)
def test_options_of_loading(options, tmp_path):
    tiny_model(ClipBERTForVideoTextRetrieval).save_pretrained(tmp_path)
    for loader in (ClipBERTForVideoTextRetrieval, AutoModel):
        loaded = loader.from_pretrained(tmp_path, **options)
        assert_frozen((loaded[0] if isinstance(loaded, tuple) else loaded).train())


@pytest.mark.parametrize("model_class", HEADS)
def test_another_head_and_a_setting_of_the_call(model_class, tmp_path):
    tiny_model(ClipBERTForPreTraining).save_pretrained(tmp_path)
    settings = {"num_labels": tiny_config(model_class).num_labels, "freeze_backbone_stages": 1}
    model = model_class.from_pretrained(tmp_path, **settings)
    assert model.config.freeze_backbone_stages == 1
    assert_frozen(model.train())


def test_a_model_put_together_from_parts(tmp_path):
    ResNetBackbone(ResNetConfig(**{k: v for k, v in BACKBONE.items() if k != "model_type"})).save_pretrained(
        tmp_path / "vision"
    )
    sizes = {"vocab_size": VOCAB_SIZE, "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 4}
    BertForPreTraining(BertConfig(**sizes, intermediate_size=48)).save_pretrained(tmp_path / "text")
    parts = {"vision": tmp_path / "vision", "text": tmp_path / "text"}
    assert_frozen(from_parts(ClipBERTForVideoTextRetrieval, parts).train())


def test_a_converted_model():
    sizes = SIZES["resnet50"]
    model, _ = build_official_model(
        random_official_state_dict(sizes), official_config(sizes), "retrieval", "mean", None
    )
    assert_frozen(model.train(), tiny_inputs(length=5, vocab_size=sizes.vocabulary))


def test_what_is_done_to_a_loaded_model(tmp_path):
    tiny_model(ClipBERTForPreTraining).save_pretrained(tmp_path)
    model = ClipBERTForPreTraining.from_pretrained(tmp_path)
    assert_frozen(copy.deepcopy(model.eval()).train())
    model.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()}, assign=True)
    model.resize_token_embeddings(VOCAB_SIZE + 3)
    model.activation_checkpointing_enable()
    assert_frozen(model.train().half().float())
    assert_frozen(nn.SyncBatchNorm.convert_sync_batchnorm(model).train())


def test_what_is_set_free_by_hand_stays_free(tmp_path):
    tiny_model(ClipBERTModel).save_pretrained(tmp_path)
    model = ClipBERTModel.from_pretrained(tmp_path)
    stem = model.grid_encoder.backbone.embedder.embedder.convolution.weight.requires_grad_(True)
    model.eval().train()
    model.tie_weights()
    assert (
        stem.requires_grad
        and copy.deepcopy(model).train().grid_encoder.backbone.embedder.embedder.convolution.weight.requires_grad
    )
    model.freeze()
    assert not stem.requires_grad
