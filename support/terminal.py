# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Text of other people (names of files, captions, labels), and seconds, as a terminal, a log or a model card may show them."""

import logging
import re


# C0 and C1 controls, line and paragraph separators, marks that change the direction of writing, lone surrogates, BOM
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def printable(text: str) -> str:
    r"""
    `text` with control characters, line breaks, lone surrogates and direction marks written as escapes (`\x1b`).

    Example:
        >>> print(printable("a\x1b[31mred\n\u202ename"))
        a\x1b[31mred\n\u202ename
    """
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def printable_lines(text: str) -> str:
    """As [`printable`], but text of several lines keeps them."""
    return "\n".join(map(printable, text.split("\n")))


def show_seconds(seconds: float) -> str:
    """
    Seconds as a table has them, with minutes and hours where there are any.

    Example:
        >>> show_seconds(7.25), show_seconds(75), show_seconds(3675.96)
        ('7.2 s', '1:15.0', '1:01:16.0')
    """
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{tenths / 10:04.1f}"
    return f"{minutes}:{tenths / 10:04.1f}" if minutes else f"{tenths / 10:.1f} s"


def show_bytes(count: int) -> str:
    """
    Bytes with three digits, in units of 1,000.

    Example:
        >>> show_bytes(980), show_bytes(7_344_000), show_bytes(612_300)
        ('980 B', '7.3 MB', '612 kB')
    """
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000
    return f"{size:.1f} {unit}" if unit != "B" and size < 9.95 else f"{size:,.0f} {unit}"


class PlainFormatter(logging.Formatter):
    """Log lines whose parts may come from names of files, captions and labels."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


__all__ = ["PlainFormatter", "printable", "printable_lines", "show_bytes", "show_seconds"]
