# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Metrics of groups of rows: counted again by hand, in galleries, beside their baselines, and in the tables that people read."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import datasets
import numpy as np
import pytest

from clipbert.metrics.retrieval.rescaling import dual_softmax
from clipbert.train_scripts.engine.cell_table import summarise_scores
from clipbert.train_scripts.engine.groups import split_group
from clipbert.train_scripts.engine.predictions import Evaluation, Predictions, rescore, write_predictions
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.report import find_baselines, is_fraction, results_of, table, verdict
from clipbert.train_scripts.engine.sections import goal_of_metric
from clipbert.train_scripts.retrieval import RetrievalRecipe
from clipbert.train_scripts.tasks import question_answering, retrieval
from clipbert.train_scripts.tasks.groups import check_groups, columns_of_groups, find_groups
from clipbert.train_scripts.tasks.question_answering.items import make_caption_choices
from clipbert.train_scripts.tasks.retrieval.ranking import COUNTS
from clipbert.train_scripts.video_qa import VideoQARecipe


VALUES = ("always", "half", "half", None, "always", "half")  # of the six texts; the video of each has its number


def retrieval_predictions(odds, **info):
    rows = [
        {"caption_id": f"c{number}", "caption": "x", "video_id": f"v{number}", "groups": {"evidence": value}}
        for number, value in enumerate(VALUES)
    ]
    logits = np.stack([np.zeros_like(odds), odds], axis=-1)[:, :, None]  # (texts, videos, clips, labels)
    info = {
        "video_ids": [f"v{number}" for number in range(6)],
        "score_pooling": "mean",
        "group_by": ["evidence"],
        **info,
    }
    return Predictions("retrieval", rows, {"clip_logits": logits.astype(np.float32)}, info)


def ranks_by_hand(odds, columns):
    """Of each text, which of these videos are ahead of its own."""
    return {text: 1 + sum(odds[text, video] > odds[text, text] for video in columns) for text in columns}


@pytest.fixture
def odds():
    return np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)


@pytest.mark.parametrize("gallery_size", [None, 3])
def test_groups_are_ranked_among_the_same_videos(odds, gallery_size):
    metrics = retrieval.measure(retrieval_predictions(odds, gallery_size=gallery_size))
    galleries = [range(6)] if gallery_size is None else [range(3), range(3, 6)]
    for value in {*VALUES}:
        name = f"evidence={value or '(none)'}"
        means, counts = {1: [], "mean_rank": [], "median_rank": []}, 0
        for gallery in galleries:
            ranks = [rank for text, rank in ranks_by_hand(odds, gallery).items() if VALUES[text] == value]
            if ranks:
                means[1].append(np.mean([rank <= 1 for rank in ranks]))
                means["mean_rank"].append(np.mean(ranks))
                means["median_rank"].append(np.median(ranks))
                counts += len(ranks)
        assert metrics[f"text_to_video_R@1_{name}"] == pytest.approx(np.mean(means[1]))
        assert metrics[f"text_to_video_mean_rank_{name}"] == pytest.approx(np.mean(means["mean_rank"]))
        assert metrics[f"text_to_video_median_rank_{name}"] == pytest.approx(np.mean(means["median_rank"]))
        assert metrics[f"chance_R@1_{name}"] == metrics["chance_R@1"] == 1 / len(galleries[0])
        assert metrics[f"num_examples_{name}"] == counts == VALUES.count(value)
        assert (f"text_to_video_R@1_{name}_std" in metrics) == (len(means[1]) > 1)
    assert metrics["num_examples"] == 6 and metrics.get("num_galleries", 1) == len(galleries)
    assert not any("video_to_text" in name and "=" in name for name in metrics)
    without = retrieval.measure(retrieval_predictions(odds, gallery_size=gallery_size, group_by=[]))
    assert without == {name: value for name, value in metrics.items() if "=" not in name}


