# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""From the values of a YAML file and of a command line to the dataclasses of a recipe, strictly."""

import math
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from clipbert.support.names import closest, did_you_mean
from clipbert.support.terminal import printable


class RecipeError(ValueError):
    """A recipe that cannot be run; the message names the file, the key, what was expected and what came."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Plain values alone, and a line for whatever is wrong with them."""

    def construct_mapping(self, node, deep=False):
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):  # PyYAML takes the last of two equal keys in silence
            seen = set()
            for place, _ in node.value:
                if (key := self.construct_object(place, deep=True)) in seen:
                    raise yaml.MarkedYAMLError(None, None, f"key {show(key)} is given twice", place.start_mark)
                seen.add(key)
        return mapping

    def construct_object(self, node, deep=False):
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int) and value.bit_length() > 63:
                raise ValueError("it has more than 64 bits")
        except ValueError as error:  # python's own, for thousands of digits and for days that are none
            problem = f"{show(node.value)} cannot be read as a value: {error}"
            raise yaml.MarkedYAMLError(None, None, problem, node.start_mark) from None
        return value


def parse_yaml(text: str) -> Any:
    """
    Values in YAML, without what hides values in others: aliases, and keys that merge (`<<`).

    Raises:
        yaml.YAMLError: On anything that is not read, with its place.
    """
    depth = 0
    for number, event in enumerate(yaml.parse(text, _Loader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        problem = None
        if number > MAX_EVENTS:
            problem = "these are too many values for a recipe; long lists go into files (data.skip_list: FILE)"
        elif depth > MAX_DEPTH:
            problem = f"values are nested more than {MAX_DEPTH} deep"
        elif isinstance(event, yaml.AliasEvent):
            problem = f"aliases (*{event.anchor}) are not read: write the values out"
        elif isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            problem = "merging (<<) is not read: write the values out"
        if problem:
            raise yaml.MarkedYAMLError(None, None, problem, event.start_mark)
    return yaml.load(text, _Loader)


RECIPES = Path(__file__).parents[1] / "recipes"  # those that come with the package
MAX_BYTES, MAX_EVENTS, MAX_DEPTH = 1_000_000, 20_000, 20  # of a recipe, which has settings, no data


def read_yaml(path: Path) -> dict:
    """The sections of a recipe file, which may be named by its place below `train_scripts/recipes`."""
    found = next(filter(Path.is_file, (path, RECIPES / path)), None)
    if found is None:
        known = (str(there.relative_to(RECIPES)) for there in RECIPES.rglob("*.yaml"))
        near = closest(path, known)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise RecipeError(f"{show_path(path)}: no such recipe file in {Path.cwd()}, nor in {RECIPES}.{hint}")
    if (size := found.stat().st_size) > MAX_BYTES:
        raise RecipeError(f"{show_path(path)}: {size} bytes are too many for a recipe, which has at most {MAX_BYTES}.")
    content = b""
    try:
        content = found.read_bytes()
        values = parse_yaml(content.decode("utf-8-sig")) or {}
    except OSError as error:
        raise RecipeError(f"{show_path(path)}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            f"{show_path(path)}, line {line}: not UTF-8 (byte 0x{content[error.start]:02x}). Save the file as UTF-8."
        ) from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{show_path(path)}{explain_yaml(error)}.") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{show_path(path)}: expected sections with keys, got {type(values).__name__}.")
    return values


def explain_yaml(error: yaml.YAMLError) -> str:
    """Line and reason of an error, for the end of a message."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # a character that YAML does not allow
        return f": not valid YAML: {printable(' '.join(str(error).split()))}"
    grammar = "not valid YAML: " if isinstance(error, yaml.scanner.ScannerError | yaml.parser.ParserError) else ""
    context = f" {error.context}" if getattr(error, "context", None) else ""
    return f", line {mark.line + 1}: {grammar}{printable(str(error.problem))}{printable(context)}"


def apply_override(values: dict, item: str, source: "Source") -> None:
    """Write `section.key=value` into the values of a recipe."""
    name, equals, text = item.partition("=")
    *parents, key = name.split(".")
    if not equals or not parents or not all([*parents, key]):
        near = [f" Did you mean {near}?" for near in source.elsewhere(key)[:1]] if not parents else []
        raise RecipeError(f"--set {show(item)}: expected section.key=value.{''.join(near)}")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise RecipeError(f"--set {show(item)}: {parent} holds {show(values)}, which has no keys.")
    try:
        values[key] = parse_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {show(item)}{explain_yaml(error)}.") from None


class Source:
    """
    Where the values of a recipe come from, for messages.

    Args:
        name (`str` or `Path`, *optional*): The file.
        overrides (`Sequence[str]`, *optional*): `section.key=value` items that replace values of it.
        schema (`type`, *optional*): The recipe class, which knows all keys.
    """

    def __init__(self, name: str | Path | None = None, overrides: Sequence[str] = (), schema: type | None = None):
        self.name = "--set" if name is None else printable(str(name))
        self.items = {tuple(item.partition("=")[0].split(".")): item for item in overrides}
        sections = typing.get_type_hints(schema) if schema else {}
        self.keys = [
            f"{name}.{part.name}" for name, kind in sections.items() if is_dataclass(kind) for part in fields(kind)
        ]

    def of(self, *where: str) -> str:
        """Who gave the value at a place: an item of `--set`, or the file."""
        given = [item for key, item in self.items.items() if key == where[: len(key)] or where == key[: len(where)]]
        return f"--set {printable(given[-1])}" if given else self.name

    def suggest(self, key: str, known: Iterable[str]) -> str:
        """What an unknown key may have meant: a known one of its place, or of another section."""
        known, elsewhere = list(known), self.elsewhere(key)
        return f"Did you mean {elsewhere[0]}?" if elsewhere and not closest(key, known) else did_you_mean(key, known)

    def elsewhere(self, key: str) -> list[str]:
        """The keys of any section that are like this one, with their sections."""
        near = closest(key, {name.rpartition(".")[2] for name in self.keys})
        return [name for name in self.keys if name.rpartition(".")[2] in near]


def convert_section(values: Any, schema: type, source: Source, where: tuple[str, ...] = ()) -> Any:
    """
    The dataclass `schema` with these values.

    Args:
        values (`Any`): What YAML gave.
        schema (`type`): A dataclass of options or of other dataclasses.
        source (`Source`): Where they come from, for messages.
        where (`tuple[str, ...]`, *optional*): Keys that lead to the values.

    Raises:
        RecipeError: On unknown keys, wrong types and values out of bounds.
    """
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise RecipeError(
            f"{source.of(*where)}: {'.'.join(where)}: expected keys with values, got {_describe(values)}."
        )
    known = {part.name: part for part in fields(schema)}
    for key in values:
        if key not in known:
            place = (
                f"{'.'.join(where)} has no key {show(str(key))}" if where else f"there is no section {show(str(key))}"
            )
            raise RecipeError(f"{source.of(*where, str(key))}: {place}. {source.suggest(str(key), known)}")
    hints = typing.get_type_hints(schema)
    converted = {key: convert(value, hints[key], source, (*where, key)) for key, value in values.items()}
    for key, value in converted.items():
        _check_bounds(value, known[key], f"{source.of(*where, key)}: {'.'.join((*where, key))}")
    return schema(**converted)


def convert(value: Any, hint: Any, source: Source, where: tuple[str, ...]) -> Any:
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
    raise RecipeError(f"{source.of(*where)}: {'.'.join(where)}: expected {type_name(hint)}, got {_describe(value)}.")


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


def show(value: Any, most: int = 200) -> str:
    """A value of somebody else's file, as a message shows it."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 4 :]}"


def show_path(path: Path) -> str:
    return printable(str(path))


def _describe(value: Any) -> str:
    return f"{show(value)} ({'null' if value is None else type(value).__name__})"


__all__ = [
    "RECIPES",
    "RecipeError",
    "Source",
    "apply_override",
    "choices_of",
    "convert",
    "convert_section",
    "describe_options",
    "parse_yaml",
    "read_yaml",
    "type_name",
]
