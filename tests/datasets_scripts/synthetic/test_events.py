# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Generated videos with events: sentences are true when they say, of one event alone, and nobody finds it without looking."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.datasets_scripts.synthetic.events import attributes, draw_event_video, event_moments
from clipbert.datasets_scripts.synthetic.generation import Settings, read_manifest
from clipbert.datasets_scripts.synthetic.rendering import RGB
from clipbert.datasets_scripts.synthetic.scenes import PRESETS
from clipbert.processing import decode_video


FPS = 8
SETTINGS = {"preset": "events", "num_train": 3, "num_validation": 0, "num_test": 2, "size": 48}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("events")
    return {
        noise: generate_synthetic(root / f"noise_{noise}", progress=False, boundary_noise=noise, **SETTINGS)
        for noise in (0.0, 0.3)
    }


@pytest.fixture(scope="module")
def videos():
    return [draw_event_video(np.random.default_rng(seed), PRESETS["events"], FPS) for seed in range(400)]


def moments_of(folder, split):
    return [json.loads(line) for line in (folder / split / "moments.jsonl").read_text().splitlines()]


def test_events_lie_among_pauses(videos):
    for video in videos:
        spans = np.array(video.spans(FPS))
        assert 16 <= video.num_frames / FPS <= 60 and 2 <= len(spans) <= 6
        borders = np.array([0.0, *spans.ravel(), video.num_frames / FPS])
        assert (np.diff(borders)[::2] >= 0.25).all()  # pauses
        assert (np.diff(spans) >= 2).all() and (np.diff(spans) <= 15).all()
    assert {len(video.scenes) for video in videos} == {2, 3, 4, 5, 6}


def test_each_event_is_told_apart_and_shares_two_attributes_with_another(videos):
    for video in videos:
        told = [attributes(scene) for scene in video.scenes]
        assert len(set(told)) == len(told) == len({sentences[0] for sentences in video.sentences()})
        for number, one in enumerate(told):
            others = told[:number] + told[number + 1 :]
            assert max(sum(a == b for a, b in zip(one, other, strict=True)) for other in others) == 2
        assert len({scene.background for scene in video.scenes}) == 1


def test_one_word_queries_fit_one_event_alone(videos):
    num_words = 0
    for video in videos:
        told = [set(attributes(scene)) for scene in video.scenes]
        moments = list(event_moments(video, FPS, 1, np.random.default_rng(0)))
        for moment in moments:
            if " " not in moment["caption"]:
                (place,) = [number for number, words in enumerate(told) if moment["caption"] in words]
                assert video.spans(FPS)[place] == (moment["start_s"], moment["end_s"])
                num_words += 1
        assert len({moment["caption"] for moment in moments}) == len(moments)
    assert num_words > len(videos)


def test_no_fixed_span_hits_a_quarter(videos):
    shares = np.concatenate([np.array(video.spans(FPS)) * FPS / video.num_frames for video in videos])
    borders = np.linspace(0, 1, 41)
    fixed = np.array([(start, end) for start in borders for end in borders if start < end])
    common = np.minimum(shares[:, None, 1], fixed[:, 1]) - np.maximum(shares[:, None, 0], fixed[:, 0])
    union = np.maximum(shares[:, None, 1], fixed[:, 1]) - np.minimum(shares[:, None, 0], fixed[:, 0])
    assert 0.05 < (common / union >= 0.5).mean(axis=0).max() < 0.25


def test_sentences_are_true_when_they_say(folders):
    checked = set()
    for moment in moments_of(folders[0.0], "test"):
        frames = decode_video(
            folders[0.0] / "test" / moment["video"], lambda facts: range(facts.total_num_frames)
        ).frames
        first, end = round(moment["start_s"] * FPS), round(moment["end_s"] * FPS)
        assert len(frames) == moment["duration_s"] * FPS
        background = np.median(frames[0], axis=(0, 1))
        is_object = np.abs(frames.astype(float) - background).max(axis=-1) > 40  # (frames, 48, 48)
        areas = is_object.sum(axis=(1, 2))
        assert (areas[first:end] > 0).all() and areas[first - 1] == 0 and (end == len(frames) or areas[end] == 0)
        if " " not in moment["caption"]:
            continue
        (y0, x0), (y1, x1) = (np.argwhere(is_object[number]).mean(axis=0) for number in (first, end - 1))
        moves = {"right": x1 - x0 > 8, "left": x0 - x1 > 8, "down": y1 - y0 > 8, "up": y0 - y1 > 8}
        moves |= {"grows": areas[end - 1] > 1.5 * areas[first], "shrinks": areas[first] > 1.5 * areas[end - 1]}
        _, color, _, *_, word = moment["caption"].split()
        assert moves[word] and sum(moves.values()) == 1, moment
        seen = np.median(frames[first:end][is_object[first:end]], axis=0)
        assert min(PRESETS["events"].colors, key=lambda name: np.abs(seen - RGB[name]).sum()) == color
        checked.add(word)
    assert len(checked) > 2


