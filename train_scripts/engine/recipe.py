# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Recipes: everything a training run is told.

The dataclasses below are the schema: names, types, defaults, bounds and help. A YAML file holds only values, and the
command line has two options, `--recipe FILE` and `--set section.key=value`. A task that needs more settings subclasses
a section and `Recipe` (see `train_scripts/retrieval.py`); checks between fields go into `problems`.
"""

import argparse
import difflib
import fnmatch
import math
import re
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Self

import yaml


class RecipeError(ValueError):
    """A recipe that cannot be run; the message names the file, the key, what was expected and what came."""


def option(default: Any, help: str, at_least: float | None = None, at_most: float | None = None) -> Any:
    """A field of a section: its default, its help text and its bounds (inclusive)."""
    metadata = {"help": help, "at_least": at_least, "at_most": at_most}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def goal_of_metric(name: str) -> Literal["max", "min"]:
    """What is better: `"min"` of losses, errors and ranks, `"max"` of everything else."""
    return "min" if name.rpartition("_")[2] in ("loss", "error", "rank") else "max"


# ---------------------------------------------------------------------------------------------------------------------
# The schema
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Section:
    """One block of a recipe."""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong between this section's values, as `key: reason`."""
        yield from ()


@dataclass(kw_only=True)
class ModelSection(Section):
    family: Literal["clipbert"] = option("clipbert", "Model family.")
    from_pretrained: str | None = option(None, "Start from this folder or Hub name.")
    vision: str | None = option(None, "Start the CNN from this ResNet (folder or Hub name); goes with `text`.")
    text: str | None = option(None, "Start the transformer from this BERT (folder or Hub name); goes with `vision`.")
    config: dict[str, Any] | None = option(None, "Start from random weights with these config values.")
    overrides: dict[str, Any] = option({}, "Config values that replace those of the starting point.")
    tokenizer: str | None = option(
        None, "Hub name, folder or vocab.txt. Default: the tokenizer of what the model starts from."
    )
    gradient_checkpointing: bool = option(False, "Recompute activations in the backward pass to save memory.")
    clips_per_chunk: int | None = option(
        None,
        "Clips of a video processed at a time, with the gradients of all at once (dropout masks differ); null: all.",
        at_least=1,
    )

    def problems(self):
        starts = {
            "from_pretrained": self.from_pretrained,
            "vision + text": self.vision or self.text,
            "config": self.config,
        }
        given = [name for name, value in starts.items() if value is not None]
        if len(given) != 1:
            yield (
                "from_pretrained: a model has one start; give exactly one of from_pretrained, vision + text, and config, "
                f"got {given or 'none'}"
            )
        if bool(self.vision) != bool(self.text):
            yield f"{'text' if self.vision else 'vision'}: missing; vision and text go together"
        if self.config is not None and self.tokenizer is None:
            yield "tokenizer: missing; a model from random weights has none of its own"


@dataclass(kw_only=True)
class DataSection(Section):
    dataset: str = option("", "Name of a dataset of `datasets_scripts` (required).")
    config: str | None = option(None, "Configuration of the dataset, e.g. its split protocol.")
    data_dir: str | None = option(None, "Folder of annotations and videos; relative to the working folder.")
    options: dict[str, Any] = option({}, "Further fields of the dataset.")
    train_split: str | None = option("train", "Split to train on; null: none, where run.total_steps is 0.")
    num_clips: int = option(1, "Clips drawn from a video.", at_least=1)
    num_frames: int = option(2, "Frames of a clip.", at_least=1)
    fps: float | None = option(None, "Frames a second inside a clip; null: a clip is an equal part of the video.")
    sampling: Literal["random", "uniform", "start", "middle", "end", "whole_video"] = option(
        "random", "Where clips are taken while training; `random` depends on (seed, epoch, sample) only."
    )
    placement: Literal["even", "official"] = option("even", "`official` repeats the released code's positions.")
    short_video: Literal["repeat", "mask", "error"] = option("repeat", "Rule for videos that are too short.")
    image_size: int = option(448, "Longer side of a frame in pixels; frames are padded to a square.", at_least=33)
    max_text_length: int = option(40, "Longest text in tokens; batches are padded to their own longest.", at_least=3)
    group_by_length: bool = option(False, "Put items of similar text length into a micro-batch: less padding.")
    num_workers: int = option(2, "Processes that decode, for each training process; 0: none.", at_least=0)
    on_decode_error: Literal["raise", "skip"] = option("raise", "`skip` leaves videos out, counts and reports them.")
    max_decode_error_rate: float = option(0.01, "Share of an epoch that may be skipped.", at_least=0, at_most=1)
    skip_list: str | list[str] = option(
        [], "Ids of videos or images to leave out, or a file of them, as `python -m datasets_scripts check` writes it."
    )

    def problems(self):
        if not self.dataset:
            yield "dataset: missing; name one of `datasets_scripts`"
        if self.fps is not None and self.fps <= 0:
            yield f"fps: must be above 0, got {self.fps}"


