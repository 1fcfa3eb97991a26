# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Generated videos with twins: the same pictures in another order, another caption, and nothing that tells them apart."""

import json

import numpy as np
import pytest

from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.datasets_scripts.synthetic.generation import read_manifest
from clipbert.datasets_scripts.synthetic.scenes import (
    PRESETS,
    action_plans,
    class_names,
    count_combinations,
    twin_kinds,
    twin_order,
)
from clipbert.processing import MugSTANVideoProcessor, decode_video


COUNTS = {"motion": 72, "motion_boxes": 12, "motion_shots": 36}


@pytest.fixture(scope="module", params=COUNTS)
def preset(request):
    return request.param


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("twins")
    return {
        name: generate_synthetic(
            root / name,
            progress=False,
            preset=name,
            num_train=36 if name == "motion" else 2,  # every class is trained
            num_validation=0,
            num_test=count,
            size=48,
        )
        for name, count in COUNTS.items()
    }


def lines(folder, name, split="test"):
    return [json.loads(line) for line in (folder / split / f"{name}.jsonl").read_text().splitlines()]


def pictures(folder, row):
    return decode_video(folder / "test" / row["video"], lambda metadata: range(metadata.total_num_frames)).frames


def test_there_are_36_captions_in_18_pairs():
    plans = list(action_plans(PRESETS["motion"], 18))
    assert len(plans) == len(set(plans)) == count_combinations(PRESETS["motion"], 18) == 36
    for kinds in plans:
        twin = twin_kinds(kinds)
        assert twin in plans and twin != kinds and twin_kinds(twin) == kinds
        order = twin_order(kinds, 18)
        assert order[twin_order(twin, 18)].tolist() == list(range(18))  # the twin of a twin is the video itself
    assert twin_kinds(("right", "grow")) == ("shrink", "left") and twin_kinds(("right", "left")) == ("left", "right")
    assert twin_order(("grow",), 4).tolist() == [3, 2, 1, 0] and twin_order(("up", "down"), 4).tolist() == [2, 3, 0, 1]
    assert len(class_names(PRESETS["motion"])) == 36 and "move right and then grow" in class_names(PRESETS["motion"])


def test_twins_have_the_same_pictures_in_another_order(folders, preset):
    captions = lines(folders[preset], "captions")
    for first, second in zip(captions[:24:2], captions[1:24:2], strict=True):
        ours, theirs = pictures(folders[preset], first), pictures(folders[preset], second)
        assert first["caption"] != second["caption"] and ours.shape == theirs.shape
        assert not np.array_equal(ours, theirs)
        assert sorted(frame.tobytes() for frame in ours) == sorted(frame.tobytes() for frame in theirs)
        if preset == "motion":
            words = first["caption"].removeprefix("an object ").split(" and then ")
            ends = {word.split()[-1] for word in words}
            halves = len(words) == 2 and ends in ({"left", "right"}, {"up", "down"}, {"grows", "shrinks"})
            expected = np.concatenate([ours[9:], ours[:9]]) if halves else ours[::-1]
            assert np.array_equal(theirs, expected)


@pytest.mark.parametrize(("name", "num_frames"), [("motion", 6), ("motion", 12), ("motion", 18), ("motion_shots", 12)])
def test_chosen_frames_of_twins_are_the_same_ones(folders, name, num_frames):
    """So nothing is left to a model that averages its frames."""
    processor = MugSTANVideoProcessor(size=48, num_frames=num_frames)
    rows = lines(folders[name], "captions")[:24]
    frames = processor([str(folders[name] / "test" / row["video"]) for row in rows])["pixel_values"]
    for first, second in zip(frames[::2], frames[1::2], strict=True):
        assert not first.equal(second)
        assert sorted(frame.sum().item() for frame in first) == sorted(frame.sum().item() for frame in second)


@pytest.mark.parametrize("name", ["motion", "motion_shots"])
def test_every_run_of_36_is_a_gallery(folders, name):
    captions = [row["caption"] for row in lines(folders[name], "captions")]
    for start in range(0, len(captions), 36):
        assert len(set(captions[start : start + 36])) == 36
    assert all(caption.startswith("an object ") for caption in captions)
    assert read_manifest(folders[name])["splits"]["test"]["every_caption_fits_one_video"] == (len(captions) == 36)


