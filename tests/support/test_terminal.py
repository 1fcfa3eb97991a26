# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Text of other people cannot steer a terminal."""

import logging
import unicodedata

from clipbert.support.terminal import PlainFormatter, printable


def test_what_steers_a_terminal_is_written_as_an_escape():
    assert printable("a\x1b[2Kb\r\n\tc\x9b\u2028d\u202ee\ud800\ufefff") == (
        r"a\x1b[2Kb\r\n\tc\x9b\u2028d\u202ee\ud800\ufefff"
    )


def test_words_of_every_language_stay_as_they_are():
    # joiners shape letters and emoji: they are not marks of direction
    text = "chó 犬 a\u0301 می\u200cخواهم שלום 👩\u200d🚀 “quoted” \\n"
    assert printable(text) == text


def test_no_control_separator_surrogate_or_direction_mark_is_left():
    every = printable("".join(map(chr, range(0x3000))))
    assert not {unicodedata.category(letter) for letter in every} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(letter) for letter in every} & {
        "LRE",
        "RLE",
        "LRO",
        "RLO",
        "PDF",
        "LRI",
        "RLI",
        "FSI",
        "PDI",
    }


def test_log_lines_keep_their_breaks_and_nothing_else():
    record = logging.makeLogRecord({"msg": "no \x1b[31mvideo\u202e %s", "args": ("a\rb\nnext",)})
    assert PlainFormatter("%(message)s").format(record) == "no \\x1b[31mvideo\\u202e a\\rb\nnext"
