# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Recall by the share of frames that a caption is about: groups and thresholds by hand, and the command on generated shots."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from tiny_mug_stan import write_clip
from tiny_runs import one_thread  # noqa: F401

from clipbert.datasets_scripts.building.records import AnnotationError
from clipbert.train_scripts.analyse_alignment import main as analyse
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.tasks.retrieval.misalignment import (
    GROUPS,
    check_same_rows,
    choose_others,
    equal_error_threshold,
    read_shares,
    recall_by_group,
)
from clipbert.train_scripts.tasks.retrieval.misalignment_report import draw


RECIPE = Path(__file__).parents[2] / "train_scripts" / "recipes" / "quickstart" / "mug_stan_shots.yaml"


def predictions_of(scores, **info):
    """Of as many texts as videos, of a model without galleries."""
    rows = [{"caption_id": f"c{row}", "caption": f"text {row}", "video_id": f"v{row}"} for row in range(len(scores))]
    info = {"video_ids": [row["video_id"] for row in rows], "score_pooling": "mean", **info}
    return Predictions("retrieval", rows, {"clip_logits": np.array(scores, dtype=np.float32)[..., None, None]}, info)


# --------------------------------------------------------------------------------------------------------------------
# By hand
# --------------------------------------------------------------------------------------------------------------------


def test_recall_of_groups_by_hand():
    first = predictions_of(
        [[3, 1, 0, 0], [2, 1, 0, 0], [0, 0, 3, 1], [0, 0, 1, 3]]
    )  # the second text finds the first video
    second = predictions_of(
        [[1, 3, 0, 0], [0, 3, 0, 0], [0, 0, 3, 3], [0, 0, 1, 3]]
    )  # a miss, a hit, a tie of two, a hit
    groups = recall_by_group([first, second], np.array([1.0, 0.9, 0.5, 0.1]))
    assert {name: row["num_pairs"] for name, row in groups.items()} == {"well": 2, "middle": 1, "poor": 1, "all": 4}
    recalls = {name: [model["R@1"] for model in row["models"]] for name, row in groups.items()}
    assert recalls == {"well": [0.5, 0.5], "middle": [1, 0.5], "poor": [1, 1], "all": [0.75, 0.625]}
    low, high = groups["all"]["models"][0]["interval"]
    assert low < 0.75 < high
    pairs = [predictions_of([[1, 0, 9, 9], [2, 1, 9, 9], [9, 9, 1, 0], [0, 9, 9, 9]], gallery_size=2)]
    assert (
        recall_by_group(pairs, np.ones(4))["all"]["models"][0]["R@1"] == (1 + 0 + 1 + 0.5) / 4
    )  # each among two videos
    # a pair of which nothing is known, and one that a model could not decode
    broken = predictions_of([[1, 0, np.nan, 0]] * 4)
    groups = recall_by_group([first, broken], np.array([np.nan, 0.9, 0.5, 0.1]))
    assert {name: row["num_pairs"] for name, row in groups.items()} == {"well": 1, "middle": 0, "poor": 1, "all": 2}
    assert groups["middle"]["models"] == [None, None]


def test_at_the_threshold_as_many_pass_as_fail():
    rng = np.random.default_rng(0)
    matched, mismatched = rng.normal(0.25, 0.03, 3000), rng.normal(0.15, 0.05, 5000)
    threshold, error = equal_error_threshold(matched, mismatched)
    assert (mismatched > threshold).mean() == pytest.approx(error, abs=1e-3)
    assert (matched <= threshold).mean() == pytest.approx(error, abs=1e-3)
    assert 0.19 < threshold < 0.23  # 0.25 - 0.03 d = 0.15 + 0.05 d at d = 1.25
    assert equal_error_threshold(np.array([0.9, 0.8]), np.array([0.1, 0.2])) == (0.2, 0.0)


def test_mismatched_pairs_have_another_video_and_another_caption():
    owners, captions = [0, 0, 1, 2, 3, 3], ["a", "b", "c", "a", "b", "d"]
    others = choose_others(owners, captions)
    for owner, caption, other in zip(owners, captions, others, strict=True):
        told = {text for video, text in zip(owners, captions, strict=True) if video == other}
        assert other != owner and told - {caption}
    with pytest.raises(ValueError, match="No other video is there for 'a'"):
        choose_others([0, 1], ["a", "a"])


