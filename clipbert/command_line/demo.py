# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The command `demo`: a page in the browser over some models and videos."""

import argparse
from contextlib import ExitStack

from clipbert.command_line.arguments import Command, CommandParser, UsageError, positive
from clipbert.command_line.index import add_device, add_models, naming_index, open_index
from clipbert.command_line.opening import check_checkpoint, check_device, naming_checkpoint, quietly


NEEDS = 'the page needs gradio: pip install "clipbert[demo]".'


def add_demo(parser: CommandParser) -> None:
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        default=[],
        metavar="C",
        help="folders of runs or checkpoints, or names on the Hub, one for each task: a tab for each",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--videos", metavar="FOLDER", help="with all below it; encoded first, if a checkpoint searches")
    where.add_argument("--index", metavar="INDEX", help="an index, as `clipbert index` makes it")
    parser.add_argument("--metadata", metavar="FILE", help="columns of the videos of a folder: captions.jsonl, or CSV")
    parser.add_argument("--root", metavar="FOLDER", help="where the videos of the index lie now")
    add_models(parser, " of the index, where it lies now")
    add_device(parser)
    parser.add_argument("--num_clips", type=positive, metavar="N", help="clips of a video (default: the checkpoint's)")
    parser.add_argument("--host", help="where the page listens (default: this machine alone)")
    parser.add_argument("--port", type=positive, help="default: the first free one from 7860 on")
    parser.add_argument(
        "--share", action="store_true", help="a public address, through gradio's servers (default: none)"
    )


def run_demo(given: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    if not given.checkpoint and given.index is None:
        raise UsageError("expected --checkpoint, --index or both: what is to be shown?")
    if given.metadata is not None and given.videos is None:
        raise UsageError("--metadata: expected --videos with it; an index has its own columns.")
    for checkpoint in given.checkpoint:
        check_checkpoint(checkpoint)
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UsageError(NEEDS) from error
    from clipbert.demo.app import open_models, serve

    check_device(given.device)
    quietly()
    index = None if given.index is None else open_index(given)
    options = {"device": given.device, "metadata": given.metadata}
    if given.num_clips is not None:
        options["num_clips"] = given.num_clips
    name = given.index or " ".join(given.checkpoint)
    with ExitStack() as stack:
        with naming_index(given.videos or name), naming_checkpoint(name):
            models = stack.enter_context(open_models(given.checkpoint, given.videos, index, **options))
        try:
            serve(models, host=given.host, port=given.port, share=given.share)
        except OSError as error:
            raise UsageError(f"--port: {error}") from error
    return 0


DEMO = Command(
    "a page in the browser: search, questions, moments, explanations",
    """  clipbert demo --checkpoint outputs/quickstart --videos outputs/quickstart/data/test
  clipbert demo --index my_index --checkpoint outputs/my_answers --port 8000""",
    add_demo,
    run_demo,
)

__all__ = ["DEMO"]
