# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Generated clips in the layout of ucf101_top5, and the presets with classes."""

import csv
import hashlib
from collections import Counter

import av
import numpy as np
import pytest

from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.datasets_scripts.synthetic.action_clips import (
    ACTIONS,
    clip_lengths,
    generate_action_clips,
    main,
    name_clips,
    render_clip,
)
from clipbert.datasets_scripts.synthetic.generation import Settings
from clipbert.datasets_scripts.synthetic.rendering import RGB, render_scene
from clipbert.datasets_scripts.synthetic.scenes import PRESETS, class_names, sample_scene


SMALL = {"num_train": 20, "num_test": 5, "height": 24, "progress": False}


def decode(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


# --------------------------------------------------------------------------------------------------------------------
# Clips as those of ucf101_top5
# --------------------------------------------------------------------------------------------------------------------


def test_as_many_clips_as_in_the_original():
    """Of every class, in recordings of 3 to 7."""
    for split, counts in (("train", (118, 120, 121, 118, 117)), ("test", (49, 44, 39, 43, 49))):
        clips = list(name_clips(split, sum(counts)))
        assert Counter(label for label, _, _ in clips) == dict(zip(ACTIONS, counts, strict=True))
        sizes = Counter((label, group) for label, group, _ in clips).values()
        assert min(sizes) >= 3 and max(sizes) <= 7 and len(sizes) == 5 * (18 if split == "train" else 7)
    for count in (20, 37, 150):
        assert all(number >= 2 for number in Counter(label for label, _, _ in name_clips("train", count)).values())


@pytest.mark.parametrize("count", [60, 150, 594])
def test_clips_are_as_long_as_in_the_original(count):
    lengths = clip_lengths(count)
    assert lengths.min() >= 60 and 300 < lengths.max() <= 320 and abs(lengths.mean() - 150) < 1


def test_the_clips_are_read_as_ucf101(tmp_path):
    folder = generate_action_clips(tmp_path / "clips", **SMALL)
    splits = load_benchmark("ucf101", "top5", data_dir=folder, cache_dir=str(tmp_path), validation_fraction=0.2)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 10, "validation": 10, "test": 5}
    assert splits["train"].features["label"].names == list(ACTIONS)
    for rows in splits.values():
        for row in rows:
            with av.open(row["video"]) as container:
                stream = container.streams.video[0]
                assert (container.format.name, stream.codec.name, stream.average_rate) == ("avi", "mpeg4", 25)
                frames = sum(1 for _ in container.decode(stream))
            assert 60 <= frames <= 320
    with (folder / "test.csv").open() as file:
        assert list(csv.DictReader(file))[0] == {"video_name": "v_CricketShot_g01_c01.avi", "tag": "CricketShot"}


def test_the_loader_makes_them_itself(tmp_path):
    fields = {"cache_dir": str(tmp_path), "split": "test"}
    settings = {name: value for name, value in SMALL.items() if name != "progress"}
    rows = load_benchmark("action_clips", data_dir=tmp_path / "clips", generate=settings, **fields)
    assert rows.to_list() == load_benchmark("ucf101", "top5", data_dir=tmp_path / "clips", **fields).to_list()
    with pytest.raises(
        FileNotFoundError, match="Generate it first: `python -m datasets_scripts.synthetic.action_clips"
    ):
        load_benchmark("action_clips", data_dir=tmp_path / "nowhere")


def test_the_same_settings_give_the_same_bytes(tmp_path, capsys):
    def hashes(folder):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    main(["--output_dir", str(tmp_path / "a"), "--num_train", "20", "--num_test", "5", "--height", "24"])
    assert capsys.readouterr().out.splitlines()[0] == f"{tmp_path / 'a/train'}: 20 clips"
    before = hashes(tmp_path / "a")
    assert hashes(generate_action_clips(tmp_path / "b", **SMALL)) == before
    generate_action_clips(tmp_path / "a", **SMALL)  # it is finished
    with pytest.raises(
        FileExistsError, match=r"generated clips with the settings .*'seed': 0.*asked were .*'seed': 1"
    ):
        generate_action_clips(tmp_path / "a", **SMALL, seed=1)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/mine.txt").touch()
    with pytest.raises(FileExistsError, match="holds something else"):
        generate_action_clips(tmp_path / "c", **SMALL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_train": 19}, "`num_train` of at least 20"),
        ({"num_test": 4}, "of every class, got 4"),
        ({"height": 31}, "by 6"),
    ],
)
def test_settings_of_clips_that_cannot_be(settings, message, tmp_path, capsys):
    with pytest.raises(ValueError, match=message):
        generate_action_clips(tmp_path / "clips", **settings)
    with pytest.raises(SystemExit):
        main(["--output_dir", str(tmp_path / "clips"), *(f"--{name}={value}" for name, value in settings.items())])
    assert message in capsys.readouterr().err and not (tmp_path / "clips").exists()


