# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A user's own folder: layouts, malformed lines, missing and broken videos."""

import json
import logging
import os
import shutil
import unicodedata
from pathlib import Path

import pytest

from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.building.records import AnnotationError
from clipbert.datasets_scripts.building.usable_videos import UnusableVideosError, check_videos
from clipbert.datasets_scripts.commands.benchmark_arguments import build_benchmark
from clipbert.datasets_scripts.commands.check import check_benchmark
from clipbert.datasets_scripts.loaders.video_folder import VideoFolder


@pytest.fixture
def load(folder, tmp_path):
    def load(config=None, **arguments):
        return load_benchmark("video_folder", config, data_dir=folder, cache_dir=str(tmp_path / "cache"), **arguments)

    return load


def write_lines(path: Path, *lines: dict | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not decoded here")


def test_one_file_is_for_training(folder, load):
    touch(folder, "a.mp4", "deep/b c.webm")
    write_lines(
        folder / "captions.jsonl",
        {"video": "a.mp4", "caption": "a dog runs"},
        {"video": "deep/b c.webm", "caption": ["a cat sleeps", "a grey cat"], "caption_id": 7, "video_id": "cat"},
        "",
        {"video": "a.mp4", "caption": "the dog is brown"},
    )
    rows = load()["train"].to_list()
    assert rows == [
        {"video_id": "a.mp4", "video": str(folder / "a.mp4"), "caption": "a dog runs", "caption_id": "train-1"},
        {"video_id": "cat", "video": str(folder / "deep/b c.webm"), "caption": "a cat sleeps", "caption_id": "7"},
        {"video_id": "cat", "video": str(folder / "deep/b c.webm"), "caption": "a grey cat", "caption_id": "7-1"},
        {"video_id": "a.mp4", "video": str(folder / "a.mp4"), "caption": "the dog is brown", "caption_id": "train-4"},
    ]


def captions_of(folder: Path, count: int, **columns) -> None:
    touch(folder, *(f"{number}.mp4" for number in range(count)))
    lines = [{"video": f"{number}.mp4", "caption": text, **columns} for number in range(count) for text in ("a", "b")]
    write_lines(folder / "captions.jsonl", *lines)


@pytest.mark.parametrize("count", [3, 6, 12, 200])
def test_splits_that_are_not_there_are_held_out_by_video(folder, load, count):
    captions_of(folder, count)
    loaded = {split: set(rows["video_id"]) for split, rows in load(held_out=0.15).items()}
    assert list(loaded) == ["train", "validation", "test"] and all(loaded.values())
    assert sum(map(len, loaded.values())) == len(set.union(*loaded.values())) == count
    if count == 200:
        assert all(0.1 < len(loaded[split]) / count < 0.2 for split in ("validation", "test"))
        # a video stays where it is when others come; both of its captions are with it
        captions_of(folder, 201)
        grown = load(held_out=0.15)
        assert all(loaded[split] <= set(rows["video_id"]) for split, rows in grown.items())
        assert sum(rows.num_rows for rows in grown.values()) == 402


def test_only_what_is_missing_is_held_out(folder, load):
    captions_of(folder, 20, split="train")
    with (folder / "captions.jsonl").open("a") as file:
        file.write(json.dumps({"video": "3.mp4", "caption": "c", "split": "test"}) + "\n")
    loaded = load(held_out=0.2)
    assert list(loaded) == ["train", "validation", "test"]
    assert loaded["test"]["caption"] == ["c"]
    assert len(loaded["train"]) + len(loaded["validation"]) == 40


def test_what_is_held_out_is_told(folder):
    captions_of(folder, 3)
    config = VideoFolder.complete_config("retrieval", folder, {"held_out": 0.15})
    assert "has no split validation and no split test: of its 3 training videos 1 for validation and 1 for test" in (
        VideoFolder.describe_splits(config)
    )
    assert VideoFolder.describe_splits(VideoFolder.complete_config("retrieval", folder, {})) == ""


def test_too_few_videos_and_too_large_shares_are_refused(folder, load):
    captions_of(folder, 2)
    with pytest.raises(ValueError, match="no split validation and no split test, and 2 training videos are too few"):
        load(held_out=0.15)
    with pytest.raises(ValueError, match="`held_out` from 0 to below 0.5, got 0.5"):
        load(held_out=0.5)


def test_split_folders_and_videos_beside_the_captions(folder, load):
    for name, video in (("train", "a.mp4"), ("val", "videos/b.mp4"), ("test", "c.mp4")):
        touch(folder / name, "videos/a.mp4" if name == "train" else video)
        write_lines(folder / name / "captions.jsonl", {"video": video, "caption": f"from {name}"})
    loaded = load("retrieval")
    assert list(loaded) == ["train", "validation", "test"]
    assert loaded["train"][0]["video"] == str(folder / "train/videos/a.mp4")
    assert loaded["validation"][0]["video"] == str(folder / "val/videos/b.mp4")
    assert loaded["test"][0]["video"] == str(folder / "test/c.mp4")
    assert load("retrieval", split="validation")["caption"][:] == ["from val"]


def test_a_split_column(folder, load):
    touch(folder, "a.mp4", "b.mp4")
    lines = [
        {"video": "a.mp4", "caption": "one", "split": "train"},
        {"video": "b.mp4", "caption": "two", "split": "test"},
        {"video": "a.mp4", "caption": "three", "split": "train"},
        {"video": "b.mp4", "caption": "four", "split": "val"},
    ]
    write_lines(folder / "captions.jsonl", *lines)
    assert {split: rows["caption"][:] for split, rows in load().items()} == {
        "train": ["one", "three"],
        "validation": ["four"],
        "test": ["two"],
    }
    write_lines(folder / "captions.jsonl", *lines, {"video": "a.mp4", "caption": "five"})
    with pytest.raises(AnnotationError, match=r"captions\.jsonl, line 5: expected a column 'split'"):
        load()
    write_lines(folder / "captions.jsonl", *lines, {"video": "a.mp4", "caption": "five", "split": "dev2"})
    with pytest.raises(AnnotationError, match="line 5: expected 'split' to be train, validation or test, got 'dev2'"):
        load()


def test_ambiguous_layouts_are_refused(folder, load):
    line = {"video": "a.mp4", "caption": "one"}
    write_lines(folder / "captions.jsonl", line)
    write_lines(folder / "test/captions.jsonl", line)
    with pytest.raises(ValueError, match="either in .* or in its split folders"):
        load()
    (folder / "captions.jsonl").unlink()
    write_lines(folder / "test/captions.csv", "video,caption", "a.mp4,one")
    with pytest.raises(ValueError, match="one file for the split 'test', got .*captions.jsonl and .*captions.csv"):
        load()
    (folder / "test/captions.csv").unlink()
    write_lines(folder / "test/captions.jsonl", {**line, "split": "train"})
    with pytest.raises(AnnotationError, match="line 1: expected the split of its folder, 'test', got 'train'"):
        load()


def test_csv(folder, load):
    touch(folder, "a.mp4")
    (folder / "captions.csv").write_bytes('\ufeffvideo,caption\r\na.mp4,"a dog, running"\r\na.mp4,café\r\n'.encode())
    assert load()["train"]["caption"][:] == ["a dog, running", "café"]
    (folder / "captions.csv").unlink()
    write_lines(
        folder / "questions.csv",
        "video,question,answer,options,answer_type",
        "a.mp4,what runs?,dog,,what",
        'a.mp4,what next?,sit,"[""run"", ""sit""]",',
    )
    rows = load("qa")["train"].to_list()
    assert [row["options"] for row in rows] == [[], ["run", "sit"]]
    assert [row["answer_index"] for row in rows] == [None, 1]
    write_lines(folder / "questions.csv", "video,question,answer", "a.mp4,what runs?,dog", "a.mp4,what next?")
    with pytest.raises(
        AnnotationError, match=r"questions\.csv, line 3: expected the 3 columns \[.video., .question., .answer.\]"
    ):
        load("qa")


def test_questions(folder, load):
    touch(folder, "a.mp4")
    write_lines(
        folder / "questions.jsonl",
        {"video": "a.mp4", "question": "what runs?", "answer": "dog", "answer_type": "what", "question_id": 12},
        {"video": "a.mp4", "question": "how many?", "answer": 3, "answer_type": "count"},
        {"video": "a.mp4", "question": "what next?", "answer": "sit", "options": ["run", "sit", "lie"]},
        {"video": "a.mp4", "question": "what next?", "answer": 2, "options": ["sit", "sit", "lie"]},
    )
    rows = load()["train"].to_list()
    assert rows[0] == {
        "video_id": "a.mp4",
        "video": str(folder / "a.mp4"),
        "question": "what runs?",
        "answer": "dog",
        "options": [],
        "answer_index": None,
        "answer_type": "what",
        "question_id": "12",
    }
    assert [(row["answer"], row["answer_index"]) for row in rows] == [
        ("dog", None),
        ("3", None),
        ("sit", 1),
        ("lie", 2),
    ]


def test_moments(folder, load):
    touch(folder, "a.mp4")
    write_lines(
        folder / "moments.jsonl",
        {"video": "a.mp4", "caption": "the dog stops", "start_s": 1.5, "end_s": 3, "duration_s": 4.0},
        {"video": "a.mp4", "caption": "the dog sits", "start_s": 0, "end_s": 1},
    )
    rows = load()["train"].to_list()
    assert [(row["start_s"], row["end_s"], row["duration_s"]) for row in rows] == [(1.5, 3.0, 4.0), (0.0, 1.0, None)]


def test_moments_with_short_names_and_several_windows(folder, load):
    touch(folder, "a.mp4")
    line = {"video": "a.mp4", "query": "the dog stops", "start": 1.5, "end": 3, "duration": 9, "question_id": 7}
    write_lines(folder / "moments.jsonl", line, {**line, "start": 5, "end": 6}, {**MOMENT, "moment_id": "x"})
    rows = load()["train"].to_list()
    times = [(row["caption"], row["start_s"], row["end_s"], row["duration_s"]) for row in rows]
    assert times == [("the dog stops", 1.5, 3.0, 9.0), ("the dog stops", 5.0, 6.0, 9.0), ("a dog", 0.0, 1.0, None)]
    assert [row["question_id"] for row in rows] == ["7", "7", "x"]


@pytest.mark.parametrize("name", ["styles.json", "styles.txt"])
def test_moments_of_any_folder_in_the_layouts_of_activitynet_and_charades(name, folder, load):
    touch(folder, "clips/a.b.mkv", "clips/c.mp4")
    if name == "styles.json":
        entry = {"duration": 3.2, "timestamps": [[0, 1], [1.5, 3.5]], "sentences": ["It stops.", " It runs."]}
        (folder / name).write_text(json.dumps({"a.b": entry, "c.mp4": {**entry, "timestamps": [[2, 3], [0, 2]]}}))
    else:
        write_lines(
            folder / name, "a.b 0 1##It stops.", "a.b 1.5 3.2##It runs.", "c 2 3##It stops.", "c 0 2##It runs."
        )
    rows = load("moments", file=name)["train"].to_list()
    assert [(Path(row["video"]).name, row["start_s"], row["end_s"]) for row in rows] == [
        ("a.b.mkv", 0.0, 1.0),
        ("a.b.mkv", 1.5, 3.2),
        ("c.mp4", 2.0, 3.0),
        ("c.mp4", 0.0, 2.0),
    ]
    assert {row["duration_s"] for row in rows} == ({3.2} if name == "styles.json" else {None})
    broken = {"a": {"duration": 3, "timestamps": [[2, 1]], "sentences": ["It stops."]}}
    (folder / name).write_text(json.dumps(broken) if name == "styles.json" else "a 2 1##It stops.\n")
    place = r"a\[0\]" if name == "styles.json" else "line 1"
    with pytest.raises(AnnotationError, match=rf"styles\.\w+, {place}: expected 0 <= start_s < end_s"):
        load("moments", file=name)


def test_moments_of_the_real_clips_in_both_layouts(data_dir, tmp_path):
    annotations = data_dir / "annotations/tiny_clips"
    (tmp_path / "clips").mkdir()
    for name, clip in json.loads((annotations / "clips.json").read_text()).items():
        (tmp_path / "clips" / (name + Path(clip["file"]).suffix)).symlink_to(data_dir / clip["file"])
    arguments = {"data_dir": annotations, "video_dir": tmp_path / "clips"}
    styles = [
        load_benchmark("video_folder", "moments", split="train", file=file, cache_dir=str(tmp_path), **arguments)
        for file in ("moments_charades_style.txt", "moments_activitynet_style.json")
    ]
    charades, anet = ({(row["video"], row["start_s"], row["end_s"]) for row in rows} for rows in styles)
    assert charades == anet and len(charades) == 52
    assert all(Path(video).is_file() for video, *_ in charades)


GOOD = {"video": "a.mp4", "caption": "a dog"}
ASKED = {"video": "a.mp4", "question": "what?", "answer": "dog"}
MOMENT = {"video": "a.mp4", "caption": "a dog", "start_s": 0, "end_s": 1}


@pytest.mark.parametrize(
    "name, line, expected",
    [
        (
            "captions",
            '{"video": "a.mp4", "caption": "a dog"',
            r"one JSON object a line.*delimiter at column 38\)",
        ),
        ("captions", '["a.mp4", "a dog"]', "expected a JSON object .* got list"),
        ("captions", {"caption": "a dog"}, "expected a column 'video', got 'caption'"),
        ("captions", {"video": "a.mp4", "text": "a dog"}, "expected a column 'caption', got 'video', 'text'"),
        ("captions", {"video": 3, "caption": "a dog"}, "expected 'video' to be a non-empty str, got 3"),
        ("captions", {"video": "a.mp4", "caption": " "}, "expected 'caption' to be a non-empty str or list, got ' '"),
        ("captions", {"video": "a.mp4", "caption": None}, "'caption' to be a non-empty str or list, got None"),
        ("captions", {"video": "a.mp4", "caption": []}, r"'caption' to be a non-empty str or list, got \[\]"),
        ("captions", {"video": "a.mp4", "caption": ["a dog", 3]}, "expected 'caption' to be a non-empty text, got 3"),
        (
            "captions",
            {**GOOD, "caption_id": "train-1"},
            "every 'caption_id' once, got 'train-1' as in captions.jsonl, line 1",
        ),
        ("captions", {**GOOD, "video": "../secret.mp4"}, "a path inside the folder, got '../secret.mp4'"),
        ("captions", {**GOOD, "video": "deep/../../secret.mp4"}, "a path inside the folder"),
        ("captions", {**GOOD, "video": "/etc/passwd"}, "a path inside the folder"),
        ("captions", {**GOOD, "video": "C:\\secret.mp4"}, "a path inside the folder"),
        ("captions", {**GOOD, "video": "..\\secret.mp4"}, "a path inside the folder"),
        ("captions", {**GOOD, "video": "a\0.mp4"}, "a path inside the folder"),
        ("captions", {**GOOD, "video": "."}, "a path inside the folder"),
        ("questions", {"video": "a.mp4", "question": "what?"}, "expected a column 'answer'"),
        ("questions", {**ASKED, "question": ""}, "expected 'question' to be a non-empty str"),
        ("questions", {**ASKED, "answer": True}, "expected 'answer' to be a non-empty str or int, got True"),
        ("questions", {**ASKED, "options": ["cat", "cow"]}, "'answer' to be exactly one of the options .* got 'dog'"),
        ("questions", {**ASKED, "options": ["dog", "dog"]}, "'answer' to be exactly one of the options"),
        ("questions", {**ASKED, "options": ["dog"]}, "'options' to be at least two texts"),
        ("questions", {**ASKED, "options": ["dog", None]}, "'options' to be at least two texts"),
        ("questions", {**ASKED, "options": "dog, cat"}, "'options' to be a JSON list"),
        ("questions", {**ASKED, "options": {"dog": 1}}, "'options' to be a list of texts"),
        ("questions", {**ASKED, "answer": 2, "options": ["dog", "cat"]}, "a position from 0 to 1, got 2"),
        ("moments", {**MOMENT, "start_s": 2}, "0 <= start_s < end_s in seconds, got 2.0 and 1.0"),
        ("moments", {**MOMENT, "start_s": -1}, "0 <= start_s < end_s"),
        ("moments", {**MOMENT, "end_s": "soon"}, "expected 'end_s' to be a number, got 'soon'"),
        (
            "moments",
            '{"video": "a.mp4", "caption": "a dog", "start_s": 0, "end_s": NaN}',
            "'end_s' to be a number, got nan",
        ),
        *(("moments", {**MOMENT, "end_s": value}, "'end_s' to be a number") for value in ("1_0", "\u0663", 10**400)),
        ("captions", '{"video": "a.mp4", "caption": "a dog \\ud83d"}', r"'caption' to be text, got the character"),
        ("captions", '{"video": "a.mp4", "caption": "a \\u0000 dog"}', r"'caption' to be text, got the character"),
        ("captions", '{"video": "a.mp4", "caption": "a dog", "video_id": "\\udc00"}', r"'video_id' to be text"),
        ("captions", '{"video": "a.mp4", "caption": ' + "[" * 10**5, "too deep in each other"),
        ("captions", '{"video": "a.mp4", "caption": "a dog", "n": ' + "9" * 5000 + "}", "one JSON object a line"),
        ("moments", {**MOMENT, "end_s": 9, "duration_s": 5}, "end_s within the video of 5.0 s, got 9.0"),
    ],
)
def test_malformed_lines_are_named(folder, load, name, line, expected):
    touch(folder, "a.mp4")
    write_lines(folder / f"{name}.jsonl", {"captions": GOOD, "questions": ASKED, "moments": MOMENT}[name], "", line)
    with pytest.raises(AnnotationError, match=rf"data/{name}\.jsonl, line 3: .*{expected}"):
        load()


def test_bytes_that_are_no_text_are_named(folder, load):
    for text in (b'{"video": "a.mp4", "caption": "caf\xe9"}\n', '{"video": "a.mp4"}\n'.encode("utf-16")):
        for name in ("captions.jsonl", "captions.csv"):
            (folder / name).write_bytes(text)
            with pytest.raises(AnnotationError, match="line 1: expected UTF-8, got (b|UTF-16)"):
                load()
            (folder / name).unlink()


def test_lines_of_other_systems(folder, load):
    """A byte order mark in joined files, empty lines, CR LF, line ends that are none; controls stay out of messages."""
    touch(folder, "a.mp4", "b\x1b.mp4")
    first, second = ({"video": "a.mp4", "caption": "a\u2028dog"}, {"video": "b\x1b.mp4", "caption": "a\x85cat"})
    lines = [json.dumps(line, ensure_ascii=False).encode("utf-8-sig") for line in (first, second)]
    (folder / "captions.jsonl").write_bytes(b"\xef\xbb\xbf\r\n" + lines[0] + b"\r\n \r\n\r\n" + lines[1])
    rows = load(split="train")
    assert rows["caption"][:] == ["a\u2028dog", "a\x85cat"] and rows["video_id"][1] == "b\x1b.mp4"
    write_lines(folder / "\x1b[2J\u202e.jsonl", {"video": "a.mp4", "caption": ""})
    with pytest.raises(AnnotationError) as caught:
        load("retrieval", file="\x1b[2J\u202e.jsonl")
    assert str(caught.value).isprintable()


def test_a_named_file_may_end_in_capitals(folder, load):
    touch(folder, "a.mp4")
    write_lines(folder / "TEXTS.JSONL", {"video": "a.mp4", "caption": "a dog"})
    assert load("retrieval", file="TEXTS.JSONL", split="train")["caption"][:] == ["a dog"]
    (folder / "TEXTS.TXT").touch()
    with pytest.raises(ValueError, match=r"`file` to end in \.csv, \.json, \.jsonl, got 'TEXTS\.TXT'"):
        load("retrieval", file="TEXTS.TXT")


NAMES = {  # as annotated: as the file is called
    "videos\\deep\\a.mp4": "videos/deep/a.mp4",
    ".\\deep/a.mp4": "deep/a.mp4",
    "./deep//a.mp4": "deep/a.mp4",
    unicodedata.normalize("NFC", "ch\u00f3.mp4"): unicodedata.normalize("NFD", "ch\u00f3.mp4"),
    unicodedata.normalize("NFD", "\u00fcber/\uac01.mp4"): unicodedata.normalize("NFC", "\u00fcber/\uac01.mp4"),
    "a.mp4": "a.MP4",
    "a.AVI": "a.avi",
    "a\\b.mp4": "a\\b.mp4",
}


@pytest.mark.parametrize("annotated, there", NAMES.items(), ids=ascii)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["beside", "video_dir"])
def test_names_of_other_systems(folder, load, tmp_path, annotated, there, elsewhere):
    """Each name finds its file, also one that comes later, and the id stays as written."""
    write_lines(folder / "captions.jsonl", {"video": annotated, "caption": "a dog"})
    options = {"video_dir": str(tmp_path / "elsewhere")} if elsewhere else {}
    root = tmp_path / "elsewhere" if elsewhere else folder
    root.mkdir(exist_ok=True)
    row = load(split="train", on_missing="keep", **options)[0]
    assert row["video_id"] == annotated and not Path(row["video"]).is_file()
    touch(root, there, "._a.mp4")
    assert load(split="train", **options)[0]["video"] == str(root / there)


