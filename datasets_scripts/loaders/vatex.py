# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""VATEX: ten-second YouTube clips of the Kinetics-600 classes, with ten English and ten Chinese sentences each.

    load_benchmark("vatex", config="retrieval_hgr", split="test", data_dir="vatex")

Source:    X. Wang et al., "VaTeX: A Large-Scale, High-Quality Multilingual Dataset for Video-and-Language Research",
           ICCV 2019; eric-xw.github.io/vatex-website
Licence:   annotations CC BY 4.0; the clips belong to their uploaders, under YouTube's terms.
Layout:    `vatex_training_v1.0.json`, `vatex_validation_v1.0.json`, `vatex_public_test_english_v1.1.json`. For
           retrieval_hgr also the lists of the halves of the validation set: `val_names.npy` and `tst_names.npy` as
           published (also in `public_split/`), or as text with an id a line `vatex_val1k5.txt` and `vatex_test1k5.txt`
           (also in `VideoSets/`), or `val_list.txt` and `test_list.txt`.
Splits:    retrieval_official   train 25,991 / validation 3,000 / test 6,000 clips (the public test set)
           retrieval_hgr        train 25,991 / validation 1,500 / test 1,500 clips, halves of the official validation
                                set, after S. Chen et al., "Fine-grained Video-Text Retrieval with Hierarchical Graph
                                Reasoning", CVPR 2020. This is what retrieval papers report. Numbers of the two are not
                                comparable.
           Ten sentences a clip, each a query of its own. `language="zh"` gives the Chinese ones, which the public test
           set has not.
Videos:    `<videoID>.mp4`, in any container. The id is `<YouTube id>_<start>_<end>` in seconds with six digits.
Odd cases: many clips are gone from YouTube; papers use the subset they have. The clips are those of Kinetics-600: a
           model pre-trained on it has seen them. A clip of a list without sentences is an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoFacts, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.records import WHOLE, AnnotationError, Record, read_json_list, read_lines
from clipbert.datasets_scripts.fetching.sources import Source, by_hand


CAPTIONS = {"en": "enCap", "zh": "chCap"}
TRAIN, VALIDATION = "vatex_training_v1.0.json", "vatex_validation_v1.0.json"
TEST = "vatex_public_test_english_v1.1.json"
HALVES = {
    "validation": ("val_names.npy", "public_split/val_names.npy", "vatex_val1k5.txt", "VideoSets/vatex_val1k5.txt")
    + ("val_list.txt",),
    "test": ("tst_names.npy", "public_split/tst_names.npy", "vatex_test1k5.txt", "VideoSets/vatex_test1k5.txt")
    + ("test_list.txt",),
}


@dataclass
class VATEXConfig(BenchmarkConfig):
    """`language` is that of the sentences, "en" or "zh"."""

    language: str = "en"


class VATEX(VideoTextBuilder):
    """VATEX, text-to-video retrieval in two protocols."""

    BUILDER_CONFIG_CLASS = VATEXConfig
    BUILDER_CONFIGS = [
        VATEXConfig(
            name="retrieval_official",
            description="the official splits: 25,991 / 3,000 / 6,000 clips; test is the public English one",
        ),
        VATEXConfig(
            name="retrieval_hgr",
            description="as papers report: 25,991 / 1,500 / 1,500 clips, where validation and test are the halves of "
            "the official validation set that Chen et al. (HGR) chose. Not comparable with retrieval_official",
        ),
    ]
    LAYOUT = "It holds the annotation files of eric-xw.github.io/vatex-website under their own names."
    SOURCES = (
        *(
            Source(name, (f"https://eric-xw.github.io/vatex-website/data/{name}",))
            for name in (
                "vatex_training_v1.0.json",
                "vatex_validation_v1.0.json",
                "vatex_public_test_english_v1.1.json",
            )
        ),
        by_hand(
            "val_names.npy and tst_names.npy",
            "For retrieval_hgr: in the folder public_split of the annotations that https://github.com/cshizhe/hgr_v2t "
            "links to, on a sharing host.",
            kind="annotations",
        ),
        by_hand(
            "videos/<YouTube id>_<start>_<end>.mp4",
            "They are clips of Kinetics-600; fetch the ids that are left from YouTube. Start and end have six digits.",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def split_files(cls, config: VATEXConfig) -> dict[str, list[tuple[str, ...]]]:
        if config.language not in CAPTIONS:
            raise ValueError(f"Expected `language` to be one of {', '.join(CAPTIONS)}, got {config.language!r}")
        if config.name == "retrieval_hgr":
            halves = {split: list(product((VALIDATION,), names)) for split, names in HALVES.items()}
            return {"train": [(TRAIN,)], **halves}
        test = {"test": [(TEST,)]} if config.language == "en" else {}
        return {"train": [(TRAIN,)], "validation": [(VALIDATION,)], **test}

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        clips = read_clips(files[0])
        if len(files) == 1:
            yield from clips.values()
            return
        for entry, name in read_names(files[1]):
            if name not in clips:
                raise entry.error(f"expected one clip of {files[0].name} each time, got {name!r} unknown or again")
            yield clips.pop(name)

    def video_path(self, record: Record) -> str:
        return self.find_media(record.values["videoID"], ".mp4")

    def text(self, record: Record) -> Iterator[dict]:
        video_id = record.values["videoID"]
        for number, caption in enumerate(record.require(CAPTIONS[self.config.language], list)):
            yield {"video_id": video_id, "caption": caption, "caption_id": f"{video_id}-{number}"}

    def video_facts(self) -> dict[str, VideoFacts]:
        paths = dict.fromkeys(files[0] for files in self.annotations.values())
        return {name: VideoFacts(*clip_facts(record)) for path in paths for name, record in read_clips(path).items()}


def read_clips(path: Path) -> dict[str, Record]:
    clips: dict[str, Record] = {}
    for record in read_json_list(path):
        name = record.require("videoID")
        if name in clips:
            raise record.error(f"expected every 'videoID' once, got {name!r} as in {clips[name].place}")
        clip_facts(record)
        clips[name] = record
    return clips


def read_names(path: Path) -> Iterator[tuple[Record, str]]:
    """The ids of a list, each with where it stands."""
    if path.suffix != ".npy":
        for record in read_lines(path):
            yield record, record.values["line"].strip()
        return
    try:
        names = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise AnnotationError(f"{path}: expected an array of texts, as `np.save` writes it ({error})") from None
    for index, name in enumerate(names.tolist()):
        yield Record({}, path, entry=f"[{index}]"), name.decode() if isinstance(name, bytes) else name


def clip_facts(record: Record) -> tuple[float, str]:
    """Seconds and YouTube id of `<YouTube id>_<start>_<end>`."""
    youtube_id, *times = record.values["videoID"].rsplit("_", 2)
    if len(times) != 2 or not all(map(WHOLE.fullmatch, times)) or int(times[0]) >= int(times[1]):
        raise record.error(
            f"expected 'videoID' as <YouTube id>_<start>_<end> with start before end, got {record.values['videoID']!r}"
        )
    return float(int(times[1]) - int(times[0])), youtube_id
