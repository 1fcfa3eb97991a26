# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What people read of an evaluation: a table beside what guessing gives, a verdict, where the files lie, what to type next."""

import json
import math
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.groups import split_group
from clipbert.train_scripts.engine.sections import EvalSection, goal_of_metric


# Words in the names of metrics that are no results of the model; the first four make a baseline of the rest of the name. Of one
# kind there may be several, with names of their own: `blind-whole-video_R1@0.5`.
BASELINES = {
    "chance": "chance",
    "blind": "a baseline that sees no picture",
    "majority": "the most frequent answer",
    "orderless": "the best that a model blind to the order of frames can do",
}
CONTEXT = {*BASELINES, "num", "coverage", "std", "ci"}
FRACTIONS = ("R@", "R1@", "R5@", "accuracy", "vqa_score", "coverage", "f1", "mAP", "mIoU", "auc")


def results_of(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that say how good the model is; the others are there to compare with."""
    return {
        name: value for name, value in metrics.items() if not CONTEXT & {kind_of(word) for word in name.split("_")}
    }


def kind_of(word: str) -> str:
    """What `blind-whole-video` is: `blind`. A group, such as `num-words=3`, is no kind."""
    return "" if "=" in word else word.partition("-")[0]


def describe_baseline(name: str) -> str:
    """
    What people read of a baseline.

    Example:
        >>> describe_baseline("blind-whole-video")
        'a baseline that sees no picture (whole video)'
    """
    kind, _, more = name.partition("-")
    return BASELINES[kind] + (f" ({more.replace('-', ' ')})" if more else "")


def is_fraction(name: str) -> bool:
    metric, _ = split_group(name)
    return "num" not in metric.split("_") and any(part in metric for part in FRACTIONS)


def show_score(name: str, value: float) -> str:
    """Fractions times 100, to one place after the point; counts, ranks, errors and losses as they are."""
    if is_fraction(name):
        return f"{100 * value:.1f} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def show_interval(name: str, metrics: Mapping[str, float]) -> str:
    """The 95 % interval of a metric, where it has one."""
    if f"{name}_ci_low" not in metrics:
        return ""
    low, high = (100 * metrics[f"{name}_ci_{end}"] for end in ("low", "high"))
    return f" [{low:.1f} to {high:.1f}]"


def find_baselines(name: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """
    What a metric is to be compared with, by the names: what is called as it is, or as the end of its name.

    Example:
        >>> find_baselines("text_to_video_R@1", {"text_to_video_R@1": 0.5, "chance_R@1": 0.01, "chance_R@5": 0.05})
        {'chance': 0.01}
    """
    exact, similar = {}, {}
    for other, value in metrics.items():
        words = other.split("_")
        for kind in words:
            if kind_of(kind) in BASELINES and "std" not in words:
                rest = "_".join(word for word in words if word != kind)
                if name == rest:
                    exact[kind] = value
                elif name.endswith(f"_{rest}"):
                    similar[kind] = value
    return {**similar, **exact}


def table(metrics: Mapping[str, float]) -> list[str]:
    """A line for each result with its 95 % interval, where it has one, and its baselines beside it."""
    results = results_of(metrics)
    baselines = {name: find_baselines(name, metrics) for name in results}
    order = list(BASELINES)
    kinds = dict.fromkeys(kind for found in baselines.values() for kind in found)
    kinds = sorted(kinds, key=lambda kind: order.index(kind_of(kind)))
    rows = [["", "value", *(kind.replace("-", " ") for kind in kinds)]] if kinds else []
    for name, value in results.items():
        spread = metrics.get(f"{name}_std")
        shown = show_score(name, value) + ("" if spread is None else f" (± {show_score(name, spread)})")
        shown += show_interval(name, metrics)
        others = [show_score(name, baselines[name][kind]) if kind in baselines[name] else "" for kind in kinds]
        rows.append([printable(name.replace("_", " ")), shown, *others])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [f"  {row[0]:<{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]


def counts(metrics: Mapping[str, float]) -> str:
    """How many examples there were, and what is missing."""
    found = {name.removeprefix("num_").replace("_", " "): n for name, n in metrics.items() if name.startswith("num_")}
    parts = [f"{int(number):,} {name}" for name, number in found.items() if number or name == "examples"]
    return ", ".join([*parts, *(f"coverage {metrics[name]:.1%}" for name in ("coverage",) if name in metrics)])


def verdict(metrics: Mapping[str, float], preferred: str | None = None) -> tuple[bool, str] | None:
    """
    Whether a model is better than guessing.

    Args:
        metrics (`Mapping[str, float]`): Of one split, with `num_examples`.
        preferred (`str`, *optional*): The metric to look at, if it has baselines; else the first that has some.

    Returns:
        `bool` and `str`: Whether it clearly is, and a sentence. `None` without any baseline.
    """
    names = [name for name in dict.fromkeys((preferred, *results_of(metrics))) if name in metrics]
    name = next((name for name in names if find_baselines(name, metrics)), None)
    if name is None:
        return None
    sign = 1 if goal_of_metric(name) == "max" else -1
    kind, level = max(find_baselines(name, metrics).items(), key=lambda item: sign * item[1])
    gain = sign * (metrics[name] - level)
    # two standard deviations of guessing so many times; about such a gain says nothing
    num_examples = metrics.get("_".join(filter(None, ("num_examples", split_group(name)[1]))), 1)
    noise = 2 * math.sqrt(level * (1 - level) / max(num_examples, 1)) if is_fraction(name) else 0.0
    compared = f"{describe_baseline(kind)} ({show_score(name, level)})"
    said = f"{name.replace('_', ' ')} of {show_score(name, metrics[name])}"
    if is_fraction(name) and sign * level >= 1:
        return False, f"{said} says nothing: {describe_baseline(kind)} reaches that of so few examples, too."
    if gain > noise:
        return True, f"{said} is better than {compared}."
    if gain > 0:
        return (
            False,
            f"{said} is not clearly better than {compared}: so few examples leave ± {show_score(name, noise)}.",
        )
    return False, f"{said} is no better than {compared}: the model has not learnt what is asked here, or not yet."


def describe_evaluation(step: int, split: str, purpose: str, metrics: Mapping[str, float]) -> str:
    head = f"step {step}, {printable(split)} ({purpose}): {counts(metrics)}"
    return "\n".join([head, *table(metrics)])


def describe_scores(metrics: Mapping[str, float], title: str) -> str:
    """A table with its verdict."""
    draw = f", draw 1 of {metrics['num_draws']}" if "draw" in metrics else ""
    shown = {name: value for name, value in metrics.items() if name not in ("draw", "num_draws")}
    found = verdict(shown)
    return "\n".join([f"{printable(title)}: {counts(shown)}{draw}", *table(shown), *(found[1:] if found else [])])


def print_scores(metrics: Mapping[str, float], title: str) -> None:
    """For people a table with its verdict, on stderr; the metrics as JSON on stdout, where that leads to a file or a program."""
    print(describe_scores(metrics, title), file=sys.stderr, flush=True)
    if not sys.stdout.isatty():
        print(json.dumps(metrics, indent=1))


# ---------------------------------------------------------------------------------------------------------------------
# At the end
# ---------------------------------------------------------------------------------------------------------------------


def describe_end(output_dir: Path, checkpoint: Path, step: int, splits: Iterable[str], more: Mapping[str, str]) -> str:
    """
    Where everything lies that a finished run wrote, and commands that go on from there.

    Args:
        output_dir (`Path`): Of the run.
        checkpoint (`Path`): The one that it is known by.
        step (`int`): The last one; 0 if nothing was trained.
        splits (`Iterable[str]`): Those with predictions.
        more (`Mapping[str, str]`): Commands of the task, by what they do; see `Task.next_commands`.
    """
    predictions = [output_dir / "predictions" / split for split in splits]
    files = {checkpoint: "the model with its processor"} if step else {}
    files |= dict.fromkeys(predictions, "what it says of each example")
    files |= {output_dir / "results.json": "the scores", output_dir / "log.jsonl": "every step and every evaluation"}
    commands = dict(more) if step else {}
    if predictions:
        commands["compute the scores again, without the model"] = command("rescore", predictions[-1])
    if step:
        commands["draw its curves (needs matplotlib)"] = command("plots", output_dir)
        given = ["--checkpoint", checkpoint, "--results", output_dir / "results.json"]
        commands["publish it with its code and a card"] = command(
            "publish", *given, "--output_dir", output_dir / "published"
        )
    width = max(len(str(path)) for path in files)
    written = [f"  {str(path):<{width}}   {meaning}" for path, meaning in files.items()]
    follows = [f"  to {what}:\n    {line}" for what, line in commands.items()]
    return "\n".join(["Written:", *map(printable, written), *(["Next:"] if follows else []), *follows])


def measured_checkpoint(output_dir: Path, settings: EvalSection) -> Path:
    """The checkpoint that a finished run is known by: whose scores it tells."""
    root = output_dir / "checkpoints"
    is_last = settings.final_checkpoint == "last" and "final" in settings.splits.values()
    return root / ("last" if is_last or not (root / "best").exists() else "best")


def command(script: str, *arguments: str | Path) -> str:
    """A command line for another script of this package, as it can be typed in the working folder."""
    return shlex.join(["python", *place_of_script(script), *map(str, arguments)])


def place_of_script(script: str) -> list[str]:
    """A script of this package as python, or `accelerate launch`, takes it: a file in a clone, else a module."""
    path = Path("train_scripts", f"{script}.py")
    return [str(path)] if path.is_file() else ["-m", f"clipbert.train_scripts.{script}"]


def this_command(arguments: Iterable[str]) -> str:
    """The command line of the running script, with these arguments."""
    script = Path(sys.argv[0])
    script = script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script
    return shlex.join(["accelerate", "launch", str(script), *arguments])


__all__ = [
    "CONTEXT",
    "command",
    "describe_baseline",
    "describe_end",
    "describe_evaluation",
    "describe_scores",
    "measured_checkpoint",
    "place_of_script",
    "print_scores",
    "results_of",
    "show_interval",
    "show_score",
    "this_command",
    "verdict",
]
