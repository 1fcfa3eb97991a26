# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The commands `clipbert index ...`, and `clipbert search` of an index, from a shell's point of view."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numbered_videos import write_numbered
from PIL import Image
from tiny_pipelines import CASES

from clipbert.command_line import build_parser, main
from clipbert.command_line.index import read_where
from clipbert.command_line.search import looks_like_index
from clipbert.search import VideoIndex, field
from clipbert.support.terminal import show_bytes


pytest.importorskip("lancedb")
ROOT = Path(__file__).parents[3]
MODELS = {"clipbert": "retrieval", "mug": "dual_encoder", "moments": "moments"}
NAMES = ["01.mp4", "02.mp4", 'deep/it\'s "é" [1].mp4', "deep/04.mp4", "deep/\x1b[31mred.mp4"]
BROKEN = "deep/broken.mp4"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a checkpoint of each kind."""
    folder = tmp_path_factory.mktemp("models")
    for name, case in MODELS.items():
        for part in CASES[case].build():
            part.save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Videos with names of every kind and captions, one of them broken; not to be changed."""
    folder = tmp_path_factory.mktemp("my videos")
    (folder / "deep").mkdir()
    for number, name in enumerate(NAMES):
        write_numbered(folder / name, 5 + 5 * number)
    (folder / BROKEN).write_bytes(b"no video")
    (folder / os.fsdecode(b"no utf-8 \xff.mp4")).write_bytes(b"")
    lines = [
        {"video": name, "caption": f"a dog {number}", "year": 2000 + number, "seen": number > 2}
        for number, name in enumerate(NAMES[:4])
    ]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.fixture(scope="module")
def index(tmp_path_factory, models, collection):
    """An index by both families with its captions; not to be changed."""
    folder = tmp_path_factory.mktemp("indices") / "index"
    given = ("--encoder", models / "mug", "--reranker", models / "clipbert", "--device", "cpu")
    assert main(list(map(str, ("index", "create", folder, "--videos", collection, *given)))) == 0
    assert main(list(map(str, ("index", "add", folder, "--metadata", collection / "captions.jsonl")))) == 1
    return folder


@pytest.fixture
def own(tmp_path, index, collection):
    """An index of one's own over a copy of the videos, the second one broken."""
    shutil.copytree(collection, tmp_path / "videos")
    shutil.copytree(index, tmp_path / "index")
    opened = VideoIndex.open(tmp_path / "index")
    opened.settings.root = str(tmp_path / "videos")
    opened.store.write_setting("index", opened.settings.to_bytes())
    return tmp_path / "index", tmp_path / "videos"


def ids_of(index):
    return VideoIndex.open(index).to_dataset(["video_id"])["video_id"]


# ---------------------------------------------------------------------------------------------------------------------
# What becomes of videos
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_create_and_add_tell_what_is_there_and_what_it_takes(clipbert, models, collection, tmp_path, monkeypatch):
    monkeypatch.chdir(models)
    index = tmp_path / "my index"
    create = ("index", "create", index, "--videos", collection, "--encoder", "clipbert", "--num_clips", "3")
    code, (made,), notes = clipbert(*create)
    size = VideoIndex.open(index).bytes_per_segment()
    assert code == 0 and made == {"index": str(index), "videos": 6, "bytes_per_segment": size}
    assert f"at least 6 segments of {show_bytes(size)}: {show_bytes(6 * size)}" in notes
    assert f"next: clipbert index add '{index}'" in notes
    assert "no utf-8 \\udcff.mp4: expected a name in UTF-8" in notes

    monkeypatch.chdir(tmp_path)  # the model is found from elsewhere
    code, (report,), notes = clipbert("index", "add", index, collection / "01.mp4", collection / "02.mp4")
    assert code == 0 and report["added"] == ["01.mp4", "02.mp4"] and report["num_segments"] == 2
    first, last = notes.splitlines()
    assert first.startswith("clipbert: to encode: 2 videos, at least 2 segments of ") and "2 added" in last
    assert VideoIndex.open(index).reranker.parts_shape[0] == 3

    code, (report,), notes = clipbert("index", "add", index, "--batch_size", "2")
    assert code == 1 and len(report["added"]) == 3 and report["unchanged"] == ["01.mp4", "02.mp4"]
    assert set(report["failed"]) == {BROKEN} and f"Cannot decode {collection / BROKEN}" in notes
    assert sorted(ids_of(index)) == sorted(NAMES)
    code, (report,), notes = clipbert("index", "add", index)  # what failed is named again, and not tried
    assert code == 1 and set(report["failed"]) == {BROKEN} and "to encode" not in notes
    assert clipbert(*create)[0] == 2


