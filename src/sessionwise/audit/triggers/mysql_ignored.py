"""MariaDB: whether an UPDATE was really done: UPDATE IGNORE fires the triggers all the same."""

# ruff: noqa: S608 - these texts are SQL; names and strings in them are quoted

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, Column, UniqueConstraint
from sqlalchemy.sql.visitors import iterate

from sessionwise.audit.triggers.mysql_values import NEW, OLD, changed, of_table, quote, same

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Table

__all__ = ["is_done", "unless_ignored"]


def unless_ignored(
    table: Table, key: Iterable[Column[Any]], columns: Iterable[Column[Any]], body: str
) -> str:
    """Return what does something unless the UPDATE was not done.

    It is looked for only where something may forbid the change; and in a statement of its own, as
    MariaDB prepares a subquery each time, be it needed or not.
    """
    forbidden = {column.name: column for column in _forbidden(table)}
    if not forbidden:
        return body
    touched = " OR ".join(changed(forbidden[name]) for name in sorted(forbidden))
    return (
        f"recording: BEGIN\nIF {touched} THEN\n  IF NOT {is_done(table, key, columns)} THEN\n"
        f"    LEAVE recording;\n  END IF;\nEND IF;\n{body}END recording;\n"
    )


def is_done(table: Table, key: Iterable[Column[Any]], columns: Iterable[Column[Any]]) -> str:
    """Return whether the row is there as it was to be, and no longer under its old key."""
    key = tuple(key)
    stored, name = of_table(table.name), quote(table.name)
    equal = [f"{stored(column)} = {NEW(column)}" for column in key]
    as_new = [same(column, stored(column), NEW(column)) for column in columns]
    done = f"EXISTS (SELECT 1 FROM {name} WHERE {' AND '.join([*equal, *as_new])})"
    if not key:
        return done
    stays = " AND ".join(same(column, OLD(column), NEW(column)) for column in key)
    equal = [f"{stored(column)} = {OLD(column)}" for column in key]
    as_old = [same(column, stored(column), OLD(column)) for column in key]
    left = f"NOT EXISTS (SELECT 1 FROM {name} WHERE {' AND '.join([*equal, *as_old])})"
    return f"({done}\n  AND (({stays}) OR {left}))"


def _forbidden(table: Table) -> Iterator[Column[Any]]:
    """Give the columns whose new values a key or a constraint may forbid."""
    yield from table.primary_key.columns
    for index in table.indexes:
        if index.unique:
            yield from index.columns
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield from constraint.columns
        elif isinstance(constraint, CheckConstraint):
            named = [one for one in iterate(constraint.sqltext) if isinstance(one, Column)]
            yield from named or table.columns  # a text may name any
    for other in table.metadata.tables.values():
        for key in other.foreign_keys:
            if other is table:
                yield key.parent
            if _target(key) == table.name:
                yield table.columns[key.target_fullname.rpartition(".")[2]]


def _target(key: Any) -> str:
    """Return the table that a foreign key refers to, by what it says: that may not exist yet."""
    name: str = key.target_fullname.rpartition(".")[0]
    return name
