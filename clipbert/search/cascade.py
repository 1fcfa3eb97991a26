# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
The stages of a search: each orders fewer segments, more exactly.

    all segments --vectors, or one clip of each--> shortlist --frames that are kept--> --reranker--> hits --locator--> seconds

Letters: S segments, N parts of one (clips of ClipBERT, views of Mug-STAN).
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from clipbert.search.filters import Filter
from clipbert.search.hits import Stage
from clipbert.search.protocols import (
    EncodedSegment,
    Encoder,
    Reranker,
    SearchIndexError,
    SegmentReader,
    Span,
    VideoStore,
)
from clipbert.search.rows import CLIP, CLIP_MASK, CLIP_SECONDS, FRAME_SECONDS, FRAMES, array_of


SEGMENTS_PER_BLOCK = 1024  # of which what is kept is in memory at a time
KEPT_IN_MEMORY = 512  # segments that are read again from files, not from the index
ONE_CLIP_BYTES = 2**29  # of one clip of each segment, that are kept in memory between searches
VECTOR, ONE_CLIP = "vector", "one_clip"  # names of stages


class Parts(NamedTuple):
    """What is kept of some segments: `parts` `(S, N, ...)`, `seconds` `(S, N, frames)`, `mask` `(S, N)` or `None`."""

    parts: np.ndarray
    seconds: np.ndarray
    mask: np.ndarray | None


class Source:
    """
    Encoded segments by id, from the columns of the index where they are kept, else from the files.

    Args:
        store ([`VideoStore`]): The index.
        reader ([`SegmentReader`]): Whose they are.
        is_encoder (`bool`): Whether it is the encoder, whose frames have a column of their own.
        is_kept (`bool`): Whether they are in the index.
        path_of (`Callable`): The file of a video's id.
    """

    def __init__(
        self, store: VideoStore, reader: SegmentReader, is_encoder: bool, is_kept: bool, path_of: Callable[[str], Path]
    ):
        self.store, self.reader, self.is_kept, self.path_of = store, reader, is_kept, path_of
        num_parts = reader.parts_shape[0]
        self.columns = [FRAMES] if is_encoder else [CLIP.format(clip) for clip in range(num_parts)]
        self.facts = [FRAME_SECONDS] if is_encoder else [CLIP_SECONDS, CLIP_MASK]
        self._read: OrderedDict[tuple[str, str], EncodedSegment] = OrderedDict()

    def load(self, ids: Sequence[str]) -> Parts:
        """Segments in this order."""
        if not self.is_kept:
            segments = [self._encode(one) for one in ids]
            mask = None if segments[0].mask is None else np.stack([one.mask for one in segments])
            return Parts(np.stack([one.parts for one in segments]), np.stack([one.seconds for one in segments]), mask)
        table = self.store.take(ids, ["id", *self.columns, *self.facts])
        check_complete(table, ids)
        mask = self._mask(table)
        return Parts(self._parts(table, self.columns), self._shape_seconds(array_of(table[self.facts[0]])), mask)

    def load_one(self, ids: Sequence[str]) -> np.ndarray:
        """Of each segment the clip in the middle, or the first one where that does not exist: `(S, 1, ...)`."""
        middle = len(self.columns) // 2
        if not self.is_kept:
            segments = [self._encode(one) for one in ids]
            places = [middle if one.mask is None or one.mask[middle] else 0 for one in segments]
            return np.stack([one.parts[[place]] for one, place in zip(segments, places, strict=True)])
        table = self.store.take(ids, ["id", self.columns[middle], *self.facts])
        check_complete(table, ids)
        parts, mask = self._parts(table, self.columns[middle : middle + 1]), self._mask(table)
        if mask is not None and not mask[:, middle].all():
            rows = np.flatnonzero(~mask[:, middle])
            first = self.store.take([ids[row] for row in rows], ["id", self.columns[0]])
            check_complete(first, [ids[row] for row in rows])
            parts[rows] = self._parts(first, self.columns[:1])
        return parts

    def _parts(self, table: pa.Table, columns: Sequence[str]) -> np.ndarray:
        parts = np.stack([array_of(table[name]) for name in columns], axis=1).astype(np.float32, copy=False)
        return parts.reshape(table.num_rows, -1, *self.reader.parts_shape[1:])

    def _mask(self, table: pa.Table) -> np.ndarray | None:
        """Which clips exist, where the model was told."""
        if CLIP_MASK not in self.facts or table[CLIP_MASK].null_count:
            return None
        return array_of(table[CLIP_MASK])

    def seconds(self, ids: Sequence[str]) -> np.ndarray:
        """When the frames of segments are shown: `(S, N, frames)`."""
        if not self.is_kept:
            return self.load(ids).seconds
        table = self.store.take(ids, ["id", self.facts[0]])
        check_complete(table, ids)
        return self._shape_seconds(array_of(table[self.facts[0]]))

    def _shape_seconds(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), *self.reader.seconds_shape)

    def _encode(self, segment: str) -> EncodedSegment:
        """From the file; the last ones are kept, of each content of a file."""
        table = self.store.take([segment], ["id", "video_id", "start_s", "end_s", "num_segments", "digest"])
        check_complete(table, [segment])
        (row,) = table.to_pylist()
        key = (segment, row["digest"])
        if key not in self._read:
            span = Span(row["start_s"], row["end_s"]) if row["num_segments"] > 1 else None
            inputs = self.reader.read(self.path_of(row["video_id"]), span)
            (self._read[key],) = self.reader.encode([inputs])
            while len(self._read) > KEPT_IN_MEMORY:
                self._read.popitem(last=False)
        self._read.move_to_end(key)
        return self._read[key]

    def at(self, store: VideoStore) -> "Source":
        """The same from another state of the rows; what was read from files is shared."""
        source = copy(self)
        source.store = store
        return source


