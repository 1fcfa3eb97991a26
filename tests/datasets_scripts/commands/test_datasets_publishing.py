# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts publish`: Parquet with a card that `load_dataset` reads and that tells no local path."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Video, load_dataset
from fakehub import FakeHub
from huggingface_hub import DatasetCard

from clipbert.datasets_scripts import find_loader, list_benchmarks, load_benchmark
from clipbert.datasets_scripts.__main__ import main
from clipbert.datasets_scripts.commands import publish as publishing
from clipbert.datasets_scripts.commands.publish import batches_by_size, read_docstring, size_category
from clipbert.processing.decoding import decode_video


REPOSITORY = Path(__file__).parents[3]


def write_lines(path: Path, *lines: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def folder(tmp_path, write_video) -> Path:
    """Captions and questions about three videos, of which each has several rows."""
    root = tmp_path / "somebodys_secret_folder"
    for split, names in {"train": ("a", "b"), "test": ("c",)}.items():
        (root / split / "videos").mkdir(parents=True)
        for number, name in enumerate(names, start=4):
            write_video(root / split / "videos" / f"{name}.mp4", num_frames=number)
        captions = [{"video": f"{name}.mp4", "caption": [f"{name} one", f"Ünï {name}"]} for name in names]
        questions = [
            {"video": f"{name}.mp4", "question": "what?", "answer": name, "options": ["x", name]} for name in names
        ]
        write_lines(root / split / "captions.jsonl", *captions)
        write_lines(root / split / "questions.jsonl", *questions)
    return root


@pytest.fixture
def publish(folder, tmp_path):
    def run(*options, config=("retrieval",)) -> int:
        fixed = ["--data_dir", folder, "--cache_dir", tmp_path / "cache", "--output_dir", tmp_path / "out"]
        return main(list(map(str, ["publish", "video_folder", *fixed, "--config", *config, *options])))

    return run


@pytest.fixture
def load(tmp_path):
    def run(config=None, **options):
        return load_dataset(str(tmp_path / "out"), config, cache_dir=str(tmp_path / "hub_cache"), **options)

    return run


def everything_in(folder: Path) -> str:
    """All cells, schemas and texts of a published folder, as one text."""
    found = []
    for path in folder.rglob("*"):
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            found += [repr(table.to_pydict()), repr(table.schema.metadata), repr(pq.read_metadata(path).metadata)]
        elif path.is_file():
            found.append(path.read_text())
    return "\n".join([*found, *map(str, (path.relative_to(folder) for path in folder.rglob("*")))])


# ----------------------------------------------------------------------------------------------------------------------
# Annotations
# ----------------------------------------------------------------------------------------------------------------------


def test_the_rows_come_back(publish, load, folder, tmp_path):
    assert publish() == 0
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")) == [
        "README.md",
        "retrieval/test-00000-of-00001.parquet",
        "retrieval/train-00000-of-00001.parquet",
    ]
    published = load("retrieval")
    original = load_benchmark("video_folder", "retrieval", data_dir=folder, cache_dir=tmp_path / "cache")
    assert set(published) == set(original) == {"train", "test"}
    for split, rows in original.items():
        assert published[split].features == rows.features
        expected = [{**row, "video": Path(row["video"]).name} for row in rows]
        assert list(published[split]) == expected


def test_nothing_local_is_published(publish, folder, tmp_path):
    publish(config=("retrieval", "qa"))
    publish_videos = ["--include_videos", "--output_dir", str(tmp_path / "with_videos")]
    publish(*publish_videos)
    for published in ("out", "with_videos"):
        text = everything_in(tmp_path / published)
        assert "a.mp4" in text
        for local in (folder.name, str(tmp_path), str(Path.home()), os.getcwd(), "/tmp", "\\tmp"):
            assert local not in text, local


def test_several_configs(publish, load, folder):
    publish(config=("qa", "retrieval"))
    assert load()["test"].column_names == load("qa")["test"].column_names  # the first one is the default
    question = load("qa", split="test")[0]
    assert (question["question"], question["answer"], question["options"], question["answer_index"]) == (
        "what?",
        "c",
        ["x", "c"],
        1,
    )
    assert len(load("retrieval", split="train")) == 4


def test_names_of_classes_come_back(tmp_path, load):
    data = tmp_path / "ucf"
    data.mkdir()
    (data / "classInd.txt").write_text("".join(f"{number} Class{number}\n" for number in range(1, 102)))
    names = {
        "train": "Class2/v_Class2_g08_c01.avi 2\nClass1/v_Class1_g08_c01.avi 1\n",
        "test": "Class2/v_Class2_g01_c01.avi\n",
    }
    for split, text in names.items():
        (data / f"{split}list01.txt").write_text(text)
    arguments = ["publish", "ucf101", "--config", "split1", "--data_dir", data, "--output_dir", tmp_path / "out"]
    assert main(list(map(str, [*arguments, "--cache_dir", tmp_path / "cache"]))) == 0
    rows = load("split1", split="train")
    assert isinstance(rows.features["label"], ClassLabel)
    assert [rows.features["label"].int2str(label) for label in rows["label"]] == ["Class2", "Class1"]
    assert rows["video"][0] == "v_Class2_g08_c01.avi"


