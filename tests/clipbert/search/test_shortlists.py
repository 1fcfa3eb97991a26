# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What shortlists lose: counted by hand, by brute force with ties, and as the metric counts recall."""

import itertools
import json

import numpy as np
import pytest

from clipbert.metrics.retrieval.retrieval import RECALL_AT, compute_retrieval_metrics
from clipbert.search.shortlists import Estimate, TextRanking, count_kept, measure_losses, resample


SIZES = (1, 3, 7, 12, 40)


def make_rankings(seed=0, num_texts=15, num_videos=13, with_owners=True, levels=5):
    """Scores of few levels, so that many are tied, and a cheap order that agrees with them somewhat."""
    rng = np.random.default_rng(seed)
    ids = [f"{number}.mp4" for number in range(num_videos)]
    rankings = []
    for _ in range(num_texts):
        scores = rng.integers(levels, size=num_videos).astype(np.float32)
        order = np.argsort(-(scores + 2 * rng.normal(size=num_videos)))
        owner = ids[rng.integers(num_videos)] if with_owners else None
        rankings.append(TextRanking(ids, scores, [ids[number] for number in order], owner))
    return rankings


def expected_kept(ranking, size, top):
    """The most of the first places, in any order that the scores allow, which the shortlist has."""
    scores = dict(zip(ranking.ids, ranking.scores, strict=True))
    top = min(top, len(scores))
    wanted = sorted(scores.values(), reverse=True)[:top]
    there = [scores[video] for video in ranking.nearest[:size]]
    kept = 0
    for score in wanted:
        if score in there:
            there.remove(score)
            kept += 1
    return kept / top


def expected_recall(ranking, size, k):
    """Over all orders of the videos that are tied with the own one: by counting."""
    scores = dict(zip(ranking.ids, ranking.scores, strict=True))
    there = {video: scores[video] for video in ranking.nearest[:size]}
    if ranking.owner not in there:
        return 0.0
    own = there[ranking.owner]
    better = sum(score > own for score in there.values())
    equal = sum(score == own for score in there.values())
    return sum(better + place < k for place in range(equal)) / equal


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_brute_force(seed):
    rankings = make_rankings(seed)
    report = measure_losses(iter(rankings), SIZES)
    assert (report.num_texts, report.num_videos, [loss.size for loss in report.losses]) == (15, 13, list(SIZES))
    for loss in report.losses:
        kept = [[expected_kept(ranking, loss.size, top) for ranking in rankings] for top in (1, 10)]
        assert loss.first_kept.mean == pytest.approx(np.mean(kept[0]))
        assert loss.top_kept.mean == pytest.approx(np.mean(kept[1]))
        for k in RECALL_AT:
            recall = np.mean([expected_recall(ranking, loss.size, k) for ranking in rankings])
            full = np.mean([expected_recall(ranking, len(ranking.ids), k) for ranking in rankings])
            assert loss.recall[k].mean == pytest.approx(recall)
            assert report.recall[k].mean == pytest.approx(full)
            assert loss.recall_lost[k].mean == pytest.approx(full - recall)


def test_recall_of_all_is_that_of_the_metric():
    rankings = make_rankings()
    report = measure_losses(rankings, [3])
    scores = np.stack([ranking.scores for ranking in rankings])
    gold = np.array([ranking.ids.index(ranking.owner) for ranking in rankings])
    metrics = compute_retrieval_metrics(scores, gold)
    assert {k: estimate.mean for k, estimate in report.recall.items()} == pytest.approx(
        {k: metrics[f"text_to_video_R@{k}"] for k in RECALL_AT}
    )


def test_a_shortlist_of_all_loses_nothing():
    report = measure_losses(make_rankings(), [13, 500])
    for loss in report.losses:
        assert loss.first_kept == loss.top_kept == Estimate(1.0, 1.0, 1.0)
        assert loss.recall == report.recall
        assert all(lost == Estimate(0.0, 0.0, 0.0) for lost in loss.recall_lost.values())


def test_the_cheap_stage_need_not_rank_what_is_in_no_shortlist():
    rankings = make_rankings()
    cut = [TextRanking(one.ids, one.scores, one.nearest[:7], one.owner) for one in rankings]
    sizes = [1, 3, 7, 13]
    assert measure_losses(cut, sizes).to_dict() == measure_losses(rankings, sizes).to_dict()


