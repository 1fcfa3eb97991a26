# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Dual soft-max and query-bank normalisation: as recorded, block by block, and refused where they cannot be."""

import doctest
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import clipbert.metrics.retrieval.rescaling
from clipbert.metrics.retrieval import (
    DualSoftmax,
    QueryBank,
    RetrievalRanks,
    compute_dual_softmax_metrics,
    compute_retrieval_metrics,
    dual_softmax,
    query_bank_norm,
)


RECORDED = Path(__file__).parents[1] / "fixtures" / "mug_stan" / "metrics"
SETS = ("easy", "hub", "hard")


@pytest.fixture(scope="module")
def tensors():
    return load_file(RECORDED / "metrics.safetensors")


@pytest.fixture(scope="module")
def measured():
    return json.loads((RECORDED / "metrics.json").read_text())


def check(metrics, direction, official):
    names = ("R@1", "R@5", "R@10", "median_rank", "mean_rank")
    ours = [metrics[f"{direction}_{name}"] for name in names]
    theirs = [official[name] / 100 for name in ("R1", "R5", "R10")] + [official["MdR"], official["MnR"]]
    assert ours == pytest.approx(theirs, rel=1e-9)


def texts(name, count):
    return [f"{name} {number}" for number in range(count)]


@pytest.mark.parity
@pytest.mark.parametrize("name", SETS)
def test_recorded_values(tensors, measured, name):
    scores, official = tensors[f"{name}.sim"], measured[name]
    raw = compute_retrieval_metrics(scores)
    check(raw, "text_to_video", official["t2v"])
    check(raw, "video_to_text", official["v2t"])
    for scale in (1, 20, 100):
        np.testing.assert_allclose(dual_softmax(scores, scale), tensors[f"{name}.dsl_{scale}"], rtol=1e-9, atol=1e-12)
        metrics = compute_dual_softmax_metrics(scores, scale=scale)
        check(metrics, "text_to_video", official[f"dsl_lambda{scale}_t2v"])
        check(metrics, "video_to_text", official[f"dsl_lambda{scale}_v2t (prior over videos)"])
        transposed = compute_retrieval_metrics(dual_softmax(scores, scale))  # as CLIP-ViP has it
        check(
            transposed,
            "video_to_text",
            official[f"dsl_lambda{scale}_v2t (transpose of the t2v matrix, as CLIP-ViP does)"],
        )
    bank_scores = tensors[f"{name}.bank_sim"]
    for key, beta, top_k in (("beta20_k1", 20, 1), ("beta0.5025_k1", 1 / 1.99, 1), ("beta20_k3", 20, 3)):
        queries = texts("test", len(scores))
        ours = query_bank_norm(scores, queries, bank_scores, texts("bank", len(bank_scores)), beta, top_k)
        np.testing.assert_allclose(ours, tensors[f"{name}.qbnorm_{key}"], rtol=1e-9, atol=1e-12)
        check(compute_retrieval_metrics(ours), "text_to_video", official[f"qbnorm_{key}_t2v"])
        activated = (ours != scores).any(axis=1)
        assert np.flatnonzero(activated).tolist() == official[f"qbnorm_{key}_t2v"]["activated_rows"]


@pytest.mark.parity
def test_recorded_values_of_mug(tensors, measured):
    scores, official = tensors["mug_corpus.sim"], measured["mug_corpus"]
    check(compute_retrieval_metrics(scores), "text_to_video", official["t2v"])
    check(compute_retrieval_metrics(scores), "video_to_text", official["v2t"])
    check(compute_dual_softmax_metrics(scores), "text_to_video", official["dsl_lambda100_t2v"])
    np.testing.assert_allclose(dual_softmax(scores), tensors["mug_corpus.dsl_100"], rtol=1e-9, atol=1e-12)


