"""PostgreSQL's COPY of ready bytes, out and in, by each driver's own way."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.util import await_only, greenlet_spawn

from sessionwise.bulk.exporting.stopping import by_another
from sessionwise.bulk.writers.postgresql_copy import DRIVERS, raise_adapted
from sessionwise.sql.touched import NOTHING, Touched
from sessionwise.transaction.driver import sending

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection

__all__ = ["DRIVERS", "Layout", "RowCounter", "Table", "copy_in", "copy_out"]

_BLOCK = 2**18
"""Bytes that are handed on together: PostgreSQL sends each row by itself."""


@dataclass(frozen=True)
class Layout:
    """How the bytes are laid out, in the words of COPY."""

    format: str = "csv"
    delimiter: str | None = None
    null: str | None = None
    quote: str | None = None
    header: bool = False

    @property
    def given(self) -> dict[str, Any]:
        """The options that are not as they are by themselves."""
        options = {
            "format": self.format,
            "delimiter": self.delimiter,
            "null": self.null,
            "quote": self.quote,
            "header": self.header or None,
            "encoding": None if self.format == "binary" else "UTF8",
        }
        return {name: value for name, value in options.items() if value is not None}

    @property
    def sql(self) -> str:
        """The options as COPY's."""
        words = {"format": self.format, "header": "true"}
        given = [
            f"{name} {words.get(name) or _literal(value)}" for name, value in self.given.items()
        ]
        return f"({', '.join(given)})"


@dataclass(frozen=True)
class Table:
    """What rows are copied into."""

    name: str
    schema: str | None
    columns: Sequence[str] | None


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def copy_out(
    connection: Connection,
    sql: str,
    parameters: Any,
    layout: Layout,
    write: Callable[[bytes], object],
) -> int:
    """Have PostgreSQL write the rows of a statement; return how many there were.

    :param sql: the statement as the driver takes it, with its parameters.
    :param write: is given whole rows.
    :raises DBAPIError: for what the database refuses.
    """
    gathered = _Gathered(write)
    with sending(connection, NOTHING) as raw:
        driver = connection.dialect.driver
        if driver == "asyncpg":
            query = (f"\n{sql}\n", *(parameters or ()))
            rows = _out_of_asyncpg(connection, raw, query, layout, gathered.write)
        else:
            # COPY's own words are of the statement that the driver puts the parameters into.
            options = layout.sql.replace("%", "%%")
            statement = f"COPY (\n{sql}\n) TO STDOUT {options}"
            if driver == "psycopg2":
                rows = _out_of_psycopg2(raw, statement, parameters, gathered)
            elif connection.dialect.is_async:
                rows = await_only(_out_async(raw, statement, parameters, gathered.write))
            else:
                rows = _out(raw, statement, parameters, gathered.write)
    gathered.finish()
    return int(rows)


