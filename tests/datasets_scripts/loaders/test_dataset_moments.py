# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Charades-STA, TACoS and QVHighlights: small records of our own in the original layouts, and the real files."""

import json
from pathlib import Path

import pytest
from small_files import touch

from clipbert.datasets_scripts import find_loader, load_benchmark, prepare
from clipbert.datasets_scripts.building.records import AnnotationError


CHARADES = "AAAAA 0.0 6.9##person opens  a door.\nBBBBB 20.8 30.0##person closes it.\nAAAAA 0.0 6.9##a person walks.\n"
LENGTHS = "id,subject,length\nAAAAA,S1,33.67\nBBBBB,S2,29.5\n"
REVERSED = "LEOL6 8.0 7.0##first.\nIOL8Q 20.9 12.0##second.\n"  # times that VideoX's file has
QUERIES = [
    {
        "qid": 8737,
        "query": "A dog runs.",
        "duration": 126,
        "vid": "abcdefghij-_660.0_810.0",
        "relevant_windows": [[0, 16], [20, 30.5]],
        "relevant_clip_ids": [0],
        "saliency_scores": [[4, 1, 1]],
    },
    {"qid": "7", "query": "A cat.", "duration": 150, "vid": "mine", "relevant_windows": [[148, 150]]},
]


@pytest.fixture
def load(tmp_path):
    def load(name, config=None, folder=tmp_path, **arguments):
        return load_benchmark(name, config, data_dir=folder, cache_dir=str(tmp_path.parent / "cache"), **arguments)

    return load


def write(folder: Path, **files: str) -> None:
    """Files by name, with `__` for the dot."""
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def write_queries(folder: Path, name: str, queries: list[dict]) -> None:
    (folder / name).write_text("".join(json.dumps(query) + "\n" for query in queries))


# --------------------------------------------------------------------------------------------------------------------
# Charades-STA
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "num_train", "num_train_videos"), [("vslnet", 12408, 5338), ("videox", 12404, 5336)]
)
def test_counts_of_the_real_files(config, num_train, num_train_videos, data_dir, tmp_path, caplog):
    folder = data_dir / "annotations" / "charades_sta"
    builder = find_loader("charades_sta")(cache_dir=str(tmp_path), config_name=config, data_dir=folder)
    prepare(builder)
    splits = builder.as_dataset()
    assert {split: len(rows) for split, rows in splits.items()} == {"train": num_train, "test": 3720}
    assert {split: len(set(rows["video_id"])) for split, rows in splits.items()} == {
        "train": num_train_videos,
        "test": 1334,
    }
    assert all(row["end_s"] <= row["duration_s"] for row in splits["test"])
    assert "cut 1802 moments" in caplog.text and "cut 562 moments" in caplog.text
    assert ("left out 4 moments" in caplog.text) == (config == "videox")
    facts = builder.video_facts()
    assert len(facts) == 7985 + 1863 and facts["46GP8"].duration_s == 24.83


def test_charades_sta(load, tmp_path, caplog):
    write(tmp_path, charades_sta_train__txt=CHARADES, Charades_v1_train__csv=LENGTHS)
    touch(tmp_path, "AAAAA.mp4", "BBBBB.mkv")
    rows = load("charades_sta", "vslnet", split="train")
    assert rows[:2] == {
        "video_id": ["AAAAA", "BBBBB"],
        "video": [str(tmp_path / "AAAAA.mp4"), str(tmp_path / "BBBBB.mkv")],
        "caption": ["person opens  a door.", "person closes it."],
        "start_s": [0.0, 20.8],
        "end_s": [6.9, 29.5],  # cut to the length of the video
        "duration_s": [33.67, 29.5],
        "moment_id": ["train-1", "train-2"],
        "question_id": ["train-1", "train-2"],
    }
    assert "cut 1 moments" in caplog.text
    assert list(load("charades_sta", "vslnet", split="train", streaming=True)) == rows.to_list()


def test_charades_sta_without_durations(load, tmp_path):
    """Lengths that come later make the table anew."""
    write(tmp_path, charades_sta_train__txt=CHARADES)
    touch(tmp_path, "AAAAA.mp4", "BBBBB.mp4")
    rows = load("charades_sta", "vslnet", split="train")
    assert rows["end_s"][:] == [6.9, 30.0, 6.9] and set(rows["duration_s"]) == {None}
    (tmp_path / "Charades").mkdir()
    write(tmp_path / "Charades", Charades_v1_train__csv=LENGTHS)
    assert load("charades_sta", "vslnet", split="train")["end_s"][:] == [6.9, 29.5, 6.9]


