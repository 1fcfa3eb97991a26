# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Generated videos: what the captions, questions and moments say is what the decoded pictures show."""

import hashlib
import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import av
import numpy as np
import pytest
from transformers import BertTokenizer

from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.datasets_scripts.synthetic import generation as synthetic_generation
from clipbert.datasets_scripts.synthetic.__main__ import main
from clipbert.datasets_scripts.synthetic.generation import SPLITS, Settings, draw_scenes, read_manifest
from clipbert.datasets_scripts.synthetic.rendering import RGB, render_scene
from clipbert.datasets_scripts.synthetic.scenes import PRESETS, Act, Scene, count_combinations, describes, sample_scene
from clipbert.datasets_scripts.synthetic.texts import captions, moments, questions, search_phrases


COUNTS = {"num_train": 30, "num_validation": 20, "num_test": 20}
QUESTION_TASKS = ("open_qa", "action", "transition", "frameqa", "count")
FPS = 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("synthetic")
    presets = [name for name, preset in PRESETS.items() if preset.num_frames]  # the others: test_events.py
    return {preset: generate_synthetic(root / preset, preset=preset, progress=False, **COUNTS) for preset in presets}


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)


def foreground(frames: np.ndarray) -> np.ndarray:
    """Pixels that differ from the background, which every corner shows: bool `(frames, height, width)`."""
    background = np.median(frames[:, [0, 0, -1, -1], [0, -1, 0, -1]], axis=(0, 1))
    return np.abs(frames - background).max(axis=-1) > 40


def centres(mask: np.ndarray) -> np.ndarray:
    """Mean x and y of the foreground, as fractions of the picture, per frame."""
    height, width = mask.shape[1:]
    area = np.maximum(mask.sum(axis=(1, 2)), 1)
    x = (mask.sum(axis=1) * np.arange(width)).sum(axis=1) / area / width
    y = (mask.sum(axis=2) * np.arange(height)).sum(axis=1) / area / height
    return np.stack([x, y], axis=1)


def nearest_color(pixels: np.ndarray, names) -> str:
    return min(names, key=lambda name: np.abs(np.median(pixels, axis=0) - RGB[name]).sum())


def direction(mask: np.ndarray) -> str:
    x, y = centres(mask)[-1] - centres(mask)[0]
    return ("right" if x > 0 else "left") if abs(x) > abs(y) else ("down" if y > 0 else "up")


def runs(condition: np.ndarray) -> int:
    """How many stretches of True there are."""
    return int(condition[0]) + int((np.diff(condition.astype(int)) == 1).sum())


def shape_of(mask: np.ndarray) -> str:
    """Circle, square or triangle, by the share of its bounding box that a shape fills."""
    rows, columns = np.where(mask.any(axis=1))[0], np.where(mask.any(axis=0))[0]
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return min(("circle", 0.785), ("square", 1.0), ("triangle", 0.5), key=lambda item: abs(item[1] - box.mean()))[0]


def test_captions_of_easy_videos_are_true(folders):
    for split in SPLITS:
        for line in read_lines(folders["easy"] / split / "captions.jsonl"):
            frames = decode(folders["easy"] / split / line["video"])
            mask = foreground(frames)
            color = nearest_color(frames[mask], PRESETS["easy"].colors)
            background = nearest_color(frames[~mask], PRESETS["easy"].backgrounds)
            seen = f"a {color} {shape_of(mask[8])} moves {direction(mask)} on a {background} background"
            assert line["caption"] == seen


def scene_of(*acts: Act, number: int = 1, size: str = "large", shape: str = "circle", place: str = "") -> Scene:
    return Scene(shape, number, size, "black", place, acts)


def render(scene: Scene, num_frames: int = 24, seed: int = 0) -> np.ndarray:
    return render_scene(scene, num_frames, 64, np.random.default_rng(seed)).astype(float)


