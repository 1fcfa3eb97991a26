# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""MSR-VTT: ten thousand YouTube clips with 20 sentences each, under the five protocols that papers report.

    load_benchmark("msrvtt", config="retrieval_1ka", split="test", data_dir="MSRVTT")

Source:    J. Xu et al., "MSR-VTT: A Large Video Description Dataset for Bridging Video and Language", CVPR 2016.
Licence:   annotations (c) Microsoft, for research (repository of the copy: MIT); the clips belong to their uploaders,
           under YouTube's terms.
Layout:    the official `train_val_annotation.zip` (or `train_val_videodatainfo.json` out of it) and
           `test_videodatainfo.json.zip` (or the `.json`); or CLIP4Clip's `MSRVTT_data.json`, which is both in one.
           With them, for 1k-A `MSRVTT_JSFUSION_test.csv`, and for its 9k training set `MSRVTT_train.9k.csv` or
           `train_list_jsfusion.txt`; for 1k-B `train_list_miech.txt` and `test_list_miech.txt`. Lists may lie in
           `split_lists/`. For multiple choice ClipBERT's `msrvtt_retrieval_mc_test.jsonl`.
Splits:    retrieval_full      6,513 / 497 / 2,990 videos (130,260 / 9,940 / 59,800 sentences)
           retrieval_1ka       train: the 7,010 official training and validation videos (140,200 sentences), as
                               ClipBERT does; test: 1,000 videos with the one sentence of the csv
           retrieval_1ka_9k    train: 9,000 videos (180,000 sentences), as CLIP4Clip does; test: as retrieval_1ka
           retrieval_1kb       6,656 videos (133,120 sentences) / 1,000 videos with their first sentence
           multiple_choice     test only: one question a video, five sentences to choose from
           Numbers of different protocols are not comparable. 1k-A and 1k-B have no validation split, for which
           `validation_fraction` holds out training videos. The test sets of 1k-A and 1k-B share 296 videos, and
           training sets hold test videos of other protocols (7k: 104 of 1k-B, 9k: 704 of 1k-B, 1k-B: 453 of 1k-A): a
           model is to be tested on the protocol it was trained on.
Videos:    `video7500.mp4` in any folder below `data_dir` or `video_dir`, in any container.
Odd cases: sentences do not come sorted by video; here rows are, and the sentences of a video keep their order. A
           sentence about a video that the file does not list is an error. Sentences are given as written: misspelt,
           some twice, some with blanks around them. `caption_id` is the official `sen_id`, in the 1k-A test split the
           key "ret0" ... "ret999" (35 of those sentences were edited and equal no official one). 1k-B publishes no
           sentences: the first of each video is taken, as its authors and Collaborative Experts did. A multiple-choice
           option describes the video by itself; the question is the same text everywhere and not meant to be read by a
           model. Several clips may be cut from one YouTube video: never across the splits of retrieval_full and
           retrieval_1ka, but 372 of the 1,000 test clips share theirs with a training clip of 9k, and 380 in 1k-B.
