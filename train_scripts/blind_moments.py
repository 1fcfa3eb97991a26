# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a benchmark of moments holds, what is reached on it without any video, and what segments can reach at best.

Run:     python train_scripts/blind_moments.py --data_dir data              (all benchmarks in data/charades_sta, data/tacos, ...)
         python train_scripts/blind_moments.py --data_dir data activitynet_captions/moments_vslnet --strict --json

Annotation files are enough. Each benchmark is read anew, so that what its loader leaves out or cuts is told every time.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from clipbert import datasets_scripts
from clipbert.datasets_scripts import find_loader, list_benchmarks, load_benchmark
from clipbert.metrics.moment_retrieval import reaches, temporal_iou
from clipbert.support.terminal import printable_lines
from clipbert.train_scripts.tasks.moment_retrieval.blind import NUM_DRAWS, blind_scores, oracle
from clipbert.train_scripts.tasks.moment_retrieval.questions import group_questions


TASK = "moments"
MEASURED = ("test", "validation")  # the first of these that there is
SEGMENTS = ({"num_segments": 16}, {"num_segments": 32}, {"num_segments": 64}, {"num_segments": 128})
SECONDS = ({"segment_s": 0.5}, {"segment_s": 1.0}, {"segment_s": 2.0})
FIRST_DRAW = "_first"
Rows = Sequence[Mapping[str, Any]]


def study_benchmark(name: str, config: str, data_dir: str | Path, strict: bool = False) -> dict[str, Any]:
    """
    Count a benchmark of moments, and measure it without its videos.

    Args:
        name (`str`): The benchmark, such as `"charades_sta"`.
        config (`str`): One of its configs with moments.
        data_dir (`str` or `Path`): Its annotation files.
        strict (`bool`, *optional*, defaults to `False`): Whether a hit needs an IoU above the threshold.

    Returns:
        `dict`: `counts` by split, `notes` of the loader (what it left out or cut), and, where durations are known, `measured` (the
        split), `blind` (see `blind_scores`) and `oracle`, `R1@0.7` and `mIoU` by size of the segments.
    """
    with gather_notes() as notes:
        streams = load_benchmark(name, config, data_dir=data_dir, on_missing="keep", streaming=True)
        splits = {split: list(rows) for split, rows in streams.items()}
    found = {"counts": {split: count(rows) for split, rows in splits.items()}, "notes": notes}
    measured = next((split for split in MEASURED if split in splits), None)
    if "train" not in splits or measured is None:
        return found
    if any(row["duration_s"] is None for split in ("train", measured) for row in splits[split]):
        notes.append(f"{measured}: durations of videos are not known: without them nothing is a share of a video")
        return found
    rows = splits[measured]
    reached = {" ".join(map(str, size.values())): reach(rows, **size) for size in (*SEGMENTS, *SECONDS)}
    return {**found, "measured": measured, "blind": blind_scores(splits["train"], rows, strict), "oracle": reached}


@contextmanager
def gather_notes() -> Iterator[list[str]]:
    """What loaders log meanwhile, in place of the terminal."""
    notes, logger = [], logging.getLogger(datasets_scripts.__name__)
    handler = logging.Handler()
    handler.emit = lambda record: notes.append(record.getMessage())
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield notes
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


def count(rows: Rows) -> dict[str, float]:
    lengths = np.array([row["end_s"] - row["start_s"] for row in rows])
    durations = {row["video_id"]: row["duration_s"] for row in rows}
    known = None not in durations.values()
    return {
        "moments": len(rows),
        "questions": len(group_questions(rows)),
        "videos": len(durations),
        "mean_moment_s": float(lengths.mean()),
        **({"mean_duration_s": float(np.mean(list(durations.values())))} if known else {}),
    }


def reach(rows: Rows, **segments: float) -> dict[str, float]:
    """What the best pair of segments of each video overlaps."""
    answers = np.array([(answer["start_s"], answer["end_s"]) for (answer,) in oracle(rows, **segments)])
    ious = temporal_iou(answers, np.array([(row["start_s"], row["end_s"]) for row in rows]))
    return {"R1@0.7": float(reaches(ious, 0.7).mean()), "mIoU": float(ious.mean())}


def describe(title: str, found: Mapping[str, Any]) -> str:
    lines = [title]
    for split, counts in found["counts"].items():
        length = f" of {counts['mean_duration_s']:.1f} s" if "mean_duration_s" in counts else ""
        lines.append(
            f"  {split:<12}{counts['moments']:>7,} moments of {counts['mean_moment_s']:.1f} s, {counts['questions']:,} questions, "
            f"{counts['videos']:,} videos{length}"
        )
    lines += [f"  {note}" for note in found["notes"]]
    if "blind" in found:
        lines.append(f"  {'blind, ' + found['measured'] + ': R@1 at IoU':<36}{'0.3':>6}{'0.5':>7}{'0.7':>7}")
        points = found["blind"]["uniform_points"]
        first = {name.removesuffix(FIRST_DRAW): points[name] for name in points if name.endswith(FIRST_DRAW)}
        shown = {name.replace("_", " "): scores for name, scores in found["blind"].items()}
        shown["uniform points"], shown[f"uniform points, 1 of {NUM_DRAWS} draws"] = points, first
        lines += [
            f"    {name:<32}" + "".join(f"{100 * scores[f'R1@{at}']:7.1f}" for at in (0.3, 0.5, 0.7))
            for name, scores in shown.items()
        ]
        lines.append(f"  {'best pair of segments':<36}{'R1@0.7':>6}{'mIoU':>7}")
        names = [f"{value} segments" for size in SEGMENTS for value in size.values()]
        names += [f"segments of {value} s" for size in SECONDS for value in size.values()]
        lines += [
            f"    {name:<32}{100 * scores['R1@0.7']:7.1f}{scores['mIoU']:7.3f}"
            for name, scores in zip(names, found["oracle"].values(), strict=True)
        ]
    return "\n".join(lines)


def find_benchmarks(data_dir: Path) -> list[str]:
    """`name/config` of everything with moments that has a folder of its name."""
    return [
        f"{name}/{config.name}"
        for name in list_benchmarks()
        if (data_dir / name).is_dir()
        for config in find_loader(name).BUILDER_CONFIGS
        if config.task == TASK
    ]


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmarks", nargs="*", metavar="NAME/CONFIG", help="default: all that are found")
    parser.add_argument("--data_dir", type=Path, required=True, help="holds a folder of each benchmark, by its name")
    parser.add_argument(
        "--strict", action="store_true", help="a hit needs an IoU above the threshold, as 2D-TAN counts"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    given = parser.parse_args(arguments)
    benchmarks = [each.partition("/") for each in given.benchmarks or find_benchmarks(given.data_dir)]
    if not benchmarks:
        known = ", ".join(
            name for name in list_benchmarks() if any(c.task == TASK for c in find_loader(name).BUILDER_CONFIGS)
        )
        parser.error(f"{given.data_dir} holds no folder with the name of a benchmark of moments: {known}")
    asked = [(name, config or TASK, given.data_dir / name, given.strict) for name, _, config in benchmarks]
    found = {}
    with ProcessPoolExecutor(min(len(asked), os.cpu_count() or 1)) as pool:
        for (name, config, *_), studied in zip(
            asked, pool.map(study_benchmark, *zip(*asked, strict=True)), strict=True
        ):
            found[f"{name}/{config}"] = studied
            if not given.json:
                print(printable_lines(describe(f"{name}/{config}", studied)), flush=True)
    if given.json:
        print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(printable_lines(str(error)))