@dataclass(kw_only=True)
class OptimSection(Section):
    lr: float = option(5e-5, "Peak learning rate.", at_least=0)
    backbone_lr: float | None = option(None, "Peak learning rate of the CNN; null: `lr`.", at_least=0)
    weight_decay: float = option(1e-3, "Decoupled weight decay; biases and norms are never decayed.", at_least=0)
    backbone_weight_decay: float | None = option(None, "Weight decay of the CNN; null: `weight_decay`.", at_least=0)
    betas: list[float] = option([0.9, 0.98], "Decay rates of the two moments.")
    eps: float = option(1e-6, "Added to the root of the second moment.", at_least=0)
    schedule: Literal["linear", "cosine", "invsqrt", "constant", "multi_step", "multi_step_official", "plateau"] = (
        option("linear", "Learning rate after the warm-up.")
    )
    warmup_ratio: float = option(0.1, "Share of the steps over which the rate rises.", at_least=0, at_most=1)
    milestones: list[int] = option([], "Steps after which `multi_step` halves the rate.")
    plateau_factor: float = option(0.5, "What `plateau` multiplies the rate by.", at_least=0, at_most=1)
    plateau_patience: int = option(
        2, "Evaluations on the tuning split without a better metric after which `plateau` reduces.", at_least=1
    )
    max_grad_norm: float | None = option(5.0, "Clip gradients to this global L2 norm; null: never.")
    accumulation: Literal["mean", "sum"] = option(
        "mean", "`sum` adds the gradients of micro-batches, as the released code does."
    )
    ema_decay: float | None = option(
        None, "Evaluate and publish a moving average of the weights with this decay, e.g. 0.999; null: the weights."
    )

    def problems(self):
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            yield f"ema_decay: must be above 0 and below 1 (null: no average), got {self.ema_decay}"
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            yield f"betas: expected two numbers in [0, 1), got {self.betas}"
        if self.max_grad_norm is not None and self.max_grad_norm <= 0:
            yield f"max_grad_norm: must be above 0 (null switches clipping off), got {self.max_grad_norm}"
        stepped = self.schedule.startswith("multi_step")
        if stepped != bool(self.milestones) or self.milestones != sorted(set(self.milestones)):
            yield f"milestones: `multi_step` needs increasing steps, others none; got {self.milestones} with {self.schedule}"


