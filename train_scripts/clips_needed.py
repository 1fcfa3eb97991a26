# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""How many clips a trained model needs: its scores with 1, 2, 4, ... clips, with their spread and cost, from one pass over the videos.

Run:     python train_scripts/clips_needed.py --checkpoint outputs/RUN [--recipe FILE] [--max_clips 16] [--set section.key=value ...]
         python train_scripts/clips_needed.py --grid outputs/GRID       (of a grid with `for_each: {clips_needed: ...}`)

For any model that retrieval.py or video_qa.py has trained, and any data that they read; without a recipe, those that it was trained on. The score of each row is that of an
evaluation with so many clips (`eval.num_clips`) as the recipe has it: the clips of all these evaluations are decoded together, those
that show the same frames are encoded once, and each is scored once, with every pooling. Without `data.fps` a clip is an equal part of
the video, so that with more clips each is shorter. A model that looks at the frames of a clip together, such as Mug-STAN, sees as many
frames in each clip in all rows; what is varied is the number of clips.

Intervals are those of a paired bootstrap over videos. `random clips` is the mean of draws with their standard deviation: with `eval.sampling:
random` and `eval.num_draws` those of the evaluation, else so many clips of the same length that were decoded, each drawn independently.
The knee is the smallest number whose score cannot be told from the best one: the interval of their difference holds 0, or the difference is
no more than the standard deviation of draws.

Of a grid, one table: each way of training with each number of clips at test time, over seeds, also for rows of a group; nothing is run.

OUTPUT_DIR/clips_needed.json, clips_needed.txt, clips_needed.png       the picture needs matplotlib: pip install "clipbert[plots]"
GRID/clips.md, clips.json, pictures/clips.png                          of a grid
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import AutoConfig

from clipbert.support.families import find_checkpoint
from clipbert.support.files import write_whole
from clipbert.support.terminal import printable, printable_lines
from clipbert.train_scripts.engine.cells import load_task
from clipbert.train_scripts.engine.launch import build_accelerator, seed_everything
from clipbert.train_scripts.engine.memory import naming_what_saves_memory
from clipbert.train_scripts.engine.pictures import PicturesError
from clipbert.train_scripts.engine.recipe import Recipe, RecipeError, read_values
from clipbert.train_scripts.engine.task import Task
from clipbert.train_scripts.engine.values import Source
from clipbert.train_scripts.tasks.building import choose_pooling
from clipbert.train_scripts.tasks.clip_counts import POOLINGS, ClipPass, describe_counts, measure_counts
from clipbert.train_scripts.tasks.clip_grids import NAME, describe_clips, summarise_clips
from clipbert.train_scripts.tasks.clip_pictures import draw_clips, draw_counts
from clipbert.train_scripts.tasks.clip_plans import ClipPlans, PlannedReader, SingleViews
from clipbert.train_scripts.tasks.videos import RANDOM_SAMPLING, video_options


SCRIPTS = {
    "VideoTextRetrieval": "retrieval",
    "VideoQA": "video_qa",
    "MultipleChoice": "video_qa",
    "Regression": "video_qa",
}
ONE_CLIP = ("start", "middle", "end")  # strategies that name one


