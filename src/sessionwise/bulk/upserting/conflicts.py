"""Staged rows into their table: each database's own INSERT that changes what is there already."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, false, func, insert, literal_column, select, text, update
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError

from sessionwise.bulk.insert import savepoint
from sessionwise.bulk.upserting.assignments import in_order
from sessionwise.bulk.upserting.staging import FOUND, MYSQL, PART, execute
from sessionwise.dialects.traits import sqlstate
from sessionwise.errors import BulkInputError, UnsupportedError
from sessionwise.transaction import activity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Column, ColumnElement, Connection, FromClause, Select, Table

    from sessionwise.bulk.plan import Plan
    from sessionwise.bulk.upserting.assignments import Assignments
    from sessionwise.bulk.upserting.staging import Part, Staging

__all__ = ["IS_NEW", "Counts", "naming_keys", "on_conflict", "update_found", "upsert_part"]

Counts = tuple[int, int]
"""Rows that have been inserted, and rows that have been updated."""

IS_NEW: ColumnElement[bool] = literal_column("xmax = 0", Boolean)
"""Whether PostgreSQL has inserted a row, not updated it; an update locks the row before."""


def upsert_part(stage: Staging, part: Part) -> Counts:
    """Insert the rows of a part whose key is new, and update what the others find.

    :raises UnsupportedError: on a database that has no such statement.
    """
    name = stage.connection.dialect.name
    if name == "postgresql":
        with naming_keys(stage.assignments):
            return _postgresql(stage, part)
    if name == "sqlite":
        with naming_keys(stage.assignments):
            return _sqlite(stage, part)
    if name in MYSQL:
        return _Mysql(stage, part).upsert()
    raise UnsupportedError(
        f"bulk_upsert does not know how {name} updates what is there; use bulk_insert, or merge()"
    )


@contextmanager
def naming_keys(assignments: Assignments) -> Iterator[None]:
    """Name what was given as keys, where the database says that nothing makes them unique.

    :raises BulkInputError: then.
    """
    try:
        yield
    except DBAPIError as error:
        if error.orig is not None and (
            sqlstate(error.orig) == "42P10" or "ON CONFLICT clause" in str(error.orig)
        ):
            raise _no_unique_key(assignments.target.table, assignments.keys) from error
        raise


def on_conflict(assignments: Assignments, plan: Plan, called: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the arguments of PostgreSQL's and SQLite's ``on_conflict_do_update``."""
    table = assignments.target.table
    excluded = table.alias("excluded")
    found = assignments.of(plan, excluded, called) or _as_it_is(assignments)
    where = false() if assignments.changes_nothing else assignments.condition(excluded)
    return {
        "index_elements": list(assignments.keys),
        "set_": {column.key: value for column, value in found.items()},
        "where": where,
    }


def _as_it_is(assignments: Assignments) -> dict[Column[Any], ColumnElement[Any]]:
    """Set a column to what it is: the row is locked, counted, and stays the same."""
    return {assignments.keys[0]: assignments.keys[0]}


def _new_rows(
    stage: Staging, part: Part, source: FromClause, *conditions: Any
) -> tuple[list[Column[Any]], Select[Any]]:
    """Return the columns of a part and its rows, in the order of the keys.

    Whoever writes the same rows at the same time waits then, and there is no deadlock.
    """
    columns = part.plan.columns
    query = (
        select(*(source.c[column.key] for column in columns))
        .where(source.c[PART] == part.number, *conditions)
        .order_by(*(source.c[key.key] for key in stage.keys))
    )
    return columns, query


def _postgresql(stage: Staging, part: Part) -> Counts:
    if is_partitioned(stage.connection, stage.target.table):
        return _in_turns(stage, part)
    source, _ = stage.source(part)
    called = stage.on_update_by_key(part)
    written = (
        postgresql.insert(stage.target.table)
        .from_select(*_new_rows(stage, part, source))
        .on_conflict_do_update(**on_conflict(stage.assignments, part.plan, called))
        .returning(IS_NEW.label("is_new"))
        .cte("sessionwise_written")
    )
    query = select(func.count().filter(written.c.is_new), func.count()).select_from(written)
    inserted, both = execute(stage.connection, query).one()
    return inserted, both - inserted


