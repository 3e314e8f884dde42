"""MariaDB and MySQL: ``LOAD DATA LOCAL``, from memory, and with no warning overlooked.

``LOCAL`` makes the server lenient, whatever its mode: it cuts a string that is too long, stores a
bad date as zeros and leaves a duplicate out, and only warns. So a load with a warning is undone.

A client that allows ``LOCAL`` answers whenever a server asks for a file, any file that it can
read. Here none is opened: the server is given the rows where it asks for the name that the
statement has, and nothing for any other. It is enough that the connection has the flag for it, as
with ``?client_flag=128`` in the URL. ``local_infile=1`` sets the flag as well, and lets the driver
serve files to whatever statement the server claims to need one for: a server that is not to be
trusted can so read them, and Sessionwise sets neither by itself.
Source: https://mariadb.com/docs/server/reference/sql-statements/data-manipulation/inserting-loading-data/load-data-into-tables-or-index/load-data-infile
"""

from __future__ import annotations

import re
from importlib import import_module
from inspect import isawaitable
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from sqlalchemy import types
from sqlalchemy.dialects.mysql import SET
from sqlalchemy.types import TypeDecorator
from sqlalchemy.util import await_only

from sessionwise.bulk.insert import savepoint
from sessionwise.bulk.writers.mysql_text import NotTextError, fields, names
from sessionwise.sql.touched import Touched
from sessionwise.transaction import activity
from sessionwise.transaction.driver import as_sqlalchemy, sending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Column, Connection

    from sessionwise.bulk.plan import Plan
    from sessionwise.bulk.reading.rows import Chunk
    from sessionwise.bulk.writers import Writer

__all__ = ["LoadDataWriter"]

_FEWEST = 200
"""Rows from which on it is faster, with the savepoint that it needs."""

_BLOCK = 64 * 1024
"""Bytes that are sent at a time."""

_SHOWN = 3
"""Warnings that an error tells."""

_TYPES = (
    types.Integer,
    types.Boolean,
    types.Float,
    types.Numeric,
    types.String,
    types.Date,
    types.DateTime,
    types.Time,
    types.LargeBinary,
    types.JSON,
    types.Uuid,
)
"""Types whose values are known to be the same, whether they come in SQL or in a file."""

_INTERNALS = ("_execute_command", "_read_packet", "write_packet", "client_flag", "server_status")
"""What is needed of a driver: PyMySQL and aiomysql have it, and nothing that is public does it."""

_INTEGRITY = frozenset({1048, 1263, 1364})
"""Errors and warnings for a NULL, and for no value, where the column takes none."""


class LoadDataWriter:
    """Rows by ``LOAD DATA LOCAL``, where the connection allows it."""

    name = "mysql-load-data"

    def __init__(self, otherwise: Writer, fewest: int = _FEWEST) -> None:
        """Make the writer.

        :param otherwise: what writes the rows that are not for a file.
        :param fewest: rows of an input, below which it is for that as well.
        """
        self._otherwise = otherwise
        self._fewest = fewest

    def takes(self, connection: Connection, plan: Plan, chunk: Chunk | None = None) -> bool:
        """Take types that are known, where a load is allowed, and can be undone."""
        return (
            (chunk is None or len(chunk) >= self._fewest)
            and self._otherwise.takes(connection, plan)
            and _may_load(connection)
            and not activity.autocommits(connection)
            and all(isinstance(one, _TYPES) and not isinstance(one, SET) for one in _types(plan))
            and _is_transactional(connection, plan)
        )

    def write(self, connection: Connection, plan: Plan, chunk: Chunk) -> None:
        """Write the rows of a chunk, all of them or none.

        :raises DBAPIError: for what the server refuses, or warns of.
        """
        data = _encoded(connection, plan, chunk)
        if data is None or not _load(connection, plan, chunk, data):
            self._otherwise.write(connection, plan, chunk)

    def write_returning(self, connection: Connection, plan: Plan, chunk: Chunk) -> list[Any]:
        """Write the rows of a chunk, and return their primary keys: a load gives none."""
        return self._otherwise.write_returning(connection, plan, chunk)


def _may_load(connection: Connection) -> bool:
    client = import_module("pymysql.constants.CLIENT")
    driver: Any = connection.connection.driver_connection
    return all(hasattr(driver, name) for name in _INTERNALS) and bool(
        driver.client_flag & client.LOCAL_FILES
    )


def _types(plan: Plan) -> list[Any]:
    """Return the types by which the values of each column are written in the end."""
    return [_type(column, plan) for column in plan.columns]


def _type(column: Column[Any], plan: Plan) -> Any:
    impl: Any = column.type.dialect_impl(plan.dialect)
    while isinstance(impl, TypeDecorator):
        impl = impl.impl_instance
    return impl


def _is_transactional(connection: Connection, plan: Plan) -> bool:
    """Ask whether the table can undo a load, and whether the server allows one."""
    table = plan.target.table
    statement = (
        "SELECT 1 FROM information_schema.tables WHERE table_schema = coalesce(%s, database()) "
        "AND table_name = %s AND engine = 'InnoDB' AND @@local_infile"
    )
    return connection.exec_driver_sql(statement, (table.schema, table.name)).scalar() == 1


