"""Rows of any kind as chunks: some rows that have values for the same columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from itertools import islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from sessionwise.bulk.reading import batches, casts
from sessionwise.bulk.reading.instances import Instances, mapper_of
from sessionwise.errors import BulkInputError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sessionwise.bulk.reading.files import InputFile
    from sessionwise.bulk.target import Target

__all__ = [
    "CHUNK_SIZE",
    "Chunk",
    "Source",
    "as_dicts",
    "checked_names",
    "checked_size",
    "chunks",
    "of_dicts",
    "select",
    "short",
]

CHUNK_SIZE = 10_000
"""Rows that are in memory at a time, where a caller does not say."""

_KINDS = (
    "a row is a dict, a mapped instance, a dataclass, a named tuple or a Row; or a tuple or list, "
    "with columns= naming its values"
)


@dataclass(frozen=True)
class Chunk:
    """Some rows that have values for the same columns."""

    names: tuple[str, ...]
    """What the values are of: attributes of the class, or columns of the table."""
    positions: Sequence[int]
    """Where in the input the rows are; the first is 0."""
    values: Sequence[Sequence[Any]] | None = None
    """The values of each row; None where they came as Arrow."""
    batch: Any = None
    """The rows as a ``pyarrow.RecordBatch``, where they came as Arrow."""

    @cached_property
    def rows(self) -> Sequence[Sequence[Any]]:
        """The values of each row as Python objects."""
        if self.values is not None:
            return self.values
        return list(zip(*(column.to_pylist() for column in self.batch.columns), strict=True))

    def __len__(self) -> int:
        return len(self.positions)


class Source(ABC):
    """Rows that come in chunks by themselves, a file's for instance; never all at once."""

    format: str
    """What it is read as: ``"csv"``, ``"tsv"``, ``"jsonl"``, ``"parquet"`` or ``"arrow"``."""
    file: InputFile | None = None
    """What it is read from, where that is a file."""
    null: str | None = None
    """The text that means None."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The names of the columns; the beginning of the file is read for them."""

    @abstractmethod
    def chunks(
        self, *, target: Target | None, columns: Sequence[str] | None, chunk_size: int
    ) -> Iterator[Chunk]:
        """Give the rows; see :func:`chunks`."""

    @abstractmethod
    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give each row as a dict, values as the file has them."""

    def line(self, position: int) -> int | None:
        """Return the line of the file that a row begins in, from 1; None where nobody can say.

        :param position: of the row, from 0.
        """
        return None

    def lines(self) -> Iterator[int]:
        """Give the line that each row begins in; nothing where nobody can say."""
        return iter(())


def chunks(
    source: Any,
    *,
    target: Target | None = None,
    columns: Sequence[str] | None = None,
    chunk_size: int,
) -> Iterator[Chunk]:
    """Give rows of any kind as chunks; never more of them in memory than a chunk has.

    Rows that have values for different columns are told apart inside a window of ``chunk_size``
    rows, so a chunk may have any of the positions of its window.

    :param source: an iterable of rows; Arrow data, as of pyarrow, Polars, pandas or DuckDB; what
        ``bulk.read()`` returns.
    :param target: what the rows are for: text is converted to the types of its columns.
    :param columns: the names of the values, where rows are tuples; otherwise the ones to take.
    :param chunk_size: how many rows a chunk has at most.
    :raises BulkInputError: for what is not a row, or cannot be converted.
    """
    names = None if columns is None else checked_names(columns)
    if isinstance(source, Source):
        return source.chunks(target=target, columns=names, chunk_size=chunk_size)
    if batches.is_arrow(source):
        return _of_arrow(source, target, names, chunk_size)
    return _of_windows(_iterator(source), target, names, chunk_size)


def checked_size(chunk_size: int | None) -> int:
    """Return how many rows are to be in memory at a time.

    :raises OptionError: for less than one.
    """
    size = CHUNK_SIZE if chunk_size is None else chunk_size
    if size < 1:
        raise OptionError(f"chunk_size={size} is not a choice; use 1 or more")
    return size


def as_dicts(some: Iterable[Chunk]) -> Iterator[dict[str, Any]]:
    """Give each row of some chunks by itself."""
    for chunk in some:
        for row in chunk.rows:
            yield dict(zip(chunk.names, row, strict=True))


def checked_names(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the names that ``columns=`` gives.

    :raises BulkInputError: where they are not names, or one of them is there twice.
    """
    if isinstance(columns, str):
        raise BulkInputError(f"columns={columns!r} is one string; give a list of names")
    names = tuple(columns)
    for name in names:
        if not isinstance(name, str):
            raise BulkInputError(f"columns= has {name!r}, which is not a name; give strings")
    _refuse_twice(names, "columns=")
    return names