@pytest.mark.parametrize("name", ["charades_sta_train.txt", "charades_sta_train.videox.txt"])
def test_the_known_lines_of_videox_are_left_out(name, load, tmp_path, caplog):
    (tmp_path / name).write_text(REVERSED + CHARADES)
    touch(tmp_path, "AAAAA.mp4", "BBBBB.mp4")
    assert load("charades_sta", "videox", split="train")["moment_id"][:] == ["train-3", "train-4", "train-5"]
    assert "left out 2 moments that end before they begin: ['LEOL6 (line 1)', 'IOL8Q (line 2)']" in caplog.text
    (tmp_path / name).rename(tmp_path / "charades_sta_train.txt")
    with pytest.raises(AnnotationError, match=r"charades_sta_train\.txt, line 1: expected 0 <= start_s < end_s"):
        load("charades_sta", "vslnet")


def test_each_version_of_charades_sta_prefers_its_own_file(load, tmp_path):
    (tmp_path / "charades_sta_train.videox.txt").write_text(CHARADES)
    write(tmp_path, charades_sta_train__txt=CHARADES.splitlines()[0], Charades_v1_train__csv=LENGTHS)
    touch(tmp_path, "AAAAA.mp4", "BBBBB.mp4")
    assert load("charades_sta", "videox", split="train").num_rows == 3
    assert load("charades_sta", "vslnet", split="train").num_rows == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("AAAAA 5.0 2.0##person sits.", "expected 0 <= start_s < end_s in seconds, got 5.0 and 2.0"),
        ("AAAAA 5.0 5.0##person sits.", "expected 0 <= start_s < end_s"),
        ("AAAAA 40.0 50.0##person sits.", "expected a start within the video of 33.67 s, got 40.0"),
        ("CCCCC 0.0 5.0##person sits.", "expected a video of Charades_v1_train.csv, got 'CCCCC'"),
        ("AAAAA 0.0 5.0##", "expected 'caption' to be a non-empty text"),
        (
            "AAAAA 0.0 5.0#person sits.",
            "expected '<video> <start> <end>##<sentence>', got 'AAAAA 0.0 5.0#person sits.'",
        ),
        ("AAAAA 0.0##person sits.", "expected '<video> <start> <end>##<sentence>'"),
        ("AAAAA 0.0.1 5.0##person sits.", "expected 'start_s' to be a number, got '0.0.1'"),
    ],
)
def test_malformed_lines_of_charades_sta(line, message, load, tmp_path):
    write(tmp_path, charades_sta_train__txt=f"{CHARADES}{line}\n", Charades_v1_train__csv=LENGTHS)
    for config in ("vslnet", "videox"):  # only the four known lines are left out
        with pytest.raises(AnnotationError, match=rf"charades_sta_train\.txt, line 4: {message}"):
            load("charades_sta", config)


def test_choices_of_charades_sta(load, tmp_path):
    write(tmp_path, charades_sta_train__txt=CHARADES)
    with pytest.raises(
        ValueError, match="no config was named; choose one of\n  vslnet: .*12,408.*\n  videox: .*12,404"
    ):
        load("charades_sta")
    with pytest.raises(FileNotFoundError, match=r"No file of the split 'test' of .*charades_sta_test\.txt"):
        load("charades_sta", "vslnet", split="test")


# --------------------------------------------------------------------------------------------------------------------
# TACoS
# --------------------------------------------------------------------------------------------------------------------

TACOS = {"timestamps": [[50, 100], [100, 260], [7, 7]], "sentences": ["He peels. ", "He cuts.", "Done."]}
TACOS |= {"fps": 25.0, "num_frames": 250}


def test_tacos_counts_frames(load, tmp_path, caplog):
    (tmp_path / "val.json").write_text(json.dumps({"s13-d21.avi": TACOS}))
    touch(tmp_path, "videos/s13-d21.mp4")
    rows = load("tacos", split="validation")
    same = {"video_id": "s13-d21", "video": str(tmp_path / "videos/s13-d21.mp4"), "duration_s": 10.0}
    ids = [{"moment_id": name, "question_id": name} for name in ("s13-d21-0", "s13-d21-1")]
    assert rows.to_list() == [
        {**same, "caption": "He peels.", "start_s": 2.0, "end_s": 4.0, **ids[0]},
        {**same, "caption": "He cuts.", "start_s": 4.0, "end_s": 10.0, **ids[1]},  # cut to the video
    ]
    assert "left out 1 moments without length (s13-d21-2); cut 1 to the end of their video" in caplog.text
    facts = find_loader("tacos")(str(tmp_path / "cache"), "moments", tmp_path).video_facts()
    assert facts["s13-d21"].duration_s == 10.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 0}, "expected a 'fps' above 0, got 0"),
        ({"num_frames": "9"}, "expected 'num_frames' to be a non-empty int or float"),
        ({"timestamps": [[5, 9]]}, "expected as many timestamps as sentences, got 1 and 3"),
        ({"timestamps": [[260, 270]] * 3}, "expected 0 <= start_s < end_s in seconds, got 10.4 and 10.0"),
    ],
)
def test_malformed_tacos_videos(change, message, load, tmp_path):
    (tmp_path / "train.json").write_text(json.dumps({"s13-d21.avi": {**TACOS, **change}}))
    with pytest.raises(AnnotationError, match=rf"train\.json, s13-d21\.avi: {message}"):
        load("tacos")


