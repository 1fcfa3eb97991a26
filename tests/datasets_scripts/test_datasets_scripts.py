# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What all loaders share: how they are found, names and splits, columns, and the base that new loaders inherit."""

import csv
import doctest
import gzip
import importlib
import inspect
import json
import re
import sys
import zipfile
from pathlib import Path

import pytest
from datasets import Dataset, ReadInstruction
from datasets.distributed import split_dataset_by_node

import clipbert.datasets_scripts as datasets_scripts
from clipbert.datasets_scripts import find_loader, list_benchmarks, load_benchmark, loaders
from clipbert.datasets_scripts.__main__ import main
from clipbert.datasets_scripts.building.coverage import compute_coverage
from clipbert.datasets_scripts.building.media import AmbiguousMediaError, MediaIndex
from clipbert.datasets_scripts.building.records import (
    AnnotationError,
    Record,
    read_csv,
    read_json,
    read_json_dict,
    read_json_list,
)
from clipbert.datasets_scripts.building.rows import ROW_SCHEMAS
from clipbert.datasets_scripts.building.splits import hash_fraction, in_rows
from clipbert.datasets_scripts.building.usable_videos import UnusableVideosError


NEW_LOADERS = """
from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoTextBuilder

class Shared{0}(VideoTextBuilder):
    pass

class {0}(Shared{0}):
    BUILDER_CONFIGS = [BenchmarkConfig(name="all", description="all captions")]
"""
TINY = Path(__file__).parents[1] / "helpers" / "loaders" / "tiny.py"


@pytest.fixture
def add_loader(monkeypatch):
    """Puts the folder of a new loader's module on the path of `loaders/`, as if its file lay there."""

    def add(path: Path) -> type:
        monkeypatch.setattr(loaders, "__path__", [*loaders.__path__, str(path.parent)])
        monkeypatch.delitem(sys.modules, f"{loaders.__name__}.{path.stem}", raising=False)
        return find_loader(path.stem)

    return add


@pytest.fixture
def tiny(tmp_path, add_loader) -> Path:
    """A folder of the tiny benchmark, whose loader is there for the test."""
    add_loader(TINY)
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


def test_a_new_file_is_a_benchmark(tiny, capsys):
    assert "tiny" in list_benchmarks() and find_loader("tiny").__name__ == "TinyBenchmark"
    assert main(["list", "tiny"]) == 0
    assert "tiny: The least a loader" in capsys.readouterr().out
    assert main(["list"]) == 0
    assert re.search(r"^tiny +your own files +retrieval, qa +full, questions$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import no_such_module",
            "The loader 'new' cannot be imported: ModuleNotFoundError: No module named 'no_such",
        ),
        ("x = 1 +", r"The loader 'new' cannot be imported: SyntaxError: invalid syntax \(new.py"),
        (
            "from clipbert.datasets_scripts.loaders.msrvtt import MSRVTT",
            r"new.py: expected one subclass of .*, got none",
        ),
        (NEW_LOADERS.format("A"), ""),
        (
            NEW_LOADERS.format("A") + NEW_LOADERS.format("B"),
            r"new.py: expected one subclass .* BUILDER_CONFIGS, got A, B",
        ),
    ],
)
def test_a_module_that_is_no_loader_is_an_error(source, message, tmp_path, add_loader):
    (tmp_path / "new.py").write_text(source)
    if not message:
        assert add_loader(tmp_path / "new.py").__name__ == "A"
        return
    with pytest.raises(ImportError, match=message):
        add_loader(tmp_path / "new.py")


def test_the_cache_depends_on_all_code_that_makes_rows(tiny, tmp_path, monkeypatch):
    names = {path.name for path in find_loader("vqa2").code_files()}
    assert {"vqa2.py", "coco_images.py", "base.py", "rows.py", "records.py", "media.py", "vqa_scores.py"} <= names
    assert {"msvd_qa.py", "msrvtt_qa.py"} <= {path.name for path in find_loader("msvd_qa").code_files()}

    def digest():
        return find_loader("tiny")(str(tmp_path / "cache"), "full", tiny).config.digest

    before, read_bytes = digest(), Path.read_bytes
    for name in ("tiny.py", "rows.py", "json_entries.py"):
        assert digest() == before
        with monkeypatch.context() as changed:
            changed.setattr(Path, "read_bytes", lambda path, name=name: read_bytes(path) + b"#" * (path.name == name))
            assert digest() != before
    (tiny / "part_2.jsonl").write_text(json.dumps({"clip": "c", "sentences": ["other"]}))
    assert digest() != before


