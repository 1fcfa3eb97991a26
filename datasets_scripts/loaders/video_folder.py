# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A user's own folder of videos with captions, questions, moments or classes.

    load_benchmark("video_folder", config="retrieval", data_dir="my_videos")

Source:    whatever you have, in any container FFmpeg reads.
Layout:    `captions.jsonl`   {"video": "a.mp4", "caption": "a dog runs"}          "caption" may be a list of sentences
           `questions.jsonl`  {"video": "a.mp4", "question": "what runs?", "answer": "dog"}
                              optional "options" (list; "answer" is one of them or its position) and "answer_type"
           `moments.jsonl`    {"video": "a.mp4", "caption": "the dog stops", "start_s": 1.5, "end_s": 3}
                              or {"video": "a.mp4", "query": "the dog stops", "start": 1.5, "end": 3}, in seconds, too;
                              optional "duration_s" or "duration". Lines with one "question_id" are windows of one query
           `labels.jsonl`     {"video": "a.mp4", "label": "running"}
                              optional "group": what the clip was cut from, such as a film; clips of one stay together.
                              {"video": "a.mp4", "labels": ["running", "barking"]} where a video shows several or none (in .csv
                              "running|barking"); all lines of the files have the one or the other
           or the same as `.csv` with a header line ("options" as a JSON list). A video may have any number of lines.
           `file="train_9k.json"` names a file that is called otherwise. For captions it may be a JSON object as
           mmaction2 and Mug-STAN have it, {"a.mp4": ["a dog runs", "the dog stops"], ...}; for moments one as ActivityNet
           Captions has it, {"a": {"duration": 9.5, "timestamps": [[1.5, 3], ...], "sentences": [...]}, ...}, or lines of
           text as Charades-STA has them, `a 1.5 3##the dog stops`. The videos of these need no suffix and may lie in
           sub-folders.
           Classes need no file: folders by class, `running/a.mp4`, or `train/running/a.mp4`, `validation/...`, `test/...`, as
           Kinetics and image classification have them. In labels "video_name" and "tag" may stand for "video" and "label".
           Optional everywhere: "video_id" (else the name as written) and "caption_id" / "question_id" / "moment_id".
           `columns=["category"]` keeps further columns of texts or numbers in the rows, to group scores by for example (null
           where a line has none).
Splits:    folders `train/`, `validation/`, `test/` with such files in each; or one file with a column "split"; or one
           file without it, which is "train". `held_out=0.15` makes a validation and a test split, where there is none,
           of so many of the training videos each: always the same ones, by a hash of their ids. With labels it is the
           share of every class, and clips of one recording (the column "group", else names such as v_Punch_g08_c01 and those
           of Kinetics) go to one split; `validation_split="clip"` divides clips. `validation_fraction` makes the former alone.
Videos:    relative to the file that names them, or to a folder `videos/` next to it, or to `video_dir`. Names that lead
           out of that folder are refused; links inside it are followed. `videos\\a.mp4` of Windows, accents as macOS
           writes them and `a.MP4` for `a.mp4` are found.
Odd cases: classes are numbered by alphabet. `classes`, `max_train_per_class` and `max_val_per_class` take some of them.
           A video in two classes, a class that is evaluated and not trained, and one with a single recording where some has
           to be held out, are errors with file and line.
           Missing videos stop the loading, or are dropped and counted (`on_missing`); see `checks.py` for broken ones.
