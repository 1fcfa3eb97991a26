# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Which answers a model can give to open-ended questions, and whether it was trained for them."""

import logging
from typing import Any

from datasets import Dataset
from transformers import AutoConfig, PreTrainedModel

from clipbert.datasets_scripts.building.answer_vocabulary import AnswerVocabulary
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.tasks.building import build_model, has_head
from clipbert.train_scripts.tasks.question_answering.modes import Answering


logger = logging.getLogger(__name__)


def choose_vocabulary(recipe: Recipe, train_rows: Dataset | None) -> AnswerVocabulary:
    """The answers that can be given: see `data.answers`."""
    data, start_config = recipe.data, config_of_start(recipe)
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


def config_of_start(recipe: Recipe) -> Any:
    """The config of the checkpoint that a model starts from; `None` if there is none."""
    start = recipe.model.from_pretrained
    return None if start is None else AutoConfig.from_pretrained(start)


def named_answers(config: Any) -> tuple[str, ...] | None:
    """The answers by class of a model; `None` if nobody has named them."""
    names = tuple(config.id2label[label] for label in range(config.num_labels))
    return None if names == tuple(f"LABEL_{label}" for label in range(len(names))) else names


def build_answering_model(recipe: Recipe, mode: Answering, processor: Any) -> PreTrainedModel:
    """The model of the run; a head that was trained for other answers is replaced by a new one."""
    start, values, start_config = recipe.model.from_pretrained, mode.config_values(), config_of_start(recipe)
    is_new = not has_head(start_config, mode.head)
    if is_new or mode.head != "VideoQA" or _knows_answers(start_config, recipe.data.answers, mode):
        model = build_model(recipe, mode.head, processor, **values)
        if is_new:
            mode.prepare_head(model)
        return model
    if recipe.run.total_steps == 0:
        raise ValueError(
            f"model.from_pretrained={start} was trained for other answers, or for some that have no names: without "
            "training there is no score of it. Name its answers in data.answers, or choose another model."
        )
    model = build_model(recipe, mode.head, processor)
    for name, value in values.items():
        setattr(model.config, name, value)
    model.classifier = type(model.classifier)(model.config, model.config.num_labels)
    model.classifier.apply(model._init_weights)
    logger.warning(f"{start} was trained for other answers: its classifier is replaced by a new one, to be trained.")
    return model


def _knows_answers(config: Any, answers: str | None, mode: Answering) -> bool:
    """Whether a model has been trained for the answers of this run, by their names or, without names, by file."""
    names = named_answers(config)
    return answers not in (None, "train") if names is None else names == mode.vocabulary.answers


__all__ = ["build_answering_model", "choose_vocabulary", "config_of_start", "named_answers"]
