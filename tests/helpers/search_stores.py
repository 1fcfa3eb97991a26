# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Rows for stores of a search index, and what other processes do with them."""

import random
import time
from collections import Counter

import numpy as np
import pyarrow as pa

from clipbert.search.rows import FACTS, build_table, compute_checksums, segment_id
from clipbert.search.stores import open_store


WIDTH = 16
SCHEMA = pa.schema(
    [
        *FACTS,
        pa.field("vector", pa.list_(pa.float32(), WIDTH)),
        pa.field("frame_seconds", pa.list_(pa.float64(), 12)),  # NaN where unknown
        pa.field("frames", pa.list_(pa.float16(), 24)),
        pa.field("clip_mask", pa.list_(pa.bool_(), 3)),
        pa.field("place", pa.string()),
        pa.field("year", pa.int64()),
    ]
)


def unit_vectors(number, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((number, WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def build_rows(videos, num_segments=2, digest="first", seed=0, schema=SCHEMA):
    """Rows of videos: all columns are used, the second segment of each has no vector's companions."""
    videos, rng = list(videos), np.random.default_rng(seed)
    vectors = iter(unit_vectors(len(videos) * num_segments, seed))
    rows = []
    for number, video in enumerate(videos):
        for segment in range(num_segments):
            seconds = rng.random(12)
            seconds[-1] = np.nan
            row = {"id": segment_id(video, segment), "video_id": video, "folder": video.rpartition("/")[0]}
            row |= {"segment": segment, "num_segments": num_segments, "digest": digest, "size": number, "fps": 29.97}
            row |= {
                "start_s": 1.5 * segment,
                "vector": next(vectors),
                "frame_seconds": seconds,
                "year": 2**53 + number,
            }
            if segment != 1:
                row |= {"frames": rng.standard_normal(24), "clip_mask": rng.random(3) < 0.5, "place": "it's \\ “here”"}
            rows.append(row)
    return build_table(rows, schema)


def all_rows(store):
    """Everything, in the order of `id`."""
    batches = list(store.scan(store.schema.names))
    table = pa.Table.from_batches(batches, store.schema) if batches else store.schema.empty_table()
    return table.sort_by("id")


def digests_by_video(store):
    """
    The digest of each video.

    Raises:
        AssertionError: If a row is there twice, a checksum is wrong, or a video has rows of two states, too few or too many.
    """
    table = all_rows(store)
    assert compute_checksums(table) == table.column("checksum").to_pylist()
    assert max(Counter(table.column("id").to_pylist()).values(), default=1) == 1
    found = {}
    for row in table.select(["video_id", "digest", "num_segments"]).to_pylist():
        found.setdefault(row["video_id"], []).append((row["digest"], row["num_segments"]))
    for video, states in found.items():
        assert len(set(states)) == 1 and len(states) == states[0][1], (video, states)
    return {video: states[0][0] for video, states in found.items()}


# ---------------------------------------------------------------------------------------------------------------------
# In other processes
# ---------------------------------------------------------------------------------------------------------------------


def replace_at_random(uri, options, writer, times):
    """Some of twenty videos at a time, with one, two or three segments."""
    store, chosen = open_store(uri, **options), random.Random(writer)
    for time_ in range(times):
        videos = chosen.sample([f"video_{number}" for number in range(20)], 6)
        store.replace(build_rows(videos, chosen.choice([1, 2, 3]), f"{writer}-{time_}"), videos)


def read_again(uri, options, answer):
    store = open_store(uri, **options)
    answer.send((digests_by_video(store), store.read_setting("index"), store.schema.names))


def change_all(uri, digest, started):
    """Every change that there is, in an endless loop."""
    store = open_store(uri)
    started.send(True)
    while True:
        change_once(store, digest)


def change_once(store, digest):
    for start in range(0, 20, 5):
        videos = [f"video_{number}" for number in range(start, start + 5)]
        store.replace(build_rows(videos, 2, digest, seed=start), videos)
    store.write_setting("index", digest.encode())
    store.delete(["video_3", "video_17"])
    store.compact(min_indexed=30)


def read_until(uri, stop):
    """A reader all along."""
    store = open_store(uri)
    while not stop.is_set():
        digests_by_video(store)
        time.sleep(0.01)
