# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What people read of an evaluation: it once was a line of twenty numbers, without a word on whether they beat guessing."""

import json
import logging
import re
import shlex
import sys

import numpy as np
import pytest
from stub_task import StubTask, run

from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.engine.report import describe_evaluation, find_baselines, print_scores, verdict
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.tasks.question_answering.task import QuestionTask


RETRIEVAL = {"text_to_video_R@1": 0.5, "chance_R@1": 0.015625, "chance_R@5": 0.078, "text_to_video_R@5": 0.75}
RETRIEVAL |= {"text_to_video_median_rank": 1.0, "num_examples": 64, "num_skipped_videos": 2, "coverage": 0.98}


def test_a_table_has_words_values_and_what_guessing_gives():
    assert describe_evaluation(40, "te\x1bst", "final", RETRIEVAL).splitlines() == [
        r"step 40, te\x1bst (final): 64 examples, 2 skipped videos, coverage 98.0%",
        "                              value  chance",
        "  text to video R@1          50.0 %   1.6 %",
        "  text to video R@5          75.0 %   7.8 %",
        "  text to video median rank       1",
    ]


def test_several_draws_show_their_spread():
    lines = describe_evaluation(1, "val", "tuning", {"accuracy": 0.5, "accuracy_std": 0.01, "num_examples": 8})
    assert lines.splitlines()[1:] == ["  accuracy  50.0 % (± 1.0 %)"]


@pytest.mark.parametrize(
    ("metrics", "is_better", "sentence"),
    [
        (RETRIEVAL, True, "text to video R@1 of 50.0 % is better than chance (1.6 %)."),
        ({"accuracy": 0.2, "chance_accuracy": 0.2, "num_examples": 50}, False, "accuracy of 20.0 % is no better than"),
        ({"accuracy": 0.25, "chance_accuracy": 0.2, "num_examples": 50}, False, "leave ± 11.3 %"),
        ({"accuracy": 0.25, "chance_accuracy": 0.2, "num_examples": 5000}, True, "is better than chance (20.0 %)"),
        # the stronger baseline counts
        (
            {"accuracy": 0.3, "chance_accuracy": 0.2, "blind_accuracy": 0.4, "num_examples": 5000},
            False,
            "no better than a baseline that sees no picture (40.0 %)",
        ),
        ({"mlm_loss": 3.0, "mlm_blind_loss": 2.5, "num_examples": 9}, False, "mlm loss of 3 is no better than"),
        ({"mlm_loss": 2.0, "mlm_blind_loss": 2.5, "num_examples": 9}, True, "mlm loss of 2 is better than"),
        (
            {"text_to_video_R@1": 1.0, "chance_R@1": 1.0, "num_examples": 1},
            False,
            "100.0 % says nothing: chance reaches",
        ),
        ({"accuracy": float("nan"), "chance_accuracy": 0.2, "num_examples": 5}, False, "no better"),
    ],
)
def test_the_verdict_compares_with_the_strongest_way_to_guess(metrics, is_better, sentence):
    found = verdict(metrics)
    assert found[0] is is_better and sentence in found[1]


def test_without_a_baseline_there_is_no_verdict_and_the_metric_of_the_recipe_comes_first():
    assert verdict({"error": 0.1, "num_examples": 5}) is None
    metrics = {"a_accuracy": 0.9, "chance_accuracy": 0.5, "b_accuracy": 0.1, "num_examples": 100}
    assert verdict(metrics)[1].startswith("a accuracy") and verdict(metrics, "b_accuracy")[1].startswith("b accuracy")
    assert find_baselines("a_accuracy", {"chance_a_accuracy": 0.2, **metrics}) == {"chance": 0.2}


