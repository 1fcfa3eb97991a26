# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The data sets that pre-training mixes: what a recipe says of each, and what becomes of its rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import datasets

from clipbert.support.options import changeable, option
from clipbert.train_scripts.engine.items import NoTrainSet, TrainItems
from clipbert.train_scripts.engine.mixture import MixedTrainSet
from clipbert.train_scripts.engine.recipe import DataSection, Recipe, Section
from clipbert.train_scripts.engine.stream import RowStream, StreamedTrainSet, StreamSection
from clipbert.train_scripts.tasks.pretraining.evaluation import ContrastedRows
from clipbert.train_scripts.tasks.pretraining.items import CaptionTable, MaskedCollator, MaskedPairs
from clipbert.train_scripts.tasks.pretraining.masking import WordMasker
from clipbert.train_scripts.tasks.rows import load_rows, load_stream, table_of_rows
from clipbert.train_scripts.tasks.texts import report_losses
from clipbert.train_scripts.tasks.videos import VideoSection, video_options


CAPTIONS = ("retrieval", "video_text", "image_text")  # kinds of rows


@dataclass(kw_only=True)
class SourceSection(Section):
    """One data set of a mixture."""

    dataset: str = option("", "Name of a dataset of `datasets_scripts` (required).")
    config: str | None = option(None, "Configuration of the dataset.")
    data_dir: str | None = changeable(None, "Folder of annotations and pictures; relative to the working folder.")
    options: dict[str, Any] = option({}, "Further fields of the dataset.")
    train_split: str = option("train", "Split to train on.")
    weight: float = option(1.0, "How often the set is drawn, relative to the others and whatever their sizes.")


@dataclass(kw_only=True)
class PretrainDataSection(StreamSection, VideoSection):
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


class Source:
    """
    One data set of a run.

    Args:
        name (`str`): Tells it from the others.
        settings (`PretrainDataSection`): With this data set as the only one.
        weight (`float`): How often it is drawn.
        recipe (`Recipe`): The run.
        processor (`ProcessorMixin`): Reads pictures and captions.
    """

    def __init__(self, name: str, settings: PretrainDataSection, weight: float, recipe: Recipe, processor: Any):
        self.name, self.settings, self.weight = name, settings, weight
        self.recipe, self.processor = recipe, processor
        self.masker = WordMasker(processor.tokenizer, settings.mlm_probability, settings.mask_special_tokens)

    def load(self) -> None:
        """Read what it trains on: a table, or the beginning of a stream."""
        load = load_stream if self.settings.streaming else load_rows
        self.train_rows = load(self.settings, self.settings.train_split, CAPTIONS)
        if not self.settings.streaming:
            report_losses(f"{self.name}/{self.settings.train_split}", self.train_rows["caption"], self.processor)

    def table(self, rows: datasets.Dataset, split: str, is_training: bool) -> CaptionTable:
        options = video_options(self.recipe, self.processor, is_training)
        return CaptionTable(rows, self.processor, options, f"{self.name}/{split}", self.recipe.run.seed)

    def pairs(self, rows: datasets.Dataset) -> MaskedPairs:
        """Training items of a table."""
        settings = self.settings
        table = self.table(rows, settings.train_split, is_training=True)
        return MaskedPairs(table, self.masker, settings.captions_per_video, settings.mismatch_probability)

    def window(self, rows: list[dict[str, Any]]) -> MaskedPairs:
        """Training items of a few streamed rows, each of which has wrong captions among the others."""
        pairs = self.pairs(table_of_rows(rows, self.train_rows.features))
        pairs.check_counterparts()
        return pairs

    def evaluation(self, rows: datasets.Dataset, split: str, draw: int) -> ContrastedRows:
        """What is asked in an evaluation."""
        skip = self.settings.on_decode_error == "skip"
        table = self.table(rows, split, is_training=False)
        return ContrastedRows(table, self.masker, MaskedCollator(self.processor), skip, draw)


def build_train_set(sources: Sequence[Source], recipe: Recipe) -> TrainItems:
    """What a run trains on: one set, a mixture of several, or streams."""
    data, seed, weights = recipe.data, recipe.run.seed, [source.weight for source in sources]
    if recipe.run.total_steps == 0:
        return NoTrainSet()
    for source in sources:
        source.load()
    if data.streaming:
        streams = [RowStream(source.name, source.train_rows, source.window) for source in sources]
        return StreamedTrainSet(streams, weights, data, seed)
    sets = [source.pairs(source.train_rows) for source in sources]
    if len(sets) == 1:
        return sets[0]
    return MixedTrainSet(sets, weights, seed, names=[source.name for source in sources], mix_by=data.mix_by)


__all__ = ["CAPTIONS", "PretrainDataSection", "Source", "SourceSection", "build_train_set"]
