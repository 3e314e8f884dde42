"""Values of which it is known what the database makes of them: need not be read again.

All others are: what types of the application convert, what the database rounds or pads, and what
it computes by itself.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import CHAR, BigInteger, Boolean, Date, DateTime, Enum, Integer, String

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Column, Dialect

__all__ = ["trusted"]


def trusted(column: Column[Any], dialect: Dialect) -> Mapping[type, Callable[[Any], Any] | None]:
    """Return for which types of values it is known what is stored in a column.

    :returns: what makes the form of a value of each type; None: it is one already. It raises
      ValueError for a value of which it is not known after all.
    """
    impl: Any = column.type.dialect_impl(dialect)
    types: dict[type, Callable[[Any], Any] | None] = {}
    of_sqlalchemy = all(
        type(one).__module__.startswith("sqlalchemy.") for one in (impl, column.type)
    )
    if not of_sqlalchemy or column.computed is not None:
        return types
    if isinstance(impl, Boolean):
        types = {bool: None}
    elif isinstance(impl, Integer) and isinstance(column.type, Integer | BigInteger):
        types = {int: None}
    elif isinstance(impl, String) and not isinstance(impl, CHAR | Enum):
        types = {str: None}
    elif isinstance(impl, Date) and dialect.name != "sqlite":  # there it is a text of some form
        types = {date: date.isoformat}
    elif _is_a_moment(impl) and dialect.name == "postgresql":
        types = {datetime: _zoned if impl.timezone else _naive}
    if types:
        types[type(None)] = None
    return types


def _is_a_moment(impl: Any) -> bool:
    """Say whether a type takes all of a ``datetime``, and rounds nothing."""
    return isinstance(impl, DateTime) and getattr(impl, "precision", None) is None


def _zoned(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(value)
    return value.astimezone(UTC).isoformat()


def _naive(value: datetime) -> str:
    if value.tzinfo is not None:
        raise ValueError(value)
    return value.isoformat()
