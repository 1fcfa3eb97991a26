# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What all loaders share: the registry, names and splits, columns, and the base that new loaders inherit."""

import doctest
import importlib
import inspect
import json
import re
import sys
from pathlib import Path

import pytest
from datasets import Dataset

import datasets_scripts
from datasets_scripts import BENCHMARKS, find_loader, list_benchmarks, load_benchmark
from datasets_scripts.base import TASKS, AnnotationError, BenchmarkConfig, VideoTextBuilder, read_jsonl


class TinyBenchmark(VideoTextBuilder):
    """The least a loader of a benchmark with its own layout has to say."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(name="full", task="retrieval", description="all captions"),
        BenchmarkConfig(name="questions", task="qa", description="one question a video"),
    ]
    LAYOUT = "It holds part_1.jsonl and part_2.jsonl."

    @classmethod
    def annotation_files(cls, config):
        return {"train": sorted(Path(config.data_dir).glob("part_*.jsonl"))}

    def load_records(self, split, files):
        for path in files:
            yield from read_jsonl(path)

    def video_path(self, record):
        return Path(self.config.data_dir) / f"{record.require('clip')}.avi"

    def text(self, record):
        if self.config.task == "qa":
            answer = {"answer": "yes", "options": [], "answer_index": None, "answer_type": ""}
            yield {"video_id": record.values["clip"], "question": "is it?", **answer}
        else:
            for sentence in record.require("sentences", list):
                yield {"video_id": record.values["clip"], "caption": sentence}


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Path:
    """A folder of the tiny benchmark, which is registered for the test."""
    monkeypatch.setitem(sys.modules, "datasets_scripts.tiny", sys.modules[__name__])
    monkeypatch.setitem(BENCHMARKS, "tiny", "tiny:TinyBenchmark")
    folder = tmp_path / "tiny"
    folder.mkdir()
    for part, clips in ((1, "ab"), (2, "c")):
        lines = [json.dumps({"clip": clip, "sentences": [f"{clip} one", f"{clip} two"]}) for clip in clips]
        (folder / f"part_{part}.jsonl").write_text("\n".join(lines))
    for clip in "abc":
        (folder / f"{clip}.avi").touch()
    return folder


def test_a_loader_inherits_the_rest(tiny, tmp_path):
    rows = load_benchmark("tiny", "full", split="train", data_dir=tiny, cache_dir=str(tmp_path / "cache"))
    assert isinstance(rows, Dataset) and len(rows) == 6
    assert rows[1] == {
        "video_id": "a",
        "video": str(tiny / "a.avi"),
        "caption": "a two",
        "caption_id": "train-part_1-1-1",  # unique although the split has several files
    }
    assert (
        load_benchmark("tiny", "full", split="train[:2]", data_dir=tiny, cache_dir=str(tmp_path / "cache")).num_rows
        == 2
    )
    questions = load_benchmark("tiny", "questions", data_dir=tiny, cache_dir=str(tmp_path / "cache"))
    assert questions["train"]["question_id"][:] == ["train-part_1-1", "train-part_1-2", "train-part_2-1"]


def test_the_check_of_rows_is_inherited(tiny, tmp_path):
    (tiny / "part_2.jsonl").write_text(json.dumps({"clip": "c", "sentences": ["fine", ""]}))
    with pytest.raises(
        AnnotationError, match=r"part_2\.jsonl, line 1: expected 'caption' to be a non-empty text, got ''"
    ):
        load_benchmark("tiny", "full", data_dir=tiny, cache_dir=str(tmp_path / "cache"))


def test_processes_share_the_files_of_a_split(tiny, tmp_path):
    builder = TinyBenchmark(cache_dir=str(tmp_path / "cache"), config_name="full", data_dir=tiny)
    builder.download_and_prepare(num_proc=2)
    rows = builder.as_dataset(split="train")
    assert sorted(rows["caption_id"][:]) == sorted(
        f"train-part_{part}-{line}{more}" for part, line in ((1, 1), (1, 2), (2, 1)) for more in ("", "-1")
    )


def test_a_config_has_to_be_chosen_where_several_fit(tiny, tmp_path):
    arguments = {"data_dir": tiny, "cache_dir": str(tmp_path / "cache")}
    with pytest.raises(ValueError, match="no config was named; choose one of\n  full: all captions\n  questions: one"):
        load_benchmark("tiny", **arguments)
    with pytest.raises(ValueError, match="got config 'ful'; choose one of\n  full"):
        load_benchmark("tiny", "ful", **arguments)


def test_unknown_names_list_the_known_ones(tiny, tmp_path):
    arguments = {"data_dir": tiny, "cache_dir": str(tmp_path / "cache")}
    with pytest.raises(
        ValueError, match="Unknown benchmark 'tinny'; did you mean 'tiny'. Known: synthetic, tiny, video"
    ):
        load_benchmark("tinny", **arguments)
    with pytest.raises(ValueError, match="Unknown split of tiny/full 'test'. Known: train"):
        load_benchmark("tiny", "full", split="test", **arguments)
    with pytest.raises(ValueError, match="Unknown field of TinyBenchmark 'vide_dir'; did you mean 'video_dir'"):
        load_benchmark("tiny", "full", vide_dir="x", **arguments)
    with pytest.raises(ValueError, match="Unknown field of TinyBenchmark 'digest'"):
        load_benchmark("tiny", "full", digest="x", **arguments)


def test_where_the_data_should_be(tiny, tmp_path):
    with pytest.raises(ValueError, match="TinyBenchmark needs `data_dir`. It holds part_1.jsonl"):
        load_benchmark("tiny", "full")
    with pytest.raises(FileNotFoundError, match="data_dir .*nowhere is not a folder. It holds part_1.jsonl"):
        load_benchmark("tiny", "full", data_dir=tmp_path / "nowhere")


def test_one_folder_has_one_cache_however_it_is_spelt(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny.parent)
    builders = [TinyBenchmark(str(tmp_path / "cache"), "full", path) for path in (tiny, "tiny", f"{tiny}/../tiny/")]
    assert len({builder.cache_dir for builder in builders}) == 1


def test_the_registry_holds_documented_loaders():
    """A loader without its source, licence, splits and odd cases sends its readers searching."""
    assert list_benchmarks() == sorted(BENCHMARKS) and {"synthetic", "video_folder"} <= set(BENCHMARKS)
    for name in list_benchmarks():
        loader = find_loader(name)
        documentation = inspect.getmodule(loader).__doc__
        for part in ("Source:", "Splits:", "Odd cases:"):
            assert part in documentation, f"{name} does not tell its {part}"
        assert f'load_benchmark("{name}"' in documentation
        assert all(config.task in TASKS and config.description for config in loader.BUILDER_CONFIGS)


@pytest.mark.parametrize(
    "module", ["datasets_scripts", "datasets_scripts.checks", "datasets_scripts.synthetic_generation"]
)
def test_examples_run_as_printed(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    results = doctest.testmod(importlib.import_module(module))
    assert results.attempted and not results.failed


def test_the_first_lines_of_the_readme_run(request, tmp_path, monkeypatch, capsys):
    readme = (request.config.rootpath / "datasets_scripts" / "README.md").read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    exec(re.search(r"```python\n(.*?)```", readme, re.DOTALL).group(1), {})
    printed = capsys.readouterr().out
    assert "['synthetic', 'video_folder'] a blue circle moves left on a white background" in printed
    assert all(f"`{name}`" in readme for name in list_benchmarks())
    assert all(", ".join(f"`{column}`" for column in task.features) in readme for task in TASKS.values())


def test_columns_are_those_of_the_documentation():
    documented = " ".join(inspect.getdoc(datasets_scripts.load_benchmark).split())
    for task in TASKS.values():
        assert ", ".join(f"`{column}`" for column in task.features) in documented
        assert list(task.features)[:2] == ["video_id", "video"] and task.features["video"].dtype == "string"
