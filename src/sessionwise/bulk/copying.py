"""``copy_in``: ready bytes into a table, as they are."""

from __future__ import annotations

import csv
import io
import os
import re
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import MetaData, Table, inspect
from sqlalchemy.exc import DBAPIError, NoSuchTableError

from sessionwise.bulk.announce import Announcement, announce
from sessionwise.bulk.exporting import raw_copy
from sessionwise.bulk.insert import savepoint
from sessionwise.bulk.reading import files
from sessionwise.bulk.result import BulkProgress, BulkResult
from sessionwise.bulk.target import Target
from sessionwise.errors import BulkInputError, OptionError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

__all__ = ["Header", "InputFormat", "copy_in"]

InputFormat = Literal["csv", "tsv", "binary"]
Header = bool | Literal["auto"]

_FORMATS = ("csv", "tsv", "binary")
_DELIMITERS = {"csv": ",", "tsv": "\t"}

_BLOCK = 2**18
"""Bytes that are read, and sent, at a time."""

_IDENTIFIER = re.compile(r"[^\W\d][\w$]*")
_LONGEST_NAME = 63


def copy_in(
    session: Session,
    table: Any,
    source: Any,
    *,
    columns: Sequence[str] | None = None,
    format: InputFormat = "csv",  # noqa: A002 - as in copy_out, and as everybody calls it
    header: Header = False,
    progress: Callable[[BulkProgress], object] | None = None,
) -> BulkResult:
    """Send ready bytes into a table; nobody looks at the values but the database.

    It happens in the session's transaction, in a savepoint: where it fails nothing of it is
    stored, and what was done before stands. On PostgreSQL it is COPY. Other databases have none:
    there ``bulk.read`` and ``bulk_insert`` do it, and an empty text in quotes is NULL, too.

    :param table: a mapped class, a ``Table``, or a name: ``"users"``, ``"schema.users"``.
    :param source: a path, bytes, a binary file, or an iterable of bytes. What is compressed by
      gzip or zstd is decompressed on the way.
    :param columns: what the values are of, in their order; by itself what the header says, or all
      columns of the table.
    :param format: ``"csv"`` (an empty value is NULL, an empty text is ``""``), ``"tsv"`` (the same
      with tabs), or ``"binary"``, PostgreSQL's own.
    :param header: whether the first line has the names; ``"auto"`` looks whether it does.
    :param progress: called after each block, with a ``BulkProgress``.
    :raises BulkInputError: for a table that there is not, and a source that is none.
    :raises DBAPIError: for what the database refuses.
    :raises UnsupportedError: for ``"binary"`` where the database has no such thing.
    """
    if format not in _FORMATS:
        raise OptionError.for_value("format", format, _FORMATS)
    if header not in {True, False, "auto"}:
        raise OptionError.for_value("header", header, (True, False, "auto"))
    if header and format == "binary":
        raise OptionError("header= is for CSV and TSV: binary data has none")
    target = _target(table)
    session.flush()
    connection = target.connection(session)
    load = _Load(session, connection, target, isinstance(table, str), progress)
    copies = connection.dialect.name == "postgresql"
    if copies and connection.dialect.driver not in raw_copy.DRIVERS:
        copies = False
    if format == "binary" and not copies:
        raise UnsupportedError(
            f"{connection.dialect.name} has no COPY for binary data: give CSV, or use bulk_insert"
        )
    with closing(_opened(source, format)) as file:
        if copies:
            return load.by_copy(file, columns, format, header)
        return load.by_rows(file, columns, format, header)


