# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Videos become rows: workers read them, this process encodes, whole videos are committed together.

    FileState --read in workers--> inputs of one segment after the other --encode--> rows --commit--> VideoStore

A video is committed with all its segments or not at all, so that whoever is killed leaves whole videos, and goes on with the others when
called again.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm.auto import tqdm

from clipbert.processing import VideoDecodeError, read_video_metadata
from clipbert.processing.decoding import DEFAULT_TIMEOUT_S
from clipbert.processing.video_sources import local_copy
from clipbert.search.files import FileState, digest_file
from clipbert.search.protocols import EncodedSegment, SearchIndexError, SegmentReader, Span
from clipbert.search.rows import build_table, model_values, segment_id
from clipbert.support.workers import leave_quietly


SEGMENTS_PER_COMMIT = 1000
SECONDS_PER_COMMIT = 60.0


class TooManyFailuresError(SearchIndexError):
    """More videos than allowed cannot be read: something else is wrong than a few files."""


def plan_segments(duration_s: float, segment_s: float | None) -> list[Span | None]:
    """
    The parts of a video that get a row each: the whole, or as few parts of one length as are no longer than `segment_s`.

    Args:
        duration_s (`float`): Seconds of the video.
        segment_s (`float`, *optional*): Longest part; `None` for the whole video.

    Returns:
        `list[Span | None]`: `None` stands for the whole video.

    Example:
        >>> plan_segments(50.0, 60.0), plan_segments(90.0, 60.0)
        ([None], [Span(start_s=0.0, end_s=45.0), Span(start_s=45.0, end_s=90.0)])
    """
    if segment_s is None or not duration_s > segment_s:
        return [None]
    count = int(-(-duration_s // segment_s))
    return [Span(duration_s * place / count, duration_s * (place + 1) / count) for place in range(count)]


class Header(NamedTuple):
    """What is known of a video before its segments come."""

    number: int
    facts: dict[str, Any]
    spans: list[Span | None]


class SegmentInputs(NamedTuple):
    """A segment as inputs of models: of each reader those that it made."""

    number: int
    segment: int
    inputs: list[Mapping[str, Any] | None]


class Encoded(NamedTuple):
    """A segment that was encoded elsewhere: what encoder and reranker made of it."""

    number: int
    segment: int
    encoded: EncodedSegment | None
    clips: EncodedSegment | None


class Failure(NamedTuple):
    """A video that cannot be read; what came of it before is void."""

    number: int
    cause: str
    reason: str  # without the name of the file


class SegmentStream(IterableDataset):
    """Headers, inputs and failures of videos, read one segment at a time: an hour lies in memory no more than a minute does."""

    def __init__(self, files: Sequence[FileState], readers: Sequence[SegmentReader | None], segment_s: float | None):
        self.files, self.segment_s = files, segment_s
        self.read = [None if reader is None else reader.read for reader in readers]  # without weights

    def __iter__(self) -> Iterator[Header | SegmentInputs | Failure]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for number in range(first, len(self.files), step):
            yield from self.read_video(number)

    def read_video(self, number: int) -> Iterator[Header | SegmentInputs | Failure]:
        """All that is to be said of one of the files."""
        name = str(self.files[number].path)
        try:
            yield from self._read(number)
        except VideoDecodeError as error:  # which may name a copy
            yield Failure(number, str(VideoDecodeError(name, error.reason, error.frame_index)), error.reason)
        except OSError as error:
            yield Failure(number, str(error), str(error))

    def _read(self, number: int) -> Iterator[Header | SegmentInputs]:
        file = self.files[number]
        digest = digest_file(file.path, file.size)
        with local_copy(file.path, DEFAULT_TIMEOUT_S) as path:  # what lies elsewhere is fetched once
            metadata = read_video_metadata(path)
            duration_s = float(metadata.duration or 0.0)
            spans = plan_segments(duration_s, self.segment_s)
            facts = {"digest": digest, "duration_s": duration_s, "fps": metadata.fps}
            yield Header(number, facts, spans)
            for segment, span in enumerate(spans):
                inputs = [None if read is None else read(path, span) for read in self.read]
                yield SegmentInputs(number, segment, inputs)


def encode_segments(readers: Sequence[Any], heads: Any, inputs: Sequence[Sequence[Any]]) -> Iterator[tuple]:
    """What encoder and reranker make of some segments; with distilled heads the vector comes from the clips of the latter."""
    made = [
        [None] * len(inputs) if reader is None else reader.encode([one[place] for one in inputs])
        for place, reader in enumerate(readers)
    ]
    if heads is not None:
        made[0] = heads.add_vectors(made[1])
    return zip(*made, strict=True)


class RowBuilder:
    """
    Encodes segments and puts the rows of whole videos together.

    Args:
        encode (`Callable`): From inputs of some segments, as [`SegmentInputs`] has them, to pairs of what encoder and reranker made.
        schema (`pa.Schema`): Columns of the rows.
        common (`dict`): Values that all rows have.
        batch_size (`int`): Segments that are encoded together.
    """

    def __init__(self, encode: Callable, schema: pa.Schema, common: Mapping[str, Any], batch_size: int):
        self.encode, self.schema, self.common, self.batch_size = encode, schema, common, batch_size
        self.headers: dict[int, Header] = {}
        self.rows: dict[int, dict[int, dict[str, Any]]] = {}
        self.waiting: list[SegmentInputs] = []

    def open(self, header: Header, own: Mapping[str, Any]) -> None:
        """A video begins; `own` are the values that all its rows have."""
        self.headers[header.number] = header._replace(facts={**header.facts, **own})
        self.rows[header.number] = {}

    def drop(self, number: int) -> None:
        """Forget a video."""
        self.headers.pop(number, None)
        self.rows.pop(number, None)
        self.waiting = [inputs for inputs in self.waiting if inputs.number != number]

    def put(self, inputs: SegmentInputs) -> None:
        self.waiting.append(inputs)
        if len(self.waiting) >= self.batch_size:
            self.flush()

    def flush(self) -> None:
        """Encode what waits."""
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        for inputs, made in zip(waiting, self.encode([one.inputs for one in waiting]), strict=True):
            self.place(Encoded(inputs.number, inputs.segment, *made))

    def place(self, found: Encoded) -> None:
        """Make the row of a segment that is encoded."""
        header = self.headers[found.number]
        span = header.spans[found.segment] or Span(0.0, header.facts["duration_s"])
        self.rows[found.number][found.segment] = {
            **self.common,
            **header.facts,
            "id": segment_id(header.facts["video_id"], found.segment),
            "segment": found.segment,
            "num_segments": len(header.spans),
            **span._asdict(),
            **model_values(found.encoded, found.clips, self.schema),
        }

    def take(self) -> dict[int, list[dict[str, Any]]]:
        """Rows of the videos that are whole, by number; each is taken once."""
        whole = [number for number, rows in self.rows.items() if len(rows) == len(self.headers[number].spans)]
        found = {}
        for number in whole:
            rows = self.rows.pop(number)
            del self.headers[number]
            found[number] = [rows[segment] for segment in sorted(rows)]
        return found


def encode_files(
    files: Sequence[FileState],
    readers: Sequence[SegmentReader | None],
    encode: Callable,
    schema: pa.Schema,
    commit: Callable[[pa.Table, list[str]], None],
    fail: Callable[[str, str, str], bool],
    *,
    values_of: Callable[[FileState], Mapping[str, Any]],
    common: Mapping[str, Any],
    segment_s: float | None,
    batch_size: int,
    num_workers: int,
    max_decode_error_rate: float,
    progress: bool | None = None,
    items: Iterable[Header | SegmentInputs | Encoded | Failure] | None = None,
) -> int:
    """
    Read and encode videos, and commit them in groups.

    Args:
        files (`list[FileState]`): The videos.
        readers: Encoder and reranker, or `None` for each of them.
        encode: See [`RowBuilder`].
        schema (`pa.Schema`): Columns of the rows.
        commit (`Callable`): Called with a table of rows and the ids of their videos.
        fail (`Callable`): Called with an id, the cause, and the cause without the file, of a video that cannot be read; returns whether that
            is news.
        values_of (`Callable`): Facts of the file and metadata of its rows.
        common (`dict`): Values that all rows have.
        segment_s (`float`, *optional*): See [`plan_segments`].
        batch_size, num_workers (`int`): Segments that are encoded together; processes that read.
        max_decode_error_rate (`float`): The share of videos that may fail anew; a single one always may.
        progress (`bool`, *optional*): Whether to show a bar; by default on a terminal.
        items (*optional*): What is read, or encoded, elsewhere, in the place of what this process would read: of each video its header, then
            its segments.

    Returns:
        `int`: Segments that were committed.

    Raises:
        TooManyFailuresError: If more videos fail; what came before is committed.
    """
    builder = RowBuilder(encode, schema, common, batch_size)
    ready: list[dict[str, Any]] = []
    num_segments, num_failed, last = 0, 0, time.monotonic()

    def send() -> None:
        nonlocal ready, num_segments, last
        rows, ready = ready, []
        if rows:
            commit(build_table(rows, schema), list(dict.fromkeys(row["video_id"] for row in rows)))
        num_segments, last = num_segments + len(rows), time.monotonic()

    if items is None:
        items = DataLoader(
            SegmentStream(files, readers, segment_s),
            batch_size=None,
            num_workers=num_workers,
            multiprocessing_context="spawn" if num_workers else None,  # the store's threads do not survive a fork
            worker_init_fn=leave_quietly,
        )
    with tqdm(
        total=len(files), desc="indexing", unit="video", disable=None if progress is None else not progress
    ) as bar:
        for item in items:
            if isinstance(item, Header):
                builder.open(item, values_of(files[item.number]))
            elif isinstance(item, SegmentInputs):
                builder.put(item)
            elif isinstance(item, Encoded):
                builder.place(item)
            else:
                builder.drop(item.number)
                num_failed += fail(files[item.number].video_id, item.cause, item.reason)
                bar.update()
                if num_failed > max(1, max_decode_error_rate * len(files)):
                    send()
                    raise TooManyFailuresError(
                        f"{num_failed} of {len(files)} videos cannot be read, more than max_decode_error_rate="
                        f"{max_decode_error_rate}; the last one: {item.cause} What was read before is in the index. Repair the files, "
                        "or raise the limit."
                    )
            for rows in builder.take().values():
                ready += rows
                bar.update()
            if len(ready) >= SEGMENTS_PER_COMMIT or time.monotonic() - last > SECONDS_PER_COMMIT:
                send()
        builder.flush()
        for rows in builder.take().values():
            ready += rows
            bar.update()
        send()
    return num_segments


__all__ = [
    "Encoded",
    "SegmentInputs",
    "SegmentStream",
    "TooManyFailuresError",
    "encode_files",
    "encode_segments",
    "plan_segments",
]
