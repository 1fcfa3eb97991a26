# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Questions about videos or images: settings, training items and batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from datasets import Dataset, Features

from clipbert.datasets_scripts.building.multiple_choice import WHICH_CAPTION
from clipbert.datasets_scripts.building.rows import ROW_SCHEMAS
from clipbert.processing.sampling import build_rng
from clipbert.support.options import option
from clipbert.train_scripts.engine.task import Batch
from clipbert.train_scripts.tasks.rows import RowsByVideo, TextsOfVideos, count_words, normalise
from clipbert.train_scripts.tasks.videos import VideoSection, seed_options


Media = Literal["video", "image"]
Row = Mapping[str, Any]


@dataclass(kw_only=True)
class QuestionSection(VideoSection):
    questions_per_video: int = option(
        1, "Questions of an item. A video (or image) is decoded once for all of them.", at_least=1
    )
    num_answers: int | None = option(
        None, "Open-ended: how many of the most frequent training answers can be given; null: all of them.", at_least=2
    )
    min_answer_count: int = option(
        1, "Open-ended: how many training questions need an answer that can be given; 9 for VQA 2.0.", at_least=1
    )
    answers: str | None = option(
        None,
        "Open-ended: file of the answers that can be given, or `train` for those of the training split; null: those of "
        "model.from_pretrained if it has been trained to answer, else of the training split.",
    )
    num_options: int = option(
        5, "Where the data are captions: options of a question, one of them a caption of its video.", at_least=2
    )


class Question(NamedTuple):
    """
    What a model is asked in training.

    Args:
        text (`str`): The question.
        options (`tuple[str, ...]`): Answers to choose from; empty for open-ended questions.
        label (`Any`): What `QuestionCollator.encode_labels` makes a label of.
    """

    text: str
    options: tuple[str, ...]
    label: Any


def make_caption_choices(rows: Dataset, num_options: int, seed: int) -> Dataset:
    """
    Multiple choice from captions, as the one of MSR-VTT was made: which of these sentences belongs to the video?

    Args:
        rows (`Dataset`): Rows of a retrieval task.
        num_options (`int`): One caption of the video among so many; the others are those of other videos, and differ
            from every caption of this one and from each other.
        seed (`int`): Decides, with the number of a row, which captions these are and in which order.

    Returns:
        `Dataset`: Rows of a question answering task, one for each caption, with what further columns the captions have.

    Raises:
        ValueError: If there are too few captions that differ.
    """
    video_ids, videos, captions, caption_ids = (
        list(rows[name]) for name in ("video_id", "video", "caption", "caption_id")
    )
    numbers = {text: number for number, text in enumerate(sorted(set(map(normalise, captions))))}
    texts = np.array([numbers[normalise(caption)] for caption in captions])
    representatives = np.unique(texts, return_index=True)[1]  # one row for each different caption
    taken = ROW_SCHEMAS["retrieval"].features.keys() | ROW_SCHEMAS["qa"].features
    further = {name: kind for name, kind in rows.features.items() if name not in taken}
    kept = rows.select_columns(list(further)) if further else [{}] * len(rows)
    grouped, questions = RowsByVideo(rows), []
    for row, video_id in enumerate(video_ids):
        own = texts[grouped.members(grouped.owners[row])]
        allowed = representatives[~np.isin(texts[representatives], own)]
        if len(allowed) < num_options - 1:
            raise ValueError(
                f"Caption {caption_ids[row]}: expected {num_options - 1} other captions to choose from "
                f"(data.num_options={num_options}), got {len(allowed)} that are not its video's own."
            )
        rng = build_rng(seed, row, "options")
        options = [row, *rng.choice(allowed, num_options - 1, replace=False)]
        order = rng.permutation(num_options)
        questions.append(
            {
                "video_id": video_id,
                "video": videos[row],
                "question": WHICH_CAPTION,
                "answer": captions[row],
                "options": [captions[options[place]] for place in order],
                "answer_index": int(np.flatnonzero(order == 0)[0]),
                "answer_type": "caption",
                "question_id": caption_ids[row],
                **kept[row],
            }
        )
    return Dataset.from_list(questions, features=Features(ROW_SCHEMAS["qa"].features | further))


