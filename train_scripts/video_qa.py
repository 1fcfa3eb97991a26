# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Questions about videos: open-ended, multiple choice, and how many times something happens.

Run:     accelerate launch train_scripts/video_qa.py --recipe FILE
Smoke:   accelerate launch --cpu train_scripts/video_qa.py --recipe train_scripts/recipes/quickstart/video_qa.yaml
         (minutes on a CPU)

`model.answer` says how: `open` chooses among the frequent answers of the training split, `multiple_choice` reads the
question with each of its options, `count` predicts a number. `retrieval` needs no training (`run.total_steps=0`): a
retrieval model takes the options for captions, as in the multiple-choice test of MSR-VTT. Where the data are captions,
each becomes a question: which of `data.num_options` captions is it? Every score is reported with that of a blind baseline,
which knows the training questions and sees no video.
"""

from dataclasses import dataclass, field
from typing import Literal

from datasets import Dataset

from clipbert.support.options import option
from clipbert.train_scripts.engine.recipe import ModelSection
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.tasks.question_answering.modes import Answering, Captions, Counts, OpenAnswers, Options
from clipbert.train_scripts.tasks.question_answering.task import QuestionRecipe, QuestionTask
from clipbert.train_scripts.tasks.question_answering.vocabulary import choose_vocabulary


@dataclass(kw_only=True)
class VideoQAModelSection(ModelSection):
    answer: Literal["open", "multiple_choice", "count", "retrieval"] | None = option(
        None,
        "`open`, `multiple_choice`, `count`, or `retrieval` (a retrieval model scores the options, untrained); null: "
        "multiple_choice where the questions have options, else open.",
    )


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
        names = ("accuracy", "mean_squared_error") if self.model.answer == "count" else ("accuracy",)
        return (*names, *self.eval.patterns(names), *(() if self.model.answer == "count" else ("accuracy_*",)))


class VideoQATask(QuestionTask):
    """Questions about videos."""

    recipe_class = VideoQARecipe
    media = "video"
    row_kinds = ("qa", "retrieval")

    def choose_mode(self, recipe: VideoQARecipe, rows: dict[str, Dataset]) -> Answering:
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