"""

import hashlib
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from os.path import splitext
from pathlib import Path

import datasets

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoTextBuilder
from clipbert.datasets_scripts.building.class_folders import SPLIT_NAMES, class_folders, lone_class, read_class_folders
from clipbert.datasets_scripts.building.classes import LabelledClip, hold_out, labelled_clips, recording_in_name
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES, MediaIndex, relative_name
from clipbert.datasets_scripts.building.moments import positive_number, read_timed_lines, timed_sentences
from clipbert.datasets_scripts.building.records import (
    AnnotationError,
    Record,
    parse_json,
    read_csv,
    read_json,
    read_json_dict,
    read_jsonl,
)
from clipbert.datasets_scripts.building.splits import hash_fraction
from clipbert.support.names import unknown_name


FILE_STEMS = {
    "retrieval": "captions",
    "qa": "questions",
    "moments": "moments",
    "classification": "labels",
    "detection": "boxes",  # of generated videos alone
}
EVALUATED = ("validation", "test")
# how moments may call their columns, too
SHORT_NAMES = {"caption": "query", "start_s": "start", "end_s": "end", "duration_s": "duration"}
SEVERAL = "labels"  # the column of videos that may be in several classes


def read_captions(path: Path) -> Iterator[Record]:
    """One JSON object: the sentences of each video by its name; a text stands for a list of one."""
    document = read_json(path)
    if not isinstance(document, dict):
        raise AnnotationError(f'{path}: expected {{"<video>": ["<sentence>", ...], ...}}, got {document!r:.80}')
    for video, captions in document.items():
        yield Record({"video": video, "caption": captions}, path, entry=video)


def read_timed_videos(path: Path) -> Iterator[Record]:
    """The moments of each video, as ActivityNet Captions has them; ends beyond the video are cut to its length."""
    for video, record in read_json_dict(path):
        duration_s = positive_number(record, "duration")
        for number, (start_s, end_s, sentence) in enumerate(timed_sentences(record)):
            times = {"start_s": start_s, "end_s": min(end_s, duration_s), "duration_s": duration_s}
            yield Record({"video": video, "caption": sentence.strip(), **times}, path, entry=f"{video}[{number}]")


def read_timed_names(path: Path) -> Iterator[Record]:
    """Lines as Charades-STA has them."""
    for record in read_timed_lines(path):
        yield Record({"video": record.values.pop("video_id"), **record.values}, path, record.line)


READERS = {".jsonl": read_jsonl, ".csv": read_csv}
READERS_OF_NAMED = {  # of files that `file` names, by task
    "retrieval": {".json": read_captions},
    "moments": {".json": read_timed_videos, ".txt": read_timed_names},
}


def readers_of(task: str) -> dict[str, Callable[[Path], Iterator[Record]]]:
    return READERS | READERS_OF_NAMED.get(task, {})


def read_records(path: Path, config: BenchmarkConfig) -> Iterator[Record]:
    """The records of an annotation file, or of a folder whose sub-folders are classes."""
    if is_file_of_records(path):
        return readers_of(config.task)[path.suffix.lower()](path)
    root = Path(config.data_dir)
    return read_class_folders(root, split="" if path == root else path.name)


def is_file_of_records(path: Path) -> bool:
    return path.suffix.lower() in {suffix for task in FILE_STEMS for suffix in readers_of(task)}


@dataclass
class VideoFolderConfig(BenchmarkConfig):
    """
    `question_task` keeps only the questions whose column "task" says so (one file may hold several kinds); `file`
    names the file to read, where it is not called as the layout has it. `held_out` is the share of the training videos
    that becomes the split "validation", and the share that becomes "test", where the folder lacks them. `columns` are further
    ones that rows keep. `language` is for model cards.
    """

    question_task: str | None = None
    file: str | None = None
    language: str | None = None
    held_out: float = 0.0
    columns: list[str] | None = None


class VideoFolder(VideoTextBuilder):
    """Videos of the user's own, with `captions`, `questions` or `moments` as .jsonl or .csv."""

    BUILDER_CONFIG_CLASS = VideoFolderConfig
    BUILDER_CONFIGS = [
        VideoFolderConfig(
            name="retrieval", task="retrieval", description="captions.jsonl: find the video of a sentence"
        ),
        VideoFolderConfig(name="qa", task="qa", description="questions.jsonl: open-ended or multiple-choice answers"),
        VideoFolderConfig(name="moments", task="moments", description="moments.jsonl: when a described event happens"),
        VideoFolderConfig(
            name="classification",
            task="classification",
            description="labels.jsonl, or folders by class: which one it is",
        ),
    ]
    MEDIA_WITH_ANNOTATIONS = True
    LAYOUT = (
        "It is a folder with captions.jsonl, questions.jsonl, moments.jsonl or labels.jsonl (or .csv), or with train/, "
        "validation/ and test/ that hold them; for classes also with videos in folders by class, or train/<class>/."
    )

    @classmethod
    def default_config(cls, data_dir: Path) -> str | None:
        known = [config.name for config in cls.BUILDER_CONFIGS]
        present = [name for name, stem in FILE_STEMS.items() if name in known and any(find_files(data_dir, stem))]
        if not present and class_folders(data_dir):
            return "classification"
        return present[0] if len(present) == 1 else None

    @classmethod
    def annotation_files(cls, config: VideoFolderConfig) -> dict[str, list[Path]]:
        files = cls.given_files(config)
        files |= dict.fromkeys(cls.divide_training_videos(config).values(), files.get("train"))
        return {split: files[split] for split in ("train", *EVALUATED) if split in files}

    @classmethod
    def divide_training_videos(cls, config: VideoFolderConfig) -> dict[str, str]:
        """The split that each training video goes to; empty where none has to be held out."""
        share, given = config.held_out, cls.given_files(config)
        if not 0 <= share < 0.5:
            raise ValueError(f"Expected `held_out` from 0 to below 0.5, got {share!r}")
        missing = [split for split in EVALUATED if split not in given]
        if not share or not missing or "train" not in given:
            return {}
        records = (record for path in given["train"] for record in read_records(path, config))
        records = (record for record in records if split_of(record, default="train") == "train")
        if config.task == "classification":
            clips = (clip for record in records for clip in clips_of(record))
            return divide_classes(
                [clip for clip in clips if clip.label in (config.classes or [clip.label])],
                missing,
                config,
                cls.names_several(given["train"]),
            )
        ids = {video_id(record) for record in records}
        if len(ids) <= len(missing):
            raise ValueError(
                f"{config.data_dir} has no split {' and no split '.join(missing)}, and {len(ids)} training videos are too "
                f"few to hold out some: {len(missing) + 1} are needed."
            )
        return divide(sorted(ids, key=hash_fraction), missing, share)

    @classmethod
    def describe_splits(cls, config: VideoFolderConfig) -> str:
        if not config.held_out:
            return super().describe_splits(config)
        counts = Counter(cls.divide_training_videos(config).values())
        held_out = [split for split in EVALUATED if split in counts]
        return (
            ""
            if not held_out
            else (
                f"{config.data_dir} has no split {' and no split '.join(held_out)}: of its {counts.total()} training videos "
                f"{' and '.join(f'{counts[split]} for {split}' for split in held_out)} are held out, always the same ones, and "
                f'{counts["train"]} remain. A column "split" would decide instead.'
            )
        )

    @classmethod
    def given_files(cls, config: VideoFolderConfig) -> dict[str, list[Path]]:
        root, stem = Path(config.data_dir), FILE_STEMS[config.task]
        if config.file is not None:
            return cls.named_file(root / config.file, config)
        found = find_files(root, stem)
        if not found and config.task == "classification":
            if folders := class_folders(root):
                return folders
            if (alone := lone_class(root)) is not None:
                raise AnnotationError(f"{root}: expected folders of two classes at least, got {alone!r} alone")
        if not found:
            raise FileNotFoundError(f"No {stem}.jsonl or {stem}.csv in {root} or in its split folders. {cls.LAYOUT}")
        in_root = [path for path in found if path.parent == root]
        if len(in_root) < len(found) and in_root:
            raise ValueError(
                f"Expected {stem} either in {root} or in its split folders, got {', '.join(map(str, found))}"
            )
        splits = {}
        for path in found:
            for split in [SPLIT_NAMES[path.parent.name]] if not in_root else splits_inside(path, config):
                splits.setdefault(split, []).append(path)
        for split, paths in splits.items():
            if len(paths) > 1:
                raise ValueError(f"Expected one file for the split {split!r}, got {' and '.join(map(str, paths))}")
        return splits

    @classmethod
    def named_file(cls, path: Path, config: VideoFolderConfig) -> dict[str, list[Path]]:
        known = readers_of(config.task)
        if path.suffix.lower() not in known:
            raise ValueError(f"Expected `file` to end in {', '.join(sorted(known))}, got {config.file!r}")
        if not path.is_file():
            raise FileNotFoundError(f"{cls.__name__}: `file` {path} is not there. {cls.LAYOUT}")
        return {split: [path] for split in splits_inside(path, config)}

    @classmethod
    def content_digest(cls, config: VideoFolderConfig, files: list[Path]) -> str:
        nested = [(path.parent / "videos").is_dir() for path in files]  # decides `video_path`, as the names there do
        names = MediaIndex(config.video_dir or config.data_dir).digest()
        files = [path for path in files if is_file_of_records(path)]  # folders by class: the names say all
        return hashlib.sha256(f"{super().content_digest(config, files)} {nested} {names}".encode()).hexdigest()[:32]

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        self.video_roots = {}
        source = "train" if split in self.divided.values() else split
        for path in files:
            root = self.config.video_dir or str(path.parent)
            self.video_roots[path] = MediaIndex(root), (path.parent / "videos").is_dir()
            if not is_file_of_records(path):
                self.video_roots[path] = MediaIndex(self.media_root), False
            in_split_folder = path.parent != Path(self.config.data_dir) and self.config.file is None
            for record in read_records(path, self.config):
                of_split = split_of(record, default=source) == source
                if in_split_folder and not of_split:
                    raise record.error(f"expected the split of its folder, {source!r}, got {record.values['split']!r}")
                if source == "train":
                    of_split = of_split and self.divided.get(video_id(record), "train") == split
                wanted = self.config.question_task
                if of_split and (wanted is None or record.require("task") == wanted):
                    yield record

    @cached_property
    def divided(self) -> dict[str, str]:
        return self.divide_training_videos(self.config)

    @classmethod
    def divides_by_itself(cls, config: VideoFolderConfig) -> bool:
        return bool(config.held_out)

    def held_out_splits(self) -> list[str]:
        return [*super().held_out_splits(), *(split for split in EVALUATED if split in self.divided.values())]

    def class_names(self) -> list[str]:
        paths = dict.fromkeys(path for paths in self.annotations.values() for path in paths)
        records = (record for path in paths for record in read_records(path, self.config))
        names = sorted({clip.label for record in records for clip in clips_of(record)} - {None})
        if len(names) == 1:
            raise AnnotationError(
                f"{', '.join(map(str, paths))}: expected two classes at least, got {names[0]!r} alone"
            )
        return names

    def has_several_classes(self) -> bool:
        return self.has_several

    @cached_property
    def has_several(self) -> bool:
        return self.names_several(chain(*self.annotations.values()))

    @staticmethod
    def names_several(paths: Iterable[Path]) -> bool:
        """Whether annotation files have the column "labels"; a mixture with "label" is refused where it is read."""
        firsts = (next(READERS[path.suffix.lower()](path), None) for path in paths if is_file_of_records(path))
        return any(record is not None and SEVERAL in record.values for record in firsts)

    def video_path(self, record: Record) -> str:
        name, (index, has_videos) = video_name(record), self.video_roots[record.file]
        if record.file.suffix.lower() in READERS_OF_NAMED["moments"] and self.config.task == "moments":
            stem, suffix = splitext(name)
            return index.locate(stem if suffix.lower() in VIDEO_SUFFIXES else name, ".mp4")
        inside = has_videos and not self.config.video_dir and relative_name(name).partition("/")[0] != "videos"
        return index.find(f"videos/{name}" if inside else name)

    def _info(self) -> datasets.DatasetInfo:
        info = super()._info()
        for name in self.config.columns or ():
            if name in info.features:
                raise ValueError(f"`columns`: rows have {name!r} already, or make it themselves; leave it out")
            info.features[name] = datasets.Value("string" if self.holds_text(name) else "float64")
        return info

    def holds_text(self, name: str) -> bool:
        """Whether a further column holds texts, or numbers: the first value says so."""
        known = {}
        for path in dict.fromkeys(chain(*self.annotations.values())):
            for record in read_records(path, self.config):
                known |= dict.fromkeys(record.values)
                if (value := record.values.get(name)) is not None:
                    if isinstance(value, bool) or not isinstance(value, str | int | float):
                        raise record.error(
                            f"expected {name!r} of `columns` to be a text or a number, got {value!r:.80}"
                        )
                    return isinstance(value, str)
        raise ValueError(f"`columns`: {unknown_name('column', name, known)}")

    def further_columns(self, record: Record) -> dict:
        found = {}
        for name in self.config.columns or ():
            value, is_text = record.values.get(name), self.info.features[name].dtype == "string"
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, str if is_text else int | float)
            ):
                kind = "a text" if is_text else "a number"
                raise record.error(f"expected {name!r} to be {kind} as in other lines, or null, got {value!r:.80}")
            found[name] = value
        return found

    def text(self, record: Record) -> Iterator[dict]:
        values, task = record.values, self.config.task
        row = {"video_id": video_id(record), **self.further_columns(record)}
        if task == "classification":
            label = label_of(record, self.config.classes)
            if isinstance(label, list) != self.has_several:
                raise record.error(f"expected a column {SEVERAL!r} in all lines or in none")
            yield {**row, "label": label, "recording": recording_of(record)}
        elif task == "qa":
            yield {**row, **question_columns(record)}
        elif task == "moments":
            yield {**row, **moment_columns(record)}
        else:
            captions = record.require("caption", (str, list))
            captions = [captions] if isinstance(captions, str) else captions
            identifier = as_text(values.get("caption_id"))
            for number, caption in enumerate(captions):
                yield {
                    **row,
                    "caption": caption,
                    "caption_id": f"{identifier}-{number}" if identifier and number else identifier,
                }