@dataclass(kw_only=True)
class RunSection(Section):
    output_dir: str = option("", "Folder of logs, checkpoints and predictions (required).")
    total_steps: int | None = option(None, "Optimizer steps; 0 only evaluates.", at_least=0)
    num_epochs: float | None = option(None, "Instead of total_steps: passes over the training items.", at_least=0)
    global_batch_size: int = option(32, "Training items of one optimizer step, over all processes.", at_least=1)
    micro_batch_size: int = option(8, "Training items of one forward pass of one process.", at_least=1)
    eval_every: int | None = option(None, "Steps between evaluations; null: only at the end.", at_least=1)
    save_every: int | None = option(None, "Steps between checkpoints; null: only at the end.", at_least=1)
    patience: int | None = option(
        None, "Stop after so many evaluations on the tuning split without a better metric; null: never.", at_least=1
    )
    save_total_limit: int | None = option(2, "Checkpoints kept besides the best one; null: all.", at_least=1)
    resume: str = option("auto", "`auto`: go on from the last whole checkpoint, `never`, or a checkpoint folder.")
    seed: int = option(42, "Seed of weights, order, sampling and dropout.", at_least=0)
    mixed_precision: Literal["no", "fp16", "bf16"] = option("no", "Arithmetic of the forward pass.")
    log_every: int = option(10, "Steps between messages; log.jsonl has every step.", at_least=1)
    log_with: list[str] = option([], "Trackers of accelerate, e.g. [tensorboard].")
    push_to_hub: str | None = option(
        None, "USER/NAME: upload the measured checkpoint with code and model card when the run is finished."
    )
    hub_private: bool = option(False, "Whether a repository made by `push_to_hub` is private.")

    def problems(self):
        if not self.output_dir:
            yield "output_dir: missing"
        elif Path(self.output_dir).exists() and not Path(self.output_dir).is_dir():
            yield f"output_dir: {self.output_dir} is a file; name a folder"
        if (self.total_steps is None) == (self.num_epochs is None):
            yield f"total_steps: give either total_steps or num_epochs; got {self.total_steps} and {self.num_epochs}"
        if self.push_to_hub and 0 in (self.total_steps, self.num_epochs):
            yield (
                "push_to_hub: without training there is no checkpoint of this run; upload the one it evaluates with "
                "train_scripts/publish.py"
            )
        if self.global_batch_size % self.micro_batch_size:
            yield (
                f"global_batch_size: {self.global_batch_size} is not a multiple of micro_batch_size="
                f"{self.micro_batch_size}"
            )