def test_the_check_of_rows_is_inherited(tiny, tmp_path):
    (tiny / "part_2.jsonl").write_text(json.dumps({"clip": "c", "sentences": ["fine", ""]}))
    with pytest.raises(
        AnnotationError, match=r"part_2\.jsonl, line 1: expected 'caption' to be a non-empty text, got ''"
    ):
        load_benchmark("tiny", "full", data_dir=tiny, cache_dir=str(tmp_path / "cache"))


def test_processes_share_the_files_of_a_split(tiny, tmp_path):
    builder = find_loader("tiny")(cache_dir=str(tmp_path / "cache"), config_name="full", data_dir=tiny)
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
        ValueError, match="Unknown benchmark 'tinny'; did you mean 'tiny'. Known: .*synthetic, .*tiny, "
    ):
        load_benchmark("tinny", **arguments)
    with pytest.raises(ValueError, match="Unknown split of tiny/full 'test'. Known: train"):
        load_benchmark("tiny", "full", split="test", **arguments)
    with pytest.raises(ValueError, match="Unknown field of TinyBenchmark 'vide_dir'; did you mean 'video_dir'"):
        load_benchmark("tiny", "full", vide_dir="x", **arguments)
    with pytest.raises(ValueError, match="field of TinyBenchmark 'on_brokn'; did you mean 'on_broken'.*on_missing"):
        load_tiny(tiny, tmp_path, on_brokn="skip")
    with pytest.raises(ValueError, match="Unknown field of TinyBenchmark 'digest'"):
        load_benchmark("tiny", "full", digest="x", **arguments)


def test_where_the_data_should_be(tiny, tmp_path):
    with pytest.raises(ValueError, match="TinyBenchmark needs `data_dir`. It holds part_1.jsonl"):
        load_benchmark("tiny", "full")
    with pytest.raises(FileNotFoundError, match="data_dir .*nowhere is not a folder. It holds part_1.jsonl"):
        load_benchmark("tiny", "full", data_dir=tmp_path / "nowhere")


def test_one_folder_has_one_cache_however_it_is_spelt(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny.parent)
    builders = [
        find_loader("tiny")(str(tmp_path / "cache"), "full", path) for path in (tiny, "tiny", f"{tiny}/../tiny/")
    ]
    assert len({builder.cache_dir for builder in builders}) == 1


def test_the_registry_holds_documented_loaders():
    """A loader without its source, licence, splits and odd cases sends its readers searching."""
    assert {"msrvtt", "synthetic", "video_folder"} <= set(list_benchmarks())
    for name in list_benchmarks():
        loader = find_loader(name)
        documentation = inspect.getmodule(loader).__doc__
        for part in ("Source:", "Splits:", "Odd cases:"):
            assert part in documentation, f"{name} does not tell its {part}"
        assert f'load_benchmark("{name}"' in documentation
        assert all(config.task in ROW_SCHEMAS and config.description for config in loader.BUILDER_CONFIGS)


