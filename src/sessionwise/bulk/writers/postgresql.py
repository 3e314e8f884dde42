"""PostgreSQL: COPY, by psycopg and asyncpg."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessionwise.bulk.writers import core, postgresql_arrow
from sessionwise.bulk.writers.postgresql_copy import DRIVERS, Copy, NotCopiedError
from sessionwise.bulk.writers.postgresql_quiet import quiet
from sessionwise.bulk.writers.postgresql_sequence import move_past, take
from sessionwise.bulk.writers.postgresql_table import layout
from sessionwise.bulk.writers.postgresql_text import text_of
from sessionwise.bulk.writers.postgresql_types import (
    binary_types,
    is_safe_in_binary,
    is_safe_in_text,
)
from sessionwise.transaction import activity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Column, Connection

    from sessionwise.bulk.plan import Plan
    from sessionwise.bulk.reading.rows import Chunk
    from sessionwise.bulk.writers import Writer
    from sessionwise.bulk.writers.postgresql_table import Field, Layout

__all__ = ["WRITERS", "CopyWriter", "InsertWriter"]

_FEWEST = 100
"""Fewer rows SQLAlchemy's INSERT has sent by the time the catalog has answered."""


class CopyWriter:
    """Rows by COPY, in a savepoint; what COPY cannot take goes by INSERT in its place."""

    name = "postgresql-copy"

    def __init__(self, fewest: int = _FEWEST) -> None:
        self.fewest = fewest
        """How many rows there are to be for COPY to be worthwhile."""

    def takes(self, connection: Connection, plan: Plan, chunk: Chunk | None = None) -> bool:
        """Take rows for a table where COPY does what INSERT does, if there are not just a few."""
        if connection.dialect.driver not in DRIVERS or activity.autocommits(connection):
            return False
        if chunk is not None and len(chunk) < self.fewest:
            return False
        found = layout(connection, plan)
        if found is None or not found.is_plain:
            return False
        return not _needs_number(found, plan) or _may_number(found)

    def write(self, connection: Connection, plan: Plan, chunk: Chunk) -> None:
        """Write the rows of a chunk."""
        found = _layout(connection, plan)
        _Chunk(connection, plan, found, chunk).write(numbered=_needs_number(found, plan))

    def write_returning(self, connection: Connection, plan: Plan, chunk: Chunk) -> list[Any]:
        """Write the rows of a chunk, and return their primary keys in their order."""
        found = _layout(connection, plan)
        missing = [one for one in plan.target.table.primary_key if one not in plan.columns]
        if missing and (missing != [found.serial] or not _may_number(found)):
            return WRITERS[-1].write_returning(connection, plan, chunk)
        return _Chunk(connection, plan, found, chunk).write(numbered=bool(missing), keys=True)


class InsertWriter:
    """Rows by SQLAlchemy's INSERT; the ids that they bring move on the sequence that makes ids."""

    name = "core"

    def takes(self, connection: Connection, plan: Plan, chunk: Chunk | None = None) -> bool:
        """Take anything."""
        return True

    def write(self, connection: Connection, plan: Plan, chunk: Chunk) -> None:
        """Write the rows of a chunk."""
        with quiet():
            core.WRITER.write(connection, plan, chunk)
        self._move(connection, plan, chunk)

    def write_returning(self, connection: Connection, plan: Plan, chunk: Chunk) -> list[Any]:
        """Write the rows of a chunk, and return their primary keys in their order."""
        with quiet():
            ids = core.WRITER.write_returning(connection, plan, chunk)
        self._move(connection, plan, chunk)
        return ids

    def _move(self, connection: Connection, plan: Plan, chunk: Chunk) -> None:
        serial = plan.target.table.autoincrement_column
        if serial is None or serial not in plan.given:
            return
        found = layout(connection, plan)
        if found is not None:
            at = plan.given[serial]
            _move(connection, found, [row[at] for row in chunk.rows])


WRITERS: list[Writer] = [CopyWriter(), InsertWriter()]


