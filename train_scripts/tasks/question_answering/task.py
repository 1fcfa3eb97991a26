# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What questions about videos and questions about images have in common as training tasks."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch.nn.functional as F
from datasets import Dataset

from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.items import NoTrainSet
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.task import Evaluation, Parts, Task
from clipbert.train_scripts.tasks.building import build_processor, choose_pooling, forward_options
from clipbert.train_scripts.tasks.groups import GroupOptions, check_groups, columns_of_groups
from clipbert.train_scripts.tasks.kept_videos import KeptVideoOptions
from clipbert.train_scripts.tasks.question_answering.items import (
    Media,
    QuestionCollator,
    QuestionedVideos,
    QuestionSection,
    make_caption_choices,
)
from clipbert.train_scripts.tasks.question_answering.measures import answer, measure
from clipbert.train_scripts.tasks.question_answering.modes import Answering
from clipbert.train_scripts.tasks.question_answering.vocabulary import build_answering_model
from clipbert.train_scripts.tasks.rows import RowsByVideo, coverage_metrics, evaluation_problems, find_data, load_rows
from clipbert.train_scripts.tasks.scoring import VisualReader, paths_of, score_own_texts
from clipbert.train_scripts.tasks.texts import report_losses
from clipbert.train_scripts.tasks.videos import ClipEvalSection, video_options


logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class QuestionEvalSection(KeptVideoOptions, GroupOptions, ClipEvalSection):
    """Evaluation of questions."""

    def problems(self):
        yield from ClipEvalSection.problems(self)
        yield from GroupOptions.problems(self)


@dataclass(kw_only=True)
class QuestionRecipe(Recipe):
    data: QuestionSection = field(default_factory=QuestionSection)
    eval: QuestionEvalSection = field(default_factory=QuestionEvalSection)

    def problems(self):
        yield from evaluation_problems(self)


class QuestionTask(Task):
    """Questions about videos or images. A door says which rows there are and how questions are answered."""

    name = "question_answering"
    rescore_options = ("score_pooling",)
    build_reader = VisualReader
    media: Media = "video"
    row_kinds: Sequence[str] = ()

    def choose_mode(self, recipe: QuestionRecipe, rows: dict[str, Dataset]) -> Answering:
        """How the questions are answered."""
        raise NotImplementedError

    def build(self, recipe: QuestionRecipe) -> Parts:
        find_data(recipe.data)
        self.processor, train_split = build_processor(recipe), recipe.data.train_split
        splits = filter(None, (train_split, *recipe.eval.splits))
        rows = {split: load_questions(recipe, split, self.row_kinds) for split in splits}
        check_groups(recipe, {split: rows[split] for split in recipe.eval.splits})
        self.mode = self.choose_mode(recipe, rows)
        for split, part in rows.items():
            report_losses(split, (text for row in part for text in self.mode.texts(row)), self.processor)
        model = build_answering_model(recipe, self.mode, self.processor)
        self.options, train_set = forward_options(model), NoTrainSet()
        if recipe.run.total_steps != 0:
            train_set = QuestionedVideos(
                self.training_questions(rows[train_split]),
                self.mode.question,
                self.processor,
                video_options(recipe, self.processor, is_training=True) if self.media == "video" else {},
                recipe.data.questions_per_video,
                recipe.run.seed,
            )
        collate = QuestionCollator(self.processor, self.mode.encode_labels)
        return Parts(model, self.processor, train_set, collate, {split: rows[split] for split in recipe.eval.splits})

    def training_questions(self, rows: Dataset) -> Dataset:
        """The rows that something can be learnt from."""
        known = [number for number, row in enumerate(rows) if self.mode.label(row) is not None]
        if len(known) < len(rows):
            logger.info(
                f"{len(rows) - len(known)} of {len(rows)} training questions are left out: their answers are not "
                "among those that the model can give. In an evaluation such questions count as wrong."
            )
            return rows.select(known)
        return rows

    def training_step(self, model, batch):
        labels, option_mask = batch.targets["labels"], batch.targets.get("option_mask")
        with self.mode.training_context(model, batch):
            if option_mask is None:
                outputs = model(**batch.inputs, labels=labels, **self.options)
                logits, loss = outputs.logits, outputs.loss
            else:  # questions of this batch differ in their number of options
                outputs = model(**batch.inputs, **self.options)
                logits = outputs.logits.masked_fill(~option_mask, -float("inf"))
                loss = F.cross_entropy(logits, labels)
        return {"loss": loss}, self.mode.report(logits.detach().float(), labels)

    def evaluate(self, model, examples, accelerator, recipe, draw=0):
        grouped, mode, rows = RowsByVideo(examples), self.mode, examples.remove_columns(self.media)
        texts = [mode.texts(row) for row in rows]
        owners = [owner for owner, own in zip(grouped.owners.tolist(), texts, strict=True) for _ in own]
        options = video_options(recipe, self.processor, is_training=False) if self.media == "video" else {}
        reader = self.build_reader(grouped.sources(), self.media, self.processor, options, recipe, accelerator, draw)
        clip_logits = score_own_texts(
            model,
            reader,
            [text for own in texts for text in own],
            owners,
            mode.read,
            recipe.eval.pairs_per_forward,
        )
        reader.check_skipped(grouped.ids)
        groups = columns_of_groups(examples, recipe.eval.group_by)
        predictions = Predictions(
            self.name,
            [
                {
                    "question_id": row["question_id"],
                    "question": row["question"],
                    "video_id": row[f"{self.media}_id"],
                    **mode.gold(row),
                    **mode.blind(row),
                    **of_groups,
                }
                for row, of_groups in zip(rows, groups, strict=True)
            ],
            {"clip_logits": clip_logits.numpy(), "frame_seconds": reader.frame_seconds.numpy()},
            {
                "answer": mode.name,
                "score_pooling": choose_pooling(recipe, model),
                "video_ids": grouped.ids,
                "videos": paths_of(reader),
                **({"group_by": recipe.eval.group_by} if recipe.eval.group_by else {}),
                **mode.info(),
                **coverage_metrics(examples),
            },
        )
        for row, given in zip(predictions.rows, answer(predictions), strict=True):
            row["prediction"] = given
        return Evaluation(self.measure(predictions), predictions)

    def describe_row(self, predictions, number):
        row = predictions.rows[number]

        def word(answer):
            if "options" in row and answer is not None:
                return row["options"][answer]
            return max(answer, key=answer.get, default=None) if isinstance(answer, dict) else answer

        given, right = word(row["prediction"]), word(row["gold"])
        is_right = row["prediction"] in row["gold"] if isinstance(row["gold"], dict) else given == right
        verdict = "" if row["gold"] is None else " (right)" if is_right else f" (right is: {right})"
        return printable(f'"{row["question"]}" {given}{verdict}')

    def measure(self, predictions):
        return measure(predictions)


def load_questions(recipe: QuestionRecipe, split: str, kinds: Sequence[str]) -> Dataset:
    """The questions of a split; captions become questions of multiple choice."""
    rows = load_rows(recipe.data, split, kinds)
    if "caption" in rows.column_names:
        rows = make_caption_choices(rows, recipe.data.num_options, recipe.run.seed)
    return rows


__all__ = ["QuestionRecipe", "QuestionTask", "load_questions"]