def check_complete(table: pa.Table, ids: Sequence[str]) -> None:
    """
    Whether there is a row for each id. A store without snapshots may have lost some meanwhile.

    Raises:
        SearchIndexError: If not.
    """
    if missing := set(ids) - set(table["id"].to_pylist()):
        raise SearchIndexError(
            f"Videos were changed or removed while they were looked for ({', '.join(sorted(missing)[:3])}): search again."
        )


@dataclass
class Candidates:
    """
    Segments that are still in the race.

    Args:
        ids, video_ids (`list[str]`): Of segments, and of their videos.
        scores (`np.ndarray` of shape `(S,)`): By the last stage.
        stages (`dict[str, np.ndarray]`): Scores of each stage, NaN where it saw no more of a segment.
        odds (`np.ndarray` of shape `(S, n)`, *optional*): Of each clip, or frame, by the last stage that tells them.
        source ([`Source`], *optional*): Where the seconds of these come from.
        rows (`dict[str, dict]`): Columns of some of them, by id, as far as they came along.
    """

    ids: list[str]
    video_ids: list[str]
    scores: np.ndarray
    stages: dict[str, np.ndarray] = field(default_factory=dict)
    odds: np.ndarray | None = None
    source: Source | None = None
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_videos(self) -> int:
        return len(set(self.video_ids))

    def take(self, places: Sequence[int]) -> "Candidates":
        """Some of them, in this order."""
        return Candidates(
            [self.ids[place] for place in places],
            [self.video_ids[place] for place in places],
            self.scores[places],
            {name: values[places] for name, values in self.stages.items()},
            None if self.odds is None else self.odds[places],
            self.source,
            self.rows,
        )

    def order(self) -> "Candidates":
        """Best first; of equal ones the first id."""
        places = range(len(self))
        return self.take(sorted(places, key=lambda place: (-self.scores[place], _path_order(self.ids[place]))))

    @property
    def sorted_ids(self) -> list[str]:
        """Ids in the order of their paths."""
        return sorted(self.ids, key=_path_order)

    def in_order_of_paths(self) -> "Candidates":
        """The same, as `sorted_ids` has them."""
        return self.take(sorted(range(len(self)), key=lambda place: _path_order(self.ids[place])))

    def first_videos(self, count: int) -> "Candidates":
        """The segments of the best so many videos; they are in order."""
        videos = set(list(dict.fromkeys(self.video_ids))[:count])
        return self.take([place for place, video in enumerate(self.video_ids) if video in videos])

    def best_of_videos(self) -> "Candidates":
        """The best segment of each video; they are in order."""
        first: dict[str, int] = {}
        for place, video in enumerate(self.video_ids):
            first.setdefault(video, place)
        return self.take(list(first.values()))


