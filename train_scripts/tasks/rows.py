# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Rows of a benchmark as tasks take them: found, loaded, and grouped by the video they belong to."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.compute
from accelerate import PartialState

from clipbert.datasets_scripts import find_loader, load_benchmark
from clipbert.datasets_scripts.building.coverage import compute_coverage
from clipbert.datasets_scripts.building.rows import ROW_SCHEMAS
from clipbert.datasets_scripts.building.usable_videos import UnusableVideosError
from clipbert.train_scripts.engine.items import TrainItems
from clipbert.train_scripts.engine.recipe import DataSection, Recipe, RecipeError


logger = logging.getLogger(__name__)
SPAN_COLUMNS = ("start_s", "end_s")
SCRIPTS = {  # who trains on which kind of rows
    "retrieval": "retrieval.py, pretrain.py or, as multiple choice, video_qa.py",
    "video_text": "retrieval.py or pretrain.py",
    "image_text": "pretrain.py",
    "qa": "video_qa.py",
    "image_qa": "image_qa.py",
    "classification": "video_classification.py",
    "moments": "moment_retrieval.py, or retrieval.py",
    "detection": "action_detection.py",
    "alignment": "align.py",
}


# ---------------------------------------------------------------------------------------------------------------------
# Loading
# ---------------------------------------------------------------------------------------------------------------------


class NoDataError(RecipeError, FileNotFoundError):
    """A recipe names a data set whose files are not there."""


def find_data(settings: DataSection) -> None:
    """
    Look for a data set's files, without reading them; a data set that makes its own (`generate`) makes them here.

    It comes first in every script: a wrong folder is reported before anything is loaded, and the tokenizer of generated
    data lies among them.
    """
    if settings.data_dir is None:  # fetched when the rows are loaded
        return
    loader = find_loader(settings.dataset)
    fields = {name: value for name, value in settings.options.items() if name not in ("on_missing", "on_broken")}
    try:
        with PartialState().local_main_process_first():
            config = loader.complete_config(settings.config, settings.data_dir, fields)
            loader.annotation_files(config)
    except FileNotFoundError as error:
        raise NoDataError(f"data.data_dir={settings.data_dir}: {error}") from error
    if division := loader.describe_splits(config):
        logger.info(division)


def load_rows(settings: DataSection, split: str, kinds: Sequence[str]) -> datasets.Dataset:
    """
    The rows of a split, without the videos or images of `data.skip_list`.

    Args:
        settings (`DataSection`): Which data set, and where it lies.
        split (`str`): Its split.
        kinds (`Sequence[str]`): Kinds of rows, of which one is needed.

    Raises:
        ValueError: If the rows are of another kind.
    """
    with PartialState().local_main_process_first():  # one process writes the tables, the others find them
        only = {"only_split": split} if getattr(settings, "streaming", False) else {}
        rows = _load(settings, split, kinds, **only)
    coverage = compute_coverage(rows)
    if not coverage.is_complete:
        logger.info(f"{split}: {coverage} of {settings.dataset} are used.")
    return rows


def load_stream(settings: DataSection, split: str, kinds: Sequence[str]) -> datasets.IterableDataset:
    """The same rows as a stream, each of which is looked at when it is reached."""
    return _load(settings, split, kinds, streaming=True)


def _load(
    settings: DataSection, split: str, kinds: Sequence[str], **more: Any
) -> datasets.Dataset | datasets.IterableDataset:
    try:
        rows = load_benchmark(
            settings.dataset,
            config=settings.config,
            split=split,
            data_dir=settings.data_dir,
            skip_list=settings.skip_list,
            **{"on_missing": "error", **settings.options, **more},
        )
    except UnusableVideosError as error:  # which advises people who call `load_benchmark`
        advice = re.sub(r'`(on_\w+)="(\w+)"`', r"data.options.\1=\2", str(error))
        raise UnusableVideosError(f"data.dataset={settings.dataset}: {advice}", error.report) from None
    columns = set(rows.column_names)
    if not any(columns >= set(ROW_SCHEMAS[kind].features) for kind in kinds):
        fitting = [config.name for config in find_loader(settings.dataset).BUILDER_CONFIGS if config.task in kinds]
        script = next((name for kind, name in SCRIPTS.items() if columns >= set(ROW_SCHEMAS[kind].features)), "none")
        expected = dict.fromkeys(", ".join(ROW_SCHEMAS[kind].features) for kind in kinds)
        raise ValueError(
            f"data.dataset={settings.dataset}, data.config={settings.config}, split {split}: expected the columns "
            f"{' or '.join(expected)}; got {', '.join(rows.column_names)}. Configs of {settings.dataset} that have the "
            f"former: {', '.join(fitting) or 'none'}. Script for the latter: {script}."
        )
    return rows


def coverage_metrics(*rows: datasets.Dataset) -> dict[str, float]:
    """`coverage`, the share of the published split that scores stand on; nothing where it is whole."""
    coverage = compute_coverage(*rows)
    return {} if coverage.is_complete else {"coverage": coverage.share}


def table_of_rows(rows: Sequence[Mapping[str, Any]], features: datasets.Features) -> datasets.Dataset:
    """A few rows, of a stream for example, as a table."""
    table = pyarrow.Table.from_pylist(list(rows), schema=features.arrow_schema)
    # with a name of its own, because `datasets` would hash every video to find one
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=features), fingerprint="window")


def evaluation_problems(recipe: Recipe) -> Iterator[str]:
    """What is missing in a recipe, be it to train or to evaluate alone."""
    if recipe.data.train_split is None and recipe.run.total_steps != 0:
        yield "data.train_split: needed to train; null goes with run.total_steps=0"
    if recipe.run.total_steps == 0 and recipe.model.from_pretrained is None and not recipe.model.parts:
        yield "model.from_pretrained: missing; without training (run.total_steps=0) a trained model is evaluated"
    if getattr(recipe.eval, "kept_videos", None) is not None and recipe.run.total_steps != 0:
        yield "eval.kept_videos: training changes what is made of a video; keep it where none is done (run.total_steps=0)"


