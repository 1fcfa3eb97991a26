# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
torchvision's ResNets, such as `resnet50-11ad3fa6.pth`, as folders that `from_backbone_pretrained` and every class of
transformers read.

    python -m clipbert.modeling_cnn_rnn.convert_cnn_rnn_checkpoint --checkpoint_path resnet50-11ad3fa6.pth --output_dir resnet-50

Every tensor of the file has its place: the last layer of a classifier is converted too, and `CNNRNNModel` leaves it out.
"""

import argparse
import os
import re
from collections.abc import Mapping

import torch
from transformers import (
    ConvNextImageProcessor,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
)

from clipbert.support.weights import ConversionError, listed, new_folder, read_checkpoint


# torchvision's names, and ours below `resnet.`; `{}` stand for stage, block and layer of a block
_STEM = {"conv1": "embedder.embedder.convolution", "bn1": "embedder.embedder.normalization"}
_HEAD = {"fc": "classifier.1"}
_IN_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(?:(conv|bn)(\d)|downsample\.(0|1))")
_KINDS = {"conv": "convolution", "bn": "normalization", "0": "convolution", "1": "normalization"}
_COUNTERS = "num_batches_tracked"  # of batch norms; absent from files before torch 0.4.1, and nothing depends on them

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def convert_name(name: str) -> str | None:
    """Our name of a tensor of torchvision's ResNet, or `None` if it has no such tensor."""
    module, _, tensor = name.rpartition(".")
    if module in _HEAD:
        return f"{_HEAD[module]}.{tensor}"
    if module in _STEM:
        return f"resnet.{_STEM[module]}.{tensor}"
    if not (found := _IN_BLOCK.fullmatch(module)):
        return None
    stage, block, kind, layer, shortcut = found.groups()
    place = f"layer.{int(layer) - 1}" if kind else "shortcut"
    return f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}.{place}.{_KINDS[kind or shortcut]}.{tensor}"


def build_config(tensors: Mapping[str, torch.Tensor]) -> ResNetConfig:
    """
    The config that the shapes of a torchvision ResNet tell.

    Raises:
        ConversionError: If they are those of something else.
    """
    blocks = {found.groups()[:2] for name in tensors if (found := _IN_BLOCK.match(name))}
    stages = sorted({int(stage) for stage, _ in blocks})
    if "conv1.weight" not in tensors or not stages or stages != list(range(1, len(stages) + 1)):
        raise ConversionError(
            "This is no ResNet of torchvision: expected conv1.weight, layer1.0.conv1.weight, layer2.0.conv1.weight, ...; "
            f"the file has{listed(tensors)}"
        )
    last = "conv3" if "layer1.0.conv3.weight" in tensors else "conv2"
    sizes = [tensors[name].shape[0] for stage in stages if (name := f"layer{stage}.0.{last}.weight") in tensors]
    if len(sizes) < len(stages):
        raise ConversionError(f"A stage has no layer{{1..{len(stages)}}}.0.{last}.weight: the file is incomplete.")
    classes = {"num_labels": len(tensors["fc.weight"])} if "fc.weight" in tensors else {}
    return ResNetConfig(
        embedding_size=tensors["conv1.weight"].shape[0],
        hidden_sizes=sizes,
        depths=[sum(stage == str(number) for stage, _ in blocks) for number in stages],
        layer_type="bottleneck" if last == "conv3" else "basic",
        **classes,
    )


def build_resnet(tensors: Mapping[str, torch.Tensor]) -> PreTrainedModel:
    """
    The ResNet of transformers with the weights of torchvision's.

    Args:
        tensors (`Mapping[str, torch.Tensor]`): torchvision's state dict, with its classifier (`fc`) or without.

    Returns:
        `ResNetForImageClassification`, or `ResNetModel` without a classifier, in evaluation mode.

    Raises:
        ConversionError: If a tensor is missing, unknown, of another shape, or not finite; all of them are named.
    """
    config = build_config(tensors)
    has_classifier = any(name.startswith("fc.") for name in tensors)
    with torch.device("meta"):
        model = (ResNetForImageClassification if has_classifier else ResNetModel)(config)
    prefix = "" if has_classifier else "resnet."
    wanted = {f"{prefix}{name}": tensor.shape for name, tensor in model.state_dict().items()}
    places = {name: convert_name(name) for name in tensors}
    state = {place: tensors[name] for name, place in places.items() if place in wanted}
    state |= {name: torch.tensor(0) for name in wanted if name.endswith(_COUNTERS) and name not in state}
    wrong = [f"{name}: not a tensor of this ResNet" for name, place in places.items() if place not in wanted]
    wrong += [f"{name} (ours): missing" for name in wanted if name not in state]
    for name, place in places.items():
        if place in wanted and tensors[name].shape != wanted[place]:
            wrong.append(f"{name}: shape {tuple(tensors[name].shape)}, expected {tuple(wanted[place])}")
        elif not tensors[name].isfinite().all():
            wrong.append(f"{name}: not finite")
    if wrong:
        raise ConversionError(f"This is not a plain ResNet of torchvision (18, 34, 50, 101, 152):{listed(wrong)}")
    model.load_state_dict({name.removeprefix(prefix): tensor.clone() for name, tensor in state.items()}, assign=True)
    return model.eval()


def convert_cnn_rnn_checkpoint(
    checkpoint_path: str | os.PathLike, output_dir: str | os.PathLike, *, overwrite: bool = False
) -> PreTrainedModel:
    """
    Convert a ResNet of torchvision to a folder with configuration, weights, and the pixels that it expects.

    Args:
        checkpoint_path (`str` or `os.PathLike`): `.pth` or `.safetensors`; no code inside the file is run.
        output_dir (`str` or `os.PathLike`): Folder to write. It appears when it is complete, or not at all.
        overwrite (`bool`, *optional*, defaults to `False`): Replace a model folder that is already there.

    Returns:
        The model that was written.

    Raises:
        ConversionError: If something does not fit; nothing is written then.
        FileExistsError: If `output_dir` is not empty.
    """
    with new_folder(output_dir, overwrite, sources=[checkpoint_path]) as folder:
        model = build_resnet(read_checkpoint(checkpoint_path))
        model.save_pretrained(folder)
        ConvNextImageProcessor(
            size={"shortest_edge": 224}, crop_pct=224 / 256, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD
        ).save_pretrained(folder)
    return model


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m clipbert.modeling_cnn_rnn.convert_cnn_rnn_checkpoint",
        description="Convert a ResNet of torchvision to a folder that from_backbone_pretrained reads.",
    )
    parser.add_argument("--checkpoint_path", required=True, help="resnet50-11ad3fa6.pth, or the same as .safetensors")
    parser.add_argument("--output_dir", required=True, help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a model folder that is already there")
    return parser


def main(argv: list[str] | None = None) -> None:
    model = convert_cnn_rnn_checkpoint(**vars(build_parser().parse_args(argv)))
    layers, sizes = model.config.depths, model.config.hidden_sizes
    print(
        f"A {type(model).__name__} of {layers} blocks and {sizes[-1]} features, {model.num_parameters():,} parameters."
    )


if __name__ == "__main__":
    main()