def find_files(root: Path, stem: str) -> list[Path]:
    folders = [root, *(root / name for name in SPLIT_NAMES)]
    candidates = [folder / f"{stem}{suffix}" for folder in folders for suffix in (".jsonl", ".csv")]
    return [path for path in candidates if path.is_file()]


def splits_inside(path: Path, config: BenchmarkConfig) -> list[str]:
    """The splits that the column "split" names; without such a column all is for training."""
    found, unnamed = set(), None
    for record in read_records(path, config):
        found.add(split_of(record, default=""))
        unnamed = record if "split" not in record.values else unnamed
    if unnamed and found != {""}:
        raise unnamed.error("expected a column 'split', as other lines of the file have it")
    return sorted(found - {""}) or ["train"]


def split_of(record: Record, default: str) -> str:
    if "split" not in record.values:
        return default
    if str(record.values["split"]) not in SPLIT_NAMES:
        raise record.error(f"expected 'split' to be train, validation or test, got {record.values['split']!r}")
    return SPLIT_NAMES[record.values["split"]]


def video_name(record: Record) -> str:
    return record.require("video_name" if "video" not in record.values and "video_name" in record.values else "video")


def video_id(record: Record) -> str:
    return as_text(record.values.get("video_id")) or video_name(record)


def label_of(record: Record, chosen: Sequence[str] | None = None) -> str | list[str]:
    """The class of a video; where a video may be in several, those of them that are `chosen`."""
    if SEVERAL in record.values:
        labels = record.values[SEVERAL]
        labels = labels.split("|") if isinstance(labels, str) and labels.strip() else labels or []
        names = [str(name).strip() for name in labels] if isinstance(labels, list) else [""]
        if "label" in record.values or "" in names or len(set(names)) < len(names):
            raise record.error(
                f"expected 'labels' (and no 'label') to be a list of different classes, in .csv with '|' between them, got {labels!r}"
            )
        return [name for name in names if chosen is None or name in chosen]
    name = "tag" if "label" not in record.values and "tag" in record.values else "label"
    return str(record.require(name, (str, int))).strip()


