# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A search index of vectors: seconds to open, search and change it, recall beside numpy, memory and disk.

Run:     python -m benchmarks.index_engine [--rows 100000]     (a few minutes: nearly all of it builds the index of vectors)
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.measure import describe_machine, held_bytes, peak_bytes
from clipbert.search import VideoIndex, field
from clipbert.search.adding import SEGMENTS_PER_COMMIT
from clipbert.search.lance_store import KEPT_VERSIONS, MIN_INDEXED, LanceStore
from clipbert.search.rows import VECTOR, segment_id, with_checksums


WIDTH, TOP_K = 512, 10
SHARES = (1, 0.5, 0.01, 0.0001)  # of rows that a filter keeps
OPEN = "import sys; from clipbert.search import VideoIndex; len(VideoIndex.open(sys.argv[1]))"


class GivenVectors:
    """In the place of an encoder, of whom nothing is asked here but its width: queries are vectors."""

    name, fingerprint, stage = "given-vectors", "e" * 64, "vector"
    parts_shape, seconds_shape, width = None, (1, 1), WIDTH

    def read(self, path, span=None):
        raise NotImplementedError

    encode = encode_query = read


class Collection:
    """
    Rows with vectors in clusters of some two hundred, and which of them are in the store.

    `size` is a random order of the rows, so that a filter keeps a share of each cluster.
    """

    def __init__(self, num_rows: int, seed: int = 0):
        self.random = np.random.default_rng(seed)
        self.num_rows = num_rows
        self.centres = self.random.standard_normal((max(2, num_rows // 200), WIDTH), np.float32)
        self.vectors = np.concatenate(
            [self.draw(min(SEGMENTS_PER_COMMIT, num_rows - n)) for n in range(0, num_rows, SEGMENTS_PER_COMMIT)]
        )
        self.sizes = self.random.permutation(num_rows)
        self.is_there = np.ones(num_rows, bool)

    def draw(self, number: int) -> np.ndarray:
        vectors = 0.6 * self.random.standard_normal((number, WIDTH), np.float32)
        vectors += self.centres[self.random.integers(0, len(self.centres), number)]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def video_ids(self, numbers: np.ndarray) -> list[str]:
        return [f"folder_{number % 97}/video_{number:08d}.mp4" for number in numbers]

    def build_rows(self, schema: pa.Schema, numbers: np.ndarray) -> pa.Table:
        videos, ones = self.video_ids(numbers), np.ones(len(numbers), np.int32)
        columns = {
            "id": [segment_id(video, 0) for video in videos],
            "video_id": videos,
            "folder": [video.rpartition("/")[0] for video in videos],
            "segment": 0 * ones,
            "num_segments": ones,
            "start_s": 0.0 * ones,
            "end_s": 30.0 * ones,
            "duration_s": 30.0 * ones,
            "fps": 25.0 * ones,
            "size": self.sizes[numbers],
            "mtime_ns": 10**18 + numbers,
            "digest": [f"{number:032x}" for number in numbers],
            "encoder": [GivenVectors.fingerprint] * len(numbers),
            VECTOR: pa.FixedSizeListArray.from_arrays(self.vectors[numbers].ravel(), WIDTH),
        }
        missing = {
            name: pa.nulls(len(numbers), schema.field(name).type) for name in schema.names if name not in columns
        }
        return with_checksums(pa.table(columns | missing).select(schema.names).cast(schema))

    def write(self, store: LanceStore, numbers: np.ndarray) -> None:
        for some in np.split(numbers, range(SEGMENTS_PER_COMMIT, len(numbers), SEGMENTS_PER_COMMIT)):
            store.replace(self.build_rows(store.schema, some), [])

    def delete(self, store: LanceStore, numbers: np.ndarray) -> None:
        store.delete(self.video_ids(numbers))
        self.is_there[numbers] = False

    def add(self, store: LanceStore, number: int) -> None:
        numbers = len(self.sizes) + np.arange(number)
        self.vectors = np.concatenate([self.vectors, self.draw(number)])
        self.sizes = np.concatenate([self.sizes, self.random.integers(0, self.num_rows, number)])
        self.is_there = np.concatenate([self.is_there, np.ones(number, bool)])
        self.write(store, numbers)

    def best(self, queries: np.ndarray, limit: int) -> list[set[str]]:
        """The rows that an exhaustive search would find."""
        numbers = np.flatnonzero(self.is_there & (self.sizes < limit))
        similarity = np.concatenate([queries @ self.vectors[some].T for some in np.array_split(numbers, 10)], axis=1)
        top = np.argsort(-similarity, axis=1)[:, :TOP_K]
        return [set(self.video_ids(numbers[places])) for places in top]


def measure_searches(folder: Path, queries: np.ndarray, num_rows: int, exact: bool) -> dict:
    """Seconds, answers and memory; to be called once in a process."""
    start, times = held_bytes("cpu"), [time.perf_counter()]
    import lancedb  # noqa: F401  what opening would import otherwise

    times.append(time.perf_counter())
    index = VideoIndex.open(folder, encoder=GivenVectors())
    len(index)
    times.append(time.perf_counter())
    cases, opening = [], np.diff(times).tolist()
    for share in SHARES:
        where = None if share == 1 else field("size") < int(share * num_rows)
        seconds, processor, answers = [], [], []
        for query in queries:
            started, cpu_started = time.perf_counter(), time.process_time()
            found = index.search(query, TOP_K, where=where, exhaustive=exact)
            seconds.append(time.perf_counter() - started)
            processor.append(time.process_time() - cpu_started)
            answers.append([hit.video_id for hit in found])
        cases.append({"share": share, "seconds": seconds, "processor": processor, "answers": answers})
    held = {"held": held_bytes("cpu") - start, "peak": peak_bytes("cpu") - start}
    return {"opening": opening, "cases": cases, **held}


def search_in_new_process(
    store: LanceStore, collection: Collection, num_queries: int, exact: bool = False
) -> list[str]:
    """Cells of the table."""
    queries = collection.draw(num_queries)
    with tempfile.TemporaryDirectory() as temporary:
        np.save(Path(temporary, "queries.npy"), queries)
        command = [sys.executable, "-m", "benchmarks.index_engine", "--rows", str(collection.num_rows)]
        command += ["--searches", str(store.folder), str(Path(temporary, "queries.npy"))] + ["--exact"] * exact
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    cells = [" + ".join(f"{seconds:.2f}" for seconds in result["opening"])]
    for case in result["cases"]:
        expected = collection.best(
            queries, int(case["share"] * collection.num_rows) if case["share"] < 1 else sys.maxsize
        )
        kept = [
            len(best & set(found)) / len(best) for best, found in zip(expected, case["answers"], strict=True) if best
        ]
        wall, processor = (1000 * statistics.median(case[kind]) for kind in ("seconds", "processor"))
        cells.append(f"{wall:.0f} / {processor:.0f} / {statistics.fmean(kept):.3f}" if kept else "no row fits")
    return [*cells, f"{result['held'] / 1e6:.0f} / {result['peak'] / 1e6:.0f}"]


def measure(folder: Path, num_rows: int, num_queries: int, build_only: bool = False) -> str:
    """The table; with `build_only` without what changes an index that is built."""
    collection = Collection(num_rows)
    store = VideoIndex.create(folder / "index", root=folder, encoder=GivenVectors()).store
    header = [
        "state",
        "import of LanceDB + opening, s",
        *(f"{100 * share:g} % kept" for share in SHARES),
        "MB above the start: afterwards / at most",
    ]
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    notes = []

    def row(state: str, exact: bool = False) -> None:
        lines.append(f"| {' | '.join([state, *search_in_new_process(store, collection, num_queries, exact)])} |")

    def timed(what: str, work, *arguments) -> None:
        started, cpu_started = time.perf_counter(), time.process_time()
        work(*arguments)
        taken, processor = time.perf_counter() - started, time.process_time() - cpu_started
        notes.append(f"{what}: {taken:.1f} s, of the processor {processor:.1f} s.")

    def disk(when: str) -> None:
        size, vectors = store.describe()["bytes"], collection.is_there.sum() * 4 * WIDTH
        notes.append(f"Disk, {when}: {size / 1e6:.0f} MB, {size / vectors:.2f} times the vectors.")

    def change() -> None:
        some = collection.random.choice(num_rows, min(1000, num_rows // 10), replace=False)
        timed(f"{len(some)} rows upserted", store.replace, collection.build_rows(store.schema, some), [])
        tenth = num_rows // 10
        timed(
            f"{tenth} rows deleted", collection.delete, store, collection.random.choice(num_rows, tenth, replace=False)
        )
        timed(f"{tenth} rows added", collection.add, store, tenth)
        row("10 % deleted, 10 % added")
        timed("Compacted", store.compact)
        disk(f"with the versions of the last {KEPT_VERSIONS}")
        with warnings.catch_warnings(action="ignore"):  # of readers at an old version, of whom there is none
            timed("Compacted, no old version kept", store.compact, 0 * KEPT_VERSIONS)
        disk("without")
        row("compacted")
        timed("All files compared with their checksums", store.verify)

    timed(f"{num_rows} rows written, {SEGMENTS_PER_COMMIT} a commit", collection.write, store, np.arange(num_rows))
    row("no index", exact=True)
    timed("Index built", store.ensure_index, min(MIN_INDEXED, num_rows))
    row("built")
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", OPEN, store.folder], check=True)
    notes.append(
        f"A new process that does nothing but open it, Python and all imports included: {time.perf_counter() - started:.1f} s."
    )
    if not build_only:
        change()
    title = f"## Store of a search index: {num_rows} rows, {WIDTH} numbers each"
    explanation = (
        f"Medians of {num_queries} queries: ms / ms of the processor / recall@{TOP_K} beside an exhaustive search."
    )
    return "\n".join([title, "", *lines, "", *(f"- {note}" for note in [explanation, *notes])])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="segments")
    parser.add_argument("--queries", type=int, default=100, help="of each kind")
    parser.add_argument(
        "--folder", type=Path, help="for the index, which is deleted afterwards; default: a temporary one"
    )
    parser.add_argument("--build_only", action="store_true", help="measure neither changes nor compaction")
    parser.add_argument("--searches", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--exact", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.searches:
        folder, queries = options.searches
        print(json.dumps(measure_searches(folder, np.load(queries), options.rows, options.exact)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(*(f"- {line}" for line in describe_machine("cpu")), sep="\n", end="\n\n")
        print(measure(Path(folder), options.rows, options.queries, options.build_only))


if __name__ == "__main__":
    main()
