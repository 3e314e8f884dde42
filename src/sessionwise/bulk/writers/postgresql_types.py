"""PostgreSQL: which values COPY stores as SQLAlchemy's INSERT does.

psycopg's binary dumpers trust what they are given: an integer that is too large is cut off, a
string becomes a random ``time``. So what they would not refuse is looked at before; what COPY
cannot take, or would take for something else, goes by INSERT.
"""

from __future__ import annotations

import uuid
from array import array
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from types import NoneType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sessionwise.bulk.writers.postgresql_table import Field

__all__ = ["binary_types", "is_safe_in_binary", "is_safe_in_text"]

_TEXT = 25
"""The number of ``text``, whose bytes are those of ``bpchar`` and of enumerations."""

_BINARY = frozenset(
    {
        "bool",
        "bytea",
        "date",
        "float8",
        "int2",
        "int4",
        "int8",
        "interval",
        "json",
        "jsonb",
        "numeric",
        "text",
        "time",
        "timestamp",
        "timestamptz",
        "timetz",
        "uuid",
        "varchar",
    }
)
"""Types that go in binary, and so do arrays of them, but for those of documents."""

_ITEMS = {"int2": "h", "int4": "i"}
"""What ``array`` calls the integers whose range psycopg does not look at."""

_EXACT: dict[str, set[type]] = {
    "bool": {bool, NoneType},
    "date": {date, NoneType},
    "interval": {timedelta, NoneType},
    "time": {time, NoneType},
}
"""What a column may hold in binary, where psycopg does not look."""

_ADDRESSES = {
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
}

_IN_TEXT: dict[str, set[type]] = {
    "bool": {bool},
    "bpchar": {str},
    "bytea": {bytes},
    "date": {date},
    "float4": {float, int},
    "float8": {float, int},
    "int2": {int},
    "int4": {int},
    "int8": {int},
    "interval": {timedelta},
    "json": {str},
    "jsonb": {str},
    "numeric": {Decimal, int},
    "text": {str},
    "time": {time},
    "timestamp": {datetime},
    "timestamptz": {datetime},
    "timetz": {time},
    "uuid": {uuid.UUID, str},
    "varchar": {str},
}
"""What a column may hold as text; any other type takes strings and addresses."""

_WRAPPERS = {"Binary", "Json", "Jsonb"}
"""What psycopg and psycopg2 have of their own around a value of the type."""


def binary_types(fields: Iterable[Field]) -> list[int] | None:
    """Return the types of columns as psycopg is to take them; None where that is not sure."""
    found = []
    for field in fields:
        if field.type in _BINARY and field.kind == "b":
            found.append(field.oid)
        elif field.kind == "e" or field.type == "bpchar":
            found.append(_TEXT)
        elif field.element in _BINARY - {"json", "jsonb", "bytea"}:
            found.append(field.oid)
        else:
            return None
    return found


def is_safe_in_binary(field: Field, values: Sequence[Any]) -> bool:
    """Say whether psycopg refuses, or sends as it is, each of the values of a column."""
    name = field.type
    if field.element is not None:
        name, values = field.element, list(_elements(values))
    if name in _ITEMS:
        return _fit(_ITEMS[name], values)
    return name not in _EXACT or _EXACT[name].issuperset(map(type, values))


def is_safe_in_text(field: Field, values: Sequence[Any]) -> bool:
    """Say whether the text of each value of a column means the value to the server."""
    name = field.type
    if field.element is not None:
        name, values = field.element, list(_elements(values))
    allowed = _IN_TEXT.get(name, {str, *_ADDRESSES})
    kinds = set(map(type, values)) - {NoneType}
    if not all(kind in allowed or kind.__name__ in _WRAPPERS for kind in kinds):
        return False
    if name in {"timestamp", "timestamptz"}:
        # PostgreSQL reads '… 12:00+02' as a timestamp of 12:00, and says nothing.
        aware = name == "timestamptz"
        return all((one.utcoffset() is not None) is aware for one in values if one is not None)
    return True


def _fit(item: str, values: Sequence[Any]) -> bool:
    try:
        try:
            array(item, values)
        except TypeError:
            array(item, [value for value in values if value is not None])
    except (TypeError, OverflowError):
        return False
    return True


def _elements(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _elements(value)
        else:
            yield value