class _Chunk:
    """The rows of one chunk on their way."""

    def __init__(self, connection: Connection, plan: Plan, found: Layout, chunk: Chunk) -> None:
        self.connection = connection
        self.plan = plan
        self.layout = found
        self.chunk = chunk

    def write(self, *, numbered: bool, keys: bool = False) -> list[Any]:
        """Write the rows.

        :param numbered: whether their primary key is taken from its sequence.
        :param keys: whether the primary keys are wanted.
        """
        ids = None
        if numbered and self.layout.numbers is not None:
            ids = take(self.connection, self.layout.numbers, len(self.chunk))
        written = self._arrow(ids, keys=keys)
        if written is None:
            written = self._rows(ids, keys=keys)
        return written

    def _arrow(self, ids: Sequence[int] | None, *, keys: bool) -> list[Any] | None:
        """Write a batch of Arrow as it is; None where it is not of the types for that."""
        batch = postgresql_arrow.fitting(self.chunk, self.plan, self.layout, ids)
        if batch is None:
            return None
        columns = self._columns(ids)
        copy = Copy(self.connection, self.layout, [self.layout.fields[one] for one in columns])
        try:
            with self.connection.begin_nested():
                copy.data(postgresql_arrow.encoded(batch))
        except NotCopiedError:
            return None
        by_column = dict(zip(columns, batch.columns, strict=True))
        serial = self.layout.serial
        if ids is None and serial in by_column:
            _move(self.connection, self.layout, [postgresql_arrow.greatest(by_column[serial])])
        if not keys:
            return []
        key = [by_column[one].to_pylist() for one in self.plan.target.table.primary_key]
        return list(zip(*key, strict=True))

    def _rows(self, ids: Sequence[int] | None, *, keys: bool) -> list[Any]:
        columns = self._columns(ids)
        objects = self.plan.objects(self.chunk.rows)
        if ids is not None:
            objects.append(ids)
        try:
            with self.connection.begin_nested():
                self._copy(columns, objects, ids)
        except NotCopiedError:
            self._insert(columns, objects)
        by_column = dict(zip(columns, objects, strict=True))
        if ids is None and self.layout.serial in by_column:
            _move(self.connection, self.layout, by_column[self.layout.serial])
        if not keys:
            return []
        key = [by_column[one] for one in self.plan.target.table.primary_key]
        return list(zip(*key, strict=True))

    def _copy(
        self,
        columns: list[Column[Any]],
        objects: list[Sequence[Any]],
        ids: Sequence[int] | None,
    ) -> None:
        fields = [self.layout.fields[column] for column in columns]
        try:
            values = self.plan.processed(objects[: len(self.plan.columns)])
        except Exception as error:  # what a type refuses, the INSERT refuses with more to say
            raise NotCopiedError from error
        if ids is not None:
            values.append(ids)
        copy, driver = Copy(self.connection, self.layout, fields), self.connection.dialect.driver
        if driver == "asyncpg":
            copy.rows(zip(*values, strict=True))
        elif driver == "psycopg2":
            _check(is_safe_in_text, fields, values)
            text = text_of(fields, values)
            if text is None:
                raise NotCopiedError
            copy.text(text)
        else:
            types = binary_types(fields)
            _check(is_safe_in_text if types is None else is_safe_in_binary, fields, values)
            copy.rows(zip(*values, strict=True), types)

    def _insert(self, columns: list[Column[Any]], objects: list[Sequence[Any]]) -> None:
        keys = [column.key for column in columns]
        rows = [dict(zip(keys, row, strict=True)) for row in zip(*objects, strict=True)]
        with quiet():
            self.connection.execute(self.plan.statement, rows)

    def _columns(self, ids: Sequence[int] | None) -> list[Column[Any]]:
        if ids is None or self.layout.serial is None:
            return self.plan.columns
        return [*self.plan.columns, self.layout.serial]


def _check(
    is_safe: Callable[[Field, Sequence[Any]], bool],
    fields: list[Field],
    values: list[Sequence[Any]],
) -> None:
    """Look at the values before they are sent.

    :raises NotCopiedError: for values that would not arrive as they are.
    """
    for field, column in zip(fields, values, strict=True):
        if not is_safe(field, column):
            raise NotCopiedError(field.name)


def _layout(connection: Connection, plan: Plan) -> Layout:
    found = layout(connection, plan)
    if found is None:
        raise LookupError(f"{plan.target.table.name} is not there: ask takes() before")
    return found


def _needs_number(found: Layout, plan: Plan) -> bool:
    """Say whether the sequence is the model's alone: the database would not ask it."""
    return found.is_models and found.serial not in plan.columns


def _may_number(found: Layout) -> bool:
    numbers, serial = found.numbers, found.serial
    if numbers is None or serial is None or found.fields[serial].identity == "a":
        return False
    return numbers.may_take


def _move(connection: Connection, found: Layout, ids: Sequence[Any]) -> None:
    given = [id_ for id_ in ids if isinstance(id_, int)]
    if found.numbers is not None and given:
        move_past(connection, found.numbers, max(given))
