# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What only an accelerator can show, in eight minutes: the tests marked `gpu`, then the speed of full-size models.

Run:     python -m benchmarks.gpu                    (writes benchmarks/reports/gpu_<card>_<yyyymm>.md)
Try out: python -m benchmarks.gpu --smoke            (tiny sizes on the CPU, a minute or two; writes nothing)

Each part is a process of its own with a time limit. One that fails or runs out of time is reported with the lines that it
has measured, and the others go on. No network is needed.
"""

import argparse
import datetime
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.families import families_with_head
from benchmarks.gpu_parts import PARTS, Bench, Line, Sizes, run_part
from benchmarks.measure import describe_machine, format_spread


ROOT = Path(__file__).resolve().parents[1]
TESTS = ("-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "--timeout=0", "tests")


class Result(NamedTuple):
    """
    What became of a part.

    Args:
        name (`str`): Key of `PARTS`.
        seconds (`float`): How long it took.
        lines (`list[Line]`): What it measured.
        problem (`str`): Why it did not come to its end; empty if it did.
        output (`str`): The end of what it printed.
    """

    name: str
    seconds: float
    lines: list[Line]
    problem: str
    output: str


def run_in_process(name: str, options: argparse.Namespace, folder: Path, limit_s: float) -> Result:
    """Run one part, for so long at most."""
    measured, printed = folder / f"{name}.jsonl", folder / f"{name}.txt"
    command = [sys.executable, *TESTS]
    if PARTS[name].work is not None:
        command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, "--folder", str(folder)]
        command += ["--device", options.device, "--family", options.family, *["--smoke"] * options.smoke]
    environment = os.environ | {
        "CLIPBERT_TEST_DEVICE": options.device,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hf"),
    }
    if torch.device(options.device).type == "cpu":
        environment["ACCELERATE_USE_CPU"] = "true"
    started, problem = time.perf_counter(), ""
    with printed.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            if process.wait(limit_s):
                problem = f"ended with {process.returncode}"
        except subprocess.TimeoutExpired:
            problem = f"stopped after {limit_s:.0f} s, its share of the time"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with its workers
                process.wait()
    seconds = time.perf_counter() - started
    lines = [Line(**json.loads(line)) for line in measured.read_text().splitlines()] if measured.exists() else []
    output = printed.read_text(encoding="utf-8", errors="replace")
    if name == "tests":
        lines, problem = read_tests(output, problem)
    return Result(name, seconds, lines, problem, output[-3000:])


def read_tests(output: str, problem: str) -> tuple[list[Line], str]:
    """The closing line of pytest; that no test ran is a problem, too."""
    counts = re.findall(r"^=* ?(\d+ (?:passed|failed|skipped|error).*? in [\d.]+s)", output, re.MULTILINE)
    if not counts:
        return [], problem or "no test ran"
    if "passed" not in counts[-1]:
        problem = problem or "no test passed"
    return [Line(counts[-1])], problem


def run_all(options: argparse.Namespace) -> list[Result]:
    """All parts within the time: each may take its share of what those before it have left."""
    deadline, results = time.perf_counter() + 60 * options.minutes, []
    with tempfile.TemporaryDirectory() as folder:
        names = [name for name in PARTS if options.only is None or name in ("prepare", *options.only)]
        for index, name in enumerate(names):
            shares = [PARTS[other].share for other in names[index:]]
            limit_s = max(deadline - time.perf_counter(), 1.0) * shares[0] / sum(shares)
            result = run_in_process(name, options, Path(folder), limit_s)
            print(format_result(result, find_rate(results)), flush=True)
            results.append(result)
    return results


def find_rate(results: Sequence[Result]) -> float | None:
    """Operations a second of the large matrix product, if it was measured."""
    return next((line.flops for result in results if result.name == "rate" for line in result.lines), None)


# ----------------------------------------------------------------------------------------------------------------------
# Report
# ----------------------------------------------------------------------------------------------------------------------


def format_result(result: Result, rate: float | None) -> str:
    """A part as Markdown."""
    part = PARTS[result.name]
    text = [f"## {part.title}", "", f"{result.seconds:.0f} s."]
    if result.problem:
        text += ["", f"**Not finished: {result.problem}.**", "", "```", *result.output.splitlines()[-25:], "```"]
    if result.lines and part.work is None:
        text += ["", *(line.case for line in result.lines)]
    elif result.lines:
        names = list(dict.fromkeys(name for line in result.lines for name in line.notes))
        header = ["case", "unit", "median (range)", "s", "of the matrix rate", *names]
        text += ["", f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
        text += [f"| {' | '.join(format_cells(line, names, rate))} |" for line in result.lines]
    return "\n".join(text) + "\n"


def format_cells(line: Line, names: Sequence[str], rate: float | None) -> list[str]:
    rates = [line.amount / seconds for seconds in line.seconds] if line.amount else []
    share, median = "", statistics.median(line.seconds) if line.seconds else None
    if line.flops and rate and median:
        share = f"{line.flops / median / rate:.0%}"
    cells = [line.case, line.unit, format_spread(rates) if rates else "", f"{median:.4g}" if median else "", share]
    return [*cells, *(str(line.notes.get(name, "")) for name in names)]


def build_report(results: Sequence[Result], options: argparse.Namespace, arguments: Sequence[str]) -> str:
    command = shlex.join(["python", "-m", "benchmarks.gpu", *arguments])
    unfinished = [result.name for result in results if result.problem]
    head = [
        f"# {command}",
        "",
        f"{datetime.date.today():%Y-%m-%d}. Family: {options.family}, {'a tiny model' if options.smoke else 'full size'}, read "
        "with `from_pretrained`. Median (lowest to highest).",
        f"Not finished: {', '.join(unfinished)}." if unfinished else "All parts came to their end.",
        "",
        *(f"- {line}" for line in describe_machine(options.device)),
        "",
    ]
    return "\n".join([*head, *(format_result(result, find_rate(results)) for result in results)])


def report_path(device: str) -> Path:
    card = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device
    name = re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")
    return ROOT / "benchmarks" / "reports" / f"gpu_{name}_{datetime.date.today():%Y%m}.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; 1 if a part did not come to its end."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = build_parser().parse_args(arguments)
    options.device = options.device or ("cpu" if options.smoke else "cuda")
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        print("error: torch sees no CUDA device; --smoke tries everything on the CPU", file=sys.stderr)
        return 2
    if options.part:
        sizes = Sizes.tiny() if options.smoke else Sizes(num_workers=max((os.cpu_count() or 2) - 1, 1))
        bench = Bench(options.folder, options.device, options.family, sizes, options.smoke)
        run_part(options.part, bench, options.folder / f"{options.part}.jsonl")
        return 0
    results = run_all(options)
    output = options.output or (None if options.smoke else report_path(options.device))
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(build_report(results, options, arguments), encoding="utf-8")
        print(f"Report: {output}")
    return int(any(result.problem for result in results))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--smoke", action="store_true", help="tiny sizes on the CPU, to see that everything runs")
    parser.add_argument("--device", help="cuda, cuda:1, ...; default: cuda, with --smoke cpu")
    parser.add_argument(
        "--family",
        choices=families_with_head("VideoTextRetrieval"),
        default="clipbert",
        help="whose model is measured",
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything together")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--output", type=Path, help="Markdown file to write; default: in benchmarks/reports")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # what the processes are started with
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
