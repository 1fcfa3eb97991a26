# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""VQA 2.0: 1.1 million questions on COCO images, each answered by ten people.

    load_benchmark("vqa2", config="standard", split="validation", data_dir="annotations/vqa2", video_dir="coco")

Source:    https://visualqa.org/download.html (Goyal et al. 2017).
Licence:   annotations CC BY 4.0; the photos are from Flickr, each under the terms of its owner.
Layout:    `v2_OpenEnded_mscoco_{train2014,val2014,test2015,test-dev2015}_questions.json` with
           `v2_mscoco_{train2014,val2014}_annotations.json`, or the archives they come in,
           `v2_{Questions,Annotations}_{Train,Val,Test}_mscoco.zip`. A `questions.json` with an `annotations.json` is
           train2014 under shorter names.
Splits:    standard: train 443,757 questions (train2014), validation 214,354 (val2014), test 447,793 (test2015);
           test_dev: the same, but test is the part test-dev2015 (107,394). Only the evaluation server knows the
           answers of test: there `answer` is null and nothing has a score.
Images:    `COCO_train2014_000000458752.jpg` (or `000000458752.jpg`) for the id 458752, in any folder below
           `video_dir`.
Columns:   `soft_answers` are the distinct answers of the ten after the official normalisation (`vqa_scores.py`), and
           `soft_scores` what each would score: min(1, n / 3) if n people gave it. `score_rule="leave_one_out"` gives
           the average of the official evaluation instead (0.3, 0.6, 0.9, 1), the scores in ClipBERT's examples.
           `answer` is the annotation's `multiple_choice_answer`, normalised; without one the most frequent answer, the
           first given among equals. `answer_type` is yes/no, number or other; empty where the annotation has none.
Odd cases: a question without its annotation, an annotation without its question, and one that names another image are
           errors. An answer of punctuation alone scores nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig
from clipbert.datasets_scripts.building.coco_images import COCOImages, coco_images
from clipbert.datasets_scripts.building.records import (
    AnnotationError,
    Record,
    iterate_entries,
    read_json,
    read_json_list,
)
from clipbert.datasets_scripts.building.vqa_scores import SCORE_RULES, normalize_answer, score_answers
from clipbert.datasets_scripts.fetching.sources import Source


VQA = "https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa"
ANSWER_TYPES = ("yes/no", "number", "other")


@dataclass
class VQA2Config(BenchmarkConfig):
    """`score_rule` is that of `score_answers`; `test` names the questions of the split "test"."""

    task: str = "image_qa"
    score_rule: str = "thirds"
    test: str = "test2015"