@dataclass(kw_only=True)
class EvalSection(Section):
    splits: dict[str, Literal["tuning", "monitor", "final"]] = option(
        {},
        "Purpose of each split. tuning: chooses the best checkpoint; monitor: only watched; final: once, at the end.",
    )
    metric: str | None = option(None, "Metric of the tuning split that chooses the best checkpoint.")
    metric_goal: Literal["max", "min"] | None = option(
        None, "Whether a larger or a smaller metric is better; null: as its name says."
    )
    allow_test_selection: bool = option(
        False, "Let a split called test choose the checkpoint; recorded with the scores."
    )
    num_clips: int | None = option(None, "Clips of a video; null: as in training.", at_least=1)
    num_frames: int | None = option(None, "Frames of a clip; null: as in training.", at_least=1)
    sampling: Literal["uniform", "random", "start", "middle", "end", "whole_video"] = option(
        "uniform", "Where clips are taken."
    )
    num_draws: int = option(
        1,
        "With `sampling: random`: evaluations with other clips; scores are their mean, `NAME_std` their spread.",
        at_least=1,
    )
    score_pooling: Literal["mean", "max", "lse"] | None = option(None, "Pooling over clips; null: the model's.")
    batch_size: int = option(8, "Items of one forward pass in tasks that evaluate item by item.", at_least=1)
    video_block: int = option(1, "Videos scored together when every pair is scored; more pay on a GPU.", at_least=1)
    pairs_per_forward: int = option(
        64,
        "Pairs of a text and a clip in one forward pass; a GPU likes a thousand.",
        at_least=1,
    )

    def problems(self):
        tuning = [name for name, purpose in self.splits.items() if purpose == "tuning"]
        if len(tuning) > 1:
            yield f"splits: only one split can have the purpose tuning, got {tuning}"
        if bool(tuning) != bool(self.metric):
            yield "metric: needed with a tuning split, and only then"
        if self.num_draws > 1 and self.sampling != "random":
            yield f"num_draws: {self.num_draws} draws of the same clips say nothing; set sampling to random"
        chosen_on_test = [name for name in tuning if "test" in re.findall("[a-z]+", name.lower())]  # also test[:50%]
        if chosen_on_test and not self.allow_test_selection:
            yield (
                f"splits: choosing a checkpoint on {chosen_on_test[0]} makes its score no test score; set "
                "eval.allow_test_selection"
            )

    @property
    def goal(self) -> Literal["max", "min"]:
        """Whether a larger or a smaller `metric` is better."""
        return self.metric_goal or goal_of_metric(self.metric or "")


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
        """The metrics that can choose a checkpoint, as patterns (`accuracy_*`); none: the evaluation will tell."""
        return ()

    @classmethod
    def load(cls, path: str | Path | None = None, overrides: Sequence[str] = ()) -> Self:
        """
        Read and check a recipe.

        Args:
            path (`str` or `Path`, *optional*): A YAML file of sections. Without it everything comes from `overrides`.
            overrides (`Sequence[str]`, *optional*): `section.key=value` items, the value in YAML.

        Raises:
            RecipeError: On unknown keys, wrong types, values out of bounds and values that contradict each other.
        """
        path = None if path is None else Path(path)
        values = {} if path is None else _read_yaml(path)
        for item in overrides:
            _apply_override(values, item)
        recipe = _convert_section(values, cls, str(path or "--set"), ())
        found = [f"{name}.{problem}" for name, part in _sections(recipe) for problem in part.problems()]
        found += [*_problems_between(recipe), *recipe.problems()]
        if found:
            raise RecipeError(f"{path or '--set'}: " + "; ".join(found) + ".")
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
            description=description,
            epilog="recipe keys:\n" + "\n".join(_schema_lines(cls)),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
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
        return parser.parse_args(arguments)

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
                chosen[name.removeprefix("eval.")] = _convert(yaml.safe_load(text), hints[name], "--set", (name,))
            except (RecipeError, yaml.YAMLError):
                others.append(item)
        if others:
            choices = " or ".join(f"--set {name}={_choices(hint)}" for name, hint in hints.items()) or "nothing"
            raise RecipeError(
                f"--rescore reads predictions, for which only {choices} can be chosen; got {', '.join(others)}."
            )
        return {name: value for name, value in chosen.items() if value is not None}

    def save(self, path: str | Path) -> None:
        """Write all values, defaults included, as YAML that `load` reads."""
        Path(path).write_text(yaml.safe_dump(asdict(self), sort_keys=False, width=120), encoding="utf-8")

    def differences(self, other: "Recipe", ignore: Sequence[str] = ()) -> list[str]:
        """`section.key: ours != theirs` for each value that differs; `ignore` lists keys and sections to leave out."""
        theirs = asdict(other)
        return [
            f"{name}.{key}: {value!r} != {theirs[name][key]!r}"
            for name, section in asdict(self).items()
            for key, value in section.items()
            if name not in ignore and f"{name}.{key}" not in ignore and value != theirs[name][key]
        ]


# ---------------------------------------------------------------------------------------------------------------------
# From YAML to the schema
# ---------------------------------------------------------------------------------------------------------------------


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


def _read_yaml(path: Path) -> dict:
    if not path.is_file():
        raise RecipeError(f"{path}: no such recipe file (working folder {Path.cwd()}).")
    with open(path, encoding="utf-8") as file:
        try:
            values = yaml.load(file, _UniqueKeyLoader) or {}
        except yaml.YAMLError as error:
            raise RecipeError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: expected sections with keys, got {type(values).__name__}.")
    return values


def _apply_override(values: dict, item: str) -> None:
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


def _convert_section(values: Any, schema: type, source: str, where: tuple[str, ...]) -> Any:
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise RecipeError(f"{source}: {'.'.join(where)}: expected keys with values, got {_describe(values)}.")
    known = {part.name: part for part in fields(schema)}
    for key in values:
        if key not in known:
            raise RecipeError(f"{source}: {_unknown_key(str(key), known, schema, where)}")
    hints = typing.get_type_hints(schema)
    converted = {key: _convert(value, hints[key], source, (*where, key)) for key, value in values.items()}
    for key, value in converted.items():
        _check_bounds(value, known[key], f"{source}: {'.'.join((*where, key))}")
    return schema(**converted)


