# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The commands that ask a model about each of some videos: `match`, `ask`, `classify` and `locate`."""

import argparse
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clipbert.command_line.arguments import (
    Command,
    CommandParser,
    UsageError,
    add_json,
    add_pipeline,
    add_videos,
    read_options,
    words,
)
from clipbert.command_line.inputs import open_inputs
from clipbert.command_line.opening import check_checkpoint, naming_options, note_losses, open_pipeline
from clipbert.command_line.output import Output, best_clip, heading, span, table


if TYPE_CHECKING:  # what is heavy waits for a command to need it
    from clipbert.pipelines import VideoPipeline


@dataclass(frozen=True)
class Asking:
    """
    What such a command asks.

    Args:
        task (`str`): Of its pipeline.
        title (`str`): What stands in the columns of its table.
        row (`Callable`): Number and text of an answer, as the table shows them.
        asked (`Callable`): What is asked of every video, as keys of the pipeline's inputs.
        each (`str`, *optional*): The key whose texts have answers of their own; a line of JSON has one of them.
    """

    task: str
    title: str
    row: Callable[[Mapping[str, Any]], tuple[str, str]]
    asked: Callable[[argparse.Namespace], dict[str, Any]]
    each: str | None = None

    def run(self, given: argparse.Namespace) -> int:
        """Ask about all videos, and write each answer as soon as it is there."""
        asked, part = self.asked(given), read_part(given)
        options = read_options(given, asked)
        check_checkpoint(given.checkpoint)
        with Output(given.json) as output:
            videos = open_inputs(given.videos, output)
            pipe = open_pipeline(given, self.task, options)
            output.begin()
            note_losses(pipe, [text for texts in asked.values() for text in texts], output)
            for video, found in answer_each(pipe, videos, {**asked, **part}):
                output.advance()
                if isinstance(found, Mapping):
                    output.fail(found["error"])
                    continue
                for record in self.records(video, found, asked):
                    output.write(record, lambda columns, record=record: self.describe(record, columns), self.title)
            return output.exit_code

    def records(self, video: str, found: list[Any], asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What lines of JSON hold."""
        if self.each is None:
            yield {"video": video, "answers": found}
            return
        for text, answers in zip(asked[self.each], found, strict=True):
            yield {"video": video, self.each: text, "answers": answers}

    def describe(self, record: Mapping[str, Any], columns: int) -> Iterator[str]:
        """The same as lines of a table."""
        yield heading(": ".join(filter(None, (record["video"], record.get(self.each)))), columns)
        yield from table([(*self.row(answer), best_clip(answer)) for answer in record["answers"]], columns)


def answer_each(
    pipe: "VideoPipeline", videos: Iterator[str], asked: Mapping[str, Any]
) -> Iterator[tuple[str, list[Any] | dict[str, Any]]]:
    """
    Videos with their answers, or with `{"error", "input"}`, in order; the pipeline reads on as they are taken.

    Raises:
        UsageError: If what is asked, or an option, is none that the model takes.
    """
    taken: deque[str] = deque()

    def inputs() -> Iterator[dict[str, Any]]:
        for video in videos:
            taken.append(video)
            yield {"video": video, **asked}

    with naming_options():
        for found in pipe(inputs(), on_error="yield"):
            yield taken.popleft(), found


def read_part(given: argparse.Namespace) -> dict[str, float]:
    """The seconds of each video to look at."""
    if (given.start_s is None) != (given.end_s is None):
        raise UsageError("--start_s and --end_s go together.")
    return {} if given.start_s is None else {"start_s": given.start_s, "end_s": given.end_s}


def texts_of(given: argparse.Namespace) -> dict[str, Any]:
    return {"candidate_texts": given.texts}


def questions_of(given: argparse.Namespace) -> dict[str, Any]:
    return {"question": given.question, **({} if given.options is None else {"options": given.options})}


def queries_of(given: argparse.Namespace) -> dict[str, Any]:
    return {"query": given.query}


def row_of_text(answer: Mapping[str, Any]) -> tuple[str, str]:
    return f"{answer['score']:.2f}", answer["label"]


def row_of_answer(answer: Mapping[str, Any]) -> tuple[str, str]:
    """Of a count the number as it was predicted, else the share of the answer."""
    number = f"{answer['value']:.2f}" if "value" in answer else f"{answer['score']:.1%}"
    return number, str(answer["answer"])


def row_of_class(answer: Mapping[str, Any]) -> tuple[str, str]:
    return f"{answer['score']:.1%}", str(answer["label"])


def row_of_moment(answer: Mapping[str, Any]) -> tuple[str, str]:
    return f"{answer['score']:.3f}", span(answer["start_s"], answer["end_s"])


def add_match(parser: CommandParser) -> None:
    add_videos(parser)
    parser.add_argument("--texts", nargs="+", required=True, type=words, metavar="TEXT", help="texts to choose from")
    add_common(parser)


def add_ask(parser: CommandParser) -> None:
    add_videos(parser)
    parser.add_argument("--question", nargs="+", required=True, type=words, metavar="TEXT", help="one or several")
    parser.add_argument(
        "--options", nargs="+", type=words, metavar="TEXT", help="answers to choose from, for a model that chooses"
    )
    add_common(parser)


def add_classify(parser: CommandParser) -> None:
    add_videos(parser)
    add_common(parser)


def add_locate(parser: CommandParser) -> None:
    add_videos(parser)
    parser.add_argument("--query", nargs="+", required=True, type=words, metavar="TEXT", help="one or several")
    add_common(parser, has_clips=False)


def add_common(parser: CommandParser, has_clips: bool = True) -> None:
    """What all of them have."""
    add_pipeline(parser, has_clips)
    parser.add_argument("--start_s", type=float, metavar="S", help="look at the part of each video that begins there")
    parser.add_argument("--end_s", type=float, metavar="S", help="and ends there")
    add_json(parser)


MATCH = Command(
    "which text fits a video",
    """Scores are log-odds: larger fits better; they are no probabilities.

  clipbert match film.mp4 --texts "a dog runs" "a cat sleeps" --checkpoint outputs/quickstart""",
    add_match,
    Asking("video-text-retrieval", "log-odds, text, best clip", row_of_text, texts_of).run,
)
ASK = Command(
    "answer questions about a video",
    """  clipbert ask film.mp4 --question "what colour is the ball?" --checkpoint outputs/quickstart/video_qa
  clipbert ask videos --question "what is he?" "where is he?" --options cook singer --checkpoint outputs/my_choices""",
    add_ask,
    Asking("video-question-answering", "score, answer, best clip", row_of_answer, questions_of, "question").run,
)
CLASSIFY = Command(
    "which class a video shows",
    "  clipbert classify 'videos/*.mp4' --checkpoint outputs/my_classes --top_k 1 > labels.jsonl",
    add_classify,
    Asking("video-classification", "probability, class, best clip", row_of_class, lambda given: {}).run,
)
LOCATE = Command(
    "when in a video something happens",
    """  clipbert locate film.mp4 --query "opens the door" "he leaves" --checkpoint outputs/my_moments""",
    add_locate,
    Asking("moment-retrieval", "score, seconds", row_of_moment, queries_of, "query").run,
)

__all__ = ["ASK", "CLASSIFY", "LOCATE", "MATCH"]
