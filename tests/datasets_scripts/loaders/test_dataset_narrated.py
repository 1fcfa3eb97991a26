# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""YouCook2, HTM-370K and HTM-Align, and the subsets of HowTo100M: small records of our own in the original layouts."""

import json

import pytest
from small_files import touch, write_json

from clipbert.datasets_scripts import find_loader, load_benchmark, prepare
from clipbert.datasets_scripts.building.records import AnnotationError


CLIPS = (
    "end,start,task,text,video_id\n60,47,226,pick the ends off,aaaaaaaaaa-\n89,67,226, mix oil  and salt,aaaaaaaaaa-\n"
)
STEPS = {
    "aaaaaaaaaa-": ("validation", 100.5, [([47, 60], "pick the ends off"), ([90, 112], "serve")]),
    "bbbbbbbbbbb": ("training", 30, [([1, 9], "cut the tuna")]),
    "ccccccccccc": ("testing", 30, []),
}
NARRATIONS = {
    "aaaaaaaaaa-": {"start": [1.5, 3, 5.0], "end": [4.0, 3, 7.25], "text": ["Cut the onion.", "Yes.", "Then fry it."]},
    "bbbbbbbbbbb": {"start": [0], "end": [2], "text": ["Hello."]},
}
SENTENCES = {
    "aaaaaaaaaa-": [[0, 1.5, 3.25, "hi everybody"], [1, 10.739, 17.535, "add olive oil"]],
    "bbbbbbbbbbb": [[1, 0, 2, " boil it"]],
}


@pytest.fixture
def load(tmp_path):
    def load(name, config=None, **arguments):
        return load_benchmark(name, config, data_dir=tmp_path, cache_dir=str(tmp_path.parent / "cache"), **arguments)

    return load


def moments_of(rows) -> list[tuple]:
    return [(row["moment_id"], row["start_s"], row["end_s"], row["caption"]) for row in rows]


# --------------------------------------------------------------------------------------------------------------------
# YouCook2
# --------------------------------------------------------------------------------------------------------------------


def write_steps(folder, videos=STEPS):
    database = {
        name: {
            "duration": duration,
            "subset": subset,
            "recipe_type": "226",
            "annotations": [
                {"segment": segment, "id": number, "sentence": sentence}
                for number, (segment, sentence) in enumerate(steps)
            ],
            "video_url": f"https://www.youtube.com/watch?v={name}",
        }
        for name, (subset, duration, steps) in videos.items()
    }
    write_json(folder / "youcookii_annotations_trainval.json", {"database": database})


def test_youcook2(load, tmp_path, caplog):
    (tmp_path / "validation_youcook.csv").write_text(CLIPS)
    touch(tmp_path, "validation/226/aaaaaaaaaa-.webm", "training/113/bbbbbbbbbbb.mp4")
    rows = load("youcook2", "retrieval", split="validation")
    assert moments_of(rows) == [
        ("aaaaaaaaaa--0", 47.0, 60.0, "pick the ends off"),
        ("aaaaaaaaaa--1", 67.0, 89.0, "mix oil  and salt"),
    ]
    assert set(rows["video"]) == {str(tmp_path / "validation/226/aaaaaaaaaa-.webm")}
    assert set(rows["duration_s"]) == {None}
    write_steps(tmp_path)
    assert {split: len(rows) for split, rows in load("youcook2", "retrieval").items()} == {"train": 1, "validation": 2}
    steps = load("youcook2", "segments")
    assert moments_of(steps["train"]) == [("bbbbbbbbbbb-0", 1.0, 9.0, "cut the tuna")]
    assert moments_of(steps["validation"])[1] == ("aaaaaaaaaa--1", 90.0, 100.5, "serve")
    assert "validation: cut 1 steps that end after their video" in caplog.text
    builder = find_loader("youcook2")(str(tmp_path / "cache"), "segments", tmp_path)
    assert {name: facts.duration_s for name, facts in builder.video_facts().items()} == {
        "aaaaaaaaaa-": 100.5,
        "bbbbbbbbbbb": 30,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("start,task,text,video_id\n1,2,a,b\n", r"line 1: expected columns \['end'\] too"),
        (
            "end,start,task,text,video_id\n5,9,1,stir,a\n",
            "line 2: expected 0 <= start_s < end_s in seconds, got 9.0 and 5.0",
        ),
        ("end,start,task,text,video_id\n5,x,1,stir,a\n", "line 2: expected 'start' to be a number, got 'x'"),
        ("end,start,task,text,video_id\n5,1,1,,a\n", "line 2: expected 'text' to be a non-empty str"),
        (
            "end,start,task,text,video_id\n5,1,1,stir,../a\n",
            r"line 2: expected a path inside the folder, got '\.\./a'",
        ),
    ],
)
def test_malformed_clips_of_youcook2(text, message, load, tmp_path):
    (tmp_path / "validation_youcook.csv").write_text(text)
    with pytest.raises(AnnotationError, match=rf"validation_youcook\.csv, {message}"):
        load("youcook2", "retrieval", on_missing="keep")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "expected a JSON object with 'database'"),
        ({"database": {"v": 3}}, r"v: expected a JSON object such as \{...\}, got 3"),
        ({"database": {"v": {"duration": 3}}}, "v: expected a column 'subset'"),
        ({"database": {"v": {"subset": "training", "duration": 9, "annotations": [4]}}}, r"v\[0\]: expected a JSON object"),
        (
            {"database": {"v": {"subset": "training", "duration": 9, "annotations": [{"segment": [1], "sentence": "x"}]}}},
            r"v\[0\]: expected 'segment' as \[start, end\] in seconds, got \[1\]",
        ),
        (
            {"database": {"v": {"subset": "training", "duration": 9, "annotations": [{"segment": [11, 12], "sentence": "x"}]}}},
            r"v\[0\]: expected 0 <= start_s < end_s in seconds, got 11.0 and 9.0",
        ),
    ],
)  # fmt: skip
def test_malformed_steps_of_youcook2(document, message, load, tmp_path):
    write_json(tmp_path / "youcookii_annotations_trainval.json", document)
    with pytest.raises(AnnotationError, match=rf"trainval\.json(, |: ){message}"):
        load("youcook2", "segments", on_missing="keep")