def is_partitioned(connection: Connection, table: Table) -> bool:
    """Say whether a table has partitions: PostgreSQL does not tell then which rows are new."""
    name = connection.dialect.identifier_preparer.format_table(table)
    query = text("SELECT relkind = 'p' FROM pg_class WHERE oid = CAST(:name AS regclass)")
    return bool(connection.execute(query, {"name": name}).scalar())


def _in_turns(stage: Staging, part: Part) -> Counts:
    """Insert the rows whose key is new, then update the others."""
    source, _ = stage.source(part)
    new = (
        postgresql.insert(stage.target.table)
        .from_select(*_new_rows(stage, part, source))
        .on_conflict_do_nothing(index_elements=list(stage.keys))
        .returning(*stage.keys)
        .cte("sessionwise_written")
    )
    table = stage.table
    same = [table.c[key.key] == new.c[key.key] for key in stage.keys]
    mark = update(table).where(table.c[PART] == part.number, *same).values({FOUND: 0})
    inserted = execute(stage.connection, mark).rowcount
    return inserted, update_found(stage, part, table.c[FOUND].is_(None))


def _sqlite(stage: Staging, part: Part) -> Counts:
    # Nobody else writes in between: it is one transaction, and there is one writer.
    source, of_part = stage.source(part)
    target = stage.target.table
    missing = (
        select(func.count())
        .select_from(source)
        .where(of_part, ~select(1).where(stage.matches(source)).correlate(source).exists())
    )
    inserted: int = execute(stage.connection, missing).scalar_one()
    called = stage.on_update_by_key(part)
    statement = (
        sqlite.insert(target)
        .from_select(*_new_rows(stage, part, source))
        .on_conflict_do_update(**on_conflict(stage.assignments, part.plan, called))
    )
    return inserted, execute(stage.connection, statement).rowcount - inserted


def update_found(stage: Staging, part: Part, *conditions: Any) -> int:
    """Update the rows of the table whose key rows of a part have; return how many that were."""
    source = stage.table
    assignments = stage.assignments
    found = assignments.of(part.plan, source, stage.on_update_of(part, source))
    where = assignments.condition(source)
    if assignments.changes_nothing:
        return 0
    pairs = in_order(found or _as_it_is(assignments), stage.connection.dialect)
    statement = (
        update(stage.target.table)
        .where(stage.matches(source), source.c[PART] == part.number, *conditions)
        .ordered_values(*pairs)
    )
    if where is not None:
        statement = statement.where(where)
    return execute(stage.connection, statement).rowcount


class _OtherKeyError(Exception):
    """Rows have met others by another unique key: the statement is to be undone."""


