# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""ActivityNet Captions: YouTube videos of two minutes on average, described sentence by sentence with times.

    load_benchmark("activitynet_captions", config="retrieval", split="validation", data_dir="activitynet")

Source:    R. Krishna et al., "Dense-Captioning Events in Videos", ICCV 2017;
           cs.stanford.edu/people/ranjaykrishna/densevid
Licence:   annotations for research (repository of the copy: MIT); the videos belong to their uploaders, under
           YouTube's terms.
Layout:    `train.json`, `val_1.json`, `val_2.json`, or `captions.zip` with them; for moments the files may have the
           names of 2D-TAN, `val.json` and `test.json`.
Splits:    train 10,009 videos (37,421 sentences), val_1 4,917 (17,505), val_2 4,885 (17,031). val_1 and val_2 describe
           the same videos twice; the official test set is not public.
           retrieval          train / validation = val_1, one row a video: its sentences joined by blanks. This is what
                              papers report.
           retrieval_val_2    the same with validation = val_2; numbers differ from those on val_1.
           moments            train / validation = val_1 / test = val_2, one row a sentence, as in 2D-TAN.
           moments_vslnet     train / validation = val_2 / test = val_1, the other way round, as in VSLNet. Papers mean one or
                              the other by "test", and figures of the two differ: say which one a figure stands on. In
                              both, validation and test share their videos (not their sentences), so that what is
                              chosen on the one has seen the videos of the other.
Videos:    `v_<YouTube id>.mp4`, or .mkv, .webm, as they were downloaded. Part of them is gone from YouTube; papers use
           the subset they have.
Odd cases: most sentences begin with a blank: stripped. Ends beyond the video (by rounding, up to 0.01 s: 261 in train,
           134 in val_1, 111 in val_2) become its duration, their number is logged. Four moments of train.json have
           start >= end: they are known by name, left out of `moments` and logged (37,417 remain); any other such
           moment is an error. Paragraphs keep all sentences. `moment_id` is the video with the sentence's position.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoFacts, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.moments import positive_number, timed_sentences
from clipbert.datasets_scripts.building.records import Record, read_json_dict
from clipbert.datasets_scripts.fetching.sources import VSLNET, by_hand, github


logger = logging.getLogger(__name__)

PARTS = {  # the official file of each split
    "retrieval": {"train": "train.json", "validation": "val_1.json"},
    "retrieval_val_2": {"train": "train.json", "validation": "val_2.json"},
    "moments": {"train": "train.json", "validation": "val_1.json", "test": "val_2.json"},
    "moments_vslnet": {"train": "train.json", "validation": "val_2.json", "test": "val_1.json"},
}
ALIASES = {"val_1.json": "val.json", "val_2.json": "test.json"}
REVERSED = {("v_N7ppHQNikv8", 2), ("v_4rKTw99bM8g", 1), ("v_0bosp4-pyTM", 3), ("v_rhOtqArO-3Y", 5)}


class ActivityNetCaptions(VideoTextBuilder):
    """ActivityNet Captions, paragraph retrieval and moments."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(
            name="retrieval", description="find the video of a paragraph; validation is val_1, which papers report"
        ),
        BenchmarkConfig(
            name="retrieval_val_2",
            description="the same with validation = val_2, second descriptions of almost the same videos",
        ),
        BenchmarkConfig(
            name="moments",
            task="moments",
            description="when a sentence happens; validation is val_1, test is val_2, as in 2D-TAN",
        ),
        BenchmarkConfig(
            name="moments_vslnet",
            task="moments",
            description="the same as in VSLNet, the other way round: validation is val_2, test is val_1",
        ),
    ]
    LAYOUT = "It holds train.json, val_1.json and val_2.json, or captions.zip."
    SOURCES = (
        *github(
            VSLNET,
            "data/dataset/activitynet",
            {
                "train.json": (4_041_275, "7e887dd0fc85bd173358caf2c1e9adb6f79a8aa28d129ada22d89e7c6b23d49d"),
                "val_1.json": (1_910_765, "66834fea850b62fd69ec8c23295abae82f6a26518d0353ddd59d98778dbadb0a"),
                "val_2.json": (1_727_033, "37df50829c22e913b369af18c0bfb82277257f037082df3781d4dfc20c35f80d"),
            },
        ),
        by_hand(
            "videos/v_<YouTube id>.mp4",
            "Ask for the videos with the form on http://activity-net.org/download.html (the answer is a link for "
            "seven days), or fetch the YouTube ids that are left. Any container will do.",
            status="gated",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        return {
            split: [(part,), ("captions.zip",), *([(ALIASES[part],)] if part in ALIASES else [])]
            for split, part in PARTS[config.name].items()
        }

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        part = PARTS[self.config.name][split]
        known, num_clamped = [], 0
        for video_id, record in read_json_dict(files[0], part):
            youtube_id(record)
            timed, duration_s, moments = timed_sentences(record), positive_number(record, "duration"), []
            for number, (start_s, end_s, sentence) in enumerate(timed):
                if start_s >= end_s:
                    if (video_id, number) not in REVERSED:
                        raise record.error(
                            f"expected timestamps[{number}] with start < end, got {start_s} and {end_s}"
                        )
                    known.append(f"{video_id}-{number}")
                    if self.config.task == "moments":
                        continue
                num_clamped += end_s > duration_s
                moments.append((number, start_s, min(end_s, duration_s), sentence.strip()))
            yield Record({"video_id": video_id, **record.values, "moments": moments}, record.file, entry=video_id)
        if self.config.task == "moments" and (known or num_clamped):
            logger.warning(
                f"{files[0]}: left out {len(known)} moments that are known to have start >= end "
                f"({', '.join(known) or 'none'}); {num_clamped} ends beyond the video became its duration"
            )

    def video_path(self, record: Record) -> str:
        return self.find_media(record.values["video_id"], ".mp4")

    def text(self, record: Record) -> Iterator[dict]:
        values, video_id = record.values, record.values["video_id"]
        if self.config.task == "retrieval":
            paragraph = " ".join(sentence for *_, sentence in values["moments"])
            yield {"video_id": video_id, "caption": paragraph, "caption_id": video_id}
            return
        for number, start_s, end_s, sentence in values["moments"]:
            times = {"start_s": start_s, "end_s": end_s, "duration_s": values["duration"]}
            yield {"video_id": video_id, "caption": sentence, **times, "moment_id": f"{video_id}-{number}"}

    def video_facts(self) -> dict[str, VideoFacts]:
        return {
            video_id: VideoFacts(record.number("duration"), youtube_id(record))
            for split, files in self.annotations.items()
            for video_id, record in read_json_dict(files[0], PARTS[self.config.name][split])
        }


def youtube_id(record: Record) -> str:
    if not record.entry.startswith("v_"):
        raise record.error(f"expected a key v_<YouTube id>, got {record.entry!r}")
    return record.entry[2:]
