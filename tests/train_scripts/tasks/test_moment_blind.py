# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Moments without a look at the video: by hand, against exhaustive search, and on the real annotation files."""

import numpy as np
import pytest

from clipbert.datasets_scripts import load_benchmark
from clipbert.metrics.moment_retrieval import compute_moment_metrics, temporal_iou
from clipbert.train_scripts.tasks.moment_retrieval.blind import (
    best_fixed_span,
    blind_scores,
    nearest_sentences,
    oracle,
    uniform_points,
    whole_video,
)
from clipbert.train_scripts.tasks.moment_retrieval.questions import group_questions


def row(start_s, end_s, caption="a dog runs", duration_s=100.0, video_id="a", **ids):
    times = {"start_s": start_s, "end_s": end_s, "duration_s": duration_s}
    return {"video_id": video_id, "caption": caption, **times, **ids}


def test_windows_of_one_question_stand_together():
    rows = [row(0, 5, question_id="7"), row(9, 12, question_id="8"), row(20, 30, question_id="7"), row(1, 2)]
    found = group_questions([*rows, row(3, 4, video_id="b", question_id="7")])
    assert [(each["question_id"], each["video_id"], each["windows"]) for each in found] == [
        ("7", "a", [(0, 5), (20, 30)]),
        ("8", "a", [(9, 12)]),
        ("3", "a", [(1, 2)]),  # without a name each row is a question
        ("7", "b", [(3, 4)]),
    ]
    with pytest.raises(ValueError, match="the question '7' of 'a' to have one caption, got 'a dog runs' and 'a cat'"):
        group_questions([rows[0], row(0, 5, "a cat", question_id="7")])


def test_best_span_of_each_threshold():
    rows = [row(0, 30)] * 3 + [row(40, 90), row(30, 95)] * 2
    assert best_fixed_span(rows, 0.9) == pytest.approx((0.0, 0.3))
    start, end = best_fixed_span(rows, 0.7)  # both of the second kind
    assert all(
        temporal_iou(np.array([100 * start, 100 * end]), np.array(span)) >= 0.7 for span in [(40, 90), (30, 95)]
    )
    assert best_fixed_span([row(0, 5, duration_s=10), row(0, 50)], 0.95) == (0.0, 0.5)  # a share of each video


def test_two_uniform_points():
    rows = [row(0, 100, video_id=str(number)) for number in range(500)]
    found = uniform_points(rows)
    for threshold in (
        0.3,
        0.5,
        0.7,
    ):  # of the whole video the IoU is the distance of the points, P(d >= x) = (1 - x)^2
        assert found[f"R1@{threshold}"] == pytest.approx((1 - threshold) ** 2, abs=0.005)
        spread = np.sqrt((1 - threshold) ** 2 * (1 - (1 - threshold) ** 2) / 500)
        assert found[f"R1@{threshold}_std"] == pytest.approx(spread, rel=0.2)
    assert uniform_points(rows) == found
    several = [row(0, 50, question_id="x"), row(50, 100, question_id="x")]
    assert uniform_points(several * 50)["R1@0.5"] > 1.5 * uniform_points(several[:1] * 50)["R1@0.5"]


def test_nearest_sentences_vote():
    train = [row(0, 10, f"the dog runs to place {n}") for n in range(5)]
    train += [row(60, 90, f"a cat sleeps on chair {n}", duration_s=100.0) for n in range(5)]
    asked = [row(0, 1, "The DOG runs away", duration_s=50.0), row(0, 1, "one cat sleeps"), row(0, 1, "zebra")]
    found = nearest_sentences(train, asked)
    for answers in found.values():
        dog, cat, zebra = ([(each["start_s"], each["end_s"]) for each in one] for one in answers)
        assert temporal_iou(np.array(dog[0]), np.array((0, 5))) >= 0.3  # of 50 seconds the first tenth
        assert temporal_iou(np.array(cat[0]), np.array((60, 90))) >= 0.3
        assert len(zebra) == 1  # nothing is alike: what hits most
    assert found[0.7][1][0]["start_s"] == pytest.approx(60, abs=10)


