# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Defaults, files, and values that are refused."""

import json
import logging

import pytest
from huggingface_hub.errors import StrictDataclassError
from tiny_cnn_rnn import BACKBONE, VISION
from transformers import AutoConfig, CLIPConfig

from clipbert.modeling_cnn_rnn import CNNRNNConfig, CNNRNNForVideoClassification


def test_the_defaults_are_a_frozen_resnet_50_and_one_lstm_layer():
    config = CNNRNNConfig()
    backbone = config.backbone_config
    assert (backbone.model_type, backbone.depths, backbone.hidden_sizes) == (
        "resnet",
        (3, 4, 6, 3),
        [256, 512, 1024, 2048],
    )
    assert not backbone.downsample_in_bottleneck  # as torchvision and microsoft/resnet-50
    found = config.backbone_trainable, config.rnn_type, config.rnn_hidden_size, config.rnn_num_layers, config.pooling
    assert found == ("none", "lstm", 256, 1, "last")


def test_saved_and_loaded(tmp_path):
    names = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    config = CNNRNNConfig(backbone_config=dict(BACKBONE), rnn_type="gru", bidirectional=True, num_frames=8, **names)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is CNNRNNConfig and {**loaded.to_dict(), "_name_or_path": ""} == config.to_dict()
    assert loaded.id2label == names["id2label"] and loaded.num_labels == 3


@pytest.mark.parametrize("as_dict", [False, True])
def test_of_a_model_of_images_and_texts_the_tower_that_sees_is_taken(as_dict):
    clip = CLIPConfig(vision_config=VISION)
    config = CNNRNNConfig(backbone_config=clip.to_dict() if as_dict else clip)
    assert config.backbone_config.model_type == "clip_vision_model"
    assert config.backbone_config.hidden_size == VISION["hidden_size"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rnn_type": "transformer"}, "rnn_type"),
        ({"pooling": "first"}, "pooling"),
        ({"score_pooling": "sum"}, "score_pooling"),
        ({"backbone_trainable": "some"}, "backbone_trainable"),
        ({"rnn_backend": "cudnn"}, "rnn_backend"),
        ({"rnn_hidden_size": 0}, "rnn_hidden_size must be at least 1"),
        ({"rnn_num_layers": -1}, "rnn_num_layers must be at least 1"),
        ({"frame_chunk_size": 0}, "frame_chunk_size must be at least 1"),
        ({"num_frames": 0}, "num_frames must be at least 1"),
        ({"frame_projection_size": 10**9}, "at most 65536"),
        ({"rnn_dropout": 1.5}, r"rnn_dropout must be a finite number in \[0, 1\]"),
        ({"head_dropout": float("nan")}, "head_dropout must be a finite number"),
        ({"problem_type": "regression"}, "which tells classes apart"),
        ({"train_batchnorm": True}, "backbone_trainable='none' leaves none"),
        (
            {"train_batchnorm": True, "backbone_trainable": "all", "frame_chunk_size": 4},
            "frame_chunk_size=4 shows the backbone parts of it",
        ),
        ({"num_labels": 0}, "num_labels must be at least 1"),
    ],
    ids=str,
)
def test_values_that_are_refused(values, message):
    with pytest.raises((StrictDataclassError, ValueError), match=message):
        CNNRNNConfig(**values)


def test_a_misspelt_key_is_refused_and_one_in_a_file_is_kept_with_a_warning(tmp_path, caplog):
    with pytest.raises(TypeError, match="no field 'rnn_hiden_size'.*Did you mean 'rnn_hidden_size'"):
        CNNRNNConfig(rnn_hiden_size=3)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "cnn_rnn", "rnn_hiden_size": 3}))
    logger = logging.getLogger("clipbert.modeling_cnn_rnn.configuration_cnn_rnn")  # does not hand its records on
    logger.addHandler(caplog.handler)
    config = CNNRNNConfig.from_pretrained(tmp_path)
    logger.removeHandler(caplog.handler)
    assert config.rnn_hiden_size == 3 and config.rnn_hidden_size == 256
    assert "Did you mean 'rnn_hidden_size'? The value is kept, but nothing reads it." in caplog.text


def test_values_that_were_assigned_are_checked_when_a_model_is_made():
    config = CNNRNNConfig(backbone_config=dict(BACKBONE))
    with pytest.raises(StrictDataclassError):
        config.rnn_type = "transformer"
    config.backbone_config.out_features = ["stage1"]
    with pytest.raises(ValueError, match="ends before the last stage"):
        CNNRNNForVideoClassification(config)
