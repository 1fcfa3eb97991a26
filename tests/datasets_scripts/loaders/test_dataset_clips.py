# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""LSMDC, MSVD and VATEX: clips whose names tell where they were cut, and malformed files."""

import logging

import numpy as np
import pytest
from retrieval_layouts import MSVD_CLIPS, WRITERS, lsmdc_line, vatex_entry, write_json, write_lines

from clipbert.datasets_scripts import find_loader, load_benchmark
from clipbert.datasets_scripts.building.base import VideoFacts
from clipbert.datasets_scripts.building.records import AnnotationError


@pytest.fixture
def folder(request, tmp_path):
    """The folder of the benchmark that the test's name begins with."""
    name = request.node.originalname.split("_")[1]
    (tmp_path / name).mkdir()
    WRITERS[name](tmp_path / name)
    return tmp_path / name


@pytest.fixture
def load(folder, tmp_path):
    def load(split=None, config=None, **arguments):
        return load_benchmark(folder.name, config, split, folder, str(tmp_path / "cache"), **arguments)

    return load


def facts_of(folder, tmp_path, config=None):
    return find_loader(folder.name)(str(tmp_path / "cache"), config, folder).video_facts()


# --------------------------------------------------------------------------------------------------------------------
# LSMDC
# --------------------------------------------------------------------------------------------------------------------


def test_lsmdc_rows(load, folder):
    rows = load("train").to_list()
    clip = "3000_A_FILM_00.00.01.250-00.00.04.250"
    video = str(folder / f"3000_A_FILM/{clip}.avi")
    assert rows[0] == {"video_id": clip, "video": video, "caption": 'SOMEONE says "no', "caption_id": "train-1"}
    assert [row["caption"] for row in rows] == ['SOMEONE says "no', "A door, ajar.", "SOMEONE looks back."]
    assert rows[2]["video_id"] == clip and rows[2]["caption_id"] == "train-3"  # a clip may have several sentences
    assert load("test")[0]["caption_id"] == "3002_A_FILM_00.00.01.250-00.00.04.250"


def test_lsmdc_recordings_are_films(folder, tmp_path):
    facts = facts_of(folder, tmp_path)
    assert facts["3001_A_FILM_00.00.02.250-00.00.04.250"] == VideoFacts(3.0, "3001_A_FILM") and len(facts) == 6


CLIP = "0001_Film_00.00.01.250-00.00.04.250"


@pytest.mark.parametrize(
    "line, message",
    [
        (lsmdc_line(CLIP, "a\tb"), "expected the 6 columns clip, start_aligned, .* between tabs, got"),
        (lsmdc_line(CLIP, ""), "expected the 6 columns clip, start_aligned"),
        (lsmdc_line(CLIP, "A door.").replace("\t", ","), "expected the 6 columns"),
        (
            lsmdc_line(CLIP, "A door.", end="00.00.01.000"),
            "start_extracted before end_extracted, got 1.25 s and 1.0 s",
        ),
        (lsmdc_line(CLIP, "A door.", end="00:00:04"), "expected 'end_extracted' as hh.mm.ss.mmm, got '00:00:04'"),
        (lsmdc_line("noclip", "A door."), "expected a clip as <film>_<start>-<end>, got 'noclip'"),
    ],
)
def test_lsmdc_malformed_lines_are_named(line, message, load, folder):
    write_lines(folder / "LSMDC16_annos_training.csv", lsmdc_line(CLIP, "A door."), "", line)
    with pytest.raises(AnnotationError, match=rf"LSMDC16_annos_training\.csv, line 3: .*{message}"):
        load()


def test_lsmdc_test_clips_stand_once(load, folder):
    name = "LSMDC16_challenge_1000_publictect.csv"
    write_lines(folder / name, lsmdc_line(CLIP, "A door."), lsmdc_line(CLIP, "A gate."))
    with pytest.raises(
        AnnotationError, match=rf"{name}, line 2: .*'caption_id' once, got '{CLIP}' as in {name}, line 1"
    ):
        load()


# --------------------------------------------------------------------------------------------------------------------
# MSVD
# --------------------------------------------------------------------------------------------------------------------