def _encoded(connection: Connection, plan: Plan, chunk: Chunk) -> bytes | None:
    """Return the rows as a file has them; None where a value is not what its column is for."""
    driver: Any = connection.connection.driver_connection
    values = plan.processed(plan.objects(chunk.rows))
    try:
        columns = [
            fields(some, type_, driver.escape)
            for type_, some in zip(_types(plan), values, strict=True)
        ]
        lines = "\n".join(map("\t".join, zip(*columns, strict=True)))
    except (NotTextError, connection.dialect.loaded_dbapi.Error):
        return None
    # Before anything is sent: what cannot be encoded is then no danger to the connection.
    return f"{lines}\n".encode()


def _load(connection: Connection, plan: Plan, chunk: Chunk, data: bytes) -> bool:
    """Load the rows; return False, and nothing has been, where an INSERT is to decide.

    :raises DBAPIError: for what the server warns of.
    """
    try:
        with savepoint(connection):
            loaded = _send(connection, plan, data)
            if loaded.warning_count == 0 and loaded.affected_rows == len(chunk):
                return True
            warnings = connection.exec_driver_sql("SHOW WARNINGS").all()
            serious = [(code, text) for level, code, text in warnings if level != "Note"]
            if serious:
                raise _refused(connection, chunk, serious, loaded.warning_count)
            raise _NotedError
    except _NotedError:
        # A note is of what an INSERT does as well, such as to round.
        return False


class _NotedError(Exception):
    """The server has noted something, and warned of nothing that it told."""


def _send(connection: Connection, plan: Plan, data: bytes) -> Any:
    name = f"sessionwise-{token_hex(8)}"
    statement = _statement(plan, name)
    with sending(connection, Touched(inserts=frozenset({plan.target.name}))) as driver:
        try:
            return _converse(driver, statement.encode(driver.encoding), name.encode(), data)
        except connection.dialect.loaded_dbapi.Error:
            raise
        except BaseException:
            # Halfway through, by Ctrl-C: to the server, all that follows would be rows.
            connection.invalidate()
            raise


def _statement(plan: Plan, name: str) -> str:
    table, columns = names(plan)
    into, made = [], []
    for at, (column, type_) in enumerate(zip(columns, _types(plan), strict=True)):
        is_binary = isinstance(type_, types.LargeBinary)
        into.append(f"@sessionwise_{at}" if is_binary else column)
        if is_binary:
            made.append(f"{column} = UNHEX(@sessionwise_{at})")
    # Characters by their numbers: a backslash is not the same in each mode of the server.
    return (
        f"LOAD DATA LOCAL INFILE '{name}' INTO TABLE {table} CHARACTER SET utf8mb4 "
        "FIELDS TERMINATED BY 0x09 ENCLOSED BY '' ESCAPED BY 0x5C LINES TERMINATED BY 0x0A "
        f"({', '.join(into)}){' SET ' if made else ''}{', '.join(made)}"
    )


def _converse(driver: Any, statement: bytes, name: bytes, data: bytes) -> Any:
    """Send the statement, the rows when the server asks for them, and return what it says."""
    protocol, errors = import_module("pymysql.protocol"), import_module("pymysql.err")
    query = import_module("pymysql.constants.COMMAND").COM_QUERY
    _done(driver._execute_command(query, statement))
    asked = protocol.LoadLocalPacketWrapper(_done(driver._read_packet())).filename
    if asked == name:
        for first in range(0, len(data), _BLOCK):
            driver.write_packet(data[first : first + _BLOCK])
    driver.write_packet(b"")
    answer = protocol.OKPacketWrapper(_done(driver._read_packet()))
    driver.server_status = answer.server_status
    if asked != name:
        raise errors.InterfaceError(0, f"the server asked for the file {asked!r}: it is refused")
    return answer


def _refused(
    connection: Connection, chunk: Chunk, warnings: Sequence[tuple[int, str]], count: int
) -> BaseException:
    """Return the error for a load with warnings, of the kind that an INSERT would have raised."""
    errors = import_module("pymysql.err")
    code = warnings[0][0]
    error = errors.error_map.get(code, errors.DataError)
    if code in _INTEGRITY:
        error = errors.IntegrityError
    told = "; ".join(_placed(text, chunk) for _, text in warnings[:_SHOWN])
    more = f"; and more, {count:,} in all" if count > _SHOWN else ""
    return as_sqlalchemy(connection, error(code, f"{told}{more}"))


def _placed(text: str, chunk: Chunk) -> str:
    """Say which row of the input the server means: it counts from 1, and in the chunk only."""

    def place(found: re.Match[str]) -> str:
        at = int(found[1]) - 1
        return f"in row {chunk.positions[at]:,}" if at < len(chunk) else found[0]

    return re.sub(r"at row (\d+)$", place, text)


def _done(result: Any) -> Any:
    """Return what a call of the driver has returned, or what comes of it with aiomysql."""
    return await_only(result) if isawaitable(result) else result
