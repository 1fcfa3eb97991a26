# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Run a script once for every cell of a grid and every seed, and put the scores into one table.

Run:     python train_scripts/grid.py --grid train_scripts/recipes/cnn_rnn/grid_report.yaml
         python train_scripts/grid.py --grid FILE --part 1/4     (on the first of four machines; a folder in common, or merged later)

The same command goes on where it was stopped, however that came about: runs that are finished under the settings asked are
left as they are, runs that were killed go on from their last checkpoint, runs that failed are tried again. A run that
fails is listed at the end with its reason, while the others run. `--set section.key=value` holds for all cells.

OUTPUT_DIR/table.md, table.json              scores over seeds, intervals, baselines, costs; in JSON also all curves
OUTPUT_DIR/CELL/seed_SEED/                   the folder of a run, with what it printed in console.txt
"""

import argparse
import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clipbert.support.files import write_whole
from clipbert.support.names import did_you_mean
from clipbert.support.terminal import printable, printable_lines
from clipbert.train_scripts.engine.cell_table import show_table, summarise
from clipbert.train_scripts.engine.cells import CellRun, Grid, load_task, plan_runs, read_grid
from clipbert.train_scripts.engine.forking import ForkedScript, can_fork, import_ahead
from clipbert.train_scripts.engine.output import LOCK, TAKEN
from clipbert.train_scripts.engine.report import show_score
from clipbert.train_scripts.engine.values import RecipeError, describe_options
from clipbert.train_scripts.tasks.rows_of_runs import rows_of_run


CONSOLE, GRID_LOCK, REMOVED = "console.txt", ".grid.lock", ".checkpoints.removed"
WAITING = "another process runs it"
OF_LAUNCHERS = re.compile(r"[\w.]*(CalledProcessError|ChildFailedError)")


class GridRunner:
    """
    Runs what is not finished of a grid, in order.

    Args:
        title (`str`): Of the table.
        grid (`Grid`): The grid.
        runs (`Sequence[CellRun]`): All of its runs.
        part (`tuple[int, int]`, *optional*, defaults to `(1, 1)`): Which part of the cells runs here, of how many.
        patterns (`Sequence[str]`, *optional*): Cells with such names alone run, all of them stand in the table.
        jobs (`int`, *optional*, defaults to 1): How many runs at a time, each with its share of the processors.
    """

    def __init__(
        self,
        title: str,
        grid: Grid,
        runs: Sequence[CellRun],
        part: tuple[int, int] = (1, 1),
        patterns: Sequence[str] = ("*",),
        jobs: int = 1,
    ):
        self.title, self.grid, self.runs, self.jobs = title, grid, runs, jobs
        names = list(dict.fromkeys(run.cell.name for run in runs))
        for pattern in patterns:
            if not fnmatch.filter(names, pattern):
                raise RecipeError(f"--cells: there is no cell {pattern!r}. {did_you_mean(pattern, names)}")
        cells = [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
        cells = cells[part[0] - 1 :: part[1]]
        self.ours = [run for run in runs if run.cell.name in cells]
        self.states: dict[CellRun, str] = {}  # of what is not finished
        self.processes: dict[subprocess.Popen | ForkedScript, Path] = {}  # that run now, and the folders of their runs
        self.is_stopped = False
        self.writing, self.starting = threading.Lock(), threading.Lock()

    def run(self) -> dict[CellRun, str]:
        """Returns those of this part that are not finished, with the reason of each."""
        self.prepare([run for run in self.ours if run.results() is None and not run.differences()])
        for is_patient in (False, True):  # first what nobody else is running
            with ThreadPoolExecutor(self.jobs) as pool:
                waited = [
                    pool.submit(self.finish, run, f"[{number}/{len(self.ours)}] {run.name}", is_patient)
                    for number, run in enumerate(self.ours, start=1)
                    if not is_patient or self.states.get(run) == WAITING
                ]
                try:
                    for future in waited:
                        future.result()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    self.stop()
                    raise
        self.write()
        if not any(run in self.states for run in self.ours):
            for command in self.grid.after:
                call(*(part.replace("OUTPUT_DIR", self.grid.output_dir) for part in shlex.split(command)))
        return {run: self.states[run] for run in self.ours if run in self.states}

    def stop(self) -> None:
        """Let what runs save and end; nothing else begins."""
        self.is_stopped = True
        for process, folder in list(self.processes.items()):
            say(f"{folder} saves and ends.")
            stop(process, folder)

    def prepare(self, runs: Sequence[CellRun]) -> None:
        """What comes before these runs."""
        for command in self.grid.before if runs else ():
            call(*shlex.split(command))
        for key, script in self.grid.once_for.items():
            firsts: dict[Any, CellRun] = {}
            for run in runs:
                firsts.setdefault(run.value(key), run)
            for value, run in firsts.items():
                if value is not None:
                    call(script, *run.recipe.arguments)

    def finish(self, run: CellRun, head: str, is_patient: bool) -> None:
        """Run a cell, unless it is finished already, and what follows it; what came of it is printed, and written down."""
        with holding(run.folder, is_patient) as is_ours:
            if self.is_stopped:
                return
            self.states.pop(run, None)
            if not is_ours:
                self.states[run] = WAITING
                return
            if different := run.differences():
                self.states[run] = (
                    f"has been run with other settings ({'; '.join(different)}; here != there). Rename the cell, or delete "
                    f"{run.folder} to run it again"
                )
            elif run.results() is None:
                say(f"{head}: running, see {run.folder / CONSOLE}")
                code = self.launch(self.command(run), run.folder, CONSOLE)
                if run.results() is None:
                    reason = reason_of(run.folder / CONSOLE, code)
                    self.states[run] = WAITING if TAKEN in reason else reason
            for name, command in {} if run in self.states else run.to_follow(self.grid).items():
                if self.is_stopped:
                    return
                (run.folder / name).mkdir(exist_ok=True)
                console = f"{name}/{CONSOLE}"
                script, *arguments = command
                if code := self.launch([sys.executable, locate(script), *arguments], run.folder, console):
                    self.states[run] = f"{name}: {reason_of(run.folder / console, code)}"
                    break
                run.note_followed(name, command)
        say(f"{head}: {self.states.get(run) or self.scores_of(run)}")
        self.write()

    def command(self, run: CellRun) -> list[str]:
        launcher = [] if self.grid.launch is None else ["-m", "accelerate.commands.launch", *self.grid.launch]
        return [sys.executable, *launcher, locate(self.grid.script), *run.recipe.arguments]

    def launch(self, command: Sequence[str], folder: Path, console: str) -> int:
        """A command for a run in a process of its own, which a Ctrl-C does not reach; what it prints goes into a file of the run's folder."""
        with open(folder / console, "w", encoding="utf-8") as printed:
            print(f"$ {shlex.join(command)}", file=printed, flush=True)
            environment = share_processors(self.jobs)
            _, script, *arguments = command
            if can_fork() and not script.startswith("-"):
                with self.starting:
                    import_ahead(modules_of(script), environment)
                    process = ForkedScript(script, arguments, folder / console, environment)
                    process.start()
            else:
                process = subprocess.Popen(
                    command,
                    stdout=printed,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={**os.environ, **environment},
                )
            self.processes[process] = folder
            if self.is_stopped:
                stop(process, folder)
            code = process.wait()
            self.processes.pop(process, None)
            return code

    def scores_of(self, run: CellRun) -> str:
        """The metrics that are reported, in a line."""
        rows = run.results()["splits"].items()
        shown = [
            f"{split} {name} {show_score(name, row['metrics'][name])}"
            for split, row in rows
            for name in self.grid.report
            if name in row["metrics"]
        ]
        return ", ".join(shown) or "finished"

    def write(self) -> None:
        """The tables as they stand; and checkpoints that need not be kept any longer are deleted."""
        folder, keep = Path(self.grid.output_dir), self.grid.keep
        with self.writing:
            found = summarise(self.grid, self.runs, dict(self.states), rows_of_run if self.grid.reference else None)
            write_whole(folder / "table.json", json.dumps(found, indent=1))
            write_whole(folder / "table.md", show_table(self.title, found))
            for cell in found["cells"]:
                is_beaten = cell["name"] in found["ranking"][1:]
                for run in cell["runs"]:
                    if "scores" in run and (keep == "none" or (keep == "best" and is_beaten)):
                        remove_checkpoints(Path(run["folder"]))