def clip(label: str, group: int, number: int, num_frames: int = 100) -> np.ndarray:
    recording, own = np.random.default_rng([group]), np.random.default_rng([group, number])
    return render_clip(ACTIONS[label], num_frames, 24, recording, own).astype(float)


def test_clips_of_one_recording_look_alike():
    clips = {(group, number): clip("Punch", group, number).mean(axis=0) for group in range(6) for number in range(3)}
    for (group, number), picture in clips.items():
        others = sorted(
            (abs(picture - other).mean(), name[0]) for name, other in clips.items() if name != (group, number)
        )
        assert others[0][1] == group


def test_the_class_shows_after_the_first_half():
    for label, action in ACTIONS.items():
        frames = clip(label, 1, 1)
        color = np.array(action.color)
        near = (abs(frames - color).max(axis=-1) < 40).mean(axis=(1, 2))
        assert near[:50].max() < 0.01 and near[65:].min() > 0.02


# --------------------------------------------------------------------------------------------------------------------
# Presets with classes
# --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("classes")
    counts = {"num_train": 12, "num_validation": 6, "num_test": 12, "size": 48, "progress": False}
    return {preset: generate_synthetic(root / preset, preset=preset, **counts) for preset in ("motions", "orders")}


@pytest.mark.parametrize("preset", ["motions", "orders"])
def test_every_class_is_as_frequent_as_the_others(preset, folders, tmp_path):
    splits = load_benchmark("synthetic", "classification", data_dir=folders[preset], cache_dir=str(tmp_path))
    for split, each in (("train", 2), ("validation", 1), ("test", 2)):
        names = splits[split].features["label"].names
        assert names == sorted(class_names(PRESETS[preset]))
        assert Counter(splits[split]["label"]) == dict.fromkeys(range(6), each)


def test_orders_are_those_of_the_decoded_colors(folders, tmp_path):
    rows = load_benchmark("synthetic", "classification", "test", data_dir=folders["orders"], cache_dir=str(tmp_path))
    for row in rows:
        frames = decode(row["video"]).astype(float)
        moves = abs(frames - frames.mean(axis=0)).max(axis=(0, 3)) > 60
        colors = [
            min(("red", "green", "blue"), key=lambda name: abs(frame[moves].mean(0) - RGB[name]).sum())
            for frame in frames
        ]
        assert ", ".join(dict.fromkeys(colors)) == rows.features["label"].int2str(row["label"])
        chosen = [colors[int((k + 0.5) * len(frames) / 9)] for k in range(9)]
        assert Counter(colors) == dict.fromkeys(("red", "green", "blue"), 6)
        assert Counter(chosen) == dict.fromkeys(("red", "green", "blue"), 3)  # nothing but the order tells them apart


def test_orders_are_of_the_same_pictures():
    """Rendered alike, two classes differ in nothing but where their pictures stand."""
    preset, scenes = PRESETS["orders"], {}
    rng = np.random.default_rng(0)
    while len(scenes) < 6:
        scene = sample_scene(rng, preset, preset.num_frames)
        if (scene.shape, scene.background, scene.place) == ("circle", "gray", "middle"):
            scenes[scene.label(preset)] = scene
    videos = {
        label: sorted(map(bytes, render_scene(scene, 18, 48, np.random.default_rng(1))))
        for label, scene in scenes.items()
    }
    assert all(pictures == videos["red, green, blue"] for pictures in videos.values())


def test_chosen_frames_of_opposite_motions_are_mirrored(folders):
    """8 of the 24 frames: the places of a way are those of the way back, so that their mean says nothing."""
    preset, rng, ways = PRESETS["motions"], np.random.default_rng(0), {}
    while len(ways) < 6:
        scene = sample_scene(rng, preset, preset.num_frames)
        alike = (scene.shape, scene.background, scene.acts[0].color) == ("circle", "black", "yellow")
        if alike and scene.place in ("", "middle"):
            ways[scene.label(preset)] = scene
    for way, back in (("move right", "move left"), ("move up", "move down"), ("grow", "shrink")):
        videos = [render_scene(ways[label], 24, 48, np.random.default_rng(1)).astype(float) for label in (way, back)]
        for number, differ in ((8, False), (6, True)):
            means = [frames[[int((k + 0.5) * 24 / number) for k in range(number)]].mean(axis=0) for frames in videos]
            assert (abs(means[0] - means[1]).max() > 1) == differ


def test_presets_without_classes_say_so(tmp_path):
    folder = generate_synthetic(
        tmp_path / "easy", preset="easy", num_train=2, num_validation=0, num_test=0, progress=False
    )
    with pytest.raises(ValueError, match="'easy' of .* has no classes; generate the preset 'motions' or 'orders'"):
        load_benchmark("synthetic", "classification", data_dir=folder)
    for settings, message in (
        ({"num_frames": 20}, "`num_frames` that 3 colours can share, got 20"),
        ({"unseen_combinations": True}, "no `unseen_combinations` of a preset with classes"),
    ):
        with pytest.raises(ValueError, match=message):
            Settings(preset="orders", **settings)
