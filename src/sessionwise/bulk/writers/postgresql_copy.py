"""PostgreSQL: COPY by each driver's own way."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy.util import await_only

from sessionwise.sql.touched import Touched
from sessionwise.transaction.driver import sending

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from sessionwise.bulk.writers.postgresql_table import Field, Layout

__all__ = ["DRIVERS", "Copy", "NotCopiedError", "raise_adapted"]

DRIVERS = frozenset({"psycopg", "psycopg_async", "psycopg2", "asyncpg"})
"""The drivers whose COPY is used."""

_TYPES_SEEN = "sessionwise_copied_types"


class NotCopiedError(Exception):
    """A value is not what the driver's COPY can send: INSERT may know it, or say so better.

    Rows before it may have been sent: these are to be undone.
    """


@dataclass(frozen=True)
class Copy:
    """One COPY of some columns of a table."""

    connection: Connection
    layout: Layout
    fields: Sequence[Field]

    def rows(self, rows: Iterable[Sequence[Any]], types: list[int] | None = None) -> None:
        """Send rows as the driver takes them.

        :param types: for psycopg, the types of the columns in binary; None sends text.
        :raises NotCopiedError: for a value that the driver cannot send.
        :raises DBAPIError: for what the database refuses.
        """
        with sending(self.connection, self._touched) as raw:
            if self.connection.dialect.driver == "asyncpg":
                self._asyncpg(raw, raw.copy_records_to_table, records=rows)
            elif self.connection.dialect.is_async:
                await_only(_psycopg_async(raw, self._sql(types is not None), rows, types))
            else:
                _psycopg(raw, self._sql(types is not None), rows, types)

    def text(self, text: str) -> None:
        """Send rows by psycopg2 that are text already.

        :raises DBAPIError: for what the database refuses.
        """
        with sending(self.connection, self._touched) as raw, raw.cursor() as cursor:
            cursor.copy_expert(self._sql(binary=False), StringIO(text))

    def data(self, data: bytes) -> None:
        """Send rows that are in PostgreSQL's binary form already.

        :raises DBAPIError: for what the database refuses.
        """
        with sending(self.connection, self._touched) as raw:
            if self.connection.dialect.driver == "asyncpg":
                # As bytes it would be the name of a file.
                self._asyncpg(raw, raw.copy_to_table, source=memoryview(data), format="binary")
            elif self.connection.dialect.driver == "psycopg2":
                with raw.cursor() as cursor:
                    cursor.copy_expert(self._sql(binary=True), BytesIO(data))
            elif self.connection.dialect.is_async:
                await_only(_write_async(raw, self._sql(binary=True), data))
            else:
                with raw.cursor() as cursor, cursor.copy(self._sql(binary=True)) as copy:
                    copy.write(data)

    @property
    def _touched(self) -> Touched:
        return Touched(inserts=frozenset({self.layout.table.lower()}))

    def _sql(self, binary: bool) -> str:
        return self.layout.copy([field.name for field in self.fields], binary=binary)

    def _asyncpg(self, raw: Any, send: Any, **source: Any) -> None:
        """Have asyncpg send something; its errors become those of SQLAlchemy's adapter."""
        if self._is_new_to(raw):
            await_only(raw.reload_schema_state())
        names = [field.name for field in self.fields]
        layout = self.layout
        try:
            await_only(send(layout.table, schema_name=layout.schema, columns=names, **source))
        except Exception as error:  # noqa: BLE001 (it is raised)
            self._raise(raw, error)

    def _raise(self, raw: Any, error: Exception) -> NoReturn:
        dbapi: Any = self.connection.dialect.loaded_dbapi
        if not raw.is_closed() and not isinstance(error, dbapi.asyncpg.PostgresError):
            raise NotCopiedError from error
        raise_adapted(self.connection, error)

    def _is_new_to(self, raw: Any) -> bool:
        """Say whether asyncpg remembers other types of the columns than they have now.

        It asks for them once, keeps the answer, and what it then sends may be taken for
        something else.
        """
        seen: dict[Any, Any] = self.connection.info.setdefault(_TYPES_SEEN, {})
        key = (self.layout.schema, self.layout.table, *(field.name for field in self.fields))
        types = [field.oid for field in self.fields]
        before = seen.get(key)
        seen[key] = types
        return before is not None and before != types


def raise_adapted(connection: Connection, error: Exception) -> NoReturn:
    """Raise an error of asyncpg's own as SQLAlchemy's adapter has it: an error of the DBAPI."""
    adapted: Any = connection.connection.dbapi_connection
    adapted._handle_exception(error)
    raise error


def _psycopg(
    raw: Any, statement: str, rows: Iterable[Sequence[Any]], types: list[int] | None
) -> None:
    failed = None
    try:
        with raw.cursor() as cursor, cursor.copy(statement) as copy:
            if types is not None:
                copy.set_types(types)
            write_row = copy.write_row
            try:
                for row in rows:
                    write_row(row)
            except Exception as error:  # noqa: BLE001 (it is raised once COPY has ended)
                failed = error
    except raw.Error:
        if failed is None:
            raise
    if failed is not None:
        _refuse(raw, failed)


async def _psycopg_async(
    raw: Any, statement: str, rows: Iterable[Sequence[Any]], types: list[int] | None
) -> None:
    failed = None
    try:
        async with raw.cursor() as cursor, cursor.copy(statement) as copy:
            if types is not None:
                copy.set_types(types)
            write_row = copy.write_row
            try:
                for row in rows:
                    await write_row(row)
            except Exception as error:  # noqa: BLE001 (it is raised once COPY has ended)
                failed = error
    except raw.Error:
        if failed is None:
            raise
    if failed is not None:
        _refuse(raw, failed)


def _refuse(raw: Any, error: Exception) -> NoReturn:
    """Raise what went wrong while rows were sent.

    COPY has ended in order by now: ended by the error, it would have psycopg log a warning
    wherever the server had found something, too.
    """
    if raw.closed or getattr(error, "sqlstate", None) is not None:
        raise error
    raise NotCopiedError from error


async def _write_async(raw: Any, statement: str, data: bytes) -> None:
    async with raw.cursor() as cursor, cursor.copy(statement) as copy:
        await copy.write(data)
