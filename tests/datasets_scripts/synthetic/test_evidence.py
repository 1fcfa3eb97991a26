# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Generated videos about one thing: it is seen for the share that is written, and nothing but time makes one kind harder."""

import json
from collections import Counter

import numpy as np
import pytest
from transformers import BertTokenizer

from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.datasets_scripts.synthetic.evidence import EVIDENCE, GALLERY, draw_evidence_videos
from clipbert.datasets_scripts.synthetic.generation import read_manifest
from clipbert.datasets_scripts.synthetic.rendering import RGB
from clipbert.datasets_scripts.synthetic.scenes import PRESETS
from clipbert.processing import decode_video
from clipbert.train_scripts.tasks.question_answering.blind import TextOnlyReader


FPS = 4
PLAN = PRESETS["evidence"]
SETTINGS = {"preset": "evidence", "num_train": 64, "num_validation": 0, "num_test": 64, "size": 32, "fps": FPS}
SHARES = {"always": 1.0, "half": 0.5, "eighth": 0.125, "order": 0.25}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return generate_synthetic(
        tmp_path_factory.mktemp("evidence") / "data", progress=False, duration_s=20, captions_per_video=3, **SETTINGS
    )


@pytest.fixture(scope="module")
def galleries():
    videos = draw_evidence_videos(np.random.default_rng(0), PLAN, 8, 60 * GALLERY)
    return [videos[first : first + GALLERY] for first in range(0, len(videos), GALLERY)]


def lines(folder, name, split="test"):
    return [json.loads(line) for line in (folder / split / f"{name}.jsonl").read_text().splitlines()]


def told(video):
    return [(scene.acts[0].color, scene.shape) for scene in video.objects]


def test_every_caption_fits_one_video_of_its_gallery(galleries):
    for videos in galleries:
        assert len(videos) == GALLERY == 16 and len({video.captions()[0] for video in videos}) == 16
        assert Counter(video.kind for video in videos) == dict.fromkeys(EVIDENCE, 4)
        alone = Counter(seen for video in videos if video.kind != "order" for seen in told(video))
        pairs = Counter(seen for video in videos if video.kind == "order" for seen in told(video))
        assert set(alone.values()) == {1} and set(pairs.values()) == {2} and not alone.keys() & pairs.keys()
    assert len({tuple(video.kind for video in videos) for videos in galleries}) == len(galleries)  # in no fixed order


def test_nothing_but_time_makes_a_kind_harder(galleries):
    """Who knows colours alone finds half of a kind at best, and in four galleries each has had every object."""
    for first in range(0, len(galleries), 4):
        firsts = {kind: Counter() for kind in EVIDENCE}
        for videos in galleries[first : first + 4]:
            for kind in EVIDENCE:
                seen = [told(video)[0] for video in videos if video.kind == kind]
                assert sorted(Counter(color for color, _ in seen).values()) == [2, 2]
                assert {shape for _, shape in seen} == set(PLAN.shapes)
                firsts[kind].update(seen)
            for video in videos:
                if video.kind == "order":
                    (color, shape), (other_color, other_shape) = told(video)
                    assert color != other_color and shape != other_shape
            words = [frozenset(video.captions()[0].split()) for video in videos if video.kind == "order"]
            assert sorted(Counter(words).values()) == [2, 2]  # whoever reads words in no order knows the pair of twins
        assert all(len(counts) == 16 and set(counts.values()) == {1} for counts in firsts.values())


def test_spans_are_exact_and_lie_anywhere(galleries):
    starts = {kind: [] for kind in EVIDENCE}
    for video in (video for videos in galleries for video in videos):
        assert 128 <= video.num_frames <= 320 and video.num_frames % 8 == 0
        assert video.visible_share == SHARES[video.kind]
        assert sum(end - first for first, end in video.spans) == video.visible_share * video.num_frames
        assert all(0 <= first < end <= video.num_frames for first, end in video.spans)
        if video.kind == "order":
            (_, end), (first, _) = video.spans
            assert first - end >= video.num_frames / 4
        starts[video.kind].append(video.spans[0][0] / video.num_frames)
        changes = np.diff(np.r_[-1, video.corners, -1] != -1)
        assert changes.sum() / 2 >= 2 or video.kind == "order"  # of a twin stars may have been cut
    assert set(starts["always"]) == {0.0}
    for kind, room in (("half", 0.5), ("eighth", 0.875)):
        counts, _ = np.histogram(starts[kind], 4, (0, room))
        assert counts.sum() == 240 and counts.min() > 40  # 60 each, 7 of them standard deviation


def test_twins_have_the_same_pictures(galleries):
    for videos in galleries[:3]:
        orders = [video for video in videos if video.kind == "order"]
        for first in orders:
            (second,) = [each for each in orders if told(each) == told(first)[::-1]]
            ours, theirs = ([frame.tobytes() for frame in each.render(32)] for each in (first, second))
            assert ours != theirs and sorted(ours) == sorted(theirs) and first.spans == second.spans


