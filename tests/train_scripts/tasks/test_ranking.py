# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Retrieval of a model that compares what it has encoded: the same ranks block by block, in galleries, rescaled."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from text_ends import clip_tokenizer
from tiny_mug_stan import IMAGE_SIZE, tiny_clip, tiny_model

from clipbert.metrics.retrieval import (
    RetrievalRanks,
    compute_dual_softmax_metrics,
    compute_retrieval_metrics,
    query_bank_norm,
)
from clipbert.processing import MugSTANProcessor, MugSTANVideoProcessor
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.retrieval import RetrievalRecipe
from clipbert.train_scripts.tasks.pooling import NonFiniteScoreError
from clipbert.train_scripts.tasks.retrieval import ranking
from clipbert.train_scripts.tasks.retrieval.measures import compute_text_ranks, measure
from clipbert.train_scripts.tasks.retrieval.ranking import Ranking, split_galleries
from clipbert.train_scripts.tasks.scoring import VisualReader


WORDS = ["a", "dog", "runs", "cat", "jumps", "left", "right", "and", "then", "moves"]
NUM_VIDEOS, NUM_TEXTS = 13, 17
OWNERS = np.arange(NUM_TEXTS) % NUM_VIDEOS


@pytest.fixture(scope="module")
def parts():
    """A model, its processor, videos and texts, of different lengths."""
    tokenizer = clip_tokenizer(20)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    clip = tiny_clip(text_config={"vocab_size": len(tokenizer), **ends})
    processor = MugSTANProcessor(MugSTANVideoProcessor(size=IMAGE_SIZE, num_frames=3), tokenizer, max_length=20)
    rng = np.random.default_rng(0)
    videos = list(rng.integers(0, 256, (NUM_VIDEOS, 9, 32, 32, 3), dtype=np.uint8))
    texts = [" ".join(rng.choice(WORDS, 1 + number % 7)) + f" {number}" for number in range(NUM_TEXTS)]
    return tiny_model(clip=clip, similarity="mug", loss_scale=20.0), processor, videos, texts


def rank(parts, settings=(), videos=None, bank=(), model=None, **changes):
    """The predictions of all texts and videos."""
    own_model, processor, own_videos, texts = parts
    model, videos = model or own_model, videos or own_videos
    values = ["model.family=mug_stan", "model.config={}", "data.dataset=x", "run.output_dir=x", "run.total_steps=1"]
    recipe = RetrievalRecipe.load(None, [*values, "data.num_workers=0", *settings])
    reader = VisualReader(
        videos, "video", processor, {"num_frames": 3}, recipe, Accelerator(cpu=True), notes_frames=True
    )
    with torch.no_grad():
        tensors = Ranking(model, reader, texts, OWNERS, recipe, bank).run()
    tensors["frame_keys"] = reader.frame_keys.numpy()
    names = ("gallery_size", "rescaling", "dual_softmax_scale", "query_bank_scale")
    info = {name: getattr(recipe.eval, name) for name in names}
    info |= {"video_ids": [f"v{number}" for number in range(len(videos))], "similarity_scale": model.similarity_scale}
    return Predictions("retrieval", [{"video_id": f"v{owner}"} for owner in OWNERS], tensors, info | changes)


@torch.no_grad()
def similarities(parts, videos=None, texts=None):
    model, processor, own_videos, own_texts = parts
    words = processor(text=texts or own_texts)
    frames = processor(videos=videos or own_videos, num_frames=3)["pixel_values"]
    texts = model.encode_text(words["input_ids"], words["attention_mask"])
    return model.similarity(texts, model.encode_video(frames)).numpy()