def share_processors(jobs: int) -> dict[str, str]:
    """What one of several runs at a time has in its environment: as many threads as each may have, unless the caller has said how many."""
    if jobs == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}


@contextmanager
def holding(folder: Path, is_patient: bool) -> Iterator[bool]:
    """
    Hold the folder of a run, alone, so that of several grids one runs it, and none while a run lives on whose grid was killed.

    Args:
        folder (`Path`): It is made if need be.
        is_patient (`bool`): Wait until it is free, or give `False` if it is not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    of_grids, of_runs = FileLock(folder / GRID_LOCK), FileLock(folder / LOCK)
    try:
        for lock in (of_grids, of_runs):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if not is_patient:
                    yield False
                    return
                say(f"Waiting for the process that runs {folder}.")
                lock.acquire()
        of_runs.release()  # for the run that comes
        yield True
    finally:
        of_runs.release()
        of_grids.release()


def modules_of(script: str) -> list[str]:
    """What a script of this package imports: itself; one of a user's has the engine in common with them."""
    name = Path(script).stem if Path(script).resolve().parent == Path(__file__).parent else "engine.loop"
    return [f"clipbert.train_scripts.{name}"]


def stop(process: subprocess.Popen | ForkedScript, folder: Path) -> None:
    """Let a run save and end, with all of its processes."""
    try:
        os.killpg(process.pid, signal.SIGTERM) if hasattr(os, "killpg") else process.terminate()
    except ProcessLookupError:  # it has ended, or no session of its own yet
        process.terminate()
    process.wait()
    with FileLock(folder / LOCK):  # a launcher ends before what it has launched
        pass