def load_recipe(checkpoint: str, path: str, settings: Sequence[str], split: str | None) -> tuple[Task, Recipe]:
    """
    The task that a checkpoint was trained for, and the recipe that evaluates it on one split.

    Raises:
        RecipeError: If it was trained for another task, or the recipe names no split.
    """
    config = AutoConfig.from_pretrained(checkpoint)
    trained_as = (config.architectures or ["a model without a head"])[0]
    script = SCRIPTS.get(trained_as.rpartition("For")[2])
    if script is None:
        raise RecipeError(
            f"--checkpoint {checkpoint}: trained as {trained_as}; expected a model of retrieval or question answering."
        )
    if "answer" in (read_values(path, settings, Source(path, settings)).get("model") or {}):
        script = "video_qa"  # of captions as options, too, which a model for retrieval chooses among
    task = load_task(Path(__file__).with_name(f"{script}.py"))()
    values = {
        "model.family": config.model_type,
        "model.from_pretrained": checkpoint,
        **dict.fromkeys(("model.parts", "model.config", "model.tokenizer"), None),
        "model.overrides": {},
        **{
            "optim.schedule": "constant",
            "optim.milestones": [],
            "optim.cosine_start_ratio": None,
            "optim.cosine_fall_ratio": None,
        },
        **{"run.total_steps": 0, "run.num_epochs": None, "run.patience": None, "run.push_to_hub": None},
    }
    recipe = task.recipe_class.load(
        path, [*(f"{key}={json.dumps(value)}" for key, value in values.items()), *settings]
    )
    by_purpose = {purpose: name for name, purpose in reversed(recipe.eval.splits.items())}
    split = split or next((by_purpose[name] for name in ("final", "tuning", "monitor") if name in by_purpose), None)
    if split is None:
        raise RecipeError("eval.splits: names no split; pass --split, such as --split test.")
    recipe.eval.splits = {split: "final"}
    return task, recipe


def run_pass(task: Task, recipe: Recipe, counts: Sequence[int]) -> tuple[ClipPass, str | None]:
    """Decode, encode and score the clips of all numbers, each once; on all processes. Returns what was found, and how the model pools."""
    accelerator, (split,) = build_accelerator(recipe, task.find_unused_parameters), recipe.eval.splits
    seed_everything(recipe.run.seed)
    parts = task.build(recipe)
    options = video_options(recipe, parts.processor, is_training=False)
    check_options(options, counts, recipe)
    num_draws = recipe.eval.num_draws if options["sampling"] in RANDOM_SAMPLING else 1
    is_fixed_length = options["sampling"] != "whole_video" and (
        options["fps"] is not None or options["placement"] == "official"
    )
    plans = ClipPlans(tuple(counts), num_draws, is_fixed_length)
    readers: list[PlannedReader] = []

    def build_reader(*args: Any, **more: Any) -> PlannedReader:
        readers.append(PlannedReader(*args, **{**more, "notes_frames": False}, plans=plans))
        return readers[0]

    task.build_reader = build_reader
    model = SingleViews(parts.model.to(accelerator.device).eval())
    with naming_what_saves_memory(recipe, split, "eval"), torch.no_grad(), accelerator.autocast():
        result = task.evaluate(model, parts.eval_sets[split], accelerator, recipe)
    (reader,) = readers
    num_read = max(len(reader.visuals) - len(reader.skipped), 1)
    blocks = reader.blocks_read[1:] or reader.blocks_read  # the first is slower: its operations are counted
    views, seconds = (sum(each) for each in zip(*blocks, strict=True)) if blocks else (1, 0.0)
    found = ClipPass(
        result.predictions,
        plans,
        reader.places.numpy(),
        reader.num_frames.numpy(),
        float(reader.read_s.sum()) / num_read,
        seconds / views,
        model.operations,
    )
    return found, choose_pooling(recipe, parts.model)


def check_options(options: dict[str, Any], counts: Sequence[int], recipe: Recipe) -> None:
    """Raise if the clips of a model have no number that could be varied."""
    if "num_clips" not in options:
        raise RecipeError(
            f"--checkpoint: {recipe.model.family} sees frames of a video and no clips: there is no number of them to vary."
        )
    if options["sampling"] in ONE_CLIP and counts[-1] > 1:
        raise RecipeError(f"eval.sampling={options['sampling']} names one clip; use uniform or random.")


