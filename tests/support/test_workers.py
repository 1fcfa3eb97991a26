# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Workers whose parent has gone print nothing about it."""

import subprocess
import sys

import pytest


CODE = """
import os, socket, sys, time
from multiprocessing.reduction import DupFd
from clipbert.support.workers import leave_quietly
from clipbert.train_scripts.engine.termination import ignore_termination

{prepare}
read, write = os.pipe()
address, key = DupFd(read)._id  # as a tensor is offered to another process
for _ in range(3):
    parent = socket.socket(socket.AF_UNIX)
    parent.connect(address)
    {meet}
    parent.close()
time.sleep(0.3)
{work}
"""


def printed(prepare="", meet="", work=""):
    code = CODE.format(prepare=prepare, meet=meet, work=work)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120).stderr


@pytest.mark.skipif(sys.platform != "linux", reason="tensors are handed over otherwise")
@pytest.mark.parametrize("prepare", ["leave_quietly()", "ignore_termination()"])
@pytest.mark.parametrize("meet", ["", "parent.recv(4)"])
def test_a_parent_that_breaks_off_is_no_error(prepare, meet):
    assert printed(prepare, meet) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="tensors are handed over otherwise")
def test_without_it_python_prints_that():
    assert "resource_sharer" in printed()


def test_other_errors_are_printed():
    assert "ValueError: other" in printed("leave_quietly()", work="raise ValueError('other')")
