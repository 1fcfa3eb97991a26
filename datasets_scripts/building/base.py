# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The builder that every benchmark shares: annotation files in, rows with the same columns per task out.

A loader subclasses `VideoTextBuilder` and answers four questions: which files hold a split (`split_files` or
`annotation_files`), what is in them (`load_records`), where a record's video lies (`video_path`) and which rows it
makes (`text`). It inherits checked rows, errors with file and line, and an Arrow cache that notices changed files.
"""

import copy
import hashlib
import inspect
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

import datasets
from datasets import ClassLabel, List

from clipbert.datasets_scripts.building.classes import (
    DEFAULT_FRACTION,
    LabelledClip,
    check_class_fields,
    count_siblings,
    divide_clips,
    labelled_clips,
    warn,
)
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES, AmbiguousMediaError, MediaIndex
from clipbert.datasets_scripts.building.records import AnnotationError, Record
from clipbert.datasets_scripts.building.rows import ROW_SCHEMAS, check_class, check_texts
from clipbert.datasets_scripts.building.splits import describe_choices, hash_fraction, held_out_up_to, in_rows
from clipbert.datasets_scripts.fetching.sources import Source
from clipbert.support.files import hash_file
from clipbert.support.names import closest, unknown_name


logger = logging.getLogger(__name__)


@dataclass
class BenchmarkConfig(datasets.BuilderConfig):
    """What a loader can be asked for. Subclasses add fields; `load_benchmark(..., field=value)` sets them.

    Args:
        task (`str`): A key of `ROW_SCHEMAS`; decides the columns.
        video_dir (`str`, *optional*): Folder of the videos (or images), where they do not lie with the annotations.
        validation_fraction (`float`, defaults to 0): Share of the training videos that becomes the split "validation",
            where the benchmark has none: always the same ones, and none with a sibling of the same recording in "train",
            where the annotations name recordings. In the task "classification" it is the share of every class, as near
            as whole recordings come to it; elsewhere those with the smallest hashes, one at least.
        validation_split (`str`, *optional*): `"recording"`, the default where recordings are known, or `"clip"`, which holds
            out clips whatever they were cut from, with a warning that says how many have a sibling in "train". Named
            alone it holds out a fifth.
        split_seed (`int`, defaults to 0): Another one holds out others of a class, and keeps others of too many.
        classes (`list[str]`, *optional*): The only classes that are loaded, in the order of the benchmark.
        max_train_per_class (`int`, *optional*): Clips of each class that "train" has at most.
        max_val_per_class (`int`, *optional*): Clips of each class that "validation" has at most.
        language (`str`, *optional*): Language of the texts, as a code of two letters; `None`: nobody knows.
        only_split (`str`, *optional*): Prepare this split alone: no table of a training split that is streamed.
        digest (`str`): Set by the builder, so that other annotations never meet an old cache.
    """

    task: str = "retrieval"
    video_dir: str | None = None
    validation_fraction: float = 0.0
    validation_split: str | None = None
    split_seed: int = 0
    classes: list[str] | None = None
    max_train_per_class: int | None = None
    max_val_per_class: int | None = None
    language: str | None = "en"
    only_split: str | None = None
    digest: str = field(default="", repr=False)


@dataclass(frozen=True)
class VideoFacts:
    """What annotations say about a video apart from its texts; `python -m datasets_scripts check` compares with it.

    Args:
        duration_s (`float`, *optional*): Length in seconds.
        recording (`str`, *optional*): What it was cut from; videos of one recording in two splits are a leak.
    """

    duration_s: float | None = None
    recording: str | None = None


class VideoTextBuilder(datasets.GeneratorBasedBuilder):
    """Base of all loaders; see the module's docstring. `data_dir` holds the original files under their own names."""

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = BenchmarkConfig
    LAYOUT = ""  # what `data_dir` has to hold; shown when it does not
    SOURCES: tuple[Source, ...] = ()  # where its files come from; none: nothing can be fetched
    MEDIA_SUFFIXES: frozenset[str] | None = None  # of files that `find_media` looks up; None: paths are known exactly
    MEDIA_WITH_ANNOTATIONS = False  # they come in one folder: annotations alone are of no use
    IN_PARTS = False  # its files often come in parts and copies: where the classes of two splits differ is no mistake
    IS_HUGE = (
        False  # gigabytes, millions of rows: files are distinguished by size and time, ids are not held to compare
    )

    # ------------------------------------------------------------------------------------------------ a loader's part

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        """For each split the file names that can hold it, best first; the names of one tuple belong together.

        `{"train": [("train.json",), ("annotations.zip",)], "test": [("test.json", "test_ids.txt")]}`
        """
        raise NotImplementedError

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        """The records of a split."""
        raise NotImplementedError

    def video_path(self, record: Record) -> str | Path:
        """Where the video (or image) of a record should lie; whether it does is checked later.

        While rows are made, `datasets` replaces `Path` and `os.path` in a loader's module by slow ones that know URLs:
        joining texts keeps a hundred thousand records a matter of seconds.
        """
        raise NotImplementedError

    def text(self, record: Record) -> Iterable[dict]:
        """The rows of a record, one per caption or question: the task's columns but `video` and, if absent, the id."""
        raise NotImplementedError

    def class_names(self) -> list[str]:
        """Names of the classes in the order of their numbers, for the tasks "classification" and "detection"."""
        raise NotImplementedError

    @classmethod
    def evaluated_classes(cls, config: BenchmarkConfig) -> list[int] | None:
        """Numbers of the classes that the benchmark's own evaluation counts; `None`: all."""
        return None

    def has_several_classes(self) -> bool:
        """Whether a video may be in several classes, or none: the label of a row is a list then, of names in `classes`."""
        return False

    def video_facts(self) -> dict[str, VideoFacts]:
        """What the annotations say about each `video_id` apart from its rows: by default the recordings of labelled clips."""
        clips = (clip for part in self.labelled.values() for clip in part)
        return {clip.video_id: VideoFacts(recording=clip.recording) for clip in clips if clip.recording}

    @classmethod
    def describe_splits(cls, config: BenchmarkConfig) -> str:
        """What who reads a score should know of how the splits were made; empty where the benchmark says it."""
        if config.task != "classification" or not config.validation_fraction:
            return ""
        by_clip = "clip by clip, siblings of one recording on both sides"
        how = by_clip if config.validation_split == "clip" else "in whole recordings where they are known"
        return (
            f"{cls.__name__}/{config.name} has no split 'validation': {config.validation_fraction:.0%} of the training clips of every "
            f"class are held out, {how}, always the same ones."
        )

    @classmethod
    def default_config(cls, data_dir: Path) -> str | None:
        """The config meant when none is named; `None` where the user has to choose."""
        return cls.BUILDER_CONFIGS[0].name if len(cls.BUILDER_CONFIGS) == 1 else None

    @classmethod
    def annotation_files(cls, config: BenchmarkConfig) -> dict[str, list[Path] | tuple[Path, ...]]:
        """The files of each split that is there, by default those of `split_files`.

        `datasets` shares out a list among processes and workers; a tuple stays together.
        """
        root, alternatives = Path(config.data_dir), cls.split_files(config)
        found = {}
        for split, choices in alternatives.items():
            whole = (names for names in choices if all((root / name).is_file() for name in names))
            if names := next(whole, None):
                found[split] = tuple(root / name for name in names)
        if not found:
            wanted = "".join(f"\n  {split}: {describe_choices(choices)}" for split, choices in alternatives.items())
            raise FileNotFoundError(
                f"No annotation file of {cls.__name__}/{config.name} in {root}. Expected for each split:{wanted}\n"
                f"{cls.LAYOUT}"
            )
        return found

    def find_media(self, name: str, default_suffix: str) -> str:
        """Path of a file below `video_dir` (or `data_dir`), by its name without suffix; see `MediaIndex.locate`."""
        return self.media.locate(name, default_suffix)

    # ------------------------------------------------------------------------------------------------ what it inherits

    def __init__(self, cache_dir=None, config_name=None, data_dir=None, **config_fields):
        config = self.complete_config(config_name, data_dir, config_fields)
        self.annotations = self.annotation_files(config)
        if config.validation_fraction:
            self.hold_out_validation(config)
        files = sorted({path for paths in self.annotations.values() for path in paths})
        self.media_root = config.video_dir or config.data_dir
        config_fields["digest"] = self.content_digest(config, files)
        if self.MEDIA_SUFFIXES is not None:
            listing = f"{config_fields['digest']} {self.media.digest()}"
            config_fields["digest"] = hashlib.sha256(listing.encode()).hexdigest()[:32]
        super().__init__(cache_dir=cache_dir, config_name=config.name, data_dir=config.data_dir, **config_fields)

    def expects_media(self) -> bool:
        """Whether videos should be there: a folder for them is named, or one lies with the annotations."""
        if self.MEDIA_WITH_ANNOTATIONS or self.config.video_dir or ROW_SCHEMAS[self.config.task].holds_files:
            return True
        index = MediaIndex(self.media_root, self.MEDIA_SUFFIXES or VIDEO_SUFFIXES)
        return next(index.walk(index.root, set()), None) is not None

    def known_splits(self) -> dict[str, list[tuple[str, ...]]]:
        """The splits of the config with their files, there or not; empty for loaders that look for files themselves."""
        own = type(self).split_files.__func__ is not VideoTextBuilder.split_files.__func__
        return self.split_files(self.config) if own else {}

    def split_of(self, video_id: str, split: str) -> str:
        """The split that a video goes to when a part of the training videos is held out."""
        if split not in ("train", "validation"):
            return split
        held_out = hash_fraction(self.group_of(video_id)) <= self.largest_held_out
        return "validation" if held_out else "train"

    def group_of(self, video_id: str) -> str:
        """What stays together when a part is held out: the recording of a video, else the video."""
        return video_id if self.config.validation_split == "clip" else self.recordings.get(video_id, video_id)

    def source_of(self, split: str) -> str:
        """The split of the annotation files: a validation split that is held out is in those of "train"."""
        return "train" if self.config.validation_fraction and split == "validation" else split

    @cached_property
    def recordings(self) -> dict[str, str]:
        """The recording that each video was cut from, where annotations name one."""
        facts = {} if self.IS_HUGE else self.video_facts()
        return {video_id: fact.recording for video_id, fact in facts.items() if fact.recording}

    def training_ids(self) -> Iterator[str]:
        """The video of each training row."""
        with suppress(ValueError):  # a broken record is reported with its place when its rows are made
            for record in self.load_records("train", self.annotations["train"]):
                yield from (row[f"{ROW_SCHEMAS[self.config.task].media}_id"] for row in self.text(record))

    @cached_property
    def largest_held_out(self) -> float:
        """Recordings with a hash up to this are held out."""
        return held_out_up_to(map(self.group_of, self.training_ids()), self.config.validation_fraction)

    # ------------------------------------------------------------------------------------------------ classes

    @cached_property
    def labelled(self) -> dict[str, list[LabelledClip]]:
        """The clips of `classes` in each split, as the annotations divide them."""
        if self.config.task != "classification":
            return {}
        return {
            split: [
                clip
                for where, row in self.labelled_rows(split)
                for clip in labelled_clips(row["video_id"], row["label"], row.get("recording"), Record({}, *where))
            ]
            for split in self.annotations
            if self.source_of(split) == split
        }

    def labelled_rows(self, split: str) -> Iterator[tuple[tuple, dict]]:
        for record in self.read_records(split, self.annotations[split]):
            try:
                for row in self.text(record):
                    check_texts(row)
                    check_class(row)
                    if self.is_wanted(row):
                        yield (record.file, record.line, record.entry), row
            except AnnotationError:
                raise
            except ValueError as error:
                raise record.error(str(error)) from None

    def is_wanted(self, row: dict) -> bool:
        if isinstance(row["label"], list):
            return self.config.classes is None or bool(row["label"])
        return self.config.classes is None or row["label"] is None or row["label"] in self.config.classes

    @cached_property
    def divided_clips(self) -> dict[str, list[LabelledClip]]:
        """The clips of each split, after holding out and limits.

        Raises:
            AnnotationError: If a video is in two classes, a class cannot be divided or is evaluated without training.
        """
        return divide_clips(self.labelled, self.config, self.where, self.IN_PARTS, self.has_several_classes())

    @cached_property
    def ids_of_splits(self) -> dict[str, set[str]]:
        return {split: {clip.video_id for clip in clips} for split, clips in self.divided_clips.items()}

    def held_out_splits(self) -> list[str]:
        """The splits that are made of training videos here."""
        return ["validation"] if self.config.validation_fraction else []

    def warn_of_siblings(self) -> None:
        """Say how many clips that were held out have a sibling in training, where recordings were not kept together."""
        if self.config.validation_split != "clip" or not self.recordings:
            return
        for split in self.held_out_splits():
            held_out, training = self.clips_of(split), self.clips_of("train")
            if count := count_siblings(held_out, training):
                warn(
                    f"{self.where}: {count} of the {len(held_out)} videos held out for {split!r} ({count / len(held_out):.1%}) "
                    "have a sibling of the same recording in 'train': their scores show how well recordings are remembered, "
                    'not how well new ones are understood. `validation_split="recording"` keeps recordings apart.'
                )

    def clips_of(self, split: str) -> list[LabelledClip]:
        if self.config.task == "classification":
            return list({clip.video_id: clip for clip in self.divided_clips[split]}.values())
        ids = (name for name in dict.fromkeys(self.training_ids()) if self.split_of(name, "train") == split)
        return [LabelledClip(name, None, self.recordings.get(name), Record({}, Path())) for name in ids]

    @property
    def where(self) -> str:
        return f"{type(self).__name__}/{self.config.name} in {self.config.data_dir}"

    def as_dataset(self, split: str | None = None, **options) -> datasets.Dataset | datasets.DatasetDict:
        """
        The tables that were written. A split without rows is left out, and an error if it is asked for.

        A share of rows, as in `train[95%:]`, and what is left of it have at least one row each.
        """
        self.warn_of_siblings()
        sizes = {name: part.num_examples for name, part in self.info.splits.items()}
        asked = [name for name in sizes if split is None or re.search(rf"\b{name}\b", split)]
        empty = {name: self.describe_empty(name) for name in asked if not sizes[name]}
        if split is None and len(empty) < len(asked):
            for message in empty.values():
                logger.warning("%s: it is left out.", message)
            filled = [name for name in asked if name not in empty]
            return datasets.DatasetDict({name: self.as_dataset(name, **options) for name in filled})
        if empty:
            raise AnnotationError("; ".join(empty.values()))
        return super().as_dataset(in_rows(split, sizes), **options)

    def as_streaming_dataset(self, *arguments, **options):
        self.warn_of_siblings()
        return super().as_streaming_dataset(*arguments, **options)

    def describe_empty(self, split: str) -> str:
        files, fraction = ", ".join(map(str, self.annotations[split])), self.config.validation_fraction
        divided = f" (validation_fraction={fraction} divides the training videos)" if fraction else ""
        return f"{files} holds no record of the split {split!r}{divided if split in ('train', 'validation') else ''}"

    @cached_property
    def media(self) -> MediaIndex:
        return MediaIndex(self.media_root, self.MEDIA_SUFFIXES)

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
            asked, near = "no config was named", list(configs)
            if config_name:
                asked = f"got config {config_name!r}"
                alike = closest(config_name, configs, most=len(configs), cutoff=0.8)
                near = [name for name in configs if name.startswith(config_name)]
                near = near or [name for name in configs if config_name in name or name in alike] or list(configs)
            listed = "".join(f"\n  {name}: {configs[name].description}" for name in near)
            raise ValueError(f"{cls.__name__} has several configs and {asked}; choose one of{listed}")
        config = copy.deepcopy(configs[config_name])
        config.data_dir = str(data_dir)
        known = {each.name for each in fields(config)} - {each.name for each in fields(datasets.BuilderConfig)}
        known -= {"task", "digest"}
        for name, value in config_fields.items():
            if name not in known:
                arguments = (
                    "on_missing",
                    "on_broken",
                )  # of `load_benchmark`, which come from the same place in a recipe
                raise ValueError(unknown_name(f"field of {cls.__name__}", name, {*known, *arguments}))
            if name == "video_dir" and value is not None:
                config_fields[name] = value = str(Path(value).expanduser().resolve())
                if not Path(value).is_dir():
                    raise FileNotFoundError(f"{cls.__name__}: video_dir {value} is not a folder.")
            setattr(config, name, value)
        check_class_fields(config, f"{cls.__name__}/{config.name}")
        if config.validation_split and not config.validation_fraction and not cls.divides_by_itself(config):
            config.validation_fraction = config_fields["validation_fraction"] = DEFAULT_FRACTION
        return config

    @classmethod
    def divides_by_itself(cls, config: BenchmarkConfig) -> bool:
        """Whether the config holds videos out in a way of its own."""
        return False

    def hold_out_validation(self, config: BenchmarkConfig) -> None:
        fraction = config.validation_fraction
        if not 0 < fraction < 1:
            raise ValueError(f"Expected `validation_fraction` between 0 and 1, got {fraction!r}")
        if "validation" in self.annotations or "train" not in self.annotations:
            present = ", ".join(self.annotations)
            raise ValueError(
                f"{type(self).__name__}/{config.name} has the splits {present}; `validation_fraction` is for those with "
                "a split 'train' and none 'validation'."
            )
        train = self.annotations["train"]
        others = {split: files for split, files in self.annotations.items() if split != "train"}
        self.annotations = {"train": train, "validation": train, **others}

    @classmethod
    def content_digest(cls, config: BenchmarkConfig, files: list[Path]) -> str:
        """Hash of the annotation files and of the code that reads them: both decide what the cache would hold."""
        digest = hashlib.sha256()
        for path in files:
            digest.update(f"{path}\0".encode())
            if cls.IS_HUGE:
                state = path.stat()
                digest.update(f"{state.st_size} {state.st_mtime_ns}\0".encode())
            else:
                digest.update(hash_file(path).encode())
        for path in cls.code_files():
            digest.update(path.read_bytes())
        return digest.hexdigest()[:32]

    @classmethod
    def code_files(cls) -> list[Path]:
        """What decides how annotations become rows: the loader, those that it inherits from, and all of `building/`."""
        loaders = {Path(inspect.getfile(each)) for each in cls.__mro__ if issubclass(each, VideoTextBuilder)}
        return sorted({*loaders, *Path(__file__).parent.glob("*.py")})

    def _info(self) -> datasets.DatasetInfo:
        features = ROW_SCHEMAS[self.config.task].features.copy()
        if self.config.task == "classification":
            label = ClassLabel(names=self.chosen_class_names())
            features["label"] = List(label) if self.has_several_classes() else label
        if self.config.task == "detection":
            features["labels"] = List(List(ClassLabel(names=self.distinct_class_names())))
        return datasets.DatasetInfo(description=inspect.getdoc(type(self)), features=features)

    def chosen_class_names(self) -> list[str]:
        """The classes that are loaded, in the order of the benchmark."""
        names, chosen = self.distinct_class_names(), self.config.classes
        if chosen is None:
            return names
        if unknown := next((name for name in chosen if name not in names), None):
            raise ValueError(unknown_name(f"class of {self.where}", unknown, names))
        return [name for name in names if name in chosen]

    def distinct_class_names(self) -> list[str]:
        names = self.class_names()
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None or not names:
            files = ", ".join(sorted({str(path) for paths in self.annotations.values() for path in paths})[:4])
            got = f"{twice!r} {names.count(twice)} times" if names else "none"
            raise AnnotationError(f"{files}: expected the names of the classes, each once, got {got}")
        return names

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        if self.config.task == "classification":
            self.divided_clips  # noqa: B018  what is wrong with it is said before anything is written
        only = self.config.only_split  # `check_split` has said which ones there are
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"split": split, "files": files, "several": len(files) > 1})
            for split, files in self.annotations.items()
            if only not in self.annotations or split == only
        ]

    def _generate_examples(self, split: str, files: list[Path], several: bool) -> Iterator[tuple[str, dict]]:
        task = ROW_SCHEMAS[self.config.task]
        first_seen = {}
        once = [task.id_column]  # in all rows
        if self.config.task == "classification":
            once.append(task.media)  # under whatever names
        if self.IS_HUGE:
            once = []
        source = self.source_of(split)
        for record in self.read_records(source, files):
            where = record.file, record.line, record.entry  # not the record, whose columns would stay in memory
            try:
                rows = [(number, row) for number, row in enumerate(self.text(record)) if self.is_in(split, row)]
                if not rows:
                    continue
                media = self.video_path(record)
                media = media if isinstance(media, bytes) else self.inside(str(media), record)
                for number, row in rows:
                    row = {task.media: media, **task.defaults, **row}
                    if row.get(task.id_column) is None:
                        # from file and place, not counted: each process may see only some of the files
                        place = str(record.line) if record.line is not None else record.entry
                        parts = (source, record.file.stem if several else "", place, str(number or ""))
                        row[task.id_column] = "-".join(part for part in parts if part)
                    if task.group_column and row.get(task.group_column) is None:
                        row[task.group_column] = row[task.id_column]
                    check_texts(row)
                    task.check(row)
                    for name in once:
                        key = name, row[name]
                        if key in first_seen:
                            first = Record({}, *first_seen[key])
                            raise ValueError(
                                f"expected every {name!r} once, got {row[name]!r} as in {first.file.name}, {first.place}"
                            )
                        first_seen[key] = where
                    yield row[task.id_column], row
            except (AnnotationError, AmbiguousMediaError):
                raise
            except (ValueError, OverflowError, RecursionError) as error:
                raise record.error(str(error)) from None

    def is_in(self, split: str, row: dict) -> bool:
        """Whether a row of the annotations belongs to the split."""
        if self.config.task == "classification":
            return row["video_id"] in self.ids_of_splits[split]
        media = ROW_SCHEMAS[self.config.task].media
        return not self.config.validation_fraction or split == self.split_of(row[f"{media}_id"], split)

    def read_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        """`load_records`; what it does not complain about by file and line itself is at least reported with the files."""
        try:
            yield from self.load_records(split, files)
        except (AnnotationError, AmbiguousMediaError):
            raise
        except (ValueError, OverflowError, RecursionError) as error:
            raise AnnotationError(f"{', '.join(map(str, files[:4]))}: {error}") from None

    def inside(self, media: str, record: Record) -> str:
        """The path, which no annotation may lead out of the folders that the user named."""
        roots = (self.media_root, self.config.data_dir, str(record.file.parent))
        below = (media[len(root) :] for root in roots if media.startswith(root))
        if not any(name[:1] in ("/", os.sep) and ".." not in re.split(r"[/\\]", name) for name in below):
            raise record.error(
                f"expected a {ROW_SCHEMAS[self.config.task].media} inside {self.media_root}, got {media!r}"
            )
        return media


__all__ = ["BenchmarkConfig", "VideoFacts", "VideoTextBuilder"]
