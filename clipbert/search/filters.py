# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Which rows of an index are meant, as expressions that are typed and compiled: no text of a user's becomes a part of a query.

    (field("duration_s") < 600) & (field("folder").startswith("holiday") | ~field("camera").is_in(["a", "b"]))

A row without a value (NULL) fits `is_null()` and nothing else: `field("camera") != "a"` leaves it out, and so does `~(field("camera") == "a")`.
Texts are compared character by character, in the order of Unicode; `%`, `_` and `*` are characters as any other.

`check` fits a filter to the columns of an index, and refuses what makes no sense there; `to_sql` and `to_qdrant` translate what it returns;
`matches` says what they mean.
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from clipbert.search.errors import SearchIndexError
from clipbert.support.names import did_you_mean


if TYPE_CHECKING:
    from qdrant_client import models as qdrant


MAX_TEXT = 10_000  # characters of a text, here and in metadata
MAX_VALUES = 100_000  # of `is_in`: LanceDB takes a second to read them
MAX_TESTS = 1_000  # of a filter
MAX_DEPTH = 20  # of & in | in & ...: the parser of LanceDB stops at some 40
EXACT_IN_DOUBLE = 2**53  # whole numbers below it

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OPPOSITES = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "starts_with": str.startswith,
    "ends_with": str.endswith,
    "contains": operator.contains,
}
_PARENTHESES = (
    "join conditions by & and |, negate them by ~, each in parentheses: (field('a') < 5) & ~(field('b') == 'x')"
)


class Filter:
    """A condition that a row fits or not; see [`field`]. `&`, `|` and `~` make further ones."""

    def __and__(self, other: "Filter") -> "Filter":
        return AllOf(_joined(AllOf, self, other))

    def __or__(self, other: "Filter") -> "Filter":
        return AnyOf(_joined(AnyOf, self, other))

    __rand__, __ror__ = __and__, __or__  # of 5 & (field("a") < 5), to refuse it

    def __bool__(self):
        raise TypeError(f"A filter is neither true nor false (`and`, `or`, `not`, a < x < b): {_PARENTHESES}.")


@dataclass(frozen=True)
class Comparison(Filter):
    """The value of a column beside another: `==`, `!=`, `<`, `<=`, `>` or `>=`."""

    name: str
    sign: str
    value: str | bool | int | float

    def __invert__(self) -> Filter:
        return replace(self, sign=_OPPOSITES[self.sign])


@dataclass(frozen=True)
class TextTest(Filter):
    """What a text begins with, ends with or contains: `starts_with`, `ends_with` or `contains`."""

    name: str
    test: str
    text: str
    negated: bool = False

    def __invert__(self) -> Filter:
        return replace(self, negated=not self.negated)


@dataclass(frozen=True)
class Membership(Filter):
    """Whether a value is one of some."""

    name: str
    values: tuple[str | bool | int | float, ...]
    negated: bool = False

    @cached_property
    def known(self) -> frozenset:
        return frozenset(self.values)

    def __invert__(self) -> Filter:
        return replace(self, negated=not self.negated)


@dataclass(frozen=True)
class NullTest(Filter):
    """Whether there is no value; `negated`: whether there is one."""

    name: str
    negated: bool = False

    def __invert__(self) -> Filter:
        return replace(self, negated=not self.negated)


@dataclass(frozen=True)
class AllOf(Filter):
    """Rows that fit all of some filters; of none, all rows."""

    parts: tuple[Filter, ...]

    def __invert__(self) -> Filter:
        return AnyOf(tuple(~part for part in self.parts))


@dataclass(frozen=True)
class AnyOf(Filter):
    """Rows that fit one or more of some filters; of none, no row."""

    parts: tuple[Filter, ...]

    def __invert__(self) -> Filter:
        return AllOf(tuple(~part for part in self.parts))


NOTHING = AnyOf(())


