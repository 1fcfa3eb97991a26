# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the commands are asked on the command line: their parser, and the options that several of them have."""

import argparse
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from clipbert.support.names import did_you_mean
from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.values import parse_yaml


PICTURES = (".png", ".svg")
# what no --set may say of a pipeline, beside what has an option of its own
OF_PIPELINES = (
    "checkpoint",
    "model",
    "on_error",
    "processor",
    "return_clips",
    "revision",
    "task",
    "trust_remote_code",
    "video_processor",
)


class UsageError(ValueError):
    """A command that cannot be carried out as it stands: the message says what to write instead."""


class Command(NamedTuple):
    """
    A command of `clipbert`.

    Args:
        summary (`str`): What it does, in a line.
        epilog (`str`): Examples for its help.
        add_arguments (`Callable`): Adds its arguments to its parser.
        run (`Callable`): Carries it out for what was given; returns the exit code. It may raise [`UsageError`].
    """

    summary: str
    epilog: str
    add_arguments: Callable[["CommandParser"], None]
    run: Callable[[argparse.Namespace], int]


class CommandParser(argparse.ArgumentParser):
    """A parser that keeps line breaks of its texts, takes no abbreviations, and names the option that was probably meant."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False, **kwargs}
        super().__init__(*args, **kwargs)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        if self._subparsers is None:  # else most words are for one of its commands
            for word in args or ():
                if word == "--":
                    break
                name = word.partition("=")[0]
                if name.startswith("--") and name not in self._option_string_actions:
                    known = [option for option in self._option_string_actions if option.startswith("--")]
                    self.error(f"there is no option {name}. {did_you_mean(name, known)}")
        return super().parse_known_args(args, namespace)

    def error(self, message: str):
        super().error(printable(message))


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def not_negative(text: str) -> int:
    """A whole number from 0 on."""
    return 0 if text == "0" else positive(text)


def words(text: str) -> str:
    """A text that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected words, got none")
    return text


def picture(text: str) -> Path:
    """The name of a picture to draw."""
    if not text.endswith(PICTURES):
        raise argparse.ArgumentTypeError(f"expected a name that ends in {' or '.join(PICTURES)}, got {text!r}")
    return Path(text)


def setting(text: str) -> tuple[str, Any]:
    """`NAME=VALUE`, the value in YAML."""
    name, is_there, value = text.partition("=")
    if not is_there or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}; videos stand before the options")
    try:
        return name, parse_yaml(value)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{name}: the value {value!r} cannot be read") from error


def add_videos(parser: CommandParser) -> None:
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="a file, a URL, a folder (with all below it), a glob, or - for paths from stdin, one a line",
    )


def add_checkpoint(parser: CommandParser, otherwise: str | None = None) -> None:
    """A checkpoint, which must be named unless there is something that is taken `otherwise`."""
    parser.add_argument(
        "--checkpoint",
        required=otherwise is None,
        metavar="C",
        help="the folder of a run or of a checkpoint, or a name on the Hub"
        + ("" if otherwise is None else f"; default: {otherwise}"),
    )
    parser.add_argument("--revision", help="branch, tag or commit of a checkpoint on the Hub")
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="run code that the checkpoint brings (default: never)"
    )


def add_processor(parser: CommandParser) -> None:
    parser.add_argument("--num_clips", type=positive, metavar="N", help="clips of a video (default: the checkpoint's)")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        type=setting,
        metavar="NAME=VALUE",
        help="other options of the checkpoint's pipeline and processor, such as num_frames=4 fps=2",
    )


def add_pipeline(
    parser: CommandParser, has_clips: bool = True, otherwise: str | None = None, top_k: str = "the pipeline's"
) -> None:
    """A checkpoint, and how its pipeline runs and answers."""
    add_checkpoint(parser, otherwise)
    parser.add_argument("--top_k", type=positive, metavar="N", help=f"most answers (default: {top_k})")
    if has_clips:
        parser.add_argument("--no_clips", action="store_true", help="leave the scores of clips out")
    add_processor(parser)
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: an accelerator, if there is one)")
    parser.add_argument("--batch_size", type=positive, metavar="N", help="videos that go through the model at once")
    parser.add_argument("--num_workers", type=not_negative, metavar="N", help="threads that read videos ahead")


def add_json(parser: CommandParser) -> None:
    parser.add_argument("--json", action="store_true", help="lines of JSON on a terminal, too")


def read_settings(given: argparse.Namespace, own: Collection[str] = ()) -> dict[str, Any]:
    """
    Options of a processor, of `--set` and `--num_clips`.

    Raises:
        UsageError: If one is said twice, or the command has an option of its `own` for it.
    """
    settings: dict[str, Any] = {} if given.num_clips is None else {"num_clips": given.num_clips}
    for name, value in given.set:
        if name in own:
            raise UsageError(f"--set {name}: the command says that by itself; see its --help.")
        if name in settings:
            raise UsageError(f"--set {name}: it is said twice.")
        settings[name] = value
    return settings


def read_options(given: argparse.Namespace, asked: Collection[str] = ()) -> dict[str, Any]:
    """
    Options of a pipeline; what is `asked` is not to be said by `--set`.

    Raises:
        UsageError: See [`read_settings`].
    """
    flags = ("device", "batch_size", "num_workers", "top_k")
    options = {name: getattr(given, name) for name in flags if getattr(given, name) is not None}
    options |= {"return_clips": False} if getattr(given, "no_clips", False) else {}
    return {**read_settings(given, (*OF_PIPELINES, *flags, *asked)), **options}


__all__ = [
    "Command",
    "CommandParser",
    "UsageError",
    "add_checkpoint",
    "add_json",
    "add_pipeline",
    "add_processor",
    "add_videos",
    "not_negative",
    "picture",
    "positive",
    "read_options",
    "read_settings",
    "words",
]
