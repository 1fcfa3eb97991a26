# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Shared fixtures: where the parity data lies, and videos whose pictures tell their frame number."""

import json
import os
import sys
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from clipbert.command_line import main
from clipbert.datasets_scripts import find_loader, prepare


COMMON_MARKS = (
    "accelerate_tests",
    "flash_attn_test",
    "flash_attn_3_test",
    "flash_attn_4_test",
    "generate",
    "torch_compile_test",
)


def pytest_configure(config):
    for mark in COMMON_MARKS:
        config.addinivalue_line("markers", f"{mark}: of transformers' own tests, see tests/common")


def pytest_terminal_summary(terminalreporter):
    """One line for all the tests that lack the same data; `-rs` names each."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])
    )
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} skipped: {reason.replace('this test', 'them')}")


def folder_from_environment(variable: str, what: str) -> Path:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{what} not available: set {variable} to its folder to run this test")
    if not Path(folder).is_dir():
        pytest.fail(f"{variable}={folder} is not a folder")
    return Path(folder).resolve()  # as the loaders spell it


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """Recorded inputs and outputs of the official implementation (`CLIPBERT_FIXTURES`)."""
    return folder_from_environment("CLIPBERT_FIXTURES", "parity data")


@pytest.fixture(scope="session")
def mug_stan_parity_dir() -> Path:
    """The same of Mug-STAN (`MUG_STAN_FIXTURES`)."""
    return folder_from_environment("MUG_STAN_FIXTURES", "parity data of Mug-STAN")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real videos, annotation files and vocabularies (`CLIPBERT_DATA`)."""
    return folder_from_environment("CLIPBERT_DATA", "real videos and annotations")


@pytest.fixture(scope="session")
def small_parity_dir() -> Path:
    """The parity sets small enough to live in the repository."""
    return Path(__file__).parent / "fixtures" / "clipbert"


@pytest.fixture
def folder(tmp_path) -> Path:
    """An empty folder for the files of a dataset."""
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.fixture
def tables(tmp_path):
    """All rows of a benchmark, whether its videos or images are there or not."""

    def tables(name, config, data_dir, **fields):
        cache_dir = str(tmp_path / "cache")
        builder = find_loader(name)(cache_dir=cache_dir, config_name=config, data_dir=data_dir, **fields)
        prepare(builder)
        return builder.as_dataset()

    return tables


def frame_brightness(index: int) -> int:
    """Grey level of frame `index`: steps of 8, so that lossy codecs keep neighbours apart; wraps after 30 frames."""
    return 8 + 8 * (index % 30)


@pytest.fixture(scope="session")
def write_video():
    """Write a video whose frame `i` has the grey level `frame_brightness(i)`."""

    def write(path, num_frames=16, fps=10, size=(48, 64), codec="libx264", pixel_format="yuv420p", options=None):
        height, width = size
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=fps, options=options or {})
            stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
            for index in range(num_frames):
                picture = np.full((height, width, 3), frame_brightness(index), dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return Path(path)

    return write


@pytest.fixture
def clipbert(capsys):
    """Run a command; its exit code, what it printed in JSON, and its lines on stderr."""

    def clipbert(*words):
        capsys.readouterr()
        code = main(list(map(str, words)))
        output, errors = capsys.readouterr()
        return code, [json.loads(line) for line in output.splitlines()], errors

    return clipbert


@pytest.fixture
def on_terminal(capsys, monkeypatch):
    """Run a command whose stdout is a terminal of so many columns; its exit code and its lines."""

    def on_terminal(*words, columns=60):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))
        capsys.readouterr()
        code = main(list(map(str, words)))
        return code, capsys.readouterr().out.splitlines()

    return on_terminal


@pytest.fixture(scope="session")
def s3():
    """A bucket that any process on this machine reaches, and how."""
    import urllib.request

    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT"))
    yield {
        "aws_endpoint": address,
        "allow_http": "true",
        "aws_region": "us-east-1",
        "aws_access_key_id": "anyone",
        "aws_secret_access_key": "anything",
    }
    server.stop()
