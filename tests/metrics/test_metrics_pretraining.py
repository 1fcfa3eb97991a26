# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pre-training metrics: by hand, and against the recorded outputs of the official model."""

import doctest

import evaluate
import pytest
import torch
from official_records import load_head

import clipbert.metrics.pretraining.pretraining
from clipbert.metrics.pretraining import compute_pretraining_metrics


def test_by_hand():
    result = compute_pretraining_metrics(
        predicted_words=[[1, 2, 3], [4], [], [5, 5]],
        words=[[1, 2, 9], [1], [], [5, 6]],
        predicted_matches=[1, 0, 0, 1],
        matches=[1, 1, 0, 0],
    )
    assert result == {
        "mlm_accuracy": 2 / 4,  # of 1, 2, 9 and 1 the first two
        "mlm_blind_accuracy": 1 / 2,
        "mlm_majority_accuracy": 2 / 4,  # always saying 1
        "itm_accuracy": 2 / 4,
        "itm_majority_accuracy": 1 / 2,
        "num_words": 4,
        "num_blind_words": 2,
        "num_examples": 4,
    }


def test_every_word_counts_once_and_not_every_text():
    result = compute_pretraining_metrics([[1, 1, 1], [0]], [[1, 1, 1], [1]], [1, 1], [1, 1])
    assert result["mlm_accuracy"] == 3 / 4
    assert "mlm_blind_accuracy" not in result
    assert result["itm_majority_accuracy"] == 1.0


def test_a_constant_guess_scores_at_most_the_majority_accuracy():
    words = [[1, 2], [2, 3], [3, 3]]
    accuracies = [
        compute_pretraining_metrics([[guess] * 2] * 3, words, [1] * 3, [1] * 3)["mlm_accuracy"] for guess in range(5)
    ]
    majority = compute_pretraining_metrics(words, words, [1] * 3, [1] * 3)["mlm_majority_accuracy"]
    assert max(accuracies) == majority == 3 / 6


@pytest.mark.parametrize("case", ["sq64", "tall96"])
def test_recorded_outputs_of_the_official_model(parity_dir, case):
    """The official accuracy of words is over all pairs, as ours is where none is called a mismatch."""
    head = load_head(parity_dir, "pretraining")
    outputs, inputs = head.read("outputs.safetensors"), head.read("text_inputs.safetensors")
    labels, matches = inputs[f"{case}.mlm_labels"], inputs[f"{case}.itm_labels"]
    guesses, told = outputs[f"{case}.mlm_scores"].argmax(-1), outputs[f"{case}.itm_scores"].argmax(-1)
    asked = labels != -100
    predicted, words = (
        [row[place].tolist() for row, place in zip(rows, asked, strict=True)] for rows in (guesses, labels)
    )
    of_words = compute_pretraining_metrics(predicted, words, [1] * len(words), [1] * len(words))
    assert of_words["mlm_accuracy"] == pytest.approx(float((guesses == labels)[asked].float().mean()))
    assert of_words["num_words"] == int(asked.sum())
    of_pairs = compute_pretraining_metrics(words + [[1]], words + [[1]], [*told.tolist(), 1], [*matches.tolist(), 1])
    assert of_pairs["itm_accuracy"] == pytest.approx((int((told == matches).sum()) + 1) / (len(matches) + 1))
    # the words counted are those the official loss counts: it is 0 at all others
    assert torch.equal(outputs[f"{case}.mlm_loss"].reshape(labels.shape) != 0, asked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1]], [[1], [2]], [1, 1], [1, 1]), r"got \[1, 2, 2, 2\]"),
        (([[1]], [[1, 2]], [1], [1]), "Pair 0: expected 2 predicted words, got 1"),
        (([[1]], [[1]], [2], [1]), r"0 or 1, got \[2\]"),
        (([[1]], [[1]], [1], [0]), "none in 1 pairs"),
        (([], [], [], []), "none in 0 pairs"),
    ],
)
def test_wrong_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        compute_pretraining_metrics(*arguments)


def test_evaluate_loads_the_module_from_its_folder(request, tmp_path):
    folder = request.config.rootpath / "metrics" / "pretraining"
    metric = evaluate.load(str(folder), cache_dir=str(tmp_path))
    metric.add_batch(predictions=[{"words": [7, 8], "match": 1}], references=[{"words": [7, 9], "match": 1}])
    metric.add_batch(predictions=[{"words": [], "match": 1}], references=[{"words": [], "match": 0}])
    expected = compute_pretraining_metrics([[7, 8], []], [[7, 9], []], [1, 1], [1, 0])
    assert metric.compute() == expected


def test_examples_run_as_printed(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    results = doctest.testmod(clipbert.metrics.pretraining.pretraining)
    assert results.attempted and not results.failed
