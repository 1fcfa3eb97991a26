"""Metadata: which columns and values files and mappings give, by ids of videos."""

import json
import math
import os

import numpy as np
import pytest

from clipbert.datasets_scripts import load_benchmark
from clipbert.search.metadata import Metadata, read_metadata
from clipbert.search.protocols import SearchIndexError


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "collection" / "videos"
    folder.mkdir(parents=True)
    return folder


def write_lines(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_json_lines(root):
    path = write_lines(
        root / "captions.jsonl",
        {"video": "a.mp4", "caption": "a dog", "camera": "left", "stars": 5, "hours": 1, "own": True},
        {"video": "sub/e\u0301.mp4", "caption": ["a cat", "a pet"], "camera": None, "hours": 0.5, "nothing": None},
    )
    assert read_metadata(path, root) == Metadata(
        types={"caption": str, "captions": list, "camera": str, "stars": int, "hours": float, "own": bool},
        rows={
            "a.mp4": {"caption": "a dog", "captions": None}
            | {"camera": "left", "stars": 5, "hours": 1.0, "own": True},
            "sub/é.mp4": {"caption": "a cat", "captions": ["a cat", "a pet"]}
            | {"camera": None, "hours": 0.5, "nothing": None},
        },
    )
    assert type(read_metadata(str(path), str(root)).rows["a.mp4"]["hours"]) is float


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("videos/captions.jsonl", "sub/a.mp4"),
        ("videos/sub/captions.jsonl", "a.mp4"),
        ("captions.jsonl", "sub/a.mp4"),  # beside the folder videos/
        ("captions.jsonl", "videos/sub/a.mp4"),
        ("captions.jsonl", "videos\\sub\\a.mp4"),
        ("../captions.jsonl", "collection/videos/sub/a.mp4"),
        ("../elsewhere/captions.jsonl", "sub/a.mp4"),
    ],
)
def test_names_are_relative_to_the_file(root, place, name):
    path = write_lines(root.parent / place, {"video": name, "stars": 1})
    (root / "sub").mkdir(exist_ok=True)
    assert list(read_metadata(path, root).rows) == ["sub/a.mp4"]


def test_names_are_those_of_the_loader(root):
    (root / "sub").mkdir()
    names = ["a.mp4", "sub/b.mp4"]
    for name in names:
        (root / name).touch()
    for folder in (root.parent, root):
        path = write_lines(folder / "captions.jsonl", *({"video": name, "caption": name} for name in names))
        loaded = load_benchmark("video_folder", "retrieval", data_dir=folder, on_missing="keep", streaming=True)
        paths = [row["video"] for row in loaded["train"]]
        found = read_metadata(path, root)
        assert [os.path.realpath(root / video) for video in found.rows] == list(map(os.path.realpath, paths))
        path.unlink()