def choose_counts(most: int) -> list[int]:
    """
    Powers of two up to a number, and the number.

    Example:
        >>> choose_counts(16), choose_counts(6)
        ([1, 2, 4, 8, 16], [1, 2, 4, 6])
    """
    return sorted({1 << power for power in range(most.bit_length())} | {most})


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--checkpoint", help="a run, a checkpoint or a Hub name")
    asked.add_argument("--grid", type=Path, metavar="FOLDER", help="of a grid: the table of what its runs have found")
    parser.add_argument(
        "--recipe", metavar="FILE", help="data and how they are evaluated (default: the recipe in the checkpoint)"
    )
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="SECTION.KEY=VALUE", help="other values of the recipe"
    )
    parser.add_argument(
        "--max_clips", type=int, default=16, metavar="N", help="up to so many clips, by powers of two (default: 16)"
    )
    parser.add_argument("--counts", type=int, nargs="+", metavar="N", help="these numbers of clips, instead")
    parser.add_argument("--split", help="default: the final one of the recipe, else the one that it is tuned on")
    parser.add_argument("--metric", help="default: R@1 from text to video, or the accuracy")
    parser.add_argument(
        "--draws", type=int, default=10, metavar="N", help="draws of clips for the spread (default: 10)"
    )
    parser.add_argument(
        "--output_dir",
        type=Path,
        metavar="FOLDER",
        help=f"default: {NAME} in the folder of the recipe (run.output_dir)",
    )
    given = parser.parse_args(arguments)
    if given.grid is not None:
        return join_grid(given.grid)
    counts = sorted(set(given.counts or choose_counts(max(given.max_clips, 0))))
    if not counts or counts[0] < 1 or given.draws < 0:
        parser.error("expected numbers of clips of at least 1, and of draws of at least 0")
    checkpoint = find_checkpoint(given.checkpoint)
    path = given.recipe or str(Path(checkpoint) / "recipe.yaml")
    task, recipe = load_recipe(checkpoint, path, given.set, given.split)
    found, own = run_pass(task, recipe, counts)
    own = own or "mean"
    poolings = [own, *(name for name in POOLINGS if name != own and can_pool(found, name))]
    curves = [measure_counts(found, pooling, given.metric, given.draws, recipe.run.seed) for pooling in poolings]
    head = {
        "checkpoint": given.checkpoint,
        "recipe": path,
        "settings": given.set,
        "split": next(iter(recipe.eval.splits)),
    }
    result = {**head, "read_s": found.read_s, "view_s": found.view_s, "curves": curves}
    if PartialState().is_main_process:
        write_result(result, given.output_dir or Path(recipe.run.output_dir) / NAME)
    return result


def write_result(result: dict[str, Any], folder: Path) -> None:
    """Print the tables, and write them with the numbers and a picture."""
    head = f"{result['checkpoint']} on {result['split']} of {result['recipe']}"
    text = "\n\n".join(
        [
            printable(head),
            *map(describe_counts, result["curves"]),
            f"ms: a video encoded and scored with its texts, {1000 * result['view_s']:.3g} a clip; to open and decode the clips of all rows "
            f"took {1000 * result['read_s']:.4g} ms a video, once. G multiply-adds: of a video and of a text with it.",
        ]
    )
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{NAME}.json", json.dumps(result, indent=1))
    write_whole(folder / f"{NAME}.txt", text + "\n")
    try:
        draw_counts(result, folder / f"{NAME}.png")
    except PicturesError as error:
        print(printable(f"No picture: {error}"))
    print(printable(f"Written: {folder}/{NAME}.json, .txt, .png"))


def join_grid(folder: Path) -> dict[str, Any]:
    """Print and write the table of a grid whose runs have been measured."""
    table = folder / "table.json"
    if not table.is_file():
        raise FileNotFoundError(f"--grid {folder}: expected the folder of a grid, with its table.json.")
    found = summarise_clips(json.loads(table.read_text(encoding="utf-8")))
    text = describe_clips(found, folder.name)
    print(text)
    write_whole(folder / "clips.json", json.dumps(found, indent=1))
    write_whole(folder / "clips.md", text)
    try:
        draw_clips(found, folder / "pictures" / "clips.png")
    except PicturesError as error:
        print(printable(f"No picture: {error}"))
    return found


def can_pool(found: ClipPass, pooling: str) -> bool:
    return not (pooling == "lse" and found.predictions.info.get("answer") == "count")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(printable_lines(str(error)))