def _joined(kind: type[AllOf] | type[AnyOf], *filters: Filter) -> tuple[Filter, ...]:
    """The parts of a chain such as a & b & c, side by side."""
    if strangers := [each for each in filters if not isinstance(each, Filter)]:
        raise TypeError(f"A filter: expected another, got {strangers[0]!r:.100}; {_PARENTHESES}.")
    return tuple(part for each in filters for part in (each.parts if isinstance(each, kind) else (each,)))


class Field:
    """A column, from which comparisons make a [`Filter`]; see [`field`]."""

    __array_ufunc__ = None  # numpy's numbers leave comparisons to us
    __hash__ = None

    def __init__(self, name: str):
        self.name = name

    def __repr__(self):
        return f"field({self.name!r})"

    def __eq__(self, value) -> Filter:
        return Comparison(self.name, "==", _plain(value))

    def __ne__(self, value) -> Filter:
        return Comparison(self.name, "!=", _plain(value))

    def __lt__(self, value) -> Filter:
        return Comparison(self.name, "<", _plain(value))

    def __le__(self, value) -> Filter:
        return Comparison(self.name, "<=", _plain(value))

    def __gt__(self, value) -> Filter:
        return Comparison(self.name, ">", _plain(value))

    def __ge__(self, value) -> Filter:
        return Comparison(self.name, ">=", _plain(value))

    def startswith(self, text: str) -> Filter:
        """Texts that begin with this one."""
        return TextTest(self.name, "starts_with", text)

    def endswith(self, text: str) -> Filter:
        """Texts that end with this one."""
        return TextTest(self.name, "ends_with", text)

    def contains(self, text: str) -> Filter:
        """Texts that have this one in them."""
        return TextTest(self.name, "contains", text)

    def is_in(self, values: Iterable[str | bool | int | float]) -> Filter:
        """Values that are one of these, of which there may be 100,000."""
        if isinstance(values, str):
            raise TypeError(f"{self!r}.is_in: expected several values, got the text {values!r:.100}.")
        return Membership(self.name, tuple(_plain(value) for value in values))

    def is_null(self) -> Filter:
        """Rows that have no value here."""
        return NullTest(self.name)

    def _no_condition(self, *_):
        raise TypeError(f"{self!r} is a column, and no condition; {_PARENTHESES}.")

    __bool__ = __and__ = __rand__ = __or__ = __ror__ = __invert__ = _no_condition


def field(name: str) -> Field:
    """
    A column of an index, to be compared with values: `==, !=, <, <=, >, >=`, `startswith`, `endswith`, `contains`, `is_in`, `is_null`.

    Args:
        name (`str`): Of a fact (`"video_id"`, `"folder"`, `"start_s"`, `"duration_s"`, `"size"` ...) or of a column of metadata.

    Example:
        >>> short = (field("duration_s") < 600) & ~field("folder").startswith("holiday")
        >>> matches(short, {"duration_s": 20.0, "folder": "work"}), matches(short, {"duration_s": 20.0, "folder": None})
        (True, False)
    """
    return Field(name)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


# ---------------------------------------------------------------------------------------------------------------------
# Meaning
# ---------------------------------------------------------------------------------------------------------------------


def matches(filter: Filter, row: Mapping[str, Any]) -> bool:
    """Whether a row, a value by column, fits a filter. `None` and a missing column are NULL."""
    if isinstance(filter, AllOf):
        return all(matches(part, row) for part in filter.parts)
    if isinstance(filter, AnyOf):
        return any(matches(part, row) for part in filter.parts)
    value = row.get(filter.name)
    if isinstance(filter, NullTest):
        return (value is None) != filter.negated
    if value is None:
        return False
    if isinstance(filter, Comparison):
        return _COMPARISONS[filter.sign](value, filter.value)
    if isinstance(filter, TextTest):
        return _TEXT_TESTS[filter.test](value, filter.text) != filter.negated
    return (value in filter.known) != filter.negated


