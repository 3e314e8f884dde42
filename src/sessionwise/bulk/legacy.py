"""SQLAlchemy's own bulk methods on the fast writers, where that changes nothing but the time.

What the fast road does not take, or fails at, goes SQLAlchemy's way: its errors are its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapper

from sessionwise.bulk.insert import insert
from sessionwise.errors import SessionwiseError
from sessionwise.sql.mapped import sources_of
from sessionwise.sql.touched import Touched
from sessionwise.transaction import activity, written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy.orm import Session

__all__ = ["expire_updated", "insert_mappings", "insert_objects"]

LEAST = 50
"""Rows from which on the fast road is the faster one."""


def insert_mappings(
    session: Session, entity: Any, mappings: Sequence[Mapping[str, Any]], *, render_nulls: bool
) -> bool:
    """Insert mappings the fast way; return False, and nothing is done, where that is not to be."""
    mapper = inspect(entity)
    if not isinstance(mapper, Mapper) or len(mappings) < LEAST or not _is_plain(mapper):
        return False
    return _insert(session, mapper, _values(mapper, mappings, render_nulls=render_nulls))


def insert_objects(session: Session, objects: Sequence[object]) -> bool:
    """Insert objects that are new, and of one class, the fast way; else return False."""
    states = [inspect(one) for one in objects]
    mappers = {state.mapper for state in states}
    if len(mappers) != 1 or len(states) < LEAST or any(state.key for state in states):
        return False
    (mapper,) = mappers
    if not _is_plain(mapper):
        return False
    return _insert(session, mapper, _values(mapper, [state.dict for state in states]))


def expire_updated(session: Session, entity: Any) -> None:
    """Expire what an UPDATE of mappings may have changed among the loaded objects."""
    mapper = inspect(entity)
    connection = session.connection(bind_arguments={"mapper": mapper})
    names = frozenset(sources_of(mapper).tables)
    activity.of(connection).note_written(Touched(updates=names))
    written.tell(connection, Touched(updates=names))


def _is_plain(mapper: Mapper[Any]) -> bool:
    """Say whether objects of a class have one row, in a table that takes what they hold."""
    return len(mapper.tables) == 1 and not mapper.concrete and not mapper.composites


def _values(
    mapper: Mapper[Any], rows: Iterable[Mapping[str, Any]], *, render_nulls: bool = False
) -> Iterator[Mapping[str, Any]]:
    """Give what SQLAlchemy would write: names of no column, and None, mean that nothing is."""
    names = set(mapper.column_attrs.keys())
    made = set() if render_nulls else {name for name in names if _is_made(mapper, name)}
    for row in rows:
        if row.keys() <= names and not any(row.get(name, 0) is None for name in made):
            yield row
        else:
            kept = row.keys() & names
            yield {name: row[name] for name in kept if row[name] is not None or name not in made}


def _is_made(mapper: Mapper[Any], name: str) -> bool:
    """Say whether a column has a value of its own where it is given none; else that is NULL."""
    (column, *_) = mapper.column_attrs[name].columns
    if not isinstance(column, Column) or column.type.should_evaluate_none:
        return False
    return column.primary_key or column.default is not None or column.server_default is not None


def _insert(session: Session, mapper: Mapper[Any], rows: Iterable[Mapping[str, Any]]) -> bool:
    try:
        insert(session, mapper.class_, rows)
    except (SQLAlchemyError, SessionwiseError):
        return False  # SQLAlchemy finds the same, and says it in its own way
    return True
