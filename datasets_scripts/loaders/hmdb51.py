# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""HMDB51: which of 51 actions a clip from films and the web shows.

    load_benchmark("hmdb51", config="split1", data_dir="HMDB51")

Source:    https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database (Kuehne et al. 2011); its
           archives have been unreachable since 2025.
Licence:   CC BY 4.0 as stated for the collection (Serre Lab); the clips come from films and YouTube. Copy of the
           splits: BSD 2-Clause.
Layout:    `<class>_test_split<1|2|3>.txt`, one file per class and split, flat, in `splits/` or in the
           `testTrainMulti_7030_splits/` of `test_train_splits.rar`, unpacked.
Splits:    3,570 train / 1,530 test in each of split1, split2 and split3 (70 and 30 clips of every class); published
           figures are the mean of the three. The other 1,666 clips (flag 0) belong to no split. No validation split:
           `validation_fraction=0.2` holds out titles of train, with all their clips in all classes.
Videos:    `<title>_<class>_<view tags>_<number>.avi` in folders by class (`hmdb51_org.rar` holds one archive per class).
Odd cases: classes are numbered by alphabet, as torchvision and mmaction2's `label_map.txt` do, whatever other lists of
           classes lie there; the `class_list.txt` of TSN has another order. If such a list is there its classes are
           those expected, else 51; a class without its file is an error. File names hold brackets, exclamation marks,
           ampersands and apostrophes.
Leaks:     within a class no title (film, web video) is in both parts, as the authors promise. Across classes 133, 149 and
           144 titles of splits 1, 2 and 3 are, with 457, 527 and 529 of the 1,530 test clips: other scenes of one film.
           `python -m datasets_scripts check` reports them.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoTextBuilder
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES, visible_files
from clipbert.datasets_scripts.building.records import AnnotationError, Record, read_lines
from clipbert.datasets_scripts.fetching.sources import MMACTION2, TSN, by_hand, github


FOLDERS = ("", "splits", "testTrainMulti_7030_splits", "test_train_splits/testTrainMulti_7030_splits")
FLAGS = {"train": "1", "test": "2"}


def split_checksums() -> dict[str, tuple[None, str]]:
    """The 153 split files with their checksums, from a list in the format of `sha256sum`."""
    lines = Path(__file__).with_name("hmdb51_splits.sha256").read_text(encoding="utf-8").splitlines()
    return {name: (None, sha256) for sha256, name in (line.split("  ") for line in lines)}


class HMDB51(VideoTextBuilder):
    """HMDB51 action recognition: 51 classes, three splits of 70 training and 30 test clips per class."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(
            name=f"split{number}",
            task="classification",
            description=f"the files *_test_split{number}.txt: one of the three official splits",
        )
        for number in (1, 2, 3)
    ]
    LAYOUT = "It holds <class>_test_split<1|2|3>.txt for each of the 51 classes, flat or in splits/."
    SOURCES = (
        *github(
            TSN,
            "data/hmdb51_splits",
            {
                "class_list.txt": (388, "15f768e8ab1271dcd74471cbe95d0ba5d1e62a22f01ee6af25b2a5f938dcd867"),
            },
        ),
        *github(
            MMACTION2,
            "tools/data/hmdb51",
            {
                "label_map.txt": (377, "c24c56a7af6f3ea55c8fb2a8e5b2c3a42644fcc5d86e49313536cfbd3499538a"),
            },
        ),
        *github(TSN, "data/hmdb51_splits", split_checksums(), into="splits"),
        by_hand(
            "videos/<class>/<clip>.avi",
            "The official hmdb51_org.rar (one rar for each class inside) is gone. A copy as zip: "
            "https://huggingface.co/datasets/MichiganNLP/hmdb",
            status="dead",
        ),
    )
    MEDIA_SUFFIXES = VIDEO_SUFFIXES

    @classmethod
    def annotation_files(cls, config: BenchmarkConfig) -> dict[str, tuple[Path, ...]]:
        root = Path(config.data_dir)
        for folder in FOLDERS:
            lists = visible_files(root / folder, ".txt")
            files = {class_of(path): path for path in lists if path.name.endswith(f"_test_{config.name}.txt")}
            if files:
                break
        else:
            raise FileNotFoundError(f"No *_test_{config.name}.txt of HMDB51 in {root}. {cls.LAYOUT}")
        lists = [path for path in (root / "class_list.txt", root / "label_map.txt") if path.is_file()]
        expected = {record.values["line"].strip() for record in read_lines(lists[0])} if lists else set()
        missing, unknown = sorted(expected - set(files)), sorted(set(files) - expected) if expected else []
        if missing or unknown or (not expected and len(files) != 51):
            named = f" without {', '.join(missing)}" if missing else f" and {', '.join(unknown)}" if unknown else ""
            raise FileNotFoundError(
                f"Expected *_test_{config.name}.txt of {len(expected) or 51} classes in {root / folder}, got those of "
                f"{len(files)}{named}. {cls.LAYOUT}"
            )
        return {split: tuple(files[name] for name in sorted(files)) for split in FLAGS}

    def class_names(self) -> list[str]:
        return [class_of(path) for path in self.annotations["test"]]

    def load_records(self, split: str, files: tuple[Path, ...]) -> Iterator[Record]:
        for path in files:
            label, record = class_of(path), None
            for record in read_lines(path):
                match = re.fullmatch(r"(.+)\.avi ([012])", record.values["line"].strip())
                if not match:
                    raise record.error(f"expected '<clip>.avi <0, 1 or 2>', got {record.values['line']!r}")
                title = match[1].rpartition(f"_{label}_")[0]
                if not title:
                    raise record.error(f"expected the name of a clip of the class {label!r}, got {match[1]!r}")
                if match[2] == FLAGS[split]:
                    yield Record({"name": match[1], "label": label, "title": title}, path, record.line)
            if record is None:
                raise AnnotationError(f"{path} holds no clip")

    def video_path(self, record: Record) -> str:
        return self.find_media(f"{record.values['label']}/{record.values['name']}", ".avi")

    def text(self, record: Record) -> Iterator[dict]:
        values = record.values
        yield {"video_id": values["name"], "label": values["label"], "recording": values["title"]}


def class_of(path: Path) -> str:
    """`brush_hair` of `brush_hair_test_split1.txt`."""
    return path.name.rpartition("_test_split")[0]
