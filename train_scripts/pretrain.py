# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Pre-training on images or videos with captions: masked words (MLM) and whether text and picture match (ITM).

Run:     accelerate launch train_scripts/pretrain.py --recipe train_scripts/recipes/clipbert/pretrain.yaml
Smoke:   accelerate launch --cpu train_scripts/pretrain.py --recipe train_scripts/recipes/quickstart/pretrain.yaml

`data.datasets` names several sets and how often each is drawn; `data.dataset` a single one. Sets of images and of
videos can be mixed: an image is one clip of one frame. An evaluation shows every caption, with the same words masked,
to its own picture and to another one, so that the accuracy of words has the accuracy without looking beside it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import datasets
import numpy as np
import pyarrow
import torch

from clipbert.train_scripts.engine.build import (
    build_model,
    build_processor,
    check_head,
    evaluation_problems,
    find_data,
    load_rows,
    load_stream,
    video_options,
)
from clipbert.train_scripts.engine.data import Skipped, check_skipped
from clipbert.train_scripts.engine.mixture import MixedTrainSet
from clipbert.train_scripts.engine.recipe import DataSection, Recipe, Section, option
from clipbert.train_scripts.engine.stream import RowStream, StreamedTrainSet, StreamSection
from clipbert.train_scripts.engine.task import Evaluation, NoTrainSet, Parts, Predictions, Task, main
from clipbert.train_scripts.judged_pairs import JudgedPairs, judge, measure_all
from clipbert.train_scripts.masked_pairs import CaptionTable, MaskedCollator, MaskedPairs
from clipbert.train_scripts.masking import IGNORED, WordMasker
from clipbert.train_scripts.tasks.coverage import coverage_of
from clipbert.train_scripts.tasks.videos import ClipEvalSection, VideoSection


CAPTIONS = ("retrieval", "video_text", "image_text")  # tasks of `datasets_scripts`


@dataclass(kw_only=True)
class SourceSection(Section):
    """One data set of a mixture."""

    dataset: str = option("", "Name of a dataset of `datasets_scripts` (required).")
    config: str | None = option(None, "Configuration of the dataset.")
    data_dir: str | None = option(
        None, "Folder of annotations and pictures; relative to the working folder.", is_changeable=True
    )
    options: dict[str, Any] = option({}, "Further fields of the dataset.")
    train_split: str = option("train", "Split to train on.")
    weight: float = option(1.0, "How often the set is drawn, relative to the others and whatever their sizes.")


