# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pre-training on images or videos with captions: masked words (MLM) and whether text and picture match (ITM).

Run:     accelerate launch train_scripts/pretrain.py --recipe train_scripts/recipes/clipbert/pretrain.yaml
Smoke:   accelerate launch --cpu train_scripts/pretrain.py --recipe train_scripts/recipes/quickstart/pretrain.yaml

`data.datasets` names several sets and how often each is drawn; `data.dataset` a single one. Sets of images and of
videos can be mixed: an image is one clip of one frame. An evaluation shows every caption, with the same words masked,
to its own picture and to another one, so that the accuracy of words has the accuracy without looking beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from clipbert.train_scripts.engine.data import Skipped, check_skipped
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.task import Evaluation, Parts, Task, main
from clipbert.train_scripts.tasks.building import build_model, build_processor, check_head, choose_pooling
from clipbert.train_scripts.tasks.pretraining.evaluation import predict_batch
from clipbert.train_scripts.tasks.pretraining.items import MaskedCollator
from clipbert.train_scripts.tasks.pretraining.masking import IGNORED
from clipbert.train_scripts.tasks.pretraining.measures import compute_match_odds, measure
from clipbert.train_scripts.tasks.pretraining.sources import CAPTIONS, PretrainDataSection, Source, build_train_set
from clipbert.train_scripts.tasks.rows import coverage_metrics, evaluation_problems, find_data, load_rows
from clipbert.train_scripts.tasks.videos import ClipEvalSection


@dataclass(kw_only=True)
class PretrainRecipe(Recipe):
    data: PretrainDataSection = field(default_factory=PretrainDataSection)
    eval: ClipEvalSection = field(default_factory=ClipEvalSection)

    def problems(self):
        yield from evaluation_problems(self)

    def metrics(self):
        scores, sources = ("mlm_accuracy", "mlm_loss", "itm_accuracy", "itm_loss"), self.data.sources()
        return [*scores, *(f"{name}_{score}" for name in sources if len(sources) > 1 for score in scores)]


class PretrainTask(Task):
    """Pre-training with masked words and image-text matching."""

    name = "pretraining"
    recipe_class = PretrainRecipe
    rescore_options = ("score_pooling",)

    def build(self, recipe: PretrainRecipe) -> Parts:
        sources = recipe.data.sources()
        for part, _ in sources.values():
            find_data(part)
        self.processor = build_processor(recipe)
        check_head(recipe, "PreTraining")
        self.sources = [
            Source(name, settings, weight, recipe, self.processor) for name, (settings, weight) in sources.items()
        ]
        eval_sets = {
            split: [load_rows(source.settings, split, CAPTIONS) for source in self.sources]
            for split in recipe.eval.splits
        }
        train_set = build_train_set(self.sources, recipe)
        model = build_model(recipe, "PreTraining", self.processor)
        # split by split and source by source; the rows become questions when they are asked
        eval_sets = {split: (split, rows) for split, rows in eval_sets.items()}
        return Parts(model, self.processor, train_set, MaskedCollator(self.processor), eval_sets)

    def training_step(self, model, batch):
        outputs, inputs = model(**batch.inputs), batch.inputs
        losses = {"loss": outputs.loss, "mlm_loss": outputs.mlm_loss, "itm_loss": outputs.itm_loss}
        labels, belongs = inputs["mlm_labels"], inputs["itm_labels"] == 1
        asked = (labels != IGNORED) & belongs[:, None]
        right = (outputs.prediction_logits.mean(dim=1).argmax(dim=-1) == labels) & asked
        is_right_match = (outputs.seq_relationship_logits.argmax(dim=-1) == 1) == belongs
        mlm_accuracy = right.sum() / asked.sum().clamp(min=1)
        return losses, {"mlm_accuracy": mlm_accuracy, "itm_accuracy": is_right_match.float().mean()}

    def eval_step(self, model, batch):
        names = ("caption_id", "other_id", "skipped", "frame_seconds")
        return {**predict_batch(model, batch), **{name: batch[name] for name in names}}

    def evaluate(self, model, examples, accelerator, recipe, draw=0):
        (split, tables), rows, parts = examples, [], []
        for source, table in zip(self.sources, tables, strict=True):
            asked = source.evaluation(table, split, draw)
            found = self.predict(model, asked, accelerator, recipe)
            rows += [{"dataset": source.name, **row} for row in found.rows]
            parts.append(found.tensors)
        skipped = [Skipped(0, row["caption_id"], row["skipped"]) for row in rows if row["skipped"]]
        check_skipped(skipped, len(rows), recipe.data.max_decode_error_rate)
        tensors = {name: stack_padded([part[name] for part in parts]) for name in parts[0]}
        info = {"score_pooling": choose_pooling(recipe, model), **coverage_metrics(*tables)}
        predictions = Predictions(self.name, rows, tensors, info)
        tensors["match_odds"] = compute_match_odds(predictions)
        return Evaluation(self.measure(predictions), predictions)

    def measure(self, predictions):
        return measure(predictions)


def stack_padded(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of several sets, with NaN for clips and frames that only other sets have."""
    shape = np.max([part.shape[1:] for part in parts], axis=0)
    padded = [
        np.pad(part, [(0, 0), *((0, n) for n in shape - part.shape[1:])], constant_values=np.nan) for part in parts
    ]
    return np.concatenate(padded)


if __name__ == "__main__":
    main(PretrainTask())