def test_a_root_that_is_a_link(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    (root / "a.mp4").symlink_to("b.mp4")
    path = write_lines(root / "captions.jsonl", {"video": "a.mp4"})
    assert list(read_metadata(path, tmp_path / "link").rows) == ["a.mp4"]


def test_an_address_as_root(tmp_path):
    path = write_lines(tmp_path / "captions.jsonl", {"video": "sub/a.mp4", "stars": 1})
    assert read_metadata(path, "s3://bucket/videos").rows == {"sub/a.mp4": {"stars": 1}}


def test_tables(root):
    head = ["video", "caption", "number", "share", "code", "text", "own", "long", "empty", "mixed"]
    lines = [
        ["a.mp4", "12", "-5", "1", "007", "1", "true", "9" * 25, "", "1.5"],
        ["b, c.mp4", "13", "", "0.5", "12", "x\ny", "False", "5", "", "9007199254740993"],
    ]
    rows = {
        "a.mp4": {
            "caption": "12",
            "captions": None,
            "number": -5,
            "share": 1.0,
            "code": "007",
            "text": "1",
            "own": True,
        }
        | {"long": "9" * 25, "empty": None, "mixed": "1.5"},
        "b, c.mp4": {
            "caption": "13",
            "captions": None,
            "number": None,
            "share": 0.5,
            "code": "12",
            "text": "x\ny",
            "own": False,
        }
        | {"long": "5", "empty": None, "mixed": "9007199254740993"},
    }
    types = {"caption": str, "number": int, "share": float, "code": str, "text": str, "own": bool, "long": str}
    for suffix, separator in ((".csv", ","), (".tsv", "\t"), (".CSV", ",")):
        path = root / f"table{suffix}"
        path.write_text(
            "\n".join(separator.join(f'"{cell}"' for cell in line) for line in [head, *lines]), encoding="utf-8-sig"
        )
        found = read_metadata(path, root)
        assert (found.types, found.rows) == ({**types, "mixed": str}, rows)
    (root / "empty.csv").write_text("video,stars\n")
    assert read_metadata(root / "empty.csv", root) == Metadata({}, {})


def test_mappings_and_rows(root):
    rows = {"e\u0301.mp4": {"stars": np.int64(5), "share": np.float32(0.5)}, "b/c.mp4": {"share": 2}}
    expected = Metadata(
        {"stars": int, "share": float}, {"é.mp4": {"stars": 5, "share": 0.5}, "b/c.mp4": {"share": 2.0}}
    )
    assert read_metadata(rows, root) == expected
    listed = [{"video": video, **values} for video, values in rows.items()]
    assert read_metadata(listed, root) == read_metadata(iter(listed), root) == expected
    assert read_metadata([{"video_id": "a.mp4", "stars": 1}], root).rows == {"a.mp4": {"stars": 1}}
    assert read_metadata([{"video": "a.mp4", "video_id": "7", "stars": 1}], root).rows == {"a.mp4": {"stars": 1}}


def test_several_captions_of_a_video(root):
    path = write_lines(
        root / "captions.jsonl",
        {"video": "a.mp4", "caption": "one", "caption_id": "1", "camera": "left"},
        {"video": "b.mp4", "caption": "three"},
        {"video": "a.mp4", "caption": "two", "caption_id": "2", "stars": 5},
    )
    found = read_metadata(path, root)
    several = {"caption": "one", "captions": ["one", "two"]}
    assert found.rows["a.mp4"] == several | {"caption_id": "1", "camera": "left", "stars": 5}
    assert found.rows["b.mp4"] == {"caption": "three", "captions": None} and found.types["captions"] is list
    assert read_metadata(found.rows, root).rows == found.rows  # what an index tells can be given to another
    given = {"a.mp4": {"captions": ["one", "", "two"]}, "b.mp4": {"caption": []}, "c.mp4": {"caption": None}}
    nothing = {"caption": None, "captions": None}
    assert read_metadata(given, root).rows == {"a.mp4": several, "b.mp4": nothing, "c.mp4": nothing}
    assert read_metadata({"c.mp4": {"caption": ""}, "d.mp4": {}}, root) == Metadata(
        {}, {"c.mp4": nothing, "d.mp4": {}}
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"video": "b.mp4", "x": [1]}, "line 2: expected 'x' to be a text, a number, true or false, got list"),
        ({"video": "b.mp4", "x": {"y": 1}}, "line 2: expected 'x' to be a text"),
        ({"video": "b.mp4", "x": math.nan}, "line 2: expected 'x' to be a finite number"),
        ({"video": "b.mp4", "x": -math.inf}, "line 2: expected 'x' to be a finite number"),
        ({"video": "b.mp4", "x": 2**63}, "line 2: expected 'x' to be a whole number of 64 bits"),
        ({"video": "b.mp4", "x": "y" * 10_001}, "line 2: expected 'x' to be at most 10000 characters"),
        ({"video": "b.mp4", "x": "\ud83d"}, "line 2: expected 'x' to be a text of whole Unicode"),
        ({"video": "b.mp4", "x": "a\0"}, "line 2: expected 'x' to be a text of whole Unicode"),
        ({"video": "b.mp4", "stars": "five"}, r"'stars' .* several types: int \(.*line 1\), str \(.*line 2\)"),
        ({"video": "b.mp4", "stars": True}, r"'stars' .* several types: int \(.*line 1\), bool \(.*line 2\)"),
        ({"video": "b.mp4", "big": 0.5}, "'big' has fractions elsewhere"),
        ({"video": "b.mp4", "caption": ["a", 5]}, "line 2: expected 'caption' to be a text, or a list of texts"),
        ({"video": "b.mp4", "captions": 5}, "line 2: expected 'captions' to be a text, or a list of texts"),
        ({"video": "b.mp4", "caption": ["a", "y" * 10_001]}, "line 2: expected 'caption' to be at most 10000"),
        ({"video": "b.mp4", "size": 5}, "line 2: .* cannot be called 'size': the index has a column"),
        ({"video": "b.mp4", "clip_3": 5}, "line 2: .* cannot be called 'clip_3'"),
        ({"video": "b.mp4", "x y": 5}, "line 2: .* cannot be called 'x y': expected letters"),
        ({"video": "a.mp4", "stars": 4}, "line 2: 'stars' of 'a.mp4' is 4, but 5 in .*line 1"),
        ({"video": "../../b.mp4"}, "line 2: expected a path inside the folder"),
        ({"video": "/b.mp4"}, "line 2: expected a path inside the folder"),
        ({"video": "C:\\b.mp4"}, "line 2: expected a path inside the folder"),
        ({"video": "\ud800.mp4"}, "line 2: .* expected a name in UTF-8"),
        ({"video": 5}, "line 2: expected a column 'video'"),
        ({"video": " "}, "line 2: expected a column 'video'"),
        ({"x": 5}, "line 2: expected a column 'video'"),
        ([5], "line 2: expected a JSON object"),
    ],
)
def test_lines_that_are_refused(root, line, message):
    path = write_lines(root / "captions.jsonl", {"video": "a.mp4", "stars": 5, "big": 2**53 + 1}, line)
    with pytest.raises(SearchIndexError, match=f"(?s){message}") as caught:
        read_metadata(path, root)
    str(caught.value).encode()


def test_sources_that_are_refused(root):
    (root / "broken.jsonl").write_text('{"video": "a.mp4"}\n{"video": ')
    (root / "columns.csv").write_text("video,stars\na.mp4,5,6\n")
    for source, message in [
        (root / "nothing.jsonl", "nothing.jsonl"),
        (root / "a.txt", r"ends in .jsonl, .csv, .tsv"),
        (root / "broken.jsonl", "line 2"),
        (root / "columns.csv", "line 2"),
        (5, "expected a file, a mapping or rows"),
        ([5], "row 0: expected values by column"),
        ({"a.mp4": 5}, "'a.mp4': expected values by column"),
        ({"../a.mp4": {}}, "path below the root"),
        ({"/a.mp4": {}}, "path below the root"),
        ({5: {}}, "expected a column 'video'"),
        ([{"video": "a.mp4", 5: 1}], "cannot be called '5'"),
    ]:
        with pytest.raises(SearchIndexError, match=message):
            read_metadata(source, root)
    outside = write_lines(root.parent / "other.jsonl", {"video": "videos_too/a.mp4"}).rename(
        root.parent.parent / "other.jsonl"
    )
    with pytest.raises(SearchIndexError, match="line 1: .*below the root of the collection"):
        read_metadata(outside, root)