class VQA2(COCOImages):
    """Open-ended questions on photos, with ten answers each."""

    BUILDER_CONFIG_CLASS = VQA2Config
    BUILDER_CONFIGS = [
        VQA2Config(name="standard", description="test is test2015, all 447,793 questions"),
        VQA2Config(name="test_dev", test="test-dev2015", description="test is test-dev2015, 107,394 of them"),
    ]
    LAYOUT = (
        "It holds the files of visualqa.org, v2_OpenEnded_mscoco_train2014_questions.json and so on, or their zips."
    )
    SOURCES = (
        *(
            Source(name, (f"{VQA}/{name}",))
            for name in (
                "v2_Questions_Train_mscoco.zip",
                "v2_Annotations_Train_mscoco.zip",
                "v2_Questions_Val_mscoco.zip",
                "v2_Annotations_Val_mscoco.zip",
                "v2_Questions_Test_mscoco.zip",
            )
        ),
        *coco_images("train2014", "val2014", "test2015"),
    )

    @classmethod
    def split_files(cls, config: VQA2Config) -> dict[str, list[tuple[str, ...]]]:
        files = {}
        for split, archive in (("train", "Train"), ("validation", "Val")):
            part = f"{archive.lower()}2014"
            files[split] = [
                (questions, annotations)
                for questions in (question_file(part), f"v2_Questions_{archive}_mscoco.zip")
                for annotations in (annotation_file(part), f"v2_Annotations_{archive}_mscoco.zip")
            ]
        files["train"].append(("questions.json", "annotations.json"))
        files["test"] = [(question_file(config.test),), ("v2_Questions_Test_mscoco.zip",)]
        return files

    @classmethod
    def annotation_files(cls, config: VQA2Config) -> dict[str, list[Path]]:
        if config.score_rule not in SCORE_RULES:
            raise ValueError(f"Expected `score_rule` to be one of {', '.join(SCORE_RULES)}, got {config.score_rule!r}")
        return super().annotation_files(config)

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        part = {"train": "train2014", "validation": "val2014"}.get(split, self.config.test)
        questions = read_json(files[0], question_file(part))
        if files[0].name == "questions.json":
            check_part(questions, part, files[0])
        annotations = self.load_annotations(files[1], annotation_file(part)) if len(files) > 1 else None
        folder = part.replace("test-dev", "test")
        for record in iterate_entries(questions, files[0], "questions"):
            number = record.number("question_id", int)
            values = {**record.values, "folder": folder}
            if annotations is not None:
                if number not in annotations:
                    raise record.error(f"expected an annotation of the question {number} in {files[1]}, got none")
                values["annotation"] = annotations.pop(number)
            yield Record(values, record.file, entry=record.entry)
        if annotations:
            number, unknown = next(iter(annotations.items()))
            raise unknown.error(f"expected a question of {files[0]}, got {number}")

    def load_annotations(self, path: Path, member: str) -> dict[int, Record]:
        annotations = {}
        for record in read_json_list(path, "annotations", member):
            number = record.number("question_id", int)
            if number in annotations:
                raise record.error(f"expected every question once, got {number} as in {annotations[number].entry}")
            annotations[number] = record
        return annotations

    def video_path(self, record: Record) -> str:
        return self.find_coco_image(record.number("image_id", int), record.values["folder"])

    def text(self, record: Record) -> Iterator[dict]:
        row = {"answer": None, "answer_type": "", "soft_answers": [], "soft_scores": []}
        if annotation := record.values.get("annotation"):
            image_id = annotation.values.get("image_id", record.values["image_id"])
            if image_id != record.values["image_id"]:
                raise annotation.error(
                    f"expected the image {record.values['image_id']} of its question, got {image_id}"
                )
            row = answer_columns(annotation, self.config.score_rule)
        yield {
            **row,
            "image_id": str(record.number("image_id", int)),
            "question": record.require("question"),
            "question_id": str(record.number("question_id", int)),
        }


def question_file(part: str) -> str:
    return f"v2_OpenEnded_mscoco_{part}_questions.json"


def annotation_file(part: str) -> str:
    return f"v2_mscoco_{part}_annotations.json"


def check_part(document, part: str, path: Path) -> None:
    """A file under a short name says inside which questions it has."""
    found = document.get("data_subtype", part) if isinstance(document, dict) else part
    if found != part:
        raise AnnotationError(
            f"{path}: expected the questions of {part}, got those of {found}: name it {question_file(found)}"
        )


def answer_columns(annotation: Record, score_rule: str) -> dict:
    answers = []
    for given in annotation.require("answers", list):
        if not isinstance(given, dict) or not isinstance(given.get("answer"), str):
            raise annotation.error(f"expected 'answers' to be objects with an 'answer', got {given!r:.80}")
        answers.append(given["answer"])
    answer_type = annotation.values.get("answer_type", "")
    if answer_type and answer_type not in ANSWER_TYPES:
        raise annotation.error(f"expected 'answer_type' to be one of {', '.join(ANSWER_TYPES)}, got {answer_type!r}")
    scores = score_answers(answers, score_rule)
    if not scores:
        raise annotation.error(f"expected at least one answer with a word in it, got {answers}")
    normalized = [normalize_answer(answer) for answer in answers]
    chosen = normalize_answer(annotation.values.get("multiple_choice_answer") or "")
    return {
        "answer": chosen or max(scores, key=normalized.count),
        "answer_type": answer_type,
        "soft_answers": list(scores),
        "soft_scores": list(scores.values()),
    }
