# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
The command `clipbert`: from video files to answers in a shell.

    videos (files, folders, globs, stdin) --inputs--> a pipeline, as a stream --output--> a table, or lines of JSON

A command is a [`Command`] in `COMMANDS`. Their modules import what is heavy (torch, transformers) when they run, and not before: help
and errors of usage take a moment only.
"""

import os
import sys
from collections.abc import Sequence

from clipbert.command_line.arguments import CommandParser, UsageError
from clipbert.command_line.asking import ASK, CLASSIFY, LOCATE, MATCH
from clipbert.command_line.demo import DEMO
from clipbert.command_line.explain import EXPLAIN
from clipbert.command_line.index import INDEX
from clipbert.command_line.look import LOOK
from clipbert.command_line.plot import PLOT
from clipbert.command_line.search import SEARCH
from clipbert.support.terminal import printable_lines
from clipbert.support.version import __version__


COMMANDS = {
    "match": MATCH,
    "ask": ASK,
    "classify": CLASSIFY,
    "locate": LOCATE,
    "search": SEARCH,
    "index": INDEX,
    "look": LOOK,
    "explain": EXPLAIN,
    "plot": PLOT,
    "demo": DEMO,
}
USAGE, INTERRUPTED = 2, 130  # exit codes, as shells and argparse have them
CODES = (
    "Exit code: 0; 1 if some videos could not be read (each is named); 2 if the command is wrong; 130 after Ctrl-C."
)


def build_parser() -> CommandParser:
    """The command line of all commands; `given.command` is the one that was named, `given.parser` its parser."""
    parser = CommandParser("clipbert", description="Ask models about videos. Each command has a --help.", epilog=CODES)
    parser.add_argument("--version", action="version", version=f"clipbert {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        own = commands.add_parser(
            name,
            help=command.summary,
            description=f"{command.summary.capitalize()}.",
            epilog=f"{command.epilog}\n\n{CODES}",
        )
        command.add_arguments(own)
        own.set_defaults(command=command, parser=own)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command.

    Args:
        arguments (`list[str]`, *optional*): The words behind `clipbert`; by default those of the process.

    Returns:
        `int`: 0; 1 if some videos could not be read; 2 if the command is wrong or its checkpoint cannot be used; 130 after Ctrl-C.
    """
    parser = build_parser()
    try:
        code = run(parser, arguments)
        sys.stdout.flush()  # here, and not when Python ends
        return code
    except BrokenPipeError:  # whoever reads has enough
        silence(sys.stdout)
        silence(sys.stderr)
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED


def run(parser: CommandParser, arguments: Sequence[str] | None) -> int:
    try:
        given, left = parser.parse_known_args(arguments)
        if left:
            given.parser.error(f"not understood: {' '.join(left)}. Videos stand before the options")
        return given.command.run(given)
    except SystemExit as ended:  # argparse has said why
        return ended.code or 0
    except UsageError as error:
        print(printable_lines(f"{given.parser.prog}: error: {error}"), file=sys.stderr)
        return USAGE


def silence(stream) -> None:
    """Let what is still to be written vanish: Python would complain about a closed pipe when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


__all__ = ["COMMANDS", "build_parser", "main"]
