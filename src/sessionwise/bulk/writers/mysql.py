"""MariaDB and MySQL: many rows in each INSERT, by PyMySQL and aiomysql."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from sessionwise.bulk.writers import core
from sessionwise.bulk.writers.mysql_load import LoadDataWriter
from sessionwise.bulk.writers.mysql_text import literals, names
from sessionwise.sql.touched import Touched
from sessionwise.transaction.driver import sending

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from sessionwise.bulk.plan import Plan
    from sessionwise.bulk.reading.rows import Chunk
    from sessionwise.bulk.writers import Writer

__all__ = ["WRITERS", "ExecutemanyWriter"]

_DRIVERS = frozenset({"pymysql", "aiomysql"})

_LONGEST = 1_000_000
"""Bytes of a statement: where PyMySQL cuts; a server takes 16 times as much, if not told else."""


class ExecutemanyWriter:
    """Rows by INSERTs of many rows, as the driver's ``executemany`` makes them.

    The driver looks up how to write each value; here that is done once for a column.
    """

    name = "mysql-executemany"

    def takes(self, connection: Connection, plan: Plan, chunk: Chunk | None = None) -> bool:
        """Take what goes to the table that is named, with the values that are given."""
        return (
            connection.dialect.driver in _DRIVERS
            and not connection.get_execution_options().get("schema_translate_map")
            and not _is_numbered_by_a_sequence(plan)
        )

    def write(self, connection: Connection, plan: Plan, chunk: Chunk) -> None:
        """Write the rows of a chunk.

        :raises NotTextError: for an SQL expression.
        """
        _insert(connection, plan, plan.objects(chunk.rows))

    def write_returning(self, connection: Connection, plan: Plan, chunk: Chunk) -> list[Any]:
        """Write the rows of a chunk, and return their primary keys in their order.

        :raises NotTextError: for an SQL expression.
        """
        key = list(plan.target.table.primary_key)
        numbered = plan.target.table.autoincrement_column
        left_out = [column for column in key if column not in plan.columns]
        if left_out and (
            connection.dialect.insert_executemany_returning or left_out != [numbered]
        ):
            return core.WRITER.write_returning(connection, plan, chunk)
        objects = plan.objects(chunk.rows)
        keys = [
            [None] * len(chunk) if column in left_out else objects[plan.columns.index(column)]
            for column in key
        ]
        if numbered is None or not any(map(_is_numbered, keys[key.index(numbered)])):
            _insert(connection, plan, objects)
            return list(zip(*keys, strict=True))
        at = key.index(numbered)
        numbers = _insert_one_by_one(connection, plan, objects)
        given = zip(keys[at], numbers, strict=True)
        keys[at] = [number if _is_numbered(value) else value for value, number in given]
        return list(zip(*keys, strict=True))


def _is_numbered(value: Any) -> bool:
    """Say whether the server numbers a row that has this number; for 0 its mode decides."""
    return value is None or value == 0


def _insert(connection: Connection, plan: Plan, objects: Sequence[Sequence[Any]]) -> None:
    with _cursor(connection, plan) as (driver, cursor):
        for statement in _statements(driver, plan, objects, _LONGEST):
            cursor.execute(statement)


def _insert_one_by_one(
    connection: Connection, plan: Plan, objects: Sequence[Sequence[Any]]
) -> list[int]:
    """Insert rows, and return the number of each: there is no RETURNING, or some are given."""
    numbers = []
    with _cursor(connection, plan) as (driver, cursor):
        for statement in _statements(driver, plan, objects, 0):
            cursor.execute(statement)
            numbers.append(cursor.lastrowid)
    return numbers


@contextmanager
def _cursor(connection: Connection, plan: Plan) -> Iterator[tuple[Any, Any]]:
    """Give the driver, and a cursor of SQLAlchemy's: that is the same with aiomysql."""
    touched = Touched(inserts=frozenset({plan.target.name}))
    with sending(connection, touched) as driver, closing(connection.connection.cursor()) as cursor:
        yield driver, cursor


def _statements(
    driver: Any, plan: Plan, objects: Sequence[Sequence[Any]], longest: int
) -> Iterator[bytes]:
    """Return INSERTs of as many rows as go into one, which has at least one."""
    encoding = driver.encoding
    table, columns = names(plan)
    into = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ("  # noqa: S608 - names are quoted
    head = into.encode(encoding)
    texts = [literals(values, driver.escape) for values in plan.processed(objects)]
    some: list[bytes] = []
    size = 0
    for row in map(",".join, zip(*texts, strict=True)):
        encoded = row.encode(encoding)
        size += len(encoded) + 3
        if size > longest and some:
            yield head + b"),(".join(some) + b")"
            some, size = [], len(encoded)
        some.append(encoded)
    if some:
        yield head + b"),(".join(some) + b")"


def _is_numbered_by_a_sequence(plan: Plan) -> bool:
    return any(
        column.default is not None and column.default.is_sequence and column not in plan.columns
        for column in plan.target.table.c
    )


WRITERS: list[Writer] = [LoadDataWriter(ExecutemanyWriter()), ExecutemanyWriter()]
"""The fastest first."""
