# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Damaged files of every kind: each is told with its file and the line or entry, by tables and by streams alike."""

import gzip
import json
import logging
import re
import zipfile

import pytest
from retrieval_layouts import touch, write_json, write_lines, write_msrvtt

from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.building.json_entries import read_entries
from clipbert.datasets_scripts.building.media import visible_files
from clipbert.datasets_scripts.building.records import (
    AnnotationError,
    Record,
    read_csv,
    read_json,
    read_jsonl,
    read_lines,
)


@pytest.fixture(params=[False, True], ids=["table", "stream"])
def load(request, tmp_path):
    def load(name, config=None, **arguments):
        arguments = {"data_dir": tmp_path, "cache_dir": str(tmp_path.parent / "cache"), **arguments}
        splits = load_benchmark(name, config, streaming=request.param, **arguments)
        return {split: list(rows) for split, rows in splits.items()}

    return load


# --------------------------------------------------------------------------------------------------------------------
# Bytes
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reader", "name", "data", "message"),
    [
        (read_lines, "a.txt", b"one\ntwo\0\n", "a.txt, line 2: expected text, got a NUL character"),
        (read_lines, "a.txt", b"one\rtwo\r", "a.txt, line 1: expected lines that end in LF or CR LF"),
        (read_lines, "a.txt", "one\n".encode("utf-16"), "a.txt, line 1: expected UTF-8"),
        (read_csv, "a.csv", b"", "a.csv: expected a line with the names of the columns, the file is empty"),
        (read_csv, "a.csv", b"\n\n", "a.csv: expected a line with the names of the columns, the file is empty"),
        (read_csv, "a.csv", b"x,y,x\n1,2,3\n", "a.csv, line 1: expected every column once, got .'x', 'y', 'x'."),
        (read_csv, "a.csv", b"x,y\n" + b"1,2\n" * 9000 + b"3,\xff\n1,2\n", "a.csv, line 9002: expected UTF-8"),
        (read_csv, "a.csv", b'x,y\n1,2\n3,"4\n5,6\n7,8\n', "a.csv, line 3: expected a line of CSV"),
        (read_csv, "a.csv", b"x,y\r1,2\r", "a.csv, line 1: expected lines that end in LF or CR LF"),
        (read_json, "a.json", b'{"a": 1,\n"b": "\xff"}', "a.json, line 2: expected a JSON document in UTF-8"),
        (
            read_jsonl,
            "a.jsonl.gz",
            gzip.compress(b'{"a": 1}\n' * 999, mtime=0)[:-12],
            "a.jsonl.gz: expected a whole gzip file",
        ),
        (read_csv, "a.csv.gz", b"a,b\n1,2\n", "a.csv.gz: expected a whole gzip file"),
        (read_lines, "a.zip", b"PK no archive", "a.zip: expected a whole zip archive"),
    ],
)
def test_bytes_that_are_no_annotation(reader, name, data, message, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AnnotationError, match=message):
        list(reader(tmp_path / name))


def test_a_zip_with_a_broken_member(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "one two three " * 100)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[40:50] = bytes(10)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(AnnotationError, match=r"a\.zip: expected a whole zip archive"):
        list(read_lines(tmp_path / "a.zip"))


def test_line_ends_marks_and_empty_lines_make_no_difference(tmp_path):
    path = tmp_path / "a.csv"
    for data in (b"x,y\n1,2\n", b"x,y\r\n1,2\r\n", b"\xef\xbb\xbfx,y\n\n1,2", b'"x",y\n"1",2\n\n'):
        path.write_bytes(data)
        assert [record.values for record in read_csv(path)] == [{"x": "1", "y": "2"}]
    path.write_bytes(b'x,y\n"one\ntwo",2\n3,4\n')
    assert [(record.values["x"], record.line) for record in read_csv(path)] == [("one\ntwo", 3), ("3", 4)]


