# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Questions about images, answered out of a vocabulary and scored by how many annotators agree (VQA 2.0).

Run:     accelerate launch train_scripts/image_qa.py --recipe FILE
Smoke:   accelerate launch --cpu train_scripts/image_qa.py --recipe train_scripts/recipes/quickstart/image_qa.yaml
         (minutes on a CPU)

An image is a video of one clip of one frame. Each answer of the vocabulary is right or wrong by itself: the labels are
the soft scores of the annotators, and the binary cross-entropy is summed over the answers and averaged over questions.

Beside the predictions of every split lies `vqa_results.json`, which the evaluation server of VQA takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.tasks.question_answering.modes import SoftAnswers
from clipbert.train_scripts.tasks.question_answering.task import QuestionRecipe, QuestionTask
from clipbert.train_scripts.tasks.question_answering.vocabulary import choose_vocabulary


@dataclass(kw_only=True)
class ImageQARecipe(QuestionRecipe):
    def metrics(self):
        return ("vqa_score", "vqa_score_*")


class ImageQATask(QuestionTask):
    """Questions about images."""

    recipe_class = ImageQARecipe
    media = "image"
    row_kinds = ("image_qa",)

    def choose_mode(self, recipe, rows):
        train_rows = rows.get(recipe.data.train_split)
        return SoftAnswers(choose_vocabulary(recipe, train_rows), train_rows)

    def evaluate(self, model, examples, accelerator, recipe, draw=0):
        result = super().evaluate(model, examples, accelerator, recipe, draw)
        return replace(result, files={"vqa_results.json": server_answers(result.predictions.rows)})


def server_answers(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, int | str]]:
    """
    The answers of a split in the format of the VQA evaluation server, which wants one for every question.

    Example:
        >>> rows = [("262148000", "down"), ("262148001", None)]  # None: the image is broken
        >>> server_answers([{"question_id": name, "prediction": answer} for name, answer in rows])
        [{'question_id': 262148000, 'answer': 'down'}, {'question_id': 262148001, 'answer': ''}]
    """
    return [
        {
            "question_id": int(row["question_id"]) if row["question_id"].isdigit() else row["question_id"],
            "answer": row["prediction"] or "",
        }
        for row in rows
    ]


if __name__ == "__main__":
    main(ImageQATask())