def test_what_cannot_be_compared_is_refused(tmp_path):
    found = predictions_of([[1, 0], [0, 1]])
    folders = [Path("first"), Path("second")]
    others = predictions_of([[1, 0], [0, 1]])
    others.rows[0]["video_id"] = "another"
    for second, message in (
        (others, "second and first are not of the same captions and videos"),
        (predictions_of([[1, 0], [0, 1]], gallery_size=2), "ranked in galleries of other sizes"),
        (Predictions("classification"), "second: expected predictions of retrieval.py, got some of the task 'class"),
    ):
        with pytest.raises(ValueError, match=message):
            check_same_rows([found, second], folders)
    path = tmp_path / "shares.jsonl"
    for content, error, message in (
        (
            '{"caption_id": "c0", "aligned_share": 1.5}',
            AnnotationError,
            "line 1: expected 'aligned_share' from 0 to 1",
        ),
        ('{"video_id": "v0"}', AnnotationError, "line 1: expected 'aligned_share' from 0 to 1, got None"),
        ("", AnnotationError, "the file is empty"),
        ('{"video_id": "v0", "aligned_share": 1}', ValueError, "has no share of 1 of 2 captions:\n    c1"),
    ):
        path.write_text(content)
        with pytest.raises(error, match=message):
            read_shares(path, found.rows)


# --------------------------------------------------------------------------------------------------------------------
# The command
# --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Two runs of the recipe of the shots, on few videos, and a CLIP."""
    folder = tmp_path_factory.mktemp("shots")
    fewer = [
        "data.options.generate={preset: motion_shots, num_train: 36, num_validation: 36, num_test: 36, size: 36}",
        "data.num_workers=0",
        "run.total_steps=1",
        "run.eval_every=null",
        "eval.splits={test: final}",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, similarity in (("mug", "mug"), ("mean", "mean_pool")):
            values = [*fewer, f"model.config.similarity={similarity}", f"run.output_dir={folder / name}"]
            main(RetrievalTask(), ["--recipe", str(RECIPE), *(part for value in values for part in ("--set", value))])
        write_clip(folder / "clip")
    return folder


def test_by_shares_that_are_known(workspace, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    shares = workspace / "outputs" / "quickstart" / "mug_stan_shots_data" / "test" / "captions.jsonl"
    found = analyse(["mean", "mug/predictions/test", "--shares", str(shares), "--output_dir", str(tmp_path / "out")])
    assert found["names"] == ["mean", "mug"]
    assert {name: row["num_pairs"] for name, row in found["groups"].items()} == {
        "well": 12,
        "middle": 12,
        "poor": 12,
        "all": 36,
    }
    for place, name in enumerate(found["names"]):
        own = json.loads((workspace / name / "results.json").read_text())["splits"]["test"]["metrics"][
            "text_to_video_R@1"
        ]
        assert found["groups"]["all"]["models"][place]["R@1"] == pytest.approx(own)
    printed = capsys.readouterr().out
    assert re.search(r"poor \(less than 1/3\) +12 +\d+\.\d % \[", printed)
    assert json.loads((tmp_path / "out" / "alignment.json").read_text()) == found
    rows = list(csv.DictReader((tmp_path / "out" / "alignment.csv").open()))
    assert len(rows) == 8 and float(rows[0]["R@1"]) == found["groups"]["well"]["models"][0]["R@1"]
    again = analyse(["mean", "mug", "--shares", str(tmp_path / "out" / "shares.jsonl")])
    assert again["groups"] == found["groups"]


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    models = [{"R@1": 0.5, "interval": [0.4, 0.6]}, None]
    draw(
        {"names": ["a $x", "b"], "groups": {name: {"num_pairs": 3, "models": models} for name in GROUPS}},
        tmp_path / "a.png",
    )
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_by_a_reference(workspace, tmp_path, monkeypatch, capsys):
    """An image-text model alone, and a checkpoint of retrieval; both say where their threshold lies."""
    monkeypatch.chdir(workspace)
    more = ["--num_frames", "6", "--output_dir", str(tmp_path / "out")]
    found = analyse(["mean", "mug", "--reference", "clip", *more])
    assert found["unit"] == "cosine" and -1 < found["threshold"] < 1 and 0 < found["equal_error"] < 1
    assert sum(found["groups"][name]["num_pairs"] for name in ("well", "middle", "poor")) == 36
    assert sum(found["pairs_by_the_rule_of_the_paper"][name] for name in ("well", "middle", "poor")) == 36
    assert "at which" in capsys.readouterr().out
    assert counts_of(["mean", "--reference", "clip", "--threshold", "1", *more]) == {
        "well": 0,
        "middle": 0,
        "poor": 36,
    }
    assert counts_of(["mean", "--reference", "clip", "--threshold", "-1.1", *more]) == {
        "well": 36,
        "middle": 0,
        "poor": 0,
    }
    found = analyse(["mug", "--reference", "mean", "--num_frames", "3"])
    assert found["unit"] == "cosine" and found["groups"]["all"]["num_pairs"] == 36


def counts_of(arguments):
    groups = analyse(arguments)["groups"]
    return {name: groups[name]["num_pairs"] for name in ("well", "middle", "poor")}


def test_places_without_predictions_are_named(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    with pytest.raises(FileNotFoundError, match="clip holds no predictions"):
        analyse(["clip", "--reference", "clip"])
    with pytest.raises(ValueError, match="--names: expected 1, one for each of the predictions, got 2"):
        analyse(["mean", "--names", "a", "b", "--reference", "clip"])
