# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""AVA Actions: who does what where, once a second, in fifteen minutes of each film.

    load_benchmark("ava", config="v2.2", split="validation", data_dir="ava", video_dir="ava/trainval")

Source:    https://research.google.com/ava; annotations and films: https://github.com/cvdfoundation/ava-dataset
Licence:   annotations CC BY 4.0 (Google); the films belong to their uploaders, under YouTube's terms.
Layout:    `ava_train_v2.2.csv`, `ava_val_v2.2.csv`, each with `ava_train_excluded_timestamps_v2.2.csv` (or val), flat or in
           `ava_v2.2/` or `annotations/`; the same with v2.1. The lists of actions, `ava_action_list_*.pbtxt`, are read by
           `read_actions`. `ava_sample.csv` and `ava_val_v2.2_sample.csv` stand in for train and validation.
Splits:    235 films train / 64 validation; the 131 test films have no public boxes. A row is one annotated second of
           a film; train of v2.1 has 837,318 lines, one for each action of each person.
Videos:    `<video_id>.mp4` (or .mkv, .webm), whole films: only seconds 902 to 1798 are annotated.
Odd cases: lines are grouped to people by box and person, seconds by their neighbours: a second that comes up again is an
           error, and so is a repeated line. Seconds on the list of excluded ones are left out and counted, as the
           official evaluation does; without that list nothing is left out, with a warning. A stray underscore after
           the number of a person (`3_`, in copies of v2.2) is dropped and counted. Of the 80 actions, numbered from 1, the
           evaluation uses the 60 of `ava_action_list_v2.2_for_activitynet_2019.pbtxt`; all 80 are in the rows.
"""

import logging
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import AnnotationError, Record, read_csv, read_lines
from clipbert.datasets_scripts.fetching.sources import ACTIVITYNET, MMACTION2, Source, by_hand, github


logger = logging.getLogger(__name__)

NUM_ACTIONS = 80
COLUMNS = ["video_id", "timestamp", "x1", "y1", "x2", "y2", "action_id", "person_id"]
SAMPLES = {"train": "ava_sample.csv", "validation": "ava_val_{}_sample.csv"}


class AVA(VideoTextBuilder):
    """AVA Actions: boxes of people in films, each with all the actions that its person does."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(
            name="v2.2", task="detection", description="labels of 2019, with actions that v2.1 had missed"
        ),
        BenchmarkConfig(name="v2.1", task="detection", description="labels of 2018, on the same films"),
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
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        version = config.name
        choices = {}
        for split, part in (("train", "train"), ("validation", "val")):
            pairs = [
                (f"{folder}ava_{part}_{version}.csv", f"{folder}ava_{part}_excluded_timestamps_{version}.csv")
                for folder in ("", f"ava_{version}/", "annotations/")
            ]
            pairs.append((SAMPLES[split].format(version), "ava_excluded_timestamps_sample.csv"))
            choices[split] = [*pairs, *((name,) for name, _ in pairs)]
        return choices

    def load_records(self, split: str, files: tuple[Path, ...]) -> Iterator[Record]:
        excluded = set()
        if len(files) > 1:
            excluded = {keyframe_of(row) for row in read_csv(files[1], columns=COLUMNS[:2])}
            if not excluded:
                raise AnnotationError(f"{files[1]} holds no timestamp")
        else:
            logger.warning("%s: no list of excluded timestamps lies there, all seconds are kept", files[0])
        left_out, self.strays = 0, 0
        lines = read_csv(files[0], columns=COLUMNS)
        for (video_id, second), people in groupby(lines, key=keyframe_of):
            record = self.read_people(video_id, second, list(people))
            if (video_id, second) in excluded:
                left_out += 1
            else:
                yield record
        if left_out:
            logger.warning("%s: left out %d seconds that %s excludes", files[0], left_out, files[1].name)
        if self.strays:
            logger.warning("%s: dropped a stray underscore from the person of %d lines", files[0], self.strays)

    def read_people(self, video_id: str, second: int, lines: list[Record]) -> Record:
        """The lines of one second as one record, whose actions are grouped by box and person."""
        actions: dict[tuple, list[int]] = {}
        for line in lines:
            box = tuple(line.number(name) for name in COLUMNS[2:6])
            if not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
                raise line.error(f"expected a box x1 < x2, y1 < y2 in [0, 1], got {box}")
            action, person = line.number("action_id", int), line.require("person_id")
            if not 1 <= action <= NUM_ACTIONS:
                raise line.error(f"expected 'action_id' from 1 to {NUM_ACTIONS}, got {action}")
            if person.endswith("_"):
                self.strays, person = self.strays + 1, person.rstrip("_")
            of_person = actions.setdefault((box, person), [])
            if action in of_person:
                raise line.error(f"expected every action of a person once, got {action} of {person!r} again")
            of_person.append(action)
        values = {"video_id": video_id, "second": second, "actions": actions}
        return Record(values, lines[0].file, lines[0].line)

    def video_path(self, record: Record) -> str:
        return self.find_media(record.values["video_id"], ".mp4")

    def text(self, record: Record) -> Iterator[dict]:
        video_id, second, actions = (record.values[name] for name in ("video_id", "second", "actions"))
        yield {
            "video_id": video_id,
            "timestamp_s": float(second),
            "boxes": [list(box) for box, _ in actions],
            "labels": list(actions.values()),
            "person_ids": [person for _, person in actions],
            "keyframe_id": f"{video_id},{second:04d}",
        }


def keyframe_of(line: Record) -> tuple[str, int]:
    return line.require("video_id"), line.number("timestamp", int)


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