def test_too_many_that_cannot_be_read_end_it(clipbert, models, tmp_path):
    (tmp_path / "videos").mkdir()
    for name in "abc":
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(b"no video")
    index = tmp_path / "index"
    assert clipbert("index", "create", index, "--videos", tmp_path / "videos", "--encoder", models / "mug")[0] == 0
    code, rows, notes = clipbert("index", "add", index, "--max_decode_error_rate", "0.4")
    assert (code, rows) == (2, []) and "2 of 3 videos cannot be read" in notes
    code, (report,), _ = clipbert("index", "add", index, "--retry_failed", "--max_decode_error_rate", "0.4")
    assert code == 1 and len(report["failed"]) == 3  # those that are tried again are no news
    code, (stats,), _ = clipbert("index", "stats", index, "--failed")
    assert code == 0 and set(stats["failures"]) == {"a.mp4", "b.mp4", "c.mp4"} and stats["failed"] == 3


def test_update_follows_the_files(clipbert, own):
    index, videos = own
    (videos / "01.mp4").rename(videos / "renamed.mp4")
    (videos / "02.mp4").unlink()
    code, (report,), notes = clipbert("index", "update", index)
    assert code == 1 and (report["moved"], report["missing"], report["removed"]) == (["renamed.mp4"], ["02.mp4"], [])
    assert f"clipbert index update {index} --prune" in notes and report["num_segments"] == 0
    (videos / BROKEN).unlink()
    (videos / "captions.csv").write_text("video,year\nrenamed.mp4,1999\nnowhere.mp4,3\n")
    code, (report,), notes = clipbert("index", "update", index, "--prune", "--metadata", videos / "captions.csv")
    assert code == 0 and report["removed"] == ["02.mp4"] and report["without_video"] == ["nowhere.mp4"]
    assert "nowhere.mp4" in notes
    assert VideoIndex.open(index).store.count(field("year") == 1999) == 1
    code, (report,), notes = clipbert("index", "update", index)
    assert code == 0 and len(report["unchanged"]) == 4 and "4 unchanged" in notes


def test_other_models_encode_all_again(clipbert, own, models, collection, tmp_path):
    index, videos = own
    other = tmp_path / "other"
    shutil.copytree(models / "mug", other)
    processor = json.loads((other / "processor_config.json").read_text())
    processor["video_processor"]["num_frames"] = 2
    (other / "processor_config.json").write_text(json.dumps(processor))
    code, _, errors = clipbert("search", index, "a dog", "--encoder", other)
    assert code == 2 and f"clipbert index update {index} --reencode --encoder {other}" in errors
    (videos / "02.mp4").unlink()
    code, (report,), notes = clipbert("index", "update", index, "--reencode", "--encoder", other)
    assert code == 1 and len(report["unchanged"]) == 4 and report["num_segments"] == 0
    assert "encoded again: 4 added" in notes and "02.mp4" in notes
    (found,) = VideoIndex.open(index).to_dataset(["caption"], field("video_id") == "01.mp4")["caption"]
    assert found == "a dog 0" and clipbert("search", index, "a dog")[0] == 0
    shutil.move(other, tmp_path / "moved")
    code, _, errors = clipbert("search", index, "a dog")
    assert code == 2 and f"{other}: no such folder" in errors and "--encoder" in errors
    assert clipbert("search", index, "a dog", "--encoder", tmp_path / "moved")[0] == 0


