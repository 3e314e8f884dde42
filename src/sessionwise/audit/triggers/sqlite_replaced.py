"""SQLite: rows that a REPLACE deletes without a word.

``INSERT OR REPLACE`` and ``UPDATE OR REPLACE`` fire no DELETE triggers, unless the connection has
``PRAGMA recursive_triggers = ON``. So a trigger before the change notes the rows that it collides
with, and that after it records them as deleted; an upsert, or a row that is ignored, never gets
there. A DELETE trigger that does fire takes the note away.
"""

# ruff: noqa: S608 - these texts are SQL; names and strings in them are quoted

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, UniqueConstraint, literal_column
from sqlalchemy.sql.visitors import iterate, replacement_traverse

from sessionwise.audit.triggers.sqlite_values import DIALECT, as_key, changed, literal, quote, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Table

    from sessionwise.audit.coverage import Covered

__all__ = [
    "CREATE",
    "NAME",
    "before_insert",
    "before_update",
    "forget",
    "recorded",
    "unique_columns",
]

NAME = "audit_replaced"

CREATE = (
    f'CREATE TABLE {NAME} ("table" TEXT NOT NULL, "by" TEXT, is_by_key INTEGER NOT NULL, '
    "object_id TEXT, old TEXT NOT NULL)"
)
"""Notes: which row, by which one (NULL: a new one), and whether only the primary key collides."""

_Key = tuple[tuple[Any, ...], Any]
"""What must be unique, columns or expressions, and of which rows, if not of all."""


def before_insert(covered: Covered) -> tuple[str, str]:
    """Return the condition and the body of what notes the rows that a new one collides with."""
    collisions = list(_collisions(covered.table))
    table = quote(covered.table.name)
    meets = (f"EXISTS (SELECT 1 FROM {table} WHERE {one})" for one in collisions)
    return (
        "\n  OR ".join([f"EXISTS (SELECT 1 FROM {NAME})", *meets]),
        _note(covered, "NULL", "1"),
    )


def before_update(covered: Covered) -> tuple[str, str]:
    """Return the same for a row whose keys change."""
    by = as_key(covered.key, "old")
    is_another = f"{as_key(covered.key, covered.table.name)} IS NOT {by}"
    columns = sorted(unique_columns(covered), key=lambda column: column.name)
    moves = " OR ".join(changed(column) for column in columns)
    return f"EXISTS (SELECT 1 FROM {NAME}) OR {moves}", _note(covered, by, is_another)


def unique_columns(covered: Covered) -> set[Column[Any]]:
    """Return the columns that unique keys are made of."""
    return {
        column
        for expressions, where in _unique_keys(covered.table)
        for one in (*expressions, where)
        for column in iterate(one)
        if isinstance(column, Column)
    }


def recorded(covered: Covered, event: str) -> str:
    """Return what of the notes is really gone, once the row is there.

    Before an INSERT, an id that SQLite will make is -1: the row of that id stays.
    """
    return (
        f"{NAME} AS gone WHERE {_ours(covered, _by(covered, event), 'gone.')} "
        f"AND (NOT gone.is_by_key OR gone.object_id IS {as_key(covered.key, 'new')})"
    )


def forget(covered: Covered, event: str) -> str:
    """Return what takes the notes of one row away."""
    if event == "INSERT":
        return f"  DELETE FROM {NAME} WHERE {_ours(covered, 'NULL')};\n"
    key = as_key(covered.key, "old")
    by = f' OR "by" IS {key}' if event == "UPDATE" else ""
    return (
        f'  DELETE FROM {NAME} WHERE "table" = {literal(covered.name)} '
        f"AND (object_id IS {key}{by});\n"
    )


def _note(covered: Covered, by: str, condition: str) -> str:
    primary, *others = _collisions(covered.table)
    if not covered.table.primary_key.columns:
        primary, others = "0", [primary, *others]
    by_others = " OR ".join(f"({one})" for one in others) or "0"
    table = covered.table.name
    return (
        f"  DELETE FROM {NAME} WHERE {_ours(covered, by)};\n"
        f"  INSERT INTO {NAME} SELECT {literal(covered.name)}, {by}, NOT ifnull({by_others}, 0),\n"
        f"    {as_key(covered.key, table)},\n    {row(covered.columns, table)}\n"
        f"  FROM {quote(table)} WHERE (({primary}) OR {by_others}) AND {condition};\n"
    )


def _by(covered: Covered, event: str) -> str:
    return "NULL" if event == "INSERT" else as_key(covered.key, "old")


def _ours(covered: Covered, by: str, prefix: str = "") -> str:
    return f'{prefix}"table" = {literal(covered.name)} AND {prefix}"by" IS {by}'


def _collisions(table: Table) -> Iterator[str]:
    """Give for each unique key the condition by which rows of the table collide with ``new``."""
    for expressions, where in _unique_keys(table):
        parts = [f"{_written(table, one)} = {_written_new(one)}" for one in expressions]
        if where is not None:
            parts += [f"({_written(table, where)})", f"({_written_new(where)})"]
        yield " AND ".join(parts)


def _unique_keys(table: Table) -> Iterator[_Key]:
    """Give what must be unique; the primary key first."""
    if table.primary_key.columns:
        yield tuple(table.primary_key.columns), None
    for constraint in sorted(table.constraints, key=_order):
        if isinstance(constraint, UniqueConstraint):
            yield tuple(constraint.columns), None
    for index in sorted(table.indexes, key=_order):
        if index.unique:
            yield tuple(index.expressions), index.dialect_options["sqlite"]["where"]


def _order(one: Any) -> str:
    columns = ",".join(column.name for column in one.columns)
    return f"{one.name or ''} {columns}"


def _written(table: Table, expression: Any) -> str:
    name = quote(table.name)
    return _compiled(expression, lambda column: f"{name}.{quote(column.name)}")


def _written_new(expression: Any) -> str:
    return _compiled(expression, _new)


def _new(column: Column[Any]) -> str:
    """Refer to a column of the new row; REPLACE takes NULL that must not be for DEFAULT."""
    value = f"new.{quote(column.name)}"
    if column.nullable or column.server_default is None or column.computed is not None:
        return value
    nothing: Any = None  # no statement is compiled
    compiler: Any = DIALECT.ddl_compiler(DIALECT, nothing)
    default = compiler.get_column_default_string(column)
    return value if default is None else f"ifnull({value}, {default})"


def _compiled(expression: Any, refer: Callable[[Column[Any]], str]) -> str:
    def replace(element: Any, **_: Any) -> Any:
        if isinstance(element, Column):
            return literal_column(refer(element), element.type)
        return None

    replaced: Any = replacement_traverse(expression, {}, replace)
    return str(replaced.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))
