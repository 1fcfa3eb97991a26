# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of written predictions, without a model: the same metrics again, or with another pooling over clips.

Run:     python train_scripts/rescore.py OUTPUT_DIR/predictions/test
         python train_scripts/rescore.py OUTPUT_DIR/predictions/test --score_pooling lse

The training scripts do the same with `--rescore OUTPUT_DIR/predictions/test [--set eval.score_pooling=lse]`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file

from train_scripts.answering import measure_answers
from train_scripts.judged_pairs import measure_all
from train_scripts.retrieval import measure


def rescore(folder: str | Path, score_pooling: str | None = None) -> dict[str, float]:
    """
    Compute the metrics of predictions that a training script wrote.

    Args:
        folder (`str` or `Path`): Holds `records.json` and `tensors.safetensors`.
        score_pooling (`str`, *optional*): `"mean"`, `"max"` or `"lse"`; by default the one of the run.

    Raises:
        FileNotFoundError: If the folder holds no predictions.
    """
    folder = Path(folder)
    if not (folder / "records.json").is_file():
        raise FileNotFoundError(f"{folder} holds no predictions: expected records.json and tensors.safetensors.")
    records = json.loads((folder / "records.json").read_text(encoding="utf-8"))
    tensors, task = load_file(folder / "tensors.safetensors"), records.get("task", "retrieval")
    if score_pooling is not None:
        records["score_pooling"] = score_pooling
    measures = {"retrieval": measure, "question_answering": measure_answers, "pretraining": measure_all}
    metrics, _ = measures[task](tensors["clip_logits"], records)
    kept = {name: value for name, value in records["metrics"].items() if name == "coverage"}  # not in the predictions
    return {**metrics, **kept}


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", help="folder with records.json and tensors.safetensors")
    parser.add_argument("--score_pooling", choices=("mean", "max", "lse"), help="pooling over clips")
    given = parser.parse_args(arguments)
    metrics = rescore(given.predictions, given.score_pooling)
    print(json.dumps(metrics, indent=1))
    return metrics


if __name__ == "__main__":
    main()
