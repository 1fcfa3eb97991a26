# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Retrieval metrics: by hand, against recorded official values, and against brute force over all orders of ties."""

import doctest
import json
import re
from itertools import permutations

import evaluate
import numpy as np
import pytest

import clipbert.metrics.retrieval.retrieval
from clipbert.metrics.retrieval import RetrievalRanks, chance_recall, compute_retrieval_metrics


DIRECTIONS = ("text_to_video", "video_to_text")
KEYS = ("R@1", "R@5", "R@10", "median_rank", "mean_rank")


def load_cases(small_parity_dir) -> dict[str, dict]:
    cases = json.loads((small_parity_dir / "metrics" / "retrieval_metrics.json").read_text())["cases"]
    for case in cases:
        case["scores"] = np.array(case["scores"])
        case["gold"] = [case["video_ids"].index(video) for video in case["caption_to_video"]]
    return {case["name"]: case for case in cases}


def official(values: dict) -> list[float]:
    return [values["r1"] / 100, values["r5"] / 100, values["r10"] / 100, values["medianR"], values["meanR"]]


def ours(metrics: dict, direction: str) -> list[float]:
    return [metrics[f"{direction}_{key}"] for key in KEYS]


@pytest.mark.parametrize("name", ["one_caption_per_video", "shuffled_ground_truth", "three_captions_per_video"])
@pytest.mark.parametrize("ties", ["average", "optimistic", "pessimistic"])
def test_official_values_without_ties(small_parity_dir, name, ties):
    case = load_cases(small_parity_dir)[name]
    metrics = compute_retrieval_metrics(case["scores"], case["gold"], ties=ties, video_to_text="last")
    for direction, key in zip(DIRECTIONS, ("text2video", "video2text"), strict=True):
        assert ours(metrics, direction) == pytest.approx(official(case["metrics"][key]), rel=1e-12)


@pytest.mark.parametrize("name", ["ties_coarse_scores", "all_equal", "ties_from_4_digit_rounding"])
def test_official_values_lie_between_our_bounds(small_parity_dir, name):
    case = load_cases(small_parity_dir)[name]
    arguments = {"gold": case["gold"], "video_to_text": "last", "round_decimals": case["rounding"]}
    metrics = {
        ties: compute_retrieval_metrics(case["scores"], ties=ties, **arguments)
        for ties in ("optimistic", "average", "pessimistic")
    }
    for direction, key in zip(DIRECTIONS, ("text2video", "video2text"), strict=True):
        for ties in ("optimistic", "pessimistic"):
            assert ours(metrics[ties], direction) == pytest.approx(official(case["bounds"][key][ties]), rel=1e-12)
        better, worse = (np.array(ours(metrics[ties], direction)) for ties in ("optimistic", "pessimistic"))
        between = [ours(metrics["average"], direction)]
        between += [official(version[key]) for version in case["metrics_by_torch"].values()]
        for values in between:
            assert (np.minimum(better, worse) <= np.array(values) + 1e-12).all()
            assert (np.array(values) <= np.maximum(better, worse) + 1e-12).all()


def test_rounding_makes_the_ties_of_the_official_code(small_parity_dir):
    case = load_cases(small_parity_dir)["ties_from_4_digit_rounding"]
    coarse = case["scores"].round(4)
    fine = coarse + np.linspace(-4e-5, 4e-5, coarse.size).reshape(coarse.shape)
    arguments = {"gold": case["gold"], "ties": "pessimistic"}
    rounded = compute_retrieval_metrics(fine.astype(np.float32), round_decimals=4, **arguments)
    assert rounded == compute_retrieval_metrics(coarse, **arguments)
    assert rounded != compute_retrieval_metrics(fine, **arguments)
    values = np.random.default_rng(0).random(1000).astype(np.float32)
    gold = np.arange(1000) % 2
    pairs = np.stack([values, values[::-1]], axis=1)
    slowly = np.array([[round(float(value), 4) for value in row] for row in pairs])  # as the official code rounds
    assert compute_retrieval_metrics(pairs, gold, round_decimals=4) == compute_retrieval_metrics(slowly, gold)


def test_four_by_four_by_hand():
    scores = [
        [0.9, 0.1, 0.2, 0.3],  # rank 1
        [0.8, 0.7, 0.1, 0.2],  # rank 2
        [0.9, 0.8, 0.1, 0.7],  # rank 4
        [0.1, 0.2, 0.3, 0.6],  # rank 1
    ]  # ranks of the videos: 0.9 ties with 0.9, 0.7 is second, 0.1 is third or fourth, 0.6 is second
    metrics = compute_retrieval_metrics(scores)
    assert ours(metrics, "text_to_video") == [0.5, 1.0, 1.0, 1.5, 2.0]
    assert metrics["video_to_text_R@1"] == 0.5 / 4
    assert metrics["video_to_text_mean_rank"] == (1.5 + 2 + 3.5 + 2) / 4
    assert metrics["video_to_text_median_rank"] == 2.0
    assert (metrics["num_texts"], metrics["num_videos"], metrics["num_videos_without_text"]) == (4, 4, 0)
    assert compute_retrieval_metrics(scores, ties="optimistic")["video_to_text_R@1"] == 0.25
    assert compute_retrieval_metrics(scores, ties="pessimistic")["video_to_text_R@1"] == 0.0