@pytest.mark.parametrize(("block", "kept"), [(1, "true"), (50, "false"), (2**22, "true")])
def test_the_ranks_of_the_whole_table(parts, block, kept, monkeypatch):
    monkeypatch.setattr(ranking, "SCORES_PER_BLOCK", block)
    sizes = [f"eval.video_block={min(block, 5)}", f"eval.pairs_per_forward={min(block, 64)}"]
    predictions = rank(parts, [*sizes, f"eval.keep_scores={kept}"])
    scores = similarities(parts)
    expected = compute_retrieval_metrics(scores, OWNERS)
    found = measure(predictions)
    assert {name: found[name] for name in expected} == expected
    assert found["chance_R@1"] == 1 / NUM_VIDEOS and found["num_examples"] == NUM_TEXTS
    own = scores[np.arange(NUM_TEXTS), OWNERS][:, None]
    np.testing.assert_array_equal(compute_text_ranks(predictions), 1 + (scores > own).sum(axis=1))
    np.testing.assert_array_equal(predictions.tensors["best_video"], scores.argmax(axis=1))
    assert ("log_odds" in predictions.tensors) == (kept == "true")
    if kept == "true":
        np.testing.assert_allclose(predictions.tensors["log_odds"], 20 * scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("block", [1, 40, 2**22])
def test_the_same_video_twice_is_a_tie(parts, block, monkeypatch):
    """In whatever block the second one is; and a twin, the same frames backwards, for a model that is blind to order."""
    monkeypatch.setattr(ranking, "SCORES_PER_BLOCK", block)
    videos = [*parts[2][:6], *parts[2][:6], parts[2][12]]
    predictions = rank(parts, ["eval.video_block=4"], videos)
    # of each text one more has the same score
    assert (compute_text_ranks(predictions)[:12] % 1 == 0.5).all()
    assert measure(predictions)["orderless_R@1"] == (16 / 2 + 1) / 17
    blind = replace_model(parts, stan_num_layers=0)
    twins = [*parts[2][:6], *(video[::-1] for video in parts[2][:6]), parts[2][12]]
    assert (compute_text_ranks(rank(parts, (), twins, model=blind))[:12] % 1 == 0.5).all()
    assert not (compute_text_ranks(rank(parts, (), twins))[:12] % 1 == 0.5).any()


def replace_model(parts, **fields):
    return tiny_model(clip=parts[0].config.clip_config.to_dict(), similarity="mug", loss_scale=20.0, **fields)


def test_constant_scores_are_chance(parts):
    same = [parts[2][0]] * NUM_VIDEOS
    found = measure(rank(parts, ["eval.video_block=4"], same))
    for k in (1, 5, 10):
        assert found[f"text_to_video_R@{k}"] == pytest.approx(k / NUM_VIDEOS) == found[f"orderless_R@{k}"]


def test_galleries(parts):
    predictions = rank(parts, ["eval.gallery_size=4"])
    found = measure(predictions)
    scores, values = similarities(parts), []
    for first in (0, 4, 8):  # the last video is in none
        rows = np.flatnonzero((first <= OWNERS) & (first + 4 > OWNERS))
        values.append(compute_retrieval_metrics(scores[rows, first : first + 4], OWNERS[rows] - first))
    for name in ("text_to_video_R@1", "video_to_text_mean_rank"):
        assert found[name] == pytest.approx(np.mean([each[name] for each in values]))
        assert found[f"{name}_std"] == pytest.approx(np.std([each[name] for each in values]))
    assert found["chance_R@1"] == 0.25 and "chance_R@1_std" not in found and found["num_galleries"] == 3
    assert found["num_examples"] == 16 and np.isnan(compute_text_ranks(predictions)[12])
    assert [*map(len, split_galleries(8, 4))] == [4, 4] and len(split_galleries(7, 8)) == 0


def test_galleries_of_models_that_read_both_together():
    """Whose predictions hold the scores of every pair and clip."""
    clip_logits = np.random.default_rng(0).normal(size=(NUM_TEXTS, NUM_VIDEOS, 2, 2)).astype(np.float32)
    info = {"video_ids": [f"v{number}" for number in range(NUM_VIDEOS)], "score_pooling": "mean", "gallery_size": 5}
    rows = [{"video_id": f"v{owner}"} for owner in OWNERS]
    predictions = Predictions("retrieval", rows, {"clip_logits": clip_logits}, info)
    found, odds = measure(predictions), (clip_logits[..., 1] - clip_logits[..., 0]).mean(axis=2)
    values = []
    for first in (0, 5):
        members = np.flatnonzero((first <= OWNERS) & (first + 5 > OWNERS))
        values.append(compute_retrieval_metrics(odds[members, first : first + 5], OWNERS[members] - first))
    assert found["text_to_video_R@1"] == pytest.approx(np.mean([each["text_to_video_R@1"] for each in values]))
    assert found["num_galleries"] == 2 and found["chance_R@1"] == 0.2
    predictions.info["rescaling"] = ["dual_softmax"]
    with pytest.raises(ValueError, match="log-odds of a model that reads text and video together"):
        measure(predictions)


def test_scores_that_are_not_finite_are_named(parts):
    model = replace_model(parts)
    with torch.no_grad():
        model.mug_stan.clip.visual_projection.weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteScoreError, match=f"for the text '{parts[3][0]}' and the video"):
        rank(parts, model=model)


