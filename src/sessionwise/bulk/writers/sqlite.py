"""SQLite: tuples through the driver's prepared ``executemany``, by sqlite3 and aiosqlite."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from sqlalchemy.util import await_only

from sessionwise.bulk.writers import core
from sessionwise.errors import BulkInputError
from sessionwise.sql.touched import Touched
from sessionwise.transaction.driver import sending

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from sessionwise.bulk.plan import Plan
    from sessionwise.bulk.reading.rows import Chunk
    from sessionwise.bulk.writers import Writer

    Rows = Sequence[Sequence[Any]]

__all__ = ["WRITERS", "ExecutemanyWriter"]

_DRIVERS = frozenset({"pysqlite", "aiosqlite"})

_AT_A_TIME = 1_000
"""Rows that are converted at a time: that many fit into the processor's cache."""

_LARGEST = 2**63 - 1


class ExecutemanyWriter:
    """Rows by the driver's ``executemany``, from tuples."""

    name = "sqlite-executemany"

    def takes(self, connection: Connection, plan: Plan, chunk: Chunk | None = None) -> bool:
        """Take what goes to the table that is named, by a driver that is known."""
        translated = connection.get_execution_options().get("schema_translate_map")
        return connection.dialect.driver in _DRIVERS and not translated

    def write(self, connection: Connection, plan: Plan, chunk: Chunk) -> None:
        """Write the rows of a chunk.

        :raises BulkInputError: for an integer that is too large, and where the table leaves rows
          out.
        """
        written = 0
        with (
            sending(connection, _touched(plan)),
            closing(connection.connection.cursor()) as cursor,
        ):
            for first, rows in _slices(chunk.rows):
                columns = plan.processed(plan.objects(rows))
                # Not a list of the tuples: zip() makes one, again and again.
                values: Any = zip(*columns, strict=True)
                try:
                    cursor.executemany(plan.sql, values)
                except OverflowError as error:
                    raise _too_large(plan, chunk, first, columns) from error
                written += cursor.rowcount
        if written != len(chunk) and not _is_view(connection, plan):
            raise _left_out(plan, f"{len(chunk) - written:,} rows")

    def write_returning(self, connection: Connection, plan: Plan, chunk: Chunk) -> list[Any]:
        """Write the rows of a chunk, and return their primary keys in their order.

        :raises BulkInputError: as :meth:`write` does.
        """
        if not _is_known(plan):
            return core.WRITER.write_returning(connection, plan, chunk)
        found: list[Any] = []
        with sending(connection, _touched(plan)) as driver:
            for first, rows in _slices(chunk.rows):
                objects = plan.objects(rows)
                columns = plan.processed(objects)
                try:
                    ids = _one_by_one(driver, plan.sql, zip(*columns, strict=True))
                except OverflowError as error:
                    raise _too_large(plan, chunk, first, columns) from error
                found += zip(_keys(plan, objects, ids), ids, strict=True)
        # Not before the rows are written: who reads first may have to give way to another writer.
        if any(number is None for _, number in found):
            _check_left_out(connection, plan, chunk, found)
        return [key for key, _ in found]


def _is_known(plan: Plan) -> bool:
    """Say whether each key is in the rows, or else is what SQLite numbers rows by."""
    key = list(plan.target.table.primary_key)
    if key and all(column in plan.columns for column in key):
        return True
    rowid = plan.target.table.autoincrement_column
    # Of the types of integers only this one makes a column the row's number.
    return rowid is not None and key == [rowid] and rowid.type.compile(plan.dialect) == "INTEGER"


def _one_by_one(driver: Any, sql: str, rows: Iterable[Sequence[Any]]) -> list[int | None]:
    """Insert rows, and return the number that SQLite gives each; None for one it leaves out."""
    connection = getattr(driver, "_conn", driver)

    def insert() -> list[int | None]:
        ids = []
        with closing(connection.cursor()) as cursor:
            for row in rows:
                cursor.execute(sql, row)
                ids.append(cursor.lastrowid if cursor.rowcount == 1 else None)
        return ids

    # aiosqlite has a thread for each connection, and to switch to that for each row would cost
    # more than the row does.
    return insert() if connection is driver else await_only(driver._execute(insert))


def _keys(plan: Plan, objects: Sequence[Sequence[Any]], ids: list[int | None]) -> list[Any]:
    """Return the keys of rows: what was given, and the row's number where that was nothing."""
    columns = plan.columns
    key = [
        objects[columns.index(column)] if column in columns else [None] * len(ids)
        for column in plan.target.table.primary_key
    ]
    if len(key) > 1:
        return list(zip(*key, strict=True))
    return [(one if given is None else given,) for given, one in zip(*key, ids, strict=True)]


def _is_view(connection: Connection, plan: Plan) -> bool:
    """Say whether what looks like a table is a view with a trigger: that counts no rows."""
    table = plan.target.table
    if table.schema is None:
        schemas = ["sqlite_master", "sqlite_temp_master"]
    else:
        schemas = [f"{plan.dialect.identifier_preparer.quote(table.schema)}.sqlite_master"]
    of_views = "SELECT name FROM {} WHERE type = 'view' AND name = :name COLLATE NOCASE"
    statement = " UNION ALL ".join(map(of_views.format, schemas))
    return connection.exec_driver_sql(statement, {"name": table.name}).first() is not None


def _check_left_out(
    connection: Connection, plan: Plan, chunk: Chunk, found: list[tuple[Any, int | None]]
) -> None:
    """Say what has become of rows that are not counted, where their keys are asked for.

    :raises BulkInputError: for rows that are not there, or have no key that is known.
    """
    is_view = _is_view(connection, plan)
    for position, (key, number) in zip(chunk.positions, found, strict=True):
        if number is None and not is_view:
            raise _left_out(plan, f"row {position:,}")
        if None in key:
            raise BulkInputError.for_row(
                position,
                f"{plan.target.table.name} is a view, which gives no keys. Put them into the rows",
            )


def _too_large(plan: Plan, chunk: Chunk, first: int, columns: Sequence[Any]) -> BulkInputError:
    """Return the error for the first integer that SQLite has no room for."""
    for at, row in enumerate(zip(*columns, strict=True)):
        for column, value in zip(plan.columns, row, strict=True):
            if isinstance(value, int) and not -_LARGEST - 1 <= value <= _LARGEST:
                return BulkInputError.for_row(
                    chunk.positions[first + at],
                    f"{column.name} is {value}, and SQLite's integers have 64 bits; use a column "
                    "of strings",
                )
    raise AssertionError("the driver has found an integer too large, and there is none")


def _left_out(plan: Plan, what: str) -> BulkInputError:
    return BulkInputError(
        f"{plan.target.table.name} has left {what} out, by an ON CONFLICT IGNORE or a trigger of "
        'its own. Leave them out yourself, or use on_conflict="nothing"'
    )


def _slices(rows: Sequence[Any]) -> Iterator[tuple[int, Sequence[Any]]]:
    for first in range(0, len(rows), _AT_A_TIME):
        yield first, rows[first : first + _AT_A_TIME]


def _touched(plan: Plan) -> Touched:
    return Touched(inserts=frozenset({plan.target.name}))


WRITERS: list[Writer] = [ExecutemanyWriter()]
"""The fastest first."""
