# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Ways of answering questions: what each of them asks the model, learns from, and is measured by.

    way             texts scored        model                 measured by
    OpenAnswers     the question        VideoQA               accuracy, by answer type
    SoftAnswers     the question        VideoQA (bce)         VQA score, by answer type
    Options         question + option   MultipleChoice        accuracy, beside chance
    Captions        the option alone    VideoTextRetrieval    accuracy, beside chance
    Counts          the question        Regression            accuracy and squared error of rounded counts

Each way also answers without looking, from counts of the training split (`blind.py`): the blind baseline that
stands beside every score, and that a model has to beat.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from clipbert.datasets_scripts.building.answer_vocabulary import AnswerVocabulary
from clipbert.metrics.multiple_choice.multiple_choice import compute_multiple_choice_metrics
from clipbert.metrics.video_qa.video_qa import compute_count_metrics, compute_video_qa_metrics
from clipbert.metrics.vqa_score.vqa_score import compute_vqa_score
from clipbert.train_scripts.blind import OptionReader, TextOnlyReader
from clipbert.train_scripts.question_scores import pool_existing
from clipbert.train_scripts.questions import Question


Row = Mapping[str, Any]
Records = dict[str, Any]
BY_QUESTION = ("gold", "answer_types", "options", "blind", "blind_mean")  # records with one entry for each question


