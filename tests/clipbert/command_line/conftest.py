# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The command `clipbert` as tests call it."""

import json
import sys

import pytest

from clipbert.command_line import main


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
