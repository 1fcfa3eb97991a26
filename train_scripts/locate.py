# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""When in a video does it happen? Sentences and a video in, seconds out, with any model that moment_retrieval.py has trained.

Run:     python train_scripts/locate.py --checkpoint outputs/RUN film.mp4 "a man opens the door" "he leaves"
         python train_scripts/locate.py --checkpoint outputs/RUN film.mp4 "a man opens the door" --clip door.mp4
         python train_scripts/locate.py --checkpoint outputs/RUN hour.mp4 < sentences.txt > seconds.jsonl

`--checkpoint` is the folder of a run, whose best checkpoint is taken, a folder with a checkpoint, or a name on the Hub. The video,
of any length, is encoded once for all sentences; without any, they are asked for, or read from what is piped in. Answers are a
table on a terminal, and a line of JSON for each sentence elsewhere. A long video is looked at by windows that overlap; their
scores are sums, and no probabilities (clipbert/pipelines/README.md).
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from clipbert.pipelines import EncodedVideo, encode_video
from clipbert.pipelines.encoded_video import LONG_VIDEO, WINDOW_SECONDS
from clipbert.processing import VideoDecodeError, read_video_metadata
from clipbert.processing.moment_spans import RANKINGS
from clipbert.processing.video_processing import times_of_frames
from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.pictures import PicturesError
from clipbert.train_scripts.tasks.moment_retrieval.pictures import draw_moments
from clipbert.train_scripts.tasks.moment_retrieval.showing import cut_film, describe_moments, load_locator


PLAIN = ("start_s", "end_s", "score")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", metavar="VIDEO", help="a file or a URL")
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE")
    parser.add_argument("--checkpoint", required=True, help="a run, a checkpoint or a Hub name: a model for moments")
    parser.add_argument("--features", metavar="FILE", help="features of the video, for a model that reads them")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="moments to show (default: 3)")
    parser.add_argument("--from_s", type=float, metavar="SECONDS", help="look at the part that begins there")
    parser.add_argument("--to_s", type=float, metavar="SECONDS", help="look at the part that ends there")
    parser.add_argument("--long_video", choices=LONG_VIDEO, default=LONG_VIDEO[0], help="windows, or all in one")
    parser.add_argument(
        "--window",
        type=float,
        default=WINDOW_SECONDS,
        metavar="SECONDS",
        help="length of a window (default: %(default)g)",
    )
    parser.add_argument("--ranking", choices=RANKINGS, help="what moments are ranked by")
    parser.add_argument("--json", action="store_true", help="JSON on a terminal, too")
    parser.add_argument(
        "--clip", type=Path, metavar="FILE.mp4", help="cut the first moment out (several: numbered files)"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw time line and curves (likewise)")
    given = parser.parse_args(arguments)
    if given.top < 1:
        parser.error(f"--top: expected at least 1, got {given.top}")
    if not all(map(str.strip, given.sentences)):
        parser.error("SENTENCE: expected words, got none")
    if (given.from_s is None) != (given.to_s is None):
        parser.error("--from_s and --to_s go together")
    return given


def open_video(given: argparse.Namespace) -> EncodedVideo:
    """The video of the command line, encoded by its model."""
    model, processor = load_locator(given.checkpoint)
    model.to(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")
    if sys.stderr.isatty():
        print(f"looking at {printable(given.video)} ...", file=sys.stderr)
    source: dict[str, Any] = {"video": given.video}
    if given.features is not None:
        seconds = times_of_frames(read_video_metadata(given.video))[1]
        source = {"video_features": given.features, "duration_s": seconds}
    span_se = None if given.from_s is None else (given.from_s, given.to_s)
    return encode_video(
        model, processor, **source, span_se=span_se, long_video=given.long_video, window_seconds=given.window
    )


def asked_sentences() -> Iterator[str]:
    """Sentences typed at a prompt, until an empty one; or the lines of what is piped in."""
    if not sys.stdin.isatty():
        yield from filter(None, map(str.strip, sys.stdin))
        return
    with suppress(EOFError):
        while sentence := input("\nwhen (empty: stop): ").strip():
            yield sentence


def numbered(path: Path, number: int, given: argparse.Namespace) -> Path:
    """A file of its own for each of several sentences."""
    return path if len(given.sentences) == 1 else path.with_stem(f"{path.stem}_{number}")


def answer(encoded: EncodedVideo, sentence: str, number: int, given: argparse.Namespace) -> dict[str, Any]:
    """Print the moments of a sentence, cut the first one out and draw them, as far as that is asked for."""
    moments = encoded.locate(sentence, top_k=given.top, ranking=given.ranking)[0]
    moments = [{name: moment[name] for name in PLAIN} for moment in moments]
    found = {"video": given.video, "query": sentence, "moments": moments}
    is_json = given.json or not sys.stdout.isatty()
    print(json.dumps(found) if is_json else f"\n{describe_moments(sentence, moments)}", flush=True)
    if given.clip is not None and moments:
        path = numbered(given.clip, number, given)
        cut_film(given.video, (moments[0]["start_s"], moments[0]["end_s"]), path)
        print(printable(str(path)), file=sys.stderr)
    if given.picture is not None:
        path = numbered(given.picture, number, given)
        shown = {**found, "curves": encoded.curves(sentence)[0]}
        print(printable(str(draw_moments(shown, path, given.video))), file=sys.stderr)
    return found


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    given = parse_arguments(arguments)
    disable_progress_bar()  # of transformers: a second of loading
    encoded = open_video(given)
    return [
        answer(encoded, sentence, number, given)
        for number, sentence in enumerate(given.sentences or asked_sentences(), start=1)
    ]


if __name__ == "__main__":
    try:
        main()
    except (PicturesError, VideoDecodeError, OSError, ValueError) as error:
        sys.exit(printable(str(error)))
