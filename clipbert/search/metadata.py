# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Columns of the user's own: what a file, or a mapping, tells of videos, as values of four types by the ids of the videos; and their captions.

    captions.jsonl   {"video": "a.mp4", "caption": "a dog runs", "camera": "left", "stars": 5}
                     {"video": "b.mp4", "caption": ["a cat sleeps", "a pet on a sofa"]}
    table.csv        video,camera,stars
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from os.path import abspath, isdir, join, realpath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipbert.datasets_scripts.building.media import relative_name
from clipbert.datasets_scripts.building.records import DECIMAL, AnnotationError, Record, read_csv, read_jsonl
from clipbert.search.errors import SearchIndexError
from clipbert.search.filters import MAX_TEXT
from clipbert.search.roots import LocalRoot, clean_name, open_root, rest_of, shown
from clipbert.search.rows import METADATA_TYPES, metadata_field


NAMES = (
    "video",
    "video_name",
    "video_id",
)  # the columns that may name the video; the first of them that is there does
CAPTION, CAPTIONS = "caption", "captions"
CAPTION_ID = "caption_id"  # of which a video may have several values, too: the first is kept
READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".tsv": lambda path: read_csv(path, delimiter="\t"),
}
WHOLE = re.compile(r"0|-?[1-9]\d*", re.ASCII)  # 007 is a text
TRUTH = {"true": True, "false": False}


@dataclass
class Metadata:
    """
    What is known of some videos.

    Args:
        types (`dict[str, type]`): `str`, `bool`, `int` or `float`, by column; `list`, of texts, for `captions`. A column without any value
            has none.
        rows (`dict[str, dict]`): Values by column, by the id of the video; `None` where there is expressly none. A video with a caption has
            the first one as `caption`, and all of them as `captions` if there are several, else `None`.
    """

    types: dict[str, type]
    rows: dict[str, dict[str, Any]]


class Line(NamedTuple):
    """What one line of a source says of one video."""

    place: str  # for messages
    video: str
    values: dict[str, Any]


def read_metadata(source: Any, root: str | os.PathLike) -> Metadata:
    """
    Metadata of videos of a collection; of others, too.

    Args:
        source: One of

            - a file in JSON lines, `.csv` or `.tsv` (with a line of names) whose column `video` names videos as `video_folder` reads them:
              relative to the folder of the file, or to a folder `videos/` there; where that folder is neither above nor below the root,
              relative to the root. In tables an empty cell is no value, and a column whose texts are all whole numbers, numbers, or true and
              false is one of these. A column `video_id` beside `video` is left out;
            - a mapping from ids of videos to values by column;
            - an iterable of values by column, of which `video` is the id.

            A video may be named several times, if no column but `caption` and `caption_id` has another value. `caption` may be a list, and
            may be called `captions`. The column `caption` then has the first one, `captions` all of them; of `caption_id` the first is kept.
        root (`str` or `os.PathLike`): The root of the collection: a folder, or an address.

    Returns:
        [`Metadata`].

    Raises:
        SearchIndexError: If it cannot be read, or used as columns of an index; the message names the line.
    """
    rows: dict[str, dict[str, Any]] = {}
    seen: dict[str, dict[type, str]] = {}  # where a column has first a value of a type
    places: dict[str, str] = {}
    captions: dict[str, list[str]] = {}
    names: set[str] = set()
    for place, video, values in _read_lines(source, root):
        _check_names(values.keys() - names, place)
        names |= values.keys()
        row = rows.setdefault(video, {})
        if (texts := _take_captions(values, place)) is not None:
            captions.setdefault(video, []).extend(texts)
        first = places.setdefault(video, place)
        for name, value in values.items():
            value = _checked(name, value, place)
            if value is not None:
                seen.setdefault(name, {}).setdefault(type(value), place)
            if row.setdefault(name, value) != value and name != CAPTION_ID:
                raise SearchIndexError(
                    f"{place}: {name!r} of {shown(video)!r} is {value!r:.100}, but {row[name]!r:.100} in {first}."
                )
    types = {name: _common_type(name, kinds) for name, kinds in seen.items()}
    for video, row in rows.items():
        for name, value in row.items():
            if isinstance(value, int) and types[name] is float:
                row[name] = _to_float(name, value, places[video])
    for video, texts in captions.items():
        rows[video] |= {CAPTION: texts[0] if texts else None, CAPTIONS: texts if len(texts) > 1 else None}
    kinds = {CAPTION: str} if any(captions.values()) else {}
    several = {CAPTIONS: list} if any(len(texts) > 1 for texts in captions.values()) else {}
    return Metadata(kinds | several | types, rows)


# ---------------------------------------------------------------------------------------------------------------------
# Sources
# ---------------------------------------------------------------------------------------------------------------------


def _read_lines(source: Any, root: str | os.PathLike) -> Iterator[Line]:
    if isinstance(source, str | os.PathLike):
        yield from _read_file(Path(source), root)
    elif isinstance(source, Mapping):
        for video, values in source.items():
            yield _line(f"Metadata of {video!r:.300}", {"video": video}, values)
    elif isinstance(source, Iterable):
        for number, values in enumerate(source):
            yield _line(f"Metadata, row {number}", values, values)
    else:
        raise SearchIndexError(
            f"Metadata: expected a file, a mapping or rows, got {type(source).__name__}: {source!r:.100}"
        )


def _line(place: str, name: Any, values: Any) -> Line:
    if not isinstance(values, Mapping):
        raise SearchIndexError(f"{place}: expected values by column, got {type(values).__name__}: {values!r:.100}")
    return Line(place, _located(place, clean_name, _take_name(place, name)), _without_name(values))