def _convert(value: Any, hint: Any, source: str, where: tuple[str, ...]) -> Any:
    """Return `value` as the type `hint`, or raise with the place, what was expected and what came."""
    if is_dataclass(hint):
        return _convert_section(value, hint, source, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        choices = [argument for argument in arguments if argument is not type(None)]
        fitting = [choice for choice in choices if (typing.get_origin(choice) or choice) is type(value)]
        if len(fitting or choices) == 1:  # which knows better what is wrong
            return _convert(value, (fitting or choices)[0], source, where)
        for choice in choices:
            with suppress(RecipeError):
                return _convert(value, choice, source, where)
    if origin is list and isinstance(value, list):
        return [_convert(entry, arguments[0], source, (*where, str(i))) for i, entry in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {str(key): _convert(entry, arguments[1], source, (*where, str(key))) for key, entry in value.items()}
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
    raise RecipeError(f"{source}: {'.'.join(where)}: expected {_type_name(hint)}, got {_describe(value)}.")


def _as_float(value: Any) -> float | None:
    if isinstance(value, str) and value[:1] in "+-.0123456789":
        try:
            return float(value)  # PyYAML reads 5e-5 as text: YAML 1.1 wants 5.0e-5
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _check_bounds(value: Any, part: Field, where: str) -> None:
    low, high = part.metadata.get("at_least"), part.metadata.get("at_most")
    if value is None or not isinstance(value, int | float):
        return
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        bounds = " and ".join([f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None))
        raise RecipeError(f"{where}: expected {bounds}, got {value}.")


def _unknown_key(key: str, known: dict[str, Field], schema: type, where: tuple[str, ...]) -> str:
    place = f"{'.'.join(where)} has no key {key!r}" if where else f"there is no section {key!r}"
    nearest = difflib.get_close_matches(key, known, n=1)
    if nearest:
        return f"{place}. Did you mean {nearest[0]!r}?"
    return f"{place}. Known: {', '.join(known)}."


def _describe(value: Any) -> str:
    return f"{value!r} ({'null' if value is None else type(value).__name__})"


def _choices(hint: Any) -> str:
    names = [str(value) for part in (hint, *typing.get_args(hint)) if typing.get_origin(part) is Literal
             for value in typing.get_args(part)]  # fmt: skip
    return "|".join(names) or _type_name(hint)


def _type_name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (types.UnionType, typing.Union):
        return " or ".join("null" if part is type(None) else _type_name(part) for part in arguments)
    if origin in (list, dict):
        return f"{'list of' if origin is list else 'keys with'} {_type_name(arguments[-1])}"
    return {Any: "any value", float: "finite number"}.get(hint, hint.__name__)


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
        nearest = difflib.get_close_matches(metric, known, n=3) or known
        yield f"eval.metric: {metric!r} chooses no checkpoint here. Use {' or '.join(nearest) or 'a score'}"
    elif recipe.eval.goal != goal_of_metric(metric) and (known or goal_of_metric(metric) == "min"):
        yield f"eval.metric_goal: {recipe.eval.goal} would choose the worst {metric}; leave it out"


def _sections(recipe: Recipe) -> list[tuple[str, Section]]:
    return [(part.name, getattr(recipe, part.name)) for part in fields(recipe)]


def _schema_lines(schema: type[Recipe]) -> Iterator[str]:
    for name, section in typing.get_type_hints(schema).items():
        hints = typing.get_type_hints(section)
        for part in fields(section):
            default = part.default_factory() if part.default is MISSING else part.default
            yield f"  {name}.{part.name} ({_type_name(hints[part.name])}, default {default}): {part.metadata['help']}"


__all__ = [
    "DataSection",
    "EvalSection",
    "ModelSection",
    "OptimSection",
    "Recipe",
    "RecipeError",
    "RunSection",
    "Section",
    "option",
]
