"""Many objects, one after the other, in constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Select, inspect, select
from sqlalchemy.exc import ArgumentError

from sessionwise.errors import OptionError
from sessionwise.loading import internals, keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.orm import Mapper, Session

    from sessionwise.loading.keys import Key

__all__ = ["CHUNK_SIZE", "chunks", "stream"]

T = TypeVar("T")

CHUNK_SIZE = 500
"""How many objects are in memory at a time."""


def stream(session: Session, statement: Select[T], *, chunk_size: int = CHUNK_SIZE) -> Iterator[T]:
    """Give the objects of a SELECT one by one, and keep none of them.

    The primary keys come first, then the objects by their keys, ``chunk_size`` at a time: other
    statements, and commits, may come in between. An object appears once, as its row is when its
    chunk is read; a row that is deleted until then is left out.

    A session refers weakly to what is stored: an object that nobody else refers to goes with its
    chunk, one that was changed stays until it is flushed.

    :param statement: a SELECT of one mapped class, with its order, criteria and loader options.
    :param chunk_size: how many objects a SELECT loads, 1 or more.
    :raises ArgumentError: for a statement that does not select one mapped class.
    :raises OptionError: for a ``chunk_size`` below 1.
    """
    return (instance for chunk in chunks(session, statement, chunk_size) for instance in chunk)


def chunks(session: Session, statement: Select[T], chunk_size: int) -> Iterator[list[T]]:
    """Give the objects of a SELECT in lists of ``chunk_size``."""
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int) or chunk_size < 1:
        raise OptionError(f"chunk_size={chunk_size!r} is not a size; use 1 or more, such as 1000")
    mapper = _mapper(statement)
    wanted = _keys(session, statement, mapper)
    load = internals.with_options_of(statement, select(mapper))
    return _chunks(session, load, mapper, wanted, chunk_size)


def _mapper(statement: Any) -> Mapper[Any]:
    if isinstance(statement, Select):
        descriptions = statement.column_descriptions
        if len(descriptions) == 1:
            [only] = descriptions
            selected = inspect(only["expr"], raiseerr=False)
            if getattr(selected, "is_mapper", False):
                return keys.mapper_of(only["expr"])
    raise ArgumentError(
        "stream() takes a SELECT of one mapped class, such as select(User).order_by(User.id); for "
        "anything else use session.execute() with execution_options(yield_per=...)"
    )


def _keys(session: Session, statement: Select[Any], mapper: Mapper[Any]) -> list[Key]:
    columns = keys.attributes(mapper)
    rows = session.execute(internals.columns_only(statement, columns))
    return list(dict.fromkeys(tuple(row[: len(columns)]) for row in rows))


def _chunks(
    session: Session, load: Select[Any], mapper: Mapper[Any], wanted: Sequence[Key], size: int
) -> Iterator[list[Any]]:
    for some in keys.chunks(wanted, size):
        loaded = keys.load(session, load, mapper, some)
        by_key = {internals.key_of(internals.state_of(one))[1]: one for one in loaded}
        yield [by_key.pop(key) for key in some if key in by_key]
