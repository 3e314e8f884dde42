"""The rows of one call that are rejected, as they were given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from sessionwise.bulk.reading.batches import arrow
from sessionwise.bulk.reading.rows import Chunk, Source
from sessionwise.bulk.rejects.faults import Fault
from sessionwise.bulk.result import Rejected
from sessionwise.errors import OptionError, TooManyRejectsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sessionwise.bulk.target import Target

__all__ = ["OnError", "Rejects", "rejects_of", "some"]

OnError = Literal["raise", "reject"]


def rejects_of(
    rows: Any, on_error: OnError, max_errors: int | None, *, keeps_all: bool = False
) -> Rejects | None:
    """Return what takes the rejected rows of a call; None where the first one is an error.

    :param keeps_all: whether rows may be rejected when later ones have been read.
    :raises OptionError: for values that the options do not take.
    """
    if on_error not in {"raise", "reject"}:
        raise OptionError.for_value("on_error", on_error, ("raise", "reject"))
    if max_errors is not None:
        if on_error == "raise":
            raise OptionError(
                'max_errors= says how many rows may be rejected: it needs on_error="reject"'
            )
        if isinstance(max_errors, bool) or not isinstance(max_errors, int) or max_errors < 0:
            raise OptionError(f"max_errors={max_errors!r} is not a number of rows; use 0 or more")
    return None if on_error == "raise" else Rejects(rows, max_errors, keeps_all=keeps_all)


class Rejects:
    """Takes rejected rows, and knows what was given in their place in the input."""

    def __init__(self, source: Any, max_errors: int | None, *, keeps_all: bool = False) -> None:
        self._source = source if isinstance(source, Source) else None
        self._max_errors = max_errors
        self._keeps_all = keeps_all
        self._given: list[_Given] = []
        self._current: _Given | None = None
        self._refused: set[int] = set()
        self._found: dict[int, Rejected] = {}
        # A file that can be read again says the lines of all rows in one go, at the end.
        file = None if self._source is None else self._source.file
        self._asks_at_once = self._source is not None and file is not None and file.once

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, position: int) -> bool:
        return position in self._found

    def target(self, target: Target) -> Target:
        """Return a target for whose rows this is told what cannot be converted."""
        return replace(target, refusals=self)

    def keep(self, chunk: Chunk) -> None:
        """Take rows as they come from a file, before they are converted."""
        self._keep(_Given(chunk.positions, chunk))

    def keep_rows(self, rows: Sequence[Any], start: int) -> None:
        """Take rows as the caller gives them."""
        self._keep(_Given(range(start, start + len(rows)), rows))

    def _keep(self, given: _Given) -> None:
        if not self._keeps_all:
            self._given.clear()
        self._given.append(given)

    def refuse(self, position: int, column: str, problem: str) -> None:
        """Reject a row that cannot be converted."""
        self._refused.add(position)
        self.add(position, Fault("value", None, column, problem))

    def without_refused(self, chunk: Chunk) -> Chunk:
        """Return a chunk without the rows that could not be converted."""
        self._current = _Given(chunk.positions, chunk)
        if not self._refused:
            return chunk
        kept = [at for at, one in enumerate(chunk.positions) if one not in self._refused]
        self._refused.difference_update(chunk.positions)
        return some(chunk, kept)

    def without(self, chunk: Chunk) -> Chunk:
        """Return a chunk without the rows that have been rejected."""
        return some(chunk, [at for at, one in enumerate(chunk.positions) if one not in self])

    def add(self, position: int, fault: Fault) -> None:
        """Reject a row; of several reasons the first one counts.

        :raises TooManyRejectsError: where that is one too many.
        """
        if position in self._found:
            return
        line = None
        if self._source is not None and self._asks_at_once:
            line = self._source.line(position)
        row = self._row(position)
        self._found[position] = Rejected(
            position, line, row, fault.kind, fault.constraint, fault.column, fault.message
        )
        if self._max_errors is not None and len(self._found) > self._max_errors:
            raise TooManyRejectsError.past(self._max_errors, self.result())

    def result(self) -> list[Rejected]:
        """Return the rejected rows in the order of the input."""
        found = [self._found[position] for position in sorted(self._found)]
        source = self._source
        if source is None or self._asks_at_once or not found:
            return found
        lines = _lines(source, [one.position for one in found])
        return [replace(one, line=line) for one, line in zip(found, lines, strict=True)]

    def _row(self, position: int) -> Any:
        for given in (*reversed(self._given), self._current):
            if given is not None and (at := given.at(position)) is not None:
                return given.row(at)
        return None


def some(chunk: Chunk, at: Sequence[int]) -> Chunk:
    """Return some rows of a chunk."""
    if len(at) == len(chunk):
        return chunk
    positions = [chunk.positions[one] for one in at]
    if chunk.values is None:
        return Chunk(
            chunk.names, positions, batch=chunk.batch.take(arrow().array(at, arrow().int64()))
        )
    return Chunk(chunk.names, positions, [chunk.values[one] for one in at])


@dataclass
class _Given:
    """Rows as they were given."""

    positions: Sequence[int]
    rows: Chunk | Sequence[Any]
    _index: dict[int, int] | None = None

    def at(self, position: int) -> int | None:
        """Return which one is at a position of the input; None where it is another's."""
        if isinstance(self.positions, range):
            return self.positions.index(position) if position in self.positions else None
        if self._index is None:
            self._index = {one: at for at, one in enumerate(self.positions)}
        return self._index.get(position)

    def row(self, at: int) -> Any:
        """Return a row: as the caller has given it, or a dict."""
        if not isinstance(self.rows, Chunk):
            return self.rows[at]
        chunk = self.rows
        if chunk.values is not None:
            values = chunk.values[at]
        else:
            values = [column[at].as_py() for column in chunk.batch.columns]
        return dict(zip(chunk.names, values, strict=True))


def _lines(source: Source, positions: Sequence[int]) -> Iterable[int | None]:
    """Return the lines that rows begin in; a file is read again for all of them, once."""
    ahead, passed = source.lines(), 0
    found: list[int | None] = []
    for position in positions:
        line = next(islice(ahead, position - passed, None), None)
        passed = position + 1
        found.append(source.line(position) if line is None else line)
    if hasattr(ahead, "close"):
        ahead.close()
    return found