def test_several_captions_a_video():
    scores = np.array(
        [
            [0.9, 0.1],  # of video 0
            [0.2, 0.3],  # of video 0
            [0.5, 0.8],  # of video 1
            [0.6, 0.7],  # of video 1
        ]
    )
    gold = [0, 0, 1, 1]
    best = compute_retrieval_metrics(scores, gold)
    assert (best["text_to_video_R@1"], best["video_to_text_R@1"]) == (0.75, 1.0)
    last = compute_retrieval_metrics(scores, gold, video_to_text="last")
    # video 0: its last caption scores 0.2, below 0.9, 0.5 and 0.6; video 1: 0.7, below its own 0.8
    assert last["video_to_text_R@1"] == 0.0 and last["video_to_text_mean_rank"] == 3.0
    assert ours(last, "text_to_video") == ours(best, "text_to_video")


def test_some_texts_among_all_videos():
    scores = np.random.default_rng(0).integers(0, 4, (7, 5)).astype(float)  # many are tied
    gold = np.array([0, 1, 2, 3, 4, 1, 1])
    ranks, is_asked = RetrievalRanks(scores[np.arange(7), gold], gold, num_videos=5), np.arange(7) % 2 == 0
    with pytest.raises(ValueError, match="each of 35 pairs once, got 0"):
        ranks.compute_for_texts(is_asked)
    ranks.update(scores)
    for ties in ("average", "optimistic", "pessimistic"):
        alone = compute_retrieval_metrics(scores[is_asked], gold[is_asked], ties=ties)
        assert ranks.compute_for_texts(is_asked, ties) == ranks.compute_for_texts(np.flatnonzero(is_asked), ties)
        assert ours(ranks.compute_for_texts(is_asked, ties), "text_to_video") == ours(alone, "text_to_video")


def test_videos_without_text_are_candidates_only():
    scores = np.array([[0.5, 0.9, 0.1], [0.1, 0.2, 0.3]])
    metrics = compute_retrieval_metrics(scores, [0, 2])
    assert metrics["text_to_video_R@1"] == 0.5 and metrics["video_to_text_R@1"] == 1.0
    assert (metrics["num_texts"], metrics["num_videos"], metrics["num_videos_without_text"]) == (2, 3, 1)