@pytest.mark.parametrize(
    "value", ["1_0", "nan", "inf", "1.5", "-1", "", " ", "٣", 1.5, -1, float("inf"), True, None, []]
)
def test_whole_numbers(value, tmp_path):
    record = Record({"id": value}, tmp_path / "a.json", entry="[3]")
    with pytest.raises(AnnotationError, match=r"a\.json, \[3\]: expected 'id' to be "):
        record.number("id", int)


@pytest.mark.parametrize("value", ["1_0", "nan", "-inf", "1,5", "0x1", "1e999", float("nan"), 10**400])
def test_numbers(value, tmp_path):
    record = Record({"start": value}, tmp_path / "a.csv", 7)
    with pytest.raises(AnnotationError, match=r"a\.csv, line 7: expected 'start' to be a number, got "):
        record.number("start")


def test_numbers_as_files_write_them(tmp_path):
    record = Record(dict(enumerate((" 0902 ", 7, 7.0, "1.5e1", ".5", "-2", "3."))), tmp_path, 1)
    assert [record.number(name, int) for name in range(3)] == [902, 7, 7]
    assert [record.number(name) for name in range(3, 7)] == [15.0, 0.5, -2.0, 3.0]


# --------------------------------------------------------------------------------------------------------------------
# Records that contradict each other or their file
# --------------------------------------------------------------------------------------------------------------------


def test_a_split_that_msrvtt_has_not(load, tmp_path):
    write_msrvtt(tmp_path)
    document = json.loads((tmp_path / "test_videodatainfo.json").read_text())
    document["videos"][1]["split"] = "tset"
    write_json(tmp_path / "test_videodatainfo.json", document)
    with pytest.raises(
        AnnotationError, match=r"test_videodatainfo\.json, videos\[1\]: expected 'split' to be one of tr"
    ):
        load("msrvtt", "retrieval_full")


def test_lines_and_lengths_of_charades_are_there_once(load, tmp_path, caplog):
    write_lines(tmp_path / "charades_sta_test.txt", "AAAAA 0.0 6.9##person sits.", "AAAAA 1.0 99.0##person sits.")
    assert [row["end_s"] for row in load("charades_sta", "vslnet")["test"]] == [6.9, 99.0]
    assert "no Charades_v1_test.csv lies there, ends beyond a video stay" in caplog.text
    write_lines(tmp_path / "Charades_v1_test.csv", "id,length", "AAAAA,30", "BBBBB,30", "AAAAA,31")
    with pytest.raises(AnnotationError, match=r"Charades_v1_test\.csv, line 4: expected every 'id' once"):
        load("charades_sta", "vslnet")
    (tmp_path / "Charades_v1_test.csv").unlink()
    write_lines(tmp_path / "charades_sta_test.txt", *["AAAAA 0.0 6.9##person sits."] * 2)
    with pytest.raises(AnnotationError, match=r"line 2: expected every line once, got that of line 1 again"):
        load("charades_sta", "vslnet")


@pytest.mark.parametrize(("names", "message"), [("run\nrun\n", "got 'run' 2 times"), ("", "got none")])
def test_a_list_of_classes_names_each_once(names, message, load, tmp_path):
    write_lines(tmp_path / "kinetics-400_val.csv", "label,youtube_id,time_start,time_end", "run,abcdefghijk,1,11")
    (tmp_path / "label_map_k400.txt").write_text(names)
    with pytest.raises(AnnotationError, match=rf"label_map_k400\.txt: expected the names of the classes.*{message}"):
        load("kinetics400")


def test_a_clip_belongs_to_the_class_of_its_name(load, tmp_path):
    for split, tag in (("train", "Punch"), ("test", "Pun")):
        write_lines(tmp_path / f"{split}.csv", "video_name,tag", f"v_Punch_g0{len(tag)}_c01.avi,{tag}")
    with pytest.raises(AnnotationError, match=r"test\.csv, line 2: expected v_<tag>_g"):
        load("ucf101", "top5")
    write_lines(tmp_path / "classInd.txt", "1 Archery", "2 Punch")
    write_lines(tmp_path / "testlist01.txt", "Archery/v_Punch_g01_c01.avi")
    with pytest.raises(
        AnnotationError, match=r"testlist01\.txt, line 1: expected the clip to be named after its class"
    ):
        load("ucf101", "split1")


