# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""DiDeMo: Flickr videos of up to 30 s, with descriptions of single moments or with all of them as one paragraph.

    load_benchmark("didemo", config="retrieval", split="test", data_dir="didemo")

Source:    L. A. Hendricks et al., "Localizing Moments in Video with Natural Language", ICCV 2017; annotations in
           github.com/LisaAnne/LocalizingMoments, folder `data`.
Licence:   annotations: BSD 2-Clause, as their readme says; each video has its own Creative Commons licence, many of
           them NC, ND or SA: see `video_licenses.txt`.
Layout:    `train_data.json`, `val_data.json`, `test_data.json`.
Splits:    train 8,395 videos (as published) / validation 1,065 (4,180 descriptions) / test 1,004 (4,021), counted by
           Flickr id. retrieval: one row a video, its descriptions in the order of the file, joined by blanks.
           moments: one row a description.
Videos:    under the annotated name ("35034348999@N01_6060447507_dc1a90b8ef.mov") with whatever suffix they have on
           disk, none included. `video_id` is that name without suffix.
Odd cases: 29 validation and 33 test videos are annotated under two names, ".mov" and ".mp4": they are one video with
           one Flickr id, and one paragraph. If both files are there, the one named first is taken. Blanks and line
           ends around descriptions are stripped.
           Annotators chose chunks of 5 s, the first and last of which `times` has for each of them. A moment is the
           choice that most annotators share, in a tie the one that overlaps most with all choices, then the earlier
           one. [1, 4] becomes 5 s to 25 s; the last chunk of a video may end sooner than `end_s` says, as durations
           are not annotated. The official evaluation compares with all annotators but the worst: read `times` for it
           from the file, by `moment_id`, which is the `annotation_id`. Papers differ by some vanished videos.
"""

from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoFacts, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import WHOLE, Record, read_json_list
from clipbert.datasets_scripts.fetching.sources import Source, by_hand, github


CHUNK_S = 5.0


class DiDeMo(VideoTextBuilder):
    """DiDeMo, paragraph retrieval and moments."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(
            name="retrieval", description="find the video of a paragraph: all descriptions of a video joined"
        ),
        BenchmarkConfig(
            name="moments", task="moments", description="when a description happens, in chunks of 5 seconds"
        ),
    ]
    LAYOUT = "It holds train_data.json, val_data.json and test_data.json of LocalizingMoments."
    SOURCES = (
        *github(
            "LisaAnne/LocalizingMoments/b6a555c8134581305d0ed4716fbc192860e0b88c",
            "data",
            {
                "train_data.json": (None, None),
                "val_data.json": (1_111_448, "b0364cc256553332feb19d46bcc4cd2b09774949fe6c0b25e7ed0ff3c6aefebb"),
                "test_data.json": (1_068_934, "1891c04ec48b3d364c739594b2b6413806b74bd9027c092d896e7ebb930ff1cd"),
                "yfcc100m_hash.txt": (450_463, "481d9aaf020624d5915200bcf4752fb46d3e1931167e8b46715a5f342577cc4d"),
                "video_licenses.txt": (1_396_435, "a6b2efc4b071e6c5474f98bd1f23ebcfcd880530ba35a12dcac8070f96a6e2d4"),
            },
        ),
        Source(
            "didemo_videos.tar.gz",
            (
                "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/datasets/didemo/didemo_videos.tar.gz",
            ),
            kind="videos",
            unpack="videos",
        ),
        by_hand(
            "videos/<name in the annotation>.mp4",
            "If didemo_videos.tar.gz cannot be had: yfcc100m_hash.txt gives the path of each Flickr id below "
            "https://multimedia-commons.s3-us-west-2.amazonaws.com/data/videos/mp4/ (13 videos were never there). Any "
            "container will do.",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES | {"."}  # some names end in a bare dot

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        names = {"train": "train", "validation": "val", "test": "test"}
        return {split: [(f"{name}_data.json",)] for split, name in names.items()}

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        descriptions = read_descriptions(files[0])
        if self.config.task == "moments":
            yield from descriptions
            return
        paragraphs: dict[str, Record] = {}
        for record in descriptions:
            first = paragraphs.setdefault(record.values["video_id"], record)
            first.values.setdefault("sentences", []).append(record.values["description"].strip())
        yield from paragraphs.values()

    def video_path(self, record: Record) -> str:
        video_id, annotated = record.values["video_id"], record.values["video"]
        paths = [path for path in self.media.files.get(video_id, ()) if path.rpartition("/")[2] == annotated]
        return f"{self.media_root}/{paths[0]}" if len(paths) == 1 else self.find_media(video_id, ".mp4")

    def text(self, record: Record) -> Iterator[dict]:
        video_id = record.values["video_id"]
        if self.config.task == "moments":
            start_s, end_s = agreed_moment(record)
            row = {"video_id": video_id, "caption": record.values["description"].strip()}
            times = {"start_s": start_s, "end_s": end_s, "duration_s": None}
            yield {**row, **times, "moment_id": str(record.values["annotation_id"])}
        else:
            yield {"video_id": video_id, "caption": " ".join(record.values["sentences"]), "caption_id": video_id}

    def video_facts(self) -> dict[str, VideoFacts]:
        return {
            record.values["video_id"]: VideoFacts(recording=flickr_id(record))
            for files in self.annotations.values()
            for record in read_descriptions(files[0])
        }


def read_descriptions(path: Path) -> Iterator[Record]:
    """The annotations of a file; `video` is the first name of its video there, `video_id` that without suffix."""
    names: dict[str, str] = {}  # by Flickr id
    seen: dict[int, Record] = {}
    for record in read_json_list(path):
        number = record.require("annotation_id", int)
        if number in seen:
            raise record.error(f"expected every 'annotation_id' once, got {number} as in {seen[number].place}")
        seen[number] = record
        record.require("description")
        record.require("video")
        name = names.setdefault(flickr_id(record), record.values["video"])
        record.values.update(video=name, video_id=name.rpartition(".")[0] or name)
        yield record


def flickr_id(record: Record) -> str:
    """The number between the underscores of `<user>_<id>_<secret>.<suffix>`."""
    parts = record.values["video"].split("_")
    if len(parts) < 3 or not WHOLE.fullmatch(parts[-2]):
        raise record.error(f"expected 'video' as <user>_<Flickr id>_<secret>.<suffix>, got {record.values['video']!r}")
    return parts[-2]


def agreed_moment(record: Record) -> tuple[float, float]:
    """Start and end in seconds of the span of chunks that most annotators chose."""
    count, spans = record.number("num_segments", int), record.require("times", list)
    for span in spans:
        fits = isinstance(span, list) and len(span) == 2 and all(type(chunk) is int for chunk in span)
        if not fits or not 0 <= span[0] <= span[1] < count:
            raise record.error(f"expected 'times' as [first, last] with 0 <= first <= last < {count}, got {span!r}")
    first, last = max(
        spans, key=lambda span: (spans.count(span), sum(overlap(span, other) for other in spans), -span[0])
    )
    return CHUNK_S * first, CHUNK_S * (last + 1)


def overlap(span: list[int], other: list[int]) -> float:
    """Intersection over union of two spans of chunks, ends included."""
    shared = min(span[1], other[1]) - max(span[0], other[0]) + 1
    return max(shared, 0) / (span[1] - span[0] + other[1] - other[0] + 2 - max(shared, 0))
