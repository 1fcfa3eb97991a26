# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""AVA Actions: who does what where, once a second, in fifteen minutes of each film.

    load_benchmark("ava", config="v2.2", split="validation", data_dir="ava", video_dir="ava/trainval")
    load_benchmark("ava", config="v2.2", data_dir="ava", proposals="ava/person_proposals.csv", starts_at_s=900)

Source:    https://research.google.com/ava; annotations and films: https://github.com/cvdfoundation/ava-dataset
Licence:   annotations CC BY 4.0 (Google); the films belong to their uploaders, under YouTube's terms.
Layout:    `ava_train_v2.2.csv`, `ava_val_v2.2.csv`, each with `ava_train_excluded_timestamps_v2.2.csv` (or val), flat or in
           `ava_v2.2/` or `annotations/`; the same with v2.1. Beside them, if they are there, the lists of actions with their
           names (`ava_action_list_v2.2.pbtxt`, `ava_action_list_v2.2_for_activitynet_2019.pbtxt`, `label_map.txt`).
           `ava_sample.csv` and `ava_val_v2.2_sample.csv` stand in for train and validation.
Proposals: `proposals` names a file of a person detector, for all splits: `video,second,x1,y1,x2,y2,score`, without a
           header, boxes and scores in [0, 1]. They become the column `proposals`; seconds of a split's films with
           proposals alone, where nobody is annotated, are rows, too. Pickles, as detectors are published in, run code: they are refused.
Splits:    235 films train / 64 validation; the 131 test films have no public boxes. A row is one annotated second of
           a film; train of v2.1 has 837,318 lines, one for each action of each person.
Videos:    `<video_id>.mp4` (or .mkv, .webm), whole films: only seconds 902 to 1798 are annotated. Where films were cut to the
           usual 15 minutes, say `starts_at_s=900`: `timestamp_s` is then that of the cut film.
Odd cases: lines are grouped to people by box and person, seconds by their neighbours: a second that comes up again is an
           error, and so is a repeated line. Seconds on the list of excluded ones are left out and counted, as the
           official evaluation does; without that list nothing is left out, with a warning. A stray underscore after
           the number of a person (`3_`, in copies of v2.2) is dropped and counted. All 80 actions are classes of the rows,
           `label + 1` is their number in the files; one that no list names is called "action 2". The official evaluation counts
           60 of them (`evaluated_classes`): those of the list for ActivityNet, where it is there.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import AnnotationError, Record, read_csv, read_lines
from clipbert.datasets_scripts.fetching.sources import ACTIVITYNET, MMACTION2, Source, by_hand, github


logger = logging.getLogger(__name__)

NUM_ACTIONS = 80
# those with fewer than 25 instances in validation or test; the same in v2.1 and v2.2
NOT_EVALUATED = {2, 16, 18, 19, 21, 23, 25, 31, 32, 33, 35, 39, 40, 42, 44, 50, 53, 55, 71, 75}
FOLDERS = ("", "ava_{}/", "annotations/")
EVALUATED_LISTS = ("ava_action_list_{}_for_activitynet_20*.pbtxt*", "label_map.txt")
LISTS = ("ava_action_list_{}.pbtxt*", *EVALUATED_LISTS)
COLUMNS = ["video_id", "timestamp", "x1", "y1", "x2", "y2", "action_id", "person_id"]
PROPOSAL_COLUMNS = ["video_id", "timestamp", "x1", "y1", "x2", "y2", "score"]
SAMPLES = {"train": "ava_sample.csv", "validation": "ava_val_{}_sample.csv"}


@dataclass
class AVAConfig(BenchmarkConfig):
    """What AVA can be asked for besides.

    Args:
        proposals (`str`, *optional*): File of people that a detector has found; see the module.
        starts_at_s (`float`, defaults to 0): Seconds that were cut from the beginning of every film.
    """

    proposals: str | None = None
    starts_at_s: float = 0.0


