# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What an evaluation of retrieval is refused for: numbers beyond the list, a bank without a text of its own."""

import json

import pytest
from tiny_mug_stan import tiny_model

from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.retrieval import CAPTIONS, RetrievalRecipe
from clipbert.train_scripts.tasks.retrieval.evaluation import build_bank, check_evaluation
from clipbert.train_scripts.tasks.rows import load_rows


BANK = ["eval.rescaling=[query_bank]", "eval.query_bank=train"]


@pytest.fixture
def build(tmp_path):
    """A recipe over three test videos, with other settings, and the rows that it evaluates."""

    def build_recipe(*settings, bank=("a bird", "A  dog", "a cow")):
        captions = {"test": ["a dog", "a cat", "a cow"], "train": bank}
        lines = []
        for split, texts in captions.items():
            for number, text in enumerate(texts):
                (tmp_path / f"{split}{number}.mp4").touch()
                lines.append(json.dumps({"video": f"{split}{number}.mp4", "caption": text, "split": split}))
        (tmp_path / "captions.jsonl").write_text("\n".join(lines) + "\n")
        recipe = RetrievalRecipe.load(
            None,
            [
                "model.family=mug_stan",
                "model.from_pretrained=x",
                "data.dataset=video_folder",
                "data.config=retrieval",
                f"data.data_dir={tmp_path}",
                f"run.output_dir={tmp_path}/run",
                "run.total_steps=0",
                "eval.splits={test: final}",
                *settings,
            ],
        )
        return recipe, {"test": load_rows(recipe.data, "test", CAPTIONS)}

    return build_recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["eval.gallery_size=4"], "eval.gallery_size=4: test has only 3 videos"),
        ([*BANK, "eval.query_bank_top_k=4"], "eval.query_bank_top_k=4: a text of test is looked for among 3 videos"),
        (
            [*BANK, "eval.gallery_size=2", "eval.query_bank_top_k=3"],
            "eval.query_bank_top_k=3: a text of test is looked for among 2 videos",
        ),
    ],
)
def test_numbers_beyond_the_list_are_refused_by_name(build, settings, message):
    recipe, rows = build(*settings)
    with pytest.raises(RecipeError, match=message):
        check_evaluation(recipe, tiny_model(), rows)


def test_a_bank_is_of_texts_that_are_not_asked(build):
    recipe, rows = build(*BANK)
    assert build_bank(recipe, rows, CAPTIONS) == ["a bird"]  # however the others are spelt
    recipe, rows = build(*BANK, bank=("a dog", "A cat"))
    with pytest.raises(RecipeError, match="eval.query_bank=train: the bank contains queries of the test and no other"):
        build_bank(recipe, rows, CAPTIONS)
