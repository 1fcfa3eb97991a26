# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Clips of classes: shares of whole recordings, clip by clip, limits, and what cannot be divided."""

import itertools
import random
from collections import Counter
from pathlib import Path

import pytest

from clipbert.datasets_scripts.building.classes import (
    LabelledClip,
    check_classes_of_splits,
    check_one_class_each,
    count_siblings,
    hold_out,
    labelled_clips,
    limit,
    nearest_sum,
    recording_in_name,
)
from clipbert.datasets_scripts.building.records import AnnotationError, Record


def clips_of(label: str, *sizes: int, recording: str = "") -> list[LabelledClip]:
    """Clips of recordings of so many clips each; they are on the lines of a file in that order."""
    names = [f"{recording or label}_{number}" for number, size in enumerate(sizes) for _ in range(size)]
    return [
        LabelledClip(f"{label}_{line:03}", label, name, Record({}, Path("labels.csv"), line))
        for line, name in enumerate(names, start=2)
    ]


def shares(clips: list[LabelledClip], held_out: set[str]) -> dict[str, float]:
    counts = Counter(clip.label for clip in clips if clip.video_id in held_out)
    return {label: counts[label] / number for label, number in Counter(clip.label for clip in clips).items()}


def split(clips, held_out):
    return [clip for clip in clips if clip.video_id in held_out], [
        clip for clip in clips if clip.video_id not in held_out
    ]


def test_the_sum_is_the_nearest_of_all():
    chance = random.Random(0)
    for _ in range(500):
        sizes = [chance.randint(1, 7) for _ in range(chance.randint(1, 8))]
        wanted, not_none, not_all = chance.uniform(-3, sum(sizes) + 2), chance.random() < 0.5, chance.random() < 0.5
        chosen = nearest_sum(sizes, wanted, not_none, not_all)
        subsets = (each for count in range(len(sizes) + 1) for each in itertools.combinations(sizes, count))
        sums = [sum(each) for each in subsets if len(each) >= not_none and len(sizes) - len(each) >= not_all]
        if sums:
            assert abs(sum(sizes[number] for number in chosen) - wanted) == min(abs(each - wanted) for each in sums)
        else:
            assert not chosen


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_whole_recordings_of_every_class(fraction):
    clips = [*clips_of("a", *range(3, 8), 7, 7, 4), *clips_of("b", 5, 6, 4, 7, 3, 3), *clips_of("c", *[1] * 40)]
    held_out = hold_out(clips, fraction, "recording")
    assert all(abs(share - fraction) < 0.05 for share in shares(clips, held_out).values())
    validation, training = split(clips, held_out)
    assert count_siblings(validation, training) == 0
    assert hold_out(list(reversed(clips)), fraction, "recording") == held_out  # the order of files says nothing
    assert hold_out(clips, fraction, "recording", seed=1) != held_out


def test_every_class_is_on_both_sides_whatever_the_share():
    clips = [*clips_of("a", 30, 2), *clips_of("b", 1, 1)]
    for fraction in (0.001, 0.999):
        assert all(0 < share < 1 for share in shares(clips, hold_out(clips, fraction, "recording")).values())


def test_recordings_of_several_classes_stay_whole():
    """As the films of HMDB51: no class gets far from its share."""
    chance = random.Random(1)
    films = [f"film {number}" for number in range(60)]
    clips = [
        LabelledClip(f"{label}_{number}", label, chance.choice(films), Record({}, Path("labels.csv"), number))
        for label in "abcdef"
        for number in range(100)
    ]
    for seed in range(5):
        held_out = hold_out(clips, 0.2, "recording", seed)
        assert count_siblings(*split(clips, held_out)) == 0
        assert all(0.1 < share < 0.3 for share in shares(clips, held_out).values())