def _path_order(segment: str) -> tuple[str, ...]:
    """Folders first, as paths are sorted."""
    return tuple(segment.split("/"))


class Cascade:
    """
    The stages of an index.

    Args:
        store ([`VideoStore`]): The rows.
        encoder ([`Encoder`], *optional*): Makes vectors of queries. It may also be what distillation left.
        exact ([`Source`], *optional*): Frames of an encoder that orders exactly, too.
        reranker ([`Source`], *optional*): Clips of a reranker.
        columns (`list[str]`): What comes along with the nearest segments: what hits tell.
    """

    def __init__(
        self,
        store: VideoStore,
        encoder: Encoder | None,
        exact: Source | None,
        reranker: Source | None,
        columns: Sequence[str] = (),
    ):
        self.store, self.encoder, self.exact, self.reranker = store, encoder, exact, reranker
        self.columns = list(columns)
        self._single_clips: dict[tuple[Any, ...], list[Parts]] = {}  # of the last search alone

    def at(self, store: VideoStore) -> "Cascade":
        """The same stages over another state of the rows; what is kept in memory is shared."""
        cascade = copy(self)
        cascade.store = store
        cascade.exact, cascade.reranker = (
            None if source is None else source.at(store) for source in (self.exact, self.reranker)
        )
        return cascade

    @property
    def last(self) -> str:
        """The name of the stage that orders last."""
        last = self.reranker or self.exact
        return VECTOR if last is None else last.reader.stage

    @contextmanager
    def timed(self, stages: list[Stage], name: str, given: Candidates | None, count: tuple[int, int] = (0, 0)):
        """Note what a stage took."""
        started = time.perf_counter()
        yield
        segments, videos = count if given is None else (len(given), given.num_videos)
        stages.append(Stage(name, segments, videos, 1000 * (time.perf_counter() - started)))

    def find(
        self,
        text: str | None,
        vector: np.ndarray | None,
        shortlist: int | None,
        rerank: int | None,
        where: Filter | None,
        exhaustive: bool,
    ) -> tuple[Candidates, list[Stage]]:
        """
        Segments for a query, in the order of the last stage.

        Args:
            text (`str`, *optional*): The query, if it is one.
            vector (`np.ndarray`, *optional*): Of the query.
            shortlist, rerank (`int`, *optional*): Videos that the exact order, and the reranker, see; `None`: all.
            where (`Filter`, *optional*): Which rows.
            exhaustive (`bool`): Whether all that fit are scored by the last stage.
        """
        stages: list[Stage] = []
        exact, reranker = (self.exact, self.reranker) if text is not None else (None, None)
        is_short = vector is None and shortlist is not None and self.store.count(where) <= shortlist
        is_last = exact is None and reranker is None  # nobody scores more exactly than vectors
        if (
            exhaustive or shortlist is None or is_short
        ) and not is_last:  # of so few, one clip first would save nothing
            found = self.everything(where)
        else:
            count = self.store.count()  # the filter is a part of the stage
            with self.timed(stages, ONE_CLIP if vector is None else VECTOR, None, (count, count)):
                found = self.first_order(text, vector, shortlist, where, exact=exhaustive or shortlist is None)
        if exact is not None and not (exhaustive and reranker is not None):
            with self.timed(stages, exact.reader.stage, found):
                found = self.score(exact, text, found)
        if reranker is not None:
            if rerank is not None and not exhaustive:
                found = found.first_videos(rerank)
            with self.timed(stages, reranker.reader.stage, found):
                found = self.score(reranker, text, found)
        return found, stages

    def first_order(
        self,
        text: str | None,
        vector: np.ndarray | None,
        shortlist: int | None,
        where: Filter | None,
        exact: bool = False,
    ) -> Candidates:
        """
        Segments in the order of the cheap stage, those of so many videos, or all: by their vectors, `exact` if all are to be compared, or, where
        there are none, in the order that the reranker gives to a single clip of each.
        """
        if vector is not None:
            return self.nearest(vector, shortlist, where, exact)
        found = self.score_one_clip(self.reranker, text, self.everything(where))
        return found if shortlist is None else found.first_videos(shortlist)

    def everything(self, where: Filter | None) -> Candidates:
        """All segments that fit, without scores, in the order of their paths."""
        ids, videos = [], []
        for batch in self.store.scan(["id", "video_id"], where, batch_size=2**14):
            ids += batch["id"].to_pylist()
            videos += batch["video_id"].to_pylist()
        order = sorted(range(len(ids)), key=lambda place: _path_order(ids[place]))
        return Candidates(
            [ids[place] for place in order], [videos[place] for place in order], np.full(len(ids), np.nan)
        )

    def nearest(
        self, vector: np.ndarray, shortlist: int | None, where: Filter | None, exact: bool = False
    ) -> Candidates:
        """The segments of the nearest videos, so many or all."""
        limit = self.store.count() if shortlist is None else shortlist
        columns = [] if shortlist is None else self.columns
        while True:
            table = self.store.nearest(vector, max(limit, 1), ["id", "video_id", *columns], where, exact=exact)
            scores = table["similarity"].to_numpy().astype(np.float64)
            rows = {row["id"]: row for row in table.to_pylist()} if columns else {}
            ids, videos = table["id"].to_pylist(), table["video_id"].to_pylist()
            found = Candidates(ids, videos, scores, {VECTOR: scores}, rows=rows).order()
            if shortlist is None or found.num_videos >= shortlist or len(found) < limit:
                break
            limit *= 4  # many of the nearest are of one video
        return found if shortlist is None else found.first_videos(shortlist)

    def score(self, source: Source, text: str, found: Candidates) -> Candidates:
        """Segments in the order of a model."""
        name = source.reader.stage
        found, odds = self._score(source, text, found, name, map(source.load, blocks_of(found.sorted_ids)))
        found.odds, found.source = np.concatenate(odds) if odds else None, source
        return found.order()

    def score_one_clip(self, source: Source, text: str, found: Candidates) -> Candidates:
        """Segments in the order that a model gives to a single clip of each: a part of the price of all clips."""
        return self._score(source, text, found, ONE_CLIP, self._one_clip_of(source, found.sorted_ids))[0].order()

    def _score(
        self, source: Source, text: str, found: Candidates, name: str, blocks: Iterable[Parts]
    ) -> tuple[Candidates, list[np.ndarray]]:
        """
        Scores of segments, and the log-odds of their clips.

        Blocks are in the order of paths, whatever the stage before thought of the segments, so that scores do not depend on it.
        """
        reader: Reranker = source.reader
        texts = reader.encode_texts([text])
        found, scores, odds = found.in_order_of_paths(), [], []
        for parts in blocks:
            of_block, of_clips = reader.score(texts, parts.parts, parts.mask)
            scores.append(of_block[0])
            odds.append(of_clips[0])
        found.scores = np.concatenate(scores).astype(np.float64) if scores else np.zeros(0)
        found.stages = {**found.stages, name: found.scores}
        return found, odds

    def _one_clip_of(self, source: Source, ids: Sequence[str]) -> Iterator[Parts]:
        """Blocks of single clips; where they are small they stay in memory for the next search."""
        size = 4 * len(ids) * int(np.prod(source.reader.parts_shape[1:]))
        key = (self.store.version, tuple(ids))
        kept = self._single_clips.get(key)
        if kept is None:
            kept = (Parts(source.load_one(block), np.zeros(0), None) for block in blocks_of(ids))
            if source.is_kept and self.store.version is not None and size <= ONE_CLIP_BYTES:
                kept = list(kept)
                self._single_clips.clear()
                self._single_clips[key] = kept
        yield from kept


def blocks_of(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Some ids after the other."""
    return (ids[first : first + SEGMENTS_PER_BLOCK] for first in range(0, len(ids), SEGMENTS_PER_BLOCK))


__all__ = ["Candidates", "Cascade", "Parts", "Source", "check_complete"]