class _Mysql:
    """``INSERT … SELECT … ON DUPLICATE KEY UPDATE``.

    It updates whichever row it meets, by any unique key, sets one column after the other, and does
    not count what it finds unchanged. User variables hold whether the row at hand is to be
    changed, how many were found by the keys that count, and how many by others.
    """

    def __init__(self, stage: Staging, part: Part) -> None:
        self.stage = stage
        self.part = part
        self.connection = stage.connection
        self.table = stage.target.table
        self.source, self.of_part = stage.source(part)

    def upsert(self) -> Counts:
        """Write the rows; where other keys are met, slowly."""
        if self._has_other_keys() and activity.autocommits(self.connection):
            return self._in_turns()  # nothing could be undone
        try:
            with savepoint(self.connection):
                return self._at_once()
        except _OtherKeyError:
            return self._in_turns()

    def _at_once(self) -> Counts:
        self.connection.exec_driver_sql(_RESET)
        statement = (
            mysql.insert(self.table)
            .from_select(*_new_rows(self.stage, self.part, self.source))
            .on_duplicate_key_update(self._assignments())
        )
        execute(self.connection, statement)
        found, updated, others = self.connection.exec_driver_sql(_COUNTS).one()
        if others:
            raise _OtherKeyError
        count = select(func.count()).select_from(self.source).where(self.of_part)
        return execute(self.connection, count).scalar_one() - found, updated

    def _assignments(self) -> list[tuple[str, Any]]:
        stage, assignments = self.stage, self.stage.assignments
        called = stage.on_update_of(self.part, self.source)
        found = in_order(
            assignments.of(self.part.plan, self.source, called), self.connection.dialect
        )
        where = false() if assignments.changes_nothing else assignments.condition(self.source)
        key = assignments.keys[0]
        # The key comes first and stays as it is: that is where the row is judged and counted.
        judged = func.IF(
            stage.matches(self.source),
            func.IF(_CHANGES.op(":=")(_true(where)), _ONE_UPDATED, _ONE_FOUND),
            func.IF(_CHANGES.op(":=")(0), 0, _ONE_OTHER),
        )
        pairs = [(key.key, func.IF(judged.is_(None), None, key))]
        for column, value in found:
            if column is not key:
                pairs.append((column.key, func.IF(_CHANGES, value, column)))
        return pairs

    def _has_other_keys(self) -> bool:
        """Look what unique keys the table has.

        :raises BulkInputError: where what is given as one is none.
        """
        name = self.connection.dialect.identifier_preparer.format_table(self.table)
        unique: dict[str, list[Any]] = {}
        for row in self.connection.exec_driver_sql(f"SHOW INDEX FROM {name}").mappings():
            if not row["Non_unique"]:
                part = None if row["Sub_part"] else str(row["Column_name"]).lower()
                unique.setdefault(row["Key_name"], []).append(part)
        keys = {key.name.lower() for key in self.stage.keys}
        others = [columns for columns in unique.values() if set(columns) != keys]
        if len(others) == len(unique):
            raise _no_unique_key(self.table, self.stage.keys)
        return bool(others)

    def _in_turns(self) -> Counts:
        """Lock and mark the rows that are there, insert the others, and update the marked ones."""
        table = self.stage.table
        of_part = table.c[PART] == self.part.number
        counted = -1
        while True:
            marked = self._mark(of_part)
            try:
                with savepoint(self.connection):
                    statement = insert(self.table).from_select(
                        *_new_rows(self.stage, self.part, table, table.c[FOUND].is_(None))
                    )
                    inserted = execute(self.connection, statement).rowcount
                break
            except IntegrityError:
                if marked == counted:
                    raise  # nobody has inserted the key meanwhile: it is another one
                counted = marked
        return inserted, update_found(self.stage, self.part, table.c[FOUND] == 1)

    def _mark(self, of_part: ColumnElement[bool]) -> int:
        table = self.stage.table
        same = self.stage.matches(table)
        lock = select(func.count()).select_from(table.join(self.table, same)).where(of_part)
        execute(self.connection, lock.with_for_update())
        mark = update(table).where(same, of_part).values({FOUND: 1})
        return execute(self.connection, mark).rowcount


def _true(where: ColumnElement[bool] | None) -> Any:
    return 1 if where is None else func.coalesce(where, 0)


_RESET = (
    "SET @sessionwise_changes = 0, @sessionwise_found = 0, @sessionwise_updated = 0,"
    " @sessionwise_others = 0"
)
_COUNTS = "SELECT @sessionwise_found, @sessionwise_updated, @sessionwise_others"
_CHANGES: ColumnElement[Any] = literal_column("@sessionwise_changes")
_ONE_FOUND: ColumnElement[Any] = literal_column("@sessionwise_found := @sessionwise_found + 1")
_ONE_UPDATED: ColumnElement[Any] = literal_column(
    "(@sessionwise_found := @sessionwise_found + 1)"
    " + (@sessionwise_updated := @sessionwise_updated + 1)"
)
_ONE_OTHER: ColumnElement[Any] = literal_column("@sessionwise_others := @sessionwise_others + 1")


def _no_unique_key(table: Table, keys: Sequence[Column[Any]]) -> BulkInputError:
    names = ", ".join(key.name for key in keys)
    return BulkInputError(
        f"{table.name} has no unique key of just {names}; name the columns of one as keys="
    )
