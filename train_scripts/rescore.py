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

from clipbert.train_scripts.answering import measure_answers
from clipbert.train_scripts.judged_pairs import measure_all
from clipbert.train_scripts.retrieval import measure


POOLINGS = ("mean", "max", "lse")


def rescore(folder: str | Path, score_pooling: str | None = None) -> dict[str, float]:
    """
    Compute the metrics of predictions that a training script wrote.

    Args:
        folder (`str` or `Path`): Holds `records.json` and `tensors.safetensors`.
        score_pooling (`str`, *optional*): `"mean"`, `"max"` or `"lse"`; by default the one of the run.

    Returns:
        `dict`: The metrics. Of several draws (`eval.num_draws`) only the first is written; then `draw` says that it is
        this one, and `num_draws` of how many.

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
    if "num_draws" in records:
        kept |= {"draw": 1, "num_draws": records["num_draws"]}
    return {**metrics, **kept}


def read_pooling(given: argparse.Namespace) -> str | None:
    """
    The pooling that the command line of a training script asks for beside `--rescore`.

    Raises:
        ValueError: If anything else is set: the rest of the recipe is in the predictions already.
    """
    values = dict(item.partition("=")[::2] for item in given.set)
    pooling = values.pop("eval.score_pooling", None)
    others = [f"--set {name}={value}" for name, value in values.items()]
    others += [f"--{name} {getattr(given, name)}" for name in ("recipe", "push_to_hub") if getattr(given, name)]
    if others or pooling not in (None, *POOLINGS):
        raise ValueError(
            f"--rescore reads predictions, for which only --set eval.score_pooling={'|'.join(POOLINGS)} can be chosen; got "
            f"{', '.join(others) or f'eval.score_pooling={pooling}'}."
        )
    return pooling


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", help="folder with records.json and tensors.safetensors")
    parser.add_argument("--score_pooling", choices=POOLINGS, help="pooling over clips")
    given = parser.parse_args(arguments)
    metrics = rescore(given.predictions, given.score_pooling)
    print(json.dumps(metrics, indent=1))
    return metrics


if __name__ == "__main__":
    main()