def recording_of(record: Record) -> str | None:
    return as_text(record.values.get("group")) or recording_in_name(video_name(record))


def clips_of(record: Record) -> Iterator[LabelledClip]:
    place = Record({}, record.file, record.line, record.entry)
    return labelled_clips(video_id(record), label_of(record), recording_of(record), place)


def divide_classes(
    clips: Sequence[LabelledClip], held_out: Sequence[str], config: VideoFolderConfig, several: bool
) -> dict[str, str]:
    """The split of each clip: of every class so large a share in each of the splits that are held out."""
    splits, rest = {clip.video_id: "train" for clip in clips}, clips
    for number, split in enumerate(held_out):
        share = config.held_out / (1 - number * config.held_out)  # of what is left
        chosen = hold_out(rest, share, config.validation_split or "recording", config.split_seed, several)
        splits |= dict.fromkeys(chosen, split)
        rest = [clip for clip in rest if clip.video_id not in chosen]
    return splits


def divide(ids: Sequence[str], held_out: Sequence[str], share: float) -> dict[str, str]:
    """The split of each of some videos, in the order of their hashes; every split gets one, and training the rest."""
    splits, first = dict.fromkeys(ids, "train"), 0
    for number, split in enumerate(held_out, start=1):
        most = len(ids) - 1 - len(held_out[number:])
        end = min(max(bisect(ids, number * share, key=hash_fraction), first + 1), most)
        splits |= dict.fromkeys(ids[first:end], split)
        first = end
    return splits


