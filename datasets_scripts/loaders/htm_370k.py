# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""HTM-370K: the cooking videos of HowTo100M, with whole sentences in the place of its subtitles.

    load_benchmark("htm_370k", split="train", data_dir="htm_370k", video_dir="howto100m", on_missing="skip", streaming=True)

Source:    https://www.robots.ox.ac.uk/~vgg/research/tan (Han et al. 2022), `sentencified_htm_370k.json`
Licence:   none stated for the sentences; see `howto100m` for the videos.
Layout:    `sentencified_htm_370k.json` (or .gz): `{"<video id>": {"start": [7.6, ...], "end": [12.2, ...], "text": ["...",
           ...]}, ...}`, as the captions of HowTo100M.
Splits:    train: some 370,000 videos of the category "Food and Entertaining" (p).
Videos:    as in `howto100m`: `<video id>.mp4`, `.webm` or `.mkv` in `video_dir` (or `data_dir`), not in folders below it.
Odd cases: the authors joined subtitles into sentences and interpolated the seconds between them. A sentence that takes no time
           then, and one without words, are left out and counted. The videos of `htm_align` are to stay out of training:
           `data.skip_list` of a recipe, or `skip_list=`, takes the authors' `htm_holdout_vid.txt`. `video_list` and `category`
           are those of `howto100m`.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.records import Record
from clipbert.datasets_scripts.fetching.sources import by_hand
from clipbert.datasets_scripts.loaders.howto100m import HowTo100M, HowTo100MConfig


logger = logging.getLogger(__name__)

SENTENCES = "sentencified_htm_370k.json"


class HTM370K(HowTo100M):
    """HTM-370K: narrated cooking videos, one row per sentence."""

    BUILDER_CONFIGS = [
        HowTo100MConfig(
            name="sentences", task="moments", description="whole sentences of the food videos of HowTo100M"
        )
    ]
    LAYOUT = f"It holds {SENTENCES}."
    SOURCES = (
        by_hand(SENTENCES, "Follow 'HTM-370K' on https://www.robots.ox.ac.uk/~vgg/research/tan.", kind="annotations"),
        by_hand("videos/<video id>.mp4", "Those of HowTo100M: see `list howto100m`.", status="gated"),
    )

    @classmethod
    def split_files(cls, config: HowTo100MConfig) -> dict[str, list[tuple[str, ...]]]:
        return {"train": [(SENTENCES,), (f"{SENTENCES}.gz",)]}

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        without_time = 0
        for record in super().load_records(split, files):
            if record.number("start") == record.number("end"):
                without_time += 1
            else:
                yield record
        if without_time:
            logger.warning("%s: left out %d sentences that take no time", files[0], without_time)
