"""INSERT that leaves alone, changes or replaces the rows that are in its way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import UniqueConstraint, tuple_
from sqlalchemy.sql import visitors

from sessionwise.loading.keys import chunks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Column, ColumnElement, Table

    from sessionwise.audit.coverage import Covered
    from sessionwise.audit.recording.reading import Key

__all__ = [
    "among",
    "conditions",
    "has_many_values",
    "is_upsert",
    "keys_of_values",
    "replaces",
    "unique_keys",
]

_CLAUSES = frozenset(
    {"on_conflict_do_update", "on_conflict_do_nothing", "on_duplicate_key_update"}
)
_ATTRIBUTE = "_sessionwise_audit_upsert"
_HEAD = re.compile(
    r"\s*(?:INSERT\b.{0,40}?\b(?P<word>REPLACE|IGNORE)\b|(?P<first>REPLACE)\b)", re.I
)
_MANY = re.compile(r"(.+)_m([0-9]+)")


def is_upsert(compiled: Any) -> bool:
    """Say whether an INSERT has something to do with the rows that are in its way."""
    known: bool | None = compiled.__dict__.get(_ATTRIBUTE)
    if known is None:
        parts = visitors.iterate(compiled.statement)
        known = _word(compiled) is not None or any(one.__visit_name__ in _CLAUSES for one in parts)
        compiled.__dict__[_ATTRIBUTE] = known
    return known


def replaces(compiled: Any) -> bool:
    """Say whether the rows that are in the way are deleted."""
    return _word(compiled) == "REPLACE"


def _word(compiled: Any) -> str | None:
    found = _HEAD.match(compiled.string.split("INTO", 1)[0] + " ")
    return None if found is None else (found["word"] or found["first"]).upper()


def unique_keys(table: Table) -> Iterator[tuple[Column[Any], ...]]:
    """Give the keys by which rows may be in the way of others, the primary one first."""
    yield tuple(table.primary_key.columns)
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield tuple(constraint.columns)
    for index in table.indexes:
        if index.unique and len(index.columns) == len(index.expressions):
            yield tuple(index.columns)


def has_many_values(context: Any) -> bool:
    """Say whether one INSERT has several rows: ``VALUES (...), (...)``."""
    return any(_MANY.fullmatch(name) for name in context.compiled_parameters[0])


def is_of_a_query(context: Any) -> bool:
    """Say whether it is INSERT … SELECT."""
    return getattr(context.compiled.statement, "select", None) is not None


def _rows_of(context: Any) -> list[Mapping[str, Any]]:
    """Return the parameters for each row."""
    parameters = context.compiled_parameters
    if not has_many_values(context):
        return list(parameters)
    rows: dict[int, dict[str, Any]] = {}
    rest: dict[str, Any] = {}
    for name, value in parameters[0].items():
        found = _MANY.fullmatch(name)
        if found is None:
            rest[name] = value
        else:
            rows.setdefault(int(found[2]), {})[found[1]] = value
    return [{**rest, **row} for _, row in sorted(rows.items())]


def keys_of_values(context: Any, names: Sequence[str]) -> list[Key] | None:
    """Return the keys among the parameters of an INSERT of several rows; None: they are not."""
    if not has_many_values(context):
        return None
    keys = [tuple(row.get(name) for name in names) for row in _rows_of(context)]
    return None if any(None in key for key in keys) else keys


def among(covered: Covered, context: Any) -> list[ColumnElement[bool]] | None:
    """Return the conditions for the rows that are in the way, and for the new ones afterwards.

    None: it has no values of a unique key, and so there are no such rows.
    """
    if is_of_a_query(context):
        return None
    return conditions(unique_keys(covered.table), _rows_of(context)) or None


def conditions(
    keys: Iterable[Sequence[Column[Any]]], rows: Sequence[Mapping[str, Any]]
) -> list[ColumnElement[bool]]:
    """Return the conditions for rows that have the same values of some keys as others.

    :param rows: values by the keys of the columns.
    """
    found: list[ColumnElement[bool]] = []
    for columns in keys:
        names = [str(one.key) for one in columns]
        values = [tuple(row.get(name) for name in names) for row in rows]
        values = list(dict.fromkeys(one for one in values if None not in one))
        for chunk in chunks(values):
            if len(columns) == 1:
                found.append(columns[0].in_([one for (one,) in chunk]))
            else:
                found.append(tuple_(*columns).in_(chunk))
    return found
