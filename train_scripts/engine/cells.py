# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A grid of runs: which recipe each of its cells has, and whether it has been run so."""

import importlib.util
import itertools
import json
import math
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassError

from clipbert.support.families import config_class
from clipbert.support.files import write_whole
from clipbert.support.names import did_you_mean
from clipbert.support.options import option
from clipbert.train_scripts.engine.groups import split_group
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.engine.sections import DataSection
from clipbert.train_scripts.engine.task import Task
from clipbert.train_scripts.engine.values import RecipeError, Source, convert_section, read_yaml


FOLDER_NAME = re.compile(r"[\w=+-][\w.=+-]*")
OF_A_RUN = ("checkpoints", "predictions", "pictures")  # folders
DONE = "done.json"  # in the folder of what follows a run
OF_THE_GRID = {"run.output_dir": "output_dir", "run.seed": "seeds"}  # keys of a recipe, and what decides them here


@dataclass(kw_only=True)
class Grid:
    """
    What a grid file says. Its cells are the product of the axes, and the rows besides.

    An axis is a list of values under the key of a recipe, `model.overrides.rnn_type: [rnn, lstm]`, or has names for
    several settings at once, `backbone: {resnet50: {model.parts.backbone: FOLDER, data.features: FOLDER}}`. A row is one
    cell: `NAME: {section.key: value}`. Where they say `recipe: FILE`, too, that one takes the place of the grid's.
    """

    script: str = option("", "The script that trains, e.g. train_scripts/video_classification.py (required).")
    recipe: str | None = option(None, "Recipe that all cells start from.")
    output_dir: str = option("", "Folder of the tables, with a folder CELL/seed_SEED for each run (required).")
    set: dict[str, Any] = option({}, "Settings of all cells: {section.key: value}.")
    axes: dict[str, Any] = option({}, "{section.key: [VALUE, ...]} or {NAME: {LABEL: {section.key: value}}}.")
    rows: dict[str, Any] = option({}, "Further cells: {NAME: {section.key: value}}.")
    seeds: list[int] = option([], "One run of every cell for each seed; none: the seed of the recipe.")
    metric: str | None = option(
        None, "Metric of the tuning split that compares cells; null: the recipes' eval.metric."
    )
    report: list[str] = option([], "Metrics in the table; none: `metric`.")
    published: dict[str, Any] = option(
        {}, "Columns of figures from elsewhere, to be read beside ours: {TITLE: {CELL: what is published}}."
    )
    keep: Literal["best", "all", "none"] = option("best", "Which cells keep their checkpoints when they are finished.")
    before: list[str] = option([], "Python scripts or modules with arguments, run in this order before the cells.")
    once_for: dict[str, str] = option(
        {},
        "{section.key: SCRIPT}: for each value of this key, run the script with the settings of the first run that has it.",
    )
    for_each: dict[str, str] = option(
        {},
        "{NAME: SCRIPT [ARGUMENTS]}: for each run that is finished, run the script with `--checkpoint RUN --output_dir RUN/NAME`, "
        "while its checkpoints are there. A run is finished when these are.",
    )
    after: list[str] = option(
        [],
        "Python scripts or modules with arguments, run in this order when the cells that were asked for are finished; OUTPUT_DIR in them is "
        "the folder of the grid.",
    )
    reference: str | None = option(
        None,
        "Cell that the others are compared with, in retrieval and questions: the difference, and its interval by a paired "
        "bootstrap over videos.",
    )
    launch: list[str] | None = option(None, "Arguments of `accelerate launch`; null: plain python.")

    def start_from(self, recipe: str) -> None:
        """Let all cells start from another recipe, on other data: what the file sets for all, and groups of its rows, are of its own."""
        self.recipe, self.set = recipe, {}
        self.report = [name for name in self.report if not split_group(name)[1]]


