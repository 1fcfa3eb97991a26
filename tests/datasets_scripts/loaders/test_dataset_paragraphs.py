# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""DiDeMo and ActivityNet Captions: sentences joined to paragraphs, moments, and malformed files."""

import json
import logging
import zipfile

import pytest
from retrieval_layouts import anet_entry, didemo_entry, touch, write_activitynet_captions, write_didemo, write_json

from clipbert.datasets_scripts import find_loader, load_benchmark, prepare
from clipbert.datasets_scripts.building.base import VideoFacts
from clipbert.datasets_scripts.building.media import AmbiguousMediaError
from clipbert.datasets_scripts.building.records import AnnotationError


@pytest.fixture
def load(tmp_path):
    def load(name, config, split=None, **arguments):
        return load_benchmark(name, config, split, tmp_path / name, str(tmp_path / "cache"), **arguments)

    return load


@pytest.fixture
def didemo(tmp_path):
    (tmp_path / "didemo").mkdir()
    write_didemo(tmp_path / "didemo")
    return tmp_path / "didemo"


@pytest.fixture
def anet(tmp_path):
    (tmp_path / "activitynet_captions").mkdir()
    write_activitynet_captions(tmp_path / "activitynet_captions")
    return tmp_path / "activitynet_captions"


# --------------------------------------------------------------------------------------------------------------------
# DiDeMo
# --------------------------------------------------------------------------------------------------------------------


def test_didemo_joins_the_descriptions_of_both_names_of_a_video(load, didemo):
    rows = load("didemo", "retrieval", "validation").to_list()
    name = "1234@N01_551_ab1"
    assert rows[0] == {
        "video_id": name,
        "video": str(didemo / f"videos/{name}.avi"),
        "caption": "a dog runs the dog stops",
        "caption_id": name,
    }
    assert rows[1]["video"] == str(didemo / "videos/99@N01_661_cd.")  # a name that ends in a bare dot
    assert [row["caption"] for row in rows] == ["a dog runs the dog stops", "a cat"]


def test_didemo_moments_are_what_most_annotators_chose(load, didemo):
    rows = load("didemo", "moments", "test").to_list()
    assert rows[0]["caption"] == "a dog runs" and rows[0]["moment_id"] == "20"
    assert [(row["start_s"], row["end_s"], row["duration_s"]) for row in rows] == [
        (5.0, 10.0, None),
        (25.0, 30.0, None),
        (0.0, 25.0, None),
    ]
    assert rows[0]["video_id"] == rows[2]["video_id"] and rows[0]["video"] == rows[2]["video"]


@pytest.mark.parametrize(
    "times, expected",
    [
        ([[0, 0], [2, 2], [2, 2], [2, 3]], (10, 15)),  # most votes
        ([[0, 0], [0, 0], [2, 2], [2, 2], [2, 3]], (10, 15)),  # as many votes: more overlap with the others
        ([[3, 3], [1, 1]], (5, 10)),  # nothing to tell them apart: the earlier one
        ([[0, 1], [1, 2], [1, 1], [4, 4]], (5, 10)),  # all different: in the midst of the others
    ],
)
def test_didemo_ties_between_annotators(times, expected, load, didemo):
    write_json(didemo / "test_data.json", [didemo_entry(1, "a@N00_77_bc.mp4", "it", times)])
    (row,) = load("didemo", "moments", "test", on_missing="skip", video_dir=place_video(didemo, "a@N00_77_bc.mp4"))
    assert (row["start_s"], row["end_s"]) == expected


def place_video(folder, *names):
    touch(folder / "more", *names)
    return folder / "more"


def test_didemo_takes_the_first_name_if_both_files_are_there(load, didemo):
    both = place_video(didemo, "1234@N01_551_ab1.mov", "1234@N01_551_ab1.mp4", "99@N01_661_cd.mpg")
    for config in ("retrieval", "moments"):
        rows = load("didemo", config, "validation", video_dir=both)
        assert set(rows["video"]) == {str(both / "1234@N01_551_ab1.mov"), str(both / "99@N01_661_cd.mpg")}
    touch(both, "1234@N01_551_ab1.mkv")
    (both / "1234@N01_551_ab1.mov").unlink()
    with pytest.raises(AmbiguousMediaError, match="'1234@N01_551_ab1' fits 2 files"):
        load("didemo", "retrieval", "validation", video_dir=both)


def test_didemo_facts_tell_the_flickr_id(didemo, tmp_path):
    facts = find_loader("didemo")(str(tmp_path / "cache"), "moments", didemo).video_facts()
    assert facts["1234@N02_552_ab2"] == VideoFacts(None, "552") and len(facts) == 6


