# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Clips of several evaluations in one pass, and what is said of the number that a model needs."""

import doctest

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from clipbert.metrics.retrieval.retrieval import compute_retrieval_metrics
from clipbert.processing import ClipBERTVideoProcessor
from clipbert.processing.decoding import DecodedVideoMetadata
from clipbert.processing.sampling import VideoTiming
from clipbert.train_scripts import clips_needed
from clipbert.train_scripts.engine import resampling
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.tasks import question_answering, retrieval
from clipbert.train_scripts.tasks.clip_counts import ClipPass, describe_counts, describe_knee, measure_counts
from clipbert.train_scripts.tasks.clip_plans import NO_CLIP, ClipPlans, draw_places, select_plan


@pytest.mark.parametrize("module", [resampling, clips_needed])
def test_examples_of_the_docstrings(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


# ---------------------------------------------------------------------------------------------------------------------
# Plans
# ---------------------------------------------------------------------------------------------------------------------


def metadata_of(num_frames):
    return DecodedVideoMetadata(num_frames, fps=8.0, timing=VideoTiming.constant_rate(num_frames, 8.0))


@pytest.mark.parametrize("sampling", ["uniform", "random"])
@pytest.mark.parametrize("fps", [None, 4.0])
@pytest.mark.parametrize("num_frames", [3, 16, 100])
@pytest.mark.parametrize("short_video", ["repeat", "mask"])
def test_every_plan_has_the_clips_of_its_evaluation(sampling, fps, num_frames, short_video):
    processor = ClipBERTVideoProcessor(size=48, num_frames=2, fps=fps, sampling=sampling, short_video=short_video)
    plans = ClipPlans((1, 2, 5), num_draws=2 if sampling == "random" else 1)
    seed = (7, 3) if sampling == "random" else None
    joined, places = plans.join(processor.sample_frames, metadata_of(num_frames), seed, {})
    assert len({tuple(clip) for clip in joined.frame_indices.tolist()}) == len(joined.frame_indices)  # each once
    for count in plans.counts:
        for draw, plan in enumerate(plans.of_count(count)):
            own = processor.sample_frames(metadata_of(num_frames), seed and (7 + draw, 3), num_clips=count)
            found = places[plan, :count]
            assert_array_equal(found != NO_CLIP, own.clip_mask)
            assert_array_equal(joined.frame_indices[found[own.clip_mask]], own.frame_indices[own.clip_mask])
            assert (places[plan, count:] == NO_CLIP).all()


def test_clips_are_drawn_among_those_that_exist():
    places = np.array([[4, 5, 0, 1, 2, 3], [0, 1, NO_CLIP, NO_CLIP, 6, 7]])  # clips of two crops
    drawn = draw_places(places, 200, 2, np.random.default_rng(0)).reshape(2, 200, 2)
    assert_array_equal(drawn[..., 0] + 1, drawn[..., 1])  # crops of a clip stay together
    assert [np.unique(of_video[:, 0]).tolist() for of_video in drawn] == [[0, 2, 4], [0, 6]]


def test_a_plan_reads_the_scores_of_its_views():
    logits = np.arange(24, dtype=np.float32).reshape(2, 2, 3, 2)
    rows = [{"video_id": "b", "caption": ""}, {"video_id": "a", "caption": ""}]
    found = Predictions("retrieval", rows, {"clip_logits": logits}, {"video_ids": ["a", "b"], "score_pooling": "max"})
    plan = select_plan(found, np.array([[2, 0], [1, NO_CLIP]]), "mean")
    assert plan.info["score_pooling"] == "mean"
    assert_array_equal(plan.tensors["clip_logits"][0, 0], logits[0, 0, [2, 0]])
    assert_array_equal(plan.tensors["clip_logits"][1, 1], [logits[1, 1, 1], [np.nan, np.nan]])
    own = Predictions("question_answering", rows, {"clip_logits": logits[:, 0]}, found.info)
    plan = select_plan(own, np.array([[2], [1]]), "mean").tensors["clip_logits"]
    assert_array_equal(plan[:, 0], [logits[0, 0, 1], logits[1, 0, 2]])  # each with its own video


# ---------------------------------------------------------------------------------------------------------------------
# Values of rows
# ---------------------------------------------------------------------------------------------------------------------


def test_values_of_texts_make_up_the_metric():
    rng = np.random.default_rng(0)
    odds = rng.integers(0, 3, size=(30, 12)).astype(np.float32)  # with many ties
    gold = rng.integers(0, 12, size=30)
    rows = [{"video_id": str(video), "caption": ""} for video in gold]
    info = {"video_ids": list(map(str, range(12))), "score_pooling": "mean"}
    found = Predictions("retrieval", rows, {"clip_logits": odds[..., None, None]}, info)
    metrics = compute_retrieval_metrics(odds, gold)
    for name in ("R@1", "R@5", "R@10", "mean_rank"):
        values = retrieval.values_of_rows(found, f"text_to_video_{name}")
        assert values.mean() == pytest.approx(metrics[f"text_to_video_{name}"])
    with pytest.raises(ValueError, match="is no mean over texts"):
        retrieval.values_of_rows(found, "text_to_video_median_rank")


def test_values_of_questions_make_up_the_metric():
    rng = np.random.default_rng(0)
    logits = rng.integers(0, 2, size=(12, 2, 1)).astype(np.float32)
    rows = [{"video_id": str(n), "options": ["a", "b", "c"], "gold": n % 3} for n in range(4)]
    info = {"answer": "multiple_choice", "score_pooling": "max"}
    found = Predictions("question_answering", rows, {"clip_logits": logits}, info)
    values = question_answering.values_of_rows(found, "accuracy")
    assert values.mean() == pytest.approx(question_answering.measure(found)["accuracy"])
    rows[1]["gold"] = None
    assert np.isnan(question_answering.values_of_rows(found, "accuracy")).tolist() == [False, True, False, False]


# ---------------------------------------------------------------------------------------------------------------------
# Curves
# ---------------------------------------------------------------------------------------------------------------------


def pass_of(hits, counts=(1, 2, 4), operations=None):
    """A pass over as many videos as `hits` has rows: whether the answer with so many clips is right `(videos, counts)`."""
    hits = np.asarray(hits)
    logits = np.zeros((len(hits), hits.shape[1], 2), dtype=np.float32)  # one view for each count
    np.put_along_axis(logits, np.where(hits, 1, 0)[..., None], 1.0, axis=2)
    rows = [{"video_id": str(n), "gold": "yes", "answer_type": ""} for n in range(len(hits))]
    info = {"answer": "open", "answers": ["no", "yes"], "video_ids": [str(n) for n in range(len(hits))]}
    places = np.full((len(hits), len(counts), counts[-1]), NO_CLIP)
    for plan, count in enumerate(counts):
        places[:, plan, :count] = plan
    frames = np.broadcast_to(np.array(counts) * 2, (len(hits), len(counts)))
    found = Predictions("question_answering", rows, {"clip_logits": logits}, info)
    return ClipPass(found, ClipPlans(counts, is_fixed_length=False), places, frames, 0.5, 0.01, operations or {})


def hits_of(*counts, num_videos=40):
    """So many videos are right with each number of clips, the first ones."""
    return np.arange(num_videos)[:, None] < np.array(counts)


def test_the_knee_is_the_smallest_number_that_cannot_be_told_from_the_best():
    curve = measure_counts(pass_of(hits_of(12, 36, 37)), "mean", None, 0, 0)
    assert [row["score"] for row in curve["rows"]] == [0.3, 0.9, 0.925]
    assert (curve["best"], curve["knee"], curve["is_flat"], curve["num_videos"]) == (4, 2, False, 40)
    first, second, third = curve["rows"]
    assert first["gap_interval"][0] > 0.3 and second["gap_interval"][0] == 0.0
    assert (third["gap"], third["gap_interval"]) == (0.0, (0.0, 0.0))
    assert first["interval"][0] < 0.3 < first["interval"][1]
    assert "Knee: 2 clips, not to be told from the best (4 clips, 92.5 %), by these 40 videos; fewer" in describe_knee(
        curve
    )


def test_more_clips_may_do_harm():
    curve = measure_counts(pass_of(hits_of(36, 20, 10)), "mean", None, 0, 0)
    assert (curve["best"], curve["knee"], curve["is_flat"]) == (1, 1, False)
    said = describe_knee(curve)
    assert said.startswith("Knee: 1 clip, the best, by these 40 videos. More do not help: 4 clips lose 65.0 %")


def test_a_flat_curve_is_said_to_be_flat():
    for hits in (hits_of(20, 20, 20), hits_of(20, 21, 20), hits_of(2, 3, 2, num_videos=4)):
        curve = measure_counts(pass_of(hits), "mean", None, 0, 0)
        assert curve["is_flat"] and curve["knee"] == 1
        assert "Flat within its spread: from 1 to 4 clips no score can be told" in describe_counts(curve)


def test_paired_intervals_see_what_those_of_the_scores_do_not():
    """Both intervals overlap, but no video is ever lost by more clips."""
    first, last = (
        row["interval"] for row in measure_counts(pass_of(hits_of(20, 28, 28)), "mean", None, 0, 0)["rows"][::2]
    )
    assert first[1] > last[0]
    assert measure_counts(pass_of(hits_of(20, 28, 28)), "mean", None, 0, 0)["knee"] == 2


def test_one_video_and_one_number_of_clips_are_said_to_say_nothing():
    curve = measure_counts(pass_of([[0, 1, 1]]), "mean", None, 0, 0)
    assert curve["rows"][0]["interval"] is None and "One video says nothing" in describe_counts(curve)
    assert "nothing to compare" in describe_counts(
        measure_counts(pass_of(hits_of(3), counts=(2,)), "mean", None, 0, 0)
    )


def test_costs_grow_with_the_number_of_clips():
    found = pass_of(hits_of(12, 36, 37), operations={"view": 2e9, "pair": 1e9})
    costs = [row["cost"] for row in measure_counts(found, "max", None, 0, 0)["rows"]]
    assert [cost["frames"] for cost in costs] == [2, 4, 8]
    assert [cost["model_s"] for cost in costs] == pytest.approx([0.01, 0.02, 0.04])
    assert [cost["video_operations"] + cost["pair_operations"] for cost in costs] == [3e9, 6e9, 12e9]
    found.operations["pair"] = None
    lines = describe_counts(measure_counts(found, "max", None, 0, 0)).splitlines()
    assert lines[2].endswith("  2") and lines[3].endswith("  4 <- knee")  # of the views alone
    with pytest.raises(ValueError, match="recall is not among accuracy"):
        measure_counts(found, "max", "recall", 0, 0)


def test_a_single_part_of_a_video_leaves_nothing_to_draw():
    rows = measure_counts(pass_of(hits_of(12, 36, 37)), "mean", None, 5, 0)["rows"]
    assert rows[0]["draws"] is None and rows[1]["draws"]["count"] == 5


def test_resampling_keeps_the_rows_of_a_video_together():
    values = np.array([[0.0], [0.0], [1.0], [1.0]])
    apart, together = (resampling.resample_means(values, np.array(groups)) for groups in ([0, 1, 2, 3], [0, 0, 1, 1]))
    assert set(np.unique(together)) == {0.0, 0.5, 1.0} and len(np.unique(apart)) == 5
    uneven = resampling.resample_means(values, np.array([0, 0, 0, 1]))
    assert set(np.unique(uneven.round(6))) == {round(1 / 3, 6), 0.5, 1.0}
    for wrong in (np.zeros((0, 1)), np.array([[np.nan]])):
        with pytest.raises(ValueError, match="Expected finite values"):
            resampling.resample_means(wrong, np.zeros(len(wrong), dtype=int))
