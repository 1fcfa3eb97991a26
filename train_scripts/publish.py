# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Publish a checkpoint: weights, processor, the code of both, and a model card, in a folder or on the Hub.

Run:     python train_scripts/publish.py --checkpoint outputs/quickstart/checkpoints/best --output_dir
outputs/published
         python train_scripts/publish.py --checkpoint ... --output_dir ... --push_to_hub user/name --license apache-2.0

Whoever loads it needs no installation of this package, only `trust_remote_code=True`. What the card is to say is read
from a YAML file with the keys of `ModelCardInfo` (`--card`); scores of a training run come from its `results.json`
(`--results`), the recipe from the `recipe.yaml` of the checkpoint.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from transformers import AutoConfig, AutoProcessor, PreTrainedModel, ProcessorMixin

import modeling_clipbert  # noqa: F401  registers the classes that the checkpoint names
import processing  # noqa: F401  likewise
from train_scripts.engine.model_card import ModelCardInfo
from train_scripts.engine.publishing import push_folder, registered_models, save_for_hub


def load_checkpoint(folder: Path) -> tuple[PreTrainedModel, ProcessorMixin]:
    """The model, as the class that its config names, and the processor of a checkpoint folder."""
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} is no checkpoint: it has no config.json. Pass the folder that holds one.")
    if not (folder / "processor_config.json").is_file():
        raise FileNotFoundError(f"{folder} has no processor_config.json: save the processor beside the model.")
    config = AutoConfig.from_pretrained(folder)
    classes = {cls.__name__: cls for group in registered_models(type(config)).values() for cls in group}
    name = (config.architectures or [None])[0]
    if name not in classes:
        raise ValueError(f"{folder}/config.json names the architecture {name!r}; known are {', '.join(classes)}.")
    return classes[name].from_pretrained(folder), AutoProcessor.from_pretrained(folder)


def read_card(card: Path | None, checkpoint: Path, results: Path | None, **given: Any) -> ModelCardInfo:
    """
    Put together what the card says: the YAML file, stronger values from the command line, recipe and scores of the
    run.

    Args:
        card (`Path`, *optional*): YAML with keys of [`ModelCardInfo`].
        checkpoint (`Path`): Its `recipe.yaml` is taken, unless the card has a recipe.
        results (`Path`, *optional*): `results.json` of a training run, whose scores are added to those of the card.
        given: Values of the command line; `None` where there are none.

    Raises:
        ValueError: If the card has unknown keys, or scores belong to another step than the checkpoint.
    """
    values = yaml.safe_load(card.read_text(encoding="utf-8")) if card else {}
    if not isinstance(values, dict):
        raise ValueError(f"{card}: expected keys of ModelCardInfo with values, got {type(values).__name__}.")
    values |= {name: value for name, value in given.items() if value}
    recipe = checkpoint / "recipe.yaml"
    if recipe.is_file():
        values.setdefault("recipe", recipe.read_text(encoding="utf-8"))
    if results is not None:
        values["scores"] = [*values.get("scores", []), *read_scores(results, checkpoint)]
    return ModelCardInfo.from_dict(values)


def read_scores(results: Path, checkpoint: Path) -> list[dict[str, Any]]:
    """The scores of a run's final splits, which must have been measured with this checkpoint."""
    recipe = yaml.safe_load((checkpoint / "recipe.yaml").read_text(encoding="utf-8"))
    step = json.loads((checkpoint / "trainer" / "state.json").read_text(encoding="utf-8"))["step"]
    rows = [
        row for row in json.loads(results.read_text(encoding="utf-8"))["splits"].values() if row["purpose"] == "final"
    ]
    if not rows:
        raise ValueError(f"{results} has no scores of a final split. Name one in `eval.splits` of the recipe.")
    for row in rows:
        if row["step"] != step:
            raise ValueError(
                f"{results}: the scores of {row['split']!r} were measured at step {row['step']}, but {checkpoint} is of "
                f"step {step}. Publish the checkpoint that was measured."
            )
    return [{"dataset": recipe["data"]["dataset"], "split": row["split"], "metrics": row["metrics"]} for row in rows]


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder with model and processor")
    parser.add_argument("--output_dir", type=Path, required=True, help="new folder for the published form")
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="upload the folder to this repository")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--card", type=Path, metavar="FILE", help="YAML with what the model card says")
    parser.add_argument("--results", type=Path, metavar="FILE", help="results.json of the run, for the card")
    parser.add_argument("--license", help="licence of the weights, by its identifier on the Hub")
    parser.add_argument(
        "--base_models", nargs="+", metavar="NAME", help="Hub names of the models the weights come from"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> Path:
    given = parse_arguments(arguments)
    if given.output_dir.exists() and any(given.output_dir.iterdir()):
        raise FileExistsError(f"{given.output_dir} is not empty, and all of it would be published. Name a new folder.")
    info = read_card(given.card, given.checkpoint, given.results, license=given.license, base_models=given.base_models)
    model, processor = load_checkpoint(given.checkpoint)
    folder = save_for_hub(model, processor, given.output_dir, info, repo_id=given.push_to_hub)
    print(f"{type(model).__name__} with its code and model card: {folder}")
    if given.push_to_hub:
        print(f"Uploaded: {push_folder(folder, given.push_to_hub, private=given.private)}")
    return folder


if __name__ == "__main__":
    main()