GOOD = didemo_entry(1, "a@N00_77_bc.mp4", "a dog", [[0, 1]])


@pytest.mark.parametrize("config", ["retrieval", "moments"])
@pytest.mark.parametrize(
    "columns, message",
    [
        ({"annotation_id": 1}, r"expected every 'annotation_id' once, got 1 as in \[0\]"),
        ({"annotation_id": None}, "expected 'annotation_id' to be a non-empty int, got None"),
        ({"description": "\n"}, r"expected 'description' to be a non-empty str, got '\\n'"),
        ({"video": "77.mp4"}, "expected 'video' as <user>_<Flickr id>_<secret>.<suffix>, got '77.mp4'"),
        ({"video": "a_b_c.mp4"}, "expected 'video' as <user>_<Flickr id>"),
        ({"video": 3}, "expected 'video' to be a non-empty str, got 3"),
    ],
)
def test_malformed_didemo_annotations_are_named(config, columns, message, load, didemo):
    write_json(didemo / "train_data.json", [GOOD, {**GOOD, "annotation_id": 2, **columns}])
    with pytest.raises(AnnotationError, match=rf"train_data\.json, \[1\]: {message}"):
        load("didemo", config)


@pytest.mark.parametrize(
    "times", [[[1, 0]], [[0, 6]], [[-1, 0]], [[0, 1], [2]], [[0.5, 1]], [3], [["0", "1"]], [[0, True]]]
)
def test_malformed_didemo_times_are_named(times, load, didemo):
    write_json(didemo / "train_data.json", [GOOD, {**GOOD, "annotation_id": 2, "times": times}])
    with pytest.raises(
        AnnotationError, match=r"train_data\.json, \[1\]: expected 'times' as \[first, last\] with 0 <="
    ):
        load("didemo", "moments")


# --------------------------------------------------------------------------------------------------------------------
# ActivityNet Captions
# --------------------------------------------------------------------------------------------------------------------


def test_anet_paragraphs_and_moments(load, anet):
    paragraph = load("activitynet_captions", "retrieval", "train")[0]
    video = str(anet / "videos/v_abcdefghij0.mkv")
    same = {"video_id": "v_abcdefghij0", "video": video}
    assert paragraph == {**same, "caption": "A shape moves. It stops.", "caption_id": "v_abcdefghij0"}
    moment = load("activitynet_captions", "moments", "train")[1]
    times, name = {"start_s": 7.0, "end_s": 20.5, "duration_s": 20.5}, "v_abcdefghij0-1"
    assert moment == {**same, "caption": "It stops.", **times, "moment_id": name, "question_id": name}


def test_anet_val_2_is_a_protocol_of_its_own(load, anet):
    captions = {
        (config, split): load("activitynet_captions", config, split)["caption"][:]
        for config, split in [("retrieval", "validation"), ("retrieval_val_2", "validation"), ("moments", "test")]
    }
    assert list(captions.values()) == [["A line."], ["A thin line."], ["A thin line."]]
    moments, reversed_moments = (load("activitynet_captions", name) for name in ("moments", "moments_vslnet"))
    assert reversed_moments["validation"].to_list() == moments["test"].to_list() != moments["validation"].to_list()
    assert reversed_moments["test"].to_list() == moments["validation"].to_list()


@pytest.mark.parametrize("layout", ["zip", "2D-TAN"])
def test_anet_is_read_in_other_packings(layout, load, anet):
    expected = {split: rows.to_list() for split, rows in load("activitynet_captions", "moments").items()}
    if layout == "zip":
        with zipfile.ZipFile(anet / "captions.zip", "w") as archive:
            for name in ("train.json", "val_1.json", "val_2.json"):
                archive.write(anet / name, name)
                (anet / name).unlink()
            archive.writestr("train_ids.json", "[]")
    else:
        (anet / "val_1.json").rename(anet / "val.json")
        (anet / "val_2.json").rename(anet / "test.json")
    assert {split: rows.to_list() for split, rows in load("activitynet_captions", "moments").items()} == expected


def test_anet_ends_beyond_the_video_become_its_duration(load, anet, caplog):
    write_json(anet / "val_2.json", {"v_abcdefghij2": anet_entry(8.99, (2, 9, "A dot."), (0, 3, "Two."))})
    with caplog.at_level(logging.WARNING):
        rows = load("activitynet_captions", "moments", "test")
    assert [row["end_s"] for row in rows] == [8.99, 3.0]
    assert "val_2.json: left out 0 moments" in caplog.text and "(none); 1 ends beyond the video" in caplog.text


