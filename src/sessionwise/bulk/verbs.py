"""The verbs of technique 3, for ``Session`` to inherit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import orm

from sessionwise.bulk import copying, export, insert, legacy
from sessionwise.bulk import update as update_
from sessionwise.bulk import upsert as upsert_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement

    from sessionwise.bulk.copying import Header, InputFormat
    from sessionwise.bulk.export import CopyResult
    from sessionwise.bulk.exporting.sinks import Format
    from sessionwise.bulk.insert import OnConflict
    from sessionwise.bulk.rejects.collected import OnError
    from sessionwise.bulk.result import BulkProgress, BulkResult
    from sessionwise.bulk.upsert import Duplicates

__all__ = ["BulkVerbs"]


class BulkVerbs(orm.Session):
    """Rows in and out at the driver's speed, in the session's transaction."""

    def bulk_insert(
        self,
        entity: Any,
        rows: Any,
        *,
        returning: bool = False,
        on_conflict: OnConflict | None = None,
        on_error: OnError = "raise",
        max_errors: int | None = None,
        events: bool = False,
        columns: Sequence[str] | None = None,
        chunk_size: int | None = None,
        progress: Callable[[BulkProgress], object] | None = None,
    ) -> BulkResult:
        """Insert rows, by the fastest way the database has. Where one fails, none is stored.

        :param entity: a mapped class, or a table.
        :param rows: dicts, tuples (with ``columns``), dataclasses, objects of the class, anything
          with ``__arrow_c_stream__``, or ``bulk.read(path)``; read as needed.
        :param returning: give the primary keys, in the order of the rows.
        :param on_conflict: ``"nothing"`` leaves out rows whose key is there already.
        :param on_error: ``"raise"``, or ``"reject"``: rows that cannot be stored are put aside, in
          ``result.rejected``, and the others are stored.
        :param max_errors: how many rows may be rejected; past that, none is stored.
        :param events: call the class's ``before_insert`` and ``after_insert`` for each row.
        :param columns: what the values of tuples are of.
        :param chunk_size: rows in memory at a time.
        :param progress: called after each chunk, with a ``BulkProgress``.
        :raises BulkInputError: for rows that are not what the table takes.
        :raises TooManyRejectsError: past ``max_errors``.
        """
        return insert.insert(
            self,
            entity,
            rows,
            returning=returning,
            on_conflict=on_conflict,
            on_error=on_error,
            max_errors=max_errors,
            events=events,
            columns=columns,
            chunk_size=chunk_size,
            progress=progress,
        )

    def bulk_upsert(
        self,
        entity: Any,
        rows: Any,
        *,
        keys: Sequence[str] | None = None,
        update: Iterable[str] | Mapping[str, Any] | None = None,
        where: ColumnElement[bool] | None = None,
        duplicates: Duplicates = "raise",
        on_error: OnError = "raise",
        max_errors: int | None = None,
        returning: bool = False,
        columns: Sequence[str] | None = None,
        chunk_size: int | None = None,
        progress: Callable[[BulkProgress], object] | None = None,
    ) -> BulkResult:
        """Insert rows, or update those whose key is there; the two are counted apart.

        The parameters that are not named here are those of :meth:`bulk_insert`.

        :param keys: what a row is known by: columns of a unique key; the primary key by itself.
        :param update: what to change of a row that is there: names, or SQL by name; all that the
          rows have by itself.
        :param where: update only rows for which this holds; the others are skipped.
        :param duplicates: two rows of one key in the input: ``"raise"``, or ``"last"`` wins. With
          ``on_error="reject"``, ``"raise"`` rejects all but the first of them.
        :raises BulkInputError: for rows that are not what the table takes, and for duplicates.
        """
        return upsert_.upsert(
            self,
            entity,
            rows,
            keys=keys,
            update=update,
            where=where,
            duplicates=duplicates,
            on_error=on_error,
            max_errors=max_errors,
            returning=returning,
            columns=columns,
            chunk_size=chunk_size,
            progress=progress,
        )

    def bulk_update(
        self,
        entity: Any,
        rows: Any,
        *,
        keys: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        chunk_size: int | None = None,
        progress: Callable[[BulkProgress], object] | None = None,
    ) -> BulkResult:
        """Update the rows that have the keys of those given; what has no match is skipped.

        The parameters are those of :meth:`bulk_upsert`.
        """
        return update_.update(
            self,
            entity,
            rows,
            keys=keys,
            columns=columns,
            chunk_size=chunk_size,
            progress=progress,
        )

    def copy_in(
        self,
        table: Any,
        source: Any,
        *,
        columns: Sequence[str] | None = None,
        format: InputFormat = "csv",  # noqa: A002 -- everybody calls it so
        header: Header = False,
        progress: Callable[[BulkProgress], object] | None = None,
    ) -> BulkResult:
        """Send ready bytes into a table: COPY, where the database has it.

        :param table: a mapped class, a table, or a name: ``"users"``, ``"schema.users"``.
        :param source: a path, bytes, a binary file, or an iterable of bytes.
        :param columns: what the values are of; by itself what the header says, or all columns.
        :param format: ``"csv"``, ``"tsv"``, or ``"binary"``, PostgreSQL's own.
        :param header: whether the first line has the names; ``"auto"`` looks whether it does.
        :param progress: called after each block, with a ``BulkProgress``.
        :raises UnsupportedError: for ``"binary"`` where the database has no such thing.
        """
        return copying.copy_in(
            self,
            table,
            source,
            columns=columns,
            format=format,
            header=header,
            progress=progress,
        )

    def copy_out(
        self,
        statement: Any,
        sink: Any,
        *,
        format: Format | None = None,  # noqa: A002 -- everybody calls it so
        columns: Sequence[str] | None = None,
        header: bool = True,
        null: str = "",
        compression: str | None = "infer",
        progress: Callable[[BulkProgress], object] | None = None,
    ) -> CopyResult:
        """Write the rows of a SELECT into a file, in constant memory.

        A file that is named appears when it is whole.

        :param statement: a SELECT, a mapped class, a table, or ``text()``.
        :param sink: a path, or a binary file object.
        :param format: ``"csv"``, ``"tsv"``, ``"jsonl"``, ``"parquet"`` or ``"arrow"``; by itself
          what the name says, as in ``users.csv.gz``.
        :param columns: names for the columns, in place of their own.
        :param header: begin CSV and TSV with the names.
        :param null: what stands for NULL in CSV and TSV.
        :param compression: ``"gzip"``, ``"zstd"`` or None; by itself what the name says.
        :raises BulkInputError: for a value that the format has no form for.
        """
        return export.copy_out(
            self,
            statement,
            sink,
            format=format,
            columns=columns,
            header=header,
            null=null,
            compression=compression,
            progress=progress,
        )

    if not TYPE_CHECKING:

        def bulk_insert_mappings(
            self, mapper: Any, mappings: Any, return_defaults: bool = False, **how: Any
        ) -> None:
            """Insert mappings, as in SQLAlchemy."""
            rows = list(mappings)
            nulls = how.get("render_nulls", False)
            if return_defaults or not legacy.insert_mappings(
                self, mapper, rows, render_nulls=nulls
            ):
                super().bulk_insert_mappings(mapper, rows, return_defaults, **how)

        def bulk_save_objects(
            self, objects: Any, return_defaults: bool = False, *args: Any, **how: Any
        ) -> None:
            """Save objects, as in SQLAlchemy."""
            some = list(objects)
            if return_defaults or not legacy.insert_objects(self, some):
                super().bulk_save_objects(some, return_defaults, *args, **how)

        def bulk_update_mappings(self, mapper: Any, mappings: Any) -> None:
            """Update mappings, as in SQLAlchemy; loaded objects are expired."""
            super().bulk_update_mappings(mapper, mappings)
            legacy.expire_updated(self, mapper)