def _read_file(path: Path, root: str | os.PathLike) -> Iterator[Line]:
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise SearchIndexError(f"{path}: expected a file of metadata that ends in {', '.join(READERS)}.")
    try:
        records = read(path)
        records = records if read is read_jsonl else _typed(list(records))
        to_id = _id_maker(os.path.dirname(abspath(path)), root)
        for record in records:
            place = f"{path}, {record.place}"
            name = _take_name(place, record.values)
            yield Line(place, _located(place, to_id, name), _without_name(record.values))
    except (AnnotationError, OSError) as error:
        raise SearchIndexError(str(error)) from error


def _id_maker(folder: str, root: str | os.PathLike) -> Callable[[str], str]:
    """Ids of the videos that a file in a folder names."""
    base = open_root(root)
    ways = [(folder, base.path), (realpath(folder), base.real)] if isinstance(base, LocalRoot) else []
    inside = _first(rest_of(folder, place, os.sep) for folder, place in ways)
    around = _first(rest_of(place, folder, os.sep) for folder, place in ways)
    if inside is None and around is None:
        return lambda name: clean_name(relative_name(name))
    has_videos = isdir(join(folder, "videos"))

    def to_id(name: str) -> str:
        name = relative_name(name)
        if has_videos and name.partition("/")[0] != "videos":
            name = f"videos/{name}"
        if inside is not None:
            return clean_name("/".join([*filter(None, inside.split(os.sep)), name]))
        below = rest_of(name, around.replace(os.sep, "/"), "/")
        if not below:
            raise SearchIndexError(
                f"{shown(name)!r:.300} in {folder}: expected a video below the root of the collection, {root}."
            )
        return clean_name(below)

    return to_id


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)


def _located(place: str, to_id: Callable[[str], str], name: str) -> str:
    try:
        return to_id(name)
    except ValueError as error:
        raise SearchIndexError(f"{place}: {error}") from error


def _take_name(place: str, values: Mapping[str, Any]) -> str:
    named = next((values[name] for name in NAMES if name in values), None)
    if not isinstance(named, str) or not named.strip():
        raise SearchIndexError(f"{place}: expected a column 'video' that names one, got {dict(values)!r:.200}")
    return named


def _without_name(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in NAMES}


def _typed(records: list[Record]) -> list[Record]:
    """The rows of a table, where all is text, with values of types."""
    names = [
        name for name in (records[0].values if records else ()) if name not in (*NAMES, CAPTION, CAPTIONS, CAPTION_ID)
    ]
    for name in names:
        parse = _choose_parser([record.values[name] for record in records if record.values[name] != ""])
        for record in records:
            record.values[name] = parse(record.values[name]) if record.values[name] != "" else None
    return records


def _choose_parser(texts: list[str]) -> Callable[[str], Any]:
    """What all texts of a column can be read as."""
    if all(text.lower() in TRUTH for text in texts):
        return lambda text: TRUTH[text.lower()]
    if all(WHOLE.fullmatch(text) and -(2**63) <= int(text[:21]) < 2**63 for text in texts):
        return int
    if all(DECIMAL.fullmatch(text) and math.isfinite(float(text)) for text in texts) and not any(
        re.fullmatch(r"[+-]?0\d.*", text) or WHOLE.fullmatch(text) and int(float(text)) != int(text) for text in texts
    ):
        return float
    return str


# ---------------------------------------------------------------------------------------------------------------------
# Values
# ---------------------------------------------------------------------------------------------------------------------


def _check_names(names: Iterable[Any], place: str) -> None:
    for name in names:
        try:
            metadata_field(str(name), str)
        except SearchIndexError as error:
            raise SearchIndexError(f"{place}: {error}") from error


def _take_captions(values: dict[str, Any], place: str) -> list[str] | None:
    """The captions of a line, out of its values; `None` if it has no such column."""
    found = []
    for name in (CAPTIONS, CAPTION):  # what an index tells of a video has both
        if name in values:
            given = values.pop(name)
            texts = given if isinstance(given, list) else [] if given is None else [given]
            if not all(isinstance(text, str) for text in texts):
                raise SearchIndexError(
                    f"{place}: expected {name!r} to be a text, or a list of texts, got {given!r:.200}"
                )
            found.append([_checked(name, text, place) for text in texts if text])
    return next(filter(None, found), found[0] if found else None)


def _checked(name: str, value: Any, place: str) -> Any:
    """A value, if a column may have it."""

    def refuse(expected: str):
        raise SearchIndexError(
            f"{place}: expected {name!r} to be {expected}, got {type(value).__name__} {value!r:.100}"
        )

    value = value.item() if isinstance(value, np.generic) else value
    if value is None:
        return None
    if type(value) not in METADATA_TYPES or isinstance(value, list):
        refuse("a text, a number, true or false")
    if isinstance(value, float) and not math.isfinite(value):
        refuse("a finite number, or null")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        refuse("a whole number of 64 bits")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        refuse(f"at most {MAX_TEXT} characters, of which there are {len(value)}")
    if isinstance(value, str) and re.search("[\0\ud800-\udfff]", value):
        refuse("a text of whole Unicode characters without NUL")
    return value


def _common_type(name: str, kinds: Mapping[type, str]) -> type:
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds.keys() == {int, float}:
        return float
    found = ", ".join(f"{kind.__name__} ({place})" for kind, place in kinds.items())
    raise SearchIndexError(f"The column {name!r} of metadata has values of several types: {found}.")


def _to_float(name: str, value: int, place: str) -> float:
    if float(value) != value:
        raise SearchIndexError(f"{place}: {name!r} has fractions elsewhere, and {value} cannot be kept beside them.")
    return float(value)


__all__ = ["Metadata", "read_metadata"]
