# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts.synthetic.random_backbones --output_dir DIR`: small ResNets with random weights.

They stand in for pretrained ones where none can be had: DIR/resnet_1, resnet_2 and resnet_3, whose last stages are 96, 128 and
160 wide. Random filters tell shapes and colours of generated clips apart well enough to train on.
"""

import argparse
from pathlib import Path

import torch
from transformers import ConvNextImageProcessor, ResNetConfig, ResNetModel

from clipbert.support.files import whole_folder


WIDTHS = (96, 128, 160)  # not depths: random filters upon random filters tell less and less
PIXEL_STD = 0.02  # pixels so far apart that the vectors are about as large as those of trained networks


def write_random_backbones(output_dir: str | Path) -> list[Path]:
    """
    Write the folders that are not there yet.

    Args:
        output_dir (`str` or `Path`): Where to.

    Returns:
        `list[Path]`: A folder for each, with model and image processor.

    Example:
        >>> [folder.name for folder in write_random_backbones("backbones")]
        ['resnet_1', 'resnet_2', 'resnet_3']
    """
    folders = [Path(output_dir, f"resnet_{number}") for number in range(1, len(WIDTHS) + 1)]
    for width, folder in zip(WIDTHS, folders, strict=True):
        if folder.exists():
            continue
        with torch.random.fork_rng(devices=[]), whole_folder(folder) as partial:
            torch.manual_seed(width)
            sizes = {"embedding_size": 16, "hidden_sizes": [16, 32, width], "depths": [1, 1, 1]}
            ResNetModel(ResNetConfig(layer_type="basic", **sizes)).save_pretrained(partial)
            ConvNextImageProcessor(image_std=[PIXEL_STD] * 3).save_pretrained(partial)
    return folders


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", required=True, help="folder to write them into")
    for folder in write_random_backbones(parser.parse_args(arguments).output_dir):
        print(folder)


if __name__ == "__main__":
    main()