def test_letters_in_upper_case_are_other_names(folder, load):
    """YouTube ids differ in case alone: `aB.mp4` is not `ab.mp4`, on any system."""
    touch(folder, "ab.mp4")
    write_lines(folder / "captions.jsonl", {"video": "aB.mp4", "caption": "a dog"})
    with pytest.raises(FileNotFoundError, match="aB.mp4"):
        load()


def test_missing_videos_stop_the_loading_or_are_counted(folder, load, caplog):
    touch(folder, "here.mp4")
    (folder / "folder.mp4").mkdir()
    lines = [GOOD | {"video": name} for name in ("here.mp4", "gone.mp4", "here.mp4", "far/away.mp4", "folder.mp4")]
    write_lines(folder / "train/captions.jsonl", *lines[:4])
    shutil.move(folder / "here.mp4", folder / "train/here.mp4")
    write_lines(folder / "test/captions.jsonl", lines[0], lines[1])
    shutil.copy(folder / "train/here.mp4", folder / "test/here.mp4")
    with pytest.raises(UnusableVideosError, match="5 videos: 3 missing, 0 broken") as caught:
        load()
    assert caught.value.report.missing == [
        str(folder / name) for name in ("train/gone.mp4", "train/far/away.mp4", "test/gone.mp4")
    ]
    assert "train/far/away.mp4" in str(caught.value) and 'on_missing="skip"' in str(caught.value)
    with caplog.at_level(logging.WARNING):
        loaded = load(on_missing="skip")
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 2, "test": 1}
    assert "video_folder/retrieval train: dropped 2 of 4 rows. 3 videos: 2 missing" in caplog.text
    assert "video_folder/retrieval test: dropped 1 of 2 rows." in caplog.text
    (folder / "test/here.mp4").unlink()
    with pytest.raises(UnusableVideosError, match="test: none of its videos can be used"):
        load(on_missing="skip")