@pytest.mark.parametrize("number", [2, 3, 7, 12, 118])
def test_clip_by_clip(number):
    clips = clips_of("a", *[3] * (number // 3), number % 3)
    held_out = hold_out(clips, 0.2, "clip")
    assert len(held_out) == min(max(round(0.2 * number), 1), number - 1)
    assert held_out == hold_out(list(reversed(clips)), 0.2, "clip")


def test_a_class_of_one_clip_stays_in_training(caplog):
    clips = [*clips_of("a", 2, 2), *clips_of("alone", 1)]
    for rule in ("recording", "clip"):
        assert "alone_002" not in hold_out(clips, 0.2, rule)
    assert "labels.csv, line 2: the class 'alone' has one clip left, which stays in training" in caplog.text
    for rule in ("recording", "clip"):
        with pytest.raises(AnnotationError, match=r"labels\.csv, line 2: expected a class with two clips or more"):
            hold_out([*clips_of("alone", 1), *clips_of("only", 1)], 0.2, rule)


@pytest.mark.parametrize("rule", ["recording", "clip"])
@pytest.mark.parametrize("seed", range(5))
def test_videos_in_several_classes_are_held_out_as_a_whole(rule, seed):
    rng = random.Random(seed)
    clips = []
    for number in range(200):
        names = [name for name, share in (("often", 0.6), ("half", 0.3), ("seldom", 0.03)) if rng.random() < share]
        names += ["once"] * (number == 7)
        clips += labelled_clips(str(number), names, None, Record({}, Path("labels.csv"), number + 2))
    held_out = hold_out(clips, 0.2, rule, seed, several=True)
    assert held_out == hold_out(list(reversed(clips)), 0.2, rule, seed, several=True)
    assert "7" not in held_out
    trained = {clip.label for clip in clips if clip.video_id not in held_out}
    assert trained >= {"often", "half", "seldom", "once"}
    if rule == "recording":
        found = shares([clip for clip in clips if clip.label in ("often", "half")], held_out)
        assert all(0.1 < share < 0.3 for share in found.values())


@pytest.mark.parametrize("seed", range(8))
def test_a_rare_class_is_held_out_with_others_or_not_at_all(seed, caplog):
    file, clips = Path(f"labels_{seed}.csv"), []
    for number, names in enumerate([("a", "rare"), ("b", "rare"), "a", "b", "a", "b"]):
        clips += labelled_clips(str(number), list(names), None, Record({}, file, number + 2))
    held_out = hold_out(clips, 0.4, "recording", seed, several=True)
    assert held_out and not held_out >= {"0", "1"}
    said = f"{file}, line 2: no clip of the class 'rare' is held out" in caplog.text
    assert said != bool(held_out & {"0", "1"})


def test_a_class_of_one_recording_cannot_be_divided():
    clips = [*clips_of("a", 2, 2), *clips_of("b", 4)]
    with pytest.raises(
        AnnotationError, match=r"labels\.csv, line 2: expected clips of the class 'b' from two recordings"
    ):
        hold_out(clips, 0.2, "recording")
    assert hold_out(clips, 0.2, "clip")


def test_clips_without_a_known_recording_or_class():
    clips = [LabelledClip(str(number), "ab"[number % 2], None, Record({}, Path("x"), 1)) for number in range(20)]
    hidden = [LabelledClip("hidden", None, None, Record({}, Path("x"), 1))]
    held_out = hold_out([*clips, *hidden], 0.2, "recording")
    assert shares(clips, held_out) == {"a": 0.2, "b": 0.2} and "hidden" not in held_out


def test_limits_keep_the_same_clips():
    clips = [*clips_of("a", 5, 5), *clips_of("b", 2)]
    kept = list(limit(clips, 3, seed=0))
    assert Counter(clip.label for clip in kept) == {"a": 3, "b": 2} and kept == sorted(kept, key=clips.index)
    assert kept == list(limit(list(reversed(clips)), 3, seed=0))[::-1]
    assert all(clip in list(limit(clips, 4, seed=0)) for clip in kept)
    assert list(limit(clips, None, seed=0)) == clips


def test_a_video_in_two_classes():
    first, other = clips_of("a", 1)[0], LabelledClip("a_002", "b", None, Record({}, Path("other.csv"), 7))
    check_one_class_each([first, first])
    with pytest.raises(
        AnnotationError, match=r"other\.csv, line 7: .* 'a_002' as 'b'; it is 'a' in labels\.csv, line 2"
    ):
        check_one_class_each([first, other])


def test_classes_that_one_split_lacks(caplog):
    a, b = clips_of("a", 2), clips_of("b", 2)
    check_classes_of_splits({"train": [*a, *b], "test": a}, "here", is_strict=True)
    assert "here: the split 'test' has no clip of the class 'b' ('train' has: labels.csv, line 2)" in caplog.text
    with pytest.raises(
        AnnotationError, match=r"labels\.csv, line 2: expected a class .* in the split 'train', too, got 'b'"
    ):
        check_classes_of_splits({"train": a, "test": [*a, *b]}, "here", is_strict=True)
    check_classes_of_splits({"train": a, "test": [*a, *b]}, "there", is_strict=False)
    assert "there: the split 'train' has no clip of the class 'b'" in caplog.text


@pytest.mark.parametrize(
    ("name", "recording"),
    [
        ("Punch/v_Punch_g08_c01.avi", "Punch_g08"),
        ("v_CricketShot_g04_c01_rgb.gif", "CricketShot_g04"),
        ("yoga/0wR5jVB-WPk_000417_000427.mp4", "0wR5jVB-WPk"),
        ("holiday.mp4", None),
        ("film_000417_000427.mp4", None),
    ],
)
def test_recordings_in_names_of_files(name, recording):
    assert recording_in_name(name) == recording