def test_captions_are_true(folders):
    """Where the object is, and how large, at the beginning and at the end of each act."""
    checked = set()
    for moment in lines(folders["motion"], "moments")[:60]:
        frames = pictures(folders["motion"], moment).astype(float)
        first, last = round(moment["start_s"] * 8), round(moment["end_s"] * 8) - 1
        border = np.median(frames[0], axis=(0, 1))
        is_object = np.abs(frames[[first, last]] - border).max(axis=-1) > 40  # (2, 48, 48)
        (y0, x0), (y1, x1) = (np.argwhere(each).mean(axis=0) for each in is_object)
        area0, area1 = is_object.sum(axis=(1, 2))
        moves = {"right": x1 - x0 > 8, "left": x0 - x1 > 8, "down": y1 - y0 > 8, "up": y0 - y1 > 8}
        moves |= {"grows": area1 > 1.5 * area0, "shrinks": area0 > 1.5 * area1}
        word = moment["caption"].split()[-1]
        assert moves[word] and sum(moves.values()) == 1, moment
        checked.add(word)
    assert len(checked) == 6


def test_boxes_hold_the_objects(folders):
    rows = load_benchmark("synthetic", config="detection", split="test", data_dir=folders["motion_boxes"])
    actions = read_manifest(folders["motion_boxes"])["splits"]["test"]["actions"]
    assert rows.features["labels"].feature.feature.names == actions
    captions = {row["video_id"]: row["caption"] for row in lines(folders["motion_boxes"], "captions")}
    assert len(rows) == 12 and len(actions) == 6
    for row in rows:
        (left, right), ((first,), (second,)) = row["boxes"], row["labels"]
        told = [
            actions[label].replace("move", "moves").replace("grow", "grows").replace("shrink", "shrinks")
            for label in (first, second)
        ]
        assert captions[row["video_id"]] == " and ".join(f"an object {each}" for each in told) and first != second
        frame = decode_video(row["video"], [round(row["timestamp_s"] * 8)]).frames[0].astype(float)
        is_object = np.abs(frame - np.median(frame, axis=(0, 1))).max(axis=-1) > 60
        assert left[2] <= 0.5 <= right[0]
        inside = np.zeros_like(is_object)
        for x1, y1, x2, y2 in np.array(row["boxes"]) * 48:
            inside[max(int(y1) - 1, 0) : int(y2) + 2, max(int(x1) - 1, 0) : int(x2) + 2] = True
            part = is_object[round(y1) : round(y2), round(x1) : round(x2)]
            assert part.mean() > 0.4 and part.any(axis=0).mean() > 0.7 and part.any(axis=1).mean() > 0.7
        assert not (is_object & ~inside).any()


def test_shots_are_aligned_to_a_known_degree(folders):
    folder = folders["motion_shots"]
    captions, moments = lines(folder, "captions"), lines(folder, "moments")
    shares = [row["aligned_share"] for row in captions]
    assert sorted(set(shares)) == [0.167, 0.5, 1.0] and shares[::2] == shares[1::2]
    assert {share: shares.count(share) for share in set(shares)} == {0.167: 12, 0.5: 12, 1.0: 12}
    for row in captions:
        own = [moment for moment in moments if moment["video_id"] == row["video_id"]]
        seconds = own[-1]["end_s"] - own[0]["start_s"]
        assert seconds / own[0]["duration_s"] == pytest.approx(row["aligned_share"], abs=1e-3)
        assert " and then ".join(moment["caption"].removeprefix("an object ") for moment in own) == row[
            "caption"
        ].removeprefix("an object ")


def test_loaders_read_them(folders, preset):
    rows = load_benchmark("synthetic", config="retrieval", split="test", data_dir=folders[preset])
    assert len(rows) == COUNTS[preset]
    if preset == "motion":
        labels = load_benchmark("synthetic", config="classification", split="test", data_dir=folders[preset])
        assert labels.features["label"].num_classes == 36 and len(set(labels["label"])) == 36
    if preset != "motion_boxes":
        with pytest.raises(ValueError, match="has no boxes; generate the preset 'motion_boxes'"):
            load_benchmark("synthetic", config="detection", split="test", data_dir=folders[preset])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"num_test": 3}, "even numbers of videos of a preset with twins, got an odd one for test"),
        ({"num_frames": 17}, "multiple of 2"),
        ({"preset": "motion_shots", "num_frames": 30}, "multiple of 12"),
        ({"preset": "motion_boxes", "unseen_combinations": True}, "no `unseen_combinations`"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, settings, match):
    with pytest.raises(ValueError, match=match):
        generate_synthetic(
            tmp_path / "x", **{"preset": "motion", "num_train": 2, "num_validation": 2, "num_test": 2} | settings
        )


def test_the_same_settings_give_the_same_bytes(folders, tmp_path, preset):
    again = generate_synthetic(
        tmp_path / "x", progress=False, preset=preset, num_train=4, num_validation=0, num_test=COUNTS[preset], size=48
    )
    for path in sorted((again / "test").rglob("*.*")):
        assert path.read_bytes() == (folders[preset] / path.relative_to(again)).read_bytes()
