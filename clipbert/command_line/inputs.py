# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The videos that a command line names."""

import glob
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from clipbert.command_line.arguments import UsageError
from clipbert.command_line.output import Output
from clipbert.datasets_scripts.building.media import find_videos


STDIN = "-"


class Named(NamedTuple):
    """
    What a word of the command line stands for.

    Args:
        video (`str`): Path or URL of a video; the word itself where there is none.
        problem (`str`, *optional*): Why there is none.
    """

    video: str
    problem: str | None = None


def open_inputs(places: Sequence[str], output: Output) -> Iterator[str]:
    """
    Paths and URLs of videos, in order. What there is no video for is reported as failed, and the others go on.

    Args:
        places (`list[str]`): Files, URLs, folders, globs, and `-` for paths from stdin, which are read as they are needed.
        output ([`Output`]): Where failures go, and how many videos there are, as far as that is known.

    Raises:
        UsageError: If there is no video at all.
    """
    named = itertools.chain.from_iterable(map(_look_up, places))
    if STDIN not in places:
        named = list(named)
        output.expect(sum(one.problem is None for one in named))
    videos = _report(named, output)
    first = next(videos, None)
    if first is None:
        raise UsageError(f"there is no video in {', '.join(places)}.")
    return itertools.chain([first], videos)


def _report(named: Sequence[Named] | Iterator[Named], output: Output) -> Iterator[str]:
    for video, problem in named:
        if problem is None:
            yield video
        else:
            output.fail(problem)


def _look_up(place: str) -> Iterator[Named]:
    if place == STDIN:
        lines = (os.fsdecode(line.rstrip(b"\n")) for line in sys.stdin.buffer)
        yield from itertools.chain.from_iterable(_videos_of(line) for line in lines if line)
    elif os.path.lexists(place) or "://" in place or not glob.has_magic(place):  # a file may have brackets in its name
        yield from _videos_of(place)
    else:
        found = sorted(glob.iglob(place, recursive=True))
        yield from itertools.chain.from_iterable(map(_videos_of, found))
        if not found:
            yield Named(place, f"{place}: no file or folder is called so.")


def _videos_of(place: str) -> Iterator[Named]:
    """The videos of a file, a folder or a URL."""
    is_url = "://" in place and not os.path.lexists(place)
    if is_url or (os.path.exists(place) and not os.path.isdir(place)):
        yield Named(place)  # as it is written
        return
    try:
        yield from [Named(str(path)) for path in find_videos(place)]
    except OSError as error:
        yield Named(place, str(error))


__all__ = ["open_inputs"]
