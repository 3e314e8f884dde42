"""The form of values in the audit: what the database has stored, as JSON can say it.

It is the same as that of the triggers. Values are read as the driver gives them, without what
types of the application make of them.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Date,
    DateTime,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    String,
    Text,
    Time,
    TypeDecorator,
    Uuid,
    cast,
    extract,
    func,
    type_coerce,
)
from sqlalchemy.types import NullType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Column, ColumnElement, Dialect
    from sqlalchemy.types import TypeEngine

__all__ = ["Row", "as_json", "former", "raw", "stored_as", "text_of"]

Row = dict[str, Any]
"""The recorded columns of a row: their forms, by the columns' names."""

_AS_DRIVERS_HAVE_THEM = (
    *(Integer, Numeric, Float, String, LargeBinary),
    *(Date, DateTime, Time, Boolean, Uuid),
)


def stored_as(column: Column[Any], dialect: Dialect) -> TypeEngine[Any]:
    """Return the database's type of a column, without what types of the application add."""
    type_: Any = column.type.dialect_impl(dialect)
    while isinstance(type_, TypeDecorator):
        type_ = type_.impl_instance
    found: TypeEngine[Any] = type_
    return found


def raw(column: Column[Any], dialect: Dialect) -> ColumnElement[Any]:
    """Return what to select so that the driver gives what is stored."""
    type_ = stored_as(column, dialect)
    if dialect.name == "postgresql":
        if isinstance(type_, Interval) or type_.__visit_name__ == "INTERVAL":
            return cast(extract("epoch", type_coerce(column, Interval())), Text)
        if isinstance(type_, ARRAY):
            return cast(func.to_jsonb(type_coerce(column, NullType())), Text)
        if not isinstance(type_, _AS_DRIVERS_HAVE_THEM):
            return cast(type_coerce(column, NullType()), Text)
    return type_coerce(column, NullType())


def former(column: Column[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """Return what makes the form of a value that the driver gives; None: it is one already."""
    type_ = stored_as(column, dialect)
    if isinstance(type_, Numeric) and not isinstance(type_, Float):
        return partial(_digits, type_.scale)
    if isinstance(type_, DateTime) and dialect.name != "postgresql":
        return _unzoned
    for known, make in _BY_COLUMN:
        if isinstance(type_, known):
            return make
    return _general


def _nested(value: Any) -> Any:
    """Return a JSON column's value; a text that is not valid JSON stays a text."""
    if not isinstance(value, str | bytes):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return _general(value)


def _boolean(value: Any) -> Any:
    return bool(value) if type(value) is int else _general(value)


def _hour(value: Any) -> Any:
    if not isinstance(value, timedelta):
        return _general(value)
    seconds, below = divmod(abs(value), timedelta(seconds=1))
    hours, minutes = divmod(seconds // 60, 60)
    sign = "-" if value < timedelta(0) else ""
    said = f"{sign}{hours:02}:{minutes:02}:{seconds % 60:02}"
    return f"{said}.{below.microseconds:06}" if below else said


def _digits(scale: int | None, value: Any) -> Any:
    """Return a number as digits; where the database has floats only, to the scale of the type."""
    if isinstance(value, int | float) and math.isfinite(value):
        value = Decimal(repr(value))
        if scale is not None:
            return f"{value:.{scale}f}"
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value:f}"
    return _general(value)


def _general(value: Any) -> Any:
    """Return the form of a value by its Python type."""
    make = _BY_TYPE.get(type(value), _other)
    return value if make is None else make(value)


def _other(value: Any) -> Any:
    for type_, make in _BY_BASE:
        if isinstance(value, type_):
            return make(value)
    return str(value)


def _real(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _moment(value: datetime) -> str:
    return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()


def _unzoned(value: Any) -> Any:
    if not isinstance(value, datetime):
        return _general(value)
    return value.replace(tzinfo=None).isoformat(" ", "microseconds")


def _decimal(value: Decimal) -> str:
    return f"{value:f}" if value.is_finite() else str(_real(float(value)))


def _seconds(value: timedelta) -> str:
    return _decimal(Decimal(value // timedelta(microseconds=1)).scaleb(-6))


def _bytes(value: bytes | bytearray | memoryview) -> str:
    return bytes(value).hex()


def _list(value: Sequence[Any]) -> list[Any]:
    return [_general(one) for one in value]


_BY_BASE: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (datetime, _moment),
    ((date, time), lambda value: value.isoformat()),
    ((bytes, bytearray, memoryview), _bytes),
    (timedelta, _seconds),
    (Decimal, _decimal),
    (UUID, str),
    (dict, lambda value: value),
    ((list, tuple), _list),
    (float, _real),
    (int, int),
)
_BY_TYPE: dict[type, Callable[[Any], Any] | None] = {
    type(None): None,
    bool: None,
    int: None,
    str: None,
    dict: None,
    float: _real,
    datetime: _moment,
    Decimal: _decimal,
    bytes: _bytes,
    list: _list,
}


_BY_COLUMN: tuple[tuple[Any, Callable[[Any], Any] | None], ...] = (
    ((JSON, ARRAY), _nested),
    (Boolean, _boolean),
    (Time, _hour),
    ((Integer, String), None),
)


def _encoder() -> Callable[[Any], str]:
    """Return what makes JSON text.

    ``JSONEncoder.encode`` makes a new encoder in C for each call, which takes longer than to
    encode a row; where there is none, in other Pythons, it does.
    """
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return json.JSONEncoder(ensure_ascii=False, default=_general).encode
    quote = json.encoder.encode_basestring
    encode = make(None, _general, quote, None, ": ", ", ", False, False, True)
    return lambda value: "".join(encode(value, 0))


as_json = _encoder()
"""Return forms as JSON text."""


def text_of(form: Any) -> str:
    """Return the text of one form: a string is its own, anything else is JSON's."""
    return form if isinstance(form, str) else as_json(form)
