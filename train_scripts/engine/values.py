# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""From the values of a YAML file and of a command line to the dataclasses of a recipe, strictly."""

import math
import types
import typing
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from clipbert.support.names import did_you_mean


class RecipeError(ValueError):
    """A recipe that cannot be run; the message names the file, the key, what was expected and what came."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML takes the last of two equal keys in silence; a recipe with two of them is a mistake."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise RecipeError(
                    f"{node.start_mark.name}, line {node.start_mark.line + 1}: key {key!r} is given twice."
                )
        return super().construct_mapping(node, deep)


RECIPES = Path(__file__).parents[1] / "recipes"  # those that come with the package


def read_yaml(path: Path) -> dict:
    """The sections of a recipe file, which may be named by its place below `train_scripts/recipes`."""
    found = next(filter(Path.is_file, (path, RECIPES / path)), None)
    if found is None:
        raise RecipeError(f"{path}: no such recipe file in {Path.cwd()}, nor in {RECIPES}.")
    with open(found, encoding="utf-8") as file:
        try:
            values = yaml.load(file, _UniqueKeyLoader) or {}
        except yaml.YAMLError as error:
            raise RecipeError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: expected sections with keys, got {type(values).__name__}.")
    return values


def apply_override(values: dict, item: str) -> None:
    """Write `section.key=value` into the values of a recipe."""
    name, equals, text = item.partition("=")
    *parents, key = name.split(".")
    if not equals or not parents or not all([*parents, key]):
        raise RecipeError(f"--set {item}: expected section.key=value.")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise RecipeError(f"--set {item}: {parent} holds {values!r}, which has no keys.")
    try:
        values[key] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {item}: {text!r} is not a YAML value.") from error


def convert_section(values: Any, schema: type, source: str, where: tuple[str, ...] = ()) -> Any:
    """
    The dataclass `schema` with these values.

    Args:
        values (`Any`): What YAML gave.
        schema (`type`): A dataclass of options or of other dataclasses.
        source (`str`): The file, for messages.
        where (`tuple[str, ...]`, *optional*): Keys that lead to the values.

    Raises:
        RecipeError: On unknown keys, wrong types and values out of bounds.
    """
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise RecipeError(f"{source}: {'.'.join(where)}: expected keys with values, got {_describe(values)}.")
    known = {part.name: part for part in fields(schema)}
    for key in values:
        if key not in known:
            place = f"{'.'.join(where)} has no key {str(key)!r}" if where else f"there is no section {str(key)!r}"
            raise RecipeError(f"{source}: {place}. {did_you_mean(key, known)}")
    hints = typing.get_type_hints(schema)
    converted = {key: convert(value, hints[key], source, (*where, key)) for key, value in values.items()}
    for key, value in converted.items():
        _check_bounds(value, known[key], f"{source}: {'.'.join((*where, key))}")
    return schema(**converted)


def convert(value: Any, hint: Any, source: str, where: tuple[str, ...]) -> Any:
    """Return `value` as the type `hint`, or raise with the place, what was expected and what came."""
    if is_dataclass(hint):
        return convert_section(value, hint, source, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        choices = [argument for argument in arguments if argument is not type(None)]
        fitting = [choice for choice in choices if (typing.get_origin(choice) or choice) is type(value)]
        if len(fitting or choices) == 1:  # which knows better what is wrong
            return convert(value, (fitting or choices)[0], source, where)
        for choice in choices:
            with suppress(RecipeError):
                return convert(value, choice, source, where)
    if origin is list and isinstance(value, list):
        return [convert(entry, arguments[0], source, (*where, str(i))) for i, entry in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {str(key): convert(entry, arguments[1], source, (*where, str(key))) for key, entry in value.items()}
    if hint is Any or (origin is Literal and value in arguments):
        return value
    if hint is float:
        number = _as_float(value)
        if number is not None and math.isfinite(number):
            return number
    elif origin is None and type(value) is hint:  # `type`, because a bool is an instance of int
        return value
    if origin is Literal and value is False and "no" in arguments:
        return "no"  # YAML 1.1 reads a bare `no` as false
    raise RecipeError(f"{source}: {'.'.join(where)}: expected {type_name(hint)}, got {_describe(value)}.")


def describe_options(name: str, section: type, owner: str = "") -> Iterator[str]:
    """Lines of `--help`: the options of a section, with whose they are."""
    hints = typing.get_type_hints(section)
    for part in fields(section):
        default = part.default_factory() if part.default is MISSING else part.default
        kind = type_name(hints[part.name])
        yield f"  {name}.{part.name} ({kind}, default {default}){owner}: {part.metadata['help']}"


def choices_of(hint: Any) -> str:
    """The values of a type, if they are given by name."""
    literals = [part for part in (hint, *typing.get_args(hint)) if typing.get_origin(part) is Literal]
    return "|".join(str(value) for part in literals for value in typing.get_args(part)) or type_name(hint)


def type_name(hint: Any) -> str:
    """A type as messages call it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments)) if len(arguments) > 1 else str(arguments[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join("null" if part is type(None) else type_name(part) for part in arguments)
    if origin in (list, dict):
        return f"{'list of' if origin is list else 'keys with'} {type_name(arguments[-1])}"
    if is_dataclass(hint):
        return f"{{{', '.join(part.name for part in fields(hint))}}}"
    return {Any: "any value", float: "finite number"}.get(hint, hint.__name__)


def _as_float(value: Any) -> float | None:
    if isinstance(value, str) and value[:1] in "+-.0123456789":
        try:
            return float(value)  # PyYAML reads 5e-5 as text: YAML 1.1 wants 5.0e-5
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _check_bounds(value: Any, part: Field, where: str) -> None:
    low, high = part.metadata.get("at_least"), part.metadata.get("at_most")
    if not isinstance(value, int | float):
        return
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        bounds = " and ".join([f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None))
        raise RecipeError(f"{where}: expected {bounds}, got {value}.")


def _describe(value: Any) -> str:
    return f"{value!r} ({'null' if value is None else type(value).__name__})"


__all__ = [
    "RecipeError",
    "apply_override",
    "choices_of",
    "convert",
    "convert_section",
    "describe_options",
    "read_yaml",
    "type_name",
]
