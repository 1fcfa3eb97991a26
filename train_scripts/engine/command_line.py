# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The command line of every training script: `--recipe FILE`, `--set section.key=value`, and two short forms."""

import argparse
import typing
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any

import yaml

from clipbert.support.families import list_families
from clipbert.train_scripts.engine.recipe import Recipe, RecipeError, family_options, find_family, read_values
from clipbert.train_scripts.engine.report import place_of_script
from clipbert.train_scripts.engine.values import RECIPES, Source, choices_of, convert, describe_options, parse_yaml


def parse_command_line(
    schema: type[Recipe],
    arguments: Sequence[str] | None = None,
    script: str = "",
    description: str | None = None,
    rescore_options: Sequence[str] = (),
) -> argparse.Namespace:
    """
    Read a command line; `--help` prints all keys of `schema` and ends the process.

    Args:
        schema (`type[Recipe]`): The recipe class of the task.
        arguments (`Sequence[str]`, *optional*): By default those of the process.
        script (`str`, *optional*): Name of the script, which recipes for it name.
        description (`str`, *optional*): What the script does.
        rescore_options (`Sequence[str]`, *optional*): Keys of `eval` that may be set with `--rescore`.
    """
    recipes = dict(list_recipes(script))
    example = min(recipes, key=lambda name: (not name.startswith("quickstart"), len(name)), default="FILE")
    parser = argparse.ArgumentParser(
        usage=f"accelerate launch {' '.join(place_of_script(script))} --recipe {example} [--set section.key=value ...]",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this message with all keys of a recipe")
    parser.add_argument("--recipe", metavar="FILE", help="YAML file with the values of the run")
    parser.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        action="extend",
        nargs="+",
        default=[],
        help="replace values of the recipe",
    )
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="short for --set run.push_to_hub=USER/NAME")
    parser.add_argument(
        "--rescore",
        metavar="PREDICTIONS",
        help="print the metrics of written predictions again, without a model; with --set, under other values of "
        f"{', '.join(f'eval.{name}' for name in rescore_options) or 'nothing'}",
    )
    given = parser.parse_args(arguments)
    if given.help:
        listed = [f"  {name:<42} {title}" for name, title in recipes.items()]
        parser.epilog = "\n".join(["recipes:", *listed, "", "recipe keys:", *_describe(schema, given)])
        parser.print_help()
        parser.exit()
    return given


def list_recipes(script: str) -> Iterator[tuple[str, str]]:
    """The recipes of the package that say they are run with a script: names as `--recipe` takes them, and first lines."""
    for path in sorted(RECIPES.rglob("*.yaml")):
        head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        if f" train_scripts/{script}.py " in "".join(head):
            yield path.relative_to(RECIPES).as_posix(), head[0].removeprefix("# ")


def load_recipe(schema: type[Recipe], given: argparse.Namespace) -> Recipe:
    """The recipe of a command line."""
    pushed = [f"run.push_to_hub={given.push_to_hub}"] if given.push_to_hub else []
    return schema.load(given.recipe, [*given.set, *pushed])


def read_rescore_options(schema: type[Recipe], given: argparse.Namespace, known: Sequence[str]) -> dict[str, Any]:
    """
    What a command line with `--rescore` sets, of the keys of `eval` that are `known`.

    Raises:
        RecipeError: If anything else is set: the rest of the recipe is in the predictions already.
    """
    hints = {f"eval.{name}": typing.get_type_hints(typing.get_type_hints(schema)["eval"])[name] for name in known}
    others = [f"--{name} {getattr(given, name)}" for name in ("recipe", "push_to_hub") if getattr(given, name)]
    chosen = {}
    for item in given.set:
        name, _, text = item.partition("=")
        if name not in hints:
            others.append(f"--set {item}")
            continue
        try:
            chosen[name.removeprefix("eval.")] = convert(parse_yaml(text), hints[name], Source(), (name,))
        except (RecipeError, yaml.YAMLError):
            others.append(item)
    if others:
        choices = " or ".join(f"--set {name}={choices_of(hint)}" for name, hint in hints.items()) or "nothing"
        raise RecipeError(
            f"--rescore reads predictions, for which only {choices} can be chosen; got {', '.join(others)}."
        )
    return {name: value for name, value in chosen.items() if value is not None}


def _describe(schema: type[Recipe], given: argparse.Namespace) -> Iterator[str]:
    """All keys: those of the task, and those of every family, the one of the given recipe included."""
    for name in (part.name for part in fields(schema)):
        yield from describe_options(name, typing.get_type_hints(schema)[name])
    for name, options in schema.default_options.items():
        yield from describe_options(name, options, " [families without others]")
    families = list_families()
    with suppress(RecipeError):
        families.append(find_family(read_values(given.recipe, given.set, Source())))
    for family in filter(None, dict.fromkeys(families)):
        with suppress(ModuleNotFoundError):
            for name, options in family_options(family).items():
                yield from describe_options(name, options, f" [{family}]")


__all__ = ["load_recipe", "parse_command_line", "read_rescore_options"]