def test_an_empty_class_of_hmdb51(load, tmp_path):
    write_lines(tmp_path / "class_list.txt", "run", "sit")
    write_lines(tmp_path / "run_test_split1.txt", "a_run_f_0.avi 1 ", "b_run_f_0.avi 2 ")
    write_lines(tmp_path / "sit_test_split1.txt")
    with pytest.raises(AnnotationError, match=r"sit_test_split1\.txt holds no clip"):
        load("hmdb51", "split1")


def test_images_of_coco_are_listed_once(load, tmp_path):
    document = {"images": [{"id": 5}, {"id": 5}], "annotations": [{"id": 1, "image_id": 5, "caption": "a cat"}]}
    write_json(tmp_path / "captions_train2014.json", document)
    with pytest.raises(AnnotationError, match=r"train2014\.json, images\[1\]: expected every image once, got 5 again"):
        load("coco_captions", "captions2014")


def test_a_line_of_msvd_that_is_none(load, tmp_path):
    clip = "mv89psg6zh4_33_46"
    write_lines(tmp_path / "AllVideoDescriptions.txt", f"{clip} a bird", "<html> no such page")
    write_lines(tmp_path / "train_list.txt", clip)
    with pytest.raises(AnnotationError, match=r"AllVideoDescriptions\.txt, line 2: expected a clip as <YouTube id>_"):
        load("msvd")


def test_clipbert_lines_that_repeat_or_lack_something(load, tmp_path):
    line = {"caption": "a dog", "clip_name": "video1", "sen_id": 4}
    write_lines(tmp_path / "train.jsonl", *map(json.dumps, (line, {**line, "sen_id": 5}, line)))
    with pytest.raises(AnnotationError, match=r"train\.jsonl, line 3: expected every 'sen_id' of a video once, got 4"):
        load("clipbert_jsonl", "msrvtt_retrieval")
    question = {"question": "what?", "image_id": 5, "question_id": 6}
    write_lines(tmp_path / "vqa_k_trainval.jsonl", json.dumps(question))
    with pytest.raises(AnnotationError, match=r"trainval\.jsonl, line 1: expected a column 'labels', got question"):
        load("clipbert_jsonl", "vqa_without_vg")
    write_lines(tmp_path / "vqa_k_trainval.jsonl", json.dumps({**question, "labels": {"a": 1}, "answer_type": 3}))
    with pytest.raises(AnnotationError, match=r"trainval\.jsonl, line 1: expected 'answer_type' to be a text, got 3"):
        load("clipbert_jsonl", "vqa_without_vg")


def test_a_page_in_place_of_narrations(load, tmp_path):
    write_lines(tmp_path / "captions/v1.csv", "start,end,text", "1,2,hello")
    write_lines(tmp_path / "captions/v2.csv", "<html><body>404</body></html>")
    with pytest.raises(AnnotationError, match=r"v2\.csv, line 1: expected columns .'start', 'end', 'text'. too"):
        load("howto100m", "per_video")


# --------------------------------------------------------------------------------------------------------------------
# Annotations without videos, and files of other names
# --------------------------------------------------------------------------------------------------------------------


def test_annotations_alone_are_loaded_with_a_warning(load, tmp_path, caplog):
    write_msrvtt(tmp_path)
    for path in sorted(tmp_path.glob("videos/*")):
        path.unlink()
    rows = load("msrvtt", "retrieval_1ka")["test"]
    assert rows[0]["video"] == str(tmp_path / "video5.mp4")
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"no video lies in {tmp_path}" in warning.message
    with pytest.raises(FileNotFoundError, match="missing"):
        load("msrvtt", "retrieval_1ka", on_missing="error")


