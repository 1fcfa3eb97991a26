# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The command `search`: the videos of a folder, ranked for sentences. Every video is read once and scored for each."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clipbert.command_line.arguments import Command, CommandParser, add_json, add_pipeline, read_options, words
from clipbert.command_line.inputs import open_inputs
from clipbert.command_line.opening import check_checkpoint, naming_options, note_losses, open_pipeline
from clipbert.command_line.output import Output, best_clip, heading, table


TASK = "video-text-retrieval"
TITLE = "log-odds, video, best clip"
DEFAULT_TOP_K = 5  # on a terminal and elsewhere: a folder may hold thousands


def add_search(parser: CommandParser) -> None:
    parser.add_argument("place", metavar="FOLDER", help="with all below it; or a file, a glob, - for paths from stdin")
    parser.add_argument("sentences", nargs="+", type=words, metavar="SENTENCE", help="what to look for")
    add_pipeline(parser)
    add_json(parser)
    parser.set_defaults(top_k=DEFAULT_TOP_K)


def run_search(given: argparse.Namespace) -> int:
    """Rank the videos for each sentence."""
    options = read_options(given, ("text", "videos", "candidate_texts"))
    check_checkpoint(given.checkpoint)
    with Output(given.json) as output:
        videos = open_inputs([given.place], output)
        pipe = open_pipeline(given, TASK, options)
        output.begin()
        note_losses(pipe, given.sentences, output)
        with naming_options():
            rankings = pipe({"text": given.sentences, "videos": counted(videos, output)}, on_error="skip")
        for failure in pipe.failed:
            output.fail(failure["error"])
        for sentence, ranking in zip(given.sentences, rankings, strict=True):
            write_ranking(sentence, ranking, output)
        return output.exit_code


def counted(videos: Iterator[str], output: Output) -> Iterator[str]:
    """The same videos; one is done when the next is asked for."""
    for video in videos:
        yield video
        output.advance()


def write_ranking(sentence: str, ranking: Sequence[Mapping[str, Any]], output: Output) -> None:
    """The hits of a sentence: a line of JSON each, or a table."""
    if output.is_json:
        for rank, hit in enumerate(ranking, start=1):
            output.write_json({"query": sentence, "rank": rank, **hit})
    elif ranking:
        output.write_lines(lambda columns: describe_ranking(sentence, ranking, columns), TITLE)


def describe_ranking(sentence: str, ranking: Sequence[Mapping[str, Any]], columns: int) -> Iterator[str]:
    yield heading(sentence, columns)
    yield from table([(f"{hit['score']:.2f}", hit["video"], best_clip(hit)) for hit in ranking], columns, True)


SEARCH = Command(
    "the videos of a folder that fit a sentence",
    """Scores are log-odds: larger fits better; they are no probabilities. Every video is scored.

  clipbert search my_videos "a dog runs along the beach" --checkpoint outputs/quickstart""",
    add_search,
    run_search,
)

__all__ = ["SEARCH"]