@dataclass(kw_only=True)
class PretrainDataSection(VideoSection, StreamSection):
    datasets: list[SourceSection] = option(
        [], "Instead of `dataset`: several sets, each {dataset: NAME, weight: 1.0}."
    )
    mix_by: Literal["item", "micro_batch", "step"] = option(
        "micro_batch", "What is drawn from one set together; the released code draws a set for each step."
    )
    captions_per_video: int = option(1, "Captions of an item. A picture is decoded once for all of them.", at_least=1)
    mlm_probability: float = option(0.15, "Chance of a word to be masked.", at_least=0, at_most=1)
    mask_special_tokens: bool = option(False, "Also mask [CLS] and [SEP], as the released code does.")
    mismatch_probability: float = option(
        0.5, "Chance of a caption to be replaced by that of another picture.", at_least=0, at_most=1
    )

    def problems(self):
        if not self.datasets:
            yield from super().problems()
            return
        if self.dataset or self.config or self.data_dir or self.options:
            yield "datasets: goes without dataset, config, data_dir and options, which each of them has"
        for number, source in enumerate(self.datasets):
            if source.weight <= 0:
                yield f"datasets.{number}.weight: must be above 0, got {source.weight}"
            of_source = DataSection.problems(self.of_source(source))
            yield from (f"datasets.{number}.{problem}" for problem in of_source)
        if self.streaming and self.mix_by != "micro_batch":
            yield f"mix_by: streamed sets are mixed by micro_batch, because a lane reads one of them; got {self.mix_by}"
        yield from self.stream_problems()

    def of_source(self, source: SourceSection) -> "PretrainDataSection":
        """The settings with one set of the mixture as the only one."""
        own = ("dataset", "config", "data_dir", "options", "train_split")
        return replace(self, datasets=[], **{name: getattr(source, name) for name in own})

    def sources(self) -> dict[str, tuple["PretrainDataSection", float]]:
        """Settings and weight of each set, by a name that tells it from the others."""
        parts = [(self.of_source(source), source.weight) for source in self.datasets] or [(self, 1.0)]
        found = {}
        for settings, weight in parts:
            name = settings.dataset
            if name in found:
                name = f"{settings.dataset}_{settings.config or len(found)}"
            found[name if name not in found else f"{name}_{len(found)}"] = (settings, weight)
        return found


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

    name, recipe_class, rescore_options = "pretraining", PretrainRecipe, ("score_pooling",)

    def build(self, recipe: PretrainRecipe) -> Parts:
        data, sources, seed = recipe.data, recipe.data.sources(), recipe.run.seed
        for part, _ in sources.values():
            find_data(part)
        self.recipe, self.processor = recipe, build_processor(recipe)
        check_head(recipe, "PreTraining")
        load = load_stream if data.streaming else load_rows
        trained = sources if recipe.run.total_steps != 0 else {}
        train_rows = {name: load(part, part.train_split, CAPTIONS) for name, (part, _) in trained.items()}
        eval_rows = {
            split: {name: load_rows(part, split, CAPTIONS) for name, (part, _) in sources.items()}
            for split in recipe.eval.splits
        }
        masker = WordMasker(self.processor.tokenizer, data.mlm_probability, data.mask_special_tokens)
        collator = MaskedCollator(self.processor)

        def table_builder(name: str, split: str, is_training: bool) -> Callable[[datasets.Dataset], CaptionTable]:
            options = video_options(recipe, is_training)
            return partial(
                CaptionTable, processor=self.processor, video_options=options, name=f"{name}/{split}", seed=seed
            )

        builders = {
            name: partial(
                build_pairs, data=data, masker=masker, build_table=table_builder(name, settings.train_split, True)
            )
            for name, (settings, _) in sources.items()
        }
        weights = [weight for _, weight in sources.values()]
        if not train_rows:
            train_set = NoTrainSet()
        elif data.streaming:
            streams = [
                RowStream(name, rows, partial(build_window, features=rows.features, build_set=builders[name]))
                for name, rows in train_rows.items()
            ]
            train_set = StreamedTrainSet(streams, weights, data, seed)
        elif len(sources) > 1:
            train_sets = [builders[name](rows) for name, rows in train_rows.items()]
            train_set = MixedTrainSet(train_sets, weights, seed, names=list(sources), mix_by=data.mix_by)
        else:
            ((name, rows),) = train_rows.items()
            train_set = builders[name](rows)
        skip = data.on_decode_error == "skip"
        eval_sets = {
            split: {
                name: JudgedPairs(table_builder(name, split, False)(rows), masker, collator, skip)
                for name, rows in eval_rows[split].items()
            }
            for split in recipe.eval.splits
        }
        model = build_model(recipe, "PreTraining", self.processor)
        return Parts(model, self.processor, train_set, collator, eval_sets)

    def training_step(self, model, batch):
        batch = batch.inputs
        outputs = model(**batch)
        losses = {"loss": outputs.loss, "mlm_loss": outputs.mlm_loss, "itm_loss": outputs.itm_loss}
        labels, belongs = batch["mlm_labels"], batch["itm_labels"] == 1
        asked = (labels != IGNORED) & belongs[:, None]
        right = (outputs.prediction_logits.mean(dim=1).argmax(dim=-1) == labels) & asked
        told_right = (outputs.seq_relationship_logits.argmax(dim=-1) == 1) == belongs
        mlm_accuracy = right.sum() / asked.sum().clamp(min=1)
        return losses, {"mlm_accuracy": mlm_accuracy, "itm_accuracy": told_right.float().mean()}

    def evaluate(self, model, examples: Mapping[str, JudgedPairs], accelerator, recipe, draw=0):
        rows: dict[str, list] = {}
        parts: dict[str, list[np.ndarray]] = {}
        for name, pairs in examples.items():
            pairs.clip_seed = recipe.run.seed + draw
            found = super().evaluate(model, pairs, accelerator, recipe).predictions
            for row in found.rows:
                for key, value in {**row, "dataset": name}.items():
                    rows.setdefault(key, []).append(value)
            for key, part in found.tensors.items():
                parts.setdefault(key, []).append(part)
        reasons = zip(rows["caption_id"], rows["skipped"], strict=True)
        skipped = [Skipped(0, id, reason) for id, reason in reasons if reason]
        check_skipped(skipped, len(rows["skipped"]), recipe.data.max_decode_error_rate)
        score_pooling = recipe.eval.score_pooling or model.config.score_pooling
        records = {"score_pooling": score_pooling, **rows}
        tensors = {key: stack_padded(part) for key, part in parts.items()}
        metrics, odds = measure_all(torch.from_numpy(tensors["clip_logits"]), records)
        coverage = coverage_of(*(pairs.table.rows for pairs in examples.values()))
        predictions = Predictions(self.name, [], {"match_odds": odds.numpy(), **tensors}, {**records, **coverage})
        return Evaluation({**metrics, **coverage}, predictions)

    def eval_step(self, model, batch):
        names = ("caption_id", "other_id", "skipped", "frame_seconds")
        return {**judge(model, batch), **{name: batch[name] for name in names}}

    def measure(self, predictions):
        if "score_pooling" not in predictions.info:
            return {}  # `evaluate` measures all sets together
        coverage = {name: value for name, value in predictions.info.items() if name == "coverage"}
        clip_logits = torch.as_tensor(predictions.tensors["clip_logits"])
        return {**measure_all(clip_logits, predictions.info)[0], **coverage}


def stack_padded(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of several sets, with NaN for clips and frames that only other sets have."""
    shape = np.max([part.shape[1:] for part in parts], axis=0)
    padded = [
        np.pad(part, [(0, 0), *((0, n) for n in shape - part.shape[1:])], constant_values=np.nan) for part in parts
    ]
    return np.concatenate(padded)


def build_pairs(
    rows: datasets.Dataset,
    data: PretrainDataSection,
    masker: WordMasker,
    build_table: Callable[[datasets.Dataset], CaptionTable],
) -> MaskedPairs:
    """Training items of a table."""
    return MaskedPairs(build_table(rows), masker, data.captions_per_video, data.mismatch_probability)


def build_window(
    rows: list[dict[str, Any]],
    features: datasets.Features,
    build_set: Callable[[datasets.Dataset], MaskedPairs],
) -> MaskedPairs:
    """Training items of a few streamed rows, each of which has wrong captions among the others."""
    table = pyarrow.Table.from_pylist(rows, schema=features.arrow_schema)
    # with a name of its own, because `datasets` would hash every video to find one
    pairs = build_set(datasets.Dataset(table, info=datasets.DatasetInfo(features=features), fingerprint="window"))
    pairs.check_counterparts()
    return pairs


if __name__ == "__main__":
    main(PretrainTask())