# ---------------------------------------------------------------------------------------------------------------------
# Grouping
# ---------------------------------------------------------------------------------------------------------------------


class RowsByVideo:
    """
    The rows of a table by the video, or image, that they belong to, both in order of appearance.

    Where rows have `start_s` and `end_s`, the part between them is what they belong to: it has an id of its own, such as
    `dog@12.5-17`. Null stands for the whole video.

    Only numbers are held in memory: the texts of millions of rows stay in the table on disk.

    Args:
        rows (`datasets.Dataset`): With the columns `video_id` and `video`, or `image_id` and `image`.
    """

    def __init__(self, rows: datasets.Dataset):
        self.media = "image" if "image_id" in rows.column_names else "video"
        self.rows, self.media_rows = rows, rows.select_columns(self.media)  # of a row, all columns asked for are made
        self.has_spans = set(SPAN_COLUMNS) <= set(rows.column_names)
        needed = [f"{self.media}_id", *(SPAN_COLUMNS if self.has_spans else ())]
        ids, *ends = rows.select_columns(needed).with_format("arrow")[:].itercolumns()
        if self.has_spans:
            join = pyarrow.compute.binary_join_element_wise
            seconds = join(*(end.cast(pyarrow.string()) for end in ends), "-")  # null where one of them is
            ids = join(ids.cast(pyarrow.string()), seconds, "@", null_handling="skip")
        numbered = pyarrow.chunked_array(ids).combine_chunks().dictionary_encode()
        self.ids: list[str] = numbered.dictionary.to_pylist()
        self.owners = numbered.indices.to_numpy()  # for each row the number of its video
        self.row_order = np.argsort(self.owners, kind="stable")
        self.starts = np.searchsorted(self.owners[self.row_order], np.arange(len(self.ids) + 1))

    def __len__(self) -> int:
        """Videos."""
        return len(self.ids)

    def members(self, number: int) -> np.ndarray:
        """The rows of a video, in order."""
        return self.row_order[self.starts[number] : self.starts[number + 1]]

    def source(self, number: int) -> str | bytes:
        """Path or content of a video."""
        return self.media_rows[int(self.members(number)[0])][self.media]

    def sources(self) -> list[str | bytes]:
        """Path or content of every video."""
        firsts = self.row_order[self.starts[:-1]]
        return self.media_rows[firsts][self.media]

    def spans(self, numbers: Sequence[int] | None = None) -> list[tuple[float, float] | None] | None:
        """Which part of each video is meant, of all or of those with these numbers; `None` where rows have no seconds."""
        if not self.has_spans:
            return None
        firsts = self.row_order[self.starts[:-1]][slice(None) if numbers is None else list(numbers)]
        ends = self.rows.select_columns(list(SPAN_COLUMNS))[firsts]
        return [None if None in span else span for span in zip(*(ends[name] for name in SPAN_COLUMNS), strict=True)]

    def span_options(self, number: int) -> dict[str, Any]:
        """The part of a video, as an option of the processor."""
        spans = self.spans([number])
        return {} if spans is None else {"spans_se": spans}


class TextsOfVideos(TrainItems):
    """
    Training items: a video with so many of its rows. The last item of a video is filled up with more of its own.

    Args:
        grouped (`RowsByVideo`): The rows.
        per_item (`int`): Rows of an item; the video is decoded once for all of them.
    """

    def __init__(self, grouped: RowsByVideo, per_item: int):
        self.grouped, self.per_item = grouped, per_item
        counts = -(-np.diff(grouped.starts) // per_item)  # items of each video
        self.owners = np.repeat(np.arange(len(counts)), counts)
        self.places = np.arange(len(self.owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.ids = [grouped.ids[number] for number in self.owners]

    def __len__(self) -> int:
        return len(self.owners)

    def own_rows(self, index: int) -> list[int]:
        """The rows of an item, without those that fill it up."""
        first = int(self.places[index]) * self.per_item
        return self.grouped.members(self.owners[index])[first : first + self.per_item].tolist()

    def fill_up(self, rows: list[int], index: int, rng: np.random.Generator) -> list[int]:
        """As many rows as every item has."""
        if missing := self.per_item - len(rows):
            rows = [*rows, *rng.choice(self.grouped.members(self.owners[index]), missing).tolist()]
        return rows

    def longest_of_items(self, lengths: np.ndarray) -> np.ndarray:
        """The largest value of each item, from one value for each row."""
        if not len(self):
            return np.zeros(0, dtype=int)
        firsts = self.grouped.starts[self.owners] + self.places * self.per_item
        return np.maximum.reduceat(np.asarray(lengths)[self.grouped.row_order], firsts)


def count_words(rows: datasets.Dataset, column: str) -> np.ndarray:
    """Words of each text, white space being what parts them."""
    texts = pyarrow.chunked_array(rows.select_columns(column).with_format("arrow")[:].column(0))
    words = pyarrow.compute.list_value_length(
        pyarrow.compute.utf8_split_whitespace(pyarrow.compute.utf8_trim_whitespace(texts))
    )
    return words.to_numpy()


def normalise(text: str) -> str:
    """A text without what does not change its meaning: case and the amount of white space."""
    return " ".join(text.casefold().split())


__all__ = [
    "RowsByVideo",
    "TextsOfVideos",
    "count_words",
    "coverage_metrics",
    "evaluation_problems",
    "find_data",
    "load_rows",
    "load_stream",
    "normalise",
    "table_of_rows",
]
