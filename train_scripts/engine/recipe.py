# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Recipes: all settings of a training run.

Dataclasses are the schema (`sections.py`), a YAML file holds only values. A task that needs more settings subclasses a
section and `Recipe` (see `train_scripts/retrieval.py`). A family adds its own: `RECIPE_OPTIONS` of its package,
`{"model": OPTIONS}`, where OPTIONS is a dataclass of options that may have `problems`, and `problems_between(recipe)`.
Both are as strict as those of the engine. An option that a task has, too, means what the family says; those of the engine
mean the same everywhere.
"""

import fnmatch
import functools
import json
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from clipbert.support.families import load_family
from clipbert.support.names import closest
from clipbert.support.options import option
from clipbert.train_scripts.engine.sections import (
    DataSection,
    EvalSection,
    GroupSection,
    ModelSection,
    OptimSection,
    RunSection,
    Section,
    goal_of_metric,
)
from clipbert.train_scripts.engine.values import RecipeError, Source, apply_override, convert_section, read_yaml, show


@dataclass(kw_only=True)
class Recipe:
    """The five sections of a run. Tasks subclass it to replace a section by their own."""

    # no fields: what `load` made it of, as a command line has it, ...
    arguments = ()
    # ... and for each section the options of families that bring none of their own for it
    default_options: typing.ClassVar[Mapping[str, type]] = {}

    model: ModelSection = field(default_factory=ModelSection)
    data: DataSection = field(default_factory=DataSection)
    optim: OptimSection = field(default_factory=OptimSection)
    run: RunSection = field(default_factory=RunSection)
    eval: EvalSection = field(default_factory=EvalSection)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong between sections, as `section.key: reason`."""
        yield from ()

    def metrics(self) -> Sequence[str]:
        """The metrics that can choose a checkpoint, as patterns (`accuracy_*`); none: the evaluation will show."""
        return ()

    @classmethod
    def load(cls, path: str | Path | None = None, overrides: Sequence[str] = ()) -> Self:
        """
        Read and check a recipe, with the options of its family.

        Args:
            path (`str` or `Path`, *optional*): A YAML file of sections. Without it everything comes from `overrides`.
            overrides (`Sequence[str]`, *optional*): `section.key=value` items, the value in YAML.

        Raises:
            RecipeError: On unknown keys, wrong types, values out of bounds and values that contradict each other.
        """
        schema = getattr(cls, "without_family", cls)
        source = Source(path, overrides, schema)
        values = read_values(path, overrides, source)
        family = find_family(values)
        try:
            schema = with_family(schema, family)
        except ModuleNotFoundError as error:
            raise RecipeError(f"{source.of('model', 'family')}: model.family: {error}") from error
        if family is not None:
            values["model"]["family"] = family
        recipe = convert_section(values, schema, source)
        found = [f"{name}.{problem}" for name, section in recipe.sections() for problem in section.problems()]
        found += [*_problems_between(recipe), *recipe.problems()]
        if found:
            raise RecipeError("; ".join(f"{source.of(*place_of(problem))}: {problem}" for problem in found) + ".")
        given = [] if path is None else ["--recipe", str(path)]
        recipe.arguments = [*given, *(part for item in overrides for part in ("--set", item))]
        return recipe

    def sections(self) -> list[tuple[str, Section]]:
        return [(part.name, getattr(self, part.name)) for part in fields(self)]

    def save(self, path: str | Path) -> None:
        """Write all values, defaults included, as YAML that `load` reads."""
        Path(path).write_text(yaml.safe_dump(asdict(self), sort_keys=False, width=120), encoding="utf-8")

    def differences(self, other: "Recipe") -> list[str]:
        """`section.key: ours != theirs` for each value that a resumed run may not change and that differs."""
        ours, theirs = self._fixed_values(), other._fixed_values()
        return [
            f"{key}: {value!r} != {theirs[key]!r}"
            for key, value in ours.items()
            if key in theirs and value != theirs[key]
        ]

    def _fixed_values(self) -> dict[str, Any]:
        fixed = {}
        for name, section in self.sections():
            pinned = section.pinned()
            if self.optim.schedule == "plateau":  # the evaluations decide the learning rate
                pinned |= {part.name for part in fields(section)} if name == "eval" else {"eval_every"}
            for part in fields(section):
                if part.name in pinned or not part.metadata.get("is_changeable"):
                    fixed[f"{name}.{part.name}"] = _without_changeable(getattr(section, part.name))
        return fixed

    def keys_that_save(self, what: str, *sections: str) -> list[str]:
        """The options of these sections, with their values, that say they save `"memory"` or `"time"`."""
        return [
            f"{name}.{part.name} ({getattr(section, part.name)})"
            for name, section in self.sections()
            if name in sections
            for part in fields(section)
            if what in part.metadata.get("saves", "")
        ]


def read_values(path: str | Path | None, overrides: Sequence[str], source: Source) -> dict[str, Any]:
    """What a file and `section.key=value` items say, unchecked."""
    values = {} if path is None else read_yaml(Path(path))
    for item in overrides:
        apply_override(values, item, source)
    return values


def place_of(problem: str) -> list[str]:
    """The section and the key that a problem begins with."""
    return problem.partition(":")[0].split(".")


# ---------------------------------------------------------------------------------------------------------------------
# Options of a family
# ---------------------------------------------------------------------------------------------------------------------


