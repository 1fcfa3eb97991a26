# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Publish a checkpoint: weights, processor, the code of both, and a model card, in a folder or on the Hub.

Run:     python train_scripts/publish.py --checkpoint outputs/quickstart/checkpoints/best --output_dir published
         python train_scripts/publish.py --checkpoint ... --output_dir ... --push_to_hub user/name --license apache-2.0

Whoever loads it needs no installation of this package, only `trust_remote_code=True`. What the card is to say is read
from a YAML file with the keys of `ModelCardInfo` (`--card`); scores of a training run come from its `results.json`
(`--results`), the recipe from the `recipe.yaml` of the checkpoint, and with it data, starting points and the pooling
over clips of the evaluation.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from clipbert.support.hub import push_folder
from clipbert.support.terminal import printable_lines
from clipbert.train_scripts.publishing import load_checkpoint, read_card, save_for_hub


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder with model and processor")
    parser.add_argument("--output_dir", type=Path, required=True, help="new folder for the published form")
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="upload the folder to this repository")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--card", type=Path, metavar="FILE", help="YAML with what the model card says")
    parser.add_argument("--results", type=Path, metavar="FILE", help="results.json of the run, for the card")
    parser.add_argument(
        "--endpoint_handler", action="store_true", help="add handler.py, which Inference Endpoints of Hugging Face run"
    )
    parser.add_argument("--license", help="licence of the weights, by its identifier on the Hub")
    parser.add_argument(
        "--base_models", nargs="+", metavar="NAME", help="Hub names of the models the weights come from"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> Path:
    given = parse_arguments(arguments)
    if given.output_dir.exists() and any(given.output_dir.iterdir()):
        raise FileExistsError(f"{given.output_dir} is not empty, and all of it would be published. Name a new folder.")
    model, processor = load_checkpoint(given.checkpoint)
    info = read_card(given.card, given.checkpoint, given.results, license=given.license, base_models=given.base_models)
    folder = save_for_hub(model, processor, given.output_dir, info, given.push_to_hub, given.endpoint_handler)
    print(f"{type(model).__name__} with its code and model card: {folder}")
    if given.push_to_hub:
        print(f"Uploaded: {push_folder(folder, given.push_to_hub, private=given.private)}")
    return folder


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(printable_lines(str(error)))
