# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Collections that change all along, and processes that index them, search them, and are killed."""

import itertools
import os
import random
import resource
import shutil
import time
from collections import Counter
from pathlib import Path

from mean_colour import COLOURS, MeanColour, write_colours
from search_stores import digests_by_video

from clipbert.search import VideoIndex, adding, field
from clipbert.search.files import digest_file


SEGMENT_S = 0.6
SEGMENTS_PER_COMMIT = 3
MOST_TWICE = SEGMENTS_PER_COMMIT + 1  # segments of a batch: the last video of one has two
MARK = "---\n"  # in a log, before and after an operation


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def write_pool(folder):
    """Contents of videos: every segment has a colour of its own, every second video has two segments."""
    levels = itertools.product((20, 90, 160, 230), repeat=3)
    for number, colour in enumerate(itertools.islice(levels, 45)):
        colours = [colour] * 4 + [tuple(255 - level for level in colour)] * (4 if number % 2 else 0)
        write_colours(folder / f"{number:02d}.mp4", colours)
    return folder


def files_of(root):
    return sorted(path for path in root.rglob("*.mp4") if not path.name.startswith("."))


def put(content, path):
    """Copy a file so that it is there whole, or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.copy(content, partial)
    os.replace(partial, path)


def change_files(root, pool, chosen, folders=("", "deep")):
    """Delete, rename, change and add some; no two files have one content."""
    mine = [path for folder in folders for path in (root / folder).glob("*.mp4")]
    chosen.shuffle(mine)
    for path in mine[:2]:
        path.unlink()
    for path in mine[2:4]:
        path.rename(root / chosen.choice(folders) / f"{chosen.randrange(10**9)}.mp4")
    used = {path.read_bytes() for path in files_of(root)}
    fresh = [content for content in files_of(pool) if content.read_bytes() not in used]
    chosen.shuffle(fresh)
    for path in mine[4:6]:
        put(fresh.pop(), path)
    for content in fresh[: 14 - len(files_of(root))]:
        put(content, root / chosen.choice(folders) / f"{chosen.randrange(10**9)}.mp4")


def assert_true_to(index, root, pool_vectors):
    """Every video is there once, with the digest and the vectors of its content, and nothing else."""
    assert index.verify() == []
    expected = {path.relative_to(root).as_posix(): digest_file(path, path.stat().st_size) for path in files_of(root)}
    assert digests_by_video(index.store) == expected
    for row in index.to_dataset(["video_id", "segment", "digest", "vector"]):
        assert row["vector"] == pool_vectors[row["digest"]][row["segment"]]
    hits = index.search("red", top_k=1000)
    assert sorted(hit.video_id for hit in hits) == sorted(expected)


def vectors_by_digest(index):
    """The vectors of the segments of each content."""
    found = {}
    rows = index.to_dataset(["digest", "segment", "vector"]).to_list()
    for row in sorted(rows, key=lambda row: row["segment"]):
        found.setdefault(row["digest"], []).append(row["vector"])
    return found


def encoded_twice(log):
    """Segments that were encoded more than once since the last mark."""
    lines = Path(log).read_text().rpartition(MARK)[2].splitlines()
    return sum(count - 1 for count in Counter(lines).values())


# ---------------------------------------------------------------------------------------------------------------------
# In other processes
# ---------------------------------------------------------------------------------------------------------------------


def open_index(uri, log=None):
    adding.SEGMENTS_PER_COMMIT = SEGMENTS_PER_COMMIT
    return VideoIndex.open(uri, encoder=MeanColour(log))


def add(index):
    index.add(progress=False)


def update(index):
    index.update(prune=True, progress=False)


def remove(index):
    index.remove(where=field("folder") == "deep")


def compact(index):
    index.compact()


OPERATIONS = {"add": [add], "update": [update], "remove": [remove, add], "compact": [compact, update]}


def work(kind, uri, root, pool, log, seed, started=None, times=None):
    """Change files and do operations on the index, for ever or so many times; the log tells where one begins and ends."""
    index, chosen = open_index(uri, log), random.Random(seed)
    if started is not None:
        started.send(True)
    for _ in itertools.count() if times is None else range(times):
        change_files(root, pool, chosen)
        for operation in OPERATIONS[kind]:
            mark(log)
            operation(index)
            mark(log)


def mark(log):
    with open(log, "a") as file:
        file.write(MARK)


def write_and_change(uri, root, pool, own, seed, rounds, barrier):
    """One of several writers: it changes files of its own folder, and indexes that and a shared one."""
    index, chosen = open_index(uri), random.Random(seed)
    barrier.wait()
    for number in range(rounds):
        change_files(root, pool / own, chosen, (own,))
        index.add([root / own, root / "shared"], progress=False)
        if number % 3 == 2:
            index.update(prune=True, progress=False)
    barrier.wait()  # from now on the files stay
    index.update(prune=True, progress=False)


def search_until(uri, stop, answer):
    """A reader all along: how many searches and states of the rows it saw, or what went wrong."""
    try:
        index, states, searches = open_index(uri), set(), 0
        answer.send("started")
        while not stop.is_set():
            for colour, options in zip(
                COLOURS, ({}, {"exhaustive": True}, {"where": field("size") > 0}), strict=False
            ):
                hits = index.search(colour, top_k=1000, **options)
                assert len({hit.video_id for hit in hits}) == len(hits)
                searches += 1
            states.add(tuple(sorted(digests_by_video(index.store).items())))
            time.sleep(0.01)
        answer.send((searches, len(states)))
    except BaseException as error:
        answer.send(repr(error))
        raise


def add_with_small_files(uri, limit, answer):
    """Add where no file may become larger."""
    index = open_index(uri)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        answer.send(str(index.add(progress=False)))
    except Exception as error:
        answer.send(f"{type(error).__name__}: {error}")


def add_and_measure(uri, encoder, answer):
    """Add, and tell the most memory that was needed, in KB."""
    report = VideoIndex.open(uri, encoder=encoder).add(progress=False)
    answer.send((report.num_segments, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
