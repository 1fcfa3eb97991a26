# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts list|fetch|check|prepare|unpack|publish`: everything around the loaders.

A command is a module of commands/ with `add_arguments(parser)` and `run(options) -> int`; it is imported when it is chosen, so
that help is quick and one command never needs the extras of another.
"""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from clipbert.support.terminal import printable


# what each module of commands/ does; none is imported until it is chosen
COMMANDS = {
    "list": "show every benchmark: its configs, its task and how to get it",
    "fetch": "download what is public, and say what has to be placed by hand",
    "check": "report missing, unreadable and leaking videos, and write a skip list",
    "prepare": "re-encode a collection of videos for sparse sampling",
    "unpack": "write the videos of an LMDB folder as files",
    "publish": "write Parquet with a dataset card, and push it to the Hub when asked",
}


class PlainFormatter(logging.Formatter):
    """Messages hold names of files and captions, which shall not steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; only `chosen` gets its own arguments."""
    parser = argparse.ArgumentParser(prog="python -m datasets_scripts", description="Benchmarks of video and text.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == chosen:
            module = importlib.import_module(f".commands.{name}", __package__)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; what a user can mend is one line, without a traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger(__package__).setLevel(logging.INFO)
    try:
        options = build_parser(chosen=next(iter(arguments), None)).parse_args(arguments)
        status = options.run(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, ImportError) as error:
        logging.getLogger(__name__).debug("%s failed", " ".join(arguments), exc_info=True)
        print("\n".join(map(printable, f"error: {error}".split("\n"))), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
