# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""ClipBERTConfig: defaults, saving, and that mistakes are named."""

import json
import logging
import math

import pytest
from huggingface_hub.errors import StrictDataclassError
from tiny_models import BACKBONE, tiny_config
from transformers import AutoConfig, ConvNextConfig, ResNetConfig

from clipbert.modeling_clipbert import ClipBERTConfig, ClipBERTModel


@pytest.fixture
def warnings_of_config(caplog):
    """Texts of the warnings of the configuration module; transformers does not hand its records on by itself."""
    logger = logging.getLogger("clipbert.modeling_clipbert.configuration_clipbert")
    logger.addHandler(caplog.handler)
    yield lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    logger.removeHandler(caplog.handler)


def test_defaults_are_the_published_model():
    config = ClipBERTConfig()
    backbone = config.backbone_config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (768, 12, 12)
    assert isinstance(backbone, ResNetConfig)
    assert (list(backbone.depths), list(backbone.hidden_sizes)) == ([3, 4, 6, 3], [256, 512, 1024, 2048])
    assert backbone.downsample_in_bottleneck and backbone.out_features == ["stage4"]
    assert (config.freeze_backbone_stages, config.freeze_backbone_norm) == (2, True)
    assert (config.frame_fusion, config.score_pooling, config.pixel_random_sampling_size) == ("mean", "mean", 0)


def test_save_and_load_keep_every_value(tmp_path):
    config = tiny_config(score_pooling="lse", margin=0.3, id2label={0: "no", 1: "yes"}, frame_fusion="conv2plus1d")
    config.save_pretrained(tmp_path)
    for loaded in (ClipBERTConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is ClipBERTConfig
        assert loaded.to_diff_dict() == config.to_diff_dict()
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == "clipbert" and written["backbone_config"]["model_type"] == "resnet"


def test_loading_takes_overrides(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path, score_pooling="max", num_labels=7)
    assert (config.score_pooling, config.num_labels) == ("max", 7)


def test_backbone_is_a_dict_a_config_or_left_out():
    from_dict = tiny_config().backbone_config
    from_config = tiny_config(backbone_config=from_dict).backbone_config
    assert from_dict.to_dict() == from_config.to_dict()
    convnext = tiny_config(backbone_config=ConvNextConfig(out_features=["stage4"]))
    assert convnext.freeze_backbone_stages == 0  # stages of a ResNet are counted, no others


@pytest.mark.parametrize(
    "misspelt, meant",
    [
        ("score_poolling", "score_pooling"),
        ("frame_fussion", "frame_fusion"),
        ("freeze_backbone_stage", "freeze_backbone_stages"),
        ("num_hidden_layer", "num_hidden_layers"),
        ("pixel_random_sampling", "pixel_random_sampling_size"),
    ],
)
def test_misspelt_keys_are_refused_with_the_nearest_name(misspelt, meant, tmp_path, warnings_of_config):
    with pytest.raises(TypeError, match=f"no field '{misspelt}'.*Did you mean '{meant}'"):
        ClipBERTConfig(**{misspelt: 1})
    # in a file they may come from another version, or be somebody's own: they are kept, and told
    tiny_config().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), misspelt: 1}))
    for read in (ClipBERTConfig, AutoConfig):
        config = read.from_pretrained(tmp_path, num_labels=3)
        assert getattr(config, misspelt) == 1 and config.num_labels == 3
        told = warnings_of_config()
        assert any(repr(misspelt) in text and f"Did you mean {meant!r}" in text for text in told)
    config.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())[misspelt] == 1


def test_unknown_keys_are_refused_in_the_constructor_and_kept_with_a_warning_from_a_file(warnings_of_config, tmp_path):
    with pytest.raises(TypeError, match="no field 'remark'.*Known fields: .*hidden_size"):
        tiny_config(remark="trained on a Tuesday")
    config = tiny_config()
    config.remark = "trained on a Tuesday"
    config.save_pretrained(tmp_path)
    config, unused = ClipBERTConfig.from_pretrained(tmp_path, return_unused_kwargs=True, something=1)
    assert config.remark == "trained on a Tuesday" and unused == {"something": 1}
    assert any("'remark'" in text and "nothing reads it" in text for text in warnings_of_config())


def test_keys_of_transformers_itself_are_known(warnings_of_config, tmp_path):
    config = tiny_config(num_labels=3, problem_type=None, output_hidden_states=True)
    config.id2label = {0: "a", 1: "b", 2: "c"}
    config.architectures = ["ClipBERTModel"]
    config.auto_map = {"AutoModel": "modeling_clipbert.ClipBERTModel"}
    config.save_pretrained(tmp_path)
    loaded = ClipBERTConfig.from_pretrained(tmp_path, attn_implementation="eager")
    assert loaded.num_labels == 3 and not warnings_of_config()


SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "max_grid_row_position_embeddings",
    "max_grid_col_position_embeddings",
    "max_temporal_position_embeddings",
    "num_labels",
)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"hidden_size": 30}, ["hidden_size=30", "num_attention_heads=4"]),
        ({"num_hidden_layers": 0}, ["num_hidden_layers", "at least 1", "got 0"]),
        ({"vocab_size": -5}, ["vocab_size", "got -5"]),
        ({"num_labels": -3}, ["num_labels", "got -3"]),
        ({"num_labels": "3"}, ["num_labels", "'3'"]),
        *(({name: 10**9}, [name, "at most", "1000000000"]) for name in SIZES),
        *(
            ({"backbone_config": {**BACKBONE, name: value}}, [f"backbone_config: {name}", "1000000000"])
            for name, value in (("embedding_size", 10**9), ("hidden_sizes", [8, 16, 10**9]), ("depths", [10**9, 1, 1]))
        ),
        ({"hidden_dropout_prob": 1.5}, ["hidden_dropout_prob", "[0, 1]", "1.5"]),
        ({"layer_norm_eps": math.nan}, ["layer_norm_eps", "nan"]),
        ({"initializer_range": math.inf}, ["initializer_range", "inf"]),
        ({"margin": math.nan}, ["margin", "nan"]),
        ({"pad_token_id": 500}, ["pad_token_id", "500"]),
        ({"pixel_random_sampling_size": -1}, ["pixel_random_sampling_size", "got -1"]),
        ({"margin": -0.1}, ["margin", "-0.1"]),
        ({"loss_type": "rank", "num_labels": 2}, ["rank", "num_labels=2", "num_labels=1"]),
        ({"score_pooling": "lse", "loss_type": "bce"}, ["lse", "bce", "'mean' or 'max'"]),
        ({"score_pooling": "lse", "loss_type": "rank", "num_labels": 1}, ["lse", "rank"]),
        ({"freeze_backbone_stages": -1}, ["freeze_backbone_stages", "-1"]),
        ({"freeze_backbone_stages": 9}, ["freeze_backbone_stages=9", "4 parts"]),
        (
            {"freeze_backbone_stages": 2, "backbone_config": ConvNextConfig(out_features=["stage4"])},
            ["freeze_backbone_stages=2", "convnext"],
        ),
        ({"frame_fusion": "median"}, ["frame_fusion", "median"]),
        ({"score_pooling": "sum"}, ["score_pooling", "sum"]),
        ({"loss_type": "hinge"}, ["loss_type", "hinge"]),
        ({"mlm_loss_reduction": "none"}, ["mlm_loss_reduction", "none"]),
        ({"hidden_size": "32"}, ["hidden_size", "int"]),
        ({"freeze_backbone_norm": 1}, ["freeze_backbone_norm", "bool"]),
        ({"hidden_act": "gelo"}, ["hidden_act='gelo'", "Did you mean 'gelu'?"]),
        ({"hidden_act": "curved"}, ["hidden_act='curved'", "Known are gelu, "]),
        ({"backbone_config": {**BACKBONE, "hidden_act": "rellu"}}, ["backbone_config: hidden_act='rellu'", "'relu'"]),
    ],
)
def test_values_that_cannot_be_are_refused(settings, words):
    with pytest.raises((ValueError, StrictDataclassError)) as error:
        tiny_config(**settings)
    message = f"{error.value} {error.value.__cause__}"
    assert all(word in message for word in words), message


def test_a_size_that_was_assigned_is_refused_before_a_model_is_built():
    config = tiny_config()
    config.hidden_size = 10**9
    with pytest.raises(StrictDataclassError, match="hidden_size must be .* at most"):
        ClipBERTModel(config)


def test_values_are_checked_when_assigned_too():
    config = tiny_config()
    with pytest.raises(StrictDataclassError, match="score_pooling"):
        config.score_pooling = "sum"
    with pytest.raises(StrictDataclassError, match="margin"):
        config.margin = "wide"


def test_temporal_positions_before_a_mean_are_pointed_out(warnings_of_config):
    tiny_config(use_temporal_position_embeddings=True, frame_fusion="max")
    assert not warnings_of_config()
    tiny_config(use_temporal_position_embeddings=True)
    assert any("little effect" in text for text in warnings_of_config())
