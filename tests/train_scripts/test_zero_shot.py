# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`zero_shot.py`: one checkpoint on the sets that lie at hand, on a few records in the real formats."""

import csv
import json
import shutil

import numpy as np
import pytest
from benchmark_files import Videos, write_msrvtt
from class_sets import CLASSES, write_class_sets, write_tiny_clip
from tiny_runs import one_thread  # noqa: F401

from clipbert.modeling_mug_stan import MugSTANForVideoTextRetrieval
from clipbert.processing import MugSTANProcessor
from clipbert.train_scripts import zero_shot
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.rescore import rescore


FEWER = ["--set", "data.num_workers=0", "data.num_frames=3", "run.mixed_precision=no"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, write_video):
    """MSR-VTT, HMDB51 and Kinetics, and a checkpoint for retrieval that was trained on nothing."""
    folder = tmp_path_factory.mktemp("zero_shot")
    write_class_sets(folder, write_video, ["hmdb51", "kinetics400"])
    write_msrvtt(folder / "data" / "msrvtt", Videos(folder / "more", write_video))
    clip = write_tiny_clip(folder / "clip", max_length=32)
    MugSTANForVideoTextRetrieval.from_clip_pretrained(clip, stan_num_layers=2).save_pretrained(folder / "model")
    MugSTANProcessor.from_clip_pretrained(clip, num_frames=3).save_pretrained(folder / "model")
    return folder


def measure(workspace, output_dir, *more):
    shared = ["--checkpoint", str(workspace / "model"), "--data_dir", str(workspace / "data")]
    return zero_shot.main([*shared, "--output_dir", str(output_dir), *FEWER, *more])


@pytest.mark.slow
def test_the_row_of_a_checkpoint(workspace, tmp_path, capsys):
    columns = {column.title: column for column in measure(workspace, tmp_path)}
    found = {title for title, column in columns.items() if column.metrics}
    around = ' "a video of {}"'
    assert found == {"MSR-VTT", *(name + end for name in ("HMDB51", "Kinetics-400") for end in ("", around))}
    missing = {title for title, column in columns.items() if not column.metrics}
    assert {"DiDeMo", "LSMDC", "UCF101", "Something-Something V2"} <= missing
    # the same numbers as those of the task, of three official splits their mean
    results = json.loads((tmp_path / "retrieval_msrvtt" / "results.json").read_text())
    retrieval = results["splits"]["test"]["metrics"]
    expected = [100 * retrieval[f"text_to_video_R@{k}"] for k in (1, 5, 10)]
    assert columns["MSR-VTT"].values == pytest.approx([*expected, retrieval["text_to_video_median_rank"]])
    splits = [
        rescore(tmp_path / "video_classification_hmdb51" / f"split{n}" / "predictions" / "test") for n in (1, 2, 3)
    ]
    assert columns["HMDB51"].values == pytest.approx([100 * np.mean([metrics["accuracy"] for metrics in splits])])
    assert columns["HMDB51"].metrics["loss"] != columns[f"HMDB51{around}"].metrics["loss"]
    # as a table for people, with what is missing and what is published, and for programs
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "zero_shot.txt").read_text()
    names = {columns[title].name for title in missing}
    assert (
        all(printed.count(f"Missing: {name}: ") == 1 for name in names)
        and str(workspace / "data" / "didemo") in printed
    )
    assert "published: Mug-STAN B/16" in printed and "38.7/64.0/74.0/2" in printed
    with open(tmp_path / "zero_shot.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["MSR-VTT R@5"]) == pytest.approx(columns["MSR-VTT"].values[1])
    assert rows[0]["DiDeMo R@1"] == "" and rows[0]["model"] == str(workspace / "model")
    written = json.loads((tmp_path / "zero_shot.json").read_text())["columns"]
    assert [entry["metrics"] for entry in written] == [column.metrics for column in columns.values()]
    assert all((entry["metrics"] is None) == bool(entry["missing"]) for entry in written)


def test_a_recipe_of_ones_own(workspace, tmp_path, capsys):
    """With a set that lacks videos, which is named, too."""
    shutil.copytree(workspace / "data" / "kinetics400", tmp_path / "data" / "kinetics400")
    recipe = "mug_stan/video_classification_kinetics400.yaml"
    own = ["--recipes", recipe, "--data_dir", str(tmp_path / "data"), "--templates"]
    (column,) = measure(workspace, tmp_path / "whole", *own)
    assert column.metrics["num_examples"] == len(CLASSES["kinetics400"]) and column.values[0] <= 100
    next((tmp_path / "data" / "kinetics400" / "videos").glob("v*.mp4")).unlink()
    (column,) = measure(workspace, tmp_path / "less", *own, "--set", "data.options={on_missing: error}")
    assert column.metrics is None and "1 missing" in column.reason
    assert "Missing: Kinetics-400: " in capsys.readouterr().out
    grid = "mug_stan/grid_ablations.yaml"
    with pytest.raises(RecipeError, match="expected recipes with a final split"):
        measure(workspace, tmp_path / "none", "--recipes", grid)
    with pytest.raises(SystemExit):
        measure(workspace, tmp_path / "none", "--templates", "a video")
