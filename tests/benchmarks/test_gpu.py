# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The check of an accelerator, without one: a part that fails or hangs stops no other, and all of it runs at tiny size."""

import argparse
import sys
import time

import pytest

from benchmarks import gpu
from benchmarks.gpu_parts import PARTS, Line, Part
from benchmarks.measure import measure_matmul_flops


@pytest.fixture
def options(tmp_path):
    return argparse.Namespace(device="cpu", family="clipbert", smoke=True, minutes=1.0, only=None)


def replace_command(monkeypatch, code):
    """Let a part be this code; `sys.argv` is what it is started with."""
    popen = gpu.subprocess.Popen

    def start(command, **settings):
        assert settings.pop("cwd") == gpu.ROOT
        return popen([sys.executable, "-c", code, *command[1:]], **settings)

    monkeypatch.setattr(gpu.subprocess, "Popen", start)


MEASURES_ONE_LINE = """
import json, sys, time
from pathlib import Path
folder, part = Path(sys.argv[sys.argv.index("--folder") + 1]), sys.argv[sys.argv.index("--part") + 1]
line = {"case": "first", "seconds": [0.5, 0.25, 1.0], "amount": 2, "unit": "videos/s", "flops": 100, "notes": {"peak GB": "1.5"}}
(folder / f"{part}.jsonl").write_text(json.dumps(line) + "\\n")
"""


def test_what_was_measured_before_a_part_fails_is_reported(options, monkeypatch, tmp_path):
    replace_command(monkeypatch, MEASURES_ONE_LINE + "raise MemoryError('the card is full')")
    result = gpu.run_in_process("training", options, tmp_path, limit_s=60)
    assert result.problem == "ended with 1" and [line.case for line in result.lines] == ["first"]
    text = gpu.format_result(result, rate=400.0)
    assert "Not finished: ended with 1" in text and "MemoryError: the card is full" in text
    assert "| first | videos/s | 4.00 (2.00–8.00) | 0.5 | 50% | 1.5 |" in text


@pytest.mark.slow
def test_a_part_that_hangs_is_stopped_with_its_workers(options, monkeypatch, tmp_path):
    worker = f"import subprocess; subprocess.run([{sys.executable!r}, '-c', 'import time; time.sleep(600)'])"
    replace_command(monkeypatch, MEASURES_ONE_LINE + worker)
    started = time.perf_counter()
    result = gpu.run_in_process("scoring", options, tmp_path, limit_s=5)
    assert time.perf_counter() - started < 60
    assert "stopped after 5 s" in result.problem and len(result.lines) == 1


def test_every_part_gets_its_share_of_the_time_that_is_left(options, monkeypatch):
    limits = {}

    def run(name, options, folder, limit_s):
        limits[name] = limit_s
        return gpu.Result(name, 0.0, [], "" if name != "loading" else "ended with 1", "the reason")

    monkeypatch.setattr(gpu, "run_in_process", run)
    results = gpu.run_all(options)
    assert list(limits) == list(PARTS) and limits["run"] == pytest.approx(60, abs=5)  # the others took no time
    shares = [part.share for part in PARTS.values()]
    assert limits["prepare"] == pytest.approx(60 * shares[0] / sum(shares), abs=1)
    report = gpu.build_report(results, options, ["--smoke"])
    assert "Not finished: loading." in report and "# python -m benchmarks.gpu --smoke" in report
    assert all(part.title in report for part in PARTS.values()) and "torch " in report


@pytest.mark.parametrize(
    ("output", "case", "problem"),
    [
        ("..\n5 passed, 3 deselected in 12.34s\n", "5 passed, 3 deselected in 12.34s", ""),
        ("===== 1 failed, 4 passed in 3.2s =====", "1 failed, 4 passed in 3.2s", "ended with 1"),
        ("5 skipped in 0.1s", "5 skipped in 0.1s", "no test passed"),
        ("No module named pytest", None, "ended with 1"),
    ],
)
def test_the_closing_line_of_the_tests_is_reported(output, case, problem):
    lines, found = gpu.read_tests(output, problem if problem == "ended with 1" else "")
    assert [line.case for line in lines] == ([case] if case else []) and found == problem
    assert gpu.read_tests("", "")[1] == "no test ran"


def test_without_a_card_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "--smoke tries everything on the CPU" in capsys.readouterr().err


def test_the_matrix_rate_stands_alone(monkeypatch):
    rate = measure_matmul_flops("cpu", gpu.torch.float32, size=64)
    line = Line("product", flops=int(rate), notes={"TFLOP/s": "1"})
    result = gpu.Result("rate", 1.0, [line], "", "")
    assert gpu.find_rate([result]) == int(rate)
    assert "| product |  |  |  |  | 1 |" in gpu.format_result(result, rate)
    assert isinstance(PARTS["tests"], Part) and PARTS["tests"].work is None


@pytest.mark.slow  # two minutes
@pytest.mark.timeout(1200)
def test_all_of_it_runs_at_tiny_size(tmp_path, capsys):
    report = tmp_path / "report.md"
    assert gpu.main(["--smoke", "--minutes", "15", "--output", str(report)]) == 0, capsys.readouterr().out
    text = report.read_text()
    assert "All parts came to their end." in text and " passed" in text
    for words in (
        "64 px, eager",
        "64 px, compiled",
        "waiting for frames",
        "pairs of text and clip/s",
        "files to device",
    ):
        assert words in text