def test_large_tables_are_cut_into_shards(publish, load, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "SHARD_BYTES", 150)
    publish()
    shards = sorted(path.name for path in (tmp_path / "out/retrieval").glob("train-*"))
    assert len(shards) > 1 and shards[0] == f"train-00000-of-{len(shards):05d}.parquet"
    assert load("retrieval", split="train")["caption"][:] == ["a one", "Ünï a", "b one", "Ünï b"]


def test_a_skip_list_leaves_videos_out_and_the_card_says_so(publish, load, tmp_path):
    (tmp_path / "skip.txt").write_text("a.mp4  # broken\n")
    publish("--skip_list", tmp_path / "skip.txt")
    assert set(load("retrieval", split="train")["video_id"]) == {"b.mp4"}
    assert "retrieval/train has 2 of 4 rows (50.0 %)" in (tmp_path / "out/README.md").read_text()


def test_the_rows_need_no_videos(publish, folder, load):
    (folder / "test/videos/c.mp4").unlink()
    assert publish() == 0
    assert load("retrieval", split="test")["video"][:] == ["c.mp4", "c.mp4"]


# ----------------------------------------------------------------------------------------------------------------------
# Videos
# ----------------------------------------------------------------------------------------------------------------------


def test_videos_come_along_when_asked_for_after_a_warning(publish, load, folder, capsys):
    assert publish("--include_videos") == 0
    assert "WARNING: you are about to publish the videos of video_folder" in capsys.readouterr().err
    videos = load("videos", split="videos")
    assert isinstance(videos.features["video"], Video)
    videos = videos.cast_column("video", Video(decode=False))
    rows = {row["video_id"]: row["video"] for row in videos}
    assert list(rows) == ["a.mp4", "b.mp4", "c.mp4"]  # each once, though each has two captions
    for name, split in (("a.mp4", "train"), ("b.mp4", "train"), ("c.mp4", "test")):
        assert rows[name]["bytes"] == (folder / split / "videos" / name).read_bytes()
        assert rows[name]["path"] == name
    assert decode_video(rows["b.mp4"]["bytes"], [0, 4]).frames.shape[0] == 2
    assert load("retrieval", split="test")["video"][:] == ["c.mp4", "c.mp4"]


def test_without_being_asked_for_no_video_is_there(publish, tmp_path, folder, capsys):
    publish()
    assert "WARNING" not in capsys.readouterr().err
    first = (folder / "train/videos/a.mp4").read_bytes()[-200:]
    assert all(first not in path.read_bytes() for path in (tmp_path / "out").rglob("*.*"))
    assert "The videos are not included" in (tmp_path / "out/README.md").read_text()


def test_missing_videos_stop_it_before_anything_is_written(publish, folder, tmp_path, capsys):
    (folder / "test/videos/c.mp4").unlink()
    assert publish("--include_videos") == 1
    error = capsys.readouterr().err
    assert "1 missing" in error and "--skip_list" in error
    assert not (tmp_path / "out").exists()


def test_nothing_outside_the_folder_is_packaged(publish, folder, tmp_path, capsys):
    """A link in the folder leads to a file elsewhere; who means it names that folder."""
    outside = tmp_path / "outside"
    outside.mkdir()
    video = next(folder.rglob("*.mp4"))
    video.rename(outside / video.name)
    video.symlink_to(outside / video.name)
    assert publish("--include_videos") == 1
    assert f"{video} is a link to {outside / video.name}, outside of {folder}" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.parquet"))
    folder.rename(tmp_path / "real")  # a link to the whole folder is what users have
    folder.symlink_to(tmp_path / "real")
    (tmp_path / "real" / video.relative_to(folder)).unlink()
    (outside / video.name).rename(tmp_path / "real" / video.relative_to(folder))
    assert publish("--include_videos") == 0


def test_names_with_line_breaks_do_not_say_where_they_lay(publish, folder, tmp_path):
    captions = next(folder.rglob("captions.jsonl"))
    write_lines(captions, *({"video": f"a\nb/{name}.mp4", "caption": "a dog"} for name in "xy"))
    assert publish() == 0
    assert str(tmp_path) not in everything_in(tmp_path / "out")


def test_shards_of_videos(publish, load, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "SHARD_BYTES", 1)
    publish("--include_videos")
    assert len(list((tmp_path / "out/videos").glob("videos-*-of-00003.parquet"))) == 3
    assert load("videos", split="videos")["video_id"][:] == ["a.mp4", "b.mp4", "c.mp4"]


def test_files_are_grouped_by_size(tmp_path):
    files = {}
    for name, size in {"a": 40, "b": 50, "c": 20, "d": 200, "e": 10}.items():
        files[name] = str(tmp_path / name)
        (tmp_path / name).write_bytes(bytes(size))
    assert [list(part) for part in batches_by_size(files, 100)] == [["a", "b"], ["c"], ["d"], ["e"]]


