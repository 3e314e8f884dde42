"""From what is recorded of a value to the value that the ORM loads from its column.

What is recorded is the database's representation, the same from every engine and database: NULL,
numbers, texts, hexadecimal digits for bytes, ISO 8601 for moments, nested JSON.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import types
from sqlalchemy.dialects import postgresql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Column, Dialect
    from sqlalchemy.types import TypeEngine

__all__ = ["Redacted", "aware", "decode_key", "decoder", "loads"]


@dataclass(frozen=True, slots=True)
class Redacted:
    """Stands for a value of which only a salted hash is recorded."""

    sha256: str
    """Equal values of one row have equal hashes, until its salt is erased."""

    def __repr__(self) -> str:
        return f"<redacted {self.sha256[:8]}>"


def loads(recorded: Any) -> Any:
    """Return ``old`` or ``new`` as a dict; some databases keep them as a text."""
    return json.loads(recorded) if isinstance(recorded, str | bytes) else recorded


def aware(moment: Any) -> Any:
    """Return a moment of the audit's in UTC: some databases have no zones."""
    if not isinstance(moment, datetime):
        return moment
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def decoder(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any]:
    """Return what makes values of what is recorded of a column of a type.

    What does not fit the type, because the column had another one by then, is given as recorded.
    """
    convert = _converter(type_, dialect)
    is_json = isinstance(type_.dialect_impl(dialect), types.JSON)

    def decode(recorded: Any) -> Any:
        if isinstance(recorded, dict) and not is_json and recorded.keys() == {"sha256"}:
            return Redacted(recorded["sha256"])
        try:
            return convert(recorded)
        except (ValueError, TypeError, LookupError, ArithmeticError):
            return recorded

    return decode


def decode_key(text: str | None, columns: Iterable[Column[Any]], dialect: Dialect) -> Any:
    """Return the primary key that an ``object_id`` stands for; a tuple where it is composite."""
    key = tuple(columns)
    if text is None or not key:
        return text
    if len(key) == 1:
        return decoder(key[0].type, dialect)(text)
    parts = json.loads(text)
    return tuple(decoder(one.type, dialect)(part) for one, part in zip(key, parts, strict=True))


def _converter(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any]:
    """Return what converts; None is left to decorators, which may make something of it."""
    impl = type_.dialect_impl(dialect)
    if isinstance(impl, types.TypeDecorator) and not isinstance(impl, types.Interval):
        return _decorated(impl, dialect)
    convert = _plain(impl, dialect)
    return lambda recorded: None if recorded is None else convert(recorded)


def _decorated(type_: types.TypeDecorator[Any], dialect: Dialect) -> Callable[[Any], Any]:
    inner = _converter(type_.impl_instance, dialect)
    if type(type_).result_processor is not types.TypeDecorator.result_processor:
        process = type_.result_processor(dialect, None)  # such as PickleType's, on what is stored
        return inner if process is None else lambda recorded: process(inner(recorded))
    if type(type_).process_result_value is types.TypeDecorator.process_result_value:
        return inner
    return lambda recorded: type_.process_result_value(inner(recorded), dialect)


def _plain(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any]:
    for of, find in _READERS:
        if isinstance(type_, of):
            return find(type_, dialect)
    return bytes.fromhex if _python_type(type_) is bytes else _as_recorded


def _as_recorded(recorded: Any) -> Any:
    return recorded


def _text(type_: Any, dialect: Dialect) -> Callable[[Any], Any]:
    process = type_.result_processor(dialect, None)  # an Enum's makes members, and a SET's sets
    return str if process is None else lambda recorded: process(str(recorded))


def _moment(type_: Any, dialect: Dialect) -> Callable[[Any], Any]:
    """Return what reads dates and times; SQLite's types have formats of their own."""
    own = type_.result_processor(dialect, None) if dialect.name == "sqlite" else None
    if own is not None:
        reader: Callable[[Any], Any] = own
        return reader
    if isinstance(type_, types.DateTime) and type_.timezone and dialect.name == "postgresql":
        return lambda recorded: aware(datetime.fromisoformat(recorded))
    return next(read for of, read in _MOMENTS.items() if isinstance(type_, of))


_MOMENTS: dict[type[Any], Callable[[str], Any]] = {
    types.DateTime: datetime.fromisoformat,
    types.Date: date.fromisoformat,
    types.Time: time.fromisoformat,
}
_EPOCH = datetime(1970, 1, 1)


def _python_type(type_: TypeEngine[Any]) -> Any:
    try:
        return type_.python_type
    except NotImplementedError:
        return None


def _interval(recorded: Any) -> timedelta:
    """Read seconds, which PostgreSQL's are recorded in, or a moment counted from 1970."""
    if isinstance(recorded, str) and ":" in recorded:
        return datetime.fromisoformat(recorded).replace(tzinfo=None) - _EPOCH
    return timedelta(microseconds=int(Decimal(str(recorded)) * 1_000_000))


def _boolean(recorded: Any) -> bool:
    if isinstance(recorded, str):  # of a primary key
        return {"true": True, "1": True, "false": False, "0": False}[recorded.lower()]
    return bool(recorded)


def _number(type_: Any, dialect: Dialect) -> Callable[[Any], Any]:
    if not type_.asdecimal:
        return float
    if isinstance(type_, types.Float) or dialect.name == "sqlite":
        scale = _scale(type_)  # what is stored is binary
        return lambda recorded: Decimal(f"{float(recorded):.{scale}f}")
    return lambda recorded: Decimal(str(recorded))


def _scale(type_: Any) -> int:
    """Return to how many digits SQLAlchemy rounds a binary number that is to be a Decimal."""
    scales = type_.decimal_return_scale, getattr(type_, "scale", None), 10
    return next(scale for scale in scales if scale is not None)


def _uuid(type_: Any, _dialect: Dialect) -> Callable[[Any], Any]:
    return uuid.UUID if type_.as_uuid else lambda recorded: str(uuid.UUID(recorded))


def _array(type_: Any, dialect: Dialect) -> Callable[[Any], Any]:
    convert = _converter(type_.item_type, dialect)
    whole: Callable[[Any], Any] = tuple if type_.as_tuple else list

    def each(recorded: Any) -> Any:
        is_list = isinstance(recorded, list)
        return whole(each(one) for one in recorded) if is_list else convert(recorded)

    return each


_READERS: tuple[tuple[Any, Callable[[Any, Dialect], Callable[[Any], Any]]], ...] = (
    (types.ARRAY, _array),
    (types.JSON, lambda *_: _as_recorded),
    (types.Boolean, lambda *_: _boolean),
    (types.Integer, lambda *_: int),
    ((types.Numeric, types.Float), _number),
    (types.Uuid, _uuid),
    ((types.Interval, postgresql.INTERVAL), lambda *_: _interval),
    ((types.DateTime, types.Date, types.Time), _moment),
    (types.String, _text),
)
"""What reads the values of which type."""