@pytest.mark.parametrize("video_to_text", ["best", "last"])
@pytest.mark.parametrize("seed", range(6))
def test_average_is_the_mean_over_all_orders_of_the_tied(seed, video_to_text):
    """Every order that respects the scores is equally likely: rank and recall are averaged over all of them."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, (6, 4)).astype(float)
    gold = np.concatenate([rng.integers(0, 4, 2), rng.permutation(4)])
    metrics = compute_retrieval_metrics(scores, gold, video_to_text=video_to_text)

    def brute_force(candidates: np.ndarray, right: list[int]) -> tuple[float, list[float]]:
        ranks = []
        for order in permutations(range(len(candidates))):
            ranked = sorted(order, key=lambda index: -candidates[index])  # stable: ties keep the permuted order
            ranks.append(1 + min(ranked.index(index) for index in right))
        return np.mean(ranks), [np.mean(np.array(ranks) <= k) for k in (1, 5, 10)]

    texts = [brute_force(scores[text], [gold[text]]) for text in range(6)]
    assert metrics["text_to_video_mean_rank"] == pytest.approx(np.mean([rank for rank, _ in texts]), rel=1e-12)
    assert metrics["text_to_video_median_rank"] == pytest.approx(np.median([rank for rank, _ in texts]), rel=1e-12)
    recall = [metrics[f"text_to_video_R@{k}"] for k in (1, 5, 10)]
    assert recall == pytest.approx(np.mean([recall for _, recall in texts], axis=0).tolist(), rel=1e-12)

    videos = []
    for video in range(4):
        own = np.flatnonzero(gold == video).tolist()
        videos.append(brute_force(scores[:, video], own if video_to_text == "best" else own[-1:]))
    recall = [metrics[f"video_to_text_R@{k}"] for k in (1, 5, 10)]
    assert recall == pytest.approx(np.mean([recall for _, recall in videos], axis=0).tolist(), rel=1e-12)
    assert metrics["video_to_text_mean_rank"] == pytest.approx(np.mean([rank for rank, _ in videos]), rel=1e-12)


@pytest.mark.parametrize("video_to_text", ["best", "last"])
@pytest.mark.parametrize("ties", ["average", "optimistic", "pessimistic"])
@pytest.mark.parametrize("blocks", [(1, 1), (7, 3), (40, 4), (5, 13)])
def test_blocks_give_what_the_full_matrix_gives(ties, video_to_text, blocks, monkeypatch):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, (40, 13)).astype(np.float32) / 10  # many ties
    gold = rng.integers(0, 13, 40)
    full = compute_retrieval_metrics(scores, gold, ties=ties, video_to_text=video_to_text)
    ranks = RetrievalRanks(scores[np.arange(40), gold], gold, 13, video_to_text)
    starts = [(row, column) for row in range(0, 40, blocks[0]) for column in range(0, 13, blocks[1])]
    for index in rng.permutation(len(starts)):
        row, column = starts[index]
        ranks.update(scores[row : row + blocks[0], column : column + blocks[1]], row, column)
    assert ranks.compute(ties) == full
    monkeypatch.setattr("clipbert.metrics.retrieval.retrieval.ROWS_PER_BLOCK", blocks[0])
    assert compute_retrieval_metrics(scores, gold, ties=ties, video_to_text=video_to_text) == full


def test_blocks_that_do_not_make_a_matrix_are_refused():
    scores, gold = np.array([[0.9, 0.1], [0.8, 0.3]]), np.array([0, 1])
    ranks = RetrievalRanks(scores[[0, 1], gold], gold, num_videos=2)
    ranks.update(scores[:1])
    with pytest.raises(ValueError, match="each of 4 pairs once, got 2 scores"):
        ranks.compute()
    with pytest.raises(ValueError, match=r"block inside the matrix of 2 texts x 2 videos, got \(2, 2\) from row 1"):
        ranks.update(scores, first_text=1)
    with pytest.raises(ValueError, match="`gold_scores` to be the scores found in the matrix"):
        ranks.update(scores[1:] + 1, first_text=1)


def test_constant_scores_are_chance_level():
    metrics = compute_retrieval_metrics(np.zeros((64, 64)))
    for direction in DIRECTIONS:
        for k in (1, 5, 10):
            assert metrics[f"{direction}_R@{k}"] == pytest.approx(chance_recall(64, k))
        assert metrics[f"{direction}_median_rank"] == metrics[f"{direction}_mean_rank"] == 32.5
    assert chance_recall(1000) == 0.001 and chance_recall(4, k=10) == 1.0
    with pytest.raises(ValueError, match="at least 1"):
        chance_recall(0)


def test_infinite_scores_are_scores():
    scores = np.array([[-np.inf, -np.inf], [np.inf, 0.5]])
    metrics = compute_retrieval_metrics(scores)
    assert metrics["text_to_video_mean_rank"] == (1.5 + 2) / 2
    assert metrics["video_to_text_mean_rank"] == (2 + 1) / 2


@pytest.mark.parametrize(
    "scores, arguments, expected",
    [
        ([[0.1, float("nan")], [0.2, 0.3]], {}, r"without NaN, got 1 of 4, the first at \(0, 1\)"),
        ([[0.1, 0.2]], {}, "square matrix when `gold` is not given, got 1 texts x 2 videos"),
        ([[0.1, 0.2]], {"gold": [2]}, "`gold` from 0 to 1, got 2 to 2"),
        ([[0.1, 0.2]], {"gold": [-1]}, "`gold` from 0 to 1, got -1"),
        ([[0.1, 0.2]], {"gold": [0, 1]}, "1 column numbers"),
        ([[0.1, 0.2]], {"gold": [0.0]}, "column numbers, one per text, got float64"),
        ([0.1, 0.2], {}, r"matrix \(texts, videos\).* got shape \(2,\)"),
        (np.zeros((0, 0)), {}, "at least one score"),
        ([[0.1]], {"ties": "lucky"}, "`ties` to be 'average'"),
        ([[0.1]], {"video_to_text": "first"}, "`video_to_text` to be 'best' or 'last'"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores, arguments, expected):
    with pytest.raises(ValueError, match=expected):
        compute_retrieval_metrics(np.array(scores), **arguments)


def test_evaluate_loads_the_module_from_its_folder(request, tmp_path):
    folder = request.config.rootpath / "metrics" / "retrieval"
    metric = evaluate.load(str(folder), cache_dir=str(tmp_path))
    rng = np.random.default_rng(0)
    scores, gold = rng.random((20, 7)).round(1), rng.integers(0, 7, 20)
    for first in (0, 8, 16):
        metric.add_batch(predictions=scores[first : first + 8], references=gold[first : first + 8])
    assert metric.compute(ties="pessimistic", video_to_text="last") == compute_retrieval_metrics(
        scores, gold, ties="pessimistic", video_to_text="last"
    )
    assert metric.compute(predictions=scores, references=gold) == compute_retrieval_metrics(scores, gold)
    with pytest.raises(ValueError, match=r"rows of equal length, got \[1, 2\]"):
        metric.compute(predictions=[[0.1], [0.1, 0.2]], references=[0, 0])


def test_examples_run_as_printed(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    results = doctest.testmod(clipbert.metrics.retrieval.retrieval)
    assert results.attempted and not results.failed
    readme = (request.config.rootpath / "metrics" / "README.md").read_text()
    namespace = {}
    exec(re.search(r"```python\n(.*?)```", readme, re.DOTALL).group(1), namespace)
    assert namespace["result"]["text_to_video_R@1"] == 0.5
    assert all(
        key.removeprefix("video_to_text_").removeprefix("text_to_video_") in readme for key in namespace["result"]
    )
