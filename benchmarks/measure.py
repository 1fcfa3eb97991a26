# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the benchmarks share: alternating timings, peak memory of a process of its own, the machine, the table."""

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from clipbert.train_scripts.engine.operations import count_operations


SIDES = ("baseline", "ours")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Row:
    """
    One line of the table.

    Args:
        case (`str`): What was measured.
        unit (`str`): What is counted, such as `"clips/s"`; or `"s"` for the seconds of one repetition.
        amount (`float`): Units in one repetition.
        seconds (`dict[str, list[float]]`): Seconds of each repetition, for `"baseline"` and `"ours"`, taken in turns.
        expected (`float`, *optional*): The ratio this package wants to reach.
        peak_bytes (`dict[str, int]`): Peak memory of a process that does nothing else, for each side.
        bytes_above_start (`dict[str, int]`): The same without what it held before the work began, such as imports and the model.
        flops (`dict[str, int]`): Floating point operations of one repetition, for each side.
    """

    case: str
    unit: str
    amount: float
    seconds: dict[str, list[float]]
    expected: float | None = None
    peak_bytes: dict[str, int] = field(default_factory=dict)
    bytes_above_start: dict[str, int] = field(default_factory=dict)
    flops: dict[str, int] = field(default_factory=dict)

    def ratios(self) -> list[float]:
        """Baseline seconds over ours, for each pair of neighbouring repetitions."""
        return [slow / fast for slow, fast in zip(self.seconds["baseline"], self.seconds["ours"], strict=True)]

    def fastest_ratio(self) -> float:
        """Fastest baseline repetition over the fastest of ours: what a machine busy with other work disturbs least."""
        return min(self.seconds["baseline"]) / min(self.seconds["ours"])

    def rates(self, side: str) -> list[float]:
        if self.unit == "s":
            return self.seconds[side]
        return [self.amount / seconds for seconds in self.seconds[side]]


@dataclass
class Section:
    """
    A table.

    Args:
        title (`str`): Heading.
        rows (`list[Row]`): Lines.
        notes (`list[str]`): Sentences below it.
        matmul_flops (`float`, *optional*): What the device reaches in a large matrix product, operations a second.
    """

    title: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    matmul_flops: float | None = None


class Benchmark(NamedTuple):
    """
    What a script of this folder offers.

    Args:
        module (`str`): Its name, to be started again for the peak memory of one side.
        build_parser (`Callable`): Its options.
        measure (`Callable`): Options and command line to a [`Section`].
        build_lonely_work (`Callable`, *optional*): Options with `alone` and `case` to the call of that side; `None` where nothing is
            weighed.
    """

    module: str
    build_parser: Callable[[], argparse.ArgumentParser]
    measure: Callable[[argparse.Namespace, Sequence[str]], Section]
    build_lonely_work: Callable[[argparse.Namespace], Callable[[], object]] | None = None

    def run(self, arguments: Sequence[str]) -> Section:
        """Check and measure everything that a command line asks for."""
        options = self.parse(arguments)
        return self.measure(options, arguments)

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """The script: print the table; or, with `--alone`, the peak memory of one side."""
        arguments = sys.argv[1:] if arguments is None else list(arguments)
        options = self.parse(arguments)
        if options.alone and self.build_lonely_work is None:
            self.build_parser().error("--alone: no side of this benchmark is weighed")
        if options.alone:
            run_alone(self.build_lonely_work(options), options.device)
            return
        print(*(f"- {line}" for line in describe_machine(options.device)), sep="\n", end="\n\n")
        print(format_section(self.run(arguments)))

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options; also sets the threads and the seed, so that a run does not depend on what ran before."""
        options = self.build_parser().parse_args(arguments)
        torch.set_num_threads(options.threads)
        torch.manual_seed(0)
        return options


# ----------------------------------------------------------------------------------------------------------------------
# Options
# ----------------------------------------------------------------------------------------------------------------------


def build_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch")
    parser.add_argument("--repetitions", type=int, default=5, help="timed pairs: baseline, ours, baseline, ours, ...")
    parser.add_argument("--warm-up", type=int, default=1, help="untimed pairs before")
    parser.add_argument("--no-memory", action="store_true", help="do not start processes that measure peak memory")
    parser.add_argument("--alone", choices=SIDES, help="run one side only and print its peak memory as JSON")
    parser.add_argument("--case", type=int, default=0, help="with --alone: which line of the table")
    return parser


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes of the model; the defaults are those of the published one."""
    parser.add_argument("--image-size", type=int, default=224, help="side of a frame in pixels")
    parser.add_argument("--num-frames", type=int, default=2, help="frames of a clip")
    parser.add_argument("--num-layers", type=int, default=12, help="transformer layers")
    parser.add_argument("--hidden-size", type=int, default=768, help="width; a head has 64")
    parser.add_argument("--backbone-depths", type=int, nargs=4, default=[3, 4, 6, 3], help="blocks of each stage")
    parser.add_argument("--backbone-width", type=int, default=64, help="channels of the stem")
    parser.add_argument(
        "--frozen-stages",
        type=int,
        default=2,
        help="parts of the ResNet that are not trained, of 5, the stem being one",
    )
    parser.add_argument("--vocab-size", type=int, default=30522)
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="autocast to it, on both sides")
    parser.add_argument("--compile", action="store_true", help="torch.compile our side")


