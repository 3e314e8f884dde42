"""Primary keys: what callers give, and the SELECTs that find many of them at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import astuple, is_dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar, cast
from unicodedata import combining, normalize

from sqlalchemy import ColumnElement, Select, inspect, select, tuple_
from sqlalchemy.exc import ArgumentError, InvalidRequestError

from sessionwise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy.orm import InstrumentedAttribute, Mapper, Session

__all__ = [
    "CHUNK",
    "IdentityKey",
    "Key",
    "attributes",
    "check_lock",
    "chunks",
    "existing",
    "for_update",
    "in_doubt",
    "load",
    "mapper_of",
    "of",
    "within",
]

CHUNK = 500
"""How many keys a SELECT asks for: every database takes as many, and more save nothing."""

Key = tuple[Any, ...]
"""The values of a primary key, in the order of the mapper's columns."""
IdentityKey = tuple[type[Any], Key, Any]
"""SQLAlchemy's key of an object in the identity map."""

T = TypeVar("T")


def mapper_of(entity: Any) -> Mapper[Any]:
    """Return the mapper of a mapped class.

    :raises ArgumentError: for anything else.
    """
    mapper = inspect(entity, raiseerr=False)
    if mapper is None or not getattr(mapper, "is_mapper", False):
        raise ArgumentError(f"{entity!r} is not a mapped class")
    return cast("Mapper[Any]", mapper)


def attributes(mapper: Mapper[Any]) -> list[InstrumentedAttribute[Any]]:
    """Return the mapped attributes of the primary key, in the order of its columns."""
    properties = map(mapper.get_property_by_column, mapper.primary_key)
    return [cast("InstrumentedAttribute[Any]", one.class_attribute) for one in properties]


def of(mapper: Mapper[Any], ident: Any) -> Key:
    """Return the primary key that ``get()`` would look for.

    :param ident: a value, a tuple, a dictionary by attribute names, or a composite value. A string
      for an integer column counts as the integer.
    :raises InvalidRequestError: for a key of another shape.
    """
    names = [attribute.key for attribute in attributes(mapper)]
    if isinstance(ident, Mapping):
        values = _by_name(mapper, ident, names)
    elif hasattr(ident, "__composite_values__"):
        values = tuple(ident.__composite_values__())
    elif is_dataclass(ident) and not isinstance(ident, type):
        values = astuple(ident)
    else:
        values = tuple(ident) if isinstance(ident, tuple | list) else (ident,)
    if len(values) != len(names):
        raise InvalidRequestError(
            f"{ident!r} is no primary key of {mapper.class_.__name__}, which is "
            f"({', '.join(names)})"
        )
    return tuple(map(_as_stored, mapper.primary_key, values))


def _by_name(mapper: Mapper[Any], ident: Mapping[str, Any], names: list[str]) -> Key:
    synonyms = mapper.synonyms
    given = {synonyms[name].name if name in synonyms else name: ident[name] for name in ident}
    if given.keys() != set(names):
        raise InvalidRequestError(
            f"{dict(ident)!r} is no primary key of {mapper.class_.__name__}: its names are "
            f"{', '.join(names)}"
        )
    return tuple(given[name] for name in names)


def _as_stored(column: ColumnElement[Any], value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return int(value) if column.type.python_type is int else value
    except (NotImplementedError, ValueError):
        return value  # the database has the last word


def within(mapper: Mapper[Any], keys: Iterable[Key]) -> ColumnElement[bool]:
    """Return the condition that the primary key is one of some."""
    columns = attributes(mapper)
    if len(columns) == 1:
        return columns[0].in_([key for (key,) in keys])
    return tuple_(*columns).in_(list(keys))


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Cut an iterable into lists of at most ``size``."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def check_lock(lock: object) -> None:
    """Refuse what does not say whether to lock.

    :raises OptionError: for no parameters.
    """
    if lock == {}:
        raise OptionError("with_for_update={} says nothing; use True, or parameters in it")


def for_update(statement: Select[Any], lock: bool | Mapping[str, Any] | None) -> Select[Any]:
    """Have a SELECT lock its rows, where that is asked for.

    :param lock: True, or the parameters of ``Select.with_for_update``.
    :raises OptionError: for no parameters, which may mean either.
    """
    check_lock(lock)
    if not lock:
        return statement
    return statement.with_for_update(**(lock if isinstance(lock, Mapping) else {}))


def load(
    session: Session,
    statement: Select[Any],
    mapper: Mapper[Any],
    wanted: Iterable[Key],
    **arguments: Any,
) -> Iterator[Any]:
    """Give the objects of a SELECT of a mapper that have one of some primary keys.

    :param arguments: of ``Session.scalars``.
    """
    for chunk in chunks(wanted):
        found = session.scalars(statement.where(within(mapper, chunk)), **arguments)
        yield from found.unique().all()


def in_doubt(asked: Iterable[Key], found: Iterable[Key]) -> set[Key]:
    """Return those keys asked for of which the database may have found others, too, or instead.

    By a collation it finds equal what Python does not: "A" and "a", "e" and "é", "a" and "a ".
    """
    alike: dict[Key | None, set[Key]] = defaultdict(set)
    for key in chain(asked, found):
        if any(isinstance(value, str) for value in key):
            alike[_fold(key)].add(key)
    if None in alike and len(alike) > 1:
        return set().union(*alike.values())
    return set().union(*(keys for keys in alike.values() if len(keys) > 1))


def _fold(key: Key) -> Key | None:
    """Make equal what collations make equal; None where that is not known, as for "ß"."""
    folded = tuple(_fold_text(one) if isinstance(one, str) else one for one in key)
    return None if None in folded and None not in key else folded


def _fold_text(text: str) -> str | None:
    if not text.isascii():
        text = "".join(one for one in normalize("NFKD", text) if not combining(one))
    return text.casefold().rstrip() if text.isascii() else None


def existing(session: Session, mapper: Mapper[Any], keys: Iterable[Key]) -> set[Key]:
    """Return those of some keys that have a row, whatever criteria are set for the entity."""
    found: set[Key] = set()
    columns = mapper.primary_key
    for chunk in chunks(keys):
        statement: Select[Any] = select(*columns)
        if len(columns) == 1:
            statement = statement.where(columns[0].in_([key for (key,) in chunk]))
        else:
            statement = statement.where(tuple_(*columns).in_(chunk))
        rows = session.execute(statement, bind_arguments={"mapper": mapper})
        found.update(tuple(row) for row in rows)
    return found