def test_one_video_is_enough_to_miss_the_others(load, tmp_path, caplog):
    write_msrvtt(tmp_path)
    for path in sorted(tmp_path.glob("videos/*"))[1:]:
        path.unlink()
    with pytest.raises(FileNotFoundError, match='missing(?s:.*)on_missing="skip"'):
        load("msrvtt", "retrieval_1ka")
    caplog.clear()
    assert len(load("msrvtt", "retrieval_1ka", on_missing="keep")["train"]) == 8
    assert not caplog.records
    (tmp_path.parent / "elsewhere").mkdir(exist_ok=True)
    with pytest.raises(FileNotFoundError, match="missing"):  # a folder is named, so videos are expected in it
        load("msrvtt", "retrieval_1ka", video_dir=tmp_path.parent / "elsewhere")


def test_captions_as_mmaction2_has_them(load, tmp_path):
    write_json(tmp_path / "train_9k.json", {"a.mp4": ["a dog", "it runs"], "b.mp4": "a cat"})
    touch(tmp_path, "a.mp4", "b.mp4")
    rows = load("video_folder", "retrieval", file="train_9k.json")["train"]
    assert [(row["video_id"], row["caption"]) for row in rows] == [
        ("a.mp4", "a dog"),
        ("a.mp4", "it runs"),
        ("b.mp4", "a cat"),
    ]
    for document, message in (
        ([1], r"train_9k\.json: expected \{"),
        ({"a.mp4": 3}, r"train_9k\.json, a\.mp4: expected 'caption' to be a non-empty"),
        ({"a.mp4": []}, r"train_9k\.json, a\.mp4: expected 'caption' to be a non-empty"),
    ):
        write_json(tmp_path / "train_9k.json", document)
        with pytest.raises(AnnotationError, match=message):
            load("video_folder", "retrieval", file="train_9k.json")
    with pytest.raises(FileNotFoundError, match=r"`file` .*other\.json is not there"):
        load("video_folder", "retrieval", file="other.json")
    with pytest.raises(ValueError, match=r"`file` to end in \.csv, \.jsonl, got 'train_9k\.json'"):
        load("video_folder", "qa", file="train_9k.json")


# --------------------------------------------------------------------------------------------------------------------
# Names that are nearly right
# --------------------------------------------------------------------------------------------------------------------


def test_names_that_are_nearly_right(tmp_path):
    write_msrvtt(tmp_path)
    with pytest.raises(ValueError, match="Unknown benchmark 'MSRVTT'; did you mean 'msrvtt'"):
        load_benchmark("MSRVTT", data_dir=tmp_path)
    for config in ("1ka", "retreival_1ka"):
        with pytest.raises(ValueError, match="choose one of\n  retrieval_1ka: .*\n  retrieval_1ka_9k: ") as caught:
            load_benchmark("msrvtt", config, data_dir=tmp_path)
        assert "retrieval_full: " not in str(caught.value)
    with pytest.raises(ValueError, match="Unknown split .* 'val'; did you mean 'validation'"):
        load_benchmark("msrvtt", "retrieval_full", "val", tmp_path)
    with pytest.raises(ValueError, match="`validation_fraction=0.05` holds training videos out"):
        load_benchmark("msrvtt", "retrieval_1ka", "validation", tmp_path)
    with pytest.raises(ValueError, match="Expected `split` as a text"):
        load_benchmark("msrvtt", "retrieval_1ka", ["train", "test"], tmp_path)


# --------------------------------------------------------------------------------------------------------------------
# Names that lead out of the folder, and what other systems leave in it
# --------------------------------------------------------------------------------------------------------------------

ESCAPE = "../outside/secret"
ESCAPES = [  # loader, config, options, its file, its text
    ("clipbert_jsonl", "msrvtt_retrieval", {}, "train.jsonl", '{"caption": "a dog", "clip_name": "%s"}\n'),
    ("qvhighlights", "queries", {}, "highlight_train_release.jsonl", '{"qid": 1, "query": "a dog", "vid": "%s"}\n'),
    ("video_folder", "retrieval", {}, "captions.jsonl", '{"caption": "a dog", "video": "%s.mp4"}\n'),
    ("tgif_qa", "frameqa_hqga", {}, "frameqa/train.csv", "video,question,answer,qid,type\n%s,what is it,dog,1,0\n"),
    ("kinetics400", "k400", {}, "train.csv", "label,youtube_id,time_start,time_end,split\nrun,%s,0,10,train\n"),
    ("webvid", "csv_2m", {}, "results_2M_train.csv", "videoid,contentUrl,duration,page_dir,name\n%s,u,PT,p,a dog\n"),
    (
        "webvid",
        "csv_2m",
        {},
        "results_2M_train.csv",
        "videoid,contentUrl,duration,page_dir,name\nsecret,u,PT,../outside,a dog%.0s\n",
    ),
    ("howto100m", "caption", {}, "caption.json", '{"%s": {"start": [0], "end": [1], "text": ["a dog"]}}'),
]