@pytest.mark.parametrize("times", [2, 3, 4, 5])
@pytest.mark.parametrize("number", [1, 3])
def test_repetitions_are_as_many_as_told(times, number):
    def frames_of(kind, size="large"):
        act = Act(kind, "red", times, "", 2, 2 + 22 // times * times)
        return foreground(render(scene_of(act, number=number, size=size)))

    height = centres(frames_of("bounce"))[:, 1]
    assert runs(height < height.max() - 0.1) == times
    assert runs(frames_of("blink").sum(axis=(1, 2)) == 0) == times
    assert runs(centres(frames_of("shake"))[:, 0] > 0.56) == times
    area = frames_of("pulse", size="").sum(axis=(1, 2))
    assert runs(area > 1.5 * area.min()) == times


def test_growing_and_shrinking_differ_only_in_order():
    areas = {
        kind: foreground(render(scene_of(Act(kind, "red", first_frame=0, end_frame=24), size=""))).sum(axis=(1, 2))
        for kind in ("grow", "shrink")
    }
    assert (np.diff(areas["grow"]) >= -1).all() and areas["grow"][-1] > 4 * areas["grow"][0]
    np.testing.assert_allclose(areas["grow"], areas["shrink"][::-1], rtol=0.15, atol=8)


def test_colors_turn_in_the_order_told():
    scene = scene_of(Act("turn", "red", 1, "blue", 2, 10), Act("turn", "blue", 1, "yellow", 12, 22))
    frames = render(scene)
    mask = foreground(frames)
    seen = [nearest_color(frames[index][mask[index]], PRESETS["standard"].colors) for index in (0, 10, 11, 22, 23)]
    assert seen == ["red", "blue", "blue", "yellow", "yellow"]
    assert captions(scene)[0] == "a large red circle turns blue and then turns yellow on a black background"


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("kind, axis", [("right", 1), ("up", 0), ("bounce", 0), ("blink", 0)])
@pytest.mark.parametrize("size", ["small", "large"])
def test_objects_are_as_many_and_as_large_as_told(number, kind, axis, size):
    scene = scene_of(Act(kind, "red", 2, "", 0, 24), number=number, size=size, shape="cross")
    mask = foreground(render(scene, seed=number))[0]
    lanes = mask.any(axis=axis)  # they stand across the direction of travel
    assert runs(lanes) == number
    across = lanes.sum() / number / 64
    assert (across > 0.25) == (size == "large")


def test_acts_happen_within_their_moments():
    """Before, between and after the acts nothing moves; during each act something does."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        scene = sample_scene(rng, PRESETS["standard"], 24)
        frames = render_scene(scene, 24, 64, rng).astype(float)
        moved = np.abs(np.diff(frames, axis=0)).max(axis=(1, 2, 3)) > 3  # moved[i]: from frame i to i + 1
        acting = np.zeros(23, dtype=bool)
        for act, moment in zip(scene.acts, moments(scene, FPS), strict=True):
            first, end = round(moment["start_s"] * FPS), round(moment["end_s"] * FPS)
            assert (first, end) == (act.first_frame, act.end_frame) and end - first >= 4 * act.times
            acting[max(first - 1, 0) : end] = True
            assert moved[first : end - 1].any(), captions(scene)[0]
        assert not (moved & ~acting).any(), captions(scene)[0]


def test_moments_and_places_agree_with_the_files(folders):
    for line in read_lines(folders["standard"] / "test" / "moments.jsonl"):
        with av.open(str(folders["standard"] / "test" / line["video"])) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264" and (stream.width, stream.height) == (64, 64)
            assert stream.frames == 24 and stream.average_rate == FPS
        assert line["duration_s"] == 3.0 and 0 <= line["start_s"] < line["end_s"] <= 3.0
    for place, (x, y) in {"left": (0.25, 0.5), "right": (0.75, 0.5), "top": (0.5, 0.25), "middle": (0.5, 0.5)}.items():
        blink = scene_of(Act("blink", "red", 2, "", 0, 24), place=place)
        np.testing.assert_allclose(centres(foreground(render(blink)))[0], (x, y), atol=0.08)


def test_questions_follow_from_the_scene():
    scene = scene_of(Act("bounce", "red", 3, "", 0, 12), Act("turn", "red", 1, "blue", 12, 24), shape="star")
    asked = {
        (one["task"], one["question"]): one for one in questions(scene, PRESETS["standard"], np.random.default_rng(0))
    }
    expected = {
        ("action", "what does the star do three times?"): ("bounce", "action"),
        ("count", "how many times does the star bounce?"): ("3", "count"),
        ("transition", "what does the star do after bouncing?"): ("turn blue", "transition"),
        ("transition", "what does the star do before turning blue?"): ("bounce", "transition"),
        ("frameqa", "what color is the background?"): ("black", "color"),
        ("frameqa", "how many stars are there?"): ("one", "number"),
        ("open_qa", "who is bouncing?"): ("star", "who"),
        ("open_qa", "what color does the red star turn?"): ("blue", "what"),
        ("open_qa", "how many times does the star bounce?"): ("three", "how"),
        ("open_qa", "when does the star bounce?"): ("start", "when"),
        ("open_qa", "when does the star turn blue?"): ("end", "when"),
    }
    for key, (answer, answer_type) in expected.items():
        assert (asked[key]["answer"], asked[key]["answer_type"]) == (answer, answer_type)
    assert ("frameqa", "what color is the star?") not in asked  # it changes
    stops = [
        (one["question"], one["answer"])
        for kinds in (("right", "left"), ("up",), ("right", "up"))
        for one in questions(scene_of(*(Act(kind, "red") for kind in kinds)), PRESETS["standard"], np.random)
        if one["answer_type"] == "where"
    ]
    assert stops == [("where does the circle stop?", "left"), ("where does the circle stop?", "top")]


def test_every_kind_of_question_is_there_with_fair_options(folders):
    lines = [line for split in SPLITS for line in read_lines(folders["standard"] / split / "questions.jsonl")]
    assert {line["task"] for line in lines} == set(QUESTION_TASKS)
    types = {line["answer_type"] for line in lines}
    assert {"what", "who", "how", "where", "when", "color", "object", "number", "location"} <= types
    told = {
        line["video_id"]: line["caption"]
        for split in SPLITS
        for line in read_lines(folders["standard"] / split / "captions.jsonl")
    }
    for line in lines:
        if "options" in line:
            assert len(set(line["options"])) == 5 and line["answer"] in line["options"]
            for option in line["options"]:  # the verbs of the caption carry an s for one object
                verb, *rest = option.split()
                happens = any(f" {' '.join([form, *rest])} " in told[line["video_id"]] for form in (verb, f"{verb}s"))
                assert happens == (option == line["answer"]) or line["task"] == "transition"
    positions = [line["options"].index(line["answer"]) for line in lines if "options" in line]
    assert set(positions) == {0, 1, 2, 3, 4}


def test_a_caption_describes_exactly_one_video_of_its_split(folders):
    for preset, folder in folders.items():
        if PRESETS[preset].has_twins:
            continue  # whose galleries have every caption once: see test_twin_videos.py
        manifest = read_manifest(folder)
        for split in ("validation", "test"):
            lines = read_lines(folder / split / "captions.jsonl")
            assert len({line["caption"] for line in lines}) == len(lines) == manifest["splits"][split]["videos"]
            assert manifest["splits"][split]["every_caption_fits_one_video"]
            settings = Settings(**manifest["settings"])
            scenes, _ = draw_scenes(settings, split, PRESETS[preset], manifest["combinations"], set())
            assert [captions(scene)[0] for scene in scenes] == [line["caption"] for line in lines]
            assert not any(describes(*pair) or describes(*pair[::-1]) for pair in combinations(scenes, 2))


def test_describes_knows_what_a_caption_leaves_open():
    right, grow = Act("right", "red"), Act("grow", "red")
    assert describes(scene_of(right), scene_of(right, Act("blink", "red", 2)))
    assert not describes(scene_of(right, Act("blink", "red", 2)), scene_of(right))
    assert describes(scene_of(right), scene_of(right, grow, size=""))  # growing: no size is told
    assert not describes(scene_of(right), scene_of(right, size="small"))
    assert not describes(scene_of(right, grow), scene_of(grow, right))
    assert not describes(scene_of(Act("bounce", "red", 2)), scene_of(Act("bounce", "red", 3)))
    assert not describes(scene_of(Act("right", "blue")), scene_of(Act("turn", "red", 1, "green"), right))


def test_all_combinations_of_a_preset_can_be_told_apart():
    assert count_combinations(PRESETS["standard"], 24) > 100_000
    assert count_combinations(PRESETS["easy"], 16) == 3 * 6 * 4 * 4
    assert count_combinations(PRESETS["counting"], 24) == 3 * 4 * 3 * 3 * 4
    settings = Settings(num_test=288, num_train=288, preset="easy", num_frames=16)
    scenes, distinct = draw_scenes(settings, "test", PRESETS["easy"], 288, set())
    assert distinct and len({scene.meaning for scene in scenes}) == 288
    spread, _ = draw_scenes(settings, "train", PRESETS["easy"], 288, set())
    assert len({scene.meaning for scene in spread}) > 260  # independent draws would give about 180


def test_repetitions_of_the_preset_that_counts_last_equally_long():
    """The share of frames that differ from rest is in proportion to the count, and the question does not tell it."""
    rng, answers = np.random.default_rng(0), {}
    away = {"bounce": 3, "pulse": 3, "blink": 2}  # frames of a repetition that do not look like rest
    for _ in range(150):
        scene = sample_scene(rng, PRESETS["counting"], 24)
        (act,) = scene.acts
        assert act.first_frame >= 0 and act.end_frame - act.first_frame == 4 * act.times and act.end_frame <= 24
        frames = render_scene(scene, 24, 64, rng).astype(float)
        moved = np.abs(frames - frames[0]).max(axis=(1, 2, 3)) > 30
        assert moved.sum() == away[act.kind] * act.times, captions(scene)[0]
        asked = [one for one in questions(scene, PRESETS["counting"], rng) if one["task"] == "count"]
        assert [one["answer"] for one in asked] == [str(act.times)]
        answers.setdefault(act.kind, set()).add(act.times)
    assert answers == dict.fromkeys(away, {2, 3, 4, 5})


def test_counts_are_as_frequent_for_each_motion():
    rng, seen = np.random.default_rng(1), {}
    for _ in range(3000):
        (act,) = sample_scene(rng, PRESETS["counting"], 24).acts
        seen[act.kind, act.times] = seen.get((act.kind, act.times), 0) + 1
    assert len(seen) == 12 and min(seen.values()) > 190 and max(seen.values()) < 310


def test_every_video_of_sequences_is_asked_what_comes_before_and_after(folders):
    for split in SPLITS:
        lines = read_lines(folders["sequences"] / split / "questions.jsonl")
        asked = [line["video_id"] for line in lines if line["task"] == "transition"]
        assert sorted(asked) == sorted(2 * [f"{split}_{index:05d}" for index in range(COUNTS[f"num_{split}"])])


def test_count_combinations_counts_what_is_drawn():
    preset = replace(
        PRESETS["standard"],
        shapes=("star",),
        colors=("red", "blue"),
        backgrounds=("black",),
        numbers=(1, 2),
        motions=("right", "up", "turn", "bounce", "grow"),
        max_times=3,
    )
    rng = np.random.default_rng(0)
    drawn = {sample_scene(rng, preset, 24).meaning for _ in range(8000)}
    assert len(drawn) == count_combinations(preset, 24)


def test_more_videos_than_combinations_is_said(tmp_path, capsys):
    settings = {"preset": "easy", "num_train": 0, "num_validation": 0, "num_test": 300, "size": 32, "num_frames": 8}
    folder = generate_synthetic(tmp_path / "many", progress=False, **settings)
    facts = read_manifest(folder)["splits"]["test"]
    assert not facts["every_caption_fits_one_video"] and facts["combinations"] == 288
    assert "300 test videos are more than the preset 'easy' can distinguish" in "".join(capsys.readouterr())


def test_unseen_combinations_stay_out_of_training(tmp_path):
    settings = {"preset": "easy", "num_train": 60, "num_validation": 40, "num_test": 40, "size": 32, "num_frames": 8}
    folder = generate_synthetic(tmp_path / "unseen", progress=False, unseen_combinations=True, **settings)
    told = {split: {line["caption"] for line in read_lines(folder / split / "captions.jsonl")} for split in SPLITS}
    assert not told["train"] & (told["validation"] | told["test"])
    too_many = Settings(preset="easy", num_frames=16, unseen_combinations=True)
    with pytest.raises(ValueError, match="use all 288 combinations"):
        draw_scenes(too_many, "train", PRESETS["easy"], 288, set(range(288)))


def test_no_video_repeats_and_one_caption_is_rendered_anew(folders):
    for folder in folders.values():
        files = sorted(folder.glob("*/videos/*.mp4"))
        assert len(files) == sum(COUNTS.values())
        assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in files}) == len(files)
    scene = scene_of(Act("right", "red", first_frame=0, end_frame=24))
    one, other = render(scene, seed=0), render(scene, seed=1)
    assert np.abs(one - other).mean() > 1  # places and colours, not only grain


def test_a_bar_is_for_terminals_alone(tmp_path, capsys):
    generate_synthetic(tmp_path / "few", preset="easy", num_train=2, num_validation=1, num_test=1)
    assert capsys.readouterr().err == ""


def test_the_same_settings_give_the_same_bytes(folders, tmp_path):
    again = generate_synthetic(tmp_path / "again", preset="standard", progress=False, **COUNTS)
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(folders["standard"]) for path in folders["standard"].rglob("*.*"))
    for name in files:
        assert (again / name).read_bytes() == (folders["standard"] / name).read_bytes(), name
    other_seed = generate_synthetic(tmp_path / "seed", preset="standard", seed=1, progress=False, **COUNTS)
    assert (other_seed / "test/captions.jsonl").read_text() != (again / "test/captions.jsonl").read_text()


def test_more_training_videos_leave_the_other_splits_alone(folders, tmp_path):
    settings = {**COUNTS, "num_train": 5}
    fewer = generate_synthetic(tmp_path / "fewer", preset="easy", progress=False, **settings)
    for name in ("test/captions.jsonl", "test/videos/test_00003.mp4", "validation/questions.jsonl"):
        assert (fewer / name).read_bytes() == (folders["easy"] / name).read_bytes()


def test_a_finished_folder_is_reused_and_others_are_refused(tmp_path, monkeypatch):
    settings = {"preset": "easy", "num_train": 3, "num_validation": 2, "num_test": 2, "progress": False}
    folder = generate_synthetic(tmp_path / "data", **settings)
    with monkeypatch.context() as patched:
        patched.setattr(synthetic_generation, "write_h264", None)  # nothing may be written again
        assert generate_synthetic(tmp_path / "data", **settings) == folder
    with pytest.raises(FileExistsError, match="seed is 0 there, 1 asked"):
        generate_synthetic(folder, **settings, seed=1)
    (folder / "test/videos/test_00001.mp4").unlink()
    with pytest.raises(FileExistsError, match="1 of the 2 videos"):
        generate_synthetic(folder, **settings)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="is not empty. .* is not a finished synthetic benchmark"):
        generate_synthetic(tmp_path / "mine", **settings)
    assert (tmp_path / "mine/notes.txt").read_text() == "keep"


def test_an_interrupted_run_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    settings = {"preset": "easy", "num_train": 3, "num_validation": 2, "num_test": 2, "progress": False}
    written = []

    def stop_at_the_third(path, *arguments):
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(synthetic_generation, "write_h264", stop_at_the_third)
        generate_synthetic(tmp_path / "data", **settings)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "data").mkdir()  # an empty folder is fine
    assert len(list(generate_synthetic(tmp_path / "data", **settings).glob("*/videos/*.mp4"))) == 7


def test_a_second_process_that_was_quicker_wins(tmp_path, monkeypatch):
    settings = {"preset": "easy", "num_train": 2, "num_validation": 0, "num_test": 0, "progress": False}
    write_benchmark = synthetic_generation.write_benchmark

    def other_process_first(folder, *arguments):
        with monkeypatch.context() as patched:
            patched.setattr(synthetic_generation, "write_benchmark", write_benchmark)
            generate_synthetic(tmp_path / "data", **settings)
        write_benchmark(folder, *arguments)

    monkeypatch.setattr(synthetic_generation, "write_benchmark", other_process_first)
    assert read_manifest(generate_synthetic(tmp_path / "data", **settings))["splits"]["train"]["videos"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"preset": "hard"}, "a preset out of standard, easy"),
        ({"size": 63}, "even `size`"),
        ({"size": 16}, "at least 32"),
        ({"num_frames": 4}, "`num_frames` of at least 8"),
        ({"captions_per_video": 4}, "from 1 to 3"),
        ({"num_train": -1}, "at least 0"),
        ({"num_train": 0, "num_validation": 0, "num_test": 0}, "not all 0"),
        ({"fps": 0}, "`fps`"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_impossible_settings_are_refused(settings, expected, tmp_path):
    with pytest.raises(ValueError, match=expected):
        generate_synthetic(tmp_path / "data", **settings)
    assert list(tmp_path.iterdir()) == []


def test_options_change_the_files(tmp_path):
    folder = generate_synthetic(
        tmp_path / "data",
        num_train=2,
        num_validation=0,
        num_test=0,
        size=96,
        num_frames=10,
        fps=5,
        captions_per_video=3,
        progress=False,
    )
    assert decode(folder / "train/videos/train_00001.mp4").shape == (10, 96, 96, 3)
    lines = read_lines(folder / "train/captions.jsonl")
    assert len(lines) == 6 and len({line["caption"] for line in lines}) == 6
    assert read_lines(folder / "train/moments.jsonl")[0]["duration_s"] == 2.0
    assert not (folder / "test").exists()


def test_phrases_are_true_and_leave_parts_out():
    scene = scene_of(Act("bounce", "red", 3, "", 0, 12), Act("turn", "red", 1, "blue", 12, 24), number=2)
    assert search_phrases(scene) == [
        "two large red circles bounce three times and then turn blue on a black background",
        "two large red circles bounce three times and then turn blue",
        "red circles bouncing three times and then turning blue",
        "two large red circles",
        "red circles",
    ]
    # the same forms for every scene: what two scenes share, they share as the same sentence
    scenes = [sample_scene(np.random.default_rng(seed), PRESETS["easy"], 16) for seed in range(100)]
    for scene, other in combinations(scenes, 2):
        same = [mine == yours for mine, yours in zip(search_phrases(scene), search_phrases(other), strict=True)]
        looks_alike = (scene.shape, scene.acts[0].color) == (other.shape, other.acts[0].color)
        acts_alike = looks_alike and scene.acts[0].kind == other.acts[0].kind
        alike = acts_alike and scene.background == other.background
        assert same == [alike, acts_alike, acts_alike, looks_alike, looks_alike]


def test_only_training_videos_have_phrases(folders, tmp_path):
    settings = {"preset": "easy", "progress": False, **COUNTS}
    folder = generate_synthetic(tmp_path / "searched", search_phrases=True, **settings)
    for split in SPLITS:
        without, with_phrases = (read_lines(each / split / "captions.jsonl") for each in (folders["easy"], folder))
        assert len(with_phrases) == len(without) * (6 if split == "train" else 1)
        whole = [line for line in with_phrases if line in without]
        assert whole == [line for line in without for _ in range(2 if split == "train" else 1)]  # the same videos
    with pytest.raises(FileExistsError, match="search_phrases is True there, False asked"):
        generate_synthetic(tmp_path / "searched", **settings)


def test_vocabulary_has_every_word_in_use_and_letters_for_others(folders):
    tokenizer = BertTokenizer(str(folders["standard"] / "vocab.txt"))
    sentences = [
        line[column]
        for folder in folders.values()
        for name in ("captions", "questions", "moments")
        for split in SPLITS
        for line in read_lines(folder / split / f"{name}.jsonl")
        for column in ("caption", "question", "answer")
        if column in line
    ]
    scenes = [sample_scene(np.random.default_rng(seed), PRESETS["standard"], 24) for seed in range(300)]
    sentences += [text for scene in scenes for text in (*captions(scene), *search_phrases(scene))]
    for sentence in set(sentences):
        pieces = tokenizer.tokenize(sentence)
        assert tokenizer.unk_token not in pieces and not any(piece.startswith("##") for piece in pieces), sentence
    typed = tokenizer.tokenize("A zebra (grey, 7 years old) doesn't jump @ Zoo-42!")
    assert tokenizer.unk_token not in typed and "##e" in typed
    assert (
        tokenizer.decode(tokenizer("a red circle moves right")["input_ids"]) == "[CLS] a red circle moves right [SEP]"
    )


def test_both_loaders_read_it(folders, tmp_path):
    arguments = {"data_dir": folders["standard"], "cache_dir": str(tmp_path)}
    own = load_benchmark("synthetic", "retrieval", **arguments)
    general = load_benchmark("video_folder", "retrieval", **arguments)
    assert {split: len(rows) for split, rows in own.items()} == {"train": 30, "validation": 20, "test": 20}
    assert own["test"].to_list() == general["test"].to_list()
    assert all(Path(path).is_file() for path in own["train"]["video"])
    number = 0
    for task in QUESTION_TASKS:
        rows = load_benchmark("synthetic", task, split="train", **arguments)
        number += len(rows)
        assert all((row["answer_index"] is not None) == (task in ("action", "transition")) for row in rows)
    assert number == len(load_benchmark("video_folder", "qa", split="train", **arguments))
    assert load_benchmark("synthetic", "moments", split="test", **arguments)[0]["duration_s"] == 3.0


def test_the_loader_refuses_what_it_cannot_give(folders, tmp_path):
    with pytest.raises(ValueError, match="preset 'easy' of .* gives no action questions in .*, only frameqa, open_qa"):
        load_benchmark("synthetic", "action", data_dir=folders["easy"], cache_dir=str(tmp_path))
    (tmp_path / "half/train").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="not a finished synthetic benchmark"):
        load_benchmark("synthetic", "retrieval", data_dir=tmp_path / "half", cache_dir=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="python -m datasets_scripts.synthetic --output_dir"):
        load_benchmark("synthetic", "retrieval", data_dir=tmp_path / "nowhere", cache_dir=str(tmp_path))


def test_command_line(tmp_path, capsys):
    arguments = [
        "--output_dir",
        str(tmp_path / "data"),
        "--preset",
        "easy",
        "--num_train",
        "4",
        "--num_validation",
        "2",
    ]
    main([*arguments, "--num_test", "2"])
    printed = capsys.readouterr().out
    assert f"{tmp_path / 'data' / 'train'}: 4 videos, 4 captions, 4 combinations" in printed
    assert printed.index("train") < printed.index("validation") < printed.index("test:")
    with pytest.raises(SystemExit):
        main([*arguments, "--num_test", "3"])
    assert "num_test is 2 there, 3 asked" in capsys.readouterr().err


def test_loading_generates_what_is_not_there(tmp_path):
    settings = {"preset": "easy", "num_train": 3, "num_validation": 1, "num_test": 2}
    arguments = {"data_dir": tmp_path / "shapes", "cache_dir": str(tmp_path / "cache")}
    rows = load_benchmark("synthetic", "retrieval", generate=settings, **arguments)
    assert {split: len(part) for split, part in rows.items()} == {"train": 3, "validation": 1, "test": 2}
    written = (tmp_path / "shapes" / "manifest.json").stat().st_mtime_ns
    again = load_benchmark("synthetic", "retrieval", generate=settings, **arguments)
    assert again["test"]["caption"][:] == rows["test"]["caption"][:]
    assert (tmp_path / "shapes" / "manifest.json").stat().st_mtime_ns == written
    with pytest.raises(FileExistsError, match="shapes"):
        load_benchmark("synthetic", "retrieval", generate={**settings, "seed": 1}, **arguments)
    pictures = {"data_dir": tmp_path / "pictures", "cache_dir": str(tmp_path / "cache")}
    made = {"num_train": 2, "num_validation": 0, "num_test": 1}
    assert len(load_benchmark("synthetic_images", "image_text", split="train", generate=made, **pictures)) == 2
