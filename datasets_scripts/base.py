# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The builder that every benchmark shares: annotation files in, rows with the same columns per task out.

A loader subclasses `VideoTextBuilder` and answers four questions: which files hold a split (`annotation_files`),
what is in them (`load_records`), where a record's video lies (`video_path`) and which rows it makes (`text`).
It inherits checked rows, errors with file and line, and an Arrow cache that notices changed annotations.
"""

import copy
import csv
import hashlib
import inspect
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path

import datasets
from datasets import Features, List, Value


class AnnotationError(ValueError):
    """A record that cannot be used: the message names the file, the line and what was expected."""


@dataclass(frozen=True)
class Record:
    """One record of an annotation file, with where it stands."""

    values: dict
    file: Path
    line: int

    def error(self, message: str) -> AnnotationError:
        return AnnotationError(f"{self.file}, line {self.line}: {message}")

    def require(self, name: str, kind: type | tuple[type, ...] = str):
        """The value of a column that has to be there, not empty and of the right type."""
        value = self.values.get(name)
        if name not in self.values:
            present = ", ".join(map(repr, self.values)) or "no column"
            raise self.error(f"expected a column {name!r}, got {present}")
        empty = value == [] or (isinstance(value, str) and not value.strip())
        if empty or not isinstance(value, kind) or isinstance(value, bool):
            kinds = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
            raise self.error(f"expected {name!r} to be a non-empty {kinds}, got {value!r}")
        return value


@dataclass
class BenchmarkConfig(datasets.BuilderConfig):
    """What a loader can be asked for. Subclasses add fields; `load_benchmark(..., field=value)` sets them.

    Args:
        task (`str`): A key of `TASKS`; decides the columns.
        video_dir (`str`, *optional*): Folder of the videos, where they do not lie with the annotations.
        digest (`str`): Set by the builder, so that other annotations never meet an old cache.
    """

    task: str = "retrieval"
    video_dir: str | None = None
    digest: str = field(default="", repr=False)


def check_caption(row: dict) -> None:
    expect_text(row, "caption")


def check_question(row: dict) -> None:
    expect_text(row, "question")
    expect_text(row, "answer")
    options, index = row["options"], row["answer_index"]
    if not options and index is None:
        return
    if len(options) < 2 or not all(isinstance(option, str) and option.strip() for option in options):
        raise ValueError(f"expected 'options' to be at least two texts, got {options!r}")
    if index is None or not 0 <= index < len(options) or options[index] != row["answer"]:
        raise ValueError(f"expected 'answer' to be exactly one of the options {options!r}, got {row['answer']!r}")


def check_moment(row: dict) -> None:
    expect_text(row, "caption")
    start_s, end_s, duration_s = row["start_s"], row["end_s"], row["duration_s"]
    if not all(math.isfinite(seconds) for seconds in (start_s, end_s, duration_s or 0.0)) or not 0 <= start_s < end_s:
        raise ValueError(f"expected 0 <= start_s < end_s in seconds, got {start_s} and {end_s}")
    if duration_s is not None and end_s > duration_s + 0.5:  # annotators round, players overrun
        raise ValueError(f"expected end_s within the video of {duration_s} s, got {end_s}")


def expect_text(row: dict, name: str) -> None:
    if not isinstance(row.get(name), str) or not row[name].strip():
        raise ValueError(f"expected {name!r} to be a non-empty text, got {row.get(name)!r}")


@dataclass(frozen=True)
class Task:
    """Columns of a task, the one that identifies a row, and the check every row passes."""

    features: Features
    id_column: str
    check: Callable[[dict], None]


TEXT = Value("string")
TASKS = {
    "retrieval": Task(
        Features({"video_id": TEXT, "video": TEXT, "caption": TEXT, "caption_id": TEXT}), "caption_id", check_caption
    ),
    "qa": Task(
        Features(
            {
                "video_id": TEXT,
                "video": TEXT,
                "question": TEXT,
                "answer": TEXT,
                "options": List(TEXT),  # empty for open-ended questions
                "answer_index": Value("int32"),  # of the answer among the options; null without options
                "answer_type": TEXT,
                "question_id": TEXT,
            }
        ),
        "question_id",
        check_question,
    ),
    "moments": Task(
        Features(
            {
                "video_id": TEXT,
                "video": TEXT,
                "caption": TEXT,
                "start_s": Value("float64"),
                "end_s": Value("float64"),
                "duration_s": Value("float64"),  # null where the annotation does not tell
                "moment_id": TEXT,
            }
        ),
        "moment_id",
        check_moment,
    ),
}


class VideoTextBuilder(datasets.GeneratorBasedBuilder):
    """Base of all loaders; see the module's docstring. `data_dir` holds the original files under their own names."""

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = BenchmarkConfig
    LAYOUT = ""  # what `data_dir` has to hold; shown when it does not

    @classmethod
    def annotation_files(cls, config: BenchmarkConfig) -> dict[str, list[Path]]:
        """The files of each split that is there: `{"train": [path, ...], ...}`."""
        raise NotImplementedError

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        """The records of a split."""
        raise NotImplementedError

    def video_path(self, record: Record) -> str | Path:
        """Where the video of a record should lie; whether it does is checked later.

        While rows are made, `datasets` replaces `Path` and `os.path` in a loader's module by slow ones that know URLs:
        joining texts keeps a hundred thousand records a matter of seconds.
        """
        raise NotImplementedError

    def text(self, record: Record) -> Iterable[dict]:
        """The rows of a record, one per caption or question: the task's columns but `video` and, if absent, the id."""
        raise NotImplementedError

    @classmethod
    def default_config(cls, data_dir: Path) -> str | None:
        """The config meant when none is named; `None` where the user has to choose."""
        return cls.BUILDER_CONFIGS[0].name if len(cls.BUILDER_CONFIGS) == 1 else None

    def __init__(self, cache_dir=None, config_name=None, data_dir=None, **config_fields):
        config = self.complete_config(config_name, data_dir, config_fields)
        self.split_files = self.annotation_files(config)
        files = sorted({path for paths in self.split_files.values() for path in paths})
        config_fields["digest"] = self.content_digest(config, files)
        super().__init__(cache_dir=cache_dir, config_name=config.name, data_dir=config.data_dir, **config_fields)

    @classmethod
    def complete_config(cls, config_name: str | None, data_dir, config_fields: dict) -> BenchmarkConfig:
        """The named config with the given fields; unknown names are answered with the known ones."""
        if data_dir is None:
            raise ValueError(f"{cls.__name__} needs `data_dir`. {cls.LAYOUT}")
        data_dir = Path(data_dir).expanduser().resolve()  # the cache key holds the path: one spelling for one folder
        if not data_dir.is_dir():
            raise FileNotFoundError(f"{cls.__name__}: data_dir {data_dir} is not a folder. {cls.LAYOUT}")
        configs = {config.name: config for config in cls.BUILDER_CONFIGS}
        config_name = config_name or cls.default_config(data_dir)
        if config_name not in configs:
            listed = "".join(f"\n  {name}: {config.description}" for name, config in configs.items())
            asked = f"got config {config_name!r}" if config_name else "no config was named"
            raise ValueError(f"{cls.__name__} has several configs and {asked}; choose one of{listed}")
        config = copy.deepcopy(configs[config_name])
        config.data_dir = str(data_dir)
        known = {each.name for each in fields(config)} - {each.name for each in fields(datasets.BuilderConfig)}
        known -= {"task", "digest"}
        for name, value in config_fields.items():
            if name not in known:
                raise ValueError(unknown_name(f"field of {cls.__name__}", name, known))
            if name == "video_dir" and value is not None:
                config_fields[name] = value = str(Path(value).expanduser().resolve())
            setattr(config, name, value)
        return config

    @classmethod
    def content_digest(cls, config: BenchmarkConfig, files: list[Path]) -> str:
        """Hash of the annotation files and of the loader's own source: both decide what the cache would hold."""
        digest = hashlib.sha256()
        for path in files:
            digest.update(f"{path}\0".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        for each in cls.__mro__:
            if each.__module__.split(".")[0] == __name__.split(".")[0]:
                digest.update(Path(inspect.getfile(each)).read_bytes())
        return digest.hexdigest()[:32]

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(description=inspect.getdoc(type(self)), features=TASKS[self.config.task].features)

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"split": split, "files": files, "several": len(files) > 1})
            for split, files in self.split_files.items()
        ]

    def _generate_examples(self, split: str, files: list[Path], several: bool) -> Iterator[tuple[str, dict]]:
        task = TASKS[self.config.task]
        first_seen = {}
        for record in self.load_records(split, files):
            video = self.video_path(record)
            for number, row in enumerate(self.text(record)):
                row = {"video": str(video), **row}
                if row.get(task.id_column) is None:
                    # from file and line, not counted: each process may see only some of the files
                    parts = (split, record.file.stem if several else "", str(record.line), str(number or ""))
                    row[task.id_column] = "-".join(part for part in parts if part)
                try:
                    task.check(row)
                except ValueError as error:
                    raise record.error(str(error)) from None
                key = row[task.id_column]
                if key in first_seen:
                    first = f"{first_seen[key].file.name}, line {first_seen[key].line}"
                    raise record.error(f"expected every {task.id_column!r} once, got {key!r} as in {first}")
                first_seen[key] = record
                yield key, row
        if not first_seen:
            raise AnnotationError(f"{', '.join(map(str, files))} holds no record of the split {split!r}")


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """`Unknown benchmark 'msrvt'; did you mean 'msrvtt'? Known: ...`"""
    known = sorted(known)
    near = get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"Unknown {what} {name!r}{hint} Known: {', '.join(known) or 'none'}"