class _Gathered:
    """Hands on many small pieces together."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.has_failed = False
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, piece: Any) -> None:
        self._pieces.append(bytes(piece))
        self._size += len(piece)
        if self._size >= _BLOCK:
            self.finish()

    def finish(self) -> None:
        if self._pieces:
            block, self._pieces, self._size = b"".join(self._pieces), [], 0
            self.has_failed = True
            self._write(block)
            self.has_failed = False


def _out(raw: Any, statement: str, parameters: Any, write: Callable[[Any], None]) -> int:
    with raw.cursor() as cursor:
        with cursor.copy(statement, parameters) as copy:
            for piece in copy:
                write(piece)
        rows: int = cursor.rowcount
        return rows


async def _out_async(
    raw: Any, statement: str, parameters: Any, write: Callable[[Any], None]
) -> int:
    async with raw.cursor() as cursor:
        async with cursor.copy(statement, parameters) as copy:
            async for piece in copy:
                write(piece)
        rows: int = cursor.rowcount
        return rows


def _out_of_psycopg2(raw: Any, statement: str, parameters: Any, file: _Gathered) -> int:
    with raw.cursor() as cursor:
        try:
            cursor.copy_expert(cursor.mogrify(statement, parameters), file)
        except BaseException:
            if file.has_failed:  # the next statement would wait for all that is still to come
                raw.cancel()
            raise
        rows: int = cursor.rowcount
        return rows


def _out_of_asyncpg(
    connection: Connection, raw: Any, query: Sequence[Any], layout: Layout, write: Any
) -> int:
    failed: list[BaseException] = []
    stop = f"SELECT pg_cancel_backend({int(raw.get_server_pid())})"

    async def output(piece: bytes) -> None:
        if not failed:
            try:
                write(piece)
            except BaseException as error:  # noqa: BLE001 - it is raised below
                # asyncpg would wait forever for what is still to come: it is stopped elsewhere,
                # and let pass until then.
                failed.append(error)
                await greenlet_spawn(by_another, connection, stop)

    try:
        with _adapted(connection):
            status = await_only(raw.copy_from_query(*query, output=output, **layout.given))
    except connection.dialect.loaded_dbapi.Error:
        if not failed:
            raise
    if failed:
        raise failed[0]
    return int(status.rpartition(" ")[2])


def copy_in(connection: Connection, table: Table, layout: Layout, blocks: Iterator[bytes]) -> int:
    """Have PostgreSQL read rows into a table; return how many there were.

    :param blocks: the rows, cut anywhere.
    :raises DBAPIError: for what the database refuses.
    """
    with sending(connection, Touched(inserts=frozenset({table.name.lower()}))) as raw:
        driver = connection.dialect.driver
        if driver == "asyncpg":
            return _into_asyncpg(connection, raw, table, layout, blocks)
        statement = f"COPY {_quoted(connection, table)} FROM STDIN {layout.sql}"
        if driver == "psycopg2":
            return _into_psycopg2(raw, statement, blocks)
        if connection.dialect.is_async:
            return int(await_only(_in_async(raw, statement, blocks)))
        with raw.cursor() as cursor:
            with cursor.copy(statement) as copy:
                for block in blocks:
                    copy.write(block)
            return int(cursor.rowcount)


def _quoted(connection: Connection, table: Table) -> str:
    quote = connection.dialect.identifier_preparer.quote_identifier
    name = ".".join(quote(part) for part in (table.schema, table.name) if part)
    if table.columns is None:
        return name
    return f"{name} ({', '.join(map(quote, table.columns))})"


async def _in_async(raw: Any, statement: str, blocks: Iterable[bytes]) -> int:
    async with raw.cursor() as cursor:
        async with cursor.copy(statement) as copy:
            for block in blocks:
                await copy.write(block)
        rows: int = cursor.rowcount
        return rows


def _into_asyncpg(
    connection: Connection, raw: Any, table: Table, layout: Layout, blocks: Iterable[bytes]
) -> int:
    async def source() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    with _adapted(connection):
        status = await_only(
            raw.copy_to_table(
                table.name,
                schema_name=table.schema,
                columns=table.columns,
                source=source(),
                **layout.given,
            )
        )
    return int(status.rpartition(" ")[2])


def _into_psycopg2(raw: Any, statement: str, blocks: Iterator[bytes]) -> int:
    file = _Readable(blocks)
    with raw.cursor() as cursor:
        try:
            cursor.copy_expert(statement, file)
        except Exception:
            if file.failed is not None:  # psycopg2 makes a text of it
                raise file.failed from None
            raise
        return int(cursor.rowcount)


class _Readable:
    """What psycopg2 reads from."""

    failed: BaseException | None = None

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def read(self, size: int) -> bytes:
        try:
            while not self._rest:
                self._rest = next(self._blocks)
        except StopIteration:
            return b""
        except BaseException as error:
            self.failed = error
            raise
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


@contextmanager
def _adapted(connection: Connection) -> Iterator[None]:
    """Raise asyncpg's errors as those of SQLAlchemy's adapter."""
    dbapi: Any = connection.dialect.loaded_dbapi
    try:
        yield
    except (dbapi.asyncpg.PostgresError, dbapi.asyncpg.InterfaceError) as error:
        raise_adapted(connection, error)


class RowCounter:
    """Counts the rows of a file of text as its bytes pass."""

    def __init__(self) -> None:
        self.rows = 0
        self._in_quotes = False

    def count_lines(self, block: bytes) -> None:
        """Count the ends of lines."""
        self.rows += block.count(b"\n")

    def count(self, block: bytes) -> None:
        """Count the ends of lines that are not in quotes."""
        if b'"' not in block:
            self.rows += 0 if self._in_quotes else block.count(b"\n")
            return
        parts = block.split(b'"')
        self.rows += sum(part.count(b"\n") for part in parts[self._in_quotes :: 2])
        self._in_quotes ^= len(parts) % 2 == 0