class QuestionItem(NamedTuple):
    """One video, or image, with questions about it."""

    visual: dict[str, torch.Tensor]
    questions: list[Question]


class QuestionedVideos(TextsOfVideos):
    """
    Training items: a video, or an image, with `questions_per_video` of its questions.

    Which frames and which questions an item has depends on (seed, epoch, item) alone.

    Args:
        rows (`Dataset`): Questions that something can be learnt from.
        make_question (`Callable`): A row to the question that a model is asked.
        processor (`ProcessorMixin`): Decodes.
        visual_options (`Mapping[str, Any]`): How clips are chosen; empty for images.
        questions_per_video (`int`): Questions of an item.
        seed (`int`): Seed of all choices.
    """

    def __init__(
        self,
        rows: Dataset,
        make_question: Callable[[Row], Question],
        processor: Any,
        visual_options: Mapping[str, Any],
        questions_per_video: int,
        seed: int,
    ):
        super().__init__(RowsByVideo(rows), questions_per_video)
        self.make_question, self.processor, self.visual_options = make_question, processor, visual_options
        self.media, self.seed = self.grouped.media, seed
        self.questions = rows.remove_columns(self.media)
        words = count_words(rows, "question")
        if "options" in rows.column_names:
            words = words + np.array(list(map(longest_option, rows["options"])), dtype=int)
        self.lengths = self.longest_of_items(words)

    def __getitem__(self, key: tuple[int, int]) -> QuestionItem:
        epoch, index = key
        rng = build_rng(self.seed, epoch, index, "questions")
        rows = self.fill_up(self.own_rows(index), index, rng)
        seeds = seed_options(self.visual_options, self.seed, epoch, index) if self.media == "video" else {}
        source = self.grouped.source(int(self.owners[index]))
        visual = self.processor(**{f"{self.media}s": [source]}, **seeds, **self.visual_options)
        return QuestionItem(dict(visual), [self.make_question(self.questions[row]) for row in rows])


def longest_option(options: Sequence[str]) -> int:
    """Words of the longest option; 0 where there are none."""
    return max((len(option.split()) for option in options), default=0)


class QuestionCollator:
    """
    Items to a batch of questions, each video decoded once.

    Args:
        processor (`ProcessorMixin`): Makes the inputs.
        encode_labels (`Callable[[list], torch.Tensor]`): The labels of a batch, as the head takes them.

    Returns (when called with a list of `QuestionItem`):
        `Batch`: Inputs of the model with `video_indices`; targets `labels` and, where questions differ in their number
        of options, `option_mask` `(questions, options)`: the missing ones are empty, and it says which exist.
    """

    def __init__(self, processor: Any, encode_labels: Callable[[list], torch.Tensor]):
        self.processor, self.encode_labels = processor, encode_labels

    def __call__(self, items: Sequence[QuestionItem]) -> Batch:
        questions = [question for item in items for question in item.questions]
        owners = [owner for owner, item in enumerate(items) for _ in item.questions]
        texts, counts = [question.text for question in questions], [len(question.options) for question in questions]
        options = {}
        if most := max(counts):
            options["options"] = [
                [*question.options, *[""] * (most - len(question.options))] for question in questions
            ]
        inputs = {
            **{name: torch.cat([item.visual[name] for item in items]) for name in items[0].visual},
            **self.processor(text=texts, **options),
            "video_indices": torch.tensor(owners),
        }
        targets = {"labels": self.encode_labels([question.label for question in questions])}
        if min(counts) < most:
            targets["option_mask"] = torch.arange(most) < torch.tensor(counts)[:, None]
        return Batch(inputs, targets)


__all__ = [
    "Media",
    "Question",
    "QuestionCollator",
    "QuestionItem",
    "QuestionSection",
    "QuestionedVideos",
    "make_caption_choices",
]