# ----------------------------------------------------------------------------------------------------------------------
# Time
# ----------------------------------------------------------------------------------------------------------------------


def alternate(
    work: dict[str, Callable[[], object]], repetitions: int, warm_up: int = 1, device: str = "cpu", settle: int = 0
) -> dict[str, list[float]]:
    """
    Time two sides in turns, so that a slow minute of the machine hits both.

    Args:
        work (`dict[str, Callable]`): One call for each side.
        repetitions (`int`): Timed calls of each side, at least 1.
        warm_up (`int`, *optional*, defaults to 1): Calls of each side before.
        device (`str`, *optional*, defaults to `"cpu"`): Where the work runs; a GPU is waited for.
        settle (`int`, *optional*, defaults to 0): Calls of a side right before each timed one, where calls of one side follow each
            other in use: after the other side, caches and the memory that was given back have to be filled anew.

    Returns:
        `dict[str, list[float]]`: Seconds.
    """
    if repetitions < 1:
        raise ValueError(f"repetitions must be at least 1, got {repetitions}.")
    seconds = {side: [] for side in work}
    for repetition in range(-warm_up, repetitions):
        for side, run in work.items():
            for _ in range(settle if repetition >= 0 else 0):
                run()
            synchronize(device)
            started = time.perf_counter()
            run()
            synchronize(device)
            if repetition >= 0:
                seconds[side].append(time.perf_counter() - started)
    return seconds


