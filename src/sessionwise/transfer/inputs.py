"""The files of a load: what each is called, which one it is, and what its columns are for."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter, deque
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from sessionwise.bulk.reading import rows as rows_
from sessionwise.bulk.reading.rows import Chunk, Source
from sessionwise.bulk.reading.sources import read
from sessionwise.errors import BulkInputError
from sessionwise.transfer.reject_columns import without_reject_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Table

__all__ = ["Input", "Inputs"]

_ENDS = 64 * 1024
"""Bytes of the beginning and of the end of a file that tell it from others."""

_LINES_KEPT = 2**18
"""Rows whose lines are kept: pieces that are on their way at the same time are asked about."""


class Input:
    """One file of a load."""

    def __init__(self, source: Source | str | os.PathLike[str], rename: Mapping[str, str]) -> None:
        self.source = source if isinstance(source, Source) else read(source)
        file = self.source.file
        self.path: Path | None = None if file is None else file.path
        self.is_read_once = file is None or file.once
        self.name = "the rows" if file is None else file.name
        self.label = self.name if self.path is None else str(self.path)
        """Its name as the caller has given it, with the directory."""
        self.names = without_reject_columns(self.source.names)
        """The columns of its rows; of JSON Lines, those of the first one."""
        self.size = None if self.path is None else self.path.stat().st_size
        self._rename = rename
        self._columns: dict[tuple[str, ...], tuple[list[str], list[str]]] = {}
        self.lines = _Lines(self.source)

    def fitted(self, chunk: Chunk) -> Chunk:
        """Return a chunk of the file with the names that the table has, and nothing more.

        :raises BulkInputError: where two columns get the same name.
        """
        known = self._columns.get(chunk.names)
        if known is None:
            known = self._columns[chunk.names] = self._chosen(chunk.names)
        ours, names = known
        chunk = rows_.select(chunk, ours)
        if ours == names:
            return chunk
        batch = None if chunk.batch is None else chunk.batch.rename_columns(names)
        return replace(chunk, names=tuple(names), batch=batch)

    def _chosen(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        ours = [
            name for name in without_reject_columns(names) if self._rename.get(name, name) != ""
        ]
        theirs = [self._rename.get(name, name) for name in ours]
        twice = [name for name, count in Counter(theirs).items() if count > 1]
        if twice:
            raise BulkInputError(
                f"{self.name} has more than one column for {', '.join(map(repr, twice))}; give "
                "each another name, or leave it out"
            )
        return ours, theirs

    def unnamed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row with the names of the file, where it has those of the table."""
        names = {new: old for old, new in self._rename.items()}
        return {names.get(name, name): value for name, value in row.items()}

    def line(self, position: int) -> int | None:
        """Return the line that a row begins in; None where nobody can say."""
        if self.is_read_once:
            return self.source.line(position)
        return self.lines.of(position)

    def fingerprint(self, path: Path, table: Table) -> str:
        """Return what tells a load of this file into a table from any other."""
        size = path.stat().st_size
        digest = hashlib.sha256()
        for part in (os.fsencode(path.resolve()), table.fullname.encode(), str(size).encode()):
            digest.update(len(part).to_bytes(8, "big") + part)
        with path.open("rb") as file:
            digest.update(file.read(_ENDS))
            file.seek(max(0, size - _ENDS))
            digest.update(file.read(_ENDS))
        return digest.hexdigest()


class _Lines:
    """The lines that rows begin in: the file is read again, once for rows in their order."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._ahead: Any = None
        self._next = 0
        self._kept: deque[int] = deque(maxlen=_LINES_KEPT)

    def of(self, position: int) -> int | None:
        with self._lock:
            if self._ahead is None or position < self._next - len(self._kept):
                self._begin()
            for line in islice(self._ahead, max(0, position + 1 - self._next)):
                self._kept.append(line)
                self._next += 1
            if position >= self._next:
                return None
            return self._kept[position - self._next]

    def _begin(self) -> None:
        self.close()
        self._ahead = self._source.lines()
        self._next = 0
        self._kept.clear()

    def close(self) -> None:
        if hasattr(self._ahead, "close"):
            self._ahead.close()
        self._ahead = None


class Inputs:
    """All files of a load."""

    def __init__(
        self, sources: Sequence[Source | str | os.PathLike[str]], rename: Mapping[str, str]
    ) -> None:
        """Look at each file.

        :raises BulkInputError: for no files, one that is there twice, and names that none has.
        """
        self.all = [Input(source, rename) for source in sources]
        if not self.all:
            raise BulkInputError("there is no file to load; give one or more")
        paths = Counter(one.path.resolve() for one in self.all if one.path is not None)
        for path, count in paths.items():
            if count > 1:
                raise BulkInputError(f"{path.name} is given {count} times; give it once")
        self._check_names(rename)

    def _check_names(self, rename: Mapping[str, str]) -> None:
        if any(one.source.format == "jsonl" for one in self.all):
            return  # each object may have names of its own
        known = list(dict.fromkeys(name for one in self.all for name in one.names))
        for name in rename:
            if name not in known:
                raise BulkInputError(
                    f"rename= has {name!r}, and no file has such a column; there are "
                    f"{', '.join(known)}"
                )

    def __iter__(self) -> Iterator[Input]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def fraction(self, current: Input) -> float | None:
        """Return how much of all files has been read, where this one is being read."""
        sizes = [one.size for one in self.all]
        if any(size is None for size in sizes):
            return None
        whole = sum(size or 0 for size in sizes)
        before = sum(size or 0 for size in sizes[: self.all.index(current)])
        file = current.source.file
        read_ = min(current.size or 0, 0 if file is None else file.bytes_read)
        return (before + read_) / whole if whole else 1.0

    def close(self) -> None:
        """Close what was read again for the lines of rows."""
        for one in self.all:
            one.lines.close()