def test_anet_known_reversed_moments_are_left_out_and_named(load, anet, caplog):
    known = anet_entry(9.57, (0, 4, "One."), (4.97, 4.97, "Two."), (5, 9, "Three."))
    write_json(anet / "train.json", {"v_4rKTw99bM8g": known})
    place = place_video(anet, "v_4rKTw99bM8g.mp4", "v_abcdefghij2.mp4")
    with caplog.at_level(logging.WARNING):
        rows = load("activitynet_captions", "moments", "train", video_dir=place)
    assert rows["moment_id"][:] == ["v_4rKTw99bM8g-0", "v_4rKTw99bM8g-2"]
    assert "train.json: left out 1 moments that are known to have start >= end (v_4rKTw99bM8g-1)" in caplog.text
    paragraph = load("activitynet_captions", "retrieval", "train", video_dir=place)[0]["caption"]
    assert paragraph == "One. Two. Three."


@pytest.mark.slow
def test_anet_official_faults_are_the_known_ones(data_dir, tmp_path, caplog):
    builder = find_loader("activitynet_captions")(
        str(tmp_path), "moments", data_dir / "annotations" / "activitynet_captions"
    )
    with caplog.at_level(logging.WARNING):
        prepare(builder)
    assert "left out 4 moments" in caplog.text
    for count in (261, 134, 111):
        assert f"; {count} ends beyond the video" in caplog.text
    rows = builder.as_dataset(split="validation")
    assert all(caption == caption.strip() for caption in rows["caption"])


@pytest.mark.parametrize("config", ["retrieval", "moments"])
@pytest.mark.parametrize(
    "columns, message",
    [
        ({"timestamps": [[4, 2], [3, 4]]}, r"expected timestamps\[0\] with start < end, got 4 and 2"),
        ({"timestamps": [[0, 2], [3, 3]]}, r"expected timestamps\[1\] with start < end, got 3 and 3"),
        ({"timestamps": [[0, 2]]}, "expected as many timestamps as sentences, got 1 and 2"),
        ({"timestamps": [[0, 2], [3]]}, r"expected timestamps\[1\] as \[start, end\], two numbers, got \[3\]"),
        ({"timestamps": [[0, 2], [3, "4"]]}, r"expected timestamps\[1\] as \[start, end\], two numbers"),
        ({"timestamps": []}, r"expected 'timestamps' to be a non-empty list, got \[\]"),
        ({"sentences": ["One.", "  "]}, r"expected sentences\[1\] to be a non-empty text, got '  '"),
        ({"sentences": ["One.", 2]}, r"expected sentences\[1\] to be a non-empty text, got 2"),
        ({"duration": 0}, "expected a 'duration' above 0, got 0"),
        ({"duration": "9"}, "expected 'duration' to be a non-empty int or float, got '9'"),
    ],
)
def test_malformed_anet_videos_are_named(config, columns, message, load, anet):
    write_json(anet / "train.json", {"v_abcdefghij0": {**anet_entry(9.0, (0, 2, "One."), (3, 4, "Two.")), **columns}})
    with pytest.raises(AnnotationError, match=rf"train\.json, v_abcdefghij0: {message}"):
        load("activitynet_captions", config)


@pytest.mark.parametrize(
    "document, message",
    [
        ('{"v_a": {}, "v_a": {}}', "train.json: expected a JSON document .*'v_a' stands twice"),
        ('{"v_a": 3}', "train.json, v_a: expected a JSON object"),
        ('{"v_a": {}}', "train.json, v_a: expected a column 'timestamps', got no column"),
        (json.dumps({"abc": anet_entry(3.0, (0, 1, "One."))}), "train.json, abc: expected a key v_<YouTube id>, got"),
        ("[]", "train.json: expected a JSON object, got list"),
    ],
)
def test_malformed_anet_documents_are_named(document, message, load, anet):
    (anet / "train.json").write_text(document)
    with pytest.raises(AnnotationError, match=message):
        load("activitynet_captions", "retrieval")


@pytest.mark.parametrize("span", [[-1, 3], [10, 12]])
def test_anet_moments_outside_the_video_are_named(span, load, anet):
    write_json(anet / "train.json", {"v_abcdefghij0": anet_entry(9.0, (*span, "One."))})
    with pytest.raises(AnnotationError, match=r"train\.json, v_abcdefghij0: expected 0 <= start_s < end_s in seconds"):
        load("activitynet_captions", "moments")