@pytest.mark.parametrize(
    "module", ["datasets_scripts", "datasets_scripts.building.usable_videos", "datasets_scripts.synthetic.generation"]
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
    assert str(list_benchmarks()) in printed and "a blue circle moves left on a white background" in printed
    assert all(f"`{name}`" in readme for name in list_benchmarks())
    assert all(", ".join(f"`{column}`" for column in task.features) in readme for task in ROW_SCHEMAS.values())


def test_columns_are_those_of_the_documentation():
    documented = " ".join(inspect.getdoc(datasets_scripts.load_benchmark).split())
    for name in ("retrieval", "qa", "moments"):
        assert ", ".join(f"`{column}`" for column in ROW_SCHEMAS[name].features) in documented
    for task in ROW_SCHEMAS.values():
        assert list(task.features)[:2] == [f"{task.media}_id", task.media] and task.id_column in task.features


# ---------------------------------------------------------------------------------------------------------------------
# What loaders share: streams, skip lists, coverage, held-out videos, files by name
# ---------------------------------------------------------------------------------------------------------------------


def load_tiny(folder, tmp_path, **arguments):
    return load_benchmark("tiny", "full", data_dir=folder, cache_dir=str(tmp_path / "cache"), **arguments)


def test_a_stream_has_the_rows_of_the_table(tiny, tmp_path):
    table, stream = load_tiny(tiny, tmp_path), load_tiny(tiny, tmp_path, streaming=True)
    assert list(stream) == list(table) == ["train"]
    assert list(stream["train"]) == table["train"].to_list()
    assert stream["train"].features == table["train"].features


def test_a_stream_is_shared_by_processes_file_by_file(tiny, tmp_path):
    stream = load_tiny(tiny, tmp_path, split="train", streaming=True)
    assert stream.num_shards == 2
    parts = [[row["caption_id"] for row in split_dataset_by_node(stream, rank, 2)] for rank in range(2)]
    assert all(parts) and sorted(parts[0] + parts[1]) == sorted(row["caption_id"] for row in stream)


def test_a_stream_looks_for_videos_as_it_goes(tiny, tmp_path):
    (tiny / "b.avi").unlink()
    stream = load_tiny(tiny, tmp_path, split="train", streaming=True)
    rows = iter(stream)
    assert [next(rows)["video_id"], next(rows)["video_id"]] == ["a", "a"]
    with pytest.raises(UnusableVideosError, match=r"tiny/full: .*b\.avi is missing"):
        next(rows)
    kept = load_tiny(tiny, tmp_path, split="train", streaming=True, on_missing="skip", skip_list=["c"])
    assert [row["video_id"] for row in kept] == ["a", "a"]
    with pytest.raises(ValueError, match="on_broken='skip'` opens every video first"):
        load_tiny(tiny, tmp_path, streaming=True, on_broken="skip")


def test_a_skip_list_is_ids_or_a_file(tiny, tmp_path, caplog):
    path = tmp_path / "skip.txt"
    path.write_text("# written by check\nb  # broken: no picture\n\nnot in this set\n")
    for skip_list in (path, str(path), ["b"], {"b", "x"}):
        rows = load_tiny(tiny, tmp_path, split="train", skip_list=skip_list)
        assert rows["video_id"][:] == ["a", "a", "c", "c"]
    assert "tiny/full: the skip list leaves out 1 videos and 2 of 6 rows" in caplog.text
    with pytest.raises(FileNotFoundError, match="skip_list nowhere.txt is not a file"):
        load_tiny(tiny, tmp_path, skip_list="nowhere.txt")
    with pytest.raises(UnusableVideosError, match="the skip list names all of its 3 videos"):
        load_tiny(tiny, tmp_path, split="train", skip_list=list("abc"))


def test_coverage_counts_what_is_left_of_a_split(tiny, tmp_path):
    whole = compute_coverage(load_tiny(tiny, tmp_path, split="train"))
    assert whole.is_complete and str(whole) == "6 of 6 rows (100.0 %)"
    (tiny / "a.avi").unlink()
    part = load_tiny(tiny, tmp_path, split="train", on_missing="skip", skip_list=["b"])
    assert str(compute_coverage(part)) == "2 of 6 rows (33.3 %)" and not compute_coverage(part).is_complete
    assert compute_coverage(part.select([0])).rows == 1
    assert compute_coverage(load_tiny(tiny, tmp_path, split="train[:50%]", on_missing="skip")).total == 6


def test_validation_videos_are_held_out_of_training(tmp_path, add_loader):
    add_loader(TINY)
    folder = tmp_path / "many"
    folder.mkdir()
    names = [f"clip{number}" for number in range(300)]
    lines = [json.dumps({"clip": name, "sentences": ["one", "two"]}) for name in names]
    (folder / "part_1.jsonl").write_text("\n".join(lines))
    for name in names:
        (folder / f"{name}.avi").touch()
    splits = load_tiny(folder, tmp_path, validation_fraction=0.2)
    train, validation = (set(splits[name]["video_id"]) for name in ("train", "validation"))
    assert not train & validation and train | validation == set(names)
    assert 40 <= len(validation) <= 80 and splits["validation"].num_rows == 2 * len(validation)
    more = set(load_tiny(folder, tmp_path, validation_fraction=0.4, split="validation")["video_id"])
    assert validation < more  # the same videos first, whatever the share
    with pytest.raises(ValueError, match="Expected `validation_fraction` between 0 and 1, got 1.5"):
        load_tiny(folder, tmp_path, validation_fraction=1.5)


def test_of_few_videos_one_is_held_out(tiny, tmp_path):
    (tiny / "part_2.jsonl").unlink(missing_ok=True)
    names = [f"clip{number}" for number in range(3)]
    for name in names:
        (tiny / f"{name}.avi").touch()
    rows = [json.dumps({"clip": name, "sentences": ["one", "two"]}) + "\n" for name in names]
    (tiny / "part_1.jsonl").write_text("".join(rows))
    splits = load_tiny(tiny, tmp_path, validation_fraction=0.001)
    (held_out,) = set(splits["validation"]["video_id"])
    assert held_out == min(names, key=hash_fraction)
    assert set(splits["train"]["video_id"]) == set(names) - {held_out}
    # the order of the files does not matter, and neither does which split is asked for
    (tiny / "part_1.jsonl").write_text("".join(reversed(rows)))
    for split in ("validation", "train"):
        alone = load_tiny(tiny, tmp_path, validation_fraction=0.001, split=split, only_split=split)
        assert set(alone["video_id"]) == set(splits[split]["video_id"])
        streamed = load_tiny(tiny, tmp_path, validation_fraction=0.001, split=split, streaming=True)
        assert {row["video_id"] for row in streamed} == set(splits[split]["video_id"])
    (tiny / "part_1.jsonl").write_text(rows[0])
    with pytest.raises(AnnotationError, match=r"no record of the split 'train' \(validation_fraction=0.001 divides"):
        load_tiny(tiny, tmp_path, validation_fraction=0.001, split="train")
    (tiny / "part_1.jsonl").write_text(rows[0] + '{"clip": "clip1"}')
    with pytest.raises(AnnotationError, match=r"part_1.jsonl, line 2: expected .*sentences"):
        load_tiny(tiny, tmp_path, validation_fraction=0.001)


NAMED = """
from clipbert.datasets_scripts.loaders.tiny import *

class Named(TinyBenchmark):
    BUILDER_CONFIGS = TinyBenchmark.BUILDER_CONFIGS

    @classmethod
    def annotation_files(cls, config):
        return {split: [Path(config.data_dir) / "all.jsonl"] for split in ("train", "validation", "test")}

    def load_records(self, split, files):
        yield from (record for record in read_jsonl(files[0]) if record.values["split"] == split)
"""


def test_an_empty_split_is_an_error_for_who_asks_for_it(tiny, tmp_path, add_loader, caplog):
    (tmp_path / "named.py").write_text(NAMED)
    add_loader(tmp_path / "named.py")

    def load_named(folder, tmp_path, **arguments):
        return load_benchmark("named", "full", data_dir=folder, cache_dir=str(tmp_path / "cache"), **arguments)

    rows = [{"clip": f"clip{number}", "sentences": ["one"], "split": "train"} for number in range(3)]
    (tmp_path / "all.jsonl").write_text("\n".join(json.dumps(row) for row in [*rows, {**rows[0], "split": "test"}]))
    (tmp_path / "clip0.avi").touch()
    with caplog.at_level("WARNING"):
        assert set(load_named(tmp_path, tmp_path, on_missing="keep")) == {"train", "test"}
    assert "all.jsonl holds no record of the split 'validation': it is left out." in caplog.text
    assert load_named(tmp_path, tmp_path, split="test").num_rows == 1
    assert load_named(tmp_path, tmp_path, split="train[:2]+test", on_missing="keep").num_rows == 3
    for split in ("validation", "validation[:50%]", "train+validation"):
        with pytest.raises(AnnotationError, match=r"all.jsonl holds no record of the split 'validation'$"):
            load_named(tmp_path, tmp_path, split=split)
    (tmp_path / "all.jsonl").write_text("")
    with pytest.raises(AnnotationError, match="'train'.*'validation'.*'test'"):
        load_named(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("split", "size", "expected"),
    [
        ("train[:95%]", 6, "train[:5]"),
        ("train[95%:]", 6, "train[5:]"),
        ("train[-5%:]", 6, "train[5:]"),
        ("train[:-5%]", 6, "train[:5]"),
        ("train[:1%]", 6, "train[:1]"),
        ("train[50%:100%]", 6, "train[3:6]"),
        ("train[0%:50%]+test[:50%]", 6, "train[0:3]+test[:2]"),
        ("train[95%:]", 2, "train[1:]"),
        ("train[95%:]", 1, "train[95%:]"),  # cannot be cut
        ("train[2:4]", 6, "train[2:4]"),
        ("train", 6, "train"),
    ],
)
def test_a_share_of_few_rows_has_one(split, size, expected):
    assert in_rows(split, {"train": size, "test": 4}) == expected


def test_shares_of_many_rows_are_those_of_datasets():
    for size in (40, 1001):
        for percent in range(100):
            ranges = [
                (part.from_, part.to)
                for text in (f"train[{percent}%:]", in_rows(f"train[{percent}%:]", {"train": size}))
                for part in ReadInstruction.from_spec(text).to_absolute({"train": size})
            ]
            assert ranges[0] == ranges[1] or percent * size < 50 or (100 - percent) * size < 50


def test_media_are_found_by_name_whatever_their_container(tmp_path):
    for name in ("a/x.MP4", "b/x.webm", "b/3.5_s-4.2.avi", ".trash/y.mp4", "notes.txt", "c/y.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    index = MediaIndex(tmp_path)
    assert index.locate("3.5_s-4.2", ".mp4") == f"{tmp_path}/b/3.5_s-4.2.avi"
    assert index.locate("a/x", ".mp4") == f"{tmp_path}/a/x.MP4"
    assert index.locate("y", ".mp4") == f"{tmp_path}/y.mp4"  # where it is expected
    with pytest.raises(AmbiguousMediaError, match=r"'x' fits 2 files in .*: a/x\.MP4, b/x\.webm"):
        index.locate("x", ".mp4")
    before = index.digest()
    (tmp_path / "b" / "new.mkv").touch()
    assert MediaIndex(tmp_path).digest() != before == index.digest()


# ---------------------------------------------------------------------------------------------------------------------
# Annotation files
# ---------------------------------------------------------------------------------------------------------------------


def test_a_zip_and_a_gz_are_read_without_unpacking(tmp_path):
    text = json.dumps({"sentences": [{"caption": "a"}, {"caption": "b"}]})
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("folder/x.json", text)
        archive.writestr("readme.txt", "hello")
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(text.encode()))
    for path, member in ((tmp_path / "x.zip", "x.json"), (tmp_path / "x.json.gz", None)):
        records = list(read_json_list(path, "sentences", member))
        assert [record.require("caption") for record in records] == ["a", "b"]
        assert str(records[1].error("no")) == f"{path}, sentences[1]: no"
    with pytest.raises(AnnotationError, match=r"x\.zip: expected one file y\.json in it, got folder/x\.json, readme"):
        list(read_json_list(tmp_path / "x.zip", member="y.json"))
    (tmp_path / "cut.zip").write_bytes((tmp_path / "x.zip").read_bytes()[:60])
    with pytest.raises(AnnotationError, match=r"cut\.zip: expected a whole zip archive"):
        read_json(tmp_path / "cut.zip")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {}, "b": {}, "a": {}}', "the key 'a' stands twice in one object"),
        ('{"a": [1]', r"expected a JSON document in UTF-8 \(Expecting"),
        ('{"a": [1]}', r"x\.json, a: expected a JSON object such as \{...\}, got \[1\]"),
        ("[1]", "expected a JSON object, got list"),
    ],
)
def test_malformed_json_documents_are_named(text, message, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(AnnotationError, match=message):
        list(read_json_dict(tmp_path / "x.json"))


def test_tables_without_header_and_with_quotes_as_letters(tmp_path):
    (tmp_path / "x.tsv").write_bytes(b'one\tsays "hi\r\ntwo\tb\r\nthree\r\n')
    rows = read_csv(tmp_path / "x.tsv", "\t", ["id", "text"], csv.QUOTE_NONE)
    assert next(rows).values == {"id": "one", "text": 'says "hi'} and next(rows).line == 2
    with pytest.raises(AnnotationError, match=r"x\.tsv, line 3: expected the 2 columns"):
        next(rows)
    record = Record({"n": "3", "x": "three"}, tmp_path / "x.tsv", 7)
    assert record.number("n", int) == 3
    with pytest.raises(AnnotationError, match=r"x\.tsv, line 7: expected 'x' to be a number, got 'three'"):
        record.number("x")