@pytest.mark.parity
def test_the_official_code_counts_ties_as_more_queries(tensors, measured):
    scores, official = tensors["ties.sim"], measured["ties"]["official_t2v"]
    ranks = RetrievalRanks(scores.diagonal(), np.arange(8), num_videos=8)
    ranks.update(scores)
    places = [
        1 + better + extra
        for better, tied in zip(ranks.better_videos, ranks.tied_videos, strict=True)
        for extra in range(tied + 1)
    ]
    assert (len(places), np.mean(places)) == (official["num_ranks"], pytest.approx(official["MnR"]))
    metrics = ranks.compute()
    assert metrics["num_texts"] == 8 and metrics["text_to_video_mean_rank"] == pytest.approx(
        np.mean(1 + ranks.better_videos + ranks.tied_videos / 2)
    )


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_block_by_block(rows):
    rng = np.random.default_rng(0)
    scores, bank_scores = rng.normal(0, 0.3, (40, 30)), rng.normal(0, 0.3, (50, 30))
    dual, bank = DualSoftmax(30), QueryBank(texts("bank", 50), 30, top_k=2)
    for start in range(0, 50, rows):
        bank.update(bank_scores[start : start + rows])
    for start in range(0, 40, rows):
        dual.update(scores[start : start + rows])
    queries = texts("test", 40)
    ours = [
        (
            dual.rescale(scores[start : start + rows]),
            bank.rescale(scores[start : start + rows], queries[start : start + rows]),
        )
        for start in range(0, 40, rows)
    ]
    by_blocks = [np.concatenate(parts) for parts in zip(*ours, strict=True)]
    np.testing.assert_allclose(by_blocks[0], dual_softmax(scores), rtol=1e-12)
    whole = query_bank_norm(scores, queries, bank_scores, texts("bank", 50), top_k=2)
    np.testing.assert_allclose(by_blocks[1], whole, rtol=1e-12)


def test_far_apart_scores_do_not_overflow():
    scores = np.array([[900.0, -900.0], [0.0, 5.0]])
    assert np.isfinite(dual_softmax(scores)).all()
    with pytest.raises(ValueError, match="too large for beta=20"):
        query_bank_norm(scores, ["a", "b"], -scores, ["c", "d"])


def test_what_cannot_be():
    scores = np.eye(3)
    with pytest.raises(ValueError, match="all of them at once, at least 2; got 1"):
        dual_softmax(scores[:1])
    with pytest.raises(ValueError, match="at least 2"):
        compute_dual_softmax_metrics(scores[:, :1], gold=[0, 0, 0])  # a single video is a single query, too
    queries = ["a dog", "a cat", "a cow"]
    for bank in (None, []):
        with pytest.raises(ValueError, match="needs a bank of queries"):
            query_bank_norm(scores, queries, scores, bank)
    with pytest.raises(ValueError, match="needs the scores of the bank"):
        query_bank_norm(scores, queries, None, ["x"])
    with pytest.raises(ValueError, match="contains 1 of the queries that are tested, such as 'a cat'"):
        query_bank_norm(scores, queries, scores, ["a bird", "A  Cat", "a fly"])
    with pytest.raises(ValueError, match="top_k from 1 to the number of candidates, 3, got 4"):
        query_bank_norm(scores, queries, scores, ["x", "y", "z"], top_k=4)
    with pytest.raises(ValueError, match="all 3 queries of the bank, got 2"):
        query_bank_norm(scores, queries, scores[:2], ["x", "y", "z"])
    with pytest.raises(ValueError, match="each of 3 candidates, got 2"):
        query_bank_norm(scores, queries, scores[:, :2], ["x", "y", "z"])
    with pytest.raises(ValueError, match="query of each of 3 rows, got 2"):
        query_bank_norm(scores, queries[:2], scores, ["x", "y", "z"])
    with pytest.raises(ValueError, match="positive scale"):
        dual_softmax(scores, scale=0.0)
    with pytest.raises(ValueError, match="without NaN"):
        dual_softmax(np.full((2, 2), np.nan))


def test_examples():
    assert doctest.testmod(clipbert.metrics.retrieval.rescaling).failed == 0
