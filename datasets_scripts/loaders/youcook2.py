# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""YouCook2: cooking videos of some minutes, cut into steps of a recipe, each with a sentence that tells it.

    load_benchmark("youcook2", config="retrieval", split="validation", data_dir="youcook2")

Source:    http://youcook2.eecs.umich.edu (Zhou et al. 2018), `youcookii_annotations_trainval.tar.gz`; the clips on which
           zero-shot retrieval is measured: https://github.com/antoine77340/MIL-NCE_HowTo100M, `csv/validation_youcook.csv`
Licence:   none stated for the sentences; the videos belong to their uploaders, under YouTube's terms.
Layout:    `validation_youcook.csv` with the columns end, start, task, text, video_id; `youcookii_annotations_trainval.json`:
           `{"database": {"<video id>": {"duration", "subset", "recipe_type", "annotations": [{"segment": [s, e], "id",
           "sentence"}, ...]}}}`, with "training" and "validation" for subset.
Splits:    retrieval: train 10,337 steps of 1,333 videos of the json, if it is there (p); validation the clips of the csv,
           3,350 (p), as MIL-NCE and most others measure. segments: the same training / validation 3,492 steps of 457 videos
           (p), all of the json. Sentences of the official test videos are not public.
Videos:    `<video_id>.mp4` in any folder, whole videos: a row is one step, from `start_s` to `end_s`.
Odd cases: the csv has fewer steps than the json, because videos were gone when it was made. In its columns the end stands
           before the start, in whole seconds. A step that ends after its video, as annotated, is cut there and counted.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoFacts, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import AnnotationError, Record, is_number, read_csv, read_json
from clipbert.datasets_scripts.fetching.sources import by_hand, github


logger = logging.getLogger(__name__)

ANNOTATIONS = "youcookii_annotations_trainval.json"
SUBSETS = {"train": "training", "validation": "validation"}


class YouCook2(VideoTextBuilder):
    """YouCook2, retrieval of the steps of recipes."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(
            name="retrieval",
            task="moments",
            description="find the clip of a sentence among MIL-NCE's validation clips",
        ),
        BenchmarkConfig(name="segments", task="moments", description="the same among all official validation steps"),
    ]
    LAYOUT = f"It holds validation_youcook.csv of MIL-NCE, or {ANNOTATIONS}."
    SOURCES = (
        *github(
            "antoine77340/MIL-NCE_HowTo100M/786f96be148a1502940ff3c0596f678d36a5fbd1",
            "csv",
            {"validation_youcook.csv": (None, None)},
        ),
        by_hand(
            ANNOTATIONS,
            "Unpack youcookii_annotations_trainval.tar.gz from http://youcook2.eecs.umich.edu/download",
            kind="annotations",
        ),
        by_hand(
            "videos/<video id>.mp4", "From YouTube, or ask on http://youcook2.eecs.umich.edu for those that are gone."
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        validation = "validation_youcook.csv" if config.name == "retrieval" else ANNOTATIONS
        return {"train": [(ANNOTATIONS,)], "validation": [(validation,)]}

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        if files[0].suffix == ".csv":
            for number, record in enumerate(read_csv(files[0], required=("start", "end", "text", "video_id"))):
                record.values.update(number=number, duration=None)
                yield record
            return
        cut = 0
        for record in read_segments(files[0], SUBSETS[split]):
            if record.values["end"] > record.values["duration"]:
                record.values["end"], cut = record.values["duration"], cut + 1
            yield record
        if cut:
            logger.warning("%s, %s: cut %d steps that end after their video", files[0], split, cut)

    def video_path(self, record: Record) -> str:
        return self.find_media(record.require("video_id"), ".mp4")

    def text(self, record: Record) -> Iterator[dict]:
        yield {
            "video_id": record.require("video_id"),
            "caption": record.require("text").strip(),
            "start_s": record.number("start"),
            "end_s": record.number("end"),
            "duration_s": record.values["duration"],
            "moment_id": f"{record.values['video_id']}-{record.values['number']}",
        }

    def video_facts(self) -> dict[str, VideoFacts]:
        return {
            record.values["video_id"]: VideoFacts(record.values["duration"])
            for split, files in self.annotations.items()
            for record in self.load_records(split, files)
        }


def read_segments(path: Path, subset: str) -> Iterator[Record]:
    """The steps of the videos of a subset."""
    document = read_json(path)
    videos = document.get("database") if isinstance(document, dict) else None
    if not isinstance(videos, dict):
        raise AnnotationError(f"{path}: expected a JSON object with 'database', an object of videos")
    for video_id, values in videos.items():
        video = Record(values, path, entry=video_id)
        if not isinstance(values, dict):
            raise video.error(f"expected a JSON object such as {{...}}, got {values!r:.80}")
        if video.require("subset") != subset:
            continue
        duration = video.number("duration")
        for number, step in enumerate(video.require("annotations", list)):
            place = Record(step, path, entry=f"{video_id}[{number}]")
            if not isinstance(step, dict):
                raise place.error(f"expected a JSON object such as {{...}}, got {step!r:.80}")
            segment = place.require("segment", list)
            if [is_number(second) for second in segment] != [True, True]:
                raise place.error(f"expected 'segment' as [start, end] in seconds, got {segment!r:.80}")
            columns = {"start": segment[0], "end": segment[1], "text": place.require("sentence"), "duration": duration}
            yield Record({"video_id": video_id, "number": number, **columns}, path, entry=place.entry)