def test_a_folder_is_not_a_video(folder, load):
    (folder / "a.mp4").mkdir()
    write_lines(folder / "captions.jsonl", GOOD)
    with pytest.raises(FileNotFoundError, match="1 missing"):
        load()


def test_presence_is_looked_up_again_although_rows_are_cached(folder, load):
    touch(folder, "a.mp4")
    write_lines(folder / "captions.jsonl", GOOD)
    assert len(load()["train"]) == 1
    (folder / "a.mp4").unlink()
    with pytest.raises(UnusableVideosError):
        load()


def test_changed_annotations_do_not_meet_an_old_cache(folder, load):
    touch(folder, "a.mp4")
    write_lines(folder / "captions.jsonl", GOOD)
    assert load()["train"]["caption"][:] == ["a dog"]
    state = os.stat(folder / "captions.jsonl")
    write_lines(folder / "captions.jsonl", GOOD | {"caption": "a cat"})
    os.utime(folder / "captions.jsonl", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert load()["train"]["caption"][:] == ["a cat"]
    touch(folder, "videos/a.mp4")  # videos moved into a folder of their own
    assert load()["train"]["video"][:] == [str(folder / "videos/a.mp4")]


def test_videos_elsewhere(folder, load, tmp_path, monkeypatch):
    touch(tmp_path / "movies", "a.mp4")
    write_lines(folder / "captions.jsonl", GOOD)
    with pytest.raises(UnusableVideosError, match="data/a.mp4"):
        load()
    assert load(video_dir=tmp_path / "movies")["train"][0]["video"] == str(tmp_path / "movies/a.mp4")
    monkeypatch.chdir(tmp_path)
    assert load(video_dir="movies")["train"][0]["video"] == str(tmp_path / "movies/a.mp4")


def test_linked_video_folders_are_followed(folder, load, tmp_path):
    touch(tmp_path / "big_disk", "a.mp4")
    (folder / "videos").symlink_to(tmp_path / "big_disk")
    write_lines(folder / "captions.jsonl", GOOD)
    assert load()["train"][0]["video"] == str(folder / "videos/a.mp4")


def test_an_empty_or_absent_file(folder, load):
    with pytest.raises(ValueError, match="no config was named; choose one of\n  retrieval: captions.jsonl"):
        load()
    with pytest.raises(FileNotFoundError, match="No captions.jsonl or captions.csv in .*data or in its split folders"):
        load("retrieval")
    write_lines(folder / "captions.jsonl")
    with pytest.raises(ValueError, match="captions.jsonl holds no record"):
        load()


@pytest.fixture
def mixed(folder, write_video) -> Path:
    """Two good videos, one that is no video, one that is empty, one cut short, one absent."""
    for name in ("one.mp4", "two.mp4", "cut.mp4"):
        write_video(folder / name, num_frames=8)
    (folder / "text.mp4").write_text("this is no video")
    (folder / "empty.mp4").touch()
    (folder / "cut.mp4").write_bytes((folder / "cut.mp4").read_bytes()[:300])
    names = ("one", "two", "text", "empty", "cut", "gone", "one")
    write_lines(folder / "captions.jsonl", *({"video": f"{name}.mp4", "caption": f"a {name}"} for name in names))
    return folder


def test_check_videos_reports_what_cannot_be_opened(mixed, tmp_path, monkeypatch):
    names = ["one", "two", "text", "empty", "cut", "gone", "one"]
    paths = [str(mixed / f"{name}.mp4") for name in names]
    report = check_videos(paths, cache_file=tmp_path / "checks.json", progress=False)
    assert report.total == 6
    assert report.missing == [str(mixed / "gone.mp4")]
    assert list(report.broken) == [str(mixed / f"{name}.mp4") for name in ("text", "empty", "cut")]
    assert str(report).startswith("6 videos: 1 missing, 3 broken\n")
    assert all(path in str(report) for path in report.unusable)
    monkeypatch.chdir(mixed)
    report = check_videos(["one.mp4", "gone.mp4", "text.mp4"], cache_file=tmp_path / "checks.json", progress=False)
    assert (report.missing, list(report.broken)) == (["gone.mp4"], ["text.mp4"])


def test_check_videos_remembers_until_a_file_changes(mixed, write_video, tmp_path, monkeypatch):
    import clipbert.processing.decoding

    opened = []
    read_video_metadata = clipbert.processing.decoding.read_video_metadata
    monkeypatch.setattr(
        "clipbert.processing.decoding.read_video_metadata",
        lambda path: opened.append(path) or read_video_metadata(path),
    )
    paths = [str(mixed / f"{name}.mp4") for name in ("one", "text", "two")]
    first = check_videos(paths, cache_file=tmp_path / "checks.json", progress=False)
    assert opened == paths
    assert check_videos(paths, cache_file=tmp_path / "checks.json", progress=False) == first
    assert opened == paths
    write_video(mixed / "text.mp4", num_frames=4)
    assert not check_videos(paths, cache_file=tmp_path / "checks.json", progress=False).broken
    assert opened == [*paths, paths[1]]
    monkeypatch.setattr("av.__version__", "0.0")  # another FFmpeg may judge otherwise
    check_videos(paths, cache_file=tmp_path / "checks.json", progress=False)
    assert opened == [*paths, paths[1], *paths]


def test_an_interrupted_check_goes_on_where_it_stopped(mixed, tmp_path, monkeypatch):
    import clipbert.processing.decoding

    opened = []
    read_video_metadata = clipbert.processing.decoding.read_video_metadata

    def stop_at_the_second(path):
        opened.append(path)
        if len(opened) == 2:
            raise KeyboardInterrupt
        return read_video_metadata(path)

    monkeypatch.setattr(clipbert.processing.decoding, "read_video_metadata", stop_at_the_second)
    paths = [str(mixed / "one.mp4"), str(mixed / "two.mp4")]
    with pytest.raises(KeyboardInterrupt):
        check_videos(paths, cache_file=tmp_path / "checks.json", progress=False)
    check_videos(paths, cache_file=tmp_path / "checks.json", progress=False)
    assert opened == [paths[0], paths[1], paths[1]]


def test_broken_videos_stop_the_loading_or_are_dropped(mixed, load, caplog):
    assert len(load(on_missing="skip")["train"]) == 6  # broken files go unnoticed unless they are looked for
    with pytest.raises(UnusableVideosError, match="6 videos: 1 missing, 3 broken"):
        load(on_missing="skip", on_broken="error")
    with caplog.at_level(logging.WARNING):
        rows = load(on_missing="skip", on_broken="skip", split="train")
    assert rows["caption"][:] == ["a one", "a two", "a one"]
    assert "dropped 4 of 7 rows. 6 videos: 1 missing, 3 broken" in caplog.text
    # a DatasetDict is fine too
    report = check_videos(load(on_missing="skip"), cache_file=mixed / "checks.json", progress=False)
    assert (report.total, len(report.missing), len(report.broken)) == (5, 0, 3)


def test_unknown_ways_to_treat_videos_are_refused(folder, load):
    touch(folder, "a.mp4")
    write_lines(folder / "captions.jsonl", GOOD)
    with pytest.raises(ValueError, match="`on_missing` to be one of error, skip, keep, got 'ignore'"):
        load(on_missing="ignore")
    with pytest.raises(ValueError, match="`on_broken` to be one of unchecked, error, skip, got 'drop'"):
        load(on_broken="drop")


# --------------------------------------------------------------------------------------------------------------------
# Classes
# --------------------------------------------------------------------------------------------------------------------


def labels_of(rows) -> list[str]:
    return rows.features["label"].int2str(rows["label"][:])


def test_labels_with_splits_and_groups(folder, load):
    touch(folder, "a.mp4", "b.mp4", "clips/v_Run_g01_c02.avi", "d.mp4")
    lines = [
        "video,label,split,group",
        "a.mp4,sleeping,train,film 1",
        "b.mp4,running,train,",
        "clips/v_Run_g01_c02.avi,running,val,",
        "d.mp4,sleeping,test,film 2",
    ]
    write_lines(folder / "labels.csv", *lines)
    loaded = load()
    assert list(loaded) == ["train", "validation", "test"]
    first = {"video_id": "a.mp4", "video": str(folder / "a.mp4"), "label": 1, "recording": "film 1"}
    assert loaded["train"].to_list()[0] == first and loaded["train"]["recording"][:] == ["film 1", None]
    assert loaded["validation"]["recording"][:] == ["Run_g01"]  # as the name has it
    assert loaded["test"].features["label"].names == ["running", "sleeping"]  # by alphabet
    as_json = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    (folder / "labels.csv").unlink()
    write_lines(folder / "labels.jsonl", *as_json)
    assert load("classification")["train"].to_list() == loaded["train"].to_list()


def test_labels_with_the_columns_of_top5(folder, load):
    touch(folder, "deep/a.avi", "b.avi")
    write_lines(folder / "classification.csv", "video_name,tag", "deep/a.avi,arm wrestling", "b.avi,Punch")
    rows = load("classification", file="classification.csv", split="train")
    assert labels_of(rows) == ["arm wrestling", "Punch"] and rows["video"][1] == str(folder / "b.avi")


def test_the_real_clips_with_their_classes(data_dir, tmp_path):
    listed = data_dir / "annotations" / "tiny_clips"
    fields = {"file": "classification.csv", "video_dir": data_dir / "videos", "cache_dir": str(tmp_path)}
    rows = load_benchmark("video_folder", "classification", data_dir=listed, split="train", **fields)
    assert "CricketShot" in labels_of(rows) and all(Path(path).is_file() for path in rows["video"])


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_folders_by_split_and_class(folder, load, validation):
    touch(folder, "train/run/a.mp4", "train/run/deep/b.webm", "train/sleep/a.mp4")
    touch(folder, f"{validation}/run/a.mp4", f"{validation}/sleep/c.mp4", "test/sleep/d.mp4", "train/notes.txt")
    loaded = load()
    assert {split: labels_of(rows) for split, rows in loaded.items()} == {
        "train": ["run", "run", "sleep"],
        "validation": ["run", "sleep"],
        "test": ["sleep"],
    }
    assert loaded["train"]["video_id"][:] == ["train/run/a.mp4", "train/run/deep/b.webm", "train/sleep/a.mp4"]
    assert all(Path(path).is_file() for rows in loaded.values() for path in rows["video"])
    touch(folder, "train/sleep/e.mp4")  # the table is made anew
    assert len(load(split="train")) == 4


def test_videos_beside_folders_of_classes_are_named(folder, load, caplog):
    touch(folder, "run/a.mp4", "sleep/b.mp4", "c.mp4", "d.mp4")
    assert labels_of(load(split="train")) == ["run", "sleep"]
    assert "2 of its videos lie in no folder of a class and are left out, the first is c.mp4" in caplog.text


@pytest.mark.parametrize("names", [["run/a.mp4", "run/b.mp4"], ["train/run/a.mp4", "test/run/b.mp4"]])
def test_one_folder_of_a_class_is_too_few(folder, load, names):
    touch(folder, *names)
    with pytest.raises(AnnotationError, match="expected folders of two classes at least, got 'run' alone"):
        load("classification")


def test_a_video_that_is_evaluated_is_not_trained_on_in_silence(folder, load, caplog):
    touch(folder, "a.mp4", "b.mp4")
    write_lines(folder / "labels.csv", "video,label,split", "a.mp4,x,train", "b.mp4,y,train", "b.mp4,y,test")
    assert len(load("classification")["test"]) == 1
    assert "1 of the 1 videos of 'test' are in 'train', too, the first is 'b.mp4'" in caplog.text
    assert "labels.csv, line 4" in caplog.text


def test_folders_by_class_are_divided(folder, load):
    touch(folder, *(f"{label}/{number:02}.mp4" for label in ("run", "sleep", "jump") for number in range(20)))
    touch(folder, *(f"run/v_Run_g{group:02}_c{clip:02}.avi" for group in range(10) for clip in (1, 2, 3, 4)))
    assert len(load()["train"]) == 100 and list(load()) == ["train"]
    loaded = load(held_out=0.15)
    for split in ("validation", "test"):
        counts = [labels_of(loaded[split]).count(label) for label in ("run", "sleep", "jump")]
        assert counts == [9, 3, 3]
    recordings = [set(rows["recording"]) - {None} for rows in loaded.values()]
    assert sum(map(len, recordings)) == len(set.union(*recordings)) == 10
    one = load(validation_fraction=0.2)
    assert list(one) == ["train", "validation"] and len(one["validation"]) == 20
    config = VideoFolder.complete_config("classification", folder, {"held_out": 0.15})
    told = "of its 100 training videos 15 for validation and 15 for test are held out, always the same ones, and 70 remain"
    assert told in VideoFolder.describe_splits(config)
    config = VideoFolder.complete_config("classification", folder, {"validation_fraction": 0.2})
    assert "20% of the training clips of every class are held out, in whole recordings" in VideoFolder.describe_splits(
        config
    )


def test_what_is_held_out_by_clip_leaks(folder, load, caplog):
    touch(
        folder, *(f"{label}/v_A_g{group:02}_c{clip:02}.avi" for label in "xy" for group in range(4) for clip in (1, 2))
    )
    loaded = load(held_out=0.25, validation_split="clip")
    assert [len(rows) for rows in loaded.values()] == [8, 4, 4]
    assert "held out for 'validation'" in caplog.text and "held out for 'test'" in caplog.text


def test_a_group_in_two_splits_is_a_leak(folder, tmp_path):
    touch(folder, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    lines = ["a.mp4,x,train,film 1", "b.mp4,y,train,film 2", "c.mp4,x,test,film 1", "d.mp4,y,test,film 3"]
    write_lines(folder / "labels.csv", "video,label,split,group", *lines)
    builder = build_benchmark("video_folder", "classification", folder, cache_dir=str(tmp_path / "cache"))
    report = check_benchmark(builder, level="header", memory_file=tmp_path / "memory", progress=False)
    assert "same recording film 1 in train: a.mp4; test: c.mp4" in map(str, report.leaks)


def test_classes_and_limits_of_own_videos(folder, load):
    touch(folder, *(f"train/{label}/{number}.mp4" for label in "abc" for number in range(4)))
    touch(folder, *(f"val/{label}/{number}.mp4" for label in "abc" for number in range(3)))
    loaded = load(classes=["c", "a"], max_train_per_class=2, max_val_per_class=1)
    assert {split: labels_of(rows) for split, rows in loaded.items()} == {
        "train": ["a", "a", "c", "c"],
        "validation": ["a", "c"],
    }


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["video,label", "a.mp4,x", "b.mp4,y", "a.mp4,y"],
            r"labels\.csv, line 4: .* 'a.mp4' as 'y'; it is 'x' in .*line 2",
        ),
        (
            ["video,label", "a.mp4,x", "b.mp4,y", "./a.mp4,y"],
            r"labels\.csv, line 4: expected every 'video' once, .*a.mp4' as in labels.csv, line 2",
        ),
        (["video,label", "a.mp4,x", "b.mp4,"], r"labels\.csv, line 3: expected 'label' to be a non-empty"),
        (["video,label", "a.mp4,x", "b.mp4,x"], r"labels\.csv: expected two classes at least, got 'x' alone"),
        (["video,class", "a.mp4,x"], r"labels\.csv, line 2: expected a column 'label'"),
        (
            ["video,label,split", "a.mp4,x,train", "b.mp4,y,train", "c.mp4,z,test"],
            r"labels\.csv, line 4: expected a class that has clips in the split 'train', too, got 'z' in 'test'",
        ),
    ],
)
def test_labels_that_cannot_be(folder, load, lines, message):
    touch(folder, "a.mp4", "b.mp4", "c.mp4")
    write_lines(folder / "labels.csv", *lines)
    with pytest.raises(AnnotationError, match=message):
        load("classification")


