# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""JSON objects larger than the memory, read entry by entry."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.records import AnnotationError, Record, open_annotation, unique_keys


CHUNK = 1 << 20  # characters read at once
LONGEST_ENTRY = 1 << 26  # characters; what is longer is no entry but broken JSON


def read_entries(path: Path) -> Iterator[Record]:
    """The entries of a JSON object, one at a time: the file may be larger than the memory."""
    with open_annotation(path) as file:
        reader = EntryReader(path, file)
        reader.expect("{")
        while reader.peek() != "}":
            if reader.entry:
                reader.expect(",")
            if (found := reader.peek()) != '"':
                raise reader.error(f"expected the name of an entry, got {found!r}")
            reader.entry = key = reader.decode()
            reader.expect(":")
            reader.peek()
            yield Record(reader.decode(), path, entry=key)
        reader.expect("}")
        if reader.peek() or not reader.entry:
            raise reader.error("expected one JSON object of videos and nothing else")


class EntryReader:
    """Takes JSON from a file piece by piece. `entry` is the key last read: where an error is."""

    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)

    def __init__(self, path: Path, file):
        self.path, self.file, self.entry = path, io.TextIOWrapper(file, encoding="utf-8-sig"), ""
        self.text, self.position = "", 0

    def error(self, message: str) -> AnnotationError:
        return Record({}, self.path, entry=self.entry or "at its beginning").error(message)

    def read_more(self) -> bool:
        """Add to the text what comes next, twice as much when an entry is long; whether there was any."""
        kept = self.text[self.position :]
        try:
            more = self.file.read(max(CHUNK, len(kept)))
        except (UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self.error(f"expected a whole file in UTF-8 ({error})") from None
        self.text, self.position = kept + more, 0
        return bool(more)

    def peek(self) -> str:
        """The next character that is no blank; empty at the end of the file."""
        while True:
            while self.position < len(self.text) and self.text[self.position] in " \t\r\n":
                self.position += 1
            if self.position < len(self.text):
                return self.text[self.position]
            if not self.read_more():
                return ""

    def expect(self, character: str) -> None:
        if (found := self.peek()) != character:
            raise self.error(f"expected {character!r} in the JSON object, got {found!r}")
        self.position += 1

    def decode(self):
        """The JSON value that begins here."""
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.position)
                # a number may go on in the next piece: only what follows shows that it is whole
                if isinstance(value, dict | list | str) or self.text[end : end + 1] in set(" \t\r\n,}"):
                    self.position = end
                    return value
                problem = f"it breaks off in {value!r}"
            except RecursionError:
                raise self.error("expected lists and objects that lie less deep in each other") from None
            except ValueError as error:
                problem = str(error)
            if len(self.text) - self.position > LONGEST_ENTRY or not self.read_more():
                raise self.error(f"expected a JSON value ({problem})")
