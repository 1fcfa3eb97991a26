# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""MSR-VTT: what each protocol consists of, the layouts it is distributed in, and malformed files."""

import json
import zipfile

import pytest
from retrieval_layouts import msrvtt_document, msrvtt_parts, msrvtt_video, write_json, write_lines, write_msrvtt

from clipbert.datasets_scripts import find_loader, load_benchmark, prepare
from clipbert.datasets_scripts.building.base import VideoFacts
from clipbert.datasets_scripts.building.records import AnnotationError


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "MSRVTT"
    path.mkdir()
    write_msrvtt(path)
    return path


@pytest.fixture
def load(folder, tmp_path):
    def load(config, split=None, **arguments):
        return load_benchmark("msrvtt", config, split, folder, str(tmp_path / "cache"), **arguments)

    return load


def test_asking_for_retrieval_lists_the_protocols(load):
    with pytest.raises(ValueError, match="got config 'retrieval'; choose one of") as caught:
        load("retrieval")
    message = str(caught.value)
    listed = [line.split(":")[0].strip() for line in message.splitlines()[1:]]
    assert listed == ["retrieval_full", "retrieval_1ka", "retrieval_1ka_9k", "retrieval_1kb"]
    assert all("ot comparable" in line for line in message.splitlines()[1:])
    assert "7,010 videos" in message and "9,000 other videos" in message


def test_sentences_of_a_video_stand_together_in_their_order(load, folder):
    rows = load("retrieval_full", "train").to_list()
    assert [row["caption_id"] for row in rows] == ["3", "7", "2", "6", "1", "5"]
    video = str(folder / "videos/video0.webm")
    assert rows[1] == {"video_id": "video0", "video": video, "caption": "a shape 0 stops", "caption_id": "7"}


def test_1ka_trains_on_the_official_training_and_validation_videos(load):
    assert load("retrieval_1ka", "train").unique("video_id") == [f"video{number}" for number in range(4)]
    for config in ("retrieval_1ka", "retrieval_1ka_9k"):
        first = load(config, "test")[0]
        assert (first["caption_id"], first["video_id"], first["caption"]) == ("ret0", "video5", "a shape, number 5")


def test_9k_takes_its_videos_from_both_official_files(load, folder):
    write_lines(folder / "MSRVTT_train.9k.csv", "video_id", "video5", "video2")
    assert load("retrieval_1ka_9k", "train")["caption_id"][:] == ["8", "10", "1", "5"]
    (folder / "MSRVTT_train.9k.csv").unlink()
    for path in ("train_list_jsfusion.txt", "split_lists/train_list_jsfusion.txt"):
        write_lines(folder / path, "video4")
        assert load("retrieval_1ka_9k", "train")["caption_id"][:] == ["9", "11"]


def test_1kb_tests_with_the_first_sentence_of_a_video(load):
    assert load("retrieval_1kb", "train")["caption_id"][:] == ["8", "10", "3", "7"]
    assert load("retrieval_1kb", "test")["caption_id"][:] == ["9", "2"]


def test_multiple_choice_is_one_question_with_sentences_to_choose_from(load, folder):
    (row,) = load("multiple_choice", "test").to_list()
    assert row["options"][row["answer_index"]] == row["answer"] == "a shape"
    assert (row["question_id"], row["video"]) == ("7", str(folder / "videos/video4.mp4"))


def test_the_official_archives_are_read_as_they_are(load, folder):
    expected = load("retrieval_full")
    members = {
        "train_val_annotation.zip": "train_val_videodatainfo",
        "test_videodatainfo.json.zip": "test_videodatainfo",
    }
    for archive, member in members.items():
        with zipfile.ZipFile(folder / archive, "w") as packed:
            packed.write(folder / f"{member}.json", f"{member}.json")
            if archive.startswith("train"):
                packed.writestr("category.txt", "music 0")
        (folder / f"{member}.json").unlink()
    assert {split: rows.to_list() for split, rows in load("retrieval_full").items()} == {
        split: rows.to_list() for split, rows in expected.items()
    }


@pytest.mark.parametrize("config", ["retrieval_full", "retrieval_1ka", "retrieval_1ka_9k", "retrieval_1kb"])
def test_one_file_with_all_sentences_does_too(config, load, folder):
    expected = {split: rows.to_list() for split, rows in load(config).items()}
    parts = msrvtt_parts()
    write_json(folder / "MSRVTT_data.json", {key: parts[0][key] + parts[1][key] for key in ("videos", "sentences")})
    for name in ("train_val_videodatainfo.json", "test_videodatainfo.json"):
        (folder / name).unlink()
    assert {split: rows.to_list() for split, rows in load(config).items()} == expected


def test_facts_cover_all_videos_whatever_the_protocol(folder, tmp_path):
    builder = find_loader("msrvtt")(str(tmp_path / "cache"), "retrieval_1ka", folder)
    facts = builder.video_facts()
    assert len(facts) == 6 and facts["video5"] == VideoFacts(12.0, "abcdefghij2")
    assert facts["video4"].recording == facts["video5"].recording != facts["video3"].recording


def edited(change):
    """The official training file after a change to its document."""

    def write(folder):
        document = msrvtt_document(range(4), ["train", "train", "train", "validate"])
        change(document)
        write_json(folder / "train_val_videodatainfo.json", document)

    return write


def sentence(**columns):
    return edited(lambda document: document["sentences"][2].update(columns))


def video(**columns):
    return edited(lambda document: document["videos"][1].update(columns))


FILE = r"train_val_videodatainfo\.json"