def test_videos_in_several_classes(folder, load):
    touch(folder, "a.mp4", "b.mp4", "c.mp4")
    write_lines(
        folder / "labels.csv", "video,labels,split", "a.mp4,run | bark,train", "b.mp4,run,train", "c.mp4,,test"
    )
    loaded = load("classification")
    names = loaded["train"].features["label"].feature.names
    assert (
        names == ["bark", "run"]
        and loaded["train"]["label"][:] == [[1, 0], [1]]
        and loaded["test"]["label"][:] == [[]]
    )
    (folder / "labels.csv").unlink()
    rows = [("a.mp4", ["run", "bark"], "train"), ("b.mp4", ["run"], "train"), ("c.mp4", [], "test")]
    write_lines(folder / "labels.jsonl", *({"video": v, "labels": labels, "split": s} for v, labels, s in rows))
    again = load("classification")
    assert {name: part.to_list() for name, part in again.items()} == {
        name: part.to_list() for name, part in loaded.items()
    }
    chosen = load("classification", classes=["bark"], split="train")
    assert chosen["video_id"][:] == ["a.mp4"] and chosen["label"][:] == [[0]]


def test_videos_in_several_classes_are_divided(folder, load):
    names = [f"{number:02}.mp4" for number in range(40)]
    touch(folder, *names)
    lines = [
        f"{name},{'even' if number % 2 else 'odd'}{'|third' * (number % 3 == 0)}" for number, name in enumerate(names)
    ]
    write_lines(folder / "labels.csv", "video,labels", *lines)
    for loaded in (load("classification", held_out=0.2), load("classification", validation_fraction=0.2)):
        assert sum(map(len, loaded.values())) == 40
        for rows in loaded.values():
            assert {label for labels in rows["label"] for label in labels} == {0, 1, 2}