def reason_of(console: Path, code: int) -> str:
    """Why a run ended before it was finished: its last words, without those of a launcher."""
    if code <= 0:
        return f"killed by {signal.Signals(-code).name}" if code else "it was stopped"
    lines = [line for line in console.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line) and not OF_LAUNCHERS.match(line)]
    return (errors or lines)[-1]


def remove_checkpoints(folder: Path) -> None:
    """Under another name first: a checkpoint of which half is deleted must not be found."""
    removed = folder / REMOVED
    shutil.rmtree(removed, ignore_errors=True)
    with suppress(FileNotFoundError):
        (folder / "checkpoints").rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def locate(script: str) -> str:
    """A script, as it is named in the working folder or in this package."""
    for path in (Path(script), Path(__file__).parents[1] / script):
        if path.is_file():
            return str(path)
    raise RecipeError(f"{script}: no such script in {Path.cwd()}, nor in {Path(__file__).parents[1]}.")


def call(script: str, *arguments: str) -> None:
    """A script, or what begins with `-m` or `-c`, in a process of its own."""
    say(f"$ {shlex.join(['python', script, *arguments])}")
    subprocess.run([sys.executable, script if script.startswith("-") else locate(script), *arguments], check=True)


def say(text: str) -> None:
    print(printable(text), flush=True)


def read_part(text: str) -> tuple[int, int]:
    """`2/4`: the second of four."""
    part, slash, of = text.partition("/")
    if not (slash and part.isdigit() and of.isdigit() and 1 <= int(part) <= int(of)):
        raise argparse.ArgumentTypeError(f"expected a part such as 1/4, got {text!r}")
    return int(part), int(of)


def main(arguments: Sequence[str] | None = None) -> dict[str, str]:
    """
    Run a grid.

    Returns:
        `dict`: The runs that are not finished, by their names, and why.
    """
    keys = "\n".join(["keys of a grid file:", *describe_options("grid", Grid)]).replace("  grid.", "  ")
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=keys, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grid", required=True, metavar="FILE", help="YAML file with axes and rows")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="SECTION.KEY=VALUE", help="a setting of all cells"
    )
    parser.add_argument(
        "--recipe", metavar="FILE", help="what all cells start from, in place of `recipe` and `set` of the grid file"
    )
    parser.add_argument("--output_dir", metavar="FOLDER", help="another folder than that of the grid file")
    parser.add_argument("--part", type=read_part, default=(1, 1), metavar="K/N", help="run the K-th of N parts only")
    parser.add_argument(
        "--cells", nargs="+", default=["*"], metavar="PATTERN", help="run the cells of such names only, e.g. 'lr=*'"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="so many runs at a time, each with its share of the processors (default: 1)",
    )
    parser.add_argument("--list", action="store_true", help="print the command of each run, and run nothing")
    given = parser.parse_args(arguments)

    if given.jobs < 1:
        parser.error("--jobs: expected at least 1")
    grid = read_grid(given.grid, given.output_dir)
    if given.recipe:
        grid.start_from(given.recipe)
    runs = plan_runs(grid, load_task(Path(locate(grid.script))).recipe_class, given.set)
    runner = GridRunner(Path(given.grid).stem, grid, runs, given.part, given.cells, given.jobs)
    if given.list:
        for run in runner.ours:
            print(shlex.join(runner.command(run)))
        return {}
    unfinished = runner.run()
    say(f"{len(runner.ours) - len(unfinished)} of {len(runner.ours)} runs are finished: {grid.output_dir}/table.md")
    for run, reason in unfinished.items():
        say(f"  not finished: {run.name}: {reason} ({run.folder / CONSOLE})")
    return {run.name: reason for run, reason in unfinished.items()}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(1 if main() else 0)
    except (RecipeError, subprocess.CalledProcessError) as error:
        sys.exit(printable_lines(f"{type(error).__name__}: {error}"))
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        sys.exit(130)
