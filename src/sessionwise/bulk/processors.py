"""SQLAlchemy's bind processors for whole columns; some of them in less time."""

from __future__ import annotations

from datetime import date, datetime
from types import NoneType
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Dialect
    from sqlalchemy.types import TypeEngine

    Values = Sequence[Any]
    Processor = Callable[[Values], Values]

__all__ = ["of"]

_MOMENT = datetime(987, 6, 5, 4, 3, 2, 1)  # no two of its parts are the same
_LENGTH_OF_A_MOMENT = 26


def of(type_: TypeEngine[Any], dialect: Dialect) -> Processor | None:
    """Return what makes of the values of a column what the driver takes; None for as they are."""
    impl = type_.dialect_impl(dialect)
    process = impl.bind_processor(dialect)
    if process is None:
        return None
    if type(impl) is sqlite.DATETIME and process(_MOMENT) == _MOMENT.isoformat(
        " ", "microseconds"
    ):
        return _of_moments(process)
    if type(impl) is sqlite.DATE and process(_MOMENT) == _MOMENT.date().isoformat():
        return _of_days(process)
    return lambda values: list(map(process, values))


def _of_moments(process: Callable[[Any], Any]) -> Processor:
    """Return a quicker processor: SQLAlchemy formats part by part, in three times the time.

    It takes ``storage_format`` for that; this is for the format that it has by itself.
    """

    def process_all(values: Values) -> Values:
        if set(map(type, values)) <= {datetime, NoneType}:
            texts = [
                None if value is None else value.isoformat(" ", "microseconds") for value in values
            ]
            # One with a timezone is longer; SQLAlchemy leaves that out.
            if set(map(len, filter(None, texts))) <= {_LENGTH_OF_A_MOMENT}:
                return texts
        return list(map(process, values))

    return process_all


def _of_days(process: Callable[[Any], Any]) -> Processor:
    def process_all(values: Values) -> Values:
        if set(map(type, values)) <= {date, NoneType}:
            return [None if value is None else value.isoformat() for value in values]
        return list(map(process, values))

    return process_all
