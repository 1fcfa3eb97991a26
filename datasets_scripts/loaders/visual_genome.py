# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Visual Genome: 5.4 million descriptions of regions and 1.7 million questions on 108,077 images.

    load_benchmark("visual_genome", config="captions", split="train", data_dir="annotations/vg", video_dir="vg")

Source:    https://homes.cs.washington.edu/~ranjay/visualgenome (Krishna et al. 2017).
Licence:   annotations CC BY 4.0; the photos are from Flickr, half of them by way of COCO, each under the terms of its
           owner.
Layout:    `region_descriptions.json` for the captions, `question_answers.json` for the questions, each also as
           `.json.zip`; `image_data.json` (or `.json.zip`) where `exclude_coco` is given. A
           `region_descriptions_sample.json` is read as the captions.
Splits:    train. The authors give no other; `validation_fraction=0.05` holds out images. ClipBERT's own choice:
           `clipbert_jsonl`.
Images:    `VG_100K/4.jpg` or `VG_100K_2/4.jpg` for the id 4; any folder below `video_dir` will do.
Fields:    `max_per_image=5` keeps the first five captions (questions) of an image, in the order of the file.
           `exclude_coco="captions_val2014.json"` leaves out the images that are in COCO too, by the `coco_id` of
           `image_data.json`: a JSON of COCO with "images", or a text file with one number a line. How many go is
           logged.
Odd cases: about half of the images are COCO images; for pre-training, leave those of COCO's validation and test out.
           Blanks around a phrase go. Answers are capitalised and end with a full stop ("Sailboats."): they are
           normalised as VQA answers are ("sailboats"), and the one answer has the score 1. There is no `answer_type`.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig, VideoTextBuilder
from clipbert.datasets_scripts.building.media import IMAGE_SUFFIXES
from clipbert.datasets_scripts.building.records import Record, read_json_list, read_lines
from clipbert.datasets_scripts.building.vqa_scores import normalize_answer
from clipbert.datasets_scripts.fetching.sources import Source


VISUAL_GENOME = "https://homes.cs.washington.edu/~ranjay/visualgenome/data/dataset"
logger = logging.getLogger(__name__)


@dataclass
class VisualGenomeConfig(BenchmarkConfig):
    """`max_per_image` limits the rows of an image; `exclude_coco` is a file with images of COCO to leave out."""

    max_per_image: int | None = None
    exclude_coco: str | None = None


class VisualGenome(VideoTextBuilder):
    """Images with descriptions of their regions, or with questions."""

    BUILDER_CONFIG_CLASS = VisualGenomeConfig
    BUILDER_CONFIGS = [
        VisualGenomeConfig(
            name="captions", task="image_text", description="descriptions of regions, for pre-training"
        ),
        VisualGenomeConfig(name="qa", task="image_qa", description="questions with one answer, to extend VQA"),
    ]
    LAYOUT = "It holds region_descriptions.json or question_answers.json, and image_data.json for `exclude_coco`."
    SOURCES = (
        *(
            Source(f"{name}.json.zip", (f"{VISUAL_GENOME}/{name}.json.zip",))
            for name in ("region_descriptions", "question_answers", "image_data")
        ),
        *(
            Source(
                f"{name}.zip",
                (f"https://cs.stanford.edu/people/rak248/VG_100K_2/{name}.zip",),
                "videos",
                sha256,
                size,
                unpack="images",
            )
            for name, size, sha256 in (
                ("images", 9_731_705_982, "51c682d2721f880150720bb416e0346a4c787e4c55d7f80dfd1bd3f73ba81646"),
                ("images2", 5_471_658_058, "99da1a0ddf87011319ff3b05cf9176ffee2731cc3c52951162d9ef0d68e3cfb5"),
            )
        ),
    )
    MEDIA_SUFFIXES = IMAGE_SUFFIXES

    @classmethod
    def split_files(cls, config: VisualGenomeConfig) -> dict[str, list[tuple[str, ...]]]:
        names = ["question_answers.json", "question_answers.json.zip"]
        if config.name == "captions":
            names = ["region_descriptions.json", "region_descriptions.json.zip", "region_descriptions_sample.json"]
        if config.exclude_coco is None:
            return {"train": [(name,) for name in names]}
        return {"train": [(name, images) for name in names for images in ("image_data.json", "image_data.json.zip")]}

    @classmethod
    def annotation_files(cls, config: VisualGenomeConfig) -> dict[str, list[Path]]:
        if config.max_per_image is not None and config.max_per_image < 1:
            raise ValueError(f"Expected `max_per_image` to be at least 1, got {config.max_per_image}")
        if config.exclude_coco is not None and not Path(config.exclude_coco).is_file():
            raise FileNotFoundError(f"{cls.__name__}: exclude_coco {config.exclude_coco} is not a file.")
        return super().annotation_files(config)

    @classmethod
    def content_digest(cls, config: VisualGenomeConfig, files: list[Path]) -> str:
        return super().content_digest(config, [*files, *([Path(config.exclude_coco)] if config.exclude_coco else [])])

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        """One record a caption or question."""
        excluded = find_excluded(files[1], Path(self.config.exclude_coco)) if self.config.exclude_coco else set()
        key = "regions" if self.config.name == "captions" else "qas"
        left_out = 0
        for image in read_json_list(files[0]):
            image_id = image.number("id", int)
            if image_id in excluded:
                left_out += 1
                continue
            entries = image.values.get(key)
            if not isinstance(entries, list):
                raise image.error(f"expected {key!r} to be a list, got {entries!r:.80}")
            for index, values in enumerate(entries[: self.config.max_per_image]):
                record = Record(values, image.file, entry=f"{image.entry}.{key}[{index}]")
                if not isinstance(values, dict):
                    raise record.error(f"expected a JSON object such as {{...}}, got {values!r:.80}")
                if values.get("image_id", image_id) != image_id:
                    raise record.error(f"expected the image {image_id} it stands under, got {values['image_id']!r}")
                yield Record({**values, "image_id": image_id}, image.file, entry=record.entry)
        if left_out:
            logger.warning("%s: left out %d images of %s", files[0], left_out, self.config.exclude_coco)

    def video_path(self, record: Record) -> str:
        return self.find_media(f"VG_100K/{record.values['image_id']}", ".jpg")

    def text(self, record: Record) -> Iterator[dict]:
        row = {"image_id": str(record.values["image_id"])}
        if self.config.name == "captions":
            identifier, caption = record.number("region_id", int), record.require("phrase").strip()
            yield {**row, "caption": caption, "caption_id": str(identifier)}
            return
        answer = normalize_answer(record.require("answer"))
        if not answer:
            raise record.error(f"expected 'answer' to have a word in it, got {record.values['answer']!r}")
        yield {
            **row,
            "question": record.require("question").strip(),
            "answer": answer,
            "answer_type": "",
            "soft_answers": [answer],
            "soft_scores": [1.0],
            "question_id": str(record.number("qa_id", int)),
        }


def find_excluded(image_data: Path, exclude_coco: Path) -> set[int]:
    """Images of Visual Genome that are among the given images of COCO."""
    if exclude_coco.suffix == ".json":
        coco_ids = {record.number("id", int) for record in read_json_list(exclude_coco, "images")}
    else:
        coco_ids = {record.number("line", int) for record in read_lines(exclude_coco)}
    return {
        record.number("image_id", int)
        for record in read_json_list(image_data)
        if record.values.get("coco_id") is not None and record.number("coco_id", int) in coco_ids
    }