def select(chunk: Chunk, columns: Sequence[str] | None) -> Chunk:
    """Return the values of some columns of a chunk; None: all of them."""
    if columns is None or tuple(columns) == chunk.names:
        return chunk
    for name in columns:
        if name not in chunk.names:
            raise _missing(chunk.positions[0], name, chunk.names)
    names = tuple(columns)
    if chunk.values is None:
        return Chunk(names, chunk.positions, batch=chunk.batch.select(list(names)))
    take = _getter([chunk.names.index(name) for name in names])
    return Chunk(names, chunk.positions, [take(row) for row in chunk.values])


def of_dicts(
    window: Sequence[Mapping[str, Any]], start: int, columns: Sequence[str] | None = None
) -> Iterator[Chunk]:
    """Give the chunks of a window of dicts, one for each set of keys.

    :param start: the position of the first one.
    """
    names = tuple(window[0]) if columns is None else tuple(columns)
    # A dict with as many keys, and with a value for each name, has exactly these keys.
    if columns is not None or set(map(len, window)) == {len(names)}:
        try:
            values = list(map(_getter(names), window))
        except KeyError:
            if columns is not None:
                raise _lacking(window, start, names) from None
        else:
            _check_keys(names, start)
            yield Chunk(names, range(start, start + len(window)), values)
            return
    yield from _by_keys(window, start)


def _by_keys(window: Sequence[Mapping[str, Any]], start: int) -> Iterator[Chunk]:
    positions: dict[frozenset[str], list[int]] = {}
    names: dict[frozenset[str], tuple[str, ...]] = {}
    for position, row in enumerate(window, start):
        keys = frozenset(row)
        if keys not in positions:
            positions[keys], names[keys] = [], tuple(row)
            _check_keys(names[keys], position)
        positions[keys].append(position)
    for keys, found in positions.items():
        take = _getter(names[keys])
        yield Chunk(names[keys], found, [take(window[at - start]) for at in found])


def _of_arrow(
    source: Any, target: Target | None, columns: Sequence[str] | None, size: int
) -> Iterator[Chunk]:
    start = 0
    for batch in batches.recut(batches.of(source), size):
        names = tuple(batch.schema.names)
        _refuse_twice(names, "the Arrow data")
        chunk = select(Chunk(names, range(start, start + len(batch)), batch=batch), columns)
        if target is not None:
            if target.refusals is not None:
                target.refusals.keep(chunk)
            chunk = replace(chunk, batch=casts.fitted(chunk.batch, target, start))
        yield chunk
        start += len(batch)


def _awaited(source: Any) -> Iterator[Any]:
    """Give what an async iterable gives, while others run: an async session's verbs can wait."""
    if not in_greenlet():
        raise BulkInputError(
            f"{short(source)} is an async iterable, which only an AsyncSession can read; give a "
            "list of rows, or a generator"
        )
    ahead = aiter(source)
    with suppress(StopAsyncIteration):
        while True:
            yield await_only(anext(ahead))


def _iterator(source: Any) -> Iterator[Any]:
    if hasattr(source, "__aiter__"):
        return _awaited(source)
    wrong = isinstance(source, (str, bytes, bytearray, Mapping))
    if wrong or not hasattr(type(source), "__iter__"):
        hint = "bulk.read() reads a file; " if isinstance(source, str) else ""
        raise BulkInputError(
            f"{short(source)} is not an iterable of rows: give a list of rows, or a generator "
            f"({hint}{_KINDS})"
        )
    return iter(source)


def _of_windows(
    rows: Iterator[Any], target: Target | None, columns: tuple[str, ...] | None, size: int
) -> Iterator[Chunk]:
    start = 0
    reader = _Reader(target, columns)
    while window := list(islice(rows, size)):
        if target is not None and target.refusals is not None:
            target.refusals.keep_rows(window, start)
        yield from reader.read(window, start)
        start += len(window)


