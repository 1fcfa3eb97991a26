# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
What an index asks of those that it works with: a store of rows, and models for three stages.

    encoder     a video, or a text, to one vector: the shortlist. Where it keeps what it made of the frames, it also orders exactly
    reranker    a text and a video to log-odds: the order of the shortlist
    locator     a text and a part of a video to seconds

A family plugs in by being one of these; the index knows no family by name.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from clipbert.search.errors import FingerprintError, IndexDamagedError, SearchIndexError


if TYPE_CHECKING:
    from clipbert.search.filters import Filter


# ---------------------------------------------------------------------------------------------------------------------
# Models
# ---------------------------------------------------------------------------------------------------------------------


class Span(NamedTuple):
    """A part of a video, in seconds from its start."""

    start_s: float
    end_s: float


@dataclass
class EncodedSegment:
    """
    What a model made of a segment of a video, as far as no text is needed; on the CPU, float32.

    Args:
        parts (`np.ndarray` of shape `(parts, ...)`): What the model compares with texts, without the dimension of videos: of
            ClipBERT `(clips, cells, hidden)`, of Mug-STAN `(views, frames, width)`. Of every segment the same shape.
        seconds (`np.ndarray` of shape `(parts, frames)`): When the frames are shown, in seconds from the start of the file; NaN where
            unknown. float64.
        mask (`np.ndarray` of shape `(parts,)`, *optional*): Which parts exist, where the model was told.
        vector (`np.ndarray` of shape `(width,)`, *optional*): Of length 1, where the model has vectors.
    """

    parts: np.ndarray | None
    seconds: np.ndarray
    mask: np.ndarray | None = None
    vector: np.ndarray | None = None


@runtime_checkable
class SegmentReader(Protocol):
    """
    A model that reads videos: what `encoder` and `reranker` share.

    `read` runs in workers of a loader and needs no weights; `encode` runs where the model is.
    """

    name: str  # of the checkpoint: a folder or a name on the Hub
    fingerprint: str  # of weights, config and processor
    stage: str  # name of its scores: the first word of its family's, such as "clipbert" or "mug"
    parts_shape: tuple[int, ...] | None  # of `EncodedSegment.parts`, or None if nothing but a vector is made
    seconds_shape: tuple[int, int]  # of `EncodedSegment.seconds`

    def read(self, path: str | Path, span: Span | None = None) -> Mapping[str, Any]:
        """Model inputs of a video, or a part of it; raises `VideoDecodeError`. Picklable, as `read` itself is."""

    def encode(self, inputs: Sequence[Mapping[str, Any]]) -> list[EncodedSegment]:
        """What `read` returned of some segments, encoded."""


@runtime_checkable
class Encoder(SegmentReader, Protocol):
    """A model that has a vector for each text and each video; the nearer the better."""

    width: int

    def encode_query(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors `(texts, width)`, float32, of length 1."""


@runtime_checkable
class Reranker(SegmentReader, Protocol):
    """A model that says how well a text fits a video. An [`Encoder`] may be one, too: then it orders exactly by itself."""

    def encode_texts(self, texts: Sequence[str]) -> Any:
        """Texts, as far as no video is needed."""

    def score(self, texts: Any, parts: np.ndarray, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """
        Every text with every segment.

        Args:
            texts: What `encode_texts` returned.
            parts (`np.ndarray` of shape `(segments, parts, ...)`): Of some segments; of fewer parts than the model makes, too.
            mask (`np.ndarray` of shape `(segments, parts)`, *optional*): Which parts exist.

        Returns:
            Log-odds `(texts, segments)`, and those of each clip, or frame, by itself, `(texts, segments, n)`, -inf where there is none.
        """


@runtime_checkable
class Locator(Protocol):
    """A model that says when in a video, or in some parts of it, a text happens."""

    name: str
    fingerprint: str

    def locate(self, text: str, path: str | Path, *spans: Span | None) -> tuple[float, float, float]:
        """Start and end in seconds from the start of the file, and a score; of several parts the best. Without any: of the whole video."""


KINDS = {  # by what they do: to look at all of a protocol would compute it
    Encoder: ("read", "encode", "encode_query"),
    Reranker: ("read", "encode", "encode_texts", "score"),
    Locator: ("locate",),
}


def keeps(kind: type, model: Any) -> bool:
    """Whether a model is an [`Encoder`], [`Reranker`] or [`Locator`]."""
    return all(callable(getattr(model, method, None)) for method in KINDS[kind])


# ---------------------------------------------------------------------------------------------------------------------
# Stores
# ---------------------------------------------------------------------------------------------------------------------


class VideoStore(Protocol):
    """
    Rows of segments with their vectors. All methods may be called by several processes at once.

    What a reader sees is the state after some whole call of `replace` or `delete`, never a part of one.
    """

    uri: str

    @property
    def schema(self) -> pa.Schema:
        """Columns: those of `rows.FACTS`, those of the models, and metadata."""

    @property
    def version(self) -> Any:
        """Something that is another one after each change of the rows; `None` where nobody knows."""

    def snapshot(self) -> "VideoStore":
        """The rows as they are now, for several readings that must agree; the store itself where it has no versions."""

    def add_columns(self, fields: Sequence[pa.Field]) -> None:
        """Further columns, NULL in all rows; those that exist with the same type already are left."""

    def read_setting(self, name: str) -> bytes | None:
        """A setting of the index, or `None`."""

    def write_setting(self, name: str, value: bytes) -> None:
        """Set it for all readers."""

    def setting_names(self, prefix: str = "") -> list[str]:
        """Names of the settings that begin so, in order."""

    def delete_settings(self, names: Collection[str]) -> None:
        """Delete these settings; those that are not there are left out."""

    def replace(self, rows: pa.Table, video_ids: Collection[str]) -> None:
        """These rows become all that there is of these videos, in one step. Both may name videos that the other does not."""

    def update(self, rows: pa.Table) -> None:
        """Replace some columns of rows that exist: `rows` has `id` and these columns."""

    def delete(self, video_ids: Collection[str]) -> int:
        """Delete all rows of these videos; returns how many rows there were."""

    def count(self, where: "Filter | None" = None) -> int:
        """Rows that fit."""

    def scan(
        self, columns: Sequence[str], where: "Filter | None" = None, batch_size: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        """All rows that fit, in any order, some at a time: memory does not grow with their number."""

    def nearest(
        self,
        vector: np.ndarray,
        limit: int,
        columns: Sequence[str],
        where: "Filter | None" = None,
        exact: bool = False,
    ) -> pa.Table:
        """The rows that fit whose `vector` has the largest cosine with this one, best first; with the column `similarity` besides."""

    def take(self, ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
        """Rows by `id`, in this order; those that are not there are left out. `id` is always one of the columns."""

    def compact(self) -> None:
        """Join small files, bring the index of vectors up to date, drop old versions. Waits for writers, and they for it."""

    def ensure_index(self) -> None:
        """Index the vectors if there are many, or many that are not in it: after rows were added."""

    def verify(self) -> list[str]:
        """What is wrong with the files of the store, a line each that names the file; the rows are checked by the index."""

    def describe(self) -> dict[str, Any]:
        """Figures: rows, bytes on disk, whether the vectors have an index, rows that are not in it."""

    def locked(self) -> AbstractContextManager[None]:
        """Hold off other writers on this machine."""


__all__ = [
    "EncodedSegment",
    "Encoder",
    "FingerprintError",
    "IndexDamagedError",
    "Locator",
    "Reranker",
    "SearchIndexError",
    "Span",
    "SegmentReader",
    "VideoStore",
    "keeps",
]
