# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Every recipe of Mug-STAN that `retrieval.py` runs, as it stands, on a few records in the real formats, from a tiny CLIP."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from benchmark_files import write_benchmarks
from tiny_mug_stan import write_clip
from tiny_runs import one_thread, steps_of  # noqa: F401

from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalRecipe, RetrievalTask


FOLDER = Path(__file__).parents[2] / "train_scripts" / "recipes" / "mug_stan"
RECIPES = sorted(path.stem for pattern in ("pretrain_*", "retrieval_*") for path in FOLDER.glob(pattern))
OF_DATA_SETS = [name for name in RECIPES if name != "retrieval_video_folder"]
QUICK = {"pretrain_howto100m", "retrieval_msrvtt"}  # a stream of moments, a table of videos
SHRUNKEN = [
    "data.max_text_length=20",
    "data.num_frames=3",
    "data.num_workers=0",
    "run.mixed_precision=no",
    "run.global_batch_size=4",
    "run.micro_batch_size=2",
]
TWO_STEPS = ["run.num_epochs=null", "run.total_steps=2", "run.eval_every=1"]
STREAM = ["data.stream_lanes=2", "data.stream_window=6"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, write_video):
    """The benchmarks, a CLIP, and what post-pre-training leaves behind for YouCook2."""
    folder = tmp_path_factory.mktemp("recipes")
    write_benchmarks(folder, write_video)
    write_clip(folder / "clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("pretrain_htm_370k", *TWO_STEPS)
    return folder


def run(name, *more):
    recipe = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    start = ["model.parts.clip=clip", "model.overrides.stan_num_layers=2"] if "parts" in recipe["model"] else []
    stream = STREAM if recipe["data"].get("streaming") else []
    settings = [part for value in (*SHRUNKEN, *start, *stream, *more) for part in ("--set", value)]
    return main(RetrievalTask(), ["--recipe", str(FOLDER / f"{name}.yaml"), *settings])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in RECIPES]
)
def test_recipe_trains_evaluates_saves_and_resumes(name, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace)
    result = run(name, *TWO_STEPS, f"run.output_dir={tmp_path / 'run'}")
    recipe = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert result["finished"] and set(result["results"]) == set(recipe["eval"]["splits"])
    assert all(row["metrics"]["num_examples"] > 0 for row in result["results"].values())
    config = json.loads((tmp_path / "run" / "checkpoints" / "last" / "config.json").read_text())
    assert config["stan_num_layers"] == 2 and config["similarity"] == "mug" and config["loss_scale"] == 100
    steps = steps_of(tmp_path / "run")
    assert [row["step"] for row in steps] == [1, 2] and all(row["grad_norm"] > 0 for row in steps)
    # the weights of the second step are lost, as if the process had died in it
    shutil.copytree(tmp_path / "run", tmp_path / "resumed", symlinks=True)
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "step_00000002")
    resumed = run(name, *TWO_STEPS, f"run.output_dir={tmp_path / 'resumed'}")
    assert steps_of(tmp_path / "resumed") == steps and resumed["results"] == result["results"]


def test_youcook2_without_training(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    result = run("retrieval_youcook2")
    assert result["step"] == 0
    metrics = result["results"]["validation"]["metrics"]
    assert metrics["num_examples"] == metrics["num_videos"] == 6  # a clip is a video of its own


def test_narrations_are_pairs_of_a_sentence_and_its_seconds(workspace, monkeypatch):
    """The videos that the authors hold out take no part."""
    monkeypatch.chdir(workspace)
    recipe = RetrievalRecipe.load(FOLDER / "pretrain_htm_370k.yaml", [*SHRUNKEN, "model.parts.clip=clip"])
    train_set = RetrievalTask().build(recipe).train_set
    spans = {name.partition("@")[2] for name in train_set.ids}
    assert spans == {"0-0.9", "0.5-1.5", "1-2"} and len(train_set) == 12  # of six videos one is held out, one left out
    assert not any(name.startswith("narrated000") for name in train_set.ids)


@pytest.mark.parametrize("name", OF_DATA_SETS)
def test_recipe_says_what_is_published_and_how_to_run_it(name):
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    head = "\n".join(line for line in lines if line.startswith("#"))
    recipe = RetrievalRecipe.load(FOLDER / f"{name}.yaml")
    assert f"train_scripts/recipes/mug_stan/{name}.yaml" in head and "# Data:" in head
    assert "publish" in next(line for line in lines if line.startswith("# Expect:"))
    assert recipe.data.data_dir.startswith("data/") and recipe.data.data_dir in head
    assert recipe.run.output_dir == f"outputs/mug_stan_{name}"
    assert recipe.eval.splits.get("test") in (None, "final") and not recipe.eval.allow_test_selection
