"""``copy_out``: the rows of a SELECT into a file, in constant memory."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sessionwise.bulk.exporting import arrow as columnar
from sessionwise.bulk.exporting import copy as export_copy
from sessionwise.bulk.exporting import encoders, sinks
from sessionwise.bulk.exporting import query as selected
from sessionwise.bulk.exporting import raw_copy as copies
from sessionwise.bulk.exporting.encoders import Style
from sessionwise.bulk.insert import savepoint
from sessionwise.bulk.result import BulkProgress
from sessionwise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from sessionwise.bulk.exporting.copy import CopyQuery
    from sessionwise.bulk.exporting.query import Selected
    from sessionwise.bulk.exporting.sinks import Format

__all__ = ["CHUNK_SIZE", "CopyResult", "copy_out"]

CHUNK_SIZE = 2_500
"""Rows that are in memory at a time: more of them leave the processor's cache."""


@dataclass(frozen=True)
class CopyResult:
    """What an export has written."""

    rows: int
    size: int
    """Bytes of the file."""
    format: str
    writer: str
    """How the rows have come: ``"postgresql-copy"``, or ``"core"`` for the driver's cursor."""


def copy_out(
    session: Session,
    statement: Any,
    sink: Any,
    *,
    format: Format | None = None,  # noqa: A002 - as in copy_in, and as everybody calls it
    columns: Sequence[str] | None = None,
    header: bool = True,
    null: str = "",
    compression: str | None = "infer",
    progress: Callable[[BulkProgress], object] | None = None,
) -> CopyResult:
    """Write the rows of a SELECT into a file; what is pending is flushed first.

    A file given by its name appears when it is whole: where this fails, what had the name before
    is as it was. How values are written, :mod:`~sessionwise.bulk.exporting.forms` says: in CSV and
    TSV lines end with LF, NULL is empty and an empty text is ``""``. The types of Parquet and
    Arrow files are those of the model's columns; of expressions they are what PostgreSQL says,
    elsewhere what the first rows have.

    :param statement: a SELECT, a mapped class or a ``Table`` (all of its columns), or ``text()``.
    :param sink: a path, or a binary file object, which stays open.
    :param format: ``"csv"``, ``"tsv"``, ``"jsonl"``, ``"parquet"`` or ``"arrow"``; by itself what
      the name's end says, as in ``users.csv.gz``.
    :param columns: names for the columns, in their order, in place of their own.
    :param header: begin CSV and TSV with the names.
    :param null: what NULL is in CSV and TSV.
    :param compression: ``"gzip"``, ``"zstd"`` or None; by itself what the name's end says.
    :param progress: called after each chunk, with a ``BulkProgress``.
    :raises BulkInputError: for what is no SELECT, and for a value that the format has no form for.
    :raises OptionError: for an option that is not a choice.
    """
    chosen, packed = sinks.format_of(sink, format, compression)
    style = Style(chosen, header, null, packed)
    _check(style)
    if style.is_columnar:
        columnar.pyarrow()
    if session.autoflush:
        session.flush()
    wanted = selected.of(session, statement, columns)
    with (
        sinks.opened(sink, None if style.is_columnar else packed) as (counted, file),
        _contained(wanted.connection),
    ):
        export = _Export(session, wanted, style, file, progress)
        writer = export.run()
    return CopyResult(export.rows, counted.size, chosen, writer)


def _contained(connection: Connection) -> AbstractContextManager[Any]:
    """Keep a COPY that is broken off, as by a full disk, from ending PostgreSQL's transaction."""
    return savepoint(connection) if connection.dialect.name == "postgresql" else nullcontext()


def _check(style: Style) -> None:
    if not style.is_delimited:
        if style.null or not style.header:
            raise OptionError(f"header= and null= are for CSV and TSV, not for {style.format}")
        if style.format == "arrow" and style.compression == "gzip":
            raise OptionError("Arrow files are compressed by zstd, not by gzip; use the former")
    elif any(sign in style.null for sign in ('"', "\n", "\r", style.delimiter)):
        raise OptionError(
            f"null={style.null!r} cannot be told from a value: use a text without quotes, "
            "delimiters and line ends, such as null='NULL'"
        )


class _Export:
    """Writes the rows of one statement into one file."""

    def __init__(
        self,
        session: Session,
        wanted: Selected,
        style: Style,
        file: Any,
        progress: Callable[[BulkProgress], object] | None,
    ) -> None:
        self.rows = 0
        self._session = session
        self._wanted = wanted
        self._connection = wanted.connection
        self._style = style
        self._file = file
        self._progress = progress
        self._began = time.monotonic()

    def run(self) -> str:
        """Write all; return how the rows have come."""
        query, result = export_copy.prepare(self._session, self._wanted, self._style.format)
        if query is None:
            self._by_rows(result)
            return "core"
        if self._style.is_columnar:
            self._copy_into_arrow(query)
        else:
            self._copy_text(query)
        return "postgresql-copy"

    def _by_rows(self, result: Any) -> None:
        dialect = self._connection.dialect.name
        with selected.rows(self._session, self._wanted, CHUNK_SIZE, result) as (columns, chunks):
            file = encoders.of(self._style, columns, dialect, self._file)
            for values in chunks:
                file.write(values)
                self._tell(self.rows + len(values[0]))
            file.close()

    def _copy_text(self, query: CopyQuery) -> None:
        style, counter = self._style, copies.RowCounter()
        if style.format == "jsonl":
            delimiter, quote = export_copy.JSON_LINE
            layout = copies.Layout(delimiter=delimiter, quote=quote)
            count = counter.count_lines
        else:
            layout = copies.Layout(delimiter=style.delimiter, null=style.null)
            count = counter.count
            encoders.write_header(style, query.columns, self._file)

        def write(block: bytes) -> None:
            self._file.write(block)
            if self._progress is not None:
                count(block)
                self._tell(counter.rows)

        self._copy(query, layout, write)

    def _copy_into_arrow(self, query: CopyQuery) -> None:
        file = encoders.ArrowFromCsv(query, self._style, self._file)

        def write(block: bytes) -> None:
            rows = file.write(block)
            if rows:
                self._tell(self.rows + rows)

        self._copy(query, copies.Layout(), write)
        file.close()

    def _copy(
        self, query: CopyQuery, layout: copies.Layout, write: Callable[[bytes], object]
    ) -> None:
        rows = copies.copy_out(self._connection, query.sql, query.parameters, layout, write)
        if self.rows != rows:
            self._tell(rows)

    def _tell(self, rows: int) -> None:
        self.rows = rows
        if self._progress is not None:
            self._progress(BulkProgress(rows, time.monotonic() - self._began))
