# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Reading the segments of a video: what is done once for all of them, wherever the file lies."""

import os
from pathlib import Path

import fsspec
import numpy as np
import pytest
from mean_colour import MeanColour, write_colours

from clipbert.processing import video_reader, video_sources
from clipbert.search.adding import Failure, SegmentInputs, SegmentStream
from clipbert.search.files import FileState


GREYS = [(level,) * 3 for level in range(20, 220, 5)]  # 40 frames, 5 seconds


def read_segments(path, size):
    stream = SegmentStream([FileState("a.mp4", path, size, None)], [MeanColour(), None], segment_s=1.0)
    return list(stream)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "a.mp4"
    write_colours(path, GREYS)
    os.utime(path, (1, 1))
    return path


@pytest.fixture
def counted(monkeypatch):
    """How often packets are listed, and addresses opened."""
    counts = {"listed": 0, "fetched": 0}

    def count(module, name, key):
        original = getattr(module, name)

        def call(*arguments):
            counts[key] += 1
            return original(*arguments)

        monkeypatch.setattr(module, name, call)

    count(video_reader, "index_packets", "listed")
    count(video_sources, "_open_url", "fetched")
    return counts


@pytest.fixture
def address(video):
    store = fsspec.filesystem("memory")
    store.pipe("/segments/a.mp4", video.read_bytes())
    yield "memory://segments/a.mp4"
    store.rm("/segments", recursive=True)


def test_packets_are_listed_once_for_all_segments(video, counted):
    header, *segments = read_segments(video, video.stat().st_size)
    assert len(header.spans) == len(segments) == 5 and counted == {"listed": 1, "fetched": 0}
    means = [segment.inputs[0]["mean"].mean() for segment in segments]
    np.testing.assert_allclose(means, np.array(GREYS)[:, 0].reshape(5, 8)[:, [2, 5]].mean(axis=1), atol=3)


def test_what_lies_elsewhere_is_fetched_once(video, address, counted):
    size = video.stat().st_size
    here, there = read_segments(video, size), read_segments(address, size)
    assert counted == {"listed": 2, "fetched": 1} and here[0] == there[0]
    for one, other in zip(here[1:], there[1:], strict=True):
        assert isinstance(other, SegmentInputs)
        np.testing.assert_equal(other.inputs, one.inputs)


def test_a_copy_is_gone_afterwards(video, address):
    with video_sources.local_copy(address) as copy:
        assert Path(copy).read_bytes() == video.read_bytes()
    assert not Path(copy).parent.exists()
    for source in (video, f"file://{video}", video.read_bytes()):
        with video_sources.local_copy(source) as copy:
            assert copy is source


def test_a_failure_names_the_address(video, address):
    store = fsspec.filesystem("memory")
    store.pipe("/segments/a.mp4", video.read_bytes()[:200])
    (failure,) = read_segments(address, 200)
    assert isinstance(failure, Failure) and failure.cause.startswith(f"Cannot decode {address}: ")
    assert failure.cause.endswith(failure.reason) and "copy" not in failure.cause
