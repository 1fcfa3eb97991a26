# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Frame vectors of videos, computed once and kept: with a frozen image encoder, a run that reads them takes minutes.

Run:     python train_scripts/extract.py --recipe FILE --set data.features=features/NAME
         python train_scripts/extract.py --model microsoft/resnet-50 --set data.features=features/NAME --videos my_videos
         python train_scripts/extract.py card features/i3d --encoder "I3D, Kinetics"

The first form takes a recipe of video_classification.py or moment_retrieval.py, and makes the vectors that a run with it reads:
of all splits, by the encoder and the frames that the recipe names. The same recipe with the same `data.features` then trains on
them. The second form takes files and folders (`--videos my_videos clip.mp4`); `--model` is a checkpoint, or a backbone. The third
writes the card of features that others have made, see `clipbert/processing/feature_files.py`: what it is told, and what it finds.

A file is written when its video is done, so the same command goes on after a stop; several at once share a folder. Files
that were made with other weights, another transform or sampling, or of a video that has changed since, are named, and made
anew; with `--on_mismatch refuse` nothing is touched.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoConfig, BaseVideoProcessor, PreTrainedModel

from clipbert.datasets_scripts.building.media import find_videos
from clipbert.processing import FeatureCache, FeatureFileError, FeatureFiles, SparseVideoProcessor
from clipbert.processing.feature_cache import DTYPES
from clipbert.processing.feature_files import card_path
from clipbert.support.families import config_class, find_checkpoint, find_head, has_family
from clipbert.support.files import write_whole
from clipbert.support.terminal import printable
from clipbert.support.weights import listed, read_json_object
from clipbert.train_scripts.engine.cells import load_task
from clipbert.train_scripts.engine.data import DeadWorkerError, naming_dead_workers
from clipbert.train_scripts.engine.last_word import ending_with_the_reason
from clipbert.train_scripts.engine.launch import seed_everything
from clipbert.train_scripts.engine.pace import show_duration
from clipbert.train_scripts.engine.recipe import Recipe, RecipeError, find_family, read_values
from clipbert.train_scripts.engine.task import Task
from clipbert.train_scripts.engine.values import Source
from clipbert.train_scripts.tasks.building import build_model, build_processor
from clipbert.train_scripts.tasks.cached import (
    FeaturePlan,
    check_encoder,
    plan_features,
    video_processor_of,
    what_is_drawn,
)
from clipbert.train_scripts.tasks.cards import describe_features
from clipbert.train_scripts.tasks.extraction import Extraction, FeatureCacheError, extract_features
from clipbert.train_scripts.tasks.holdings import describe_holdings, show_bytes


logger = logging.getLogger("clipbert.train_scripts")
# Scripts whose runs read frame vectors, by the end of the name of the head that they train; a family has one of them.
SCRIPTS = {"VideoClassification": "video_classification.py", "MomentRetrieval": "moment_retrieval.py"}
# what a recipe has to say, and an extraction of files does not need
FILES = "files"
NO_RUN = ("data.dataset=video_folder", "run.output_dir=.", "run.total_steps=1", "data.train_split=train")


def read_model_name(name: str) -> list[str]:
    """What a recipe says of a model: a checkpoint of one of our families, or a backbone for a new one."""
    name = find_checkpoint(name)
    if has_family(AutoConfig.from_pretrained(name).model_type):
        return [f"model.from_pretrained={name}"]
    return ["model.family=cnn_rnn", f"model.parts={{backbone: {name}}}"]


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--videos", nargs="+", type=Path, metavar="VIDEO", help="files or folders, not the data of the recipe"
    )
    parser.add_argument(
        "--recipe", metavar="FILE", help="recipe of the script that trains, whose --help lists the keys"
    )
    parser.add_argument(
        "--set", metavar="SECTION.KEY=VALUE", action="extend", nargs="+", default=[], help="values of the recipe"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="without a recipe: a checkpoint or a backbone, folder or Hub name"
    )
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="of the stored vectors (default: float16)")
    parser.add_argument(
        "--augmented_versions",
        type=int,
        default=0,
        metavar="K",
        help="altered versions of each training video, by data.augmentation or random sampling (default: 0)",
    )
    parser.add_argument("--chunk_size", type=int, default=32, help="frames encoded at a time (default: 32)")
    parser.add_argument(
        "--on_mismatch",
        choices=("rebuild", "refuse"),
        default="rebuild",
        help="what to do with files that were made otherwise or are damaged (default: rebuild)",
    )
    return parser.parse_args(arguments)


def find_head_of(family: str | None) -> str:
    """The end of the name of the head that a family is trained with on frame vectors."""
    if family is not None and has_family(family):
        for head in SCRIPTS:
            with suppress(ValueError):
                find_head(config_class(family), head)
                return head
    return next(iter(SCRIPTS))  # which says what is wrong


def read_recipe(given: argparse.Namespace) -> tuple[Recipe, type[Task], str]:
    """The recipe, the task of the script that it is for, and the head of that."""
    no_run = NO_RUN if given.videos and given.recipe is None else ()
    start = [] if given.model is None else read_model_name(given.model)
    overrides = [*no_run, *start, *given.set]
    head = find_head_of(find_family(read_values(given.recipe, overrides, Source(given.recipe, overrides, Recipe))))
    task = load_task(Path(__file__).with_name(SCRIPTS[head]))
    recipe = task.recipe_class.load(given.recipe, overrides)
    if given.chunk_size < 1 or given.augmented_versions < 0:
        raise RecipeError(
            f"--chunk_size must be at least 1 and --augmented_versions at least 0, got {given.chunk_size} and "
            f"{given.augmented_versions}."
        )
    if recipe.data.features is None:
        raise RecipeError("data.features: missing; --set data.features=FOLDER says where the vectors go.")
    if given.augmented_versions and given.videos:
        raise RecipeError("--augmented_versions: only the training videos of a recipe are altered, not single files.")
    return recipe, task, head


