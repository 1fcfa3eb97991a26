# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""HTM-Align: what is said in 80 cooking videos of HowTo100M, whether it is seen, and if so, when.

    load_benchmark("htm_align", split="test", data_dir="htm_align", video_dir="howto100m")

Source:    https://www.robots.ox.ac.uk/~vgg/research/tan (Han et al. 2022), `htm_align.json`
Licence:   none stated for the annotations; see `howto100m` for the videos.
Layout:    `htm_align.json`: `{"<video id>": [[alignable, start, end, text], ...], ...}`, alignable 1 or 0, times in seconds.
Splits:    test: the sentences of 80 videos in the order in which they are said.
Videos:    `<video id>.mp4` in any folder and container, whole videos.
Odd cases: the seconds of a sentence that is alignable are when it is seen, as people annotated; those of another are when it is
           said. Only the latter may be shown to a model. `sentence_id` counts the sentences of a video from 0.
"""

from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import AnnotationError, Record, is_number, read_json
from clipbert.datasets_scripts.fetching.sources import Source, by_hand


class HTMAlign(VideoTextBuilder):
    """HTM-Align: sentences of narrated videos, with the part that shows them."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(name="alignment", task="alignment", description="when is seen what is said, if it is at all")
    ]
    LAYOUT = "It holds htm_align.json."
    SOURCES = (
        Source("htm_align.json", ("https://www.robots.ox.ac.uk/~htd/tan/htm_align.json",)),
        by_hand("videos/<video id>.mp4", "Those of HowTo100M: see `list howto100m`.", status="gated"),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        return {"test": [("htm_align.json",)]}

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        document = read_json(files[0])
        if not isinstance(document, dict):
            raise AnnotationError(f"{files[0]}: expected a JSON object of videos, got {type(document).__name__}")
        for video_id, sentences in document.items():
            video = Record({"sentences": sentences}, files[0], entry=video_id)
            for number, values in enumerate(video.require("sentences", list)):
                record = Record({"video_id": video_id, "number": number}, files[0], entry=f"{video_id}[{number}]")
                record.values.update(
                    zip(("alignable", "start", "end", "text"), read_sentence(values, record), strict=True)
                )
                yield record

    def video_path(self, record: Record) -> str:
        return self.find_media(record.values["video_id"], ".mp4")

    def text(self, record: Record) -> Iterator[dict]:
        values = record.values
        yield {
            "video_id": values["video_id"],
            "caption": record.require("text").strip(),
            "alignable": bool(values["alignable"]),
            "start_s": float(values["start"]),
            "end_s": float(values["end"]),
            "sentence_id": f"{values['video_id']}-{values['number']}",
        }


def read_sentence(values, record: Record) -> list:
    if not isinstance(values, list) or len(values) != 4:
        raise record.error(f"expected [alignable, start, end, text], got {values!r:.80}")
    alignable, start, end, _ = values
    if alignable not in (0, 1) or not (is_number(start) and is_number(end)):
        raise record.error(f"expected alignable as 0 or 1, start and end in seconds, got {values!r:.80}")
    return values
