# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Who finds videos of which a caption tells only a part? R@1 by the share of frames that fit the caption (figure 1b, table IX).

Run:     python train_scripts/analyse_alignment.py outputs/STAN/predictions/test outputs/MUG/predictions/test \
             --reference openai/clip-vit-large-patch14 --output_dir outputs/alignment
         python train_scripts/analyse_alignment.py outputs/STAN outputs/MUG --shares DATA/test/captions.jsonl

What is compared are predictions that retrieval.py has written of the same split (`--set run.total_steps=0` writes those of a
checkpoint). Pairs are put into groups by a reference, an image-text model or a checkpoint of retrieval, that looks at
each frame by itself; or by shares that are known (generated videos of several shots). The threshold above which a frame is aligned is,
unless one is given, the similarity at which frames of other videos pass as often as those of the own one fail. It is printed,
beside what the paper's rule would say, a sigmoid of the inner product above 0.5.

OUTPUT_DIR/alignment.json, alignment.csv    counts, R@1 and 95 % intervals of each group
OUTPUT_DIR/shares.jsonl                     the share of each pair, for --shares
OUTPUT_DIR/alignment.png                    the same as a picture (`pip install "clipbert[plots]"`)
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import AutoConfig

from clipbert.modeling_mug_stan import MugSTANForVideoTextRetrieval, from_parts, knows_part, processor_from_parts
from clipbert.support.families import load_trained
from clipbert.support.terminal import printable_lines
from clipbert.train_scripts.engine.predictions import read_predictions
from clipbert.train_scripts.engine.recipe import DataSection, Recipe
from clipbert.train_scripts.tasks.building import has_head
from clipbert.train_scripts.tasks.retrieval.misalignment import (
    check_same_rows,
    choose_others,
    equal_error_threshold,
    group_pairs,
    read_shares,
    recall_by_group,
    score_frames,
)
from clipbert.train_scripts.tasks.retrieval.misalignment_report import describe, write
from clipbert.train_scripts.tasks.retrieval.trained import find_checkpoint
from clipbert.train_scripts.tasks.rows import RowsByVideo, load_rows
from clipbert.train_scripts.tasks.scoring import VisualReader
from clipbert.train_scripts.tasks.videos import ClipEvalSection


KINDS = ("retrieval", "video_text", "moments")


def find_predictions(place: Path) -> Path:
    """The predictions of a split; of a run those of its one split, or of its split `test`."""
    if (place / "records.json").is_file() or not (place / "predictions").is_dir():
        return place
    splits = sorted(path.parent for path in (place / "predictions").glob("*/records.json"))
    chosen = splits if len(splits) == 1 else [split for split in splits if split.name == "test"]
    if len(chosen) != 1:
        raise ValueError(
            f"{place} has predictions of {', '.join(split.name for split in splits) or 'no split'}: name a folder."
        )
    return chosen[0]


def load_reference(name: str) -> tuple[Any, Any]:
    """A model that compares frames with texts, and its processor: trained for retrieval, or an image-text model alone."""
    place, parts = find_checkpoint(name, "--reference"), {"clip": name}
    if not knows_part("clip", name) and has_head(AutoConfig.from_pretrained(place), "VideoTextRetrieval"):
        return load_trained(place)
    alone = {"stan_num_layers": 0, "similarity": "mean_pool"}
    return from_parts(MugSTANForVideoTextRetrieval, parts, **alone), processor_from_parts(parts)


def measure_shares(folder: Path, rows: Sequence[dict], given: argparse.Namespace) -> tuple[np.ndarray, dict[str, Any]]:
    """The share of aligned frames of each pair by the reference, and how it was found."""
    source = folder.parents[1] / "results.json"
    if not source.is_file():
        raise FileNotFoundError(
            f"{source} is missing: it says which videos {folder} is about. Name predictions within a run."
        )
    values = json.loads(source.read_text(encoding="utf-8"))["recipe"]["data"]
    data = DataSection(**{part.name: values[part.name] for part in fields(DataSection) if part.name in values})
    data.data_dir = given.data_dir or data.data_dir
    videos = RowsByVideo(load_rows(data, folder.name, KINDS))
    numbers = {video_id: number for number, video_id in enumerate(videos.ids)}
    if unknown := next((row["video_id"] for row in rows if row["video_id"] not in numbers), None):
        raise ValueError(
            f"{data.dataset} in {data.data_dir} has no video {unknown!r} in its split {folder.name}; {folder} has."
        )
    owners, captions = [numbers[row["video_id"]] for row in rows], [row["caption"] for row in rows]
    model, processor = load_reference(given.reference)
    accelerator = Accelerator()
    options = {"num_clips": given.num_frames, "num_frames": 1, "sampling": "uniform"}
    recipe = Recipe(data=data, eval=ClipEvalSection(video_block=8))
    reader = VisualReader(videos.sources(), "video", processor, options, recipe, accelerator, spans=videos.spans())
    with torch.inference_mode():
        both = score_frames(
            model.to(accelerator.device).eval(), reader, captions * 2, owners + choose_others(owners, captions)
        )
    reader.check_skipped(videos.ids)
    matched, others = both[: len(rows)], both[len(rows) :]
    threshold, error = given.threshold, None
    if threshold is None:
        threshold, error = equal_error_threshold(matched[~np.isnan(matched)], others[~np.isnan(others)])
    known = ~np.isnan(matched).any(axis=1)
    shares, printed = (np.where(known, (matched > level).mean(axis=1), np.nan) for level in (threshold, 0.0))
    how = {
        "reference": given.reference,
        "unit": "cosine" if hasattr(model, "similarity_scale") else "log-odds",
        "num_frames": given.num_frames,
        "threshold": threshold,
        "equal_error": error,
        "pairs_by_the_rule_of_the_paper": {name: int(sum(members)) for name, members in group_pairs(printed).items()},
    }
    return shares, how


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "predictions", nargs="+", type=Path, metavar="PREDICTIONS", help="folder with records.json, or a run"
    )
    parser.add_argument("--names", nargs="+", help="of the models, in the same order (default: their runs' folders)")
    by = parser.add_mutually_exclusive_group(required=True)
    by.add_argument("--reference", help="an image-text model, or a run or a checkpoint of retrieval")
    by.add_argument(
        "--shares", type=Path, metavar="FILE", help=".jsonl with the aligned_share of each video or caption"
    )
    parser.add_argument(
        "--threshold", type=float, help="similarity above which a frame is aligned (default: equal error)"
    )
    parser.add_argument(
        "--num_frames", type=int, default=12, help="frames of a video the reference sees (default: 12)"
    )
    parser.add_argument("--data_dir", help="where the data lie, if not where the run has found them")
    parser.add_argument("--output_dir", type=Path, help="folder of what is written (default: nothing is)")
    given = parser.parse_args(arguments)

    folders = [find_predictions(place) for place in given.predictions]
    predictions = [read_predictions(folder) for folder in folders]
    check_same_rows(predictions, folders)
    names = given.names or [folder.absolute().parents[1].name for folder in folders]
    if len(names) != len(folders):
        raise ValueError(f"--names: expected {len(folders)}, one for each of the predictions, got {len(names)}.")
    rows = predictions[0].rows
    if given.shares:
        shares, how = read_shares(given.shares, rows), {"shares": str(given.shares)}
    else:
        shares, how = measure_shares(folders[0], rows, given)
    found = {"names": names, **how, "groups": recall_by_group(predictions, shares)}
    print(describe(found))
    if given.output_dir:
        write(given.output_dir, found, rows, shares)
    return found


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(printable_lines(str(error)))