@dataclass(frozen=True)
class _Load:
    """One source on its way into one table."""

    session: Session
    connection: Connection
    target: Target
    is_named: bool
    """Whether nothing but the name of the table is known."""
    progress: Callable[[BulkProgress], object] | None

    def by_copy(
        self, file: _Source, columns: Sequence[str] | None, format_: InputFormat, header: Header
    ) -> BulkResult:
        """Send the bytes by COPY."""
        delimiter = _DELIMITERS.get(format_)
        first = None if format_ == "binary" or not header else file.header(delimiter)
        has_header = first is not None and (header is True or self._are_names(first))
        names = self._columns(columns if columns is not None or not has_header else first)
        layout = raw_copy.Layout(
            format="binary" if format_ == "binary" else "csv",
            delimiter=delimiter if format_ == "tsv" else None,
            header=has_header,
        )
        table = self.target.table
        where = raw_copy.Table(table.name, table.schema, names)
        with savepoint(self.connection):
            self._announce(done=False)
            try:
                rows = raw_copy.copy_in(
                    self.connection, where, layout, self._blocks(file, format_, has_header)
                )
            except DBAPIError as error:
                error.add_note(
                    f"Nothing of {file.name} is stored in {table.fullname}. Mend what the "
                    "database names, or have bulk_insert look at each row"
                )
                raise
            self._announce(done=True)
        return BulkResult("postgresql-copy", rows)

    def by_rows(
        self, file: _Source, columns: Sequence[str] | None, format_: InputFormat, header: Header
    ) -> BulkResult:
        """Read the rows, and insert them."""
        from sessionwise.bulk.insert import insert
        from sessionwise.bulk.reading.sources import read

        target = self._known_target()
        first = file.header(_DELIMITERS[format_]) if header else None
        if first is not None and header == "auto" and not set(first) <= _names(target):
            first = None
        if columns is None and first is None:
            columns = [one.name for one in target.table.columns]
        rows = read(file, format=format_, header=first is not None, columns=columns)
        return insert(self.session, target.mapper or target.table, rows, progress=self.progress)

    def _known_target(self) -> Target:
        if not self.is_named:
            return self.target
        table = self.target.table
        try:
            found = Table(
                table.name, MetaData(), schema=table.schema, autoload_with=self.connection
            )
        except NoSuchTableError:
            raise _no_table(table.fullname) from None
        return Target(found)

    def _are_names(self, first: Sequence[str]) -> bool:
        """Say whether the values of the first line are the names of columns."""
        if not self.is_named:
            return set(first) <= _names(self.target)
        table = self.target.table
        try:
            known = inspect(self.connection).get_columns(table.name, table.schema)
        except NoSuchTableError:
            raise _no_table(table.fullname) from None
        return set(first) <= {one["name"] for one in known}

    def _columns(self, columns: Sequence[str] | None) -> list[str] | None:
        if columns is None:
            return None
        if self.is_named:
            return list(columns)
        return [str(self.target.column(name).name) for name in columns]

    def _blocks(self, file: _Source, format_: InputFormat, has_header: bool) -> Iterator[bytes]:
        began, counter = time.monotonic(), raw_copy.RowCounter()
        with files.reading(file.name):
            while block := file.read(_BLOCK):
                yield block
                if self.progress is not None:
                    if format_ != "binary":  # of that nobody knows yet how many rows it has
                        counter.count(block)
                    rows = max(counter.rows - has_header, 0)
                    self.progress(BulkProgress(rows, time.monotonic() - began))

    def _announce(self, *, done: bool) -> None:
        announce(Announcement(self.session, self.connection, self.target, "copy", done))


def _target(table: Any) -> Target:
    if not isinstance(table, str):
        return Target.of(table)
    parts = table.split(".")
    are_names = all(
        _IDENTIFIER.fullmatch(part) and len(part.encode()) <= _LONGEST_NAME for part in parts
    )
    if not are_names or len(parts) > 2:  # noqa: PLR2004 - a schema, and a table
        raise BulkInputError(
            f"{table!r} is not the name of a table: give one such as 'users' or 'schema.users', a "
            "mapped class, or a Table"
        )
    *schema, name = parts
    return Target(Table(name, MetaData(), schema=schema[0] if schema else None))


def _names(target: Target) -> set[str]:
    attributes = set() if target.mapper is None else set(target.mapper.column_attrs.keys())
    return attributes | {one.name for one in target.table.columns}


def _no_table(name: str) -> BulkInputError:
    return BulkInputError(f"there is no table {name}: create it, or look at its name and schema")


def _opened(source: Any, format_: InputFormat) -> _Source:
    """Open what is to be sent, decompressed.

    :raises BulkInputError: for what has no bytes.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        given: Any = io.BytesIO(source)
        name = "the bytes"
    elif isinstance(source, str | os.PathLike) or hasattr(source, "read"):
        given, name = source, None
    elif hasattr(source, "__iter__"):
        given, name = io.BufferedReader(_Pieces(source)), "the bytes"
    else:
        raise BulkInputError(
            f"{source!r} has no bytes: give a path, bytes, a binary file or an iterable of bytes"
        )
    file = files.InputFile(given, None if format_ == "binary" else "utf-8")
    return _Source(file.open(), name or file.name)


class _Source:
    """An open file of which the first line can be looked at before it is read."""

    def __init__(self, file: io.BufferedReader, name: str) -> None:
        self._file = file
        self._ahead = b""
        self.name = name

    def header(self, delimiter: str | None) -> list[str] | None:
        """Return the values of the first line, which is still to be read; None of an empty one."""
        with files.reading(self.name):
            self._ahead = self._ahead or self._file.readline()
            lines = [self._ahead.decode()]
        values = next(csv.reader(lines, delimiter=delimiter or ","), [])
        return values or None

    def read(self, size: int = -1) -> bytes:
        """Read some bytes; none at the end."""
        if self._ahead:
            found, self._ahead = self._ahead, b""
            return found
        return self._file.read(size)

    def close(self) -> None:
        """Close it; a file that the caller has opened stays open."""
        self._file.close()


class _Pieces(io.RawIOBase):
    """An iterable of bytes as a file."""

    def __init__(self, pieces: Iterable[Any]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            if not isinstance(piece, bytes | bytearray | memoryview):
                raise BulkInputError(
                    f"the iterable has {piece!r} in it, and not bytes: encode its texts, or give "
                    "rows to bulk_insert"
                )
            self._rest = memoryview(piece).cast("B")
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
