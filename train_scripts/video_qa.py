# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Questions about videos: open-ended, multiple choice, and how many times something happens.

Run:     accelerate launch train_scripts/video_qa.py --recipe FILE
Smoke:   accelerate launch --cpu train_scripts/video_qa.py --recipe train_scripts/recipes/quickstart/video_qa.yaml
         (minutes on a CPU)

`model.answer` says how: `open` chooses among the frequent answers of the training split, `multiple_choice` reads the
question with each of its options, `count` predicts a number. `retrieval` needs no training (`run.total_steps=0`): a
retrieval model takes the options for captions, as in the multiple-choice test of MSR-VTT. Where the data are captions,
each becomes a question: which of `data.num_options` captions is it? Every score stands beside that of a blind baseline,
which knows the training questions and sees no video.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AutoConfig, PreTrainedModel

from clipbert.datasets_scripts.answers import AnswerVocabulary
from clipbert.train_scripts.answering import Answering, Captions, Counts, OpenAnswers, Options, measure_answers
from clipbert.train_scripts.engine.build import (
    build_model,
    build_processor,
    evaluation_problems,
    find_data,
    has_head,
    load_rows,
    video_options,
)
from clipbert.train_scripts.engine.data import Skipped, check_skipped
from clipbert.train_scripts.engine.recipe import ModelSection, Recipe, option
from clipbert.train_scripts.engine.task import Evaluation, NoTrainSet, Parts, Predictions, Task, main
from clipbert.train_scripts.question_scores import score_own_texts
from clipbert.train_scripts.questions import (
    Question,
    QuestionCollator,
    QuestionedVideos,
    QuestionSection,
    make_caption_choices,
)
from clipbert.train_scripts.tasks.coverage import coverage_of
from clipbert.train_scripts.tasks.videos import ClipEvalSection


logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class VideoQAModelSection(ModelSection):
    answer: Literal["open", "multiple_choice", "count", "retrieval"] | None = option(
        None,
        "`open`, `multiple_choice`, `count`, or `retrieval` (a retrieval model scores the options, untrained); null: "
        "multiple_choice where the questions have options, else open.",
    )


@dataclass(kw_only=True)
class QuestionRecipe(Recipe):
    data: QuestionSection = field(default_factory=QuestionSection)
    eval: ClipEvalSection = field(default_factory=ClipEvalSection)

    def problems(self):
        yield from evaluation_problems(self)


@dataclass(kw_only=True)
class VideoQARecipe(QuestionRecipe):
    model: VideoQAModelSection = field(default_factory=VideoQAModelSection)

    def problems(self):
        yield from super().problems()
        if self.model.answer == "retrieval" and self.run.total_steps != 0:
            yield "model.answer: retrieval evaluates a trained retrieval model; set run.total_steps to 0"
        if self.model.answer == "count" and self.data.train_split is None:
            yield "data.train_split: count needs it, for the range of the counts"
        if self.model.answer == "count" and self.eval.score_pooling == "lse":
            yield "eval.score_pooling: lse collects evidence for classes, and counts are none; use mean or max"

    def metrics(self):
        return ("accuracy", "mean_squared_error" if self.model.answer == "count" else "accuracy_*")


