"""JSON Lines as a stream: an object in each line."""

from __future__ import annotations

import json
from collections import deque
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

from sessionwise.bulk.reading import files
from sessionwise.bulk.reading.convert import Converter, exact_float
from sessionwise.bulk.reading.rows import Source, checked_names, of_dicts, short
from sessionwise.errors import BulkInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sessionwise.bulk.reading.files import InputFile
    from sessionwise.bulk.reading.rows import Chunk
    from sessionwise.bulk.target import Target

__all__ = ["JsonLines"]


class JsonLines(Source):
    """The objects of a JSON Lines file; an empty line is none."""

    format = "jsonl"

    def __init__(self, file: InputFile, *, columns: Sequence[str] | None, batch_rows: int) -> None:
        self._file = self.file = file
        self._columns = None if columns is None else checked_names(columns)
        self._batch_rows = batch_rows
        self._begun: Iterator[tuple[int, dict[str, Any]]] | None = None
        self._first: tuple[int, dict[str, Any]] | None = None
        self._recent: deque[tuple[int, int]] = deque()

    @property
    def names(self) -> tuple[str, ...]:
        """The keys of the first object; other objects may have others."""
        if self._columns is not None:
            return self._columns
        if self._first is None:
            records = self._objects()
            self._first = next(records)
            if self._file.once:
                self._begun = records
            else:
                records.close()
        return tuple(self._first[1])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start, window in self._windows(self._batch_rows, exact=False):
            found = [row for _, row in window]
            if self._columns is None:
                yield from found
                continue
            for chunk in of_dicts(found, start, self._columns):
                yield from (dict(zip(chunk.names, row, strict=True)) for row in chunk.rows)

    def chunks(
        self, *, target: Target | None, columns: Sequence[str] | None, chunk_size: int
    ) -> Iterator[Chunk]:
        """Give the rows; strings are converted to the types of the target's columns."""
        convert = None
        if target is not None:
            convert = Converter(target, self._where, is_json=True).convert
        names = self._columns if columns is None else columns
        for start, window in self._windows(chunk_size, exact=True):
            for chunk in of_dicts([row for _, row in window], start, names):
                yield chunk if convert is None else convert(chunk)

    def line(self, position: int) -> int | None:
        """Return the line that a row is in, from 1; the file may be read again for it."""
        recent = self._recent
        if recent and recent[0][0] <= position <= recent[-1][0]:
            return recent[position - recent[0][0]][1]
        if self._file.once:
            return None
        with closing(self._objects()) as records:
            found: tuple[int, Any] | None = next(islice(records, position, None), None)
        return None if found is None else found[0]

    def lines(self) -> Iterator[int]:
        """Give the line that each object is in; the file is read again for it."""
        with closing(self._objects()) as records:
            for line, _ in records:
                yield line

    def _where(self, position: int) -> str:
        line = self.line(position)
        return self._file.name if line is None else f"line {line:,} of {self._file.name}"

    def _windows(
        self, size: int, *, exact: bool
    ) -> Iterator[tuple[int, list[tuple[int, dict[str, Any]]]]]:
        self._recent = deque(maxlen=size)
        count = 0
        with closing(self._records(exact=exact)) as records:
            while window := list(islice(records, size)):
                self._recent.extend((count + at, line) for at, (line, _) in enumerate(window))
                yield count, window
                count += len(window)

    def _records(self, *, exact: bool) -> Any:
        begun, self._begun = self._begun, None
        if begun is None:
            return self._objects(exact=exact)
        return _chained(self._first, begun)

    def _objects(self, *, exact: bool = True) -> Any:  # a generator
        read = json.JSONDecoder(parse_float=exact_float if exact else None).decode
        position = 0
        with closing(self._file.open()) as file, files.reading(self._file.name):
            for line, data in enumerate(file, 1):
                if data.isspace():
                    continue
                where = f"line {line:,} of {self._file.name}"
                try:
                    row = read(data.decode())
                except UnicodeDecodeError as error:
                    raise files.undecodable(where, error) from error
                except (json.JSONDecodeError, RecursionError) as error:
                    raise BulkInputError.for_row(
                        position, f"{where} is not JSON: {error}; an object has a line of its own"
                    ) from error
                if not isinstance(row, dict):
                    raise BulkInputError.for_row(
                        position,
                        f"{where} is not an object but {type(row).__name__}: {short(row)}",
                    )
                yield line, row
                position += 1
        if not position:
            raise BulkInputError(
                f"{self._file.name} is empty: it has no object; is it the right file, and was it "
                "written to its end?"
            )


def _chained(first: Any, rest: Any) -> Any:
    with closing(rest):
        yield first
        yield from rest