def test_msvd_rows(load, folder):
    rows = load("test").to_list()
    video = str(folder / "YouTubeClips/d_1_9.avi")
    assert rows[1] == {"video_id": "d_1_9", "video": video, "caption": "a shape moves", "caption_id": "d_1_9-1"}
    assert [row["caption_id"] for row in rows] == [f"{clip}_1_9-{number}" for clip in "de" for number in range(3)]
    assert rows[2]["caption"] == "a shape #2 stops"


def test_msvd_facts_come_from_the_names(folder, tmp_path):
    facts = facts_of(folder, tmp_path)
    assert facts["a_b-cdefghij_5_15"] == VideoFacts(10.0, "a_b-cdefghij")
    assert facts["-bcdefghijk_0_3"] == VideoFacts(3.0, "-bcdefghijk") and len(facts) == 5


def test_msvd_numbers_of_the_mapping_are_splits(load, folder):
    expected = {split: rows.to_list() for split, rows in load().items()}
    numbers = iter((1, 1200, 1201, 1301, 1970))
    lines = [f"{clip} vid{next(numbers)}" for name in MSVD_CLIPS for clip in MSVD_CLIPS[name]]
    write_lines(folder / "youtube_mapping.txt", *reversed(lines))
    for name in MSVD_CLIPS:
        (folder / f"{name}_list.txt").unlink()
    assert {split: rows.to_list() for split, rows in load().items()} == expected


def test_msvd_table_is_read_in_english(load, folder, caplog):
    expected = load("test")["caption_id"][:]
    (folder / "AllVideoDescriptions.txt").unlink()
    header = "VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description"
    clips = [clip.rsplit("_", 2) for listed in MSVD_CLIPS.values() for clip in listed]
    lines = [
        f'{name},{start},{end},7,clean,30,{language},"{sentence}"'
        for name, start, end in [*clips, ("gone", "0", "4")]
        for language, sentence in [("English", "a shape, moving"), ("German", "eine Form"), ("English", "")]
        + 2 * [("English", "a shape")]
    ]
    write_lines(folder / "video_corpus.csv", header, *lines)
    with caplog.at_level(logging.WARNING):
        rows = load("test")
    assert rows["caption_id"][:] == expected and rows[0]["caption"] == "a shape, moving"
    assert "video_corpus.csv: left out 2 English rows of test without a description" in caplog.text


@pytest.mark.parametrize(
    "name, lines, message",
    [
        ("AllVideoDescriptions.txt", ["# all", "d_1_9"], "line 2: expected '<clip> <sentence>', got 'd_1_9'"),
        ("AllVideoDescriptions.txt", ["d_1_9 it", "z_1_9 it"], "line 2: .* about one of the 5 clips, got 'z_1_9'"),
        (
            "AllVideoDescriptions.txt",
            ["d_1_9 it moves"],
            "train_list.txt, line 1: .* AllVideoDescriptions.txt describes",
        ),
        ("val_list.txt", ["c_2_4", "c_2_4"], "line 2: expected every clip once, got 'c_2_4' as in line 1"),
        ("val_list.txt", ["c_4_2"], "line 1: expected a clip as <YouTube id>_<start>_<end> with start before end"),
        ("val_list.txt", ["c_2_4 vid1"], "line 1: expected a clip as <YouTube id>_<start>_<end>"),
        ("val_list.txt", ["c.avi"], "line 1: expected a clip as <YouTube id>_<start>_<end>"),
    ],
)
def test_msvd_malformed_files_are_named(name, lines, message, load, folder):
    write_lines(folder / name, *lines)
    with pytest.raises(AnnotationError, match=message):
        load()


def test_msvd_malformed_mapping_is_named(load, folder):
    (folder / "test_list.txt").unlink()
    write_lines(folder / "youtube_mapping.txt", "d_1_9 vid1301", "e_1_9 1302")
    with pytest.raises(
        AnnotationError, match="youtube_mapping.txt, line 2: expected '<clip> vid<N>', got 'e_1_9 1302'"
    ):
        load()


# --------------------------------------------------------------------------------------------------------------------
# VATEX
# --------------------------------------------------------------------------------------------------------------------

NAMES = [f"abc_efghij{number}_000010_000020" for number in range(5)]