def moment_columns(record: Record) -> dict:
    values = record.values
    names = {name: name if name in values or short not in values else short for name, short in SHORT_NAMES.items()}
    duration_s = record.number(names["duration_s"]) if values.get(names["duration_s"]) not in (None, "") else None
    return {
        "caption": record.require(names["caption"]),
        "start_s": record.number(names["start_s"]),
        "end_s": record.number(names["end_s"]),
        "duration_s": duration_s,
        "moment_id": as_text(values.get("moment_id")),
        "question_id": as_text(values.get("question_id")),
    }


def question_columns(record: Record) -> dict:
    values, answer = record.values, record.require("answer", (str, int))
    options = values.get("options") or []
    if isinstance(options, str):
        try:
            options = parse_json(options)
        except ValueError:
            raise record.error(f"expected 'options' to be a JSON list of texts, got {options!r}") from None
    if not isinstance(options, list):
        raise record.error(f"expected 'options' to be a list of texts, got {options!r}")
    index = None
    if options and isinstance(answer, int):
        if not 0 <= answer < len(options):
            raise record.error(f"expected 'answer' to be a position from 0 to {len(options) - 1}, got {answer}")
        index = answer
    elif options.count(answer) == 1:
        index = options.index(answer)
    return {
        "question": record.require("question"),
        "answer": str(answer if index is None else options[index]),
        "options": options,
        "answer_index": index,
        "answer_type": as_text(values.get("answer_type")) or "",
        "question_id": as_text(values.get("question_id")),
    }


def as_text(value) -> str | None:
    return None if value is None or value == "" else str(value)
