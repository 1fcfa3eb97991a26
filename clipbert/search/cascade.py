# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
The stages of a search: each orders fewer segments, more exactly.

    all segments --vectors, or one clip of each--> shortlist --frames that are kept--> --reranker--> hits --locator--> seconds

Letters: S segments, N parts of one (clips of ClipBERT, views of Mug-STAN).
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipbert.search.filters import Filter
from clipbert.search.hits import Stage
from clipbert.search.protocols import EncodedSegment, Encoder, Reranker, SegmentReader, Span, VideoStore
from clipbert.search.rows import CLIP, CLIP_MASK, CLIP_SECONDS, FRAME_SECONDS, FRAMES, array_of


SEGMENTS_PER_BLOCK = 1024  # of which what is kept is in memory at a time
KEPT_IN_MEMORY = 512  # segments that are read again from files, not from the index
FIRST_CLIPS_BYTES = 2**29  # of one clip of each segment, that are kept in memory between searches
VECTOR, FIRST_CLIP = "vector", "one_clip"  # names of stages


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
        self._read: OrderedDict[str, EncodedSegment] = OrderedDict()

    def load(self, ids: Sequence[str], num_parts: int | None = None) -> Parts:
        """Segments in this order; only their first parts, if a number is given."""
        if not self.is_kept:
            return _stack([self._encode(one) for one in ids], num_parts)
        columns = self.columns if num_parts is None else self.columns[:num_parts]
        table = self.store.take(ids, ["id", *columns, *self.facts])
        missing = set(ids) - set(table["id"].to_pylist())
        if missing:
            raise LookupError(f"Segments vanished while they were looked for: {', '.join(sorted(missing)[:3])}.")
        parts = np.stack([array_of(table[name]) for name in columns], axis=1).astype(np.float32, copy=False)
        shape = self.reader.parts_shape
        parts = parts.reshape(len(ids), -1, *shape[1:])
        mask = table[CLIP_MASK] if CLIP_MASK in self.facts else None
        if mask is not None:
            mask = None if mask.null_count else array_of(mask)[:, : parts.shape[1]]
        return Parts(parts, self._shape_seconds(array_of(table[self.facts[0]])), mask)

    def seconds(self, ids: Sequence[str]) -> np.ndarray:
        """When the frames of segments are shown: `(S, N, frames)`."""
        if not self.is_kept:
            return self.load(ids).seconds
        return self._shape_seconds(array_of(self.store.take(ids, ["id", self.facts[0]])[self.facts[0]]))

    def _shape_seconds(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), *self.reader.seconds_shape)

    def _encode(self, segment: str) -> EncodedSegment:
        """From the file; the last ones are kept."""
        if segment not in self._read:
            (row,) = self.store.take([segment], ["id", "video_id", "start_s", "end_s", "num_segments"]).to_pylist()
            span = Span(row["start_s"], row["end_s"]) if row["num_segments"] > 1 else None
            inputs = self.reader.read(self.path_of(row["video_id"]), span)
            (self._read[segment],) = self.reader.encode([inputs])
            while len(self._read) > KEPT_IN_MEMORY:
                self._read.popitem(last=False)
        self._read.move_to_end(segment)
        return self._read[segment]


def _stack(segments: Sequence[EncodedSegment], num_parts: int | None) -> Parts:
    parts = np.stack([one.parts[:num_parts] for one in segments])
    mask = None if segments[0].mask is None else np.stack([one.mask[:num_parts] for one in segments])
    return Parts(parts, np.stack([one.seconds for one in segments]), mask)


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
        self._first_clips: tuple[Any, ...] | None = None

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
        if exhaustive or shortlist is None or is_short:  # of so few, one clip first would save nothing
            with self.timed(stages, "all", None):
                found = self.everything(where)
            stages.clear()
            if exact is None and reranker is None:
                with self.timed(stages, VECTOR, found):
                    found = self.nearest(vector, None, where, exact=True)
        else:
            count = self.store.count()  # the filter is a part of the stage
            with self.timed(stages, FIRST_CLIP if vector is None else VECTOR, None, (count, count)):
                found = self.first_order(text, vector, shortlist, where)
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
        self, text: str | None, vector: np.ndarray | None, shortlist: int | None, where: Filter | None
    ) -> Candidates:
        """
        Segments in the order of the cheap stage, those of so many videos, or all: by their vectors, or, where there are none, in the order
        that the reranker gives to the first clip of each.
        """
        if vector is not None:
            return self.nearest(vector, shortlist, where)
        found = self.score(self.reranker, text, self.everything(where), FIRST_CLIP, num_parts=1)
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

    def score(
        self, source: Source, text: str, found: Candidates, name: str | None = None, num_parts: int | None = None
    ) -> Candidates:
        """Segments in the order of a model."""
        reader: Reranker = source.reader
        texts = reader.encode_texts([text])
        # blocks of segments in the order of their paths, whatever the stage before thought of them: scores do not depend on it
        places = sorted(range(len(found)), key=lambda place: _path_order(found.ids[place]))
        found = found.take(places)
        scores, odds = [], []
        for parts in self._blocks(source, found.ids, num_parts):
            of_block, of_clips = reader.score(texts, parts.parts, parts.mask)
            scores.append(of_block[0])
            odds.append(of_clips[0])
        found.scores = np.concatenate(scores).astype(np.float64) if scores else np.zeros(0)
        found.stages = {**found.stages, name or reader.stage: found.scores}
        if num_parts is None:
            found.odds, found.source = np.concatenate(odds) if odds else None, source
        return found.order()

    def _blocks(self, source: Source, ids: Sequence[str], num_parts: int | None) -> Iterator[Parts]:
        blocks = [ids[first : first + SEGMENTS_PER_BLOCK] for first in range(0, len(ids), SEGMENTS_PER_BLOCK)]
        if num_parts is None or not source.is_kept:
            yield from (source.load(block, num_parts) for block in blocks)
            return
        version = self.store.version
        size = 4 * len(ids) * num_parts * int(np.prod(source.reader.parts_shape[1:]))
        if version is None or size > FIRST_CLIPS_BYTES:
            yield from (source.load(block, num_parts) for block in blocks)
            return
        key = (version, tuple(ids))
        if self._first_clips is None or self._first_clips[0] != key:
            self._first_clips = key, [source.load(block, num_parts) for block in blocks]
        yield from self._first_clips[1]


__all__ = ["Candidates", "Cascade", "Parts", "Source"]