def test_noise_moves_borders_of_training_moments_alone(folders):
    assert moments_of(folders[0.0], "test") == moments_of(folders[0.3], "test")
    true, moved = moments_of(folders[0.0], "train"), moments_of(folders[0.3], "train")
    lengths = np.array([moment["end_s"] - moment["start_s"] for moment in true])
    for border in ("start_s", "end_s"):
        errors = np.array([b[border] - a[border] for a, b in zip(true, moved, strict=True)]) / lengths
        assert (errors != 0).all() and np.abs(errors).max() <= 0.3 + 1e-3 and np.abs(errors).mean() > 0.05
    assert all(0 <= moment["start_s"] < moment["end_s"] <= moment["duration_s"] for moment in moved)


def test_rows_of_the_loader(tmp_path):
    generate = {**SETTINGS, "num_train": 1, "num_test": 0, "captions_per_video": 3, "duration_s": 16, "num_events": 2}
    arguments = {"data_dir": tmp_path / "data", "cache_dir": str(tmp_path / "cache"), "generate": generate}
    rows = load_benchmark("synthetic", "moments", split="train", **arguments)
    sentences = [caption for caption in rows["caption"] if " " in caption]
    assert len(sentences) == 6 and len(rows) == 8 and set(rows["duration_s"]) == {16.0}
    (paragraph,) = load_benchmark("synthetic", "retrieval", split="train", **arguments)["caption"]
    assert paragraph == f"{sentences[0]}, then {sentences[3]}"
    facts = read_manifest(tmp_path / "data")
    assert facts["combinations"] == 4 * 3 * 4 and facts["splits"]["train"]["moments"] == 8
    with pytest.raises(FileExistsError, match="boundary_noise is 0.0 there, 0.1 asked"):
        generate_synthetic(tmp_path / "data", **generate, boundary_noise=0.1)


def test_an_hour_is_drawn_frame_by_frame():
    plan = Settings(preset="events", duration_s=3600, num_events=20, shortest_event_s=5, longest_event_s=15).event_plan
    video = draw_event_video(np.random.default_rng(0), plan, FPS)
    lengths = np.diff(video.spans(FPS))
    assert len({attributes(scene) for scene in video.scenes}) == 20 and 5 <= lengths.min() < lengths.max() <= 15
    tracemalloc.start()
    try:
        assert sum(1 for _ in video.render(48, np.random.default_rng(0))) == 3600 * FPS
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3600 * FPS * 48 * 48 * 3 / 4  # all pictures, four times


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "easy", "duration_s": 20}, "no `duration_s` of a preset without events, got 'easy'"),
        ({"preset": "easy", "boundary_noise": 0.1}, "no `boundary_noise` of a preset without events"),
        ({"num_frames": 24, "search_phrases": True}, "no `num_frames`, `search_phrases` of a preset with events"),
        ({"boundary_noise": 0.5}, "a `boundary_noise` from 0 to below 0.5, got 0.5"),
        ({"num_events": 1}, "`num_events` from 2 to 24, got 1"),
        ({"num_events": 7}, "a `duration_s` of 17.5 or more for its events, got 16.0"),
        ({"duration_s": 0}, "a `duration_s` of 15 or more for its events, got 0"),
        ({"shortest_event_s": 20}, "a `shortest_event_s` up to `longest_event_s`"),
    ],
)
def test_impossible_settings_are_refused(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        generate_synthetic(tmp_path / "data", **{"preset": "events", **settings})
    assert list(tmp_path.iterdir()) == []


def test_a_video_of_the_shortest_room_is_full():
    plan = replace(PRESETS["events"], duration_s=(15.0, 15.0), num_events=(6, 6))
    for seed in range(20):
        video = draw_event_video(np.random.default_rng(seed), plan, FPS)
        assert len(video.scenes) == 6 and video.scenes[-1].acts[0].end_frame < video.num_frames == 120
