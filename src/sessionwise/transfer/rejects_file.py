"""The reject file: the rows that could not be stored, as they were, and why.

It is written before the transaction of its rows is committed. A load that goes on drops what is in
it of pieces that were not.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from sessionwise.bulk.exporting import forms
from sessionwise.errors import LoadError
from sessionwise.transfer.reject_columns import FILE_COLUMN, REJECT_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from sessionwise.bulk.result import Rejected
    from sessionwise.transfer.inputs import Inputs
    from sessionwise.transfer.pieces import Piece

__all__ = ["RejectsFile"]

_JSON = {".jsonl", ".ndjson"}
_TABS = {".tsv", ".tab"}


class RejectsFile:
    """The reject file of a load; it appears with the first row that is rejected."""

    def __init__(self, path: Path, inputs: Inputs) -> None:
        """Take the place of the file.

        :raises LoadError: where it is one of the files to be loaded.
        """
        self.path = path
        for one in inputs:
            if one.path is not None and one.path.resolve() == path.resolve():
                raise LoadError(
                    f"{path} is to be loaded: name another file for the rows that are rejected"
                )
        self._has_files = len(inputs) > 1
        self._is_json = path.suffix.lower() in _JSON
        self._delimiter = "\t" if path.suffix.lower() in _TABS else ","
        names = dict.fromkeys(name for one in inputs for name in one.names)
        reasons = (FILE_COLUMN, *REJECT_COLUMNS) if self._has_files else REJECT_COLUMNS
        self.columns = (*names, *reasons)
        self._file: io.FileIO | None = None
        self._before = 0

    def begin(self) -> None:
        """See to it that there is no such file.

        :raises LoadError: where there is one.
        """
        if self.path.exists():
            raise LoadError(
                f"{self.path} is there already, perhaps with rows that nobody has mended yet: "
                "name another reject file, or remove it"
            )

    def go_on(self, is_stored: Callable[[str, int], bool]) -> None:
        """Drop the rows of pieces that are still to be stored.

        :param is_stored: says of a file's name and a position whether the piece is stored.
        :raises LoadError: for a file that is no reject file of this load, or that another writes.
        """
        if not self.path.exists():
            return
        old = self._opened(os.O_RDWR)
        try:
            self._check_header()
            other = self.path.with_name(self.path.name + ".tmp")
            with other.open("wb") as file:
                file.write(self._header())
                for record in self._records():
                    name, position = self._place(record)
                    if is_stored(name, position):
                        file.write(self._line(record))
                file.flush()
                os.fsync(file.fileno())
            other.replace(self.path)
        finally:
            old.close()
        self._file = self._opened(os.O_RDWR)
        self._before = self._file.seek(0, os.SEEK_END)

    def append(self, piece: Piece, rejected: Sequence[Rejected]) -> None:
        """Write rows so that they are on the disk; ``undo`` takes them back.

        :raises LoadError: for one that has columns which the file has no place for.
        """
        rows = piece.originals(one.position for one in rejected)
        lines = b"".join(
            self._line(self._record(piece, one, rows.get(one.position))) for one in rejected
        )
        if self._file is None:
            self._file = self._created()
            lines = self._header() + lines
        self._before = self._file.seek(0, os.SEEK_END)
        self._write(self._file, lines)

    def undo(self) -> None:
        """Take back what was appended last: its rows will not be committed."""
        if self._file is None:
            return
        if self._before == 0:
            self.remove()
            return
        self._file.truncate(self._before)
        os.fsync(self._file.fileno())

    def remove(self) -> None:
        """Remove the file: nothing of the load is stored."""
        if self._file is not None:
            self.close()
            self.path.unlink()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @staticmethod
    def _write(file: io.FileIO, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())

    def _created(self) -> io.FileIO:
        try:
            return self._opened(os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            raise LoadError(
                f"another process has begun to write {self.path}: give each load a reject file of "
                "its own"
            ) from None

    def _opened(self, flags: int) -> io.FileIO:
        file = io.FileIO(os.open(self.path, flags | getattr(os, "O_BINARY", 0), 0o666), "r+")
        try:
            _lock(file, self.path)
        except BaseException:
            file.close()
            raise
        return file

    def _record(self, piece: Piece, one: Rejected, row: dict[str, Any] | None) -> dict[str, Any]:
        if row is None:
            row = piece.input.unnamed(one.row)
        line = one.line if one.line is not None else piece.line(one.position)
        why = (one.position, line, one.kind, one.column, one.constraint, one.message)
        record = {name: row[name] for name in row if name not in (FILE_COLUMN, *REJECT_COLUMNS)}
        unknown = [name for name in record if name not in self.columns]
        if unknown and not self._is_json:
            raise LoadError(
                f"row {one.position:,} of {piece.input.name} has {', '.join(map(repr, unknown))}, "
                f"which the first row has not, and {self.path.name} has no column for it: name "
                "the reject file .jsonl"
            )
        if not self._is_json:
            null = piece.null or ""
            record = {name: _text(record.get(name), null) for name in self.columns}
        if self._has_files:
            record[FILE_COLUMN] = piece.input.label
        record.update(zip(REJECT_COLUMNS, why, strict=True))
        return record

    def _line(self, record: dict[str, Any]) -> bytes:
        if self._is_json:
            return f"{forms.to_json(record)}\n".encode(errors="backslashreplace")
        values = ["" if record[name] is None else record[name] for name in self.columns]
        return self._csv(values)

    def _header(self) -> bytes:
        return b"" if self._is_json else self._csv(self.columns)

    def _csv(self, values: Iterable[Any]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerow(values)
        return text.getvalue().encode(errors="backslashreplace")

    def _check_header(self) -> None:
        header = self._header()
        with self.path.open("rb") as file:
            first = file.read(len(header))
        # A load that was killed may have left the beginning of one.
        if not header.startswith(first):
            raise LoadError(
                f"{self.path} is not the reject file of this load: its columns are others. Name "
                "the one that the load had"
            )

    def _records(self) -> Iterator[dict[str, Any]]:
        """Give what is in the file; the last one may have been cut short by a kill."""
        if self._is_json:
            with self.path.open("rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        yield json.loads(line)
            return
        with self.path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            longest = csv.field_size_limit(sys.maxsize)  # what could be loaded can be read
            try:
                reader = csv.reader(file, delimiter=self._delimiter)
                next(reader, None)
                for values in reader:
                    if len(values) == len(self.columns):
                        yield dict(zip(self.columns, values, strict=True))
            finally:
                csv.field_size_limit(longest)

    def _place(self, record: dict[str, Any]) -> tuple[str, int]:
        name = record[FILE_COLUMN] if self._has_files else ""
        return name, int(record[REJECT_COLUMNS[0]])


def _text(value: Any, null: str) -> str:
    if value is None:
        return null
    if isinstance(value, str):
        return value
    return forms.TEXT.of(type(value))(value)


def _lock(file: io.FileIO, path: Path) -> None:
    """Keep other processes from writing the file; where the system has no such locks, nothing."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_same = os.path.samestat(os.fstat(file.fileno()), path.stat())
    except BlockingIOError:
        is_same = False
    if not is_same:
        raise LoadError(
            f"another process writes {path}: give each load a reject file of its own, or wait "
            "until it has ended"
        )
