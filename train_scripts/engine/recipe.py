# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Recipes: all settings of a training run.

Dataclasses are the schema (`sections.py`); a YAML file holds only values, and the command line has two options,
`--recipe FILE` and `--set section.key=value`. A task that needs more settings subclasses a section and `Recipe` (see
`train_scripts/retrieval.py`). A family adds its own: `RECIPE_OPTIONS` of its package, `{"model": OPTIONS}`, where OPTIONS is
a dataclass of options that may have `problems`. Both are as strict as those of the engine.
"""

import argparse
import fnmatch
import functools
import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from clipbert.support.families import list_families, load_family
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
from clipbert.train_scripts.engine.values import (
    RecipeError,
    apply_override,
    choices_of,
    convert,
    convert_section,
    describe_options,
    read_yaml,
)


@dataclass(kw_only=True)
class Recipe:
    """The five sections of a run. Tasks subclass it to replace a section by their own."""

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

    # -----------------------------------------------------------------------------------------------------------------
    # Reading
    # -----------------------------------------------------------------------------------------------------------------

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
        source, values = str(path or "--set"), _read_values(path, overrides)
        schema, family = getattr(cls, "without_family", cls), _find_family(values)
        if family is not None:
            try:
                schema = with_family(schema, family)
            except ModuleNotFoundError as error:
                raise RecipeError(f"{source}: model.family: {error}") from error
            values["model"]["family"] = family
        recipe = convert_section(values, schema, source)
        found = [f"{name}.{problem}" for name, part in recipe.sections() for problem in part.problems()]
        found += [*_problems_between(recipe), *recipe.problems()]
        if found:
            raise RecipeError(f"{source}: " + "; ".join(found) + ".")
        return recipe

    @classmethod
    def from_command_line(cls, arguments: Sequence[str] | None = None, description: str | None = None) -> Self:
        """Read `--recipe FILE` and `--set section.key=value`; `--help` prints the schema."""
        return cls.from_arguments(cls.parse_arguments(arguments, description))

    @classmethod
    def from_arguments(cls, given: argparse.Namespace) -> Self:
        """The recipe of a parsed command line."""
        pushed = [f"run.push_to_hub={given.push_to_hub}"] if given.push_to_hub else []
        return cls.load(given.recipe, [*given.set, *pushed])

    @classmethod
    def parse_arguments(
        cls,
        arguments: Sequence[str] | None = None,
        description: str | None = None,
        rescore_options: Sequence[str] = (),
    ) -> argparse.Namespace:
        """The command line of every training script."""
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False
        )
        parser.add_argument("-h", "--help", action="store_true", help="show this message with all keys of a recipe")
        parser.add_argument("--recipe", metavar="FILE", help="YAML file with the values of the run")
        parser.add_argument(
            "--set", metavar="SECTION.KEY=VALUE", action="append", default=[], help="replace one value"
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
            parser.epilog = "recipe keys:\n" + "\n".join(cls.describe(given))
            parser.print_help()
            parser.exit()
        return given

    @classmethod
    def describe(cls, given: argparse.Namespace) -> Iterator[str]:
        """All keys: those of the task, and those of every family, the one of the given recipe included."""
        for name, section in typing.get_type_hints(cls).items():
            yield from describe_options(name, section)
        families = list_families()
        with suppress(RecipeError):
            families.append(_find_family(_read_values(given.recipe, given.set)))
        for family in filter(None, dict.fromkeys(families)):
            with suppress(ModuleNotFoundError):
                for name, options in _options_of(family).items():
                    yield from describe_options(name, options, f" [{family}]")

    @classmethod
    def read_rescore_options(cls, given: argparse.Namespace, known: Sequence[str]) -> dict[str, Any]:
        """
        What a command line with `--rescore` sets, of the keys of `eval` that are `known`.

        Raises:
            RecipeError: If anything else is set: the rest of the recipe is in the predictions already.
        """
        hints = {f"eval.{name}": typing.get_type_hints(typing.get_type_hints(cls)["eval"])[name] for name in known}
        others = [f"--{name} {getattr(given, name)}" for name in ("recipe", "push_to_hub") if getattr(given, name)]
        chosen = {}
        for item in given.set:
            name, _, text = item.partition("=")
            if name not in hints:
                others.append(f"--set {item}")
                continue
            try:
                chosen[name.removeprefix("eval.")] = convert(yaml.safe_load(text), hints[name], "--set", (name,))
            except (RecipeError, yaml.YAMLError):
                others.append(item)
        if others:
            choices = " or ".join(f"--set {name}={choices_of(hint)}" for name, hint in hints.items()) or "nothing"
            raise RecipeError(
                f"--rescore reads predictions, for which only {choices} can be chosen; got {', '.join(others)}."
            )
        return {name: value for name, value in chosen.items() if value is not None}

    # -----------------------------------------------------------------------------------------------------------------
    # Use
    # -----------------------------------------------------------------------------------------------------------------

    def sections(self) -> list[tuple[str, Section]]:
        return [(part.name, getattr(self, part.name)) for part in fields(self)]

    def save(self, path: str | Path) -> None:
        """Write all values, defaults included, as YAML that `load` reads."""
        Path(path).write_text(yaml.safe_dump(asdict(self), sort_keys=False, width=120), encoding="utf-8")

    def differences(self, other: "Recipe") -> list[str]:
        """`section.key: ours != theirs` for each value that a resumed run may not change and that differs."""
        ours, theirs = self._fixed_values(), other._fixed_values()
        return [
            f"{key}: {ours[key]!r} != {theirs[key]!r}" for key in ours if key in theirs and ours[key] != theirs[key]
        ]

    def _fixed_values(self) -> dict[str, Any]:
        fixed = {}
        follows_evaluations = self.optim.schedule == "plateau"  # then they decide the learning rate
        for name, section in self.sections():
            pinned = section.pinned()
            for part in fields(section):
                is_pinned = part.name in pinned or (
                    follows_evaluations and (name == "eval" or (name, part.name) == ("run", "eval_every"))
                )
                if is_pinned or not part.metadata.get("is_changeable"):
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


# ---------------------------------------------------------------------------------------------------------------------
# Options of a family
# ---------------------------------------------------------------------------------------------------------------------


@functools.cache
def with_family(schema: type[Recipe], family: str) -> type[Recipe]:
    """The recipe class of a task, whose sections have the options of a family besides."""
    sections, options = typing.get_type_hints(schema), _options_of(family)
    if unknown := options.keys() - sections.keys():
        raise ValueError(f"RECIPE_OPTIONS of {family}: no section {sorted(unknown)} in {', '.join(sections)}.")
    joined = {name: _join_options(sections[name], theirs) for name, theirs in options.items()}
    if not joined:
        return schema
    return make_dataclass(
        schema.__name__,
        [(name, section, field(default_factory=section)) for name, section in joined.items()],
        bases=(schema,),
        namespace={
            "without_family": schema,
            "__module__": schema.__module__,
            "__reduce__": _reduce_by(with_family, schema, family),
        },
        kw_only=True,
    )


@functools.cache
def _join_options(section: type[Section], options: type) -> type[Section]:
    if taken := {part.name for part in fields(section)} & {part.name for part in fields(options)}:
        raise ValueError(f"{options.__name__}: {section.__name__} has options called {sorted(taken)} already.")

    def problems(self: Section) -> Iterator[str]:
        yield from section.problems(self)
        if hasattr(options, "problems"):
            yield from options.problems(self)

    reduce = _reduce_by(_join_options, section, options)
    namespace = {"problems": problems, "__module__": section.__module__, "__reduce__": reduce}
    return make_dataclass(section.__name__, [], bases=(options, section), namespace=namespace, kw_only=True)


def _reduce_by(make: typing.Callable[..., type], *arguments: Any) -> typing.Callable[[Any], tuple]:
    """`__reduce__` of a class that no module holds: workers that do not fork get their settings pickled."""

    def reduce(self: Any) -> tuple:
        return _rebuild, (make, arguments, {part.name: getattr(self, part.name) for part in fields(self)})

    return reduce


def _rebuild(make: typing.Callable[..., type], arguments: tuple, values: Mapping[str, Any]) -> Any:
    return make(*arguments)(**values)


def _options_of(family: str) -> Mapping[str, type]:
    return getattr(load_family(family), "RECIPE_OPTIONS", {})


def _find_family(values: Mapping[str, Any]) -> str | None:
    """`model.family`, or what the config in the checkpoint folder says that the model starts from."""
    model = values.get("model")
    if not isinstance(model, dict):
        return None
    family, start = model.get("family"), model.get("from_pretrained")
    if family is None and isinstance(start, str) and (Path(start) / "config.json").is_file():
        family = json.loads((Path(start) / "config.json").read_text(encoding="utf-8")).get("model_type")
    return family if isinstance(family, str) else None


def _read_values(path: str | Path | None, overrides: Sequence[str]) -> dict[str, Any]:
    values = {} if path is None else read_yaml(Path(path))
    for item in overrides:
        apply_override(values, item)
    return values


# ---------------------------------------------------------------------------------------------------------------------
# Checks
# ---------------------------------------------------------------------------------------------------------------------


def _problems_between(recipe: Recipe) -> Iterator[str]:
    """What is wrong between sections, whatever the task."""
    has_tuning = "tuning" in recipe.eval.splits.values()
    if recipe.run.patience is not None and not (has_tuning and recipe.run.eval_every):
        yield "run.patience: needs evaluations to wait for; set run.eval_every and a split with the purpose tuning"
    if recipe.optim.schedule == "plateau" and not (has_tuning and recipe.run.eval_every):
        yield "optim.schedule: plateau follows the evaluations; set run.eval_every and a split with the purpose tuning"
    milestones, total_steps = recipe.optim.milestones, recipe.run.total_steps
    if milestones and total_steps is not None and milestones[-1] >= total_steps:
        yield f"optim.milestones: {milestones} has steps that run.total_steps={total_steps} does not reach"
    yield from _metric_problems(recipe)


def _metric_problems(recipe: Recipe) -> Iterator[str]:
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
        parts = {
            part.name: getattr(value, part.name) for part in fields(value) if not part.metadata.get("is_changeable")
        }
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
    "option",
    "with_family",
]
