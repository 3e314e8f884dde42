"""Parquet and Arrow files as a stream of record batches."""

from __future__ import annotations

import io
import shutil
import tempfile
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sessionwise.bulk.reading import batches, casts, files
from sessionwise.bulk.reading.rows import Chunk, Source, as_dicts, checked_names, select
from sessionwise.errors import BulkInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sessionwise.bulk.reading.files import InputFile
    from sessionwise.bulk.target import Target

__all__ = ["Columnar"]

_ARROW_FILE = b"ARROW1"


class Columnar(Source):
    """Rows of a Parquet file, or of an Arrow file or stream; they have types already."""

    def __init__(
        self,
        file: InputFile,
        *,
        format: str,  # noqa: A002 - it is called so everywhere
        columns: Sequence[str] | None,
        batch_rows: int,
    ) -> None:
        self.format = format
        self._file = self.file = file
        self._columns = None if columns is None else checked_names(columns)
        self._batch_rows = batch_rows
        self._begun: _Opened | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns; the schema of the file is read for them."""
        if self._columns is not None:
            return self._columns
        if self._begun is None:
            opened = _Opened(self._file, self.format)
            if not self._file.once:
                opened.close()
                return opened.names
            self._begun = opened
        return self._begun.names

    def schema(self) -> Any:
        """Return the ``pyarrow.Schema`` of a file that can be read again."""
        with closing(_Opened(self._file, self.format)) as opened:
            return opened.schema

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return as_dicts(self.chunks(target=None, columns=None, chunk_size=self._batch_rows))

    def chunks(
        self, *, target: Target | None, columns: Sequence[str] | None, chunk_size: int
    ) -> Iterator[Chunk]:
        """Give the rows as record batches of plain types."""
        begun, self._begun = self._begun, None
        wanted = self._columns if columns is None else columns
        start = 0
        with closing(begun or _Opened(self._file, self.format)) as opened:
            for batch in batches.recut(opened.batches(wanted, chunk_size), chunk_size):
                positions = range(start, start + len(batch))
                chunk = select(Chunk(tuple(batch.schema.names), positions, batch=batch), wanted)
                if target is not None:
                    if target.refusals is not None:
                        target.refusals.keep(chunk)
                    chunk = replace(chunk, batch=casts.fitted(chunk.batch, target, start))
                yield chunk
                start += len(batch)


class _Opened:
    """An open file and its schema."""

    def __init__(self, file: InputFile, format_: str) -> None:
        self._name = file.name
        self._pa = batches.arrow()
        with ExitStack() as stack:
            opened = stack.enter_context(closing(file.open()))
            if not opened.peek(1):
                raise BulkInputError(
                    f"{file.name} is empty: it has no schema; is it the right file, and was it "
                    "written to its end?"
                )
            with files.reading(file.name):
                self._reader = self._read(stack, opened, format_)
            schema = self._reader.schema
            self.schema = getattr(self._reader, "schema_arrow", schema)
            self.names = tuple(self.schema.names)
            self._stack = stack.pop_all()

    def _read(self, stack: ExitStack, file: io.BufferedReader, format_: str) -> Any:
        pa = self._pa
        is_stream = format_ == "arrow" and not file.peek(6).startswith(_ARROW_FILE)
        try:
            if is_stream:
                return stack.enter_context(pa.ipc.open_stream(file))
            seekable = _seekable(stack, file)
            if format_ == "arrow":
                return stack.enter_context(pa.ipc.open_file(seekable))
            from pyarrow import parquet

            # Without it a whole row group would be in memory.
            return stack.enter_context(parquet.ParquetFile(seekable, pre_buffer=False))
        except pa.ArrowException as error:
            raise self._error(error) from error

    def batches(self, columns: Sequence[str] | None, size: int) -> Iterator[Any]:
        """Give the record batches of the file."""
        for name in columns or ():
            if name not in self.names:
                raise BulkInputError(
                    f"{self._name} has no column {name!r}, which columns= names; it has "
                    f"{', '.join(self.names)}"
                )
        with files.reading(self._name):
            try:
                yield from self._all(columns, size)
            except (self._pa.ArrowException, OSError) as error:
                raise self._error(error) from error

    def _all(self, columns: Sequence[str] | None, size: int) -> Iterator[Any]:
        reader = self._reader
        if hasattr(reader, "iter_batches"):
            yield from reader.iter_batches(size, columns=None if columns is None else [*columns])
        elif hasattr(reader, "num_record_batches"):
            for at in range(reader.num_record_batches):
                yield reader.get_batch(at)
        else:
            yield from reader

    def _error(self, error: BaseException) -> BulkInputError:
        return files.damaged(self._name, error)

    def close(self) -> None:
        self._stack.close()


def _seekable(stack: ExitStack, file: io.BufferedReader) -> Any:
    """Return a file that can be read in any order: its end comes first."""
    if isinstance(file.raw, io.FileIO):
        return file
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the stack closes it
    stack.callback(copy.close)
    shutil.copyfileobj(file, copy)
    copy.seek(0)
    return copy
