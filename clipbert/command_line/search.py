# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
The command `search`: the videos of a folder, or of an index, for sentences.

Of a folder every video is read once and scored for each sentence; an index has read them before.
"""

import argparse
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
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
from clipbert.command_line.index import add_models, add_where, naming_index, open_index, read_where
from clipbert.command_line.inputs import open_inputs
from clipbert.command_line.opening import check_checkpoint, naming_options, note_losses, open_pipeline
from clipbert.command_line.output import Output, best_clip, heading, span, table


TASK = "video-text-retrieval"
TITLE = "log-odds, video, best clip"
INDEX_TITLE = "score, video, seconds"
INDEX_TABLE = "segments.lance"  # in the folder of an index
ADDRESS_OF_INDEX = re.compile(r"(db|qdrant|qdrant\+https?):")
ADDRESS_OF_ANY = re.compile(r"(s3|gs|az)://")  # of an index, or of a video
DEFAULT_TOP_K = 5  # on a terminal and elsewhere: a folder may hold thousands


def add_search(parser: CommandParser) -> None:
    parser.add_argument(
        "place",
        metavar="PLACE",
        help="an index; or a folder with all below it, a file, a glob, - for paths from stdin",
    )
    parser.add_argument(
        "sentences", nargs="+", type=words, metavar="SENTENCE", help="what to look for; with --like a file"
    )
    add_pipeline(parser, otherwise="those of the index", top_k=str(DEFAULT_TOP_K))
    add_json(parser)
    of_index = parser.add_argument_group("of an index")
    of_index.add_argument("--shortlist", type=positive, metavar="K", help="videos scored exactly (default: 200)")
    of_index.add_argument(
        "--rerank", type=positive, metavar="K", help="of these, videos that the reranker scores, too (default: 50)"
    )
    of_index.add_argument(
        "--look_into", type=positive, metavar="K", help="segments of a video that the locator looks into (default: 5)"
    )
    of_index.add_argument("--exhaustive", action="store_true", help="score all of them exactly")
    of_index.add_argument("--min_score", type=float, metavar="S", help="leave out what scores less")
    of_index.add_argument("--like", action="store_true", help="each SENTENCE is a video or picture: what is like it?")
    of_index.add_argument("--root", metavar="FOLDER", help="where the videos lie now")
    add_models(of_index, ", where it lies now")
    add_where(of_index)
    parser.set_defaults(top_k=DEFAULT_TOP_K)


COUNTS = ("shortlist", "rerank", "look_into")  # what the index decides where nothing is said
OF_INDEX = (*COUNTS, "exhaustive", "min_score", "like", "root", "encoder", "reranker", "locator", "where")
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
    is_index = looks_like_index(given.place, has_checkpoint=given.checkpoint is not None)
    for name in OF_FOLDER if is_index else OF_INDEX:
        if getattr(given, name) != given.parser.get_default(name):
            raise UsageError(f"--{name}: {given.place} is {'an index' if is_index else 'no index'}; see --help.")
    if is_index:
        return search_index(given)
    if given.checkpoint is None:
        raise UsageError(f"{given.place} is no index: expected --checkpoint, the model that ranks the videos.")
    return search_folder(given)


def looks_like_index(place: str, has_checkpoint: bool) -> bool:
    """Whether a place is to be opened as an index: a folder that has one, or an address. What is of object storage may be a video, too."""
    if ADDRESS_OF_ANY.match(place):
        return not has_checkpoint
    return (Path(place) / INDEX_TABLE).is_dir() or bool(ADDRESS_OF_INDEX.match(place))


def search_index(given: argparse.Namespace) -> int:
    """Search an index for each sentence."""
    if given.like and (missing := [name for name in given.sentences if not Path(name).is_file()]):
        raise UsageError(f"--like {missing[0]}: no such file in {Path.cwd()}.")
    with Output(given.json, unit="query") as output:
        given.index = given.place
        index = open_index(given)
        counts = {name: getattr(given, name) for name in COUNTS if getattr(given, name) is not None}
        with naming_index(given.place):
            where = read_where(given, index)
            _ = index.cascade  # models are loaded
            output.expect(len(given.sentences))
            output.begin()
            for sentence in given.sentences:
                hits = index.search(
                    Path(sentence) if given.like else sentence,
                    given.top_k,
                    where=where,
                    exhaustive=given.exhaustive,
                    min_score=given.min_score,
                    **counts,
                )
                output.advance()
                write_hits(sentence, hits, output)
                if not hits:
                    output.note(f"{sentence}: {explain_nothing(given, len(index), hits.best)}")
        return output.exit_code


def write_hits(sentence: str, hits: Any, output: Output) -> None:
    """The hits of a sentence, and whether they fit."""
    if hits and hits.nothing_fits:
        output.note(f"{sentence}: nothing fits well (the best score is {hits.best:.2f}, below {hits.threshold:.2f})")
    if output.is_json:
        for rank, hit in enumerate(hits, start=1):
            found = {**asdict(hit), "video": str(hit.path), "fits_well": not hits.nothing_fits}
            del found["path"]
            output.write_json({"query": sentence, "rank": rank, **found})
    elif hits:
        rows = [(f"{hit.score:.2f}", hit.video_id, span(hit.start_s, hit.end_s)) for hit in hits]
        output.write_lines(
            lambda columns: [
                heading(sentence, columns),
                *table(rows, columns, True),
                *wrap(describe_stages(hits.stages), columns, initial_indent="  ", subsequent_indent="  "),
            ],
            INDEX_TITLE,
        )


def explain_nothing(given: argparse.Namespace, num_videos: int, best: float | None) -> str:
    """Why there is no hit."""
    if best is not None:
        return f"no hit (the best score is {best:.2f}, below --min_score {given.min_score:g})"
    if num_videos:
        return "no hit (no video fits --where)"
    return f"no hit (the index is empty; clipbert index add {shlex.quote(given.place)})"


def describe_stages(stages: Sequence[Any]) -> str:
    """What was done, and how long it took."""

    def took(milliseconds: float) -> str:
        return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"

    return ", ".join(f"{one.num_videos} by {one.name.replace('_', ' ')} in {took(one.milliseconds)}" for one in stages)


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
  clipbert search my_index "a dog runs along the beach" --where folder startswith holiday
  clipbert search my_index --like my_dog.jpg""",
    add_search,
    run_search,
)

__all__ = ["SEARCH"]