def test_counts_of_models_that_compare_give_the_same(odds):
    """Those predictions hold what was counted, and scores of all texts compete in a dual soft-max, whichever are measured."""
    predictions = retrieval_predictions(odds)
    expected = retrieval.measure(predictions)
    own, similarity = odds.diagonal(), odds / 10
    better = [(odds > own[:, None]).sum(1), np.zeros(6), (odds > own[None]).sum(0), np.zeros(6)]
    tensors = {
        "own_odds": own,
        "is_usable": np.ones(6, dtype=bool),
        "log_odds": odds,
        "frame_keys": np.array([0, 1, 1, 2, 3, 4]),
    }
    tensors |= {name: np.asarray(values, dtype=np.int64) for name, values in zip(COUNTS, better, strict=True)}
    info = {"similarity_scale": 10.0, "rescaling": ["dual_softmax"], "dual_softmax_scale": 100.0}
    predictions.tensors, predictions.info = tensors, predictions.info | info
    metrics = retrieval.measure(predictions)
    assert expected.items() <= metrics.items()
    rescaled = dual_softmax(similarity, 100.0)
    chosen = [number for number, value in enumerate(VALUES) if value == "half"]
    hits = [rescaled[number].argmax() == number for number in chosen]
    assert metrics["dual_softmax_text_to_video_R@1_evidence=half"] == np.mean(hits)
    # two of the three have a video that looks like another one
    assert (
        metrics["orderless_R@1_evidence=half"] == pytest.approx(2 / 3)
        and metrics["orderless_R@1_evidence=always"] == 1
    )


def test_groups_of_undecodable_videos_are_left_out(odds):
    predictions = retrieval_predictions(odds)
    predictions.tensors["clip_logits"][:, 3] = np.nan
    metrics = retrieval.measure(predictions)
    assert metrics["num_skipped_videos"] == 1 and not any("(none)" in name for name in metrics)
    assert metrics["chance_R@1_evidence=half"] == 1 / 5


def qa_predictions():
    gold, blind = ["red", "red", "blue", "blue", "red"], ["red", "red", "red", "blue", "red"]
    logits = np.array([[1, 0], [0, 1], [0, 1], [1, 0], [1, 0]], dtype=np.float32)  # blue comes first in the alphabet
    shares = [1.0, 1.0, 0.125, 0.125, 0.125]
    rows = [
        {"question_id": f"q{n}", "question": "?", "video_id": f"v{n}", "answer_type": "color", "gold": gold[n]}
        | {"blind": blind[n], "groups": {"visible_share": shares[n], "answer_type": "color"}}
        for n in range(5)
    ]
    info = {
        "answer": "open",
        "score_pooling": "mean",
        "answers": ["blue", "red"],
        "group_by": ["visible_share", "answer_type"],
    }
    return Predictions("question_answering", rows, {"clip_logits": logits[:, None]}, info)


def test_answers_of_groups_stand_beside_their_blind_baseline(tmp_path):
    predictions = qa_predictions()  # given: blue, red, red, blue, blue
    metrics = question_answering.measure(predictions)
    assert metrics["accuracy"] == 2 / 5
    found = {name: metrics[f"{name}_visible-share=0.125"] for name in ("accuracy", "blind_accuracy", "num_examples")}
    assert found == {"accuracy": 1 / 3, "blind_accuracy": 2 / 3, "num_examples": 3}
    assert metrics["accuracy_visible-share=1"] == 1 / 2 and metrics["blind_accuracy_visible-share=1"] == 1.0
    assert metrics["accuracy_answer-type=color"] == metrics["accuracy"] == metrics["accuracy_color"]
    assert not any(name.startswith("accuracy_color_") for name in metrics)  # types are a grouping of their own
    assert find_baselines("accuracy_visible-share=0.125", metrics) == {"blind": 2 / 3}
    write_predictions(tmp_path, 1, Evaluation(metrics, predictions))
    assert rescore(tmp_path, question_answering.measure, {}) == metrics


