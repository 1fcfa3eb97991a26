# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Values that do not fit each other are refused, with the reason."""

import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from tiny_ci_mha import BERT, RESNET, tiny_config

from clipbert.modeling_ci_mha import CIMHAConfig


@pytest.mark.parametrize(
    "values, reason",
    [
        ({"hidden_size": 15, "num_attention_heads": 3}, "even"),
        ({"hidden_size": 16, "num_attention_heads": 3}, "multiple"),
        ({"max_segments": 0}, "max_segments"),
        ({"vocab_size": 1}, "vocab_size"),
        ({"dropout": 1.5}, "dropout"),
        ({"segmentation_loss_weight": float("nan")}, "finite"),
        ({"text_encoder": "hf"}, "text_config"),
        ({"text_config": dict(BERT)}, "belongs to it"),
        ({"text_encoder": "glove_bilstm", "text_trainable": True}, "text_trainable"),
        ({"frame_encoder_trainable": True}, "frame_encoder_config"),
        ({"frame_encoder_config": dict(RESNET), "train_batchnorm": True}, "frame_encoder_trainable"),
        (
            {"frame_encoder_config": dict(RESNET), "frame_encoder_trainable": True, "train_batchnorm": True},
            "frame_chunk_size",
        ),
        ({"share_position_embeddings": True, "positions_before": False}, "share_position_embeddings"),
        ({"shift_start_states": True, "end_reads": "features"}, "shift_start_states"),
        ({"learned_initial_state": True, "predictor": "transformer"}, "learned_initial_state"),
        ({"self_interaction": False, "norm": "post"}, "self-interaction"),
        ({"fusion_alignment": "mean"}, "fusion_alignment"),
    ],
)
def test_contradictions_are_refused(values, reason):
    with pytest.raises((ValueError, StrictDataclassError), match=reason):
        tiny_config(**values)


def test_misspelt_fields_are_named():
    with pytest.raises(TypeError, match="cross_residual"):
        CIMHAConfig(cros_residual=False)


def test_fields_of_other_versions_are_kept(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "from_the_future": 3}))
    assert CIMHAConfig.from_pretrained(tmp_path).from_the_future == 3


def test_of_two_towers_each_part_takes_its_own():
    clip = {"model_type": "clip", "vision_config": {"hidden_size": 24}, "text_config": {"hidden_size": 40}}
    config = CIMHAConfig(frame_encoder_config=clip, text_encoder="hf", text_config=clip)
    assert config.frame_encoder_config.hidden_size == 24 and config.text_config.hidden_size == 40
    assert config.get_text_config() is config.text_config


def test_saved_and_loaded(tmp_path):
    config = tiny_config(
        video_feature_size=None,
        frame_encoder_config=dict(RESNET),
        segment_plan={"segments_per_second": 2.0, "frames_per_segment": 2},
        feature_card={"encoder": "i3d"},
        cross_interaction="query_to_video",
    )
    config.save_pretrained(tmp_path)
    assert CIMHAConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