def test_one_kind_of_baseline_may_have_several_names():
    metrics = {"R1@0.5": 0.6, "blind-whole-video_R1@0.5": 0.2, "blind-model_R1@0.5": 0.3, "num_examples": 400}
    assert find_baselines("R1@0.5", metrics) == {"blind-whole-video": 0.2, "blind-model": 0.3}
    _, head, row = describe_evaluation(1, "test", "final", metrics).splitlines()
    assert head.split("  ")[-2:] == ["blind whole video", "blind model"] and row.split() == [
        "R1@0.5",
        "60.0",
        "%",
        "20.0",
        "%",
        "30.0",
        "%",
    ]
    is_better, said = verdict(metrics)
    assert is_better and said == "R1@0.5 of 60.0 % is better than a baseline that sees no picture (model) (30.0 %)."


def test_scores_are_a_table_for_people_and_json_for_programs(capsys, monkeypatch):
    metrics = {**RETRIEVAL, "draw": 1, "num_draws": 3}
    print_scores(metrics, "out/te\x1bst")
    output, shown = capsys.readouterr()
    assert json.loads(output) == metrics
    assert shown.splitlines()[0] == r"out/te\x1bst: 64 examples, 2 skipped videos, coverage 98.0%, draw 1 of 3"
    assert shown.splitlines()[1:5] == describe_evaluation(1, "test", "final", RETRIEVAL).splitlines()[1:]
    assert shown.splitlines()[5:] == ["text to video R@1 of 50.0 % is better than chance (1.6 %)."]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_scores(metrics, "test")
    assert capsys.readouterr().out == ""


class Guessing(StubTask):
    def measure(self, predictions):
        return {"accuracy": 0.2, "chance_accuracy": 0.2, "num_examples": 7}


def test_a_run_ends_with_a_warning_where_nothing_was_learnt_and_says_what_to_type(tmp_path, caplog):
    caplog.set_level("INFO", logger="clipbert.train_scripts")
    run(tmp_path / "a run", "run.total_steps=1", "eval.splits={test: final}", task=Guessing())
    (warning,) = [
        record.message
        for record in caplog.records
        if record.levelno == logging.WARNING and "GPU" not in record.message
    ]
    assert warning.startswith("test: accuracy of 20.0 % is no better than chance (20.0 %)")
    end = caplog.messages[-1]
    for name in ("checkpoints/last", "predictions/test", "results.json", "log.jsonl"):
        (line,) = re.findall(rf"^  (\S.*{name})   ", end, re.MULTILINE)
        assert line == str(tmp_path / "a run" / name)
    commands = [shlex.split(line) for line in re.findall(r"^    (.*)$", end, re.MULTILINE)]
    assert [words[2].rpartition(".")[2] for words in commands] == ["rescore", "publish"] or all(
        words[1].startswith("train_scripts/") for words in commands
    )
    assert all(str(tmp_path / "a run") in " ".join(words) for words in commands)


def test_examples_say_in_words_what_the_model_says():
    odds = np.array([[2.0, 1.0], [np.nan, 1.0]])
    rows = [{"caption": "a dog\nruns", "video_id": "b"}, {"caption": "a cat", "video_id": "b"}]
    found = Predictions("retrieval", rows, {"log_odds": odds}, {"video_ids": ["a", "b"]})
    assert RetrievalTask().describe_row(found, 0) == r'"a dog\nruns" finds a; its own b is number 2'
    assert RetrievalTask().describe_row(found, 1) == '"a cat" finds b; its own b is number 1'
    rows = [
        {"question": "who?", "prediction": "man", "gold": "dog"},
        {"question": "who?", "prediction": "man", "gold": "man"},
        {"question": "what?", "prediction": 1, "gold": 0, "options": ["red", "blue"]},
        {"question": "what?", "prediction": "red", "gold": {"red": 0.3, "blue": 1.0}},
        {"question": "what?", "prediction": "red", "gold": None},
        {"question": "what?", "prediction": None, "gold": "red"},
    ]
    task, found = QuestionTask(), Predictions("question_answering", rows)
    assert [task.describe_row(found, number) for number in range(6)] == [
        '"who?" man (right is: dog)',
        '"who?" man (right)',
        '"what?" blue (right is: red)',
        '"what?" red (right)',
        '"what?" red',
        '"what?" None (right is: red)',
    ]
