# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Annotation files as records that know where they stand, so that every complaint names file and line."""

import codecs
import csv
import gzip
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from clipbert.datasets_scripts.fetching import FREE_BYTES, MAX_RATIO
from clipbert.support.terminal import printable


WHOLE = re.compile(r"\d+", re.ASCII)
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LONGEST_LINE = 1 << 26  # bytes; what is longer is no line of an annotation file


def is_number(value) -> bool:
    """Whether a JSON value is a finite number: no text, no bool, no integer beyond every float."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


class AnnotationError(ValueError):
    """A record that cannot be used: the message names the file, the line and what was expected."""

    def __init__(self, message: str):
        super().__init__(printable(message))


@dataclass(frozen=True, slots=True)
class Record:
    """One record of an annotation file, with where it stands.

    Args:
        values (`dict`): The columns.
        file (`Path`): The annotation file.
        line (`int`, *optional*): Line in the file, from 1; `None` within a JSON document.
        entry (`str`, *optional*): Place within a JSON document, such as `sentences[12]` or `v_QOlSCBRmfWY`.
    """

    values: dict
    file: Path
    line: int | None = None
    entry: str = ""

    @property
    def place(self) -> str:
        """`line 12`, or `sentences[12]` within a JSON document."""
        return self.entry if self.line is None else f"line {self.line}"

    def error(self, message: str) -> AnnotationError:
        return AnnotationError(f"{self.file}, {self.place}: {message}")

    def require(self, name: str, kind: type | tuple[type, ...] = str):
        """The value of a column that has to be there, not empty and of the right type."""
        value = self.values.get(name)
        if name not in self.values:
            present = ", ".join(map(repr, self.values)) or "no column"
            raise self.error(f"expected a column {name!r}, got {present}")
        empty = value == [] or (isinstance(value, str) and not value.strip())
        if empty or not isinstance(value, kind) or isinstance(value, bool):
            kinds = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
            raise self.error(f"expected {name!r} to be a non-empty {kinds}, got {value!r:.80}")
        return value

    def number(self, name: str, kind: type = float):
        """A column as `float` that is finite, or as `int` from 0; written as a number or as text."""
        value = self.require(name, (str, int, float))
        form = WHOLE if kind is int else DECIMAL
        try:  # int() and float() would also take "1_0", "nan" and, for a whole number, 1.5
            number = kind(value)
            exact = form.fullmatch(value.strip()) if isinstance(value, str) else number == value
            if exact and math.isfinite(number) and (number >= 0 or kind is float):
                return number
        except (ValueError, OverflowError):
            pass
        wanted = "a whole number from 0" if kind is int else "a number"
        raise self.error(f"expected {name!r} to be {wanted}, got {value!r:.80}")


# --------------------------------------------------------------------------------------------------------------------
# Lines: JSON lines, tables, lists of names
# --------------------------------------------------------------------------------------------------------------------


def open_annotation(path: Path, member: str | None = None) -> io.BufferedIOBase:
    """The bytes of a file, of a `.gz`, or of the one file of that name (or the only one) in a `.zip`."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")
    if path.suffix.lower() != ".zip":
        return path.open("rb")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and is_visible(name)]
            fitting = [name for name in names if member is None or PurePosixPath(name).name == member]
            if len(fitting) != 1:
                raise AnnotationError(f"{path}: expected one file {member or ''} in it, got {', '.join(names)}")
            check_ratio(path, archive.getinfo(fitting[0]).file_size)
            return io.BytesIO(archive.read(fitting[0]))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: it wants a password
        raise AnnotationError(f"{path}: expected a whole zip archive ({error}); fetch it again") from None