def plan_extraction(
    recipe: Recipe, task: type[Task], head: str, given: argparse.Namespace
) -> tuple[PreTrainedModel, BaseVideoProcessor, FeaturePlan]:
    """Model and processor, built as a run with this recipe builds them, and what they are to make."""
    seed_everything(recipe.run.seed)  # so that random weights are the same, too
    recipe = replace(recipe, data=replace(recipe.data, features=None))
    if given.videos:
        processor = build_processor(recipe)
        model = build_model(recipe, head, processor)
        videos = {FILES: [str(path) for place in given.videos for path in find_videos(place)]}
        # files are seen as an evaluation sees them
        recipe = replace(
            recipe, run=replace(recipe.run, total_steps=0), eval=replace(recipe.eval, splits={FILES: "final"})
        )
    else:
        run = task()
        parts = run.build(recipe)
        model, processor, videos = parts.model, parts.processor, run.videos
    check_encoder(model)
    if given.augmented_versions and not what_is_drawn(recipe, processor):
        raise RecipeError(
            "--augmented_versions: the recipe alters no training video; set data.augmentation, or leave it out."
        )
    plan = plan_features(recipe, model, processor, videos, given.dtype, given.augmented_versions)
    return model, video_processor_of(processor), plan


def write_card(arguments: Sequence[str]) -> Path:
    """
    `extract.py card`: look at features of others and write their card beside them.

    Raises:
        RecipeError: If there is one already, and nobody said that it may be replaced.
    """
    parser = argparse.ArgumentParser(
        "extract.py card", description="Write the card of features that others have made."
    )
    parser.add_argument("source", type=Path, help="a folder with a file for each video, or a file with all of them")
    parser.add_argument("--encoder", required=True, metavar="NAME", help="what made the features")
    parser.add_argument("--weights", metavar="HASH", help="of the encoder")
    parser.add_argument("--transform", metavar="TEXT", help="how a picture was prepared")
    parser.add_argument("--sampling", metavar="TEXT", help="which pictures a row is of")
    parser.add_argument("--durations", metavar="FILE", help="JSON with the seconds of each video by its id")
    parser.add_argument("--layout", default="auto", help="which files of the folder, where there are several kinds")
    parser.add_argument("--key", metavar="NAME", help="name of the array in a file")
    parser.add_argument("--replace", action="store_true", help="write over a card that is there")
    given = parser.parse_args(arguments)
    path = card_path(given.source)
    if path.is_file() and not given.replace:
        raise RecipeError(f"There is a card already, {path}; --replace writes another one.")
    said = {name: getattr(given, name) for name in ("encoder", "weights", "transform", "sampling")}
    said["durations"] = None if given.durations is None else read_json_object(given.durations)
    card = describe_features(FeatureFiles(given.source, given.layout, given.key), **said)
    write_whole(path, json.dumps(card, indent=2) + "\n")
    least, most = card["num_rows"]
    print(f"{path}: {card['num_videos']} videos, {least} to {most} rows of {card['dimension']} numbers.")
    return path


def main(arguments: Sequence[str] | None = None) -> Extraction | Path:
    """
    Returns:
        `Extraction`: What was written, what was there, what cannot be decoded. Of `card` the path of the card.

    Raises:
        RecipeError: If the command line does not say what to extract, with what, and where to.
        FeatureFileError: If features that a card is to be written of cannot be read.
        FeatureCacheError: If files were made otherwise and are refused, or a video cannot be decoded and the recipe says
            `data.on_decode_error: raise`; all others are done by then.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["card"]:
        return write_card(arguments[1:])
    given = parse_arguments(arguments)
    recipe, *of_script = read_recipe(given)
    model, processor, plan = plan_extraction(recipe, *of_script, given)
    cache = FeatureCache(recipe.data.features)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    if plan.files and isinstance(processor, SparseVideoProcessor):
        videos = [job.video for job in plan.jobs if job.version == 0]
        num_copies = len(plan.files) / len(videos)
        print(describe_holdings(model, processor, videos, plan.jobs[0].options, given.dtype, num_copies))
    with naming_dead_workers(recipe):
        report = extract_features(
            model,
            processor,
            plan.jobs,
            cache,
            chunk_size=given.chunk_size,
            num_workers=recipe.data.num_workers,
            device=device,
            on_mismatch=given.on_mismatch,
        )
    report.unreadable = {**plan.unreadable, **report.unreadable}
    size = show_bytes(sum(path.stat().st_size for path in cache.folder.glob("*.safetensors")))
    print(
        f"{report.num_written} files written in {show_duration(report.total_s)}, {report.num_valid} were there and valid; "
        f"{cache.folder} takes {size}."
    )
    if report.unreadable:
        lines = sorted(report.unreadable.values())
        message = f"{len(lines)} videos cannot be decoded:{listed(map(printable, lines))}"
        if recipe.data.on_decode_error == "raise":
            raise FeatureCacheError(f"{message}\nRepair them, or set data.on_decode_error=skip. All others are done.")
        print(message)
    return report


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    with ending_with_the_reason(
        (RecipeError, FeatureCacheError, FeatureFileError, DeadWorkerError, FileNotFoundError)
    ):
        main()
