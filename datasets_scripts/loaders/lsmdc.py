# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""LSMDC: clips of a few seconds out of about 200 films, each with the sentence of its audio description.

    load_benchmark("lsmdc", config="retrieval", split="test", data_dir="lsmdc2016")

Source:    A. Rohrbach et al., "Movie Description", IJCV 2017; the files of the LSMDC 2016 challenge.
Licence:   gated: user name and password from MPII after signing an agreement for academic use
           (sites.google.com/site/describingmovies); neither sentences nor clips may be passed on.
Layout:    `LSMDC16_annos_training.csv`, `LSMDC16_annos_val.csv`, `LSMDC16_challenge_1000_publictect.csv` (so spelt):
           no header, six columns separated by tabs: clip, start and end as aligned, start and end as extracted,
           sentence. Quotes are letters like any other. Times are "hh.mm.ss.mmm".
Splits:    train 101,079 sentences / validation 7,408 / test 1,000, as their readme counts them. The test split is the
           thousand clips of the retrieval challenge, not the 10,053 of `LSMDC16_annos_test.csv`.
Videos:    `<film>/<clip>.avi`; the film is the clip's name up to its last underscore. Clip names have dots in them.
Odd cases: a clip may have several sentences in train and validation, but not in test, where that is an error. Names of
           people are replaced by SOMEONE. Public loaders leave out clip 1012_Unbreakable_00.05.16.065-00.05.21.941;
           here it stays unless a skip list or `on_broken="skip"` drops it. The recording of a clip is its film.
"""

from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoFacts, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import WHOLE, Record, read_lines
from clipbert.datasets_scripts.fetching.sources import by_hand


COLUMNS = ("clip", "start_aligned", "end_aligned", "start_extracted", "end_extracted", "sentence")


class LSMDC(VideoTextBuilder):
    """LSMDC 2016, retrieval of film clips."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(name="retrieval", description="find the film clip of a sentence; test ranks 1,000 clips")
    ]
    LAYOUT = "It holds the gated files of the LSMDC 2016 challenge; sites.google.com/site/describingmovies/download."
    SOURCES = (
        by_hand(
            "LSMDC16_annos_training.csv, LSMDC16_annos_val.csv, LSMDC16_challenge_1000_publictect.csv",
            "Ask for user name and password with the form on https://sites.google.com/site/describingmovies/download",
            kind="annotations",
            status="gated",
        ),
        by_hand("videos/<film>/<clip id>.avi", "Under the same user name and password.", status="gated"),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        return {
            "train": [("LSMDC16_annos_training.csv",)],
            "validation": [("LSMDC16_annos_val.csv",)],
            "test": [("LSMDC16_challenge_1000_publictect.csv",)],
        }

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        for record in read_clips(files[0]):
            if split == "test":  # the base sees to it that ids are there once
                record.values["caption_id"] = record.values["clip"]
            yield record

    def video_path(self, record: Record) -> str:
        return self.find_media(f"{film_of(record)}/{record.values['clip']}", ".avi")

    def text(self, record: Record) -> Iterator[dict]:
        values = record.values
        yield {"video_id": values["clip"], "caption": values["sentence"], "caption_id": values.get("caption_id")}

    def video_facts(self) -> dict[str, VideoFacts]:
        return {
            record.values["clip"]: VideoFacts(clip_length(record), film_of(record))
            for files in self.annotations.values()
            for record in read_clips(files[0])
        }


def read_clips(path: Path) -> Iterator[Record]:
    for record in read_lines(path):
        cells = record.values["line"].strip().split("\t")
        if len(cells) != len(COLUMNS):
            raise record.error(f"expected the {len(COLUMNS)} columns {', '.join(COLUMNS)} between tabs, got {cells}")
        record = Record(dict(zip(COLUMNS, cells, strict=True)), path, record.line)
        clip_length(record)
        yield record


def film_of(record: Record) -> str:
    film, _, times = record.require("clip").rpartition("_")
    if not film or not times:
        raise record.error(f"expected a clip as <film>_<start>-<end>, got {record.values['clip']!r}")
    return film


def clip_length(record: Record) -> float:
    """Seconds of the clip as it was cut."""
    start_s, end_s = (read_time(record, name) for name in ("start_extracted", "end_extracted"))
    if not start_s < end_s:
        raise record.error(f"expected start_extracted before end_extracted, got {start_s} s and {end_s} s")
    return end_s - start_s


def read_time(record: Record, name: str) -> float:
    """Seconds of "hh.mm.ss.mmm"."""
    parts = record.values[name].split(".")
    if len(parts) != 4 or not all(map(WHOLE.fullmatch, parts)):
        raise record.error(f"expected {name!r} as hh.mm.ss.mmm, got {record.values[name]!r}")
    hours, minutes, seconds, milliseconds = map(int, parts)
    return 3600 * hours + 60 * minutes + seconds + milliseconds / 1000