class _Reader:
    """Tells what kind of row each one is."""

    def __init__(self, target: Target | None, columns: tuple[str, ...] | None) -> None:
        self._columns = columns
        self._target = target
        self._known: dict[type[Any], Callable[[Any, int], Mapping[str, Any]]] = {}

    def read(self, window: list[Any], start: int) -> Iterator[Chunk]:
        """Give the chunks of a window of rows."""
        kinds = set(map(type, window))
        if kinds == {dict}:
            return of_dicts(window, start, self._columns)
        if kinds <= {tuple, list}:
            return iter([self._of_tuples(window, start)])
        only = kinds.pop() if len(kinds) == 1 else None
        if only is not None and self._columns is None and mapper_of(only) is None:
            chunk = _of_fields(only, window, start)
            if chunk is not None:
                return iter([chunk])
        dicts = [self._as_dict(row, at) for at, row in enumerate(window, start)]
        return of_dicts(dicts, start, self._columns)

    def _of_tuples(self, window: list[Any], start: int) -> Chunk:
        names = self._names_of_tuple(window[0], start)
        if set(map(len, window)) != {len(names)}:
            for position, row in enumerate(window, start):
                self._check_length(row, position)
        return Chunk(names, range(start, start + len(window)), window)

    def _names_of_tuple(self, row: Any, position: int) -> tuple[str, ...]:
        if self._columns is None:
            raise BulkInputError.for_row(
                position, f"{short(row)} is a {type(row).__name__}: name its values by columns="
            )
        return self._columns

    def _check_length(self, row: Any, position: int) -> None:
        names = self._names_of_tuple(row, position)
        if len(row) != len(names):
            raise BulkInputError.for_row(
                position,
                f"{short(row)} has {len(row)} values, and columns= has {len(names)} names: "
                f"{', '.join(names)}",
            )

    def _as_dict(self, row: Any, position: int) -> Mapping[str, Any]:
        kind = type(row)
        convert = self._known.get(kind)
        if convert is None:
            convert = self._known[kind] = self._converter(kind, position, row)
        return convert(row, position)

    def _converter(
        self, kind: type[Any], position: int, row: Any
    ) -> Callable[[Any, int], Mapping[str, Any]]:
        mapper = mapper_of(kind)
        if mapper is not None:
            return Instances(mapper, self._target, position)
        if issubclass(kind, Mapping):
            return lambda row, _: dict(row)
        if issubclass(kind, Row):
            return _dict_of_row
        if hasattr(kind, "_fields") and issubclass(kind, tuple):
            return lambda row, _: dict(zip(row._fields, row, strict=True))
        if is_dataclass(kind):
            names = _fields_of(kind)
            return lambda row, at: dict(zip(names, _attributes(row, names, at), strict=True))
        if issubclass(kind, (tuple, list)):
            return self._dict_of_tuple
        raise BulkInputError.for_row(position, f"{short(row)} is not a row; {_KINDS}")

    def _dict_of_tuple(self, row: Any, position: int) -> Mapping[str, Any]:
        self._check_length(row, position)
        return dict(zip(self._names_of_tuple(row, position), row, strict=True))


def _of_fields(kind: type[Any], window: list[Any], start: int) -> Chunk | None:
    """Read rows whose type names their values, without a dict for each of them."""
    positions = range(start, start + len(window))
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return Chunk(tuple(kind._fields), positions, window)
    if is_dataclass(kind) and not issubclass(kind, Mapping):
        names = _fields_of(kind)
        try:
            return Chunk(names, positions, list(map(_getter(names, attrgetter), window)))
        except AttributeError:
            return None  # which of them, the slow way says
    return None


def _getter(names: Sequence[Any], make: Any = itemgetter) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that gives the values of some names as a tuple."""
    if not names:
        return lambda _: ()
    if len(names) == 1:
        take = make(names[0])
        return lambda row: (take(row),)
    getter: Callable[[Any], tuple[Any, ...]] = make(*names)
    return getter


def _fields_of(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _attributes(row: Any, names: Sequence[str], position: int) -> list[Any]:
    try:
        return [getattr(row, name) for name in names]
    except AttributeError as error:
        raise BulkInputError.for_row(position, f"a field is not set: {error}") from error


def _dict_of_row(row: Any, position: int) -> Mapping[str, Any]:
    try:
        _refuse_twice(row._fields, "it")
    except BulkInputError as error:
        raise BulkInputError.for_row(position, f"{error}; label() one of them") from None
    return dict(zip(row._fields, row, strict=True))


def _check_keys(names: Iterable[Any], position: int) -> None:
    for name in names:
        if not isinstance(name, str):
            raise BulkInputError.for_row(
                position, f"the key {name!r} is not a name; keys are names of columns, as strings"
            )


def _refuse_twice(names: Sequence[str], where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BulkInputError(f"{where} has {', '.join(map(repr, twice))} more than once")


def _lacking(
    window: Sequence[Mapping[str, Any]], start: int, names: Sequence[str]
) -> BulkInputError:
    at, name = next(
        (at, name) for at, row in enumerate(window) for name in names if name not in row
    )
    return _missing(start + at, name, tuple(window[at]))


def _missing(position: int, name: str, there: Sequence[str]) -> BulkInputError:
    return BulkInputError.for_row(
        position, f"it has no value for {name!r}, which columns= names; it has {', '.join(there)}"
    )


def short(value: object) -> str:
    """Return how an error shows a value."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004 - a line of a message
