# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""MSVD: 1,970 short YouTube clips with about 40 English sentences each.

    load_benchmark("msvd", config="retrieval", split="test", data_dir="msvd")

Source:    D. Chen and W. Dolan, "Collecting Highly Parallel Data for Paraphrase Evaluation", ACL 2011;
           cs.utexas.edu/users/ml/clamp/videoDescription
Licence:   descriptions (c) Microsoft Research, for research; the clips belong to their uploaders, under YouTube's
           terms.
Layout:    `AllVideoDescriptions.txt` (a line "<clip> <sentence>"; those that begin with "#" are comments), or the
           corpus as a table, `video_corpus.csv` (VideoID, Start, End, WorkerID, Source, AnnotationTime, Language,
           Description). With it `train_list.txt`, `val_list.txt`, `test_list.txt` (a clip a line, also in
           `split_lists/` or `msvd_data/`), or `youtube_mapping.txt` ("<clip> vid<N>": 1-1200 train, 1201-1300
           validation, 1301-1970 test).
Splits:    train 1,200 / validation 100 / test 670 clips.
Videos:    `<YouTube id>_<start>_<end>.avi`, as in `YouTubeClips.tar`; start and end in whole seconds.
Odd cases: the test split has about 41 sentences a clip, and every sentence is a query of its own: text-to-video recall
           counts sentences, video-to-text recall (`video_to_text="best"`) takes a clip's best-ranked sentence. The
           same sentence may stand several times with one clip: rows are distinguished by `caption_id`, the clip with the
           position of the sentence among the clip's own. A clip of a list without sentences is an error, and so
           is a sentence of the text file about a clip that no list has (as long as all lists are there). The table
           also describes clips that are not in the splits, in many languages: its English rows about listed clips are
           read, those of them that have no description are left out and counted in the log.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoFacts, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import WHOLE, Record, read_csv, read_lines
from clipbert.datasets_scripts.fetching.sources import Source


logger = logging.getLogger(__name__)

DESCRIPTIONS = ("AllVideoDescriptions.txt", "video_corpus.csv")
LISTS = {"train": "train_list.txt", "validation": "val_list.txt", "test": "test_list.txt"}
MAPPING = "youtube_mapping.txt"
MAPPED = {"train": range(1, 1201), "validation": range(1201, 1301), "test": range(1301, 1971)}


class MSVD(VideoTextBuilder):
    """MSVD, text-to-video retrieval."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(name="retrieval", description="find the clip of a sentence; test ranks 670 clips")
    ]
    LAYOUT = (
        "It holds AllVideoDescriptions.txt, and train_list.txt, val_list.txt, test_list.txt or youtube_mapping.txt."
    )
    SOURCES = (
        Source(
            "AllVideoDescriptions.txt",
            ("https://www.cs.utexas.edu/users/ml/clamp/videoDescription/AllVideoDescriptions.txt",),
        ),
        Source(
            "msvd_data.zip",
            ("https://github.com/ArrowLuo/CLIP4Clip/releases/download/v0.0/msvd_data.zip",),
            unpack=".",
        ),
        Source(
            "YouTubeClips.tar",
            ("https://www.cs.utexas.edu/users/ml/clamp/videoDescription/YouTubeClips.tar",),
            kind="videos",
            unpack="videos",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        return {
            split: list(product(DESCRIPTIONS, (name, f"split_lists/{name}", f"msvd_data/{name}", MAPPING)))
            for split, name in LISTS.items()
        }

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        descriptions, listed = files[0], read_list(files[1], split)
        lists = {name: read_list(paths[1], name) for name, paths in self.annotations.items()}
        is_table = descriptions.suffix == ".csv"
        known = None if is_table or len(lists) < len(LISTS) else set().union(*lists.values())
        counts, num_empty = Counter(), 0
        for record in read_table(descriptions) if is_table else read_sentences(descriptions):
            clip = record.values["clip"]
            if known is not None and clip not in known:
                raise record.error(f"expected a sentence about one of the {len(known)} clips, got {clip!r}")
            if clip not in listed:
                if not is_table:
                    clip_facts(record, clip)  # an error for a line that is none
                continue
            if is_table and not record.values["sentence"].strip():
                num_empty += 1
                continue
            record.values["number"] = counts[clip]
            counts[clip] += 1
            yield record
        for clip, entry in listed.items():
            if not counts[clip]:
                raise entry.error(f"expected a clip that {descriptions.name} describes, got {clip!r}")
        if num_empty:
            logger.warning(f"{descriptions}: left out {num_empty} English rows of {split} without a description")

    def video_path(self, record: Record) -> str:
        return self.find_media(record.values["clip"], ".avi")

    def text(self, record: Record) -> Iterator[dict]:
        clip = record.values["clip"]
        caption_id = f"{clip}-{record.values['number']}"
        yield {"video_id": clip, "caption": record.values["sentence"], "caption_id": caption_id}

    def video_facts(self) -> dict[str, VideoFacts]:
        return {
            clip: VideoFacts(*clip_facts(entry, clip))
            for split, files in self.annotations.items()
            for clip, entry in read_list(files[1], split).items()
        }


def read_list(path: Path, split: str) -> dict[str, Record]:
    """The clips of a split, each with the line that names it."""
    clips: dict[str, Record] = {}
    for entry in read_lines(path):
        clip = entry.values["line"].strip()
        if path.name == MAPPING:
            clip, _, number = clip.partition(" ")
            if not number.startswith("vid") or not WHOLE.fullmatch(number[3:]):
                raise entry.error(f"expected '<clip> vid<N>', got {entry.values['line']!r}")
            if int(number[3:]) not in MAPPED[split]:
                continue
        if clip in clips:
            raise entry.error(f"expected every clip once, got {clip!r} as in {clips[clip].place}")
        clip_facts(entry, clip)
        clips[clip] = entry
    return clips


def read_sentences(path: Path) -> Iterator[Record]:
    for record in read_lines(path):
        line = record.values["line"].strip()
        if line.startswith("#"):
            continue
        clip, _, sentence = line.partition(" ")
        if not sentence:
            raise record.error(f"expected '<clip> <sentence>', got {line!r}")
        yield Record({"clip": clip, "sentence": sentence.strip()}, path, record.line)


def read_table(path: Path) -> Iterator[Record]:
    for record in read_csv(path):
        if record.require("Language") == "English":
            times = (record.number(name, int) for name in ("Start", "End"))
            clip = "_".join([record.require("VideoID"), *map(str, times)])
            sentence = (
                record.values["Description"] if "Description" in record.values else record.require("Description")
            )
            yield Record({"clip": clip, "sentence": sentence}, path, record.line)


def clip_facts(entry: Record, clip: str) -> tuple[float, str]:
    """Seconds and YouTube id of `<YouTube id>_<start>_<end>`."""
    youtube_id, *times = clip.rsplit("_", 2)
    if len(times) != 2 or not all(map(WHOLE.fullmatch, times)) or int(times[0]) >= int(times[1]):
        raise entry.error(f"expected a clip as <YouTube id>_<start>_<end> with start before end, got {clip!r}")
    return float(int(times[1]) - int(times[0])), youtube_id