def test_stars_say_nothing_of_the_kind(galleries):
    shares = {kind: [] for kind in EVIDENCE}
    for video in (video for videos in galleries for video in videos):
        shares[video.kind].append((video.corners != -1).mean())
    means = [np.mean(each) for each in shares.values()]
    assert max(means) - min(means) < 4 * np.std(shares["always"]) / np.sqrt(len(shares["always"]))


def test_what_is_written_is_what_the_files_show(folder):
    captions, moments = lines(folder, "captions")[:48:3], lines(folder, "moments")
    for row in captions:
        frames = decode_video(folder / "test" / row["video"], lambda facts: range(facts.total_num_frames)).frames
        assert len(frames) == 20 * FPS
        centre = frames[:, 8:24, 8:24].astype(float)
        is_object = (centre.max(axis=-1) > 100) & (np.ptp(centre, axis=-1) > 60)  # (frames, 16, 16)
        is_there = is_object.sum(axis=(1, 2)) > 20
        own = [moment for moment in moments if moment["video_id"] == row["video_id"]]
        expected = np.zeros(len(frames), dtype=bool)
        for moment in own:
            first, end = round(moment["start_s"] * FPS), round(moment["end_s"] * FPS)
            expected[first:end] = True
            color = np.median(centre[first:end][is_object[first:end]], axis=0)
            assert min(PLAN.colors, key=lambda name: np.abs(color - RGB[name]).sum()) == moment["caption"].split()[1]
        assert (
            np.array_equal(is_there, expected) and expected.mean() == row["visible_share"] == SHARES[row["evidence"]]
        )
        assert " and then ".join(moment["caption"] for moment in own) == row["caption"]


def test_nobody_answers_a_kind_better_without_looking(folder):
    asked = lines(folder, "questions")
    reader = TextOnlyReader(
        (row["question"], row["answer_type"], {row["answer"]: 1}) for row in lines(folder, "questions", "train")
    )
    right = {}
    for row in asked:
        given = reader.answer(row["question"], row["answer_type"])
        right.setdefault((row["evidence"], row["answer_type"]), []).append(given == row["answer"])
    assert {key: np.mean(each) for key, each in right.items()} == dict.fromkeys(
        ((kind, asked) for kind in EVIDENCE for asked in ("color", "shape")), 0.25
    )
    captions = {row["video_id"]: row["caption"].split() for row in lines(folder, "captions")[::3]}
    for row in asked:
        assert captions[row["video_id"]][{"color": 1, "shape": 2}[row["answer_type"]]] == row["answer"]


def test_words_are_in_the_vocabulary(folder):
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    texts = [row["caption"] for row in lines(folder, "captions")] + [
        row["question"] for row in lines(folder, "questions")
    ]
    known = set(tokenizer.get_vocab())
    assert {word for text in texts for word in text.replace("?", "").split()} <= known


def test_rows_of_the_loader(folder, tmp_path):
    facts = read_manifest(folder)["splits"]["test"]
    assert (
        facts["gallery_size"] == 16
        and not facts["every_caption_fits_one_video"]
        and facts["questions"] == {"open_qa": 128}
    )
    for config in ("retrieval", "open_qa", "moments"):
        rows = load_benchmark("synthetic", config, split="test", data_dir=folder, cache_dir=str(tmp_path))
        assert {(row["evidence"], row["visible_share"]) for row in rows.remove_columns("video")} == set(SHARES.items())
    captions = load_benchmark("synthetic", "retrieval", split="test", data_dir=folder, cache_dir=str(tmp_path))[
        "caption"
    ]
    assert captions[1] == f"there is {captions[0]}" and len(captions) == 192


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_test": 20}, "multiples of 16 videos, which are a gallery of this preset, got another one for test"),
        ({"duration_s": 16.5}, "a `duration_s` of frames that can be divided by 8, got 16.5 s at 8 frames a second"),
        ({"num_frames": 64}, "no `num_frames` of a preset with events"),
        ({"duration_s": 2, "num_events": 4}, "a `duration_s` of 7.5 or more"),
    ],
)
def test_impossible_settings_are_refused(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        generate_synthetic(
            tmp_path / "data",
            **{"preset": "evidence", "num_train": 16, "num_validation": 0, "num_test": 16} | settings,
        )
    assert list(tmp_path.iterdir()) == []


def test_the_same_settings_give_the_same_bytes(folder, tmp_path):
    """More videos are added to those that there are, and borders are moved in training alone."""
    settings = {**SETTINGS, "num_train": 0, "num_test": 16, "boundary_noise": 0.1}
    again = generate_synthetic(tmp_path / "x", progress=False, duration_s=20, captions_per_video=3, **settings)
    for path in sorted((again / "test").rglob("*.*")):
        there = (folder / path.relative_to(again)).read_bytes()
        assert path.read_bytes() == (there if path.suffix == ".mp4" else there[: path.stat().st_size])
    assert len(lines(again, "moments")) == 20