"""

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoFacts, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.multiple_choice import WHICH_CAPTION, chosen_option
from clipbert.datasets_scripts.building.records import (
    Record,
    iterate_entries,
    read_csv,
    read_json,
    read_jsonl,
    read_lines,
)
from clipbert.datasets_scripts.fetching.sources import Source, by_hand, github


TRAIN_VAL = ("train_val_videodatainfo.json", "train_val_annotation.zip")
TEST = ("test_videodatainfo.json", "test_videodatainfo.json.zip")
WHOLE = "MSRVTT_data.json"
MEMBERS = {"train_val_annotation.zip": "train_val_videodatainfo.json"}
JSFUSION_TEST = "MSRVTT_JSFUSION_test.csv"
JSFUSION_TRAIN = ("MSRVTT_train.9k.csv", "split_lists/train_list_jsfusion.txt", "train_list_jsfusion.txt")
MIECH = {split: (f"split_lists/{split}_list_miech.txt", f"{split}_list_miech.txt") for split in ("train", "test")}
MULTIPLE_CHOICE = "msrvtt_retrieval_mc_test.jsonl"
OFFICIAL = {  # what the official files call the videos of a split
    "retrieval_full": {"train": ("train",), "validation": ("validate",), "test": ("test",)},
    "retrieval_1ka": {"train": ("train", "validate")},
}
COLLABORATIVE_EXPERTS = "albanie/collaborative-experts/7eb3b9d362ee313a78cd0a2793c3b6470f8e78f3"
SPLITS = ("train", "validate", "test")


class MSRVTT(VideoTextBuilder):
    """MSR-VTT, text-to-video retrieval in four protocols and the multiple-choice test."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(
            name="retrieval_full",
            description="the official split: 6,513 / 497 / 2,990 videos with 20 sentences each; test ranks all "
            "2,990. Not comparable with the others",
        ),
        BenchmarkConfig(
            name="retrieval_1ka",
            description="1k-A as in ClipBERT: trained on 7,010 videos (official train + validation); test: 1,000 "
            "pairs chosen by JSFusion. Not comparable with retrieval_1ka_9k, nor with any other protocol",
        ),
        BenchmarkConfig(
            name="retrieval_1ka_9k",
            description="1k-A as in CLIP4Clip: the same 1,000 test pairs, trained on all 9,000 other videos. Not "
            "comparable with retrieval_1ka",
        ),
        BenchmarkConfig(
            name="retrieval_1kb",
            description="1k-B of Miech et al.: trained on 6,656 videos; test: 1,000 videos with their first sentence. "
            "Not comparable with 1k-A, whose test set is another",
        ),
        BenchmarkConfig(
            name="multiple_choice",
            task="qa",
            description="which of five sentences describes the video; test only, for models trained on retrieval_1ka",
        ),
    ]
    LAYOUT = (
        f"It holds the official {TRAIN_VAL[1]} and {TEST[1]} (or {WHOLE} of CLIP4Clip), and the lists of the "
        f"protocol, in the folder itself or in split_lists/; for multiple_choice {MULTIPLE_CHOICE} of ClipBERT."
    )
    SOURCES = (
        *github(
            "WingsBrokenAngel/MSR-VTT-DataCleaning/f74c5712809535df60db5c56c3e81efb44f81d89",
            "clean_process",
            {
                "train_val_annotation.zip": (
                    2_594_639,
                    "ce2d97dd82d03e018c6f9ee69c96eb784397d1c83f734fdb8c17aafa5e27da31",
                ),
                "test_videodatainfo.json.zip": (
                    1_105_940,
                    "0871bbe19dc9c13edeef4af5d7be39600a2e2b7d967e0206bb5911d633af24a0",
                ),
            },
        ),
        *github(
            "foolwood/DRL/475f96ce612b121b7f16937d384f2d1b7411fa80",
            "data/MSR-VTT/anns",
            {
                "MSRVTT_JSFUSION_test.csv": (
                    74_475,
                    "e61144b312c8a2fc2126f96504c981f8c23c05b3ba9655a56e2af50ac8a4b16a",
                ),
                "MSRVTT_train.9k.csv": (88_899, "0a7ece2418e1f7ac5680555a04ddfef8950293ac3c4bdd6584fb0fa6cc0ff7d3"),
            },
        ),
        *github(
            COLLABORATIVE_EXPERTS,
            "misc/datasets/msrvtt",
            {
                "train_list_miech.txt": (65_808, "bd1b91cc6e07ace29fd12c2be74b69031f647567bb647c73b8dd8a28e1455b80"),
                "test_list_miech.txt": (9_886, "e2b489732475874bb32dd2689bd3a1e13a8473a9bf69a6b97efb8f39a1c12d1e"),
            },
            into="split_lists",
        ),
        by_hand(
            "msrvtt_retrieval_mc_test.jsonl",
            "The multiple-choice test is part of ClipBERT's storage, which is closed; place the file if you hold it.",
            kind="annotations",
            status="dead",
        ),
        Source(
            "MSRVTT.zip",
            ("https://www.robots.ox.ac.uk/~maxbain/frozen-in-time/data/MSRVTT.zip",),
            kind="videos",
            unpack="videos",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        def listed(lists):
            return [*product(lists, TRAIN_VAL, TEST), *product(lists, (WHOLE,))]

        train_val, test = ([(name,) for name in (*names, WHOLE)] for names in (TRAIN_VAL, TEST))
        return {
            "retrieval_full": {"train": train_val, "validation": train_val, "test": test},
            "retrieval_1ka": {"train": train_val, "test": [(JSFUSION_TEST,)]},
            "retrieval_1ka_9k": {"train": listed(JSFUSION_TRAIN), "test": [(JSFUSION_TEST,)]},
            "retrieval_1kb": {"train": listed(MIECH["train"]), "test": listed(MIECH["test"])},
            "multiple_choice": {"test": [(MULTIPLE_CHOICE,), (f"msrvtt_retrieval_mc/{MULTIPLE_CHOICE}",)]},
        }[config.name]

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        if self.config.name == "multiple_choice":
            yield from read_jsonl(files[0])
        elif files[0].name == JSFUSION_TEST:
            for record in read_csv(files[0]):
                pair = (record.require("key"), record.require("sentence"))
                yield Record({"video_id": record.require("video_id"), "sentences": [pair]}, record.file, record.line)
        elif self.config.name in OFFICIAL:
            names = OFFICIAL[self.config.name][split]
            for video in read_videos(files).values():
                if video.require("split") not in SPLITS:
                    raise video.error(
                        f"expected 'split' to be one of {', '.join(SPLITS)}, got {video.values['split']!r}"
                    )
                if video.values["split"] in names:
                    yield video
        else:
            videos = read_videos(files[1:])
            first_only = self.config.name == "retrieval_1kb" and split == "test"
            for video in listed_videos(files[0], videos):
                if first_only:
                    del video.values["sentences"][1:]
                yield video

    def video_path(self, record: Record) -> str:
        return self.find_media(record.require("clip_name" if self.config.task == "qa" else "video_id"), ".mp4")

    def text(self, record: Record) -> Iterator[dict]:
        if self.config.task == "qa":
            yield multiple_choice_row(record)
            return
        video_id = record.values["video_id"]
        for caption_id, caption in record.require("sentences", list):
            yield {"video_id": video_id, "caption": caption, "caption_id": str(caption_id)}

    def video_facts(self) -> dict[str, VideoFacts]:
        root = Path(self.config.data_dir)
        present = [[root / name for name in names if (root / name).is_file()][:1] for names in (TRAIN_VAL, TEST)]
        paths = sum(present, []) or [path for path in [root / WHOLE] if path.is_file()]
        return {
            name: VideoFacts(clip_length(video), str(video.values.get("url") or "").partition("v=")[2] or None)
            for name, video in read_videos(paths).items()
        }


def read_videos(paths: Iterable[Path]) -> dict[str, Record]:
    """The entries of `videos` by id, each with its `sentences` [(sen_id, caption), ...] in the order of the file."""
    videos: dict[str, Record] = {}
    seen = set()
    for path in paths:
        document = read_json(path, MEMBERS.get(path.name))
        for video in iterate_entries(document, path, "videos"):
            name = video.require("video_id")
            if name in videos:
                raise video.error(f"expected every 'video_id' once, got {name!r} as in {videos[name].place}")
            clip_length(video)
            video.values["sentences"] = []
            videos[name] = video
        for sentence in iterate_entries(document, path, "sentences"):
            name, number = sentence.require("video_id"), sentence.require("sen_id", int)
            if name not in videos:
                raise sentence.error(f"expected a sentence about one of the {len(videos)} videos, got {name!r}")
            if number in seen:
                raise sentence.error(f"expected every 'sen_id' once, got {number} again")
            seen.add(number)
            videos[name].values["sentences"].append((number, sentence.require("caption")))
    return videos


def listed_videos(path: Path, videos: dict[str, Record]) -> Iterator[Record]:
    """The videos of a list, which is text or a csv with a column `video_id`."""
    seen = set()
    for entry in read_csv(path) if path.suffix == ".csv" else read_lines(path):
        name = entry.require("video_id") if path.suffix == ".csv" else entry.values["line"].strip()
        if name not in videos:
            raise entry.error(f"expected one of the {len(videos)} videos that have sentences, got {name!r}")
        if name in seen:
            raise entry.error(f"expected every video once, got {name!r} again")
        seen.add(name)
        yield videos[name]


def clip_length(video: Record) -> float | None:
    """Seconds from "start time" to "end time"."""
    if "start time" not in video.values or "end time" not in video.values:
        return None
    start_s, end_s = video.number("start time"), video.number("end time")
    if not 0 <= start_s < end_s:
        raise video.error(f"expected 0 <= 'start time' < 'end time' in seconds, got {start_s} and {end_s}")
    return end_s - start_s


def multiple_choice_row(record: Record) -> dict:
    return {
        "video_id": record.values["clip_name"],
        "question": WHICH_CAPTION,
        "question_id": str(record.require("qid", (str, int))),
        "answer_type": "caption",
        **chosen_option(record),
    }