@pytest.mark.parametrize("labels", ["x|", "x||y", "x|x", "|"])
def test_lists_of_classes_that_cannot_be(folder, load, labels):
    touch(folder, "a.mp4", "b.mp4")
    write_lines(folder / "labels.csv", "video,labels", "a.mp4,x|y", f"b.mp4,{labels}")
    with pytest.raises(
        AnnotationError, match=r"labels\.csv, line 3: expected 'labels' .* a list of different classes"
    ):
        load("classification")
    lines = [{"video": "a.mp4", "labels": ["x", "y"]}, {"video": "b.mp4", "label": "x"}]
    (folder / "labels.csv").unlink()
    write_lines(folder / "labels.jsonl", *lines)
    with pytest.raises(
        AnnotationError, match=r"labels\.jsonl, line 2: expected a column 'labels' in all lines or in none"
    ):
        load("classification")


def test_a_class_of_one_film_is_not_divided(folder, load):
    touch(folder, *(f"{number}.mp4" for number in range(6)))
    films = [f"{number}.mp4,{'xy'[number % 2]},{'one film' if number % 2 else number}" for number in range(6)]
    write_lines(folder / "labels.csv", "video,label,group", *films)
    for fields in ({"held_out": 0.2}, {"validation_fraction": 0.2}):
        with pytest.raises(
            AnnotationError, match=r"labels\.csv, line 3: .* of the class 'y' from two recordings at least"
        ):
            load(**fields)
    assert len(load(held_out=0.2, classes=["x", "y"], validation_split="clip")) == 3


