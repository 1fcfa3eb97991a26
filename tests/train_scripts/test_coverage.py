# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Scores of a part of a split say so: skip lists of recipes, and the coverage beside every metric."""

import json
import logging

import pytest
import yaml
from tiny_runs import one_thread, tiny_run  # noqa: F401

from clipbert.datasets_scripts.building.skip_lists import write_skip_list
from clipbert.datasets_scripts.building.usable_videos import UnusableVideosError
from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.train_scripts.engine.recipe import DataSection, Recipe, RecipeError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.publishing import ModelCardInfo
from clipbert.train_scripts.publishing.runs import read_scores
from clipbert.train_scripts.rescore import main as rescore
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.tasks.rows import load_rows


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coverage") / "shapes"
    counts = {"num_train": 4, "num_validation": 2, "num_test": 5}
    return generate_synthetic(folder, progress=False, preset="easy", captions_per_video=2, **counts)


@pytest.fixture
def skip_list(tmp_path):
    path = tmp_path / "skip.txt"
    write_skip_list(path, {"test_00001": "cut off", "test_00003": "missing"})
    return path


def evaluate(shapes, output_dir, *more):
    more = ("run.total_steps=1", "eval.splits={validation: monitor, test: final}", *more)
    return main(RetrievalTask(), tiny_run("synthetic", "retrieval", shapes, output_dir, *more))["results"]


def test_scores_of_a_part_carry_their_coverage(shapes, tmp_path, skip_list, caplog):
    with caplog.at_level(logging.INFO):
        results = evaluate(shapes, tmp_path / "run", f"data.skip_list={skip_list}")
    assert results["test"]["metrics"]["coverage"] == 0.6  # three of five videos
    assert results["test"]["metrics"]["num_examples"] == 6
    assert "coverage" not in results["validation"]["metrics"]  # whole
    assert "test: 6 of 10 rows (60.0 %) of synthetic are used." in caplog.text
    (shown,) = [line for line in caplog.messages if "test (final)" in line]
    assert "text to video R@1" in shown and "coverage 60.0%" in shown
    # everything that is written of it, and computed from it later
    written = json.loads((tmp_path / "run/results.json").read_text())["splits"]["test"]["metrics"]
    logged = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    (logged,) = [row["metrics"] for row in logged if row.get("split") == "test"]
    predictions = tmp_path / "run/predictions/test"
    records = json.loads((predictions / "records.json").read_text())
    assert written == logged == records["metrics"] == results["test"]["metrics"] == rescore([str(predictions)])
    assert records["video_ids"] == ["test_00000", "test_00002", "test_00004"]


def test_missing_videos_count_too(shapes, tmp_path):
    hidden = [shapes / "test/videos" / f"test_{number:05d}.mp4" for number in (0, 1)]
    for path in hidden:
        path.rename(path.with_suffix(".away"))
    try:
        with pytest.raises(
            UnusableVideosError, match=r"(?s)data.dataset=synthetic: .* rows with data.options.on_missing=skip"
        ):
            evaluate(shapes, tmp_path / "refused")
        results = evaluate(shapes, tmp_path / "run", "data.options.on_missing=skip")
    finally:
        for path in hidden:
            path.with_suffix(".away").rename(path)
    assert results["test"]["metrics"]["coverage"] == 0.6


def test_whole_splits_say_nothing(shapes, tmp_path):
    metrics = evaluate(shapes, tmp_path / "run")["test"]["metrics"]
    assert metrics["num_examples"] == 10 and "coverage" not in metrics


def test_the_coverage_reaches_the_model_card(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    (checkpoint / "trainer").mkdir(parents=True)
    (checkpoint / "trainer/state.json").write_text('{"step": 3}')
    (checkpoint / "recipe.yaml").write_text(yaml.safe_dump({"data": {"dataset": "msrvtt"}}))
    row = {"step": 3, "purpose": "final", "split": "test", "metrics": {"text_to_video_R@1": 0.5, "coverage": 0.95}}
    (tmp_path / "results.json").write_text(json.dumps({"splits": {"test": row}}))
    scores = read_scores(tmp_path / "results.json", checkpoint)
    assert ModelCardInfo.from_dict({"scores": scores}).scores[0].metrics["coverage"] == 0.95


# ----------------------------------------------------------------------------------------------------------------------
# The key `data.skip_list`
# ----------------------------------------------------------------------------------------------------------------------


def test_a_skip_list_is_ids_or_a_file(shapes, skip_list):
    for given in (str(skip_list), ["test_00001", "test_00003", "of another split"]):
        settings = DataSection(dataset="synthetic", config="retrieval", data_dir=str(shapes), skip_list=given)
        assert sorted(set(load_rows(settings, "test", ["retrieval"])["video_id"])) == [
            "test_00000",
            "test_00002",
            "test_00004",
        ]
        assert len(load_rows(settings, "train", ["retrieval"])) == 8
    settings = DataSection(dataset="synthetic", config="retrieval", data_dir=str(shapes), skip_list="nowhere.txt")
    with pytest.raises(FileNotFoundError, match="skip_list nowhere.txt is not a file"):
        load_rows(settings, "test", ["retrieval"])


@pytest.mark.parametrize(
    ("text", "value"),
    [("[a, b]", ["a", "b"]), ("lists/skip.txt", "lists/skip.txt"), ("[]", [])],
)
def test_recipes_take_both(text, value, tmp_path):
    base = [
        "model.family=clipbert",
        "model.config={}",
        "model.tokenizer=x",
        "data.dataset=synthetic",
        "run.output_dir=x",
        "run.total_steps=1",
    ]
    recipe = Recipe.load(overrides=[*base, f"data.skip_list={text}"])
    assert recipe.data.skip_list == value
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", r"data.skip_list.0: expected str, got 1 \(int\)"),
        ("7", r"data.skip_list: expected str or list of str, got 7"),
    ],
)
def test_other_values_are_refused(text, words):
    with pytest.raises(RecipeError, match=words):
        Recipe.load(overrides=["data.dataset=synthetic", f"data.skip_list={text}"])