def synchronize(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def count_flops(work: Callable[[], object]) -> int:
    """Floating point operations of one call, counted while it runs (see `engine.operations`); 0 where torch cannot count."""
    operations = count_operations(work)[1]
    return 0 if operations is None else int(2 * operations.whole)


def measure_matmul_flops(device: str, dtype: torch.dtype, size: int | None = None) -> float:
    """Floating point operations a second of a large square matrix product: what the device can reach in practice."""
    size = size or (8192 if torch.device(device).type == "cuda" else 2048)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = alternate({"matmul": lambda: left @ right}, repetitions=5, warm_up=2, device=device)["matmul"]
    return 2 * size**3 / min(seconds)


# ----------------------------------------------------------------------------------------------------------------------
# Memory
# ----------------------------------------------------------------------------------------------------------------------


def peak_bytes(device: str) -> int:
    """Most memory that this process has held: on a GPU what torch allocated, otherwise the resident set."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _status_bytes("VmHWM") or _rusage_bytes()


def held_bytes(device: str) -> int:
    """What this process holds now, as [`peak_bytes`] counts."""
    if torch.device(device).type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _status_bytes("VmRSS") or _rusage_bytes()


def _status_bytes(name: str) -> int | None:
    """A line of Linux. (`ru_maxrss` of a child starts at the size of the parent there; these lines do not.)"""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def _rusage_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run_alone(work: Callable[[], object], device: str) -> None:
    """Do the work of one side twice and print the peak memory: what [`weigh_sides`] starts."""
    start = held_bytes(device)
    for _ in range(2):
        work()
    synchronize(device)
    peak = peak_bytes(device)
    print(json.dumps({"peak_bytes": peak, "bytes_above_start": peak - start}))


def weigh_sides(
    module: str, arguments: Iterable[str], case: int = 0, sides: Iterable[str] = SIDES
) -> dict[str, dict[str, int]]:
    """
    Peak memory of each side in a process of its own.

    Args:
        module (`str`): Benchmark to run, such as `"benchmarks.scoring"`.
        arguments (`Iterable[str]`): Its command line.
        case (`int`, *optional*, defaults to 0): Which line of its table.
        sides (`Iterable[str]`, *optional*): Those to run, by default both.

    Returns:
        `dict`: `peak_bytes` and `bytes_above_start` of each side, as a [`Row`] takes them.

    Raises:
        RuntimeError: If the process fails; the end of its output is in the message.
    """
    found: dict[str, dict[str, int]] = {}
    for side in sides:
        command = [sys.executable, "-m", module, *arguments, "--alone", side, "--case", str(case)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        for figure, number in json.loads(done.stdout.splitlines()[-1]).items():
            found.setdefault(figure, {})[side] = number
    return found


def measure_peak_bytes(
    module: str,
    arguments: Iterable[str],
    case: int = 0,
    figure: str = "peak_bytes",
    sides: Iterable[str] = SIDES,
) -> dict[str, int]:
    """One `figure` of [`weigh_sides`]."""
    return weigh_sides(module, arguments, case, sides)[figure]


# ----------------------------------------------------------------------------------------------------------------------
# Report
# ----------------------------------------------------------------------------------------------------------------------


def describe_machine(device: str) -> list[str]:
    """Hardware, versions, threads and load, one line each."""
    versions = [
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "av", "numpy", "accelerate")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = [
        f"processor: {processor_name()}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores, {memory:.0f} GiB "
        f"memory, load average {os.getloadavg()[0]:.1f} over the last minute",
        f"threads: torch {torch.get_num_threads()}, between operations {torch.get_num_interop_threads()}, decoder 1; "
        f"OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}",
        f"software: Python {platform.python_version()}, {', '.join(versions)}; {platform.system()} {platform.machine()}",
    ]
    if torch.device(device).type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        lines.insert(
            1, f"GPU: {properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        )
    return lines


def processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()


def format_section(section: Section) -> str:
    """A section as Markdown."""
    has_memory, has_share_of_memory = (
        any(getattr(row, figure) for row in section.rows) for figure in ("peak_bytes", "bytes_above_start")
    )
    has_share = section.matmul_flops is not None
    header = ["case", "unit", "baseline", "ours", "ratio", "fastest", "expected"]
    header += ["peak GB, baseline", "ours"] if has_memory else []
    header += ["GB above start, baseline", "ours", "share"] if has_share_of_memory else []
    header += ["of the matrix rate, baseline", "ours"] if has_share else []
    lines = [f"## {section.title}", "", f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    for row in section.rows:
        cells = [row.case, row.unit, *(format_spread(row.rates(side)) for side in SIDES), format_spread(row.ratios())]
        cells += [f"{row.fastest_ratio():.2f}", "" if row.expected is None else f"≥ {row.expected:g}"]
        if has_memory:
            cells += [f"{row.peak_bytes[side] / 1e9:.2f}" if row.peak_bytes else "" for side in SIDES]
        if has_share_of_memory:
            taken = row.bytes_above_start
            cells += [f"{taken[side] / 1e9:.2f}" if taken else "" for side in SIDES]
            cells += [f"{taken['ours'] / max(taken['baseline'], 1):.2f}" if taken else ""]
        if has_share:
            cells += [format_share(row, side, section.matmul_flops) for side in SIDES]
        lines.append(f"| {' | '.join(cells)} |")
    notes = list(section.notes)
    if has_share:
        rate = section.matmul_flops / 1e12
        notes.append(f"Matrix rate of the device, from a large product in the same run: {rate:.2f} TFLOP/s.")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def format_share(row: Row, side: str, matmul_flops: float) -> str:
    if not row.flops.get(side):
        return ""
    return f"{row.flops[side] / statistics.median(row.seconds[side]) / matmul_flops:.0%}"


def format_spread(values: Sequence[float]) -> str:
    """Median and range."""
    median = statistics.median(values)
    digits = 0 if median >= 100 else 1 if median >= 20 else 2
    return f"{median:.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"
