# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Frame vectors of videos, computed once and kept: with a frozen image encoder, a run that reads them takes minutes.

Run:     python train_scripts/extract.py --recipe FILE --set data.features=features/NAME
         python train_scripts/extract.py --model microsoft/resnet-50 --set data.features=features/NAME --videos my_videos

The first form takes a recipe of video_classification.py, and makes the vectors that a run with it reads: of all splits, by
the encoder and the frames that the recipe names. The same recipe with the same `data.features` then trains on them. The
second form takes files and folders (`--videos my_videos clip.mp4`); `--model` is a checkpoint, or a backbone.

A file is written when its video is done, so the same command goes on after a stop; several at once share a folder. Files
that were made with other weights, another transform or sampling, or of a video that has changed since, are named, and made
anew; with `--on_mismatch refuse` nothing is touched.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoConfig, BaseVideoProcessor, PreTrainedModel

from clipbert.processing import FeatureCache, SparseVideoProcessor
from clipbert.processing.feature_cache import DTYPES
from clipbert.support.families import has_family
from clipbert.support.terminal import printable
from clipbert.support.weights import listed
from clipbert.train_scripts.engine.data import DeadWorkerError, naming_dead_workers
from clipbert.train_scripts.engine.last_word import ending_with_the_reason
from clipbert.train_scripts.engine.launch import seed_everything
from clipbert.train_scripts.engine.pace import show_duration
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.tasks.building import build_model, build_processor
from clipbert.train_scripts.tasks.classification.cached import (
    FeaturePlan,
    check_encoder,
    plan_features,
    what_is_drawn,
)
from clipbert.train_scripts.tasks.classification.prediction import find_videos
from clipbert.train_scripts.tasks.extraction import Extraction, FeatureCacheError, extract_features
from clipbert.train_scripts.tasks.holdings import describe_holdings, show_bytes
from clipbert.train_scripts.video_classification import ClassificationRecipe, ClassificationTask


logger = logging.getLogger("clipbert.train_scripts")
# what a recipe has to say, and an extraction of files does not need
FILES = "files"
NO_RUN = ("data.dataset=video_folder", "run.output_dir=.", "run.total_steps=1", "data.train_split=train")


def read_model_name(name: str) -> list[str]:
    """What a recipe says of a model: a checkpoint of one of our families, or a backbone for a new one."""
    if has_family(AutoConfig.from_pretrained(name).model_type):
        return [f"model.from_pretrained={name}"]
    return ["model.family=cnn_rnn", f"model.parts={{backbone: {name}}}"]


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--videos", nargs="+", type=Path, metavar="VIDEO", help="files or folders, not the data of the recipe"
    )
    parser.add_argument(
        "--recipe", metavar="FILE", help="recipe of video_classification.py, whose --help lists the keys"
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


def read_recipe(given: argparse.Namespace) -> ClassificationRecipe:
    no_run = NO_RUN if given.videos and given.recipe is None else ()
    start = [] if given.model is None else read_model_name(given.model)
    recipe = ClassificationRecipe.load(given.recipe, [*no_run, *start, *given.set])
    if given.chunk_size < 1 or given.augmented_versions < 0:
        raise RecipeError(
            f"--chunk_size must be at least 1 and --augmented_versions at least 0, got {given.chunk_size} and "
            f"{given.augmented_versions}."
        )
    if recipe.data.features is None:
        raise RecipeError("data.features: missing; --set data.features=FOLDER says where the vectors go.")
    if given.augmented_versions and given.videos:
        raise RecipeError("--augmented_versions: only the training videos of a recipe are altered, not single files.")
    return recipe


def plan_extraction(
    recipe: ClassificationRecipe, given: argparse.Namespace
) -> tuple[PreTrainedModel, BaseVideoProcessor, FeaturePlan]:
    """Model and processor, built as a run with this recipe builds them, and what they are to make."""
    seed_everything(recipe.run.seed)  # so that random weights are the same, too
    recipe = replace(recipe, data=replace(recipe.data, features=None))
    if given.videos:
        processor = build_processor(recipe)
        model = build_model(recipe, "VideoClassification", processor)
        rows = {FILES: {"video": list(map(str, find_videos(given.videos)))}}
        # files are seen as an evaluation sees them
        recipe = replace(
            recipe, run=replace(recipe.run, total_steps=0), eval=replace(recipe.eval, splits={FILES: "final"})
        )
    else:
        parts = ClassificationTask().build(recipe)
        model, processor, rows = parts.model, parts.processor, dict(parts.eval_sets)
        if recipe.run.total_steps != 0:
            rows[recipe.data.train_split] = parts.train_set.rows
    check_encoder(model)
    if given.augmented_versions and not what_is_drawn(recipe, processor):
        raise RecipeError(
            "--augmented_versions: the recipe alters no training video; set data.augmentation, or leave it out."
        )
    return model, processor, plan_features(recipe, model, processor, rows, given.dtype, given.augmented_versions)


def main(arguments: Sequence[str] | None = None) -> Extraction:
    """
    Returns:
        `Extraction`: What was written, what was there, what cannot be decoded.

    Raises:
        RecipeError: If the command line does not say what to extract, with what, and where to.
        FeatureCacheError: If files were made otherwise and are refused, or a video cannot be decoded and the recipe says
            `data.on_decode_error: raise`; all others are done by then.
    """
    given = parse_arguments(arguments)
    recipe = read_recipe(given)
    model, processor, plan = plan_extraction(recipe, given)
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
    with ending_with_the_reason((RecipeError, FeatureCacheError, DeadWorkerError, FileNotFoundError)):
        main()
