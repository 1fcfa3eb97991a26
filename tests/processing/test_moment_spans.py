# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Seconds to segments and back: against brute force, and against what quantisation is known to cost."""

from types import SimpleNamespace

import pytest
import torch

from clipbert.processing import decode_moments, join_windows, joint_scores, segment_scores, span_targets, temporal_nms


def overlap(first, second):
    """Intersection over union of two spans."""
    shared = max(0.0, min(first[1], second[1]) - max(first[0], second[0]))
    return shared / (first[1] - first[0] + second[1] - second[0] - shared)


# ---------------------------------------------------------------------------------------------------------------------
# Targets
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", ["nearest", "max_iou"])
def test_every_pair_of_segments_comes_back(rounding):
    for num_segments in [1, 2, 7, 32] if rounding == "max_iou" else range(1, 129):
        first, last = torch.triu_indices(num_segments, num_segments)
        duration = 97.3
        seconds = torch.stack([first, last + 1], dim=1).double() * duration / num_segments
        counts = torch.full_like(first, num_segments)
        found = span_targets(seconds, torch.full((len(first),), duration).double(), counts, rounding)
        assert torch.equal(found[0], first) and torch.equal(found[1], last), num_segments


def test_spans_are_cut_to_the_video_and_empty_ones_are_none():
    spans = torch.tensor([[-3.0, 2.0], [8.0, 14.0], [12.0, 14.0], [5.0, 4.0], [3.0, 3.0], [4.9, 5.0]])
    starts, ends = span_targets(spans, torch.full((6,), 10.0), torch.full((6,), 5))
    assert starts.tolist() == [0, 4, -100, -100, -100, 2]
    assert ends.tolist() == [0, 4, -100, -100, -100, 2]


def test_the_nearest_border_is_as_good_as_the_best_pair():
    generator = torch.Generator().manual_seed(0)
    duration = torch.rand(400, generator=generator) * 200 + 5
    starts = torch.rand(400, generator=generator) * 0.9 * duration
    ends = starts + torch.rand(400, generator=generator) * (duration - starts)
    spans, counts = torch.stack([starts, ends], dim=1), torch.randint(1, 65, (400,), generator=generator)
    means = []
    for rounding in ("nearest", "max_iou"):
        first, last = span_targets(spans, duration, counts, rounding)
        unit = duration / counts
        pairs = torch.stack([first * unit, (last + 1) * unit], dim=1)
        means.append(sum(overlap(a, b) for a, b in zip(pairs.tolist(), spans.tolist(), strict=True)) / 400)
    assert means[0] <= means[1] + 1e-6
    assert means[1] - means[0] < 0.01


def test_an_unknown_rounding_is_refused():
    with pytest.raises(ValueError, match="nearest"):
        span_targets(torch.zeros(1, 2), torch.ones(1), torch.ones(1), rounding="floor")


# ---------------------------------------------------------------------------------------------------------------------
# Decoding
# ---------------------------------------------------------------------------------------------------------------------


def random_output(num_queries, size, seed, has_segments=True):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, size + 1, (num_queries,), generator=generator)
    mask = torch.arange(size) < lengths[:, None]
    logits = [torch.randn(num_queries, size, generator=generator).masked_fill(~mask, -3e38) for _ in range(3)]
    names = ("start_logits", "end_logits", "segment_logits")
    return SimpleNamespace(
        **dict(zip(names, logits, strict=True)) | ({} if has_segments else {"segment_logits": None}), segment_mask=mask
    )


def brute_force(output, query, duration, top_k, nms_iou, ranking, weight, min_segments, max_segments, max_seconds):
    """Every pair, one by one."""
    length = int(output.segment_mask[query].sum())
    start, end, inside = (
        getattr(output, name)[query, :length].double() for name in ("start_logits", "end_logits", "segment_logits")
    )
    if ranking != "unnormalised":
        start, end = start.log_softmax(0), end.log_softmax(0)
    inside, unit, found = inside.sigmoid(), duration / length, []
    for i in range(length):
        for j in range(i, length):
            too_short, too_long = j - i + 1 < min_segments, max_segments is not None and j - i + 1 > max_segments
            if too_short or too_long or (max_seconds is not None and (j - i + 1) * unit > max_seconds + 1e-9):
                continue
            outside = torch.cat([inside[:i], inside[j + 1 :]])
            segment = inside[i : j + 1].mean() - (outside.mean() if len(outside) else 0.0)
            rank = start[i] + end[j] + (weight + (ranking == "joint_with_segmentation")) * segment
            found.append((float(rank), i, j, float(segment)))
    kept = []
    for rank, i, j, segment in sorted(found, key=lambda each: -each[0]):
        if len(kept) < top_k and all(overlap((i, j + 1), (a, b + 1)) <= nms_iou for _, a, b, _ in kept):
            kept.append((rank, i, j, segment))
    return [(i * unit, (j + 1) * unit, rank, segment) for rank, i, j, segment in kept]


