# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of written predictions, without a model: the same metrics again, or with another pooling over clips, another NMS.

Run:     python train_scripts/rescore.py OUTPUT_DIR/predictions/test
         python train_scripts/rescore.py OUTPUT_DIR/predictions/test --score_pooling lse > scores.json
         python train_scripts/rescore.py OUTPUT_DIR/predictions/test --rescaling dual_softmax
         python train_scripts/rescore.py OUTPUT_DIR/predictions/test --nms_iou 0.7 --ranking joint_with_segmentation
         python train_scripts/rescore.py OUTPUT_DIR/predictions/validation --write_submission submission.jsonl
         python train_scripts/rescore.py OUTPUT_DIR/predictions/validation --submission theirs.jsonl
         python train_scripts/rescore.py OUTPUT_DIR/split?/predictions/test     (each, and the mean of them)

They are printed as a table beside chance and blind baselines; what is written to a file or a pipe is JSON.
`--write_submission` writes answers in the format of QVHighlights, `--submission` scores such a file on the same questions.
The training scripts do the same with `--rescore OUTPUT_DIR/predictions/test [--set eval.score_pooling=lse]`. This one knows
by the predictions which task they are of.
"""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipbert.processing.moment_spans import RANKINGS
from clipbert.support.names import unknown_name
from clipbert.train_scripts import tasks
from clipbert.train_scripts.engine import predictions
from clipbert.train_scripts.engine.draws import average_scores
from clipbert.train_scripts.engine.report import describe_scores, print_scores
from clipbert.train_scripts.tasks.moment_retrieval.submissions import (
    read_questions,
    score_submission,
    write_submission,
)
from clipbert.train_scripts.tasks.retrieval.options import RESCALINGS


def rescore(folder: str | Path, score_pooling: str | None = None, **options: Any) -> dict[str, float]:
    """
    Compute the metrics of predictions that a training script wrote.

    Args:
        folder (`str` or `Path`): Holds `records.json` and `tensors.safetensors`.
        score_pooling (`str`, *optional*): `"mean"`, `"max"` or `"lse"`; by default the one of the run.
        options: Other settings of the evaluation that are to replace those of the run, such as `rescaling`.

    Returns:
        `dict`: The metrics. Of several draws (`eval.num_draws`) only the first is written; then `draw` says that it is
        this one, and `num_draws` of how many.

    Raises:
        FileNotFoundError: If the folder holds no predictions.
        ValueError: If they were written by an earlier version, or no task has their name.
    """
    task = predictions.read_predictions(folder).task
    known = [module.name for module in pkgutil.iter_modules(tasks.__path__) if module.ispkg]
    if task not in known:
        raise ValueError(
            f"{folder}: {unknown_name('task', task, known)}. Use --rescore of the script that wrote them."
        )
    measure = importlib.import_module(f"{tasks.__name__}.{task}").measure
    options = {"score_pooling": score_pooling, **options}
    return predictions.rescore(folder, measure, {name: value for name, value in options.items() if value is not None})


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", nargs="+", help="folders with records.json and tensors.safetensors")
    parser.add_argument("--score_pooling", choices=("mean", "max", "lse"), help="pooling over clips")
    parser.add_argument(
        "--rescaling", nargs="+", choices=RESCALINGS, help="retrieval: metrics of rescaled scores, too"
    )
    parser.add_argument("--dual_softmax_scale", type=float, help="factor of the similarities in the dual soft-max")
    moments = parser.add_argument_group("moment retrieval", "answers from the scores of segments, anew")
    moments.add_argument("--nms_iou", type=float, help="answers that overlap a better one by more are left out")
    moments.add_argument("--top_k", type=int, help="answers of a question")
    moments.add_argument("--ranking", choices=RANKINGS, help="by what they are ranked")
    moments.add_argument("--rescore_with_segmentation", type=float, help="weight of the third head in that")
    moments.add_argument("--max_seconds", type=float, help="longest answer")
    moments.add_argument("--strict_iou", action="store_true", default=None, help="a hit needs more than the threshold")
    moments.add_argument("--write_submission", metavar="FILE", help="write the answers as QVHighlights has them")
    moments.add_argument("--submission", metavar="FILE", help="score the answers of such a file in their place")
    given = vars(parser.parse_args(arguments))
    folders, written, answers = given.pop("predictions"), given.pop("write_submission"), given.pop("submission")
    if (written or answers) and len(folders) > 1:
        parser.error(f"one submission has the answers of one folder, got {len(folders)}")
    if written:
        write_submission(written, read_questions(folders[0]))
    if answers:
        found = [score_submission(answers, read_questions(folders[0]), bool(given["strict_iou"]))]
    else:
        found = [rescore(folder, **given) for folder in folders]
    if len(found) == 1:
        print_scores(found[0], folders[0])
        return found[0]
    for folder, metrics in zip(folders, found, strict=True):
        print(describe_scores(metrics, folder), file=sys.stderr)
    mean = average_scores(found)
    print_scores(mean, f"mean of {len(found)}")
    return mean


if __name__ == "__main__":
    main()