def test_the_order_of_videos_and_what_they_are_called_do_not_matter():
    rankings, renamed = make_rankings(), []
    rng = np.random.default_rng(1)
    for one in rankings:
        order = rng.permutation(len(one.ids))
        numbers = {video: number for number, video in enumerate(one.ids)}
        ids = [numbers[one.ids[place]] for place in order]
        nearest = [numbers[video] for video in one.nearest]
        renamed.append(TextRanking(ids, one.scores[order], nearest, numbers[one.owner]))
    assert measure_losses(renamed, SIZES).to_dict() == measure_losses(rankings, SIZES).to_dict()


def test_the_smallest_that_keeps_enough_is_recommended():
    scores = np.arange(10.0)  # video 9 is first
    places = [0] * 98 + [2, 4]  # of video 9 in the cheap order of a hundred texts
    others = list(range(9))
    rankings = [TextRanking(range(10), scores, [*others[:place], 9, *others[place:]]) for place in places]
    report = measure_losses(rankings, [5, 1, 3, 2])
    assert [loss.first_kept.mean for loss in report.losses] == pytest.approx([0.98, 0.98, 0.99, 1.0])
    assert report.recommended == 3
    assert measure_losses(rankings, [1, 2]).recommended is None


def test_intervals_hold_what_they_promise():
    """Of many draws of texts, about 95 % of the intervals hold the true mean."""
    rng = np.random.default_rng(0)
    draws = (rng.random((60, 80, 1)) < 0.8).astype(float)
    hits = sum(found.low <= 0.8 <= found.high for found in (resample(draw)[0] for draw in draws))
    assert 50 <= hits <= 60
    values = rng.random((50, 2))
    assert resample(values, seed=1) == resample(values, seed=1) != resample(values, seed=2)
    assert [found.mean for found in resample(values)] == pytest.approx(values.mean(axis=0).tolist())


def test_few_tied_places():
    everything = np.ones(4, dtype=bool)
    assert count_kept(np.array([1.0, 1.0, 1.0, 0.0]), np.array([True, True, False, True]), top=2) == 1.0
    assert count_kept(np.array([1.0, 1.0, 1.0, 0.0]), np.array([True, False, False, True]), top=2) == 0.5
    assert count_kept(np.array([np.inf, 1.0, -np.inf, 0.0]), ~everything, top=10) == 0.0
    assert count_kept(np.array([np.inf, 1.0, -np.inf, 0.0]), everything, top=10) == 1.0


@pytest.mark.parametrize("has_owners, has_seconds", itertools.product([True, False], repeat=2))
def test_the_table_fits_a_shell(has_owners, has_seconds):
    seconds = {size: 0.01 * size for size in SIZES} | {None: 12.5} if has_seconds else None
    report = measure_losses(make_rankings(with_owners=has_owners), SIZES, seconds)
    table = report.table()
    assert max(map(len, table.splitlines())) <= 100
    assert ("R@10" in table, "12.5" in table) == (has_owners, has_seconds)
    assert table.count("100.0 %") >= 2
    found = json.loads(json.dumps(report.to_dict()))
    assert found["recommended"] == report.recommended
    assert found["losses"][0]["first_kept"] == report.losses[0].first_kept._asdict()
    assert found["losses"][-1]["seconds"] == (0.4 if has_seconds else None)
    assert set(found["recall"]) == ({"1", "5", "10"} if has_owners else set())


IDS, SCORES = ["a", "b", "c"], np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "rankings, sizes, message",
    [
        ([], [1], "at least one text"),
        ([TextRanking(IDS, SCORES, IDS)], [], "of at least 1"),
        ([TextRanking(IDS, SCORES, IDS)], [0, 1], "of at least 1"),
        ([TextRanking([], np.zeros(0), [])], [1], "some videos"),
        ([TextRanking(IDS, SCORES[:2], IDS)], [1], "score each"),
        ([TextRanking(["a", "b", "a"], SCORES, ["a", "b"])], [1], "each once"),
        ([TextRanking(IDS, np.array([1.0, np.nan, 0.0]), IDS)], [1], "without NaN.*'b'"),
        ([TextRanking(IDS, SCORES, ["a"])], [2], "at least 2 different videos"),
        ([TextRanking(IDS, SCORES, ["a", "a"])], [1], "different videos"),
        ([TextRanking(IDS, SCORES, ["a", "x"])], [1], "that have a score, got 'x'"),
        ([TextRanking(IDS, SCORES, IDS, "x")], [1], "that have a score, got 'x'"),
        ([TextRanking(IDS, SCORES, IDS, "a"), TextRanking(IDS, SCORES, IDS)], [1], "an owner, or none,.*text 1"),
        ([TextRanking(IDS, SCORES, IDS), TextRanking(IDS[:2], SCORES[:2], IDS[:2])], [1], "videos.*text 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(rankings, sizes, message):
    with pytest.raises(ValueError, match=message):
        measure_losses(rankings, sizes)
