# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts.synthetic.random_backbones --output_dir DIR`: small ResNets with random weights.

They stand in for pretrained ResNets of three depths where none can be had: DIR/resnet_1, resnet_2 and resnet_3, with one, two
and three blocks a stage. Random filters tell shapes and colours of generated clips apart well enough to train on.
"""

import argparse
from pathlib import Path

import torch
from transformers import ConvNextImageProcessor, ResNetConfig, ResNetModel

from clipbert.support.files import whole_folder


DEPTHS = (1, 2, 3)
GAIN = 3.7  # what one block a stage more multiplies activations by: nothing has been trained, and nothing normalises


def write_random_backbones(output_dir: str | Path) -> list[Path]:
    """
    Write the folders that are not there yet.

    Args:
        output_dir (`str` or `Path`): Where to.

    Returns:
        `list[Path]`: A folder for each depth, with model and image processor.

    Example:
        >>> [folder.name for folder in write_random_backbones("backbones")]
        ['resnet_1', 'resnet_2', 'resnet_3']
    """
    folders = [Path(output_dir, f"resnet_{depth}") for depth in DEPTHS]
    for depth, folder in zip(DEPTHS, folders, strict=True):
        if folder.exists():
            continue
        with torch.random.fork_rng(devices=[]), whole_folder(folder) as partial:
            torch.manual_seed(depth)
            sizes = {"embedding_size": 16, "hidden_sizes": [16, 32, 128], "depths": [depth] * 3}
            ResNetModel(ResNetConfig(layer_type="basic", **sizes)).save_pretrained(partial)
            # pixels so far apart that the vectors are about as large as those of trained networks
            ConvNextImageProcessor(image_std=[0.02 * GAIN ** (depth - 1)] * 3).save_pretrained(partial)
    return folders


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", required=True, help="folder to write them into")
    for folder in write_random_backbones(parser.parse_args(arguments).output_dir):
        print(folder)


if __name__ == "__main__":
    main()
