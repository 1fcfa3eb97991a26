# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Questions about images, answered out of a vocabulary and scored by how many annotators agree (VQA 2.0).

Run:     accelerate launch train_scripts/image_qa.py --recipe FILE
Smoke:   accelerate launch --cpu train_scripts/image_qa.py --recipe train_scripts/recipes/quickstart/image_qa.yaml
         (minutes on a CPU)

An image is a video of one clip of one frame. Each answer of the vocabulary is right or wrong by itself: the labels are
the soft scores of the annotators, and the binary cross-entropy is summed over the answers and averaged over questions.

Beside the predictions of every split lies `vqa_results.json`, which the evaluation server of VQA takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from clipbert.train_scripts.answering import SoftAnswers
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.video_qa import QuestionRecipe, VideoQATask, choose_vocabulary


@dataclass(kw_only=True)
class ImageQARecipe(QuestionRecipe):
    def metrics(self):
        return ("vqa_score", "vqa_score_*")


class ImageQATask(VideoQATask):
    """Questions about images."""

    recipe_class = ImageQARecipe
    media = "image"
    row_tasks = ("image_qa",)

    def choose_way(self, recipe, rows):
        train_rows = rows.get(recipe.data.train_split)
        return SoftAnswers(choose_vocabulary(recipe, train_rows), train_rows)

    def evaluate(self, model, examples, accelerator, recipe, draw=0):
        result = super().evaluate(model, examples, accelerator, recipe, draw)
        return replace(result, files={"vqa_results.json": server_answers(result.predictions.info)})


def server_answers(records: Mapping[str, Any]) -> list[dict[str, int | str]]:
    """
    The answers of a split in the format of the VQA evaluation server, which wants one for every question.

    Example:
        >>> server_answers({"question_ids": ["262148000", "262148001"], "predictions": ["down", None]})
        [{'question_id': 262148000, 'answer': 'down'}, {'question_id': 262148001, 'answer': ''}]
    """
    return [
        {"question_id": int(name) if name.isdigit() else name, "answer": answer or ""}  # None: the image is broken
        for name, answer in zip(records["question_ids"], records["predictions"], strict=True)
    ]


if __name__ == "__main__":
    main(ImageQATask())