def is_visible(name: str) -> bool:
    """Whether a path in an archive is one of its files: `._a.json` and `.DS_Store` are what macOS adds."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def check_ratio(path: Path, num_bytes: int) -> None:
    if num_bytes > max(FREE_BYTES, MAX_RATIO * path.stat().st_size):
        raise AnnotationError(f"{path}: refused, as it unpacks to more than {MAX_RATIO} times its size")


@contextmanager
def reading(path: Path, member: str | None = None) -> Iterator[io.BufferedIOBase]:
    """`open_annotation` for the time of a `with`, in which a damaged `.gz` becomes an `AnnotationError`."""
    with open_annotation(path, member) as file:
        try:
            yield file
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise AnnotationError(f"{path}: expected a whole gzip file ({error}); fetch it again") from None


def decode_lines(file: io.BufferedIOBase, path: Path) -> Iterator[str]:
    """Lines with their ends; each is decoded by itself, so that a wrong byte is reported with its line."""
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
        if len(line) == LONGEST_LINE:
            raise AnnotationError(f"{path}, line {number}: expected a line of less than {LONGEST_LINE:,} bytes")
        if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise AnnotationError(f"{path}, line 1: expected UTF-8, got UTF-16 or UTF-32. Save it as UTF-8")
        try:
            text = line.decode("utf-8-sig")  # files that were joined have a byte order mark within, too
        except UnicodeDecodeError as error:
            raise AnnotationError(f"{path}, line {number}: expected UTF-8, got {line[:40]!r} ({error})") from None
        if "\0" in text:
            raise AnnotationError(f"{path}, line {number}: expected text, got a NUL character in {text[:40]!r}")
        if number == 1 and "\r" in text.rstrip("\r\n"):
            raise AnnotationError(f"{path}, line 1: expected lines that end in LF or CR LF, got CR alone")
        yield text


def read_lines(path: Path, member: str | None = None) -> Iterator[Record]:
    """Lines that are not empty, without line ends, as `{"line": text}`; UTF-8 with or without a byte order mark."""
    with reading(path, member) as lines:  # bytes: `open(..., encoding=)` breaks when `datasets` streams
        for number, line in enumerate(decode_lines(lines, path), start=1):
            if line.strip():
                yield Record({"line": line.rstrip("\r\n")}, path, number)


def read_jsonl(path: Path) -> Iterator[Record]:
    """One JSON object a line; empty lines are passed over."""
    with reading(path) as lines:
        for number, line in enumerate(decode_lines(lines, path), start=1):
            if not line.strip():
                continue
            try:
                values = parse_json(line.strip())
            except ValueError as error:
                # not `error`, which counts lines of its own
                reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
                raise AnnotationError(
                    f"{path}, line {number}: expected one JSON object a line, got {line[:80].strip()!r} ({reason})"
                ) from None
            record = Record(values, path, number)
            if not isinstance(values, dict):
                raise record.error(
                    f"expected a JSON object such as {{...}}, got {type(values).__name__}: {values!r:.80}"
                )
            yield record


def read_csv(
    path: Path,
    delimiter: str = ",",
    columns: list[str] | None = None,
    quoting: int = csv.QUOTE_MINIMAL,
    required: Iterable[str] = (),
) -> Iterator[Record]:
    """A table; every value is text. `line` is the last line of a record that spans several. Empty lines are passed over.

    Args:
        path (`Path`): The file, in UTF-8.
        delimiter (`str`, defaults to `","`): What separates columns.
        columns (`list[str]`, *optional*): Names of the columns; `None`: the first line has them.
        quoting (`int`, defaults to `csv.QUOTE_MINIMAL`): `csv.QUOTE_NONE` where quotes are letters like any other.
        required (iterable of `str`, *optional*): Names that the first line has to have, even if no other line follows.

    Raises:
        AnnotationError: If a line has more or fewer columns, or is no CSV; or if the line of names is not there or has
            one of them twice.
    """
    with reading(path) as file:
        lines = decode_lines(file, path)
        reader = csv.DictReader(lines, fieldnames=columns, delimiter=delimiter, strict=True, quoting=quoting)
        last = 0  # line on which the record before ended: an error in the next one is reported where that begins
        try:
            names = reader.fieldnames
            if not names:
                raise AnnotationError(f"{path}: expected a line with the names of the columns, the file is empty")
            if len(set(names)) < len(names):
                raise AnnotationError(f"{path}, line {reader.line_num}: expected every column once, got {names}")
            if missing := [name for name in required if name not in names]:
                raise AnnotationError(f"{path}, line {reader.line_num}: expected columns {missing} too, got {names}")
            last = reader.line_num
            for values in reader:
                record = Record(values, path, reader.line_num)
                if None in values or None in values.values():
                    raise record.error(f"expected the {len(names)} columns {names}, got {values}")
                last = reader.line_num
                yield record
        except csv.Error as error:
            raise AnnotationError(f"{path}, line {last + 1}: expected a line of CSV ({error})") from None


# --------------------------------------------------------------------------------------------------------------------
# JSON documents
# --------------------------------------------------------------------------------------------------------------------


def parse_json(text: str):
    """A JSON value. A key that stands twice in one object is a `ValueError`, and so are thousands of brackets."""
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except RecursionError:
        raise ValueError("its lists and objects lie too deep in each other") from None


def read_json(path: Path, member: str | None = None):
    """A whole JSON document, from a `.zip` or `.gz` too; see `parse_json`."""
    with reading(path, member) as file:
        most = max(FREE_BYTES, MAX_RATIO * path.stat().st_size)  # of what may be compressed; else all of it
        data = file.read(most + 1)
    check_ratio(path, len(data))
    try:
        return parse_json(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AnnotationError(f"{path}, line {line}: expected a JSON document in UTF-8 ({error})") from None
    except ValueError as error:
        raise AnnotationError(f"{path}: expected a JSON document in UTF-8 ({error})") from None


def read_json_list(path: Path, key: str | None = None, member: str | None = None) -> Iterator[Record]:
    """The objects of a JSON list, or of the list that stands under `key` of a JSON object."""
    yield from iterate_entries(read_json(path, member), path, key)


def iterate_entries(document, path: Path, key: str | None = None) -> Iterator[Record]:
    """The same for a document that `read_json` gave."""
    if key is not None and not (isinstance(document, dict) and key in document):
        found = (
            f"an object with {', '.join(document)}" if isinstance(document, dict) else f"a {type(document).__name__}"
        )
        raise AnnotationError(f"{path}: expected a JSON object with {key!r}, got {found}")
    listed = document if key is None else document[key]
    if not isinstance(listed, list):
        raise AnnotationError(f"{path}: expected a JSON list{key and f' {key!r}' or ''}, got {type(listed).__name__}")
    for index, values in enumerate(listed):
        record = Record(values, path, entry=f"{key or ''}[{index}]")
        if not isinstance(values, dict):
            raise record.error(f"expected a JSON object such as {{...}}, got {values!r:.80}")
        yield record


def read_json_dict(path: Path, member: str | None = None) -> Iterator[tuple[str, Record]]:
    """Key and object of each entry of a JSON object of objects."""
    document = read_json(path, member)
    if not isinstance(document, dict):
        raise AnnotationError(f"{path}: expected a JSON object, got {type(document).__name__}")
    for name, values in document.items():
        record = Record(values, path, entry=name)
        if not isinstance(values, dict):
            raise record.error(f"expected a JSON object such as {{...}}, got {values!r:.80}")
        yield name, record


def unique_keys(pairs: list[tuple[str, object]]) -> dict:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return values