def test_videos_that_cannot_be_decoded_take_no_part(parts):
    videos = [*parts[2][:3], b"", *parts[2][4:]]
    predictions = rank(parts, ["data.on_decode_error=skip", "eval.video_block=4"], videos)
    usable = [number for number in range(NUM_VIDEOS) if number != 3]
    rows = np.flatnonzero(OWNERS != 3)
    scores = similarities(parts)[np.ix_(rows, usable)]
    expected, found = compute_retrieval_metrics(scores, np.searchsorted(usable, OWNERS[rows])), measure(predictions)
    assert {name: found[name] for name in expected} == expected
    assert (found["num_examples"], found["num_skipped_videos"]) == (len(rows), 1)
    assert np.isnan(predictions.tensors["log_odds"][:, 3]).all() and np.isnan(compute_text_ranks(predictions)[3])


def test_rescaled_scores_stand_beside_raw_ones(parts):
    bank = ["a cat and", "the cow", "moves", "then left right"]
    predictions = rank(parts, ["eval.rescaling=[dual_softmax, query_bank]", "eval.query_bank=train"], bank=bank)
    scores, found = similarities(parts), measure(predictions)
    raw, dual = compute_retrieval_metrics(scores, OWNERS), compute_dual_softmax_metrics(scores, OWNERS)
    by_bank = query_bank_norm(scores, parts[3], similarities(parts, texts=bank), bank)
    by_bank = compute_retrieval_metrics(by_bank, OWNERS)
    for name in ("text_to_video_R@1", "text_to_video_mean_rank"):
        assert (found[name], found[f"dual_softmax_{name}"], found[f"query_bank_{name}"]) == (
            raw[name],
            dual[name],
            by_bank[name],
        )
    assert found["dual_softmax_video_to_text_mean_rank"] == dual["video_to_text_mean_rank"]
    assert "query_bank_video_to_text_R@1" not in found  # the bank is of texts
    # written predictions take another factor; without the scores of all pairs, or a bank, they say so
    predictions.info["dual_softmax_scale"] = 5.0
    found = measure(predictions)["dual_softmax_text_to_video_mean_rank"]
    assert found == compute_dual_softmax_metrics(scores, OWNERS, scale=5.0)["text_to_video_mean_rank"]
    without = rank(parts, ["eval.keep_scores=false"], rescaling=["dual_softmax"])
    with pytest.raises(ValueError, match="rescaling=dual_softmax: .*not the scores of all pairs.*keep_scores=true"):
        measure(without)
    with pytest.raises(ValueError, match="rescaling=query_bank: these predictions have no bank"):
        measure(rank(parts, rescaling=["query_bank"]))


def test_a_single_query_is_not_rescaled(parts):
    predictions = rank(parts, ["eval.rescaling=[dual_softmax]"])
    alone = replace(predictions, rows=predictions.rows[:1])
    alone.tensors = {
        name: value[:1] if len(value) == NUM_TEXTS else value for name, value in predictions.tensors.items()
    }
    with pytest.raises(ValueError, match="needs all of them at once, at least 2; got 1"):
        measure(alone)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["eval.rescaling=[dsl]"], r"rescaling: expected some of dual_softmax, query_bank, got \['dsl'\]"),
        (["eval.rescaling=[query_bank]"], "query_bank: .* go together: name a split"),
        (["eval.query_bank=train"], "query_bank: .* go together"),
        (
            ["eval.rescaling=[query_bank]", "eval.query_bank=test", "eval.splits={test: final}"],
            "query_bank: test is evaluated, so the bank contains the queries of the test",
        ),
        (["eval.rescaling=[dual_softmax]", "eval.keep_scores=false"], "keep_scores: rescaling needs"),
        (["eval.dual_softmax_scale=0"], "dual_softmax_scale: must be above 0"),
        (["eval.gallery_size=1"], "gallery_size"),
    ],
)
def test_what_a_recipe_cannot_ask_for(parts, settings, message):
    with pytest.raises(RecipeError, match=message):
        rank(parts, settings)


def test_scores_within_the_tolerance_are_tied():
    gold = np.array([0.5, 0.7])
    scores = np.array([[0.5, 0.5 + 1e-7], [0.7 - 2e-7, 0.7]])
    for tolerance, expected in ((0.0, (0.5, 1.5)), (1e-6, (0.5, 1.5))):
        ranks = RetrievalRanks(gold, [0, 1], 2, tolerance=tolerance)
        ranks.update(scores)
        found = ranks.compute()
        assert (found["text_to_video_R@1"], found["text_to_video_mean_rank"]) == expected
    assert ranks.tied_videos.tolist() == [1, 1] and ranks.better_videos.tolist() == [0, 0]
    with pytest.raises(ValueError, match="to be the scores found in the matrix"):
        RetrievalRanks(gold + 1e-5, [0, 1], 2, tolerance=1e-6).update(scores)