def read_jsonl(path: Path) -> Iterator[Record]:
    """One JSON object a line; empty lines are passed over."""
    with path.open("rb") as lines:  # bytes: `open(..., encoding=)` breaks when `datasets` streams
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line.decode("utf-8-sig"))
            except ValueError as error:  # bad JSON or bad UTF-8
                shown = line[:80].decode("utf-8", "replace").strip()
                raise AnnotationError(
                    f"{path}, line {number}: expected one JSON object a line, got {shown!r} ({error})"
                ) from None
            record = Record(values, path, number)
            if not isinstance(values, dict):
                raise record.error(
                    f"expected a JSON object such as {{...}}, got {type(values).__name__}: {values!r:.80}"
                )
            yield record


def read_csv(path: Path, delimiter: str = ",") -> Iterator[Record]:
    """A table with a header line; every value is text. `line` is the last line of a record that spans several."""
    with path.open("r", encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
        try:
            for values in reader:
                record = Record(values, path, reader.line_num)
                if None in values or None in values.values():
                    raise record.error(f"expected the {len(reader.fieldnames)} columns of the header, got {values}")
                yield record
        except (csv.Error, UnicodeDecodeError) as error:
            raise AnnotationError(
                f"{path}, line {reader.line_num + 1}: expected a line of CSV in UTF-8 ({error})"
            ) from None
