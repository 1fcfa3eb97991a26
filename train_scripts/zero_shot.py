# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a model knows untrained: one checkpoint on all retrieval and recognition sets that lie at hand, as a row of a table.

Run:     python train_scripts/zero_shot.py --checkpoint outputs/RUN --data_dir data
         python train_scripts/zero_shot.py --checkpoint outputs/RUN --recipes quickstart/mug_stan_retrieval.yaml my_recipe.yaml

The recipes of the checkpoint's family for retrieval.py and video_classification.py say which set, split, frames and views; their
`data/NAME` is looked for in DATA_DIR. Each set is evaluated by its task, as it is without training. Sets that are missing are
named. Of a set with several official splits it is the mean of them. Classes are read by their names as they are and, in columns of
their own, within each of `--templates`, for which a set is evaluated once more.

OUTPUT_DIR/zero_shot.txt, .json, .csv       the row, beside published ones where the family has some (`published.yaml`)
OUTPUT_DIR/SET/                             what the run of a task writes
"""

import argparse
import csv
import io
import json
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from accelerate import PartialState
from transformers import AutoConfig

from clipbert.datasets_scripts import find_loader
from clipbert.datasets_scripts.building.usable_videos import UnusableVideosError
from clipbert.support.families import find_checkpoint, load_family
from clipbert.support.files import write_whole
from clipbert.support.terminal import printable, printable_lines
from clipbert.train_scripts.engine.cells import load_task
from clipbert.train_scripts.engine.draws import average_scores
from clipbert.train_scripts.engine.recipe import Recipe, RecipeError
from clipbert.train_scripts.engine.task import Task, run_script
from clipbert.train_scripts.tasks.building import RECIPES
from clipbert.train_scripts.tasks.rows import NoDataError


SCRIPTS = ("retrieval", "video_classification")
METRICS = {  # what stands in a column
    "retrieval": {"R@1": "R@1", "R@5": "R@5", "R@10": "R@10", "median_rank": "MdR"},
    "classification": {"accuracy": "top-1"},
}
NAMES = {  # in the order of the paper's table; other sets follow
    "msrvtt": "MSR-VTT",
    "didemo": "DiDeMo",
    "lsmdc": "LSMDC",
    "hmdb51": "HMDB51",
    "ucf101": "UCF101",
    "kinetics400": "Kinetics-400",
    "ssv2": "Something-Something V2",
    "youcook2": "YouCook2",
}
RAW = "{}"  # the name of a class as it is
OWN_VIDEOS = "video_folder"  # a recipe for anybody's videos is none for a set


@dataclass
class Column:
    """One set, by its recipe, and what has been found: metrics, or why there are none."""

    path: Path
    task: type[Task]
    recipe: Recipe
    template: str | None = None  # around the names of classes, if there are any
    metrics: Mapping[str, float] | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """Of the set."""
        return NAMES.get(self.recipe.data.dataset, self.recipe.data.dataset)

    @property
    def around(self) -> str:
        """The text around the names of classes, if it is not just them."""
        return "" if self.template in (None, RAW) else f'"{self.template}"'

    @property
    def title(self) -> str:
        return " ".join(filter(None, (self.name, self.around)))

    @property
    def names(self) -> dict[str, str]:
        """The metrics in the cell, and what they are called."""
        prefix = "text_to_video_" if self.task.name == "retrieval" else ""
        return {f"{prefix}{name}": shown for name, shown in METRICS[self.task.name].items()}

    @property
    def values(self) -> list[float]:
        """What stands in the cell: fractions in percent."""
        found = self.metrics or {}
        return [found[name] * (1 if "rank" in name else 100) for name in self.names if name in found]

    @property
    def final_split(self) -> str | None:
        return next((split for split, purpose in self.recipe.eval.splits.items() if purpose == "final"), None)

    def configs(self) -> list[str | None]:
        """Of the data set: the one of the recipe, or all official splits if it is one of them."""
        config = self.recipe.data.config
        if not re.fullmatch(r"split\d", config or ""):
            return [config]
        return [
            part.name for part in find_loader(self.recipe.data.dataset).BUILDER_CONFIGS if part.name[:-1] == "split"
        ]


def read_column(path: Path) -> Column | None:
    """A recipe that is for one of the tasks, by the command in its head, and has a final split; else `None`."""
    scripts = re.findall(r"^# Run:.*?train_scripts/(\w+)\.py", path.read_text(encoding="utf-8"), re.MULTILINE)
    if not scripts or scripts[0] not in SCRIPTS:
        return None
    task = load_task(Path(__file__).with_name(f"{scripts[0]}.py"))
    column = Column(path, task, task.recipe_class.load(path))
    return column if column.final_split and column.recipe.data.dataset != OWN_VIDEOS else None


def plan_columns(model_type: str, recipes: Sequence[str] | None, templates: Sequence[str]) -> list[Column]:
    """
    The columns of the table, those of the paper first.

    Raises:
        RecipeError: If a recipe that is asked for is none of these tasks, or the family has none.
    """
    paths = [path if (path := Path(name)).is_file() else RECIPES / name for name in recipes or ()]
    found = {path: read_column(path) for path in paths or sorted((RECIPES / model_type).glob("*.yaml"))}
    if wrong := [str(path) for path in paths if found[path] is None]:
        raise RecipeError(
            f"--recipes: {', '.join(wrong)}: expected recipes with a final split whose line `# Run:` names one of "
            f"{', '.join(f'{script}.py' for script in SCRIPTS)}."
        )
    order = list(NAMES)
    columns = sorted(
        filter(None, found.values()),
        key=lambda column: order.index(name) if (name := column.recipe.data.dataset) in order else len(order),
    )
    if not columns:
        raise RecipeError(
            f"The family {model_type} has no recipe of a set for {' or '.join(SCRIPTS)}; name some by --recipes."
        )
    return [
        Column(column.path, column.task, column.recipe, template)
        for column in columns
        for template in ((RAW, *templates) if column.task.name == "classification" else (None,))
    ]


def measure(column: Column, checkpoint: str, data_dir: Path, output_dir: Path, settings: Sequence[str]) -> None:
    """Evaluate a column by its task."""
    around = re.sub(r"\W+", "_", column.around)
    data, configs, found = Path(column.recipe.data.data_dir or ""), column.configs(), []
    for config in configs:
        values = {
            "model.from_pretrained": checkpoint,
            **dict.fromkeys(("model.parts", "model.config", "model.tokenizer"), None),
            "model.overrides": {} if column.template is None else {"class_template": column.template},
            "data.config": config,
            "data.data_dir": str(data_dir.joinpath(*data.parts[1:]) if data.parts[:1] == ("data",) else data),
            "data.train_split": None,
            "run.num_epochs": None,
            "run.total_steps": 0,
            "run.output_dir": str(output_dir / column.path.stem / around / (config if len(configs) > 1 else "")),
            "eval.splits": {column.final_split: "final"},
            "eval.metric": None,
        }
        arguments = [part for key, value in values.items() for part in ("--set", f"{key}={json.dumps(value)}")]
        arguments += [part for setting in settings for part in ("--set", setting)]
        try:
            result = run_script(column.task(), ["--recipe", str(column.path), *arguments])
        except (NoDataError, UnusableVideosError) as error:
            column.reason = textwrap.shorten(printable(" ".join(str(error).split())), 400)
            return
        found.append(result["results"][column.final_split]["metrics"])
    column.metrics = found[0] if len(found) == 1 else average_scores(found)


# ---------------------------------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------------------------------


def read_published(model_type: str) -> dict[str, dict[str, list[float]]]:
    """Published scores of a family by model and data set, in percent; nothing where it tells none."""
    path = Path(load_family(model_type).__file__).with_name("published.yaml")
    return yaml.safe_load(path.read_text(encoding="utf-8"))["zero_shot"] if path.is_file() else {}


def rows_of(
    checkpoint: str, columns: Sequence[Column], published: Mapping[str, Mapping[str, list[float]]]
) -> dict[str, list[list[float]]]:
    """The numbers of each cell, by row: ours, and what is published, which has no templates."""
    rows = {checkpoint: [column.values for column in columns]}
    for model, scores in published.items():
        cells = [
            [] if column.template not in (None, RAW) else scores.get(column.recipe.data.dataset, [])
            for column in columns
        ]
        if any(cells):
            rows[f"published: {model}"] = cells
    return rows


def show(columns: Sequence[Column], rows: Mapping[str, list[list[float]]]) -> str:
    """The table for people, what is missing below it."""
    heads = [", ".join(filter(None, ("/".join(column.names.values()), column.around))) for column in columns]
    table = [["", *(column.name for column in columns)], ["", *heads]]
    for name, cells in rows.items():
        pairs = zip(cells, columns, strict=True)
        shown = ["/".join(map(show_number, cell, column.names)) or "-" for cell, column in pairs]
        table.append([name, *shown])
    table[2][1:] = [cell if column.metrics else "missing" for cell, column in zip(table[2][1:], columns, strict=True)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    counts = [f"{column.title} {int(column.metrics['num_examples']):,}" for column in columns if column.metrics]
    lines += ["", f"Examples: {', '.join(counts) or 'none'}."]
    return "\n".join(
        [
            *lines,
            *dict.fromkeys(f"Missing: {column.name}: {column.reason}" for column in columns if not column.metrics),
        ]
    )


def show_number(value: float, metric: str) -> str:
    return f"{value:g}" if "rank" in metric else f"{value:.1f}"


def as_csv(columns: Sequence[Column], rows: Mapping[str, list[list[float]]]) -> str:
    """The table for programs: a column for each number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", *(f"{column.title} {name}" for column in columns for name in column.names.values())])
    for model, cells in rows.items():
        padded = [cell or [""] * len(column.names) for cell, column in zip(cells, columns, strict=True)]
        writer.writerow([model, *(number for cell in padded for number in cell)])
    return text.getvalue()