def test_oracle_is_the_best_pair_of_segments():
    rng = np.random.default_rng(0)
    for num_segments in (1, 2, 7, 16):
        durations = rng.uniform(5, 60, 40)
        spans = np.sort(rng.random((40, 2)), axis=1) * durations[:, None]
        rows = [row(*span, duration_s=duration) for span, duration in zip(spans, durations, strict=True)]
        borders = np.linspace(0, 1, num_segments + 1)
        pairs = np.array([(a, b) for n, a in enumerate(borders) for b in borders[n + 1 :]])
        best = [temporal_iou(pairs * duration, span).max() for span, duration in zip(spans, durations, strict=True)]
        (answers,) = zip(*oracle(rows, num_segments), strict=True)
        found = [
            temporal_iou(np.array([each["start_s"], each["end_s"]]), span)
            for each, span in zip(answers, spans, strict=True)
        ]
        np.testing.assert_allclose(found, best, atol=1e-12)
    ((answer,),) = oracle([row(4.2, 9.9, duration_s=9.9)], segment_s=2.0)
    assert (answer["start_s"], answer["end_s"]) == (4.0, 9.9)  # the last segment ends with the video
    for sizes in ({}, {"num_segments": 3, "segment_s": 1.0}):
        with pytest.raises(ValueError, match="either num_segments or segment_s"):
            oracle([row(0, 1)], **sizes)


def test_all_stand_side_by_side():
    train = [row(0, 30, "the dog runs", video_id=str(n)) for n in range(6)]
    found = blind_scores(train, [row(0, 30, "the dog runs"), row(0, 100, "a cat")])
    assert list(found) == ["whole_video", "uniform_points", "best_fixed_span", "nearest_sentences"]
    assert found["whole_video"]["R1@0.5"] == 0.5 and found["whole_video"]["R1@0.3"] == 1.0  # 30 of 100 seconds
    assert found["best_fixed_span"]["R1@0.7"] == found["nearest_sentences"]["R1@0.7"] == 0.5
    strict = blind_scores(train, [row(0, 30, "the dog runs")], strict=True)
    assert strict["whole_video"]["R1@0.3"] == 0.0
    assert whole_video([row(0, 1)]) == [[{"start_s": 0.0, "end_s": 100.0, "score": 1.0}]]


def test_durations_and_rows_are_needed():
    with pytest.raises(ValueError, match="1 of 2 rows have none, the first of 'b'"):
        best_fixed_span([row(0, 1), row(0, 1, video_id="b", duration_s=None)], 0.5)
    with pytest.raises(ValueError, match="training rows and rows to measure, got 0 and 1"):
        blind_scores([], [row(0, 1)])


# What was found on the real files. The look-up has to be at least as strong as one that others wrote.
FIXED = {"charades_sta": (0.495, 0.307, 0.173), "activitynet_captions": (0.495, 0.291, 0.163)}
POINTS = {"charades_sta": (0.270, 0.110, 0.031), "activitynet_captions": (0.268, 0.134, 0.047)}
LOOK_UP = {"charades_sta": (0.570, 0.357, 0.195), "activitynet_captions": (0.62, 0.42, 0.23)}
ORACLE = {  # segments: R@1 at IoU 0.7 and mean IoU
    "charades_sta": {16: (0.996, 0.900), 32: (1.0, 0.947), 64: (1.0, 0.973), 128: (1.0, 0.987), 2.0: (0.997, 0.889)},
    "activitynet_captions": {16: (0.891, 0.865), 32: (0.944, 0.920), 128: (0.987, 0.976), 0.5: (0.995, 0.981)},
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "config"), [("charades_sta", "vslnet"), ("activitynet_captions", "moments")])
def test_real_annotations(name, config, data_dir, tmp_path):
    where = {"data_dir": data_dir / "annotations" / name, "cache_dir": str(tmp_path), "on_missing": "keep"}
    train, test = (load_benchmark(name, config, split=split, **where).to_list() for split in ("train", "test"))
    found = blind_scores(train, test)
    columns = {each: [found[each][f"R1@{at}"] for at in (0.3, 0.5, 0.7)] for each in found}
    np.testing.assert_allclose(columns["best_fixed_span"], FIXED[name], atol=0.003)
    np.testing.assert_allclose(columns["uniform_points"], POINTS[name], atol=0.003)
    assert np.all(np.array(columns["nearest_sentences"]) >= LOOK_UP[name])
    for segments, wanted in ORACLE[name].items():
        key = "num_segments" if isinstance(segments, int) else "segment_s"
        metrics = compute_moment_metrics(oracle(test, **{key: segments}), group_questions(test))
        np.testing.assert_allclose([metrics["R1@0.7"], metrics["mIoU"]], wanted, atol=0.001)