@pytest.mark.parametrize(("name", "config", "options", "file", "text"), ESCAPES, ids=lambda value: str(value)[:16])
@pytest.mark.parametrize("escape", [ESCAPE, ESCAPE.replace("/", "\\"), "deep/../../outside/secret"])
def test_no_name_leads_out_of_the_folder(load, tmp_path, name, config, options, file, text, escape):
    """... even if a file of that name, without the folder, lies inside."""
    root = tmp_path / "data"
    for path in (tmp_path / "outside/secret.mp4", root / "videos/secret.mp4", root / file):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not decoded here")
    written = json.dumps(escape)[1:-1] if "json" in file else escape
    (root / file).write_text(text % written)
    with pytest.raises(
        AnnotationError, match=rf"{re.escape(str(root / file))}, .*(inside|within) the folder|inside {root}"
    ):
        load(name, config, data_dir=root, on_missing="keep", **options)


def test_files_that_macos_adds_are_no_data(tmp_path):
    """`._a.json` in zips, and in folders whose files are listed."""
    with zipfile.ZipFile(tmp_path / "a.json.ZIP", "w") as archive:
        for name in ("deep/a.json", "__MACOSX/deep/._a.json", "deep/._a.json", "deep/.DS_Store"):
            archive.writestr(name, '{"a": 1}' if name == "deep/a.json" else "\x00\x05\x16\x07")
    assert read_json(tmp_path / "a.json.ZIP") == {"a": 1}
    touch(tmp_path, "shards/a.TAR", "shards/._a.TAR", "shards/.DS_Store")
    assert visible_files(tmp_path / "shards", ".tar") == [tmp_path / "shards/a.TAR"]


def test_what_unpacks_to_far_more_is_refused(tmp_path):
    zeros = b" " * (17 << 20)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"[" + zeros + b"]"))
    with zipfile.ZipFile(tmp_path / "a.json.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", b"[" + zeros + b"]")
    for name in ("a.json.gz", "a.json.zip"):
        with pytest.raises(AnnotationError, match=f"{name}: refused, as it unpacks to more than 200 times its size"):
            read_json(tmp_path / name)


@pytest.mark.parametrize("text", ["[" * 50_000, '{"a": ' * 50_000, "[" * 50_000 + "]" * 50_000])
def test_brackets_within_brackets(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(AnnotationError, match=r"a\.json: expected a JSON document .*too deep in each other"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.jsonl").write_text(f'{{"a": 1}}\n{{"b": {text}}}')
    with pytest.raises(AnnotationError, match=r"a\.jsonl, line 2: .*too deep in each other"):
        list(read_jsonl(tmp_path / "a.jsonl"))
    (tmp_path / "entries.json").write_text(f'{{"v": 1, "w": {text}}}')
    with pytest.raises(AnnotationError, match=r"entries\.json, w: .*less deep in each other"):
        list(read_entries(tmp_path / "entries.json"))


@pytest.mark.parametrize(
    "value", ["1_0", "\u0661\u0662", "\uff11", "nan", "1e999", "9" * 5000, "0x10", "", True, None]
)
def test_only_decimal_numbers_are_numbers(tmp_path, value):
    record = Record({"n": value}, tmp_path / "a.csv", 3)
    for kind in (int, float):
        with pytest.raises(AnnotationError, match="a.csv, line 3: expected 'n' to be") as caught:
            record.number("n", kind)
        assert len(str(caught.value)) < 400
