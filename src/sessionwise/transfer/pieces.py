"""Files cut into pieces: so many rows each, that are stored together or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessionwise.bulk.reading import casts
from sessionwise.bulk.reading.convert import Converter
from sessionwise.bulk.reading.rows import Chunk, Source, as_dicts, select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence, Set

    from sessionwise.bulk.target import Target
    from sessionwise.transfer.inputs import Input, Inputs

__all__ = ["Piece", "cut", "whole"]

_BATCH_ROWS = 10_000


class Piece(Source):
    """Some rows of a file, with the table's names, for a bulk verb; positions are the file's."""

    def __init__(self, input_: Input, number: int, first: int, raw: Iterable[Chunk]) -> None:
        self.input = input_
        self.number = number
        """Which of the file's pieces it is, from 0."""
        self.first = first
        """The position of its first row."""
        self.fraction: Callable[[], float | None] = lambda: None
        """Says how much of all files had been read with it."""
        self.check: Callable[[], object] = lambda: None
        """Called before each chunk; it raises where the piece is not wanted any more."""
        self.format = input_.source.format
        self.file = input_.source.file
        self.null = input_.source.null
        self._raw = raw

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the table that it has values for; of JSON Lines, those of the first."""
        names = self.input.source.names
        return self.input.fitted(Chunk(names, (), [])).names

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return as_dicts(self.chunks(target=None, columns=None, chunk_size=_BATCH_ROWS))

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole file, read as it is needed."""
        return not isinstance(self._raw, list)

    def chunks(
        self, *, target: Target | None, columns: Sequence[str] | None, chunk_size: int
    ) -> Iterator[Chunk]:
        """Give the rows, converted to the types of the target's columns."""
        for raw in self._raw:
            for part in _sliced(raw, chunk_size):
                self.check()
                chunk = select(self.input.fitted(part), columns)
                yield chunk if target is None else self.converted(chunk, target)

    def converted(self, chunk: Chunk, target: Target) -> Chunk:
        """Return a chunk of it with values of the target's types."""
        if self.format in {"parquet", "arrow"}:
            if target.refusals is not None:
                target.refusals.keep(chunk)
            batch = casts.fitted(chunk.batch, target, chunk.positions[0])
            return Chunk(chunk.names, chunk.positions, batch=batch)
        return Converter(target, self._where, is_json=self.format == "jsonl").convert(chunk)

    def line(self, position: int) -> int | None:
        """Return the line that a row begins in, from 1."""
        return self.input.line(position)

    def originals(self, positions: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Return rows as the file has them, with all of their columns, by their positions.

        A file that was read as it was needed is read again; without those that are gone by.
        """
        wanted, found = set(positions), {}
        for chunk in self._again():
            here = wanted.intersection(chunk.positions)
            places = {position: at for at, position in enumerate(chunk.positions)} if here else {}
            for position in here:
                values = _row(chunk, places[position])
                found[position] = dict(zip(chunk.names, values, strict=True))
        return found

    def _again(self) -> Iterable[Chunk]:
        if isinstance(self._raw, list):
            return self._raw
        if self.input.is_read_once:
            return ()
        return self.input.source.chunks(target=None, columns=None, chunk_size=_BATCH_ROWS)

    def _where(self, position: int) -> str:
        line = self.line(position)
        return self.input.name if line is None else f"line {line:,} of {self.input.name}"


def cut(inputs: Inputs, one: Input, size: int, done: Set[int] = frozenset()) -> Iterator[Piece]:
    """Give the pieces of a file: piece ``k`` has the rows from ``k * size`` on.

    :param done: numbers of pieces that are not wanted.
    """
    found: list[Chunk] = []
    for chunk in one.source.chunks(target=None, columns=None, chunk_size=size):
        # The reader gives windows of this size; rows with other keys are chunks of their own.
        if found and chunk.positions[0] // size != found[0].positions[0] // size:
            yield from _finished(inputs, one, size, found, done)
            found = []
        found.append(chunk)
    if found:
        yield from _finished(inputs, one, size, found, done)


def whole(inputs: Inputs, one: Input) -> Iterator[Piece]:
    """Give a file as one piece that is read as it is needed."""
    source = one.source
    raw = source.chunks(target=None, columns=None, chunk_size=_BATCH_ROWS)
    piece = Piece(one, 0, 0, raw)
    piece.fraction = lambda: inputs.fraction(one)
    yield piece


def _finished(
    inputs: Inputs, one: Input, size: int, found: list[Chunk], done: Set[int]
) -> Iterator[Piece]:
    number = min(chunk.positions[0] for chunk in found) // size
    if number not in done:
        piece = Piece(one, number, number * size, found)
        fraction = inputs.fraction(one)
        piece.fraction = lambda: fraction
        yield piece


def _sliced(chunk: Chunk, size: int) -> Iterator[Chunk]:
    for start in range(0, len(chunk), size):
        positions = chunk.positions[start : start + size]
        if chunk.values is None:
            yield Chunk(chunk.names, positions, batch=chunk.batch.slice(start, size))
        else:
            yield Chunk(chunk.names, positions, chunk.values[start : start + size])


def _row(chunk: Chunk, at: int) -> Sequence[Any]:
    if chunk.values is not None:
        return chunk.values[at]
    return [column[at].as_py() for column in chunk.batch.columns]