class VideoQATask(Task):
    """Questions about videos."""

    name, rescore_options = "question_answering", ("score_pooling",)
    recipe_class: type[Recipe] = VideoQARecipe
    media: Literal["video", "image"] = "video"
    row_tasks = ("qa", "retrieval")  # of `datasets_scripts`

    def build(self, recipe: QuestionRecipe) -> Parts:
        find_data(recipe.data)
        self.processor, train_split = build_processor(recipe), recipe.data.train_split
        splits = filter(None, (train_split, *recipe.eval.splits))
        rows = {split: load_questions(recipe, split, self.row_tasks) for split in splits}
        self.way = self.choose_way(recipe, rows)
        model = self.build_model(recipe)
        train_set = NoTrainSet()
        if recipe.run.total_steps != 0:
            train_set = QuestionedVideos(
                self.training_questions(rows[train_split]),
                self.processor,
                video_options(recipe, True) if self.media == "video" else {},
                self.media,
                recipe.data.questions_per_video,
                recipe.run.seed,
            )
        collate = QuestionCollator(self.processor, self.way.encode_labels)
        return Parts(model, self.processor, train_set, collate, {split: rows[split] for split in recipe.eval.splits})

    def training_questions(self, rows: Dataset) -> list[tuple[str, str, Question]]:
        """Id and path of the video, and the question, for each row that something can be learnt from."""
        asked = [(row[f"{self.media}_id"], row[self.media], self.way.question(row)) for row in rows]
        known = [entry for entry in asked if entry[2] is not None]
        if len(known) < len(asked):
            logger.info(
                f"{len(asked) - len(known)} of {len(asked)} training questions are left out: their answers are not "
                "among those that the model can give. In an evaluation such questions count as wrong."
            )
        return known

    def choose_way(self, recipe: QuestionRecipe, rows: dict[str, Dataset]) -> Answering:
        """How questions are answered, as the recipe says or as the questions suggest."""
        train_rows, asked = rows.get(recipe.data.train_split), recipe.model.answer
        if asked is None:
            asked = "multiple_choice" if any(map(has_options, rows.values())) else "open"
        if asked in ("multiple_choice", "retrieval"):
            for split, part in rows.items():
                check_options(split, part)
        if asked == "open":
            return OpenAnswers(choose_vocabulary(recipe, train_rows), train_rows)
        return {"multiple_choice": Options, "retrieval": Captions, "count": Counts}[asked](train_rows)

    def build_model(self, recipe: QuestionRecipe) -> PreTrainedModel:
        """The model of the run; a head that was trained for other answers is replaced by a new one."""
        start, head, values = recipe.model.from_pretrained, self.way.head, self.way.config_values()
        start_config = None if start is None else AutoConfig.from_pretrained(start)
        is_new = not has_head(start_config, head)
        if is_new or head != "VideoQA" or self.knows_answers(start_config, recipe.data.answers):
            model = build_model(recipe, head, self.processor, **values)
            if is_new:
                self.way.prepare_head(model)
            return model
        if recipe.run.total_steps == 0:
            raise ValueError(
                f"model.from_pretrained={start} was trained for other answers, or for some that have no names: without "
                "training there is no score of it. Name its answers in data.answers, or choose another model."
            )
        model = build_model(recipe, head, self.processor)
        for name, value in values.items():
            setattr(model.config, name, value)
        model.classifier = type(model.classifier)(model.config, model.config.num_labels)
        model.classifier.apply(model._init_weights)
        logger.warning(
            f"{start} was trained for other answers: its classifier is replaced by a new one, to be trained."
        )
        return model

    def knows_answers(self, config: Any, answers: str | None) -> bool:
        """Whether a model has been trained for the answers of this run, by their names or, without names, by file."""
        names = named_answers(config)
        return answers not in (None, "train") if names is None else names == self.way.vocabulary.answers

    def training_step(self, model, batch):
        batch = batch.inputs
        inputs = {name: value for name, value in batch.items() if name not in ("labels", "option_mask")}
        labels, option_mask = batch["labels"], batch.get("option_mask")
        with self.way.training_context(model, batch):
            if option_mask is None:
                outputs = model(**inputs, labels=labels, pooled_only=True)
                logits, loss = outputs.logits, outputs.loss
            else:  # questions of this batch differ in their number of options
                logits = model(**inputs, pooled_only=True).logits.masked_fill(~option_mask, -float("inf"))
                loss = F.cross_entropy(logits, labels)
        return {"loss": loss}, self.way.report(logits.detach().float(), labels)

    def measure(self, predictions):
        coverage = {name: value for name, value in predictions.info.items() if name == "coverage"}
        clip_logits = torch.as_tensor(predictions.tensors["clip_logits"])
        return {**measure_answers(clip_logits, predictions.info)[0], **coverage}

    def evaluate(self, model, examples, accelerator, recipe, draw=0):
        recipe = replace(recipe, run=replace(recipe.run, seed=recipe.run.seed + draw))
        media, way, rows = self.media, self.way, list(examples)
        paths = {row[f"{media}_id"]: row[media] for row in rows}
        places = {visual_id: place for place, visual_id in enumerate(paths)}
        texts = [way.texts(row) for row in rows]
        owners = [places[row[f"{media}_id"]] for row in rows]
        found = score_own_texts(
            model,
            self.processor,
            list(paths.values()),
            [text for of_question in texts for text in of_question],
            [owner for owner, of_question in zip(owners, texts, strict=True) for _ in of_question],
            way.num_outputs(model.config),
            media,
            video_options(recipe, False) if media == "video" else {},
            recipe,
            accelerator,
        )
        ids = list(paths)
        skipped = [Skipped(0, ids[index], reason) for index, reason in found.skipped.items()]
        check_skipped(skipped, len(paths), recipe.data.max_decode_error_rate)
        records = {
            "answer": way.name,
            "score_pooling": recipe.eval.score_pooling or model.config.score_pooling,
            "video_ids": ids,
            "question_ids": [row["question_id"] for row in rows],
            "questions": [row["question"] for row in rows],
            "video_indices": owners,
            **way.records(rows),
        }
        metrics, records["predictions"] = measure_answers(found.clip_logits, records)
        tensors = {"clip_logits": found.clip_logits, "frame_seconds": found.frame_seconds}
        coverage = coverage_of(examples)
        tensors = {name: tensor.numpy() for name, tensor in tensors.items()}
        return Evaluation({**metrics, **coverage}, Predictions(self.name, [], tensors, {**records, **coverage}))


