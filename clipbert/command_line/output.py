# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Answers on stdout, as a table or as lines of JSON; progress and failures on stderr."""

import json
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tqdm import tqdm

from clipbert.support.terminal import printable, show_seconds


GAP = "  "
LEAST = 12  # columns that a text has on the narrowest terminal


class Output:
    """
    Where a command writes. A context manager: it shows a bar of progress as long as stderr is a terminal.

    Args:
        is_json (`bool`): Lines of JSON on a terminal, too; elsewhere they are always.
        unit (`str`, *optional*, defaults to `"video"`): What the bar counts; `None`: there is none.

    Attributes:
        num_failed (`int`): Inputs that there is no answer for.
    """

    def __init__(self, is_json: bool, unit: str | None = "video"):
        self.is_json = is_json or not sys.stdout.isatty()
        self.unit = unit
        self.num_failed = 0
        self._has_title = False
        if not self.is_json:
            sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may not know all letters

    def __enter__(self) -> "Output":
        is_hidden = None if self.unit else True  # `None`: where stderr is no terminal
        self._bar = tqdm(desc="loading", unit=self.unit or "", leave=False, disable=is_hidden, file=sys.stderr)
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()

    @property
    def exit_code(self) -> int:
        return int(self.num_failed > 0)

    def expect(self, total: int) -> None:
        """So many come."""
        self._bar.total = total

    def begin(self) -> None:
        """What had to be loaded is there; time counts from now on."""
        self._bar.set_description_str(refresh=False)
        self._bar.reset()

    def advance(self) -> None:
        """One more is done."""
        self._bar.update()

    def note(self, text: str) -> None:
        """A line on stderr."""
        self._print(f"clipbert: {printable(text)}", sys.stderr)

    def fail(self, reason: str) -> None:
        """An input that there is no answer for; the reason names it."""
        self.num_failed += 1
        self.note(reason)

    def write(self, record: dict[str, Any], describe: Callable[[int], Iterable[str]], title: str = "") -> None:
        """
        An answer.

        Args:
            record (`dict`): What a line of JSON holds.
            describe (`Callable`): The lines of a terminal of so many columns.
            title (`str`, *optional*): A line above the first answer on a terminal.
        """
        if self.is_json:
            self.write_json(record)
        else:
            self.write_lines(describe, title)

    def write_json(self, record: dict[str, Any]) -> None:
        try:
            self._print(json.dumps(record, allow_nan=False), sys.stdout)
        except ValueError:
            self.fail(f"{record['video']}: the model gives scores that are no numbers.")

    def write_lines(self, describe: Callable[[int], Iterable[str]], title: str = "") -> None:
        lines = list(describe(shutil.get_terminal_size().columns))
        if title and not self._has_title:
            lines.insert(0, title)
            self._has_title = True
        self._print("\n".join(lines), sys.stdout)

    def _print(self, text: str, stream: Any) -> None:
        with tqdm.external_write_mode(file=stream):
            print(text, file=stream, flush=True)


def table(rows: Sequence[Sequence[str]], columns: int, keeps_end: bool = False) -> list[str]:
    """
    Rows of three cells, a number, a text and seconds, in `columns` columns; the text is cut where there is no room for it, at its
    end, or with `keeps_end` (names of files) at its start.

    Example:
        >>> for line in table([("3.2", "a dog", "1.0 s"), ("-11.9", "a cat that sleeps in the sun", "")], 32):
        ...     print(line)
            3.2  a dog             1.0 s
          -11.9  a cat that slee…
    """
    first = max(len(row[0]) for row in rows)
    last = max(len(row[2]) for row in rows)
    room = max(columns - len(GAP) - first - len(GAP) - (last + len(GAP) if last else 0), LEAST)
    room = min(room, max(width_of(printable(row[1])) for row in rows))
    lines = []
    for number, text, seconds in rows:
        text = shorten(text, room, keeps_end)
        lines.append(f"{GAP}{number:>{first}}{GAP}{text}{' ' * (room - width_of(text))}{GAP}{seconds}".rstrip())
    return lines


def heading(text: str, columns: int) -> str:
    """The line above a table, whose end is kept: that is where the name of a file is."""
    return shorten(text, max(columns, LEAST), keeps_end=True)


def width_of(text: str) -> int:
    """
    Columns that a text takes on a terminal.

    Example:
        >>> width_of("cafe\u0301"), width_of("日本")
        (4, 4)
    """
    wide = (2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
    return sum(columns for letter, columns in zip(text, wide, strict=True) if not unicodedata.combining(letter))


def shorten(text: str, columns: int, keeps_end: bool = False) -> str:
    """
    A text as a terminal may show it, in so many columns at most.

    Example:
        >>> shorten("a dog runs", 6), shorten("videos/dog.mp4", 8, keeps_end=True), shorten("a dog", 5)
        ('a dog…', '…dog.mp4', 'a dog')
    """
    text = printable(text)
    if width_of(text) <= columns:
        return text
    while width_of(text) >= columns:
        text = text[1:] if keeps_end else text[:-1]
    return f"…{text}" if keeps_end else f"{text}…"


def span(start_s: float | None, end_s: float | None) -> str:
    """
    Seconds of a part of a video; nothing where nobody knows them.

    Example:
        >>> span(1.0, 75.5), span(2.0, 2.0)
        ('1.0 s to 1:15.5', '2.0 s')
    """
    if start_s is None or end_s is None:
        return ""
    return " to ".join(dict.fromkeys((show_seconds(start_s), show_seconds(end_s))))


def best_clip(answer: dict[str, Any]) -> str:
    """Seconds of the clip that agrees best with an answer, where there are several."""
    clips = answer.get("clips", ())
    if len(clips) < 2:
        return ""
    best = max(clips, key=lambda clip: clip["score"])
    return span(best["start_s"], best["end_s"])


__all__ = ["Output", "best_clip", "heading", "shorten", "span", "table", "width_of"]