def test_tables_read_names_of_groups(odds):
    metrics = retrieval.measure(retrieval_predictions(odds, gallery_size=3))
    name = "text_to_video_R@1_evidence=half"
    assert name in results_of(metrics) and "chance_R@1_evidence=half" not in results_of(metrics)
    assert find_baselines(name, metrics) == {"chance": 1 / 3}
    (line,) = [line for line in table(metrics) if "text to video R@1 evidence=half" in line]
    assert "%" in line and "±" in line and "33.3 %" in line
    assert goal_of_metric("text_to_video_median_rank_evidence=half") == "min" and goal_of_metric(name) == "max"
    assert split_group(f"{name}_std") == (f"{name}_std", "")
    kept = {"accuracy_num-words=3": 0.5, "num_examples_num-words=3": 4, "mean_rank_mode=accuracy": 2.0}
    assert list(results_of(kept)) == ["accuracy_num-words=3", "mean_rank_mode=accuracy"]
    assert is_fraction("accuracy_num-words=3") and not is_fraction("mean_rank_mode=accuracy")
    found = summarise_scores(
        "accuracy_share=1", [{"accuracy_share=1": 0.5, "num_examples_share=1": 4, "num_examples": 900}] * 2
    )
    assert found["interval"][0] < 0.25 and found["interval"][1] > 0.75  # of 8 examples, not of 1800
    few = {"accuracy_share=1": 0.6, "blind_accuracy_share=1": 0.5, "num_examples_share=1": 4, "num_examples": 900}
    assert verdict(few, "accuracy_share=1")[0] is False


def test_values_are_sorted_and_named():
    rows = [{"groups": {"n": value}} for value in (None, 10.0, 2.5, 1 / 3, -1.0, 10.0)]
    assert find_groups(rows, ["n"]) == {
        "n=-1": [4],
        "n=0.3333333333333333": [3],
        "n=2.5": [2],
        "n=10": [1, 5],
        "n=(none)": [0],
    }
    words = find_groups([{"groups": {"my kind": value}} for value in ("b_c", "", "a b", True)], ["my kind"])
    assert list(words) == ["my-kind=True", "my-kind=-", "my-kind=a-b", "my-kind=b-c"]
    assert find_groups(rows, []) == {}


@dataclass
class Section:
    group_by: list[str] = field(default_factory=list)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("evidense", "validation has no column 'evidense'. Did you mean 'evidence'"),
        ("caption_id", "'caption_id' has 41 values, such as '0' and '1'; expected 40 at most"),
        ("windows", "expected a column of texts or numbers, got 'windows'"),
        ("alike", "'alike' has the values 'a b' and 'a_b', which are both called alike=a-b"),
    ],
)
def test_columns_that_make_no_groups_are_refused(column, message):
    rows = {"caption_id": list(map(str, range(41))), "evidence": ["x"] * 41, "windows": [[1]] * 41}
    rows = datasets.Dataset.from_dict({**rows, "alike": ["a b", "a_b"] + ["a b"] * 39})
    with pytest.raises(RecipeError, match=message.replace("(", r"\(")):
        check_groups(SimpleNamespace(eval=Section([column])), {"validation": rows})
    check_groups(SimpleNamespace(eval=Section(["evidence"])), {"validation": rows})
    assert (
        columns_of_groups(rows, ["evidence"])[40] == {"groups": {"evidence": "x"}}
        and columns_of_groups(rows, []) == [{}] * 41
    )


@pytest.mark.parametrize("recipe_class", [RetrievalRecipe, VideoQARecipe])
def test_recipes_know_metrics_of_their_groups(recipe_class):
    metric = "text_to_video_R@1" if recipe_class is RetrievalRecipe else "accuracy"
    given = [
        "model.family=clipbert",
        "model.config={}",
        "data.dataset=synthetic",
        "run.output_dir=x",
        "run.total_steps=1",
    ]
    given += ["eval.splits={validation: tuning}", f"eval.metric={metric}_visible-share=0.125"]
    recipe = recipe_class.load(None, [*given, "eval.group_by=[visible_share]"])
    assert recipe.eval.goal == "max"
    with pytest.raises(RecipeError, match="group_by: each column counts once"):
        recipe_class.load(None, [*given, "eval.group_by=[visible_share, visible_share]"])


def test_captions_keep_their_groups_as_options():
    rows = datasets.Dataset.from_dict(
        {
            "video_id": ["a", "b"],
            "video": ["a.mp4", "b.mp4"],
            "caption": ["x", "y"],
            "caption_id": ["1", "2"],
            "visible_share": [0.5, None],
        }
    )
    assert make_caption_choices(rows, 2, 0)["visible_share"][:] == [0.5, None]