def test_remove(clipbert, own):
    index, videos = own
    code, rows, errors = clipbert("index", "remove", index, "1.mp4")
    assert (code, rows) == (2, []) and "Did you mean '01.mp4'?" in errors
    assert clipbert("index", "remove", index, "01.mp4")[1] == [{"index": str(index), "removed": ["01.mp4"]}]
    code, (found,), notes = clipbert("index", "remove", index, "--where", "folder", "=", "deep")
    assert code == 0 and found["removed"] == sorted(NAMES[2:]) and "3 removed" in notes
    assert ids_of(index) == ["02.mp4"] and (videos / "01.mp4").exists()
    for words in ((), ("02.mp4", "--where", "folder", "=", "deep")):
        code, _, errors = clipbert("index", "remove", index, *words)
        assert code == 2 and "one of the two" in errors


def test_verify_names_the_file_that_is_damaged(clipbert, own):
    index, _ = own
    code, (found,), notes = clipbert("index", "verify", index)
    assert code == 0 and found["problems"] == [] and "as it was written" in notes
    file = max((index / "segments.lance").rglob("*.lance"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    code, (found,), notes = clipbert("index", "verify", index)
    assert code == 1 and found["problems"] and file.name in notes


def test_figures(clipbert, index, own, on_terminal, models, collection):
    code, (stats,), _ = clipbert("index", "stats", index)
    assert code == 0 and (stats["videos"], stats["segments"], stats["failed"]) == (5, 5, 1)
    assert stats["encoder"] == str(models / "mug") and stats["locator"] is None
    assert stats["metadata"] == {"caption": "string", "year": "int64", "seen": "bool"}
    code, (figures,), _ = clipbert("index", "compact", own[0])
    assert code == 0 and figures["rows"] == 5
    code, lines = on_terminal("index", "stats", index, "--failed")
    assert code == 0 and "videos: 5" in lines and "locator: none" in lines and "distilled: no" in lines
    assert any(line.startswith("  deep/broken.mp4: Cannot decode") for line in lines)
    assert any(line.startswith("bytes: ") and line.endswith("kB") for line in lines)


# ---------------------------------------------------------------------------------------------------------------------
# Search
# ---------------------------------------------------------------------------------------------------------------------


def test_search_answers_as_the_index_does(clipbert, index):
    words = ("search", index, "a dog", "the cat", "--top_k", "3", "--shortlist", "4")
    code, rows, errors = clipbert(*words)
    assert (code, errors) == (0, "")
    assert [(row["query"], row["rank"]) for row in rows] == [(q, r) for q in ("a dog", "the cat") for r in (1, 2, 3)]
    hits = VideoIndex.open(index).search("a dog", top_k=3, shortlist=4)
    for row, hit in zip(rows[:3], hits, strict=True):
        assert (row["video_id"], row["video"], row["score"]) == (hit.video_id, str(hit.path), hit.score)
        assert (row["start_s"], row["end_s"], row["fits_well"]) == (hit.start_s, hit.end_s, True)
        assert row["stages"].keys() == {"vector", "mug", "clipbert"} and set(row["metadata"]) >= {"caption", "year"}
    code, everything, _ = clipbert("search", index, "a dog", "--exhaustive", "--top_k", "9")
    assert code == 0 and len(everything) == 5 and "vector" not in everything[0]["stages"]
    code, reranked, _ = clipbert(
        "search", index, "a dog", "--top_k", "1", "--shortlist", "5", "--rerank", "2", "--look_into", "1"
    )
    (hit,) = VideoIndex.open(index).search("a dog", top_k=1, shortlist=5, rerank=2)
    assert code == 0 and [(row["video_id"], row["score"]) for row in reranked] == [(hit.video_id, hit.score)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (["folder = deep"], {2, 3, 4}),
        (["folder != deep", "year >= 2001"], {1}),
        (["year < 2002"], {0, 1}),
        (["year <= 2002", "year > 2000"], {1, 2}),
        (["year = null"], {4}),
        (["year != NULL"], {0, 1, 2, 3}),
        (["seen = true"], {3}),
        (["seen = False"], {0, 1, 2}),
        (["duration_s > 0.5"], {2, 3, 4}),
        (["video_id startswith deep/it's"], {2}),
        (['video_id contains "é"'], {2}),
        (["video_id endswith 4.mp4", "caption contains dog"], {3}),
        (["caption = ' OR 1=1"], set()),
    ],
)
def test_conditions(index, where, expected):
    words = [word for one in where for word in ("--where", *one.split(" ", 2))]
    given = build_parser().parse_args(["search", str(index), "a dog", *words])
    opened = VideoIndex.open(index)
    found = opened.to_dataset(["video_id"], read_where(given, opened))["video_id"]
    assert set(found) == {NAMES[number] for number in expected}


def test_a_search_with_conditions_and_limits(clipbert, index):
    words = ("search", index, "a dog")
    code, rows, _ = clipbert(*words, "--where", "folder", "=", "deep", "--where", "year", "<", 2003)
    assert code == 0 and [row["video_id"] for row in rows] == [NAMES[2]]
    code, rows, notes = clipbert(*words, "--where", "year", ">", "3000")
    assert (code, rows) == (0, []) and "a dog: no hit (no video fits --where)" in notes
    _, everything, _ = clipbert(*words)
    code, rows, _ = clipbert(*words, "--min_score", everything[1]["score"])
    assert code == 0 and rows == everything[:2]
    code, rows, notes = clipbert(*words, "--min_score", "1e6")
    assert (code, rows) == (0, []) and f"the best score is {everything[0]['score']:.2f}, below --min_score" in notes


def test_what_is_like_a_file(clipbert, index, collection, tmp_path):
    code, rows, _ = clipbert("search", index, "--like", collection / "02.mp4", "--top_k", "2")
    assert code == 0 and rows[0]["video_id"] == "02.mp4" and rows[0]["score"] == pytest.approx(1, abs=1e-5)
    assert rows[0]["query"] == str(collection / "02.mp4") and len(rows) == 2
    Image.new("RGB", (64, 48), "red").save(tmp_path / "red.png")
    code, rows, _ = clipbert("search", index, tmp_path / "red.png", "--like", "--where", "folder", "=", "deep")
    assert code == 0 and len(rows) == 3
    code, _, errors = clipbert("search", index, "--like", collection / BROKEN)
    assert code == 2 and "Cannot decode" in errors


def test_a_collection_that_was_moved(clipbert, own, models):
    index, videos = own
    videos.rename(moved := videos.with_name("moved videos"))
    code, rows, _ = clipbert("search", index, "a dog", "--root", moved, "--locator", models / "moments")
    assert code == 0 and all(row["video"] == str(moved / row["video_id"]) for row in rows)
    assert "moment" in rows[0]["stages"]
    code, rows, errors = clipbert("search", index, "a dog", "--locator", models / "moments")
    assert (code, rows) == (2, []) and str(videos) in errors


def test_nothing_fits_well(clipbert, own, on_terminal, tmp_path):
    index, _ = own
    (tmp_path / "none.txt").write_text("a dog runs\n\nthe cat\n")
    code, (found,), notes = clipbert("index", "calibrate", index, "--texts", tmp_path / "none.txt", "--quantile", "1")
    assert code == 0 and f"scores below {found['threshold']:.2f} do not fit well" in notes
    code, rows, notes = clipbert("search", index, "a dog runs", "the cat", "--top_k", "1")
    worse = min(rows, key=lambda row: row["score"])
    assert code == 0 and sorted(row["fits_well"] for row in rows) == [False, True]
    assert f"{worse['query']}: nothing fits well (the best score is {worse['score']:.2f}, below" in notes
    code, rows, notes = clipbert("search", index, "--like", own[1] / "01.mp4")  # a cosine is no score of sentences
    assert code == 0 and notes == "" and all(row["fits_well"] for row in rows)


def test_a_table_on_a_terminal(index, on_terminal):
    code, lines = on_terminal("search", index, "a dog runs", "the cat", "--top_k", "5", columns=60)
    assert code == 0 and lines[:2] == ["score, video, seconds", "a dog runs"] and "the cat" in lines
    shown = "\n".join(lines)
    assert max(map(len, lines)) <= 60 and "\x1b" not in shown and "\\x1b[31mred" in shown
    assert lines[7].startswith("  5 by vector in ") and shown.count("5 by mug in ") == 2
    code, lines = on_terminal("search", index, "a dog", "--where", "year", ">", "3000")
    assert (code, lines) == (0, [])


def test_evaluate(clipbert, index, on_terminal, tmp_path):
    code, (found,), _ = clipbert("index", "evaluate", index, "--shortlists", "1,5")
    assert code == 0 and [loss["size"] for loss in found["losses"]] == [1, 5] and found["num_texts"] == 4
    assert found["losses"][1]["first_kept"]["mean"] == 1
    (tmp_path / "texts.txt").write_text("a dog\n")
    code, lines = on_terminal("index", "evaluate", index, "--texts", tmp_path / "texts.txt", "--shortlists", "5")
    assert code == 0 and "1 text, 5 videos" in "\n".join(lines) and "Recommended: 5" in lines[-1]


@pytest.mark.slow
def test_distill(clipbert, models, tmp_path):
    index = tmp_path / "index"
    (tmp_path / "videos").mkdir()
    for number in range(64):
        write_numbered(tmp_path / "videos" / f"{number:02d}.mp4", 4 + number)
    words = ["a", "dog", "runs", "the", "cat", "jumps", "and", "moves", "left"]
    (tmp_path / "texts.txt").write_text("\n".join(f"{one} {other}" for one in words for other in words))
    create = ("index", "create", index, "--videos", tmp_path / "videos", "--encoder", models / "clipbert")
    assert clipbert(*create)[0] == clipbert("index", "add", index)[0] == 0
    query = ("search", index, "--like", tmp_path / "videos" / "03.mp4")
    code, _, errors = clipbert(*query)
    assert code == 2 and "clipbert index distill" in errors
    distill = ("index", "distill", index, "--texts", tmp_path / "texts.txt")
    code, (found,), notes = clipbert(*distill, "--min_first_kept", "0")
    assert code == 0 and found["num_videos"] < 64 and f"keeps {found['first_kept']:.0%} of the first places" in notes
    code, rows, _ = clipbert(*query)
    assert code == 0 and rows[0]["video_id"] == "03.mp4"


# ---------------------------------------------------------------------------------------------------------------------
# Usage
# ---------------------------------------------------------------------------------------------------------------------


def usage_errors(index, collection, models):
    search, folder = ("search", index, "a dog"), ("search", collection, "a dog")
    create = ("index", "create", index.with_name("new"), "--videos", collection)
    mug = ("--encoder", models / "mug")
    return {
        "required: ACTION": ("index",),
        "invalid choice: 'ad'": ("index", "ad", index),
        "required: INDEX": ("index", "add"),
        "required: --videos": create[:3],
        "Did you mean '--metadata'?": ("index", "add", index, "--metdata", "a.jsonl"),
        "expected seconds above 0, or none": (*create, *mug, "--segment_s", "0"),
        "expected a number from 0 to 1, got '2'": ("index", "add", index, "--max_decode_error_rate", "2"),
        "at least 1, got 'x'": ("index", "evaluate", index, "--shortlists", "3,x"),
        "--encoder nowhere/at/all: no such folder in": (*create, "--encoder", "nowhere/at/all"),
        "--encoder " + str(collection): (*create, "--encoder", collection),
        "expected an encoder or a reranker": create,
        "nowhere: there is no such folder": (*create[:3], "--videos", collection / "nowhere", *mug),
        "as encoder a model with vectors": (*create, "--encoder", models / "moments"),
        "--overwrite": ("index", "create", index, "--videos", collection, *mug),
        f"{collection} is no index": ("index", "add", collection),
        "nowhere does not exist": ("index", "stats", collection / "nowhere"),
        "qdrant:nowhere does not exist": ("search", "qdrant:nowhere", "a dog"),
        "expected a place below the root": ("index", "add", index, models),
        "nowhere.jsonl": ("index", "add", index, "--metadata", collection / "nowhere.jsonl"),
        "nowhere.txt: the sentences cannot be read": ("index", "evaluate", index, "--texts", "nowhere.txt"),
        "expected ids of videos, or --where": ("index", "remove", index),
        "expected an index of a reranker alone": ("index", "distill", index, "--texts", collection / "captions.jsonl"),
        "--reencode: expected one process": ("index", "update", index, "--reencode"),
        "--device quantum": (*search, "--device", "quantum"),
        "--checkpoint: " + str(index): (*search, "--checkpoint", models / "clipbert"),
        "--num_workers: " + str(index): (*search, "--num_workers", "0"),
        "--set: " + str(index): (*search, "--set", "fps=2"),
        "--exhaustive: " + str(collection): (*folder, "--exhaustive"),
        "--min_score: " + str(collection): (*folder, "--min_score", "0"),
        "--where: " + str(collection): (*folder, "--where", "year", "=", "1"),
        "expected --checkpoint": folder,
        "Did you mean 'duration_s'?": (*search, "--where", "duration", "<", "1"),
        "expected one of =, !=": (*search, "--where", "year", "like", "1"),
        "expected a value of type int64, got '1.5'": (*search, "--where", "year", "=", "1.5"),
        "expected a value of type bool, got 'yes'": (*search, "--where", "seen", "=", "yes"),
        "expected a finite number": (*search, "--where", "duration_s", "<", "nan"),
        "cannot be filtered": (*search, "--where", "vector", "=", "1"),
        "--like nowhere.mp4: no such file": (*search[:2], "--like", "nowhere.mp4"),
    }


def test_what_is_wrong_with_a_command_is_told_in_a_line(index, collection, models, capsys, monkeypatch):
    for message, words in usage_errors(index, collection, models).items():
        with monkeypatch.context() as patch:
            if "--reencode" in words:
                patch.setenv("WORLD_SIZE", "2")
            code = main(list(map(str, words)))
        output, errors = capsys.readouterr()
        assert (code, output) == (2, ""), words
        assert message.lower() in errors.splitlines()[-1].lower() and "Traceback" not in errors, (message, errors)
    assert not index.with_name("new").exists()


def test_help_and_usage_errors_load_nothing_heavy(index, collection, models):
    light = (
        "required",
        "invalid",
        "Did you mean '--",
        "expected seconds",
        "expected a number",
        "at least 1",
        "no such folder in",
        "no such file",
        "--set",
        "--exhaustive",
        "expected --checkpoint",
    )
    errors = [
        list(map(str, words))
        for message, words in usage_errors(index, collection, models).items()
        if any(part in message for part in light)
    ]
    assert len(errors) >= 10
    code = f"""
import sys
from clipbert.command_line import main
from clipbert.command_line.index import ACTIONS
assert all(main(["index", action, "--help"]) == 0 for action in ACTIONS)
assert [main(words) for words in {errors!r}] == [2] * {len(errors)}
heavy = {{"torch", "transformers", "av", "numpy", "datasets", "pyarrow", "lancedb"}} & sys.modules.keys()
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_the_extra_its_name_is_told(index, collection, models, clipbert, monkeypatch):
    monkeypatch.setitem(sys.modules, "lancedb", None)  # what an import finds where it is not installed
    create = ("index", "create", index.with_name("new"), "--videos", collection, "--encoder", models / "mug")
    for words in (create, ("index", "stats", index), ("search", index, "a dog")):
        code, rows, errors = clipbert(*words)
        assert (code, rows) == (2, []) and "pip install 'clipbert[search]'" in errors


def test_what_is_taken_for_an_index(index, collection):
    assert looks_like_index(str(index), True) and not looks_like_index(str(collection), False)
    for address in ("db://name", "qdrant:folder", "qdrant+http://localhost:6333", "qdrant+https://host"):
        assert looks_like_index(address, False) and looks_like_index(address, True)
    for address in ("s3://bucket/a.mp4", "gs://bucket/index", "az://bucket/index"):  # a video, where a model is named
        assert looks_like_index(address, False) and not looks_like_index(address, True)
    assert not any(
        looks_like_index(place, False) for place in ("-", "https://a/b.mp4", "qdrant_videos", "s3", "*.mp4")
    )


# ---------------------------------------------------------------------------------------------------------------------
# Real processes
# ---------------------------------------------------------------------------------------------------------------------


def many_videos(folder, collection, count):
    """Copies of one video, each with an end of its own."""
    folder.mkdir()
    content = (collection / "01.mp4").read_bytes()
    for number in range(count):
        (folder / f"{number:04d}.mp4").write_bytes(content + number.to_bytes(4, "big"))


def make_index(index, videos, models, clipbert):
    assert clipbert("index", "create", index, "--videos", videos, "--encoder", models / "mug")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_ctrl_c_keeps_what_was_committed(clipbert, models, collection, tmp_path, num_workers):
    index = tmp_path / "index"
    many_videos(tmp_path / "videos", collection, 2000)
    make_index(index, tmp_path / "videos", models, clipbert)
    words = ["index", "add", str(index), "--num_workers", str(num_workers), "--device", "cpu"]
    code = (  # commits of a few videos, so that there are some to keep
        "import sys\nfrom clipbert.search import adding\nadding.SEGMENTS_PER_COMMIT = 5\n"
        f"from clipbert.command_line import main\nif __name__ == '__main__':\n    sys.exit(main({words!r}))"
    )
    (tmp_path / "run.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        [sys.executable, tmp_path / "run.py"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    opened, ends = VideoIndex.open(index), time.monotonic() + 300
    while len(opened) < 10 and time.monotonic() < ends:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and output == b"", errors
    assert b"to encode: 2,000 videos" in errors and b"Traceback" not in errors
    kept = len(opened)
    assert 10 <= kept < 2000 and opened.verify() == []
    for path in sorted((tmp_path / "videos").iterdir())[kept + 5 :]:
        path.unlink()
    code, (report,), _ = clipbert("index", "add", index)
    assert code == 0 and len(report["unchanged"]) + len(report["added"]) == kept + 5
    assert sorted(ids_of(index)) == sorted({*ids_of(index)})


@pytest.mark.slow
def test_several_processes_share_the_videos(clipbert, models, collection, tmp_path):
    index = tmp_path / "index"
    many_videos(tmp_path / "videos", collection, 24)
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video")
    make_index(index, tmp_path / "videos", models, clipbert)
    (tmp_path / "captions.jsonl").write_text(
        "".join(json.dumps({"video": f"{number:04d}.mp4", "caption": "a dog"}) + "\n" for number in range(25))
    )
    configuration = ROOT / "train_scripts/recipes/accelerate/two_cpu_processes.yaml"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", configuration]
    launcher += ["--main_process_port", "0", "-m", "clipbert", "index", "add", index]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*launcher, "--metadata", tmp_path / "captions.jsonl"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    reports = sorted(map(json.loads, done.stdout.splitlines()), key=lambda report: report["process"])
    assert [report["process"] for report in reports] == [0, 1]
    added = [set(report["added"]) for report in reports]
    assert all(added) and not added[0] & added[1] and added[0] | added[1] == {f"{one:04d}.mp4" for one in range(24)}
    assert [name for report in reports for name in report["failed"]] == ["broken.mp4"]
    assert [report["without_video"] for report in reports] == [["0024.mp4"], []]
    assert done.stderr.count("Cannot decode") == 1
    assert {f"clipbert: process {number} of 2: {len(added[number])} added" for number in (0, 1)} <= {
        line.split(",")[0].split(" (")[0] for line in done.stderr.splitlines()
    }
    assert sorted(ids_of(index)) == sorted(added[0] | added[1])
    assert VideoIndex.open(index).verify() == [] and clipbert("index", "add", index)[0] == 1  # broken.mp4