def load_questions(recipe: QuestionRecipe, split: str, tasks: Sequence[str]) -> Dataset:
    """The questions of a split; captions become questions of multiple choice."""
    rows = load_rows(recipe.data, split, tasks)
    if "caption" in rows.column_names:
        rows = make_caption_choices(rows, recipe.data.num_options, recipe.run.seed)
    return rows


def choose_vocabulary(recipe: QuestionRecipe, train_rows: Dataset | None) -> AnswerVocabulary:
    """The answers that can be given: see `data.answers`."""
    data, start = recipe.data, recipe.model.from_pretrained
    start_config = None if start is None else AutoConfig.from_pretrained(start)
    answers_open = has_head(start_config, "VideoQA")
    names = named_answers(start_config) if answers_open else None
    if data.answers is None and names is not None:
        return AnswerVocabulary(names)
    if data.answers in (None, "train"):
        if train_rows is None:
            raise ValueError("data.answers: without a training split, name the file of the answers of the model.")
        return AnswerVocabulary.from_dataset(train_rows, size=data.num_answers, min_count=data.min_answer_count)
    vocabulary = AnswerVocabulary.load(data.answers)
    if answers_open and names is None and len(vocabulary) < start_config.num_labels:
        # the official heads have a minimum size, and classes without an answer behind the others
        spare = (f"LABEL_{label}" for label in range(len(vocabulary), start_config.num_labels))
        return AnswerVocabulary((*vocabulary.answers, *spare))
    return vocabulary


def named_answers(config: Any) -> tuple[str, ...] | None:
    """The answers by class of a model; `None` if nobody has named them."""
    names = tuple(config.id2label[label] for label in range(config.num_labels))
    return None if names == tuple(f"LABEL_{label}" for label in range(len(names))) else names


def has_options(rows: Dataset) -> bool:
    return any(map(len, rows["options"]))


def check_options(split: str, rows: Dataset) -> None:
    """Every question has options, of which one is right."""
    for row in rows:
        if not row["options"] or row["answer_index"] is None:
            raise ValueError(
                f"{split}, question {row['question_id']} ({row['question']!r}): expected options, of which one is the "
                "answer, got none. Set model.answer to open if the questions are open-ended."
            )


if __name__ == "__main__":
    main(VideoQATask())
