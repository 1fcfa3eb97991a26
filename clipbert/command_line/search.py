# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
The command `search`: the videos of a folder, or of an index, for sentences.

Of a folder every video is read once and scored for each sentence; an index has read them before.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clipbert.command_line.arguments import (
    Command,
    CommandParser,
    UsageError,
    add_json,
    add_pipeline,
    positive,
    read_options,
    words,
)
from clipbert.command_line.index import add_where, naming_index, open_index, read_where
from clipbert.command_line.inputs import open_inputs
from clipbert.command_line.opening import check_checkpoint, naming_options, note_losses, open_pipeline
from clipbert.command_line.output import Output, best_clip, heading, span, table


TASK = "video-text-retrieval"
TITLE = "log-odds, video, best clip"
INDEX_TITLE = "score, video, seconds"
INDEX_TABLE = "segments.lance"  # in the folder of an index
INDEX_ADDRESS = re.compile(r"(qdrant\S*|s3|gs|az|db):")
DEFAULT_TOP_K = 5  # on a terminal and elsewhere: a folder may hold thousands


def add_search(parser: CommandParser) -> None:
    parser.add_argument(
        "place",
        metavar="PLACE",
        help="an index; or a folder with all below it, a file, a glob, - for paths from stdin",
    )
    parser.add_argument("sentences", nargs="+", type=words, metavar="SENTENCE", help="what to look for")
    add_pipeline(parser, otherwise="those of the index")
    add_json(parser)
    of_index = parser.add_argument_group("of an index")
    of_index.add_argument("--shortlist", type=positive, metavar="K", help="videos scored exactly (default: 200)")
    of_index.add_argument("--exhaustive", action="store_true", help="score all of them exactly")
    of_index.add_argument("--min_score", type=float, metavar="S", help="leave out what scores less")
    of_index.add_argument("--locator", metavar="C", help="tell the seconds by this model for moments")
    of_index.add_argument("--root", metavar="FOLDER", help="where the videos lie now")
    add_where(of_index)
    parser.set_defaults(top_k=DEFAULT_TOP_K)


OF_INDEX = ("shortlist", "exhaustive", "min_score", "locator", "root", "where")
OF_FOLDER = (
    "checkpoint",
    "revision",
    "trust_remote_code",
    "no_clips",
    "num_clips",
    "set",
    "batch_size",
    "num_workers",
)


def run_search(given: argparse.Namespace) -> int:
    """Rank the videos for each sentence."""
    is_index = looks_like_index(given.place)
    for name in OF_FOLDER if is_index else OF_INDEX:
        if getattr(given, name):
            raise UsageError(f"--{name}: {given.place} is {'an index' if is_index else 'no index'}; see --help.")
    if is_index:
        return search_index(given)
    if given.checkpoint is None:
        raise UsageError(f"{given.place} is no index: expected --checkpoint, the model that ranks the videos.")
    return search_folder(given)


def looks_like_index(place: str) -> bool:
    """Whether a place is to be opened as an index: one in a folder, or an address that is not of a video."""
    return (Path(place) / INDEX_TABLE).is_dir() or bool(INDEX_ADDRESS.match(place))


def search_index(given: argparse.Namespace) -> int:
    """Search an index for each sentence."""
    with Output(given.json) as output:
        given.index = given.place
        index = open_index(given)
        output.begin()
        with naming_index(given.place):
            where = read_where(given, index)
            for sentence in given.sentences:
                hits = index.search(
                    sentence,
                    given.top_k,
                    where=where,
                    exhaustive=given.exhaustive,
                    min_score=given.min_score,
                    **({} if given.shortlist is None else {"shortlist": given.shortlist}),
                )
                write_hits(sentence, hits, output)
        return output.exit_code


def write_hits(sentence: str, hits: Any, output: Output) -> None:
    """The hits of a sentence, and whether they fit."""
    if hits.nothing_fits:
        best = "nothing" if hits.best is None else f"the best score is {hits.best:.2f}"
        limit = "" if hits.threshold is None else f", below {hits.threshold:.2f}"
        output.note(f"{sentence}: nothing fits well ({best}{limit})")
    if output.is_json:
        for rank, hit in enumerate(hits, start=1):
            about = {"path": str(hit.path), "fits_well": not hits.nothing_fits}
            output.write_json({"query": sentence, "rank": rank, **asdict(hit), **about})
    elif hits:
        rows = [(f"{hit.score:.2f}", hit.video_id, span(hit.start_s, hit.end_s)) for hit in hits]
        output.write_lines(
            lambda columns: [heading(sentence, columns), *table(rows, columns, True), describe_stages(hits.stages)],
            INDEX_TITLE,
        )


def describe_stages(stages: Sequence[Any]) -> str:
    """What was done, in a line."""
    return "  " + " > ".join(f"{one.name} {one.num_videos} in {one.milliseconds:.0f} ms" for one in stages)


def search_folder(given: argparse.Namespace) -> int:
    """Rank the videos of a folder for each sentence."""
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
    "the videos of an index, or of a folder, that fit a sentence",
    """Scores are log-odds: larger fits better; they are no probabilities. Of a folder every video is read and scored.

  clipbert search my_videos "a dog runs along the beach" --checkpoint outputs/quickstart
  clipbert search my_index "a dog runs along the beach" --where folder startswith holiday""",
    add_search,
    run_search,
)

__all__ = ["SEARCH"]
