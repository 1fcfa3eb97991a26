# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""COCO Captions: five sentences on each of 123,287 photos, for pre-training and image retrieval.

    load_benchmark("coco_captions", config="karpathy", split="train", data_dir="annotations/coco", video_dir="coco")

Source:    http://images.cocodataset.org/annotations/annotations_trainval2014.zip (Chen et al. 2015); Karpathy's
           splits: `caption_datasets.zip` with `dataset_coco.json` (Karpathy and Fei-Fei 2015).
Licence:   annotations CC BY 4.0; the photos are from Flickr, each under the terms of its owner.
Layout:    `captions_train2014.json` and `captions_val2014.json`, also below `annotations/` or in
           `annotations_trainval2014.zip`; `dataset_coco.json`, also in `caption_datasets.zip`. A `captions_source.tsv`
           (id, image_id, caption, ...; 5,000 captions of val2014) or `sample_captions_val2014.json` serves as val2014.
Splits:    captions2014        train 82,783 images, validation 40,504: those of the official files
           karpathy            train 113,287 images (with `restval`), validation 5,000, test 5,000
           karpathy_no_restval train 82,783 images (without), validation and test the same
Images:    `COCO_val2014_000000262148.jpg` (or `000000262148.jpg`) for the id 262148, in any folder below `video_dir`.
Odd cases: Karpathy's validation, test and restval are all cut from val2014: a model trained on val2014 has seen them.
           Capitals and punctuation stay; blanks around a caption go. A few images have six or seven captions. A
           caption of an image that the file does not list is an error.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig
from clipbert.datasets_scripts.building.coco_images import COCOImages, coco_images
from clipbert.datasets_scripts.building.records import Record, iterate_entries, read_csv, read_json, read_json_list
from clipbert.datasets_scripts.fetching.sources import Source


KARPATHY_SPLITS = {"train": "train", "restval": "train", "val": "validation", "test": "test"}


class COCOCaptions(COCOImages):
    """Photos with five captions each."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(name="captions2014", task="image_text", description="train2014 and val2014 as published"),
        BenchmarkConfig(
            name="karpathy",
            task="image_text",
            description="Karpathy's splits: 5,000 images of val2014 for validation, 5,000 for test, the rest in train",
        ),
        BenchmarkConfig(
            name="karpathy_no_restval",
            task="image_text",
            description="Karpathy's validation and test, with train2014 alone in train",
        ),
    ]
    LAYOUT = "It holds captions_train2014.json and captions_val2014.json, or dataset_coco.json for Karpathy's splits."
    SOURCES = (
        Source(
            "annotations_trainval2014.zip",
            ("http://images.cocodataset.org/annotations/annotations_trainval2014.zip",),
            sha256="031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
            size=252_872_794,
        ),
        Source(
            "caption_datasets.zip",
            ("https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",),
        ),
        *coco_images("train2014", "val2014"),
    )

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        if config.name.startswith("karpathy"):
            return {
                split: [("dataset_coco.json",), ("caption_datasets.zip",)] for split in ("train", "validation", "test")
            }
        names = {"train": "captions_train2014.json", "validation": "captions_val2014.json"}
        files = {
            split: [(name,), (f"annotations/{name}",), ("annotations_trainval2014.zip",)]
            for split, name in names.items()
        }
        files["validation"] += [("captions_source.tsv",), ("sample_captions_val2014.json",)]
        return files

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        path = files[0]
        if self.config.name.startswith("karpathy"):
            yield from self.load_karpathy(split, path)
            return
        folder = "train2014" if split == "train" else "val2014"
        if path.suffix == ".tsv":
            captions = read_csv(path, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            member = f"captions_{folder}.json"
            document = read_json(path, member)
            listed = read_image_ids(document, path)
            captions = check_images(iterate_entries(document, path, "annotations"), listed)
        for record in captions:
            yield Record({**record.values, "folder": folder}, record.file, record.line, record.entry)

    def load_karpathy(self, split: str, path: Path) -> Iterator[Record]:
        """One record a sentence."""
        for image in read_json_list(path, "images", "dataset_coco.json"):
            name = image.require("split")
            if name not in KARPATHY_SPLITS:
                raise image.error(f"expected 'split' to be one of {', '.join(KARPATHY_SPLITS)}, got {name!r}")
            left_out = name == "restval" and self.config.name == "karpathy_no_restval"
            if KARPATHY_SPLITS[name] != split or left_out:
                continue
            shared = {"image_id": image.number("cocoid", int), "folder": image.values.get("filepath", "val2014")}
            for index, sentence in enumerate(image.require("sentences", list)):
                record = Record(sentence, path, entry=f"{image.entry}.sentences[{index}]")
                if not isinstance(sentence, dict):
                    raise record.error(f"expected a JSON object such as {{...}}, got {sentence!r:.80}")
                values = {**shared, "id": record.number("sentid", int), "caption": record.require("raw")}
                yield Record(values, path, entry=record.entry)

    def video_path(self, record: Record) -> str:
        return self.find_coco_image(record.number("image_id", int), record.values["folder"])

    def text(self, record: Record) -> Iterator[dict]:
        yield {
            "image_id": str(record.number("image_id", int)),
            "caption": record.require("caption").strip(),
            "caption_id": str(record.number("id", int)),
        }


def read_image_ids(document, path: Path) -> set[int]:
    listed = set()
    for record in iterate_entries(document, path, "images"):
        number = record.number("id", int)
        if number in listed:
            raise record.error(f"expected every image once, got {number} again")
        listed.add(number)
    return listed


def check_images(captions: Iterator[Record], listed: set[int]) -> Iterator[Record]:
    for record in captions:
        if record.number("image_id", int) not in listed:
            raise record.error(f"expected an image that 'images' lists, got {record.values['image_id']!r}")
        yield record
