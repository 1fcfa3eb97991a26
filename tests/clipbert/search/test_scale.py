# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What an index promises where much goes on: processes that are killed, several at once, thousands of files, full disks, hours of video."""

import multiprocessing
import random
import time

import pytest
from mean_colour import MeanColour
from search_processes import (
    MOST_TWICE,
    OPERATIONS,
    SEGMENT_S,
    assert_true_to,
    encoded_twice,
    files_of,
    open_index,
    search_until,
    vectors_by_digest,
    work,
    write_and_change,
    write_pool,
)

from clipbert.search import VideoIndex


pytest.importorskip("lancedb")
KILLS = 50
SERVER = multiprocessing.get_context("forkserver")  # which has imported what is slow to import, and no more


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Contents of videos, and the vectors of each by its digest; not to be changed."""
    folder = write_pool(tmp_path_factory.mktemp("pool"))
    index = VideoIndex.create(tmp_path_factory.mktemp("index") / "index", folder, MeanColour(), segment_s=SEGMENT_S)
    index.add(progress=False)
    return folder, vectors_by_digest(index)


@pytest.fixture
def place(tmp_path):
    """A root with folders, and an empty index over it."""
    root = tmp_path / "videos"
    for folder in ("deep", "shared", "a", "b"):
        (root / folder).mkdir(parents=True)
    uri = str(tmp_path / "index")
    VideoIndex.create(uri, root, MeanColour(), segment_s=SEGMENT_S)
    return uri, root


def start(target, *args):
    SERVER.set_forkserver_preload(
        ["lancedb", "clipbert.search.index", "clipbert.search.adding", "clipbert.search.models"]
    )
    process = SERVER.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def receive(connection, process, seconds=120):
    """What a process says."""
    assert connection.poll(seconds), f"nothing came from the process, whose exit code is {process.exitcode}"
    return connection.recv()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_random(place, pool, tmp_path):
    uri, root = place
    folder, vectors = pool
    log, chosen, seconds, twice = tmp_path / "log", random.Random(0), {}, []
    log.touch()
    for kind in OPERATIONS:  # how long each takes
        started = time.monotonic()
        work(kind, uri, root, folder, log, seed=-1, times=1)
        seconds[kind] = time.monotonic() - started
    for number in range(KILLS):
        kind = list(OPERATIONS)[number % len(OPERATIONS)]
        here, there = SERVER.Pipe()
        worker = start(work, kind, uri, root, folder, log, number, there)
        receive(here, worker)
        time.sleep(chosen.uniform(0, 2 * seconds[kind]))
        assert worker.is_alive()
        worker.kill()
        worker.join()
        index = open_index(uri, log)
        index.update(prune=True, progress=False)
        twice.append(encoded_twice(log))
        assert_true_to(index, root, vectors)
        assert twice[-1] <= MOST_TWICE, (kind, number)
    print(f"{KILLS} kills, operations took {seconds}; encoded twice: {twice}")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_writers_and_a_reader(place, pool, tmp_path):
    uri, root = place
    folder, vectors = pool
    contents = files_of(folder)
    for own, some in {"a": contents[0::3], "b": contents[1::3], "shared": contents[2::3]}.items():
        (tmp_path / "contents" / own).mkdir(parents=True)
        for content in some:
            (tmp_path / "contents" / own / content.name).write_bytes(content.read_bytes())
            if own == "shared":
                (root / own / content.name).write_bytes(content.read_bytes())
    stop, barrier = SERVER.Event(), SERVER.Barrier(2)
    here, there = SERVER.Pipe()
    reader = start(search_until, uri, stop, there)
    assert receive(here, reader) == "started"
    writers = [
        start(write_and_change, uri, root, tmp_path / "contents", own, seed, 9, barrier)
        for seed, own in enumerate(("a", "b"))
    ]
    for writer in writers:
        writer.join()
    stop.set()
    found = receive(here, reader)
    reader.join()
    assert [writer.exitcode for writer in writers] == [0, 0] and reader.exitcode == 0, found
    print(f"searches and states that the reader saw: {found}")
    assert found[1] > 3
    index = open_index(uri)
    assert_true_to(index, root, vectors)
    assert index.failed == {}
    report = index.update(prune=True, progress=False)
    assert len(report.unchanged) == len(files_of(root)) and report.num_segments == 0