def test_vatex_rows(load, folder):
    rows = load("test", "retrieval_official").to_list()
    video = str(folder / f"{NAMES[4]}.mp4")
    same = {"video_id": NAMES[4], "video": video}
    assert rows == [
        {**same, "caption": f"{NAMES[4]} moves", "caption_id": f"{NAMES[4]}-0"},
        {**same, "caption": "it stops", "caption_id": f"{NAMES[4]}-1"},
    ]


def test_vatex_sentences_in_chinese(load):
    splits = load(config="retrieval_official", language="zh")
    assert {split: rows["caption"][:] for split, rows in splits.items()} == {
        "train": ["它动了", "它动了"],
        "validation": ["它动了", "它动了"],
    }
    with pytest.raises(ValueError, match="Expected `language` to be one of en, zh, got 'de'"):
        load(config="retrieval_official", language="de")


@pytest.mark.parametrize("layout", ["npy", "npy of bytes", "txt"])
def test_vatex_halves_of_the_validation_set(layout, load, folder):
    assert load("validation", "retrieval_hgr").unique("video_id") == [NAMES[3]]
    for half, other, public, name in (("val", "val", "val", NAMES[2]), ("test", "test", "tst", NAMES[3])):
        (folder / f"vatex_{half}1k5.txt").unlink()
        if layout == "txt":
            write_lines(folder / f"{other}_list.txt", name)
        else:
            (folder / "public_split").mkdir(exist_ok=True)
            names = np.array([name.encode()] if "bytes" in layout else [name])
            np.save(folder / f"public_split/{public}_names.npy", names)
    for streaming in (False, True):
        splits = load(config="retrieval_hgr", streaming=streaming)
        found = {split: {row["video_id"] for row in rows} for split, rows in splits.items()}
        assert found == {"train": {NAMES[0], NAMES[1]}, "validation": {NAMES[2]}, "test": {NAMES[3]}}


def test_vatex_facts_come_from_the_names(folder, tmp_path):
    facts = facts_of(folder, tmp_path, "retrieval_official")
    assert set(facts) == set(NAMES) and facts[NAMES[0]] == VideoFacts(10.0, "abc_efghij0")


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"videoID": NAMES[0]}, rf"expected every 'videoID' once, got '{NAMES[0]}' as in \[0\]"),
        ({"videoID": "abc"}, "expected 'videoID' as <YouTube id>_<start>_<end> with start before end, got 'abc'"),
        ({"videoID": "abc_000020_000010"}, "expected 'videoID' as .* with start before end"),
        ({"videoID": None}, "expected 'videoID' to be a non-empty str, got None"),
        ({"enCap": []}, r"expected 'enCap' to be a non-empty list, got \[\]"),
        ({"enCap": ["fine", " "]}, "expected 'caption' to be a non-empty text, got ' '"),
        ({"enCap": "one text"}, "expected 'enCap' to be a non-empty list, got 'one text'"),
    ],
)
def test_vatex_malformed_clips_are_named(columns, message, load, folder):
    write_json(folder / "vatex_training_v1.0.json", [vatex_entry(NAMES[0]), vatex_entry(NAMES[1]) | columns])
    with pytest.raises(AnnotationError, match=rf"vatex_training_v1\.0\.json, \[1\]: {message}"):
        load(config="retrieval_official")


def test_vatex_malformed_lists_are_named(load, folder):
    write_lines(folder / "vatex_test1k5.txt", NAMES[2], NAMES[0])
    with pytest.raises(
        AnnotationError, match=r"vatex_test1k5\.txt, line 2: .*one clip of vatex_validation_v1\.0\.json"
    ):
        load(config="retrieval_hgr")
    write_lines(folder / "vatex_test1k5.txt", NAMES[2], NAMES[2])
    with pytest.raises(AnnotationError, match=rf"vatex_test1k5\.txt, line 2: .* got '{NAMES[2]}' unknown or again"):
        load(config="retrieval_hgr")
    (folder / "val_names.npy").write_bytes(b"\x93NUMPY cut off")
    with pytest.raises(AnnotationError, match=r"val_names\.npy: expected an array of texts"):
        load(config="retrieval_hgr")
    np.save(folder / "val_names.npy", np.array([NAMES[3], NAMES[0]]))
    with pytest.raises(AnnotationError, match=r"val_names\.npy, \[1\]: expected one clip"):
        load("validation", "retrieval_hgr")