def as_json(checkpoint: str, columns: Sequence[Column]) -> str:
    """All that was measured."""
    found: list[dict[str, Any]] = [
        {
            "set": column.recipe.data.dataset,
            "task": column.task.name,
            "recipe": str(column.path),
            "split": column.final_split,
            "configs": column.configs(),
            "template": column.template,
            "metrics": column.metrics,
            "missing": column.reason or None,
        }
        for column in columns
    ]
    return json.dumps({"checkpoint": checkpoint, "columns": found}, indent=1)


def main(arguments: Sequence[str] | None = None) -> list[Column]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="a run, a checkpoint or a Hub name")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="folder of the sets (default: data)")
    parser.add_argument("--recipes", nargs="+", metavar="FILE", help="instead of all recipes of the family")
    parser.add_argument(
        "--templates",
        nargs="*",
        default=["a video of {}"],
        metavar="TEXT",
        help='default: "a video of {}"; none: names alone',
    )
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/zero_shot"), metavar="FOLDER")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="SECTION.KEY=VALUE", help="for all sets"
    )
    given = parser.parse_args(arguments)
    if wrong := [template for template in given.templates if template.count("{}") != 1]:
        parser.error(f"--templates: expected {{}} in the place of a name, once; got {wrong[0]!r}")
    checkpoint = find_checkpoint(given.checkpoint)
    model_type = AutoConfig.from_pretrained(checkpoint).model_type
    columns = plan_columns(model_type, given.recipes, given.templates)
    for column in columns:
        measure(column, checkpoint, given.data_dir, given.output_dir, given.set)
    rows = rows_of(given.checkpoint, columns, read_published(model_type))
    if PartialState().is_main_process:
        texts = {
            "txt": show(columns, rows) + "\n",
            "csv": as_csv(columns, rows),
            "json": as_json(given.checkpoint, columns),
        }
        given.output_dir.mkdir(parents=True, exist_ok=True)
        for suffix, text in texts.items():
            write_whole(given.output_dir / f"zero_shot.{suffix}", text)
        print(printable_lines(texts["txt"]), end="")
    return columns


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(printable_lines(str(error)))
