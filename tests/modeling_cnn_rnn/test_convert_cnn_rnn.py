# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""torchvision's ResNets become folders, tensor by tensor, and compute what they computed."""

import os

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification

from clipbert.modeling_cnn_rnn import CNNRNNForVideoClassification
from clipbert.modeling_cnn_rnn.convert_cnn_rnn_checkpoint import convert_cnn_rnn_checkpoint, main
from clipbert.support.weights import ConversionError


def torchvision_model(name, **options):
    """With random statistics, scales and shifts of batch norms, so that a mistake in them would show."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(**options).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model


@pytest.fixture(scope="module")
def tensors():
    return torchvision_model("resnet18", num_classes=7).state_dict()


def write(folder, tensors):
    torch.save(tensors, folder / "resnet.pth")
    return folder / "resnet.pth"


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_scores_and_frame_vectors_are_those_of_torchvision(name, suffix, tmp_path, capsys):
    original, path = torchvision_model(name), tmp_path / f"resnet.{suffix}"
    (torch.save if suffix == "pth" else save_file)(original.state_dict(), path)
    main(["--checkpoint_path", str(path), "--output_dir", str(tmp_path / "resnet")])
    assert "ResNetForImageClassification" in capsys.readouterr().out
    converted = AutoModelForImageClassification.from_pretrained(tmp_path / "resnet")
    assert len(converted.state_dict()) == len(original.state_dict())
    frames = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(converted(frames).logits, original(frames), rtol=1e-5, atol=1e-5)
        model = CNNRNNForVideoClassification.from_backbone_pretrained(tmp_path / "resnet", num_labels=3)
        original.fc = nn.Identity()
        torch.testing.assert_close(model.encode_frames(frames), original(frames), rtol=1e-5, atol=1e-5)
    pixels = AutoImageProcessor.from_pretrained(tmp_path / "resnet")
    assert tuple(pixels.image_mean) == (0.485, 0.456, 0.406) and tuple(pixels.image_std) == (0.229, 0.224, 0.225)


def test_without_a_classifier_and_without_counters(tensors, tmp_path):
    old = {name: value for name, value in tensors.items() if not name.startswith("fc.") and "num_batches" not in name}
    model = convert_cnn_rnn_checkpoint(write(tmp_path, old), tmp_path / "resnet")
    assert type(model).__name__ == "ResNetModel"
    CNNRNNForVideoClassification.from_backbone_pretrained(tmp_path / "resnet", num_labels=3)


def changed(tensors, **changes):
    changes = {name.replace("_", "."): value for name, value in changes.items()}
    return {name: value for name, value in {**tensors, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer2_0_conv1_weight": None}, r"layers\.0\.layer\.0\.convolution\.weight \(ours\): missing"),
        ({"layer1_0_se_weight": torch.zeros(3)}, r"layer1\.0\.se\.weight: not a tensor of this ResNet"),
        ({"extra": torch.zeros(3)}, "extra: not a tensor of this ResNet"),
        ({"layer4_1_conv2_weight": torch.zeros(512, 512, 1, 1)}, r"expected \(512, 512, 3, 3\)"),
        ({"fc_bias": torch.full((7,), torch.nan)}, r"fc\.bias: not finite"),
        ({"fc_weight": None}, r"classifier\.1\.weight \(ours\): missing"),
        ({"conv1_weight": None}, "no ResNet of torchvision"),
        ({"layer3_0_conv2_weight": None}, "the file is incomplete"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_every_tensor_is_accounted_for(tensors, changes, message, tmp_path):
    with pytest.raises(ConversionError, match=message):
        convert_cnn_rnn_checkpoint(write(tmp_path, changed(tensors, **changes)), tmp_path / "resnet")
    assert os.listdir(tmp_path) == ["resnet.pth"]


@pytest.mark.parametrize("name", ["squeezenet1_0", "resnext50_32x4d"])
def test_other_networks_are_refused(name, tmp_path):
    with torch.device("meta"):
        state = getattr(torchvision.models, name)().state_dict()
    state = {key: torch.zeros(value.shape) for key, value in state.items() if not key.startswith("classifier")}
    with pytest.raises(ConversionError, match="ResNet of torchvision"):
        convert_cnn_rnn_checkpoint(write(tmp_path, state), tmp_path / "out")


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_no_code_inside_a_file_is_run(tensors, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConversionError, match="can run code"):
        convert_cnn_rnn_checkpoint(write(tmp_path, {**tensors, "harm": Harmful()}), tmp_path / "out")
    assert os.listdir(tmp_path) == ["resnet.pth"]


def test_a_folder_is_not_replaced_unless_asked(tensors, tmp_path):
    path = write(tmp_path, tensors)
    convert_cnn_rnn_checkpoint(path, tmp_path / "resnet")
    with pytest.raises(FileExistsError, match="--overwrite"):
        convert_cnn_rnn_checkpoint(path, tmp_path / "resnet")
    convert_cnn_rnn_checkpoint(path, tmp_path / "resnet", overwrite=True)
