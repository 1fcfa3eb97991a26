# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""HowTo100M: what is said in a million instruction videos, and when, for pre-training.

    load_benchmark("howto100m", config="caption", split="train", data_dir="howto100m", on_missing="skip", streaming=True)
    load_benchmark("howto100m", config="per_video", data_dir="howto100m", video_dir="videos", streaming=True)

Source:    https://www.di.ens.fr/willow/research/howto100m (Miech et al. 2019), `HowTo100M.zip`, `raw_caption.zip`,
           `howto100m_captions.zip` (https://github.com/antoine77340/MIL-NCE_HowTo100M)
Licence:   none stated for the captions, which YouTube recognised from speech; the videos belong to their uploaders,
           under YouTube's terms, and are for research after a form.
Layout:    `caption.json`, `raw_caption.json` or `raw_caption_superclean.json` (.gz too), unpacked, each an object
           {"<video id>": {"start": [7.6, ...], "end": [12.2, ...], "text": ["...", ...]}, ...}; per_video: a file
           `<video id>.csv` (start,end,text) or `<video id>.json` for each video, in `howto100m_captions/` or `captions/`,
           optionally with MIL-NCE's `howto100m_videos.csv` (column video_path) of the videos to read;
           `HowTo100M_v1.csv` for the field `category`; webdataset: `<anything>.tar`, see `webdataset.py`.
Splits:    train: 1.2 million videos with 136 million narrations.
Videos:    `<video id>.mp4`, `.webm` or `.mkv` in `video_dir` (or `data_dir`), not in folders below it.
Odd cases: narrations overlap, since they are subtitles that stay for two lines: all stay as they are. Those without
           words, as the removal of stop words leaves them, are left out and counted. One that ends before it begins,
           or lists of different lengths, are errors. The json files have gigabytes: one video at a time is in memory,
           so repeated ids go unnoticed, and workers do not share such a file as they share files per video.
           `category="Food and Entertaining"` keeps the videos of that `category_1`; `video_list="food.txt"` those of a file in
           `data_dir` with one id a line (or of a csv with the column video_id), as subsets are published.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoTextBuilder
from clipbert.datasets_scripts.building.json_entries import read_entries
from clipbert.datasets_scripts.building.media import visible_files
from clipbert.datasets_scripts.building.records import AnnotationError, Record, read_csv, read_json, read_lines
from clipbert.datasets_scripts.building.webdataset import find_shards, read_samples
from clipbert.datasets_scripts.fetching.sources import by_hand
from clipbert.support.names import unknown_name


logger = logging.getLogger(__name__)

CAPTION_FOLDERS = ("howto100m_captions", "captions")
VIDEO_TABLE = "HowTo100M_v1.csv"


@dataclass
class HowTo100MConfig(BenchmarkConfig):
    """`category` keeps the videos with that `category_1` in HowTo100M_v1.csv, `video_list` those whose ids a file holds."""

    category: str | None = None
    video_list: str | None = None


class HowTo100M(VideoTextBuilder):
    """HowTo100M: narrated instruction videos, one row per narration."""

    BUILDER_CONFIG_CLASS = HowTo100MConfig
    BUILDER_CONFIGS = [
        HowTo100MConfig(name="caption", task="moments", description="caption.json: without stop words"),
        HowTo100MConfig(name="raw_caption", task="moments", description="raw_caption.json: every word"),
        HowTo100MConfig(
            name="raw_caption_superclean",
            task="moments",
            description="raw_caption_superclean.json: every word, cleaned",
        ),
        HowTo100MConfig(
            name="per_video",
            task="moments",
            description="one csv or json per video, as for MIL-NCE: workers share them",
        ),
        HowTo100MConfig(
            name="webdataset",
            task="video_text",
            description="tar archives of clips with captions; rows hold the bytes",
        ),
    ]
    LAYOUT = (
        "It holds caption.json, raw_caption.json, raw_caption_superclean.json, howto100m_captions/ or .tar archives."
    )
    SOURCES = (
        by_hand(
            "caption.json, raw_caption.json, raw_caption_superclean.json, howto100m_captions/<video id>.csv or *.tar",
            "Captions: https://www.rocq.inria.fr/cluster-willow/amiech/howto100m/howto100m_captions.zip. Videos "
            "(12 TB): after the form on https://www.di.ens.fr/willow/research/howto100m/. Cut them into shards of your own.",
            kind="annotations",
            status="gated",
        ),
    )
    IS_HUGE = True
    DEFAULT_WRITER_BATCH_SIZE = 100  # rows may hold videos

    @classmethod
    def split_files(cls, config: HowTo100MConfig) -> dict[str, list[tuple[str, ...]]]:
        if config.name in ("per_video", "webdataset"):
            return {}
        return {"train": [(f"{config.name}.json",), (f"{config.name}.json.gz",)]}

    @classmethod
    def annotation_files(cls, config: HowTo100MConfig) -> dict[str, list[Path] | tuple[Path, ...]]:
        chosen_by = cls.chosen_by(config)
        for field, name in chosen_by.items():
            if config.task == "video_text":
                raise ValueError(f"`{field}` chooses videos by their ids, which samples of tar archives do not have.")
            if not Path(config.data_dir, name).is_file():
                raise FileNotFoundError(f"`{field}` needs {name} in {config.data_dir}.")
        if config.task == "video_text":
            return find_shards(config.data_dir)
        if config.name != "per_video":
            return super().annotation_files(config)
        root = Path(config.data_dir)
        folder = next((root / name for name in CAPTION_FOLDERS if (root / name).is_dir()), root)
        files = {path.stem: path for suffix in (".csv", ".json") for path in visible_files(folder, suffix)}
        if folder == root:
            files = {
                name: path
                for name, path in files.items()
                if path.name not in (VIDEO_TABLE, "howto100m_videos.csv", *chosen_by.values())
            }
        if (listed := root / "howto100m_videos.csv").is_file():
            files = dict(find_captions(record, files) for record in read_csv(listed))
        if not files:
            raise FileNotFoundError(f"No <video id>.csv or <video id>.json in {folder}. {cls.LAYOUT}")
        return {"train": list(files.values())}

    @staticmethod
    def chosen_by(config: HowTo100MConfig) -> dict[str, str]:
        """The files that say which videos are wanted, by the field that asks for it."""
        named = {"category": config.category and VIDEO_TABLE, "video_list": config.video_list}
        return {field: name for field, name in named.items() if name}

    @classmethod
    def content_digest(cls, config: HowTo100MConfig, files: list[Path]) -> str:
        files = [*files, *(Path(config.data_dir) / name for name in cls.chosen_by(config).values())]
        changed = os.stat(config.video_dir or config.data_dir).st_mtime_ns  # which videos lie there decides the paths
        return f"{super().content_digest(config, files)}{changed:x}"

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        self.last_video = ("", "")
        wanted, without_words = self.read_wanted(), 0
        for path in files:
            if self.config.task == "video_text":
                yield from read_samples(path)
                continue
            for record in self.read_narrations(path):
                if wanted is not None and record.values["video_id"] not in wanted:
                    continue
                if not str(record.values.get("text", "no column")).strip():
                    without_words += 1
                else:
                    yield record
        if without_words:
            logger.warning("%s: left out %d narrations without words", files[0], without_words)

    def read_narrations(self, path: Path) -> Iterator[Record]:
        if path.suffix.lower() == ".csv":
            for number, record in enumerate(read_csv(path, required=("start", "end", "text"))):
                yield Record({**record.values, "video_id": path.stem, "number": number}, path, record.line)
            return
        whole = self.config.name != "per_video"
        for entry in read_entries(path) if whole else [Record(read_json(path), path, entry=path.stem)]:
            if not isinstance(entry.values, dict):
                raise entry.error(f"expected a JSON object with start, end and text, got {entry.values!r:.80}")
            columns = {name: entry.values.get(name) for name in ("start", "end", "text")}
            lengths = {name: len(column) if isinstance(column, list) else None for name, column in columns.items()}
            if None in lengths.values() or len(set(lengths.values())) > 1:
                raise entry.error(f"expected lists start, end and text of one length, got lengths {lengths}")
            for number, (start, end, text) in enumerate(zip(*columns.values(), strict=True)):
                values = {"start": start, "end": end, "text": text, "video_id": entry.entry, "number": number}
                yield Record(values, path, entry=f"{entry.entry}[{number}]")

    def read_wanted(self) -> set[str] | None:
        """Ids of the wanted videos; `None` stands for all of them."""
        of_category = self.read_category() if self.config.category else None
        if not self.config.video_list:
            return of_category
        listed = read_ids(Path(self.config.data_dir) / self.config.video_list)
        return listed if of_category is None else listed & of_category

    def read_category(self) -> set[str]:
        """Ids of the videos of the wanted category."""
        table = Path(self.config.data_dir) / VIDEO_TABLE
        wanted, known = set(), set()
        for record in read_csv(table):
            category = record.require("category_1")
            known.add(category)
            if category == self.config.category:
                wanted.add(record.require("video_id"))
        if not wanted:
            raise AnnotationError(f"{table}: {unknown_name('category', self.config.category, known)}")
        return wanted

    def video_path(self, record: Record) -> str | bytes:
        if self.config.task == "video_text":
            return record.values["video"]
        video_id = record.values["video_id"]
        if video_id != self.last_video[0]:
            paths = [f"{self.media_root}/{video_id}{suffix}" for suffix in (".mp4", ".webm", ".mkv")]
            self.last_video = video_id, next(filter(os.path.isfile, paths), paths[0])
        return self.last_video[1]

    def text(self, record: Record) -> Iterator[dict]:
        values = record.values
        if self.config.task == "video_text":
            name = f"{record.file.stem}/{values['key']}"
            yield {"video_id": name, "caption": values["caption"], "caption_id": name}
            return
        yield {
            "video_id": values["video_id"],
            "caption": record.require("text"),
            "start_s": record.number("start"),
            "end_s": record.number("end"),
            "duration_s": None,
            "moment_id": f"{values['video_id']}-{values['number']}",
        }


def read_ids(path: Path) -> set[str]:
    """The first word of each line of a text, or the column video_id of a csv."""
    if path.suffix.lower() == ".csv":
        ids = {record.require("video_id") for record in read_csv(path, required=("video_id",))}
    else:
        ids = {record.values["line"].split()[0] for record in read_lines(path)}
    if not ids:
        raise AnnotationError(f"{path}: expected ids of videos, the file is empty")
    return ids


def find_captions(record: Record, files: dict[str, Path]) -> tuple[str, Path]:
    """Id and caption file of a row of howto100m_videos.csv."""
    name = record.require("video_path").rpartition("/")[2].rpartition(".")[0]
    if name not in files:
        raise record.error(f"expected captions {name}.csv or {name}.json, got none")
    return name, files[name]
