# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Metrics of the rows that have one value of a column, besides those of all rows: by share, by category, by kind of question."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
from datasets import Value

from clipbert.support.names import did_you_mean
from clipbert.support.options import changeable
from clipbert.train_scripts.engine.recipe import Recipe, RecipeError


MOST_GROUPS = 40  # of a column
NO_VALUE = "(none)"
GROUPS = "groups"  # key of rows of predictions: their values of the columns


@dataclass(kw_only=True)
class GroupOptions:
    """Keys of the section `eval` of tasks that measure groups, too."""

    group_by: list[str] = changeable(
        [],
        "Columns of the rows, such as [answer_type]: metrics of the rows of each value besides those of all, ranked among the same "
        "videos, as `NAME_COLUMN=VALUE`. Of your own data, `data.options.columns` keeps further columns.",
    )

    def problems(self) -> Iterator[str]:
        if len(set(self.group_by)) < len(self.group_by):
            yield f"group_by: each column counts once, got {self.group_by}"

    def patterns(self, names: Sequence[str]) -> tuple[str, ...]:
        """What metrics of these names are called in groups, for `fnmatch`."""
        return tuple(f"{name}_{_spelt(column)}=*" for column in self.group_by for name in names)


def check_groups(recipe: Recipe, eval_sets: Mapping[str, datasets.Dataset]) -> None:
    """
    Look at the columns of `eval.group_by`, before anything is trained.

    Raises:
        RecipeError: If rows have no such column, it holds neither texts nor numbers, or has too many values.
    """
    for split, rows in eval_sets.items():
        for column in recipe.eval.group_by:
            place = f"eval.group_by: {split}"
            if column not in rows.column_names:
                raise RecipeError(
                    f"{place} has no column {column!r}. {did_you_mean(column, rows.column_names)} Of your own data, "
                    "data.options.columns keeps further ones."
                )
            if not isinstance(rows.features[column], Value) or "binary" in rows.features[column].dtype:
                raise RecipeError(
                    f"{place}: expected a column of texts or numbers, got {column!r} of {rows.features[column]}."
                )
            values = rows.unique(column)
            if len(values) > MOST_GROUPS:
                raise RecipeError(
                    f"{place}: {column!r} has {len(values)} values, such as {values[0]!r:.40} and {values[1]!r:.40}; expected "
                    f"{MOST_GROUPS} at most. Group by a column that rows share, such as a category, or a number that is rounded."
                )
            try:
                name_groups(column, values)
            except ValueError as error:
                raise RecipeError(f"{place}: {error}") from None


def columns_of_groups(rows: datasets.Dataset, group_by: Sequence[str]) -> list[dict[str, Any]]:
    """What each row of predictions says of its groups: nothing where none are asked for."""
    if not group_by:
        return [{}] * len(rows)
    return [{GROUPS: values} for values in rows.select_columns(list(group_by))]


def find_groups(rows: Sequence[Mapping[str, Any]], group_by: Sequence[str]) -> dict[str, list[int]]:
    """
    The rows of each group.

    Args:
        rows (`Sequence[Mapping]`): Of predictions, with `groups`.
        group_by (`Sequence[str]`): Columns.

    Returns:
        `dict`: Numbers of rows by the name of their group, in the order of the columns and of their values, nothing last.

    Example:
        >>> find_groups([{"groups": {"share": 0.5}}, {"groups": {"share": None}}, {"groups": {"share": 0.125}}], ["share"])
        {'share=0.125': [2], 'share=0.5': [0], 'share=(none)': [1]}
    """
    found = {}
    for column in group_by:
        members: dict[Any, list[int]] = {}
        for number, row in enumerate(rows):
            members.setdefault(row[GROUPS][column], []).append(number)
        found |= {name: members[value] for name, value in name_groups(column, list(members)).items()}
    return found


def name_groups(column: str, values: Sequence[Any]) -> dict[str, Any]:
    """The values of a column by the names of their groups, sorted."""
    named: dict[str, Any] = {}
    for value in sorted((value for value in values if value is not None), key=_sorted_by) + [None] * (None in values):
        name = f"{_spelt(column)}={_show(value)}"
        if name in named:
            raise ValueError(f"{column!r} has the values {named[name]!r} and {value!r}, which are both called {name}")
        named[name] = value
    return named


def _sorted_by(value: Any) -> tuple:
    return isinstance(value, str), value


def _show(value: Any) -> str:
    if value is None:
        return NO_VALUE
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return _spelt(str(value))


def _spelt(text: str) -> str:
    """In one word, as names of metrics are made of."""
    return re.sub(r"[\s_=]+", "-", text.strip()) or "-"


__all__ = ["GroupOptions", "check_groups", "columns_of_groups", "find_groups"]
