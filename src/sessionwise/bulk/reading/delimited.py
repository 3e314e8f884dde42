"""CSV and TSV as a stream: by pyarrow where it is there, else by the ``csv`` module."""

from __future__ import annotations

import csv
import io
from collections import Counter, deque
from contextlib import closing, contextmanager
from itertools import islice
from threading import Event
from typing import TYPE_CHECKING, Any

from sessionwise.bulk.reading import batches, files
from sessionwise.bulk.reading.convert import Converter
from sessionwise.bulk.reading.rows import Chunk, Source, as_dicts, checked_names, select
from sessionwise.errors import BulkInputError, OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sessionwise.bulk.reading.files import InputFile
    from sessionwise.bulk.target import Target

__all__ = ["Delimited"]

_BLOCKS = (1 << 20, 1 << 26)
"""Bytes that pyarrow parses at a time, which has to hold a row; past that it is the csv module."""


_PATIENCE = 1.0
"""Seconds to wait for pyarrow to notice that nothing more is wanted."""


class Delimited(Source):
    """Rows of a CSV or TSV file, their values strings, or None where they are ``null``."""

    def __init__(
        self,
        file: InputFile,
        *,
        format: str,  # noqa: A002 - it is called so everywhere
        delimiter: str,
        header: bool,
        columns: Sequence[str] | None,
        null: str | None,
        batch_rows: int,
    ) -> None:
        """Read a file.

        :raises OptionError: for a delimiter that is not one sign, or no names at all.
        """
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
            raise OptionError(
                f"delimiter={delimiter!r} is not a choice; use one sign, such as ';'"
            )
        if not header and columns is None:
            raise OptionError(
                "header=False needs columns=, the names of the values in their order"
            )
        self.format = format
        self._file = self.file = file
        self._delimiter = delimiter
        self._header = header
        self._columns = None if columns is None else checked_names(columns)
        self._null = self.null = null
        self._batch_rows = batch_rows
        self._begun: _Records | None = None
        self._recent: deque[tuple[int, int]] = deque()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns; the beginning of the file is read for them."""
        if self._begun is None:
            records = self._begin()
            if not self._file.once:
                records.close()
                return records.names
            self._begun = records
        return self._begun.names

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return as_dicts(self.chunks(target=None, columns=None, chunk_size=self._batch_rows))

    def chunks(
        self, *, target: Target | None, columns: Sequence[str] | None, chunk_size: int
    ) -> Iterator[Chunk]:
        """Give the rows, converted to the types of the target's columns."""
        convert = None if target is None else Converter(target, self._where).convert
        count = 0
        for chunk in self._chunks(chunk_size):
            count += len(chunk)
            chosen = select(chunk, columns)
            yield chosen if convert is None else convert(chosen)
        if not count:
            raise BulkInputError(
                f"{self._file.name} has no rows"
                + (", only a header" if self._header else "")
                + "; is it the right file, and was it written to its end?"
            )

    def line(self, position: int) -> int | None:
        """Return the line that a row begins in, from 1; the file may be read again for it."""
        recent = self._recent
        if recent and recent[0][0] <= position <= recent[-1][0]:
            return recent[position - recent[0][0]][1]
        if self._file.once:
            return None
        with closing(self._begin()) as records:
            for line, _ in islice(records, position, None):
                return line
        return None

    def lines(self) -> Iterator[int]:
        """Give the line that each row begins in; the file is read again for it."""
        with closing(self._begin()) as records:
            for line, _ in records:
                yield line

    def _where(self, position: int) -> str:
        line = self.line(position)
        return self._file.name if line is None else f"line {line:,} of {self._file.name}"

    def _begin(self) -> _Records:
        begun, self._begun = self._begun, None
        return begun or _Records(self._file, self._delimiter, self._header, self._columns)

    def _chunks(self, size: int) -> Iterator[Chunk]:
        done = 0
        blocks = _BLOCKS if batches.has_arrow() and not self._file.once else ()
        for block in blocks:
            pa = batches.arrow()
            try:
                for batch in batches.recut(_from(done, self._batches(block)), size):
                    names = tuple(batch.schema.names)
                    yield Chunk(names, range(done, done + len(batch)), batch=batch)
                    done += len(batch)
            except pa.ArrowInvalid:
                continue  # a larger block may take it, or the csv module; or it says what is wrong
            return
        with closing(self._begin()) as records:
            rows = islice(records, done, None)
            self._recent = deque(maxlen=size)
            while window := list(islice(rows, size)):
                positions = range(done, done + len(window))
                self._recent.extend(zip(positions, (line for line, _ in window), strict=True))
                yield Chunk(records.names, positions, [self._nulls(row) for _, row in window])
                done += len(window)

    def _nulls(self, row: list[str]) -> Sequence[Any]:
        if self._null not in row:
            return row
        return [None if value == self._null else value for value in row]

    def _batches(self, block: int) -> Iterator[Any]:
        pa = batches.arrow()
        from pyarrow import csv as arrow_csv

        with closing(self._begin()) as records:
            # pyarrow does not tell that a quote is left open: then this row is in the last value.
            mark = next(sign for sign in "xyz" if sign not in (self._delimiter, self._null))
            end = [mark] * len(records.names)
            file = _Chained(*records.rest(), f"\n{self._delimiter.join(end)}\n".encode())
            options = {
                "read_options": arrow_csv.ReadOptions(
                    column_names=records.names, block_size=block
                ),
                "parse_options": arrow_csv.ParseOptions(
                    delimiter=self._delimiter, newlines_in_values=True
                ),
                "convert_options": arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(records.names, pa.string()),
                    null_values=[] if self._null is None else [self._null],
                    strings_can_be_null=self._null is not None,
                    quoted_strings_can_be_null=True,
                ),
            }
            with files.reading(self._file.name), file.left_alone_afterwards():
                reader = arrow_csv.open_csv(file, **options)
                try:
                    yield from _up_to(end, reader)
                finally:
                    reader.close()