# ---------------------------------------------------------------------------------------------------------------------
# Columns
# ---------------------------------------------------------------------------------------------------------------------


def check(filter: Filter, schema: pa.Schema) -> Filter:
    """
    A filter fitted to the columns of an index: the same meaning, with values of the columns' own types.

    Args:
        filter ([`Filter`]): Made by [`field`].
        schema (`pa.Schema`): Of the index. Columns of text, of true and false, of whole numbers and of float64 can be filtered.

    Raises:
        SearchIndexError: If a column is unknown or has lists, if a value is not of its type, or if the filter is too long.
    """
    if not isinstance(filter, Filter):
        raise SearchIndexError(f"A filter: expected a condition such as field('size') < 1000, got {filter!r:.200}.")
    if (depth := _depth(filter)) > MAX_DEPTH:
        raise SearchIndexError(f"A filter: expected at most {MAX_DEPTH} levels of & and |, got {depth}.")
    if (tests := sum(1 for _ in _leaves(filter))) > MAX_TESTS:
        raise SearchIndexError(f"A filter: expected at most {MAX_TESTS} conditions, got {tests}: see `is_in`.")
    return _fit(filter, schema)


def _depth(filter: Filter) -> int:
    deepest, waiting = 0, [(filter, 1)]
    while waiting:
        each, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting += [(part, depth + 1) for part in getattr(each, "parts", ())]
    return deepest


def _leaves(filter: Filter) -> Iterator[Filter]:
    if isinstance(filter, AllOf | AnyOf):
        for part in filter.parts:
            yield from _leaves(part)
    else:
        yield filter


def _fit(filter: Filter, schema: pa.Schema) -> Filter:
    if isinstance(filter, AllOf | AnyOf):
        return type(filter)(_joined(type(filter), *(_fit(part, schema) for part in filter.parts)))
    kind = _column_type(filter.name, schema)
    if isinstance(filter, Comparison):
        return _fit_comparison(filter, kind)
    if isinstance(filter, TextTest):
        if not _is_text(kind):
            raise SearchIndexError(f"The column {filter.name!r} has {kind}: {filter.test} needs a column of text.")
        _check_value(filter.name, kind, filter.text)
    if isinstance(filter, Membership):
        return _fit_membership(filter, kind)
    return filter


def check_columns(names: Iterable[str], schema: pa.Schema) -> None:
    """
    Columns that are asked for, of any type.

    Raises:
        SearchIndexError: If the index has no such column.
    """
    for name in names:
        if name not in schema.names:
            raise SearchIndexError(f"The index has no column {name!r:.200}. {did_you_mean(name, schema.names)}")


def _column_type(name: str, schema: pa.Schema) -> pa.DataType:
    scalars = [
        each.name for each in schema if _is_scalar(each.type) and each.name.isidentifier()
    ]  # nothing to be quoted
    if name in scalars:
        return schema.field(name).type
    if name in schema.names:
        raise SearchIndexError(f"The column {name!r} has {schema.field(name).type}, which cannot be filtered.")
    raise SearchIndexError(f"The index has no column {name!r:.200}. {did_you_mean(name, scalars)}")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_scalar(kind: pa.DataType) -> bool:
    return _is_text(kind) or any(
        fits(kind) for fits in (pa.types.is_boolean, pa.types.is_signed_integer, pa.types.is_float64)
    )


def _check_value(name: str, kind: pa.DataType, value: Any) -> None:
    def refuse(expected: str):
        hint = " For rows without a value there is is_null()." if value is None else ""
        got = "None" if value is None else f"the {type(value).__name__} {value!r:.100}"
        raise SearchIndexError(f"The column {name!r} has {kind}: expected {expected}, got {got}.{hint}")

    if _is_text(kind):
        if not isinstance(value, str):
            refuse("a text")
        if len(value) > MAX_TEXT:
            refuse(f"at most {MAX_TEXT} characters")
        if "\0" in value or not _is_unicode(value):
            refuse("a text of whole Unicode characters without NUL")
    elif pa.types.is_boolean(kind):
        if not isinstance(value, bool):
            refuse("True or False")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        refuse("a number")
    elif isinstance(value, float) and not math.isfinite(value):
        refuse("a finite number")
    elif pa.types.is_float64(kind) and not _is_exact(value):
        refuse("a number that float64 can hold")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character
        return False
    return True