def test_further_columns_are_kept(folder, load):
    touch(folder, "a.mp4", "b.mp4", "c.mp4")
    lines = [
        {"video": "a.mp4", "caption": "x", "category": "sport", "share": 1, "unread": [1]},
        {"video": "b.mp4", "caption": "y", "category": None, "share": 0.5},
        {"video": "c.mp4", "caption": "z", "share": 0.25},
    ]
    write_lines(folder / "captions.jsonl", *lines)
    rows = load(columns=["category", "share"])["train"]
    assert rows["category"][:] == ["sport", None, None] and rows["share"][:] == [1.0, 0.5, 0.25]
    assert "category" not in load()["train"].column_names
    for columns, message in (
        (["categry"], "Unknown column 'categry'; did you mean 'category'"),
        (["caption"], "rows have 'caption' already"),
        (["unread"], r"expected 'unread' of `columns` to be a text or a number, got \[1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            load(columns=columns)
    write_lines(folder / "captions.jsonl", *lines[:2], lines[2] | {"category": 3})
    with pytest.raises(
        AnnotationError, match="line 3: expected 'category' to be a text as in other lines, or null, got 3"
    ):
        load(columns=["category"])


def test_further_columns_of_tables_are_texts(folder, load):
    touch(folder, "a.mp4")
    (folder / "questions.csv").write_text("video,question,answer,level\na.mp4,what?,dog,2\n")
    assert load("qa", columns=["level"])["train"]["level"][:] == ["2"]
