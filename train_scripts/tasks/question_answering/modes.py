# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Modes of answering questions: what each of them asks the model, learns from, and is measured by.

    mode            texts scored        head                  measured by
    OpenAnswers     the question        VideoQA               accuracy, by answer type
    SoftAnswers     the question        VideoQA (bce)         VQA score, by answer type
    Options         question + option   MultipleChoice        accuracy, with chance
    Captions        the option alone    VideoTextRetrieval    accuracy, with chance
    Counts          the question        Regression            accuracy and squared error of rounded counts

Each mode also answers without looking, from counts of the training split (`blind.py`): the blind baseline that stands
with every score, and that a model has to beat.
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
from clipbert.train_scripts.engine.task import Batch
from clipbert.train_scripts.tasks.building import forward_options
from clipbert.train_scripts.tasks.pooling import log_odds
from clipbert.train_scripts.tasks.question_answering.blind import OptionReader, TextOnlyReader
from clipbert.train_scripts.tasks.question_answering.items import Question
from clipbert.train_scripts.tasks.scoring import TextBlock, VideoBlock, match_texts, matches_of_clips


Row = Mapping[str, Any]
Rows = Sequence[Row]


class Answering:
    """
    One mode of answering.

    Args:
        train_rows (`Iterable[Mapping]`, *optional*): The training split, for the blind baseline; `None` where there is
            none.
    """

    name: str
    head: str  # last part of the model's class name

    def config_values(self) -> dict[str, Any]:
        """What the model's config has to say."""
        return {}

    def prepare_head(self, model: PreTrainedModel) -> None:
        """Set what a new head should not have to learn."""

    def label(self, row: Row) -> Any:
        """What a training question teaches; `None` to leave it out."""
        raise NotImplementedError

    def encode_labels(self, labels: Sequence[Any]) -> torch.Tensor:
        """The labels of a batch, as the model takes them."""
        return torch.tensor(labels)

    def question(self, row: Row) -> Question:
        """A training question."""
        return Question(row["question"], (), self.label(row))

    def texts(self, row: Row) -> list[str]:
        """What is scored with the video of a question in an evaluation."""
        return [row["question"]]

    def read(
        self, model: PreTrainedModel, texts: TextBlock, block: VideoBlock, video_indices: torch.Tensor
    ) -> torch.Tensor:
        """Scores `(texts, clips, labels)` of texts, each with the video it belongs to."""
        mask = {} if block.clip_mask is None else {"clip_mask": block.clip_mask}
        outputs = model(
            **self.text_inputs(texts),
            video_indices=video_indices,
            visual_embeds=block.videos,
            **mask,
            **forward_options(model),
        )
        return outputs.clip_logits

    def text_inputs(self, texts: TextBlock) -> dict[str, torch.Tensor]:
        return {"input_ids": texts.input_ids, "attention_mask": texts.attention_mask}

    def gold(self, row: Row) -> dict[str, Any]:
        """What a row of predictions says of a question's right answer (`gold`, `None` where it is not published)."""
        raise NotImplementedError

    def blind(self, row: Row) -> dict[str, Any]:
        """The answer of the blind baseline (`blind`); empty where there is no training split."""
        return {}

    def info(self) -> dict[str, Any]:
        """What `predict` and `measure` need in addition to the rows."""
        return {}

    def training_context(self, model: nn.Module, batch: Batch) -> AbstractContextManager:
        """What a forward pass of training runs in."""
        return nullcontext()

    def report(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """What is logged of a training batch."""
        return {"accuracy": (logits.argmax(dim=1) == labels).float().mean()}

    @staticmethod
    def predict(scores: torch.Tensor, rows: Rows, info: Mapping[str, Any]) -> list:
        """The answer to each question, from scores `(texts, labels)` that are pooled over clips."""
        raise NotImplementedError

    @staticmethod
    def measure(
        scores: torch.Tensor, predictions: Sequence[Any], rows: Rows, info: Mapping[str, Any]
    ) -> dict[str, float]:
        """Metrics, with those of the blind baseline; `scores`, `predictions` and `rows` are of the same questions."""
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

    def label(self, row):
        return self.vocabulary.label2id.get(row["answer"])

    def info(self):
        return {"answers": list(self.vocabulary.answers), "answers_sha256": self.vocabulary.sha256}

    def gold(self, row):
        return {"gold": self.right_answer(row), "answer_type": row["answer_type"] or ""}

    def right_answer(self, row: Row) -> Any:
        return row["answer"]

    def blind(self, row):
        return {"blind": self.reader.answer(row["question"], row["answer_type"] or "")} if self.reader else {}

    @staticmethod
    def predict(scores, rows, info):
        return [info["answers"][label] for label in scores.argmax(dim=1).tolist()]

    @staticmethod
    def measure(scores, predictions, rows, info):
        gold, known = column(rows, "gold"), set(info["answers"])
        metrics, baseline = compute_video_qa_metrics(predictions, gold, column(rows, "answer_type")), {}
        if "blind" in rows[0]:
            baseline["blind_accuracy"] = compute_video_qa_metrics(column(rows, "blind"), gold)["accuracy"]
        baseline["answer_coverage"] = sum(answer in known for answer in gold) / len(gold)
        return {"accuracy": metrics.pop("accuracy"), **baseline, **metrics}


class SoftAnswers(OpenAnswers):
    """Open-ended questions with several answers of different merit (VQA 2.0): each class is right or wrong by itself."""

    name = "soft"

    def weights(self, row):
        return {answer: score for answer, score in (self.right_answer(row) or {}).items() if answer in self.vocabulary}

    def config_values(self):
        return {**super().config_values(), "loss_type": "bce"}

    def right_answer(self, row):
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
    def measure(scores, predictions, rows, info):
        gold, known = column(rows, "gold"), set(info["answers"])
        metrics, baseline = compute_vqa_score(predictions, gold, column(rows, "answer_type")), {}
        if "blind" in rows[0]:
            baseline["blind_vqa_score"] = compute_vqa_score(column(rows, "blind"), gold)["vqa_score"]
        best = [max((score for answer, score in soft.items() if answer in known), default=0.0) for soft in gold]
        baseline["answer_coverage"] = sum(best) / len(best)
        return {"vqa_score": metrics.pop("vqa_score"), **baseline, **metrics}


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

    def text_inputs(self, texts):  # every text is a row of its own: to choose among options is to compare rows
        return {"input_ids": texts.input_ids[:, None], "attention_mask": texts.attention_mask[:, None]}

    def gold(self, row):
        return {"options": list(row["options"]), "gold": row["answer_index"]}

    def blind(self, row):
        return {"blind": self.reader.scores(row["question"], row["options"])} if self.reader else {}

    @staticmethod
    def by_question(scores: torch.Tensor, rows: Rows) -> list[list[float]]:
        return [part.tolist() for part in scores[:, 0].split(texts_of_questions(rows))]

    @staticmethod
    def predict(scores, rows, info):
        return [int(np.argmax(options)) for options in Options.by_question(scores, rows)]

    @staticmethod
    def measure(scores, predictions, rows, info):
        gold, baseline = column(rows, "gold"), {}
        metrics = compute_multiple_choice_metrics(Options.by_question(scores, rows), gold)
        if "blind" in rows[0]:
            baseline["blind_accuracy"] = compute_multiple_choice_metrics(column(rows, "blind"), gold)["accuracy"]
        return {"accuracy": metrics.pop("accuracy"), **baseline, **metrics}


class Captions(Options):
    """Multiple choice with a retrieval model: the option that matches the video best, the question being unread."""

    name, head = "retrieval", "VideoTextRetrieval"

    def texts(self, row):
        return list(row["options"])

    def read(self, model, texts, block, video_indices):
        encoded = model.encode_texts(texts.input_ids, texts.attention_mask)
        return matches_of_clips(match_texts(model, encoded, block, video_indices))

    @staticmethod
    def predict(scores, rows, info):
        return Options.predict(log_odds(scores)[:, None], rows, info)

    @staticmethod
    def measure(scores, predictions, rows, info):
        return Options.measure(log_odds(scores)[:, None], predictions, rows, info)


class Counts(Answering):
    """
    How many times: a number, learnt by its squared error, rounded and clipped to the counts of the training split.

    Args:
        train_rows (`Iterable[Mapping]`): Rows whose `answer` is a whole number.
    """

    name, head = "count", "Regression"

    def __init__(self, train_rows: Iterable[Row]):
        rows = list(train_rows)
        counts = [self.count_of(row) for row in rows]
        self.count_range, self.mean = (min(counts), max(counts)), sum(counts) / len(counts)
        self.reader = TextOnlyReader(
            (row["question"], row["answer_type"] or "", {str(count): 1.0})
            for row, count in zip(rows, counts, strict=True)
        )

    def config_values(self):
        return {"num_labels": 1, "count_range": list(self.count_range)}

    def prepare_head(self, model):
        *_, last = (module for module in model.modules() if isinstance(module, nn.Linear))
        with torch.no_grad():
            last.bias.fill_(self.mean)  # else hundreds of steps are spent on getting there

    @staticmethod
    def count_of(row: Row) -> int:
        try:
            return int(row["answer"])
        except ValueError:
            raise ValueError(
                f"Question {row['question_id']}: expected a whole number to count with, got the answer {row['answer']!r}. "
                "Set model.answer to another mode of answering."
            ) from None

    def label(self, row):
        return float(self.count_of(row))

    def info(self):
        return {"count_range": list(self.count_range)}

    def gold(self, row):
        return {"gold": self.count_of(row)}

    def blind(self, row):
        counts = np.array([int(answer) for answer in self.reader.answers])
        guess = self.reader.probabilities(row["question"], row["answer_type"] or "")
        # the most frequent count, and the mean
        return {"blind": int(counts[guess.argmax()]), "blind_mean": float(guess @ counts)}

    def training_context(self, model, batch):
        clip_mask, num_clips = batch.inputs.get("clip_mask"), batch.inputs["pixel_values"].shape[1]
        clips = num_clips * len(batch.targets["labels"])
        if clip_mask is not None and len(batch.targets["labels"]) == 1:  # every video has a clip
            clips = int(clip_mask[batch.inputs["video_indices"]].sum())
        # the batch norm of the head has nothing to compare a single clip with
        return running_statistics(model) if clips == 1 else nullcontext()

    def report(self, logits, labels):
        return {"accuracy": (logits[:, 0].round() == labels).float().mean()}

    @staticmethod
    def predict(scores, rows, info):
        return np.clip(np.floor(scores[:, 0].numpy() + 0.5), *info["count_range"]).astype(int).tolist()

    @staticmethod
    def measure(scores, predictions, rows, info):
        gold, count_range = column(rows, "gold"), info["count_range"]
        metrics = compute_count_metrics(scores[:, 0].tolist(), gold, count_range)
        blind = compute_count_metrics(column(rows, "blind"), gold, count_range)
        blind_mean = compute_count_metrics(column(rows, "blind_mean"), gold, count_range)
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


MODES = {mode.name: mode for mode in (OpenAnswers, SoftAnswers, Options, Captions, Counts)}


def texts_of_questions(rows: Rows) -> list[int]:
    """How many texts are scored for each question."""
    return [len(row["options"]) if "options" in row else 1 for row in rows]


def column(rows: Rows, name: str) -> list:
    return [row[name] for row in rows]


__all__ = [
    "MODES",
    "Answering",
    "Captions",
    "Counts",
    "OpenAnswers",
    "Options",
    "SoftAnswers",
    "texts_of_questions",
]