class AVA(VideoTextBuilder):
    """AVA Actions: boxes of people in films, each with all the actions that its person does."""

    BUILDER_CONFIG_CLASS = AVAConfig
    BUILDER_CONFIGS = [
        AVAConfig(name="v2.2", task="detection", description="labels of 2019, with actions that v2.1 had missed"),
        AVAConfig(name="v2.1", task="detection", description="labels of 2018, on the same films"),
    ]
    LAYOUT = "It holds the csv files of ava_v2.2.zip (or ava_v2.1.zip)."
    SOURCES = (
        *(
            Source(
                f"ava_{version}.zip",
                (
                    f"https://research.google.com/ava/download/ava_{version}.zip",
                    f"https://s3.amazonaws.com/ava-dataset/annotations/ava_{version}.zip",
                ),
                unpack=".",
            )
            for version in ("v2.2", "v2.1")
        ),
        *github(
            MMACTION2,
            "tools/data/ava",
            {
                "label_map.txt": (1_209, "c3f747abd4b89e7cfc826986fa33e572aa953860082a2c535dc1d333425cd9ab"),
            },
        ),
        *github(
            ACTIVITYNET,
            "Evaluation/ava",
            {
                "ava_action_list_v2.1_for_activitynet_2018.pbtxt.txt": (
                    2_649,
                    "6759290ef3cb5b0339291f2e9dc8994ce74277123f75911fc30d53e30baa5e28",
                ),
            },
        ),
        by_hand(
            "videos/<video id>.mp4, .mkv or .webm",
            "Fetch https://s3.amazonaws.com/ava-dataset/annotations/ava_file_names_trainval_v2.1.txt and for each name "
            "in it https://s3.amazonaws.com/ava-dataset/trainval/<name> (299 films, about 150 GB).",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def complete_config(cls, config_name, data_dir, config_fields):
        config = super().complete_config(config_name, data_dir, config_fields)
        if config.starts_at_s < 0:
            raise ValueError(f"Expected `starts_at_s` to be seconds from 0, got {config.starts_at_s!r}")
        if config.proposals is None:
            return config
        if Path(config.proposals).suffix in (".pkl", ".pickle"):
            raise ValueError(
                f"`proposals`: {config.proposals} is a pickle, which runs code when it is read. Write its boxes as csv, with "
                f"the columns {','.join(PROPOSAL_COLUMNS)} and no header."
            )
        config.proposals = config_fields["proposals"] = str(Path(config.proposals).expanduser().resolve())
        if not Path(config.proposals).is_file():
            raise FileNotFoundError(f"`proposals`: there is no file {config.proposals}.")
        return config

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        version = config.name
        choices = {}
        for split, part in (("train", "train"), ("validation", "val")):
            pairs = [
                (f"{folder}ava_{part}_{version}.csv", f"{folder}ava_{part}_excluded_timestamps_{version}.csv")
                for folder in folders_of(config)
            ]
            pairs.append((SAMPLES[split].format(version), "ava_excluded_timestamps_sample.csv"))
            choices[split] = [*pairs, *((name,) for name, _ in pairs)]
        return choices

    @classmethod
    def content_digest(cls, config: BenchmarkConfig, files: list[Path]) -> str:
        more = [Path(config.proposals)] if config.proposals else []
        return super().content_digest(config, [*files, *find_lists(config, LISTS), *more])

    def class_names(self) -> list[str]:
        names = {number: f"action {number}" for number in range(1, NUM_ACTIONS + 1)}
        for path in reversed(find_lists(self.config, LISTS)):
            names |= read_actions(path)
        return list(names.values())

    @classmethod
    def evaluated_classes(cls, config: BenchmarkConfig) -> list[int] | None:
        lists = find_lists(config, EVALUATED_LISTS)
        numbers = read_actions(lists[0]) if lists else set(range(1, NUM_ACTIONS + 1)) - NOT_EVALUATED
        return [number - 1 for number in sorted(numbers)]

    def load_records(self, split: str, files: tuple[Path, ...]) -> Iterator[Record]:
        excluded = set()
        if len(files) > 1:
            excluded = {keyframe_of(row) for row in read_csv(files[1], columns=COLUMNS[:2])}
            if not excluded:
                raise AnnotationError(f"{files[1]} holds no timestamp")
        else:
            logger.warning("%s: no list of excluded timestamps lies there, all seconds are kept", files[0])
        left_out, films, self.strays = 0, set(), 0
        proposals = self.read_proposals()
        lines = read_csv(files[0], columns=COLUMNS)
        for key, people in groupby(lines, key=keyframe_of):
            record = self.read_people(*key, list(people), proposals.pop(key, []))
            films.add(key[0])
            if key in excluded:
                left_out += 1
            else:
                yield record
        for (video_id, second), found in proposals.items():
            if video_id in films and (video_id, second) not in excluded:
                yield self.read_people(video_id, second, [], found)
        if left_out:
            logger.warning("%s: left out %d seconds that %s excludes", files[0], left_out, files[1].name)
        if self.strays:
            logger.warning("%s: dropped a stray underscore from the person of %d lines", files[0], self.strays)

    def read_proposals(self) -> dict[tuple[str, int], list[Record]]:
        """The lines of the detector's file by film and second."""
        proposals: dict[tuple[str, int], list[Record]] = {}
        if self.config.proposals:
            for line in read_csv(Path(self.config.proposals), columns=PROPOSAL_COLUMNS):
                proposals.setdefault(keyframe_of(line), []).append(line)
        return proposals

    def read_people(self, video_id: str, second: int, lines: list[Record], found: list[Record]) -> Record:
        """The lines of one second as one record: actions are grouped by box and person, and what a detector found."""
        actions: dict[tuple, list[int]] = {}
        for line in lines:
            box = box_of(line)
            action, person = line.number("action_id", int), line.require("person_id")
            if not 1 <= action <= NUM_ACTIONS:
                raise line.error(f"expected 'action_id' from 1 to {NUM_ACTIONS}, got {action}")
            if person.endswith("_"):
                self.strays, person = self.strays + 1, person.rstrip("_")
            of_person = actions.setdefault((box, person), [])
            if action in of_person:
                raise line.error(f"expected every action of a person once, got {action} of {person!r} again")
            of_person.append(action)
        proposals = []
        for line in found:
            score = line.number("score")
            if not 0 <= score <= 1:
                raise line.error(f"expected a score in [0, 1], got {score}")
            proposals.append([*box_of(line), score])
        if second < self.config.starts_at_s:
            raise (lines or found)[0].error(
                f"expected a second of the cut films, which start at {self.config.starts_at_s}"
            )
        values = {"video_id": video_id, "second": second, "actions": actions, "proposals": proposals}
        return Record(values, (lines or found)[0].file, (lines or found)[0].line)

    def video_path(self, record: Record) -> str:
        return self.find_media(record.values["video_id"], ".mp4")

    def text(self, record: Record) -> Iterator[dict]:
        video_id, second, actions = (record.values[name] for name in ("video_id", "second", "actions"))
        yield {
            "video_id": video_id,
            "timestamp_s": second - self.config.starts_at_s,
            "boxes": [list(box) for box, _ in actions],
            "labels": [[action - 1 for action in of_person] for of_person in actions.values()],
            "person_ids": [person for _, person in actions],
            "keyframe_id": f"{video_id},{second:04d}",
            "proposals": record.values["proposals"],
        }


def keyframe_of(line: Record) -> tuple[str, int]:
    return line.require("video_id"), line.number("timestamp", int)


def box_of(line: Record) -> tuple[float, ...]:
    box = tuple(line.number(name) for name in COLUMNS[2:6])
    if not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
        raise line.error(f"expected a box x1 < x2, y1 < y2 in [0, 1], got {box}")
    return box


def folders_of(config: BenchmarkConfig) -> list[str]:
    """Where annotations may lie below `data_dir`."""
    return [folder.format(config.name) for folder in FOLDERS]


def find_lists(config: BenchmarkConfig, patterns: tuple[str, ...]) -> list[Path]:
    """The lists of actions that are there, the best one first."""
    folders = [Path(config.data_dir, folder) for folder in folders_of(config)]
    found = [path for name in patterns for folder in folders for path in sorted(folder.glob(name.format(config.name)))]
    return list(dict.fromkeys(found))


def read_actions(path) -> dict[int, str]:
    """Names of actions by number, of the 60 evaluated ones or of all 80, as the file has them.

    Args:
        path (`str` or `Path`): `ava_action_list_v2.2_for_activitynet_2019.pbtxt`, `ava_action_list_v2.2.pbtxt` (with
            `item { name: "..." id: 1 }` or `label { name: "..." label_id: 1 ... }`), or lines `1: name` as in mmaction2's
            `label_map.txt`.

    Returns:
        `dict[int, str]`: In the order of the file.

    Raises:
        AnnotationError: If a line is of another form, or a number is repeated or not from 1 to 80.
    """
    actions, name = {}, None
    for record in read_lines(Path(path)):
        line = record.values["line"].strip()
        if match := re.fullmatch(r'name: "(.+)"', line):
            name = match[1]
            continue
        if match := re.fullmatch(r"(?:label_)?id: ([0-9]+)", line):
            number = int(match[1])
        elif match := re.fullmatch(r"([0-9]+): (.+)", line):
            number, name = int(match[1]), match[2]
        elif re.fullmatch(r"(item|label) \{|\}|label_type: \w+", line):
            continue
        else:
            raise record.error(f"expected the name or the number of an action, got {line!r}")
        if name is None or number in actions or not 1 <= number <= NUM_ACTIONS:
            raise record.error(
                f"expected a named action with a number of its own from 1 to {NUM_ACTIONS}, got {line!r}"
            )
        actions[number], name = name, None
    if not actions:
        raise AnnotationError(f"{path} names no action")
    return actions