def assert_equals_brute_force(num_cases, seed):
    generator = torch.Generator().manual_seed(seed)

    def choose(*options):
        return options[int(torch.randint(len(options), (), generator=generator))]

    for case in range(num_cases // 10):
        output = random_output(10, choose(1, 2, 5, 9, 12), seed=1000 * seed + case)
        durations = torch.rand(10, generator=generator) * 100 + 1
        settings = {
            "top_k": choose(1, 5, 200),
            "nms_iou": choose(0.0, 0.3, 0.5, 1.0),
            "ranking": choose("joint", "joint_with_segmentation", "unnormalised"),
            "min_segments": choose(1, 1, 2, 4),
            "max_segments": choose(None, None, 3),
            "max_seconds": choose(None, None, 20.0),
        }
        weight = choose(0.0, 0.7)
        answers = decode_moments(output, durations, **settings, rescore_with_segmentation=weight)
        for query, (answer, duration) in enumerate(zip(answers, durations.tolist(), strict=True)):
            expected = brute_force(output, query, duration, weight=weight, **settings)
            assert len(answer) == len(expected)
            for moment, (start, end, rank, segment) in zip(answer, expected, strict=True):
                assert 0 <= moment["start_s"] < moment["end_s"] <= duration
                score = rank if settings["ranking"] == "unnormalised" else torch.tensor(rank).exp().item()
                got = [moment[name] for name in ("start_s", "end_s", "score", "segment_score")]
                assert got == pytest.approx([start, end, score, segment], rel=1e-4, abs=1e-5)


def test_decoding_is_brute_force():
    assert_equals_brute_force(200, seed=0)


@pytest.mark.slow
def test_decoding_is_brute_force_on_a_thousand_cases():
    assert_equals_brute_force(1000, seed=1)


def test_the_best_pair_is_never_inverted():
    """Two independent best segments are: in a tenth of the answers of good models."""
    output = random_output(1, 4, seed=0)
    output.segment_mask[:] = True
    output.start_logits[:] = torch.tensor([0.0, 0.0, 9.0, 0.0])
    output.end_logits[:] = torch.tensor([9.0, 0.0, 0.0, 0.0])
    best = decode_moments(output, torch.tensor([4.0]), top_k=1)[0][0]
    assert best["start_s"] < best["end_s"]


def test_probabilities_of_pairs():
    scores = joint_scores(torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor([[1, 1, 0, 0]]))
    assert scores.exp()[0, :2, :2].tolist() == [[0.25, 0.25], [0.0, 0.25]]
    assert (scores[0, 2:] == -torch.inf).all() and (scores[0, :, 2:] == -torch.inf).all()


def test_segment_score_of_a_whole_video_has_no_outside():
    scores = segment_scores(torch.full((1, 3), 50.0), torch.ones(1, 3))
    assert scores[0, 0].tolist() == [0.0, 0.0, 1.0]


def test_without_a_third_head():
    output = random_output(2, 5, seed=0, has_segments=False)
    assert decode_moments(output, [10.0, 20.0])[0][0]["segment_score"] is None
    with pytest.raises(ValueError, match="third head"):
        decode_moments(output, [10.0, 20.0], ranking="joint_with_segmentation")
    with pytest.raises(ValueError, match="ranking"):
        decode_moments(output, [10.0, 20.0], ranking="best")


def test_half_precision_scores_are_ranked():
    output = random_output(2, 6, seed=0)
    output.start_logits, output.end_logits = (
        output.start_logits.clamp(-60000).half(),
        output.end_logits.clamp(-60000).half(),
    )
    assert all(0 < moment["score"] <= 1 for row in decode_moments(output, [10.0, 20.0]) for moment in row)


def test_non_maximum_suppression():
    generator = torch.Generator().manual_seed(0)
    for threshold in (0.0, 0.5, 1.0):
        starts = torch.rand(40, generator=generator) * 10
        spans = torch.stack([starts, starts + torch.rand(40, generator=generator) * 5 + 0.1], dim=1)
        scores, expected = torch.rand(40, generator=generator), []
        for place in scores.argsort(descending=True).tolist():
            if all(overlap(spans[place].tolist(), spans[better].tolist()) <= threshold for better in expected):
                expected.append(place)
        assert temporal_nms(spans, scores, threshold).tolist() == expected
        assert temporal_nms(spans, scores, threshold, top_k=3).tolist() == expected[:3]
    assert temporal_nms(torch.zeros(0, 2), torch.zeros(0)).tolist() == []


def test_moments_of_two_windows_that_overlap_are_answered_once():
    def moment(start_s, end_s, score):
        return {"start_s": start_s, "end_s": end_s, "score": score, "segment_score": None}

    windows = [[moment(1, 5, 0.2), moment(8, 9, 0.1)], [moment(1, 4, 0.9)], []]
    assert join_windows(windows, 5, 0.5) == [windows[1][0], windows[0][1]]
    assert join_windows(windows, 1, 1.0) == [windows[1][0]]
    assert join_windows([[]], 5, 0.5) == join_windows([[], []], 5, 0.5) == []