def _is_exact(number: int | float) -> bool:
    try:
        return float(number) == number
    except OverflowError:
        return False


def _fit_comparison(test: Comparison, kind: pa.DataType) -> Filter:
    _check_value(test.name, kind, test.value)
    if pa.types.is_boolean(kind) and test.sign not in ("==", "!="):
        raise SearchIndexError(f"The column {test.name!r} has {kind}: expected == or !=, got {test.sign}.")
    if pa.types.is_float64(kind):
        return replace(test, value=float(test.value))
    return _fit_whole(test, kind) if pa.types.is_signed_integer(kind) else test


def _fit_whole(test: Comparison, kind: pa.DataType) -> Filter:
    """A column of whole numbers beside any number: n < 1.5 is n <= 1, and n < 2**80 fits all that have a value."""
    low, high = -(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1
    anything = NullTest(test.name, negated=True)
    if test.sign in ("==", "!="):
        if test.value == int(test.value) and low <= test.value <= high:
            return replace(test, value=int(test.value))
        return NOTHING if test.sign == "==" else anything
    if test.sign in ("<", "<="):
        sign, bound = "<=", math.floor(test.value) if test.sign == "<=" else math.ceil(test.value) - 1
        fits, impossible = bound >= high, bound < low
    else:
        sign, bound = ">=", math.ceil(test.value) if test.sign == ">=" else math.floor(test.value) + 1
        fits, impossible = bound <= low, bound > high
    if fits or impossible:
        return anything if fits else NOTHING
    return Comparison(test.name, sign, bound)


def _fit_membership(test: Membership, kind: pa.DataType) -> Filter:
    if len(test.values) > MAX_VALUES:
        raise SearchIndexError(
            f"is_in of {test.name!r}: expected at most {MAX_VALUES} values, got {len(test.values)}."
        )
    for value in test.values:
        _check_value(test.name, kind, value)
    values = test.values
    if pa.types.is_boolean(kind):
        wanted = {True, False} - test.known if test.negated else test.known
        return AnyOf(tuple(Comparison(test.name, "==", value) for value in sorted(wanted)))
    if pa.types.is_float64(kind):
        values = map(float, values)
    elif pa.types.is_signed_integer(kind):
        high = 2 ** (kind.bit_width - 1)
        values = (int(value) for value in values if value == int(value) and -high <= value < high)
    values = tuple(dict.fromkeys(values))
    if not values:
        return NullTest(test.name, negated=True) if test.negated else NOTHING
    return replace(test, values=values)


# ---------------------------------------------------------------------------------------------------------------------
# Languages of stores
# ---------------------------------------------------------------------------------------------------------------------


def to_sql(filter: Filter, schema: pa.Schema) -> str:
    """
    A filter in the SQL of LanceDB.

    Raises:
        SearchIndexError: See [`check`].
    """
    return _sql(check(filter, schema))


def _sql(filter: Filter) -> str:
    if isinstance(filter, AllOf):
        return (
            " AND ".join(f"({_sql(part)})" if isinstance(part, AnyOf) else _sql(part) for part in filter.parts)
            or "TRUE"
        )
    if isinstance(filter, AnyOf):
        return " OR ".join(_sql(part) for part in filter.parts) or "FALSE"  # AND binds closer
    name = f"`{filter.name}`"
    if isinstance(filter, NullTest):
        return f"{name} IS NOT NULL" if filter.negated else f"{name} IS NULL"
    if isinstance(filter, Comparison):
        sign = {"==": "=", "!=": "<>"}.get(filter.sign, filter.sign)
        return f"{name} {sign} {_sql_value(filter.value)}"
    negation = "NOT " if filter.negated else ""
    if isinstance(filter, TextTest):
        return f"{negation}{filter.test}({name}, {_sql_value(filter.text)})"
    return f"{name} {negation}IN ({', '.join(map(_sql_value, filter.values))})"


def _sql_value(value: str | bool | int | float) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bool):
        return str(value).upper()
    if value == -(2**63) and isinstance(value, int):  # its digits alone would be one too many
        return f"CAST('{value}' AS BIGINT)"
    return repr(value)


