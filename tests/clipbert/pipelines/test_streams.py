# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A stream of 2,000 videos, every fiftieth of them broken: its order, its memory, and what is said of the broken ones."""

import os
from pathlib import Path

import pytest
from numbered_videos import write_numbered
from tiny_pipelines import CASES, assert_same, make_pipeline

from clipbert.processing import VideoDecodeError


COUNT, BROKEN_EVERY, BATCH = 2000, 50, 8
STATM = Path("/proc/self/statm")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three videos that differ, and 2,000 names: theirs in turns, but for those that are cut in the middle."""
    folder = tmp_path_factory.mktemp("stream")
    sources = [write_numbered(folder / f"{count} frames.mp4", count) for count in (4, 6, 9)]
    cut = folder / "cut.mp4"
    cut.write_bytes(sources[0].read_bytes()[: sources[0].stat().st_size // 2])
    paths = [folder / f"{number:04}.mp4" for number in range(COUNT)]
    for number, path in enumerate(paths):
        os.link(cut if is_broken(number) else sources[number % 3], path)
    return list(map(str, sources)), list(map(str, paths))


def is_broken(number):
    return number % BROKEN_EVERY == BROKEN_EVERY - 1


def resident_mb():
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("name", ["classes", "retrieval"])
def test_it_is_answered_in_order_in_constant_memory(files, name, num_workers):
    sources, paths = files
    pipe, asked, taken = make_pipeline(name), CASES[name].asked, []
    expected = [pipe(source, **asked) for source in sources]

    def stream():
        for path in paths:
            taken.append(path)
            yield path

    options = {**asked, "batch_size": BATCH, "num_workers": num_workers}
    readable = iter(number for number in range(COUNT) if not is_broken(number))
    resident = {}
    for count, answer in enumerate(pipe(stream(), **options, on_error="skip"), start=1):
        if count == 1:
            assert len(taken) <= BATCH * (num_workers + 1)
        number = next(readable)
        assert_same(answer, expected[number % 3], paths[number])
        if STATM.exists() and count in (200, COUNT - COUNT // BROKEN_EVERY):
            resident[count] = resident_mb()
    assert next(readable, None) is None
    assert [failure["input"] for failure in pipe.failed] == paths[BROKEN_EVERY - 1 :: BROKEN_EVERY]
    assert all(failure["input"] in failure["error"] for failure in pipe.failed)
    if resident:
        first, last = resident.values()
        assert last - first < 150, resident

    taken.clear()
    answers = pipe(stream(), **options)
    assert len([next(answers) for _ in range(BROKEN_EVERY - 1)]) == BROKEN_EVERY - 1
    with pytest.raises(VideoDecodeError, match=f"{BROKEN_EVERY - 1:04}.mp4"):
        next(answers)
    assert len(taken) <= BROKEN_EVERY + BATCH * (num_workers + 1)