# --------------------------------------------------------------------------------------------------------------------
# QVHighlights
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["highlight_train_release.jsonl", "train.jsonl"])
def test_qvhighlights(name, load, tmp_path):
    write_queries(tmp_path, name, QUERIES)
    touch(tmp_path, "abcdefghij-_660.0_810.0.mp4", "mine.webm")
    rows = load("qvhighlights", "moments", split="train")
    assert rows[1] == {
        "video_id": "abcdefghij-_660.0_810.0",
        "video": str(tmp_path / "abcdefghij-_660.0_810.0.mp4"),
        "caption": "A dog runs.",
        "start_s": 20.0,
        "end_s": 30.5,
        "duration_s": 126.0,
        "moment_id": "8737-1",
        "question_id": "8737",  # both windows of the query
    }
    assert rows["moment_id"][:] == ["8737-0", "8737-1", "7-0"]
    assert list(load("qvhighlights", "moments", split="train", streaming=True)) == rows.to_list()
    queries = load("qvhighlights", "queries", split="train")
    assert (queries["caption_id"][:], queries["caption"][:]) == (["8737", "7"], ["A dog runs.", "A cat."])
    facts = find_loader("qvhighlights")(str(tmp_path / "cache"), "moments", tmp_path).video_facts()
    assert facts["abcdefghij-_660.0_810.0"].recording == "abcdefghij-"
    assert (facts["mine"].duration_s, facts["mine"].recording) == (150.0, None)


def test_held_back_windows_give_no_moments(load, tmp_path, caplog):
    write_queries(tmp_path, "highlight_val_release.jsonl", QUERIES)
    hidden = [{name: QUERIES[1][name] for name in ("qid", "query", "duration", "vid")}]
    write_queries(tmp_path, "highlight_test_release.jsonl", hidden)
    touch(tmp_path, "abcdefghij-_660.0_810.0.mp4", "mine.mp4")
    assert list(load("qvhighlights", "moments")) == ["validation"]
    assert "highlight_test_release.jsonl has no windows and gives no moments" in caplog.text
    assert list(load("qvhighlights", "queries")) == ["validation", "test"]
    with pytest.raises(
        FileNotFoundError, match="split 'test' of .*: expected a test file with windows .*config='queries'"
    ):
        load("qvhighlights", "moments", split="test")
    write_queries(tmp_path, "highlight_test_release.jsonl", QUERIES[1:])  # one's own, with windows
    assert load("qvhighlights", "moments", split="test")["moment_id"][:] == ["7-0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relevant_windows": [[16, 2]]}, "line 3: expected 0 <= start_s < end_s in seconds, got 16.0 and 2.0"),
        ({"relevant_windows": [[0, 200]]}, "line 3: expected end_s within the video of 150.0 s, got 200.0"),
        ({"relevant_windows": []}, "line 3: expected 'relevant_windows' to be a non-empty list"),
        ({"relevant_windows": [[0, 2, 4]]}, r"line 3: expected windows \[start, end\] in seconds, got \[0, 2, 4\]"),
        ({"relevant_windows": [["0", "2"]]}, r"line 3: expected windows \[start, end\]"),
        ({"relevant_windows": 5}, "line 3: expected 'relevant_windows' to be a non-empty list"),
        ({"qid": 8737}, "line 3: expected every 'moment_id' once, got '8737-0' as in train.jsonl, line 1"),
        ({"query": " "}, "line 3: expected 'query' to be a non-empty str"),
        ({"vid": 5}, "line 3: expected 'vid' to be a non-empty str, got 5"),
        ({"duration": None}, "line 3: expected 'duration' to be a non-empty"),
    ],
)
def test_malformed_queries(change, message, load, tmp_path):
    write_queries(tmp_path, "train.jsonl", [*QUERIES, {**QUERIES[1], "qid": 9, **change}])
    with pytest.raises(AnnotationError, match=r"train\.jsonl, " + message):
        load("qvhighlights", "moments")


def test_a_bad_line_and_a_missing_column(load, tmp_path):
    write_queries(tmp_path, "train.jsonl", [QUERIES[1], {"qid": 9, "query": "A bird.", "duration": 9, "vid": "b"}])
    with pytest.raises(AnnotationError, match=r"train\.jsonl, line 2: expected a column 'relevant_windows'"):
        load("qvhighlights", "moments")
    (tmp_path / "train.jsonl").write_text('{"qid": 1,\n')
    with pytest.raises(AnnotationError, match=r"train\.jsonl, line 1: expected one JSON object a line"):
        load("qvhighlights", "moments")


def test_choices_of_qvhighlights(load, tmp_path):
    write_queries(tmp_path, "train.jsonl", QUERIES)
    with pytest.raises(ValueError, match="no config was named; choose one of\n  moments: .*\n  queries: "):
        load("qvhighlights")
    with pytest.raises(
        FileNotFoundError, match=r"No file of the split 'validation' of .*highlight_val_release\.jsonl"
    ):
        load("qvhighlights", "moments", split="validation")
