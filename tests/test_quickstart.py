# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The quickstart learns: recall on unseen videos is far above chance."""

from pathlib import Path

import pytest

from datasets_scripts.synthetic_generation import generate_synthetic
from metrics.retrieval.retrieval import chance_recall
from train_scripts import quickstart
from train_scripts.engine.task import main
from train_scripts.retrieval import RetrievalTask


RECIPE = Path(quickstart.ROOT / quickstart.RECIPE)


@pytest.mark.slow  # minutes
@pytest.mark.timeout(3600)
def test_quickstart_learns(tmp_path):
    data = generate_synthetic(tmp_path / "data", preset="easy")
    settings = {
        "data.data_dir": data,
        "model.tokenizer": data / "vocab.txt",
        "run.output_dir": tmp_path / "run",
    }
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    result = main(RetrievalTask(), ["--recipe", str(RECIPE), *overrides])
    metrics = result["results"]["test"]["metrics"]
    assert metrics["num_videos"] == 64
    assert metrics["text_to_video_R@1"] >= 10 * chance_recall(64)
    quickstart.print_results(tmp_path / "run" / "results.json")


def test_quickstart_names_files_that_exist():
    for path in (quickstart.RECIPE, quickstart.LAUNCHER):
        assert (quickstart.ROOT / path).is_file()