def test_archives_of_bytes_are_not_published(tmp_path, capsys):
    table = datasets.Dataset.from_dict(
        {"video_id": ["a"], "video": [b"x"]},
        features=datasets.Features({"video_id": datasets.Value("string"), "video": datasets.Value("large_binary")}),
    )
    with pytest.raises(ValueError, match="bytes inside of archives"):
        publishing.collect_files({"webdataset": {"train": table}}, "video")


# ----------------------------------------------------------------------------------------------------------------------
# The card
# ----------------------------------------------------------------------------------------------------------------------


def test_the_card_says_what_it_is(publish, tmp_path):
    publish("--license", "cc-by-4.0", "--include_videos", config=("retrieval", "qa"))
    card = DatasetCard.load(tmp_path / "out/README.md")
    data = card.data.to_dict()
    assert data["license"] == "cc-by-4.0" and data["size_categories"] == "n<1K"
    assert data["task_categories"] == ["text-retrieval", "video-text-to-text", "visual-question-answering"]
    assert [config["config_name"] for config in data["configs"]] == ["retrieval", "qa", "videos"]
    assert [config.get("default", False) for config in data["configs"]] == [True, False, False]
    for line in (
        "# A user's own folder of videos with captions, questions, moments or classes",
        "| `retrieval` | train | 4 | 2 | captions.jsonl: find the video of a sentence |",
        "| `videos` | videos | 3 | 3 | the video files, each once; join by `video_id` |",
        "Source: whatever you have, in any container FFmpeg reads.",
        "by `python -m datasets_scripts publish video_folder`",
        "## Splits",
        "## Odd cases",
    ):
        assert line in card.text, line


def test_a_benchmark_without_a_stated_licence_is_other(publish, tmp_path):
    publish()
    data = DatasetCard.load(tmp_path / "out/README.md").data.to_dict()
    assert (data["license"], data["license_name"]) == ("other", "terms-of-video_folder")


def test_own_videos_have_the_language_that_their_owner_says(publish, tmp_path):
    publish()
    assert "language" not in DatasetCard.load(tmp_path / "out/README.md").data.to_dict()
    publish("--language", "vi", "--output_dir", tmp_path / "vietnamese")
    assert DatasetCard.load(tmp_path / "vietnamese/README.md").data.language == ["vi"]


def test_every_loader_makes_a_card():
    for name in list_benchmarks():
        parts = read_docstring(find_loader(name))
        assert parts["title"] and "\n" not in parts["title"], name
        assert {"Source"} <= parts.keys() and not parts["Source"].endswith(":"), name
        for builder_config in find_loader(name).BUILDER_CONFIGS:
            assert builder_config.task in publishing.TASK_CATEGORIES


def test_parts_of_a_docstring():
    parts = read_docstring(find_loader("msrvtt"))
    assert parts["title"].startswith("MSR-VTT: ten thousand YouTube clips")
    assert parts["Licence"].startswith("annotations (c) Microsoft") and "Layout" in parts
    assert parts["Splits"].splitlines()[0].startswith("retrieval_full ")


def test_sizes_as_the_hub_names_them():
    sizes = [size_category(number) for number in (5, 1000, 140_200, 10**8, 10**9)]
    assert sizes == ["n<1K", "1K<n<10K", "100K<n<1M", "n>100M", "n>100M"]


def test_a_folder_that_holds_something_is_refused(publish, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/private.txt").write_text("mine")
    assert publish() == 1
    assert "is not empty, and all of it would be published" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["private.txt"]


# ----------------------------------------------------------------------------------------------------------------------
# The Hub
# ----------------------------------------------------------------------------------------------------------------------

LOAD_FROM_HUB = """
from datasets import load_dataset

rows = load_dataset("user/mine", "retrieval", split="train")
print(rows["caption"][:])
"""


@pytest.mark.hub
def test_push_and_load_from_the_hub(folder, tmp_path):
    command = [
        "publish",
        "video_folder",
        "--config",
        "retrieval",
        "--data_dir",
        folder,
        "--output_dir",
        tmp_path / "out",
    ]
    with FakeHub() as hub:
        environment = {**os.environ, **hub.environment(tmp_path / "home")}
        run = subprocess.run(
            [sys.executable, "-m", "datasets_scripts", *map(str, command), "--push_to_hub", "user/mine", "--private"],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        assert "Uploaded: " in run.stdout and "user/mine" in run.stdout
        local = {
            str(path.relative_to(tmp_path / "out")): path.read_bytes()
            for path in (tmp_path / "out").rglob("*")
            if path.is_file()
        }
        assert hub.files("user/mine", kind="datasets") == local
        assert 'load_dataset("user/mine", "retrieval", split="train")' in local["README.md"].decode()
        loaded = subprocess.run(
            [sys.executable, "-c", LOAD_FROM_HUB],
            cwd=tmp_path,
            env={**os.environ, **hub.environment(tmp_path / "home2")},
            capture_output=True,
            text=True,
        )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.splitlines()[-1] == str(["a one", "Ünï a", "b one", "Ünï b"])
