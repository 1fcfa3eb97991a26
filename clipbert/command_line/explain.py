# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The command `explain`: what the score of a text, an answer or a class rests on."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from clipbert.command_line.arguments import (
    Command,
    CommandParser,
    UsageError,
    add_checkpoint,
    add_json,
    add_processor,
    picture,
    positive,
    read_settings,
    words,
)
from clipbert.command_line.opening import check_checkpoint, naming_options, note_losses, open_pipeline
from clipbert.command_line.output import Output, heading
from clipbert.support.terminal import printable, show_seconds


TASKS = {"text": "video-text-retrieval", "question": "video-question-answering", "query": "moment-retrieval"}
SHOWN = 5  # frames and words


def add_explain(parser: CommandParser) -> None:
    parser.add_argument("video", metavar="VIDEO", help="a file or a URL")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--text", type=words, help="of a model that matches texts with videos")
    asked.add_argument(
        "--question", type=words, metavar="TEXT", help="of a model that answers; with none of them: of a classifier"
    )
    asked.add_argument("--query", type=words, metavar="TEXT", help="of a model that tells when something happens")
    parser.add_argument(
        "--options", nargs="+", type=words, metavar="TEXT", help="answers to choose from, for a model that chooses"
    )
    parser.add_argument("--target", metavar="TEXT", help="the answer or the class to explain (default: the best one)")
    parser.add_argument("--picture", type=picture, metavar="FILE", help="draw it, as .png or .svg")
    parser.add_argument("--steps", type=positive, default=32, metavar="N", help="of the integral (default: 32)")
    add_checkpoint(parser)
    add_processor(parser)
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: an accelerator, if there is one)")
    add_json(parser)


def run_explain(given: argparse.Namespace) -> int:
    """Explain one score."""
    asked = read_asked(given)
    settings = read_settings(given, ("device", *asked))
    check_checkpoint(given.checkpoint)
    with Output(given.json, unit=None) as output:
        task = next((task for name, task in TASKS.items() if getattr(given, name) is not None), "video-classification")
        pipe = open_pipeline(given, task, {} if given.device is None else {"device": given.device})
        from clipbert.explanations import describe, draw, explain, picture_of, subject_of
        from clipbert.processing import VideoDecodeError
        from clipbert.train_scripts.engine.pictures import PicturesError

        note_losses(pipe, [text for text in (given.text, given.question, given.query) if text], output)
        try:
            with naming_options():
                subject = subject_of(pipe, given.video, given.target, **asked, **settings)
        except UsageError as error:
            if isinstance(error.__cause__, VideoDecodeError):
                output.fail(str(error))
                return output.exit_code
            raise
        found = explain(subject, picture_of(pipe.video_processor), given.steps)
        record = {"video": given.video, **describe(found)}
        if given.picture is not None:
            try:
                record["picture"] = str(draw(found, given.picture, printable(given.video)))
            except PicturesError as error:
                raise UsageError(f"--picture: {error}") from error
        output.write(record, lambda columns: describe_lines(record, columns))
        return output.exit_code


def read_asked(given: argparse.Namespace) -> dict[str, Any]:
    """What is asked of the video, as keys of its pipeline."""
    if given.options is not None and given.question is None:
        raise UsageError("--options are those of a --question.")
    if given.target is not None and (given.text is not None or given.query is not None):
        raise UsageError("--target: a text is its own target; leave it out.")
    if given.text is not None:
        return {"candidate_texts": [given.text]}
    if given.query is not None:
        return {"query": given.query}
    if given.question is None:
        return {}
    return {"question": given.question, **({} if given.options is None else {"options": given.options})}


def describe_lines(record: Mapping[str, Any], columns: int) -> Iterator[str]:
    """The same as lines of a terminal."""
    yield heading(f"{record['video']}: {record['label']}", columns)
    yield f"  {record['kind']} {record['score']:.2f}; of clips in one colour {record['baseline_score']:.2f}"
    frames = sorted(enumerate(record["frames"]), key=lambda row: -row[1]["adds"])[:SHOWN]
    for number, frame in frames:
        when = f"frame {number + 1}" if frame["second"] is None else show_seconds(frame["second"])
        where = frame.get("strongest")
        place = (
            "" if where is None else f", most of it at {where['x']:.0%} from the left, {where['y']:.0%} from the top"
        )
        yield f"  {frame['adds']:+8.2f}  {when}{place}"
    for word in sorted((word for word in record["words"] if word["adds"] is not None), key=lambda word: -word["adds"])[
        :SHOWN
    ]:
        yield f"  {word['adds']:+8.2f}  {printable(word['word'])}"
    for clip in record["clips"]:
        span = "" if clip["start_s"] is None else f" {show_seconds(clip['start_s'])} to {show_seconds(clip['end_s'])}"
        yield f"  {clip['adds']:+8.2f}  clip{span}"
    for name, curve in record["deletion"].items():
        verdict = "faster than" if curve["is_faster"] else "no faster than"
        yield f"  {name} taken away, strongest first: the score falls {verdict} in random order"
    if "picture" in record:
        yield f"  {record['picture']}"


EXPLAIN = Command(
    "what a score rests on: frames, places, clips and words",
    """  clipbert explain film.mp4 --text "a dog runs" --checkpoint outputs/quickstart --picture why.png
  clipbert explain film.mp4 --question "what colour is the ball?" --checkpoint outputs/quickstart/video_qa
  clipbert explain film.mp4 --checkpoint outputs/my_classes --target cooking""",
    add_explain,
    run_explain,
)

__all__ = ["EXPLAIN"]
