# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What an evaluation of retrieval needs before anything is trained: options that fit, and texts for a query bank."""

import logging
from collections.abc import Mapping, Sequence

import datasets
from transformers import PreTrainedModel

from clipbert.train_scripts.engine.recipe import Recipe, RecipeError
from clipbert.train_scripts.tasks.rows import RowsByVideo, load_rows, normalise


logger = logging.getLogger(__name__)


def check_evaluation(recipe: Recipe, model: PreTrainedModel, eval_sets: Mapping[str, datasets.Dataset]) -> None:
    """
    Compare the options of `eval` with the model and the splits.

    Raises:
        RecipeError: If one of them leaves no choice of an option, or a number is larger than a split.
    """
    settings, model_name = recipe.eval, type(model).__name__
    for split, rows in eval_sets.items():
        num_videos = len(RowsByVideo(rows))
        if settings.gallery_size and settings.gallery_size > num_videos:
            raise RecipeError(f"eval.gallery_size={settings.gallery_size}: {split} has only {num_videos} videos.")
        if settings.query_bank and settings.query_bank_top_k > (size := settings.gallery_size or num_videos):
            raise RecipeError(
                f"eval.query_bank_top_k={settings.query_bank_top_k}: a text of {split} is looked for among {size} videos."
            )
    if not hasattr(model, "match_all"):
        if settings.rescaling:
            raise RecipeError(
                f"eval.rescaling={settings.rescaling}: {model_name} reads text and video together and has no similarity that "
                "could be rescaled; leave it out."
            )
    elif settings.shortlist is not None:
        raise RecipeError(
            f"eval.shortlist={settings.shortlist}: {model_name} compares vectors, all of them at once; leave it out."
        )
    elif settings.score_pooling is not None:
        raise RecipeError(
            f"eval.score_pooling={settings.score_pooling}: {model_name} pools over clips by itself; set "
            "model.overrides.score_pooling."
        )


def build_bank(recipe: Recipe, eval_sets: Mapping[str, datasets.Dataset], kinds: Sequence[str]) -> list[str]:
    """
    Texts for query-bank normalisation, each once; none of them is asked in the evaluation.

    Args:
        recipe (`Recipe`): Which split they come from, and how many.
        eval_sets (`Mapping[str, Dataset]`): What is evaluated.
        kinds (`Sequence[str]`): Kinds of rows.

    Raises:
        RecipeError: If no text is left.
    """
    settings = recipe.eval
    if settings.query_bank is None:
        return []
    asked = {normalise(text) for rows in eval_sets.values() for text in rows["caption"]}
    texts = {normalise(text): text for text in load_rows(recipe.data, settings.query_bank, kinds)["caption"]}
    bank = [text for name, text in texts.items() if name not in asked]
    if not bank:
        raise RecipeError(
            f"eval.query_bank={settings.query_bank}: the bank contains queries of the test and no other text: all of its "
            f"{len(texts)} texts are asked in {', '.join(eval_sets)}."
        )
    if len(bank) < len(texts):
        logger.info(f"Query bank: {len(texts) - len(bank)} of {len(texts)} texts are asked in the test, and left out.")
    size = min(settings.query_bank_size or len(bank), len(bank))
    return [bank[number * len(bank) // size] for number in range(size)]


__all__ = ["build_bank", "check_evaluation"]