@dataclass(frozen=True, eq=False)
class Cell:
    """A name, and what the recipe is together with its settings, `section.key` to value."""

    name: str
    recipe: str | None
    settings: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class CellRun:
    """One run of a cell: with a seed, in a folder, by a recipe that has been checked."""

    cell: Cell
    seed: int
    folder: Path
    recipe: Recipe

    @property
    def name(self) -> str:
        return f"{self.cell.name}, seed {self.seed}"

    def value(self, key: str) -> Any:
        """What the recipe has under `section.key`."""
        section, _, name = key.partition(".")
        return getattr(getattr(self.recipe, section), name)

    def results(self) -> dict[str, Any] | None:
        """What the run wrote when it was finished; `None` if it is not, or before its evaluations were other ones."""
        recorded = self._recorded()
        if recorded is None or _of_evaluations(recorded[1]) != _of_evaluations(self.recipe):
            return None
        return recorded[0]

    def differences(self) -> list[str]:
        """The settings that a finished run has learnt with and that are asked otherwise now: ours != theirs."""
        recorded = self._recorded()
        if recorded is None:
            return []
        found = [*self.recipe.differences(recorded[1]), *_differences_of_data(self.recipe.data, recorded[1].data)]
        return list(dict.fromkeys(found))

    def to_follow(self, grid: Grid) -> dict[str, list[str]]:
        """What has not yet been done for this run of what the grid does for each, by its name: script and arguments."""
        found = {}
        for name, script in grid.for_each.items():
            folder = self.folder / name
            command = [*shlex.split(script), "--checkpoint", str(self.folder), "--output_dir", str(folder)]
            with suppress(OSError, ValueError):
                if json.loads((folder / DONE).read_text(encoding="utf-8")) == self._mark(command):
                    continue
            found[name] = command
        return found

    def note_followed(self, name: str, command: Sequence[str]) -> None:
        """That a command of [`to_follow`] has come to its end."""
        (self.folder / name).mkdir(exist_ok=True)
        write_whole(self.folder / name / DONE, json.dumps(self._mark(command)))

    def _mark(self, command: Sequence[str]) -> dict[str, Any]:
        settings = json.loads(json.dumps(_of_evaluations(self.recipe)))
        return {"command": list(command), "evaluations": settings}

    def _recorded(self) -> tuple[dict[str, Any], Recipe] | None:
        path = self.folder / "results.json"
        with suppress(OSError, ValueError, KeyError, TypeError):  # there is none, or that of an earlier version
            results = json.loads(path.read_text(encoding="utf-8"))
            return results, convert_section(results["recipe"], type(self.recipe), Source(path))
        return None


def _differences_of_data(ours: DataSection, theirs: DataSection) -> Iterator[str]:
    """
    What a resumed run may change, because it compares the training items themselves. A folder may have been moved, but one
    that still is where it was has not been.
    """
    here, there = ours.data_dir, theirs.data_dir
    is_another = not (here and there) or (Path(there).exists() and Path(there).resolve() != Path(here).resolve())
    if here != there and is_another:
        yield f"data.data_dir: {here!r} != {there!r}"
    if ours.skip_list != theirs.skip_list:
        yield f"data.skip_list: {ours.skip_list!r} != {theirs.skip_list!r}"


def _of_evaluations(recipe: Recipe) -> dict[str, Any]:
    """What a resumed run may change and the scores depend on all the same."""
    frugal = {part.name for part in fields(recipe.eval) if part.metadata.get("saves") == "memory"}
    settings = {key: value for key, value in asdict(recipe.eval).items() if key not in frugal}
    return {**settings, "patience": recipe.run.patience, "eval_every": recipe.run.eval_every}


def read_grid(path: str | Path, output_dir: str | None = None) -> Grid:
    """
    Read a grid file, which like recipes may be named by its place below `train_scripts/recipes`.

    Raises:
        RecipeError: On unknown keys, wrong types, and where a key is missing.
    """
    source = Source(path, schema=Grid)
    grid = convert_section(read_yaml(Path(path)), Grid, source)
    grid.output_dir = output_dir or grid.output_dir
    if missing := [name for name in ("script", "output_dir") if not getattr(grid, name)]:
        raise RecipeError(f"{source.name}: {' and '.join(missing)}: missing.")
    if not grid.axes and not grid.rows:
        raise RecipeError(f"{source.name}: axes: there is no cell; give axes, or rows.")
    if len(set(grid.seeds)) < len(grid.seeds):
        raise RecipeError(f"{source.name}: seeds: each counts once, got {grid.seeds}.")
    return grid