def find_family(values: Mapping[str, Any]) -> str | None:
    """`model.family`, or what the config in the checkpoint folder says that the model starts from."""
    model = values.get("model")
    if not isinstance(model, dict):
        return None
    family, start = model.get("family"), model.get("from_pretrained")
    if family is None and isinstance(start, str) and (Path(start) / "config.json").is_file():
        config = Path(start) / "config.json"
        try:
            family = json.loads(config.read_text(encoding="utf-8")).get("model_type")
        except ValueError as error:
            raise RecipeError(f"model.from_pretrained: {show(str(config))} is damaged, no JSON: {error}.") from None
    return family if isinstance(family, str) else None


def family_options(family: str) -> Mapping[str, type]:
    """For each section of a recipe the options that a family adds."""
    return getattr(load_family(family), "RECIPE_OPTIONS", {})


@functools.cache
def with_family(schema: type[Recipe], family: str | None) -> type[Recipe]:
    """The recipe class of a task, whose sections have the options of a family besides."""
    sections = typing.get_type_hints(schema)
    options = {**schema.default_options, **(family_options(family) if family else {})}
    if unknown := options.keys() - sections.keys():
        raise ValueError(f"RECIPE_OPTIONS of {family}: no section {sorted(unknown)} in {', '.join(sections)}.")
    joined = {name: _join_options(sections[name], theirs) for name, theirs in options.items()}
    parts = [(name, section, field(default_factory=section)) for name, section in joined.items()]
    return _make(schema, parts, (schema,), with_family, (schema, family), without_family=schema)


@functools.cache
def _join_options(section: type[Section], options: type) -> type[Section]:
    engine = next(base for base in section.__mro__ if base.__module__ == Section.__module__)
    if taken := {part.name for part in fields(engine)} & {part.name for part in fields(options)}:
        raise ValueError(f"{options.__name__}: {engine.__name__} has options called {sorted(taken)} already.")

    def problems(self: Section) -> Iterator[str]:
        yield from section.problems(self)
        if hasattr(options, "problems"):
            yield from options.problems(self)

    return _make(section, [], (options, section), _join_options, (section, options), problems=problems)


def _make(like: type, parts: list, bases: tuple[type, ...], maker: Callable[..., type], of: tuple, **members) -> type:
    """A dataclass that no module holds, and that can be pickled all the same, for workers that do not fork."""
    members["__reduce__"] = lambda self: (_rebuild, (maker, of, {p.name: getattr(self, p.name) for p in fields(self)}))
    members["__module__"] = like.__module__
    return make_dataclass(like.__name__, parts, bases=bases, namespace=members, kw_only=True)


def _rebuild(maker: Callable[..., type], of: tuple, values: Mapping[str, Any]) -> Any:
    return maker(*of)(**values)


# ---------------------------------------------------------------------------------------------------------------------
# Checks
# ---------------------------------------------------------------------------------------------------------------------


def _problems_between(recipe: Recipe) -> Iterator[str]:
    """What is wrong between sections, whatever the task."""
    for name, section in recipe.sections():
        if hasattr(section, "problems_between"):  # of a family, whose options may not go with those of the engine
            yield from (f"{name}.{problem}" for problem in section.problems_between(recipe))
    has_tuning = "tuning" in recipe.eval.splits.values() and recipe.run.eval_every
    if recipe.run.patience is not None and not has_tuning:
        yield "run.patience: needs evaluations to wait for; set run.eval_every and a split with the purpose tuning"
    if recipe.optim.schedule == "plateau" and not has_tuning:
        yield "optim.schedule: plateau follows the evaluations; set run.eval_every and a split with the purpose tuning"
    milestones, total_steps = recipe.optim.milestones, recipe.run.total_steps
    if milestones and total_steps is not None and milestones[-1] >= total_steps:
        yield f"optim.milestones: {milestones} has steps that run.total_steps={total_steps} does not reach"
    metric, known = recipe.eval.metric, recipe.metrics()
    if metric is None:
        return
    is_known = any(fnmatch.fnmatchcase(metric, pattern) for pattern in known)
    if metric.startswith("num_") or (known and not is_known):
        nearest = closest(metric, known, most=3) or known
        yield f"eval.metric: {metric!r} chooses no checkpoint here. Use {' or '.join(nearest) or 'a score'}"
    elif recipe.eval.goal != goal_of_metric(metric) and (known or goal_of_metric(metric) == "min"):
        yield f"eval.metric_goal: {recipe.eval.goal} would choose the worst {metric}; leave it out"


def _without_changeable(value: Any) -> Any:
    """A value without the changeable options of sections that lie in it, such as the folders of several data sets."""
    if is_dataclass(value):
        parts = {p.name: getattr(value, p.name) for p in fields(value) if not p.metadata.get("is_changeable")}
        return _without_changeable(parts)
    if isinstance(value, dict):
        return {name: _without_changeable(part) for name, part in value.items()}
    return [_without_changeable(part) for part in value] if isinstance(value, list) else value


__all__ = [
    "DataSection",
    "EvalSection",
    "GroupSection",
    "ModelSection",
    "OptimSection",
    "Recipe",
    "RecipeError",
    "RunSection",
    "Section",
    "family_options",
    "find_family",
    "option",
    "read_values",
    "with_family",
]