def to_qdrant(filter: Filter, schema: pa.Schema) -> "qdrant.Filter":
    """
    A filter of Qdrant. NULL is a key that a point's payload has not, or has as `null`.

    Raises:
        SearchIndexError: See [`check`]; and where Qdrant cannot do it exactly: parts of texts, the order of texts, and that of whole
            numbers of 2**53 and more, which it compares as float64.
    """
    return _qdrant(check(filter, schema))


def _qdrant(filter: Filter) -> "qdrant.Filter":
    from qdrant_client import models as qdrant

    if isinstance(filter, AllOf):
        return qdrant.Filter(must=[_qdrant(part) for part in filter.parts])
    if isinstance(filter, AnyOf):
        if not filter.parts:  # an empty list would be no condition
            return qdrant.Filter(must=[qdrant.HasIdCondition(has_id=[])])
        return qdrant.Filter(should=[_qdrant(part) for part in filter.parts])
    missing = qdrant.IsEmptyCondition(is_empty=qdrant.PayloadField(key=filter.name))
    if isinstance(filter, NullTest):
        return qdrant.Filter(must_not=[missing]) if filter.negated else qdrant.Filter(must=[missing])
    fits, negated = _qdrant_test(filter)
    return qdrant.Filter(must_not=[*fits, missing]) if negated else qdrant.Filter(should=fits)


def _qdrant_test(filter: Comparison | TextTest | Membership) -> tuple[list["qdrant.FieldCondition"], bool]:
    """Conditions of which one or more must hold, or none."""
    from qdrant_client import models as qdrant

    def condition(**test):
        return qdrant.FieldCondition(key=filter.name, **test)

    if isinstance(filter, TextTest):
        raise SearchIndexError(
            f"{filter.test} of the column {filter.name!r}: Qdrant compares whole texts. Use == or is_in, or a LanceDB index."
        )
    if isinstance(filter, Comparison) and filter.sign not in ("==", "!="):
        if isinstance(filter.value, str):
            raise SearchIndexError(
                f"{filter.sign} of the column {filter.name!r}: Qdrant does not order texts. Use == or is_in, or a LanceDB index."
            )
        if isinstance(filter.value, int) and abs(filter.value) >= EXACT_IN_DOUBLE:
            raise SearchIndexError(
                f"{filter.sign} of the column {filter.name!r}: expected a number below 2**53, got {filter.value}: "
                f"Qdrant compares others inexactly. Use == or is_in, or a LanceDB index."
            )
        bound = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}[filter.sign]
        return [condition(range=qdrant.Range(**{bound: filter.value}))], False
    negated = filter.negated if isinstance(filter, Membership) else filter.sign == "!="
    values = filter.values if isinstance(filter, Membership) else (filter.value,)
    if isinstance(values[0], float):
        return [condition(range=qdrant.Range(gte=value, lte=value)) for value in values], negated
    if isinstance(values[0], bool):
        return [condition(match=qdrant.MatchValue(value=values[0]))], negated
    return [condition(match=qdrant.MatchAny(any=list(values)))], negated


__all__ = [
    "AllOf",
    "AnyOf",
    "Comparison",
    "Field",
    "Filter",
    "Membership",
    "NullTest",
    "TextTest",
    "check",
    "check_columns",
    "field",
    "matches",
    "to_qdrant",
    "to_sql",
]