# --------------------------------------------------------------------------------------------------------------------
# HTM-370K, HTM-Align
# --------------------------------------------------------------------------------------------------------------------


def test_htm_370k(load, tmp_path, caplog):
    (tmp_path / "sentencified_htm_370k.json").write_text(json.dumps(NARRATIONS))
    (tmp_path / "htm_holdout_vid.txt").write_text("bbbbbbbbbbb\n")
    touch(tmp_path, "aaaaaaaaaa-.webm", "bbbbbbbbbbb.mp4")
    expected = [("aaaaaaaaaa--0", 1.5, 4.0, "Cut the onion."), ("aaaaaaaaaa--2", 5.0, 7.25, "Then fry it.")]
    rows = load("htm_370k", split="train")
    assert moments_of(rows) == [*expected, ("bbbbbbbbbbb-0", 0.0, 2.0, "Hello.")]
    assert "left out 1 sentences that take no time" in caplog.text
    assert moments_of(load("htm_370k", split="train", skip_list=tmp_path / "htm_holdout_vid.txt")) == expected
    assert list(load("htm_370k", split="train", streaming=True)) == rows.to_list()


def test_videos_of_a_list(load, tmp_path):
    write_json(tmp_path / "caption.json", {**NARRATIONS, "aaaaaaaaaa-": {"start": [1], "end": [2], "text": ["stir"]}})
    touch(tmp_path, "aaaaaaaaaa-.mp4", "bbbbbbbbbbb.mp4")
    (tmp_path / "food.txt").write_text("bbbbbbbbbbb\n")
    assert moments_of(load("howto100m", "caption", split="train", video_list="food.txt")) == [
        ("bbbbbbbbbbb-0", 0.0, 2.0, "Hello.")
    ]
    (tmp_path / "food.csv").write_text("video_id,rank\naaaaaaaaaa-,1\n")
    assert load("howto100m", "caption", split="train", video_list="food.csv")["caption"][:] == ["stir"]
    (tmp_path / "food.csv").write_text("video_id,rank\nbbbbbbbbbbb,1\n")  # another table
    assert load("howto100m", "caption", split="train", video_list="food.csv")["caption"][:] == ["Hello."]
    with pytest.raises(FileNotFoundError, match=r"`video_list` needs foods\.txt in"):
        load("howto100m", "caption", video_list="foods.txt")
    (tmp_path / "food.txt").write_text("\n")
    with pytest.raises(AnnotationError, match=r"food\.txt: expected ids of videos, the file is empty"):
        load("howto100m", "caption", video_list="food.txt")
    with pytest.raises(ValueError, match="`video_list` chooses videos by their ids, which samples of tar"):
        load("howto100m", "webdataset", video_list="food.txt")


def test_htm_align(load, tmp_path):
    write_json(tmp_path / "htm_align.json", SENTENCES)
    touch(tmp_path, "videos/aaaaaaaaaa-.webm", "videos/bbbbbbbbbbb.mp4")
    rows = load("htm_align", split="test")
    assert rows[:2] == {
        "video_id": ["aaaaaaaaaa-"] * 2,
        "video": [str(tmp_path / "videos/aaaaaaaaaa-.webm")] * 2,
        "caption": ["hi everybody", "add olive oil"],
        "alignable": [False, True],
        "start_s": [1.5, 10.739],
        "end_s": [3.25, 17.535],
        "sentence_id": ["aaaaaaaaaa--0", "aaaaaaaaaa--1"],
    }
    assert rows[2]["caption"] == "boil it" and rows.num_rows == 3


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        ([[1, 0, 2]], r"v\[0\]: expected \[alignable, start, end, text\], got \[1, 0, 2\]"),
        ([[2, 0, 2, "stir"]], r"v\[0\]: expected alignable as 0 or 1, start and end in seconds"),
        ([[1, "0", 2, "stir"]], r"v\[0\]: expected alignable as 0 or 1, start and end in seconds"),
        ([[1, 5, 2, "stir"]], r"v\[0\]: expected 0 <= start_s <= end_s in seconds, got 5.0 and 2.0"),
        ([[1, 0, 2, " "]], r"v\[0\]: expected 'text' to be a non-empty str"),
        ([], "v: expected 'sentences' to be a non-empty list"),
    ],
)
def test_malformed_sentences_of_htm_align(sentences, message, load, tmp_path):
    write_json(tmp_path / "htm_align.json", {"v": sentences})
    with pytest.raises(AnnotationError, match=rf"htm_align\.json, {message}"):
        prepare(find_loader("htm_align")(str(tmp_path / "cache"), "alignment", tmp_path))
