"""Whether the columns of files and those of a table fit each other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sessionwise.bulk.reading.jsonlines import JsonLines
from sessionwise.cli import tables
from sessionwise.cli.errors import InputError
from sessionwise.transfer.create import AsJson, AsText
from sessionwise.transfer.infer import infer
from sessionwise.transfer.reject_columns import without_reject_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Engine, Table

    from sessionwise.bulk.reading.rows import Source

__all__ = ["check_names", "target_of"]


def target_of(
    engine: Engine,
    name: str,
    sources: Sequence[Source],
    *,
    keys: Sequence[str],
    renamed: Mapping[str, str],
    show: Callable[[int, float], object],
) -> Table:
    """Return a table for files: one to be created, or the one that is there, if they fit it.

    :raises InputError: where they do not.
    """
    schema, bare = tables.split(engine, name)
    began = time.monotonic()
    with engine.connect() as connection:  # what the database is, and can, is known by then
        dialect = connection.dialect
    inferred = infer(
        sources,
        dialect,
        bare,
        schema=schema,
        keys=keys,
        rename=renamed,
        progress=lambda rows: show(rows, time.monotonic() - began),
    )
    if not sa.inspect(engine).has_table(bare, schema=schema):
        return inferred
    present = tables.find(engine, name)
    for column in inferred.columns:
        if column.name not in present.c:
            continue
        found = present.c[column.name]
        if not _fits(column, found.type):
            raise InputError(
                f"table {name!r} is there already, and its column {column.name!r} is "
                f"{found.type.compile(engine.dialect)}, where the file needs "
                f"{column.type.compile(engine.dialect)}; use another --table"
            )
        if _is_ours(column.type, found.type):
            found.type = column.type
    return present


_NUMBERS = (sa.Integer, sa.Numeric, sa.Float)
_FITTING: tuple[tuple[Any, Any], ...] = (
    (sa.BigInteger, (sa.BigInteger, sa.Numeric, sa.Float)),
    (sa.Boolean, sa.Boolean),
    (sa.Integer, _NUMBERS),
    ((sa.Numeric, sa.Float), (sa.Numeric, sa.Float)),
    (sa.Date, (sa.Date, sa.DateTime)),
    (sa.DateTime, sa.DateTime),
    (sa.Time, sa.Time),
)


def _fits(column: sa.Column[Any], type_: Any) -> bool:
    """Say whether values of a column of files may go into one of a type."""
    if column.info.get("is_empty") or isinstance(type_, (sa.String, sa.JSON)):
        return True
    if isinstance(column.type, sa.Boolean) and tables.is_flag(type_):
        return True
    for given, taken in _FITTING:
        if isinstance(column.type, given):
            return isinstance(type_, taken)
    return not isinstance(type_, (*_NUMBERS, sa.Boolean, sa.Date, sa.DateTime, sa.Time))


def _is_ours(inferred: Any, present: Any) -> bool:
    """Say whether a type is what the database has made of one of ours."""
    if isinstance(inferred, (AsText, AsJson)):
        return isinstance(present, (sa.String, sa.JSON))
    if isinstance(inferred, sa.DateTime):  # only PostgreSQL has time zones
        return isinstance(present, sa.DateTime) and inferred.timezone and not present.timezone
    return isinstance(inferred, sa.Boolean) and tables.is_flag(present)


def check_names(
    table: Table,
    sources: Sequence[Source],
    renamed: Mapping[str, str],
    keys: Sequence[str],
    *,
    upsert: bool,
) -> None:
    """Check that the columns of files are those of a table, and no needed one is missing.

    :raises InputError: for the first that is not.
    """
    present = [column.name for column in table.columns]
    if upsert and not keys and not table.primary_key.columns:
        raise InputError(
            f"{table.name} has no primary key to know a row by; name its columns by --key"
        )
    for key in keys:
        if key not in present:
            raise InputError(f"{table.name} has no column {key!r}; {tables.near(key, present)}")
    every = {name for source in sources for name in source.names}
    for old in renamed:
        if old not in every and not any(isinstance(one, JsonLines) for one in sources):
            raise InputError(f"--map: no file has a column {old!r}; {tables.near(old, every)}")
    for source in sources:
        _check_source(table, present, source, renamed)


def _check_source(
    table: Table, present: Sequence[str], source: Source, renamed: Mapping[str, str]
) -> None:
    file = "the file" if source.file is None else source.file.name
    names = {old: renamed.get(old, old) for old in without_reject_columns(source.names)}
    for old, new in names.items():
        if new and new not in present:
            raise InputError(
                f"{file} has a column {new!r}, and {table.name} has none; "
                f"{tables.near(new, present)} rename it by --map {old}=NAME, or leave it out by "
                f"--map {old}="
            )
    if isinstance(source, JsonLines):  # another object may have it
        return
    lacking = [column.name for column in table.columns if _is_needed(table, column)]
    for name in lacking:
        if name not in names.values():
            raise InputError(
                f"{table.name}.{name} takes no NULL and has no default, and {file} has no such "
                f"column; it has {', '.join(names)}: rename one by --map OLD={name}"
            )


def _is_needed(table: Table, column: sa.Column[Any]) -> bool:
    has_value = (
        column.nullable
        or column.server_default is not None
        or column.computed is not None
        or column.identity is not None
    )
    return not has_value and column is not table.autoincrement_column