def _up_to(end: list[str], found: Iterator[Any]) -> Iterator[Any]:
    """Give the batches without the row at their end, which is there to be seen."""
    last: Any = None
    for batch in found:
        if len(batch):
            if last is not None:
                yield last
            last = batch
    if last is None or list(last.slice(len(last) - 1).to_pylist()[0].values()) != end:
        raise batches.arrow().ArrowInvalid("a quote is left open")  # the csv module says where
    yield last.slice(0, len(last) - 1)


def _from(start: int, found: Iterator[Any]) -> Iterator[Any]:
    """Give the batches from a row on."""
    for batch in found:
        if start < len(batch):
            yield batch.slice(start)
        start = max(0, start - len(batch))


class _Records:
    """The records of an open file by the csv module, each with the line that it begins in."""

    def __init__(
        self, file: InputFile, delimiter: str, header: bool, columns: tuple[str, ...] | None
    ) -> None:
        self._name = file.name
        self._file = file.open()
        self._lines = _Lines(self._file, file.name)
        self._reader = csv.reader(self._lines, delimiter=delimiter)
        self._position = 0
        try:
            self.names = self._read_names(header, columns)
        except BaseException:
            self.close()
            raise

    def _read_names(self, header: bool, columns: tuple[str, ...] | None) -> tuple[str, ...]:
        if not header and columns is not None:
            return columns
        _, names = self._next("its header")
        if names is None:
            raise BulkInputError(
                f"{self._name} is empty: it has not even a header; is it the right file, and was "
                "it written to its end?"
            )
        if columns is not None:
            if len(columns) != len(names):
                raise BulkInputError(
                    f"columns= has {len(columns)} names, and {self._name} has {len(names)} "
                    f"columns: {', '.join(names)}"
                )
            return columns
        self._check_header(names)
        return tuple(names)

    def _check_header(self, names: list[str]) -> None:
        twice = [name for name, count in Counter(names).items() if count > 1 and name]
        if twice:
            raise BulkInputError(
                f"the header of {self._name} has {', '.join(map(repr, twice))} more than once; "
                "give the names by columns="
            )
        if "" in names:
            raise BulkInputError(
                f"column {names.index('') + 1} in the header of {self._name} has no name; give "
                "the names by columns="
            )

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        count = len(self.names)
        while True:
            line, row = self._next(f"row {self._position:,}")
            if row is None:
                return
            if len(row) != count:
                raise BulkInputError.for_row(
                    self._position,
                    f"line {line:,} of {self._name} has {len(row)} values, and there are {count} "
                    f"columns: {', '.join(self.names)}",
                )
            yield line, row
            self._position += 1

    def _next(self, what: str) -> tuple[int, list[str] | None]:
        row: list[str] | None = []
        line = 0
        with files.reading(self._name):
            while row == []:  # an empty line
                line = self._lines.count + 1
                try:
                    row = next(self._reader, None)
                except csv.Error as error:
                    raise BulkInputError(
                        f"{what}, line {line:,} of {self._name}: {error}. Correct it; a "
                        "long value needs csv.field_size_limit(), or a missing quote makes it long"
                    ) from error
        if self._lines.ended and row is not None and self._lines.count >= line:
            self._check_quote(what, line)
        return line, row

    def _check_quote(self, what: str, line: int) -> None:
        # The csv module asks for a line in the middle of a record only inside of quotes.
        raise BulkInputError(
            f"{what}, line {line:,} of {self._name}: a quote is opened and never closed; correct "
            "it, the rest of the file would be in one value"
        )

    def rest(self) -> tuple[bytes, io.BufferedReader]:
        """Return what comes after the header: what is read already, and the file."""
        return b"".join(self._lines.waiting), self._file

    def close(self) -> None:
        self._file.close()


class _Lines:
    """Lines of a file as text, counted; their ends are kept, for they may be in a value."""

    def __init__(self, file: io.BufferedReader, name: str) -> None:
        self._file = file
        self._name = name
        self.waiting: deque[bytes] = deque()
        self.count = 0
        self.ended = False
        """Whether more was asked for than there is."""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if not self.waiting:
            # Lines may also end in a lone \r, as on old Macs.
            self.waiting.extend(self._file.readline().splitlines(keepends=True))
        if not self.waiting:
            self.ended = True
            raise StopIteration
        self.count += 1
        try:
            return self.waiting.popleft().decode()
        except UnicodeDecodeError as error:
            raise files.undecodable(f"line {self.count:,} of {self._name}", error) from error


class _Chained(io.RawIOBase):
    """Some bytes, a file, and some bytes; pyarrow reads ahead in a thread of its own."""

    def __init__(self, first: bytes, file: io.BufferedReader, last: bytes) -> None:
        self._parts = [io.BytesIO(first), file, io.BytesIO(last)]
        self._is_given_up = False
        self._has_ended = Event()

    @contextmanager
    def left_alone_afterwards(self) -> Iterator[None]:
        """Wait at the end of a block until nobody reads any more.

        A thread that comes back from reading when the interpreter has ended waits for it forever,
        and the process for the thread.
        """
        try:
            yield
        finally:
            self._is_given_up = True
            # What has read ahead as far as it may does not read on, and is not waited for long.
            self._has_ended.wait(_PATIENCE)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            while self._parts and not self._is_given_up:
                data = self._parts[0].read(size)
                if data:
                    return data
                del self._parts[0]
        except BaseException:
            self._has_ended.set()
            raise
        self._has_ended.set()
        return b""
