# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A start from an image model: its weights, and the pixels that it expects."""

import pytest
import torch
from tiny_cnn_rnn import BACKBONE, IMAGE_SIZE, VISION
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    ResNetConfig,
    ResNetForImageClassification,
)

from clipbert.modeling_cnn_rnn import CNNRNNForVideoClassification, from_parts, processor_from_parts
from clipbert.modeling_cnn_rnn.recipe_cnn_rnn import ModelOptions


@pytest.fixture
def tower(tmp_path):
    CLIPVisionModel(CLIPVisionConfig(**VISION)).save_pretrained(tmp_path)
    CLIPImageProcessor().save_pretrained(tmp_path)
    return {"backbone": str(tmp_path)}


def test_the_processor_gives_the_pixels_that_the_backbone_expects(tower):
    processor = processor_from_parts(tower, num_frames=3)
    assert processor.image_mean == pytest.approx([0.48145466, 0.4578275, 0.40821073])
    video = torch.full((5, 40, 60, 3), 255, dtype=torch.uint8).numpy()
    inputs = processor([video])
    assert inputs["pixel_values"].shape == (1, 3, 3, IMAGE_SIZE, IMAGE_SIZE)
    white = [(1 - mean) / std for mean, std in zip(processor.image_mean, processor.image_std, strict=True)]
    assert inputs["pixel_values"][0, 0, :, 8, 8].tolist() == pytest.approx(white, abs=1e-4)
    model = from_parts(CNNRNNForVideoClassification, tower, num_labels=3, rnn_type="gru")
    assert model.config.rnn_type == "gru" and model(**inputs).logits.shape == (1, 3)
    assert processor_from_parts(tower, size=24).size["height"] == 24  # what is asked for is stronger


def test_without_settings_nobody_knows_the_pixels(tmp_path):
    resnet = {key: value for key, value in BACKBONE.items() if key != "model_type"}
    ResNetForImageClassification(ResNetConfig(**resnet)).save_pretrained(tmp_path)
    parts = {"backbone": tmp_path}
    with pytest.raises(OSError, match="pass image_mean=, image_std= and do_rescale="):
        processor_from_parts(parts)
    given = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_rescale": True}
    assert processor_from_parts(parts, **given).size["height"] == 224


@pytest.mark.parametrize(
    ("parts", "message"), [({}, "which is missing"), ({"backbon": "x"}, "no part 'backbon'.*backbone")]
)
def test_parts_that_do_not_do(parts, message):
    for build in (processor_from_parts, lambda parts: from_parts(CNNRNNForVideoClassification, parts)):
        with pytest.raises(ValueError, match=message):
            build(parts)


def test_a_recipe_can_bound_the_frames_in_the_cnn(tower):
    model = from_parts(CNNRNNForVideoClassification, tower, num_labels=3, frame_chunk_size=7)
    ModelOptions().apply(model)
    assert model.config.frame_chunk_size == 7
    ModelOptions(frame_chunk_size=2).apply(model)
    assert model.config.frame_chunk_size == 2