@pytest.mark.parametrize(
    "write, message",
    [
        (sentence(video_id="video77"), rf"{FILE}, sentences\[2\]: .* about one of the 4 videos, got 'video77'"),
        (sentence(caption=" "), rf"{FILE}, sentences\[2\]: expected 'caption' to be a non-empty str, got ' '"),
        (sentence(sen_id=0), rf"{FILE}, sentences\[2\]: expected every 'sen_id' once, got 0 again"),
        (sentence(sen_id="2"), rf"{FILE}, sentences\[2\]: expected 'sen_id' to be a non-empty int, got '2'"),
        (edited(lambda d: d["sentences"][1].pop("caption")), rf"{FILE}, sentences\[1\]: expected a column 'caption'"),
        (edited(lambda d: d["sentences"].append(3)), rf"{FILE}, sentences\[8\]: expected a JSON object .* got 3"),
        (
            edited(lambda d: d.pop("sentences")),
            rf"{FILE}: expected a JSON object with 'sentences', got an object with",
        ),
        (edited(lambda d: d["videos"].append(msrvtt_video(0, "train"))), rf"{FILE}, videos\[4\]: .* 'video0' as in v"),
        (
            edited(lambda d: d["videos"].append(msrvtt_video(9, "train"))),
            rf"{FILE}, videos\[4\]: .*'sentences' to be a",
        ),
        (edited(lambda d: d["videos"][2].pop("split")), rf"{FILE}, videos\[2\]: expected a column 'split'"),
        (video(**{"end time": 1}), rf"{FILE}, videos\[1\]: .* 'start time' < 'end time' .* got 10.5 and 1.0"),
        (
            lambda folder: (folder / "train_val_videodatainfo.json").write_text('{"videos": ['),
            rf"{FILE}: expected a J",
        ),
        (
            lambda folder: (folder / "train_val_videodatainfo.json").write_text("[]"),
            rf"{FILE}: .*'videos', got a list",
        ),
    ],
)
def test_malformed_official_files_are_named(write, message, load, folder):
    write(folder)
    with pytest.raises(AnnotationError, match=message):
        load("retrieval_full", "train")


@pytest.mark.parametrize(
    "config, name, lines, message",
    [
        (
            "retrieval_1ka_9k",
            "MSRVTT_train.9k.csv",
            ["video_id", "video1", "video8"],
            "line 3: .* 6 videos .* 'video8'",
        ),
        ("retrieval_1ka_9k", "MSRVTT_train.9k.csv", ["video_id", "video1", "video1"], "line 3: .* once, got 'video1'"),
        ("retrieval_1ka_9k", "MSRVTT_train.9k.csv", ["name", "video1"], "line 2: expected a column 'video_id'"),
        ("retrieval_1kb", "split_lists/test_list_miech.txt", ["video1", "", "video6"], "line 3: .*got 'video6'"),
        ("retrieval_1ka", "MSRVTT_JSFUSION_test.csv", ["key,video_id", "ret0,video4"], "line 2: .*column 'sentence'"),
        ("retrieval_1ka", "MSRVTT_JSFUSION_test.csv", ["key,video_id,sentence", "ret0,video4"], "line 2: .*3 columns"),
        (
            "retrieval_1ka",
            "MSRVTT_JSFUSION_test.csv",
            ["key,video_id,sentence"] + 2 * ["a,video4,b"],
            "line 3: .*once",
        ),
        ("multiple_choice", "msrvtt_retrieval_mc_test.jsonl", ["{", "{}"], "line 1: expected one JSON object a line"),
    ],
)
def test_malformed_lists_are_named(config, name, lines, message, load, folder):
    write_lines(folder / name, *lines)
    with pytest.raises(AnnotationError, match=f"{name.split('/')[-1]}, {message}"):
        load(config)


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"answer": 5}, "expected 'answer' to be a position from 0 to 4, got 5"),
        ({"answer": "a"}, "expected 'answer' to be a non-empty int, got 'a'"),
        ({"options": ["a"], "answer": 0}, "expected 'options' to be at least two texts"),
        ({"clip_name": None}, "expected 'clip_name' to be a non-empty str, got None"),
        ({"qid": 1}, "expected every 'question_id' once, got '1' as in msrvtt_retrieval_mc_test.jsonl, line 1"),
    ],
)
def test_malformed_multiple_choice_questions_are_named(columns, message, load, folder):
    questions = [{"qid": qid, "clip_name": "video4", "options": list("abcde"), "answer": 1} for qid in (1, 2)]
    questions[1].update(columns)
    write_lines(folder / "msrvtt_retrieval_mc_test.jsonl", *map(json.dumps, questions))
    with pytest.raises(AnnotationError, match=f"msrvtt_retrieval_mc_test.jsonl, line 2: {message}"):
        load("multiple_choice")


def test_a_repeated_sentence_number_in_two_files_is_named(load, folder):
    write_json(folder / "test_videodatainfo.json", msrvtt_document(range(4, 6), ["test", "test"], first_sentence=3))
    with pytest.raises(
        AnnotationError, match=r"test_videodatainfo\.json, sentences\[0\]: .*'sen_id' once, got 3 again"
    ):
        load("retrieval_1kb")


@pytest.mark.slow
def test_1ka_official_pairs(data_dir, tmp_path):
    builder = find_loader("msrvtt")(str(tmp_path), "retrieval_1ka", data_dir / "annotations" / "msrvtt")
    prepare(builder)
    rows = builder.as_dataset(split="test")
    assert rows["caption_id"][:] == [f"ret{number}" for number in range(1000)]
    assert rows[154]["video_id"] == "video7500"
    facts = builder.video_facts()
    assert len(facts) == 10_000 and all(9.9 < each.duration_s < 30.1 for each in facts.values())
    train = {facts[video].recording for video in builder.as_dataset(split="train").unique("video_id")}
    assert not train & {facts[video].recording for video in rows["video_id"]}