def build_cells(grid: Grid) -> list[Cell]:
    """
    All cells, in the order of the file.

    Raises:
        RecipeError: If axes or rows are not what [`Grid`] says, or two cells have one name.
    """
    axes = [list(_choices(name, axis)) for name, axis in grid.axes.items()]
    found = [_join(grid, labels_and_settings) for labels_and_settings in itertools.product(*axes)] if axes else []
    found += [_join(grid, [(name, _settings(f"rows: {name}", row))]) for name, row in grid.rows.items()]
    names = [cell.name for cell in found]
    for title, column in grid.published.items():
        if unknown := sorted(_settings(f"published: {title}", column, "CELL: value").keys() - set(names)):
            raise RecipeError(
                f"published: {title}: there is no cell {unknown[0]!r}. {did_you_mean(unknown[0], names)}"
            )
    if grid.reference and grid.reference not in names:
        raise RecipeError(f"reference: there is no cell {grid.reference!r}. {did_you_mean(grid.reference, names)}")
    if wrong := sorted({name for name in names if names.count(name) > 1 or not FOLDER_NAME.fullmatch(name)}):
        raise RecipeError(
            f"Cells are folders, each of another name in letters, digits and ._=+-; got {', '.join(wrong)}."
        )
    return found


def _choices(name: str, axis: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(axis, dict):
        for label, settings in axis.items():
            yield str(label), _settings(f"axes: {name}: {label}", settings)
    elif isinstance(axis, list):
        for value in axis:
            text = re.sub(r"[^\w.=+-]+", "-", _as_yaml(value)).strip("-")
            yield f"{name.rpartition('.')[2]}={text}", {name: value}
    if not axis or not isinstance(axis, dict | list):
        raise RecipeError(f"axes: {name}: expected values in a list, or settings by their names, got {axis!r}.")


def _settings(place: str, settings: Any, expected: str = "section.key: value") -> dict[str, Any]:
    if not isinstance(settings, dict | None):
        raise RecipeError(f"{place}: expected {expected}, got {settings!r}.")
    return settings or {}


def _join(grid: Grid, parts: Sequence[tuple[str, dict[str, Any]]]) -> Cell:
    settings = dict(grid.set)
    for _, more in parts:
        settings |= more
    return Cell("_".join(label for label, _ in parts), settings.pop("recipe", grid.recipe), settings)


def _as_yaml(value: Any) -> str:
    return yaml.safe_dump([value], default_flow_style=True, width=math.inf, sort_keys=False).strip()[1:-1]


def plan_runs(grid: Grid, schema: type[Recipe], more: Sequence[str] = ()) -> list[CellRun]:
    """
    A run for each cell and seed.

    Args:
        grid (`Grid`): The grid.
        schema (`type[Recipe]`): Recipe class of its script.
        more (`Sequence[str]`, *optional*): `section.key=value` items for all cells, which count more than the grid's.

    Raises:
        RecipeError: With everything that is wrong with any cell.
    """
    runs, problems = [], {}
    for cell in build_cells(grid):
        for seed in grid.seeds or [None]:
            try:
                runs.append(_plan_run(grid, schema, cell, seed, more))
            except RecipeError as error:
                problems.setdefault(str(error), []).append(cell.name)
    if not problems:
        metrics = {run.recipe.eval.metric for run in runs}
        grid.metric = grid.metric or (metrics.pop() if len(metrics) == 1 else None)
        grid.report = grid.report or [name for name in (grid.metric,) if name]
        problems = {problem: [] for problem in _problems_between(grid, runs)}
    if problems:
        lines = [f"{_some(dict.fromkeys(names))}{problem}" for problem, names in problems.items()]
        raise RecipeError("\n".join(lines))
    return runs


def _plan_run(grid: Grid, schema: type[Recipe], cell: Cell, seed: int | None, more: Sequence[str]) -> CellRun:
    items = [*(f"{key}={_as_yaml(value)}" for key, value in cell.settings.items()), *more]
    for item in items:
        if (key := item.partition("=")[0]) in OF_THE_GRID:
            raise RecipeError(f"{key} is not for a cell: `{OF_THE_GRID[key]}` of the grid decides it.")
    items += [] if seed is None else [f"run.seed={seed}"]
    if seed is None:
        seed = schema.load(cell.recipe, [*items, "run.output_dir=."]).run.seed
    folder = Path(grid.output_dir, cell.name, f"seed_{seed}")
    recipe = schema.load(cell.recipe, [*items, f"run.output_dir={_as_yaml(str(folder))}"])
    _check_config(recipe)
    return CellRun(cell, seed, folder, recipe)


def _check_config(recipe: Recipe) -> None:
    """Raise if the family's config refuses values of the recipe; between values only where it has all of them."""
    model = recipe.model
    if model.family is None:  # a checkpoint on the Hub says it, later
        return
    try:
        config_class(model.family)(**{**(model.config or {}), **model.overrides})
    except (StrictDataclassError, TypeError, ValueError) as error:
        if model.config is not None or not isinstance(error, StrictDataclassClassValidationError):
            raise RecipeError(f"model.config, model.overrides: {' '.join(str(error).split())}") from error


def _problems_between(grid: Grid, runs: Sequence[CellRun]) -> Iterator[str]:
    """What is wrong between cells: they have to be compared by one metric, which no test split may give."""
    known = runs[0].recipe.metrics()
    for key, name in [("metric", grid.metric), *(("report", name) for name in grid.report)]:
        if name and known and not any(fnmatchcase(name, pattern) for pattern in known):
            yield f"{key}: there is no metric {name!r}. {did_you_mean(name, known)}"
    if wrong := [name for name in grid.for_each if not FOLDER_NAME.fullmatch(name) or name in OF_A_RUN]:
        yield (
            f"for_each: {wrong[0]!r} is a folder of a run: a name in letters, digits and ._=+-, other than {', '.join(OF_A_RUN)}."
        )
    for key in grid.once_for:
        section, _, name = key.partition(".")
        if wrong := [run for run in runs if not hasattr(getattr(run.recipe, section, None), name)]:
            yield f"once_for: the recipe of {wrong[0].name} has no key {key!r}."
    if grid.keep != "best":
        return
    if any(run.recipe.eval.metric is None for run in runs):
        yield "keep: without a tuning split no cell is the best; set eval.splits and eval.metric, or keep: all or none."
    elif grid.metric is None:
        named = sorted({run.recipe.eval.metric for run in runs})
        yield f"metric: the cells have eval.metric {' and '.join(named)}; name the one that compares them."
    if any(run.recipe.eval.allow_test_selection for run in runs):
        yield "keep: the best cell is not chosen on a test split; drop eval.allow_test_selection, or keep: all or none."


def _some(names: Mapping[str, Any], most: int = 3) -> str:
    shown = ", ".join(list(names)[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
    return f"{shown}: " if names else ""


def load_task(script: Path) -> type[Task]:
    """
    The task of a training script.

    Raises:
        RecipeError: If it has none of its own, or several.
    """
    spec = importlib.util.spec_from_file_location(f"grid_{script.stem}", script)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tasks = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Task)]
    tasks = [kind for kind in tasks if kind.__module__ == spec.name]
    if len(tasks) != 1:
        raise RecipeError(f"script: expected one Task in {script}, got {[task.__name__ for task in tasks] or 'none'}.")
    return tasks[0]


__all__ = ["Cell", "CellRun", "Grid", "build_cells", "load_task", "plan_runs", "read_grid"]