class Answering:
    """
    One way of answering.

    Args:
        train_rows (`Iterable[Mapping]`, *optional*): The training split, for the blind baseline; `None` where there is
            none.
    """

    name: str
    head: str  # last part of the model's class name

    def config_values(self) -> dict[str, Any]:
        """What the model's config has to say."""
        return {}

    def num_outputs(self, config: Any) -> int:
        """Scores that the model gives a text."""
        return 1

    def prepare_head(self, model: PreTrainedModel) -> None:
        """Set what a new head should not have to learn."""

    def label(self, row: Row) -> Any:
        """What a training question teaches; `None` to leave it out."""
        raise NotImplementedError

    def encode_labels(self, labels: Sequence[Any]) -> torch.Tensor:
        """The labels of a batch, as the model takes them."""
        return torch.tensor(labels)

    def question(self, row: Row) -> Question | None:
        """A training question."""
        label = self.label(row)
        return None if label is None else Question(row["question"], (), label)

    def texts(self, row: Row) -> list[str]:
        """What is scored with the video of a question in an evaluation."""
        return [row["question"]]

    def records(self, rows: Sequence[Row]) -> Records:
        """Gold answers, and those of the blind baseline, as `measure` reads them."""
        raise NotImplementedError

    def training_context(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> AbstractContextManager:
        """What a forward pass of training runs in."""
        return nullcontext()

    def report(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """What is logged of a training batch."""
        return {"accuracy": (logits.argmax(dim=1) == labels).float().mean()}

    @staticmethod
    def predict(scores: torch.Tensor, records: Records) -> list:
        """The answer to each question, from scores `(texts, labels)` that are pooled over clips."""
        raise NotImplementedError

    @staticmethod
    def measure(scores: torch.Tensor, predictions: Sequence[Any], records: Records) -> dict[str, float]:
        """Metrics, with those of the blind baseline; `scores`, `predictions` and `records` speak of the same questions."""
        raise NotImplementedError


class OpenAnswers(Answering):
    """
    Open-ended questions: an answer out of a vocabulary, one class each.

    Training questions whose answer is outside the vocabulary are left out; in an evaluation they count as wrong.
    """

    name, head = "open", "VideoQA"

    def __init__(self, vocabulary: AnswerVocabulary, train_rows: Iterable[Row] | None = None):
        self.vocabulary = vocabulary
        self.reader = train_rows and TextOnlyReader(
            (row["question"], row["answer_type"] or "", self.weights(row)) for row in train_rows
        )

    def weights(self, row: Row) -> dict[str, float]:
        return {row["answer"]: 1.0} if row["answer"] in self.vocabulary else {}

    def config_values(self):
        return {"id2label": self.vocabulary.id2label, "label2id": self.vocabulary.label2id}

    def num_outputs(self, config):
        return config.num_labels

    def label(self, row):
        return self.vocabulary.label2id.get(row["answer"])

    def records(self, rows):
        records = {
            "answers": list(self.vocabulary.answers),
            "answers_sha256": self.vocabulary.sha256,
            "gold": [self.gold(row) for row in rows],
            "answer_types": [row["answer_type"] or "" for row in rows],
        }
        if self.reader:
            records["blind"] = [self.reader.answer(row["question"], row["answer_type"] or "") for row in rows]
        return records

    def gold(self, row: Row) -> Any:
        return row["answer"]

    @staticmethod
    def predict(scores, records):
        return [records["answers"][label] for label in scores.argmax(dim=1).tolist()]

    @staticmethod
    def measure(scores, predictions, records):
        gold, known = records["gold"], set(records["answers"])
        metrics, beside = compute_video_qa_metrics(predictions, gold, records["answer_types"]), {}
        if "blind" in records:
            beside["blind_accuracy"] = compute_video_qa_metrics(records["blind"], gold)["accuracy"]
        beside["answer_coverage"] = sum(answer in known for answer in gold) / len(gold)
        return {"accuracy": metrics.pop("accuracy"), **beside, **metrics}


class SoftAnswers(OpenAnswers):
    """Open-ended questions with several answers of different merit (VQA 2.0): each class is right or wrong by itself."""

    name = "soft"

    def weights(self, row):
        return {answer: score for answer, score in (self.gold(row) or {}).items() if answer in self.vocabulary}

    def config_values(self):
        return {**super().config_values(), "loss_type": "bce"}

    def gold(self, row):
        if row["answer"] is None:  # not published
            return None
        return dict(zip(row["soft_answers"], row["soft_scores"], strict=True))

    def label(self, row):
        weights = self.weights(row)
        return {self.vocabulary.label2id[answer]: score for answer, score in weights.items()} or None

    def encode_labels(self, labels):
        soft = torch.zeros(len(labels), len(self.vocabulary))
        for row, scores in zip(soft, labels, strict=True):
            row[list(scores)] = torch.tensor(list(scores.values()))
        return soft

    def report(self, logits, labels):
        return {"vqa_score": labels.gather(1, logits.argmax(dim=1, keepdim=True)).mean()}

    @staticmethod
    def measure(scores, predictions, records):
        gold, known = records["gold"], set(records["answers"])
        metrics, beside = compute_vqa_score(predictions, gold, records["answer_types"]), {}
        if "blind" in records:
            beside["blind_vqa_score"] = compute_vqa_score(records["blind"], gold)["vqa_score"]
        best = [max((score for answer, score in soft.items() if answer in known), default=0.0) for soft in gold]
        beside["answer_coverage"] = sum(best) / len(best)
        return {"vqa_score": metrics.pop("vqa_score"), **beside, **metrics}


class Options(Answering):
    """Multiple choice: the question is read with each option, and the options compete."""

    name, head = "multiple_choice", "MultipleChoice"

    def __init__(self, train_rows: Iterable[Row] | None = None):
        self.reader = train_rows and OptionReader(
            (row["question"], row["options"], row["answer_index"]) for row in train_rows
        )

    def label(self, row):
        return row["answer_index"]

    def question(self, row):
        return Question(row["question"], tuple(row["options"]), row["answer_index"])

    def texts(self, row):
        return [f"{row['question']} {option}" for option in row["options"]]

    def records(self, rows):
        records = {"options": [list(row["options"]) for row in rows], "gold": [row["answer_index"] for row in rows]}
        if self.reader:
            records["blind"] = [self.reader.scores(row["question"], row["options"]) for row in rows]
        return records

    @staticmethod
    def by_question(scores: torch.Tensor, records: Records) -> list[list[float]]:
        return [part.tolist() for part in scores[:, 0].split(texts_of_questions(records))]

    @staticmethod
    def predict(scores, records):
        return [int(np.argmax(row)) for row in Options.by_question(scores, records)]

    @staticmethod
    def measure(scores, predictions, records):
        metrics = compute_multiple_choice_metrics(Options.by_question(scores, records), records["gold"])
        beside = {}
        if "blind" in records:
            blind = compute_multiple_choice_metrics(records["blind"], records["gold"])
            beside["blind_accuracy"] = blind["accuracy"]
        return {"accuracy": metrics.pop("accuracy"), **beside, **metrics}


class Captions(Options):
    """Multiple choice with a retrieval model: the option that matches the video best, the question being unread."""

    name, head = "retrieval", "VideoTextRetrieval"

    def num_outputs(self, config):
        return config.num_labels

    def texts(self, row):
        return list(row["options"])

    @staticmethod
    def predict(scores, records):
        return Options.predict(Captions.odds(scores), records)

    @staticmethod
    def measure(scores, predictions, records):
        return Options.measure(Captions.odds(scores), predictions, records)

    @staticmethod
    def odds(scores: torch.Tensor) -> torch.Tensor:
        """Log-odds `(texts, 1)` of a match."""
        return scores[:, 1:] - scores[:, :1] if scores.shape[1] == 2 else scores


class Counts(Answering):
    """
    How many times: a number, learnt by its squared error, rounded and clipped to the counts of the training split.

    Args:
        train_rows (`Iterable[Mapping]`): Rows whose `answer` is a whole number.
    """

    name, head = "count", "Regression"

    def __init__(self, train_rows: Iterable[Row]):
        rows = list(train_rows)
        counts = [self.gold(row) for row in rows]
        self.count_range, self.mean = (min(counts), max(counts)), sum(counts) / len(counts)
        self.reader = TextOnlyReader(
            (row["question"], row["answer_type"] or "", {str(count): 1.0})
            for row, count in zip(rows, counts, strict=True)
        )

    def config_values(self):
        return {"num_labels": 1}

    def prepare_head(self, model):
        with torch.no_grad():
            model.regressor.out_proj.bias.fill_(self.mean)  # else hundreds of steps are spent on getting there

    @staticmethod
    def gold(row: Row) -> int:
        try:
            return int(row["answer"])
        except ValueError:
            raise ValueError(
                f"Question {row['question_id']}: expected a whole number to count with, got the answer {row['answer']!r}. "
                "Set model.answer to another way of answering."
            ) from None

    def label(self, row):
        return float(self.gold(row))

    def records(self, rows):
        counts = np.array([int(answer) for answer in self.reader.answers])
        guesses = [self.reader.probabilities(row["question"], row["answer_type"] or "") for row in rows]
        return {
            "count_range": list(self.count_range),
            "gold": [self.gold(row) for row in rows],
            "blind": [int(counts[guess.argmax()]) for guess in guesses],  # the most frequent count, and the mean
            "blind_mean": [float(guess @ counts) for guess in guesses],
        }

    def training_context(self, model, batch):
        clip_mask, num_clips = batch.get("clip_mask"), batch["pixel_values"].shape[1]
        clips = num_clips * len(batch["labels"]) if clip_mask is None else int(clip_mask[batch["video_indices"]].sum())
        # the batch norm of the head has nothing to compare a single clip with
        return running_statistics(model) if clips == 1 else nullcontext()

    def report(self, logits, labels):
        return {"accuracy": (logits[:, 0].round() == labels).float().mean()}

    @staticmethod
    def predict(scores, records):
        return np.clip(np.floor(scores[:, 0].numpy() + 0.5), *records["count_range"]).astype(int).tolist()

    @staticmethod
    def measure(scores, predictions, records):
        gold, count_range = records["gold"], records["count_range"]
        metrics = compute_count_metrics(scores[:, 0].tolist(), gold, count_range)
        blind = compute_count_metrics(records["blind"], gold, count_range)
        blind_mean = compute_count_metrics(records["blind_mean"], gold, count_range)
        return {
            "accuracy": metrics["accuracy"],
            "blind_accuracy": blind["accuracy"],
            "mean_squared_error": metrics["mean_squared_error"],
            "blind_mean_squared_error": blind_mean["mean_squared_error"],
            "num_examples": metrics["num_examples"],
        }


@contextmanager
def running_statistics(model: nn.Module) -> Iterator[None]:
    """Let the batch norms of the head normalise as in an evaluation."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


WAYS = {way.name: way for way in (OpenAnswers, SoftAnswers, Options, Captions, Counts)}


def texts_of_questions(records: Records) -> list[int]:
    """How many texts are scored for each question."""
    return [len(options) for options in records["options"]] if "options" in records else [1] * len(records["gold"])


def measure_answers(clip_logits: torch.Tensor, records: Records) -> tuple[dict[str, float], list]:
    """
    Metrics of written predictions, and the predictions themselves.

    Questions whose videos could not be decoded, and those whose answers are not published, take no part.

    Args:
        clip_logits (`torch.FloatTensor` of shape `(texts, clips, labels)`): See `OwnScores`.
        records (`dict`): Written beside them.

    Returns:
        `dict`, `list`: Scores as fractions; and for each question a text, the place of an option or a count, `None`
        where the video could not be decoded.
    """
    way = WAYS[records["answer"]]
    if way is Counts and records["score_pooling"] == "lse":
        raise ValueError("score_pooling=lse collects evidence for a soft-max over classes, but counts are no classes.")
    scores = pool_existing(clip_logits, records["score_pooling"])  # (texts, labels)
    by_question = scores.split(texts_of_questions(records))

    def select(questions: list[int]) -> tuple[torch.Tensor, Records]:
        columns = {
            name: [column[question] for question in questions]
            for name, column in records.items()
            if name in BY_QUESTION
        }
        return torch.cat([by_question[question] for question in questions]), {**records, **columns}

    seen = [question for question, part in enumerate(by_question) if not part.isnan().any()]
    predictions: list = [None] * len(by_question)
    for question, answer in zip(seen, way.predict(*select(seen)), strict=True):
        predictions[question] = answer
    metrics: dict[str, float] = {"num_examples": 0}
    if asked := [question for question in seen if records["gold"][question] is not None]:
        chosen, columns = select(asked)
        metrics = way.measure(chosen, [predictions[question] for question in asked], columns)
    videos = [
        {records["video_indices"][question] for question in questions} for questions in (range(len(predictions)), seen)
    ]
    return {**metrics, "num_skipped_videos": len(videos[0] - videos[1])}, predictions


__all__ = [
    "Answering",
    "Captions",
    "Counts",
    "OpenAnswers",
    "Options",
    "SoftAnswers",
    "measure_answers",
]
