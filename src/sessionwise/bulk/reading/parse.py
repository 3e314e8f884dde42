"""Text as values of a column's type."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import types
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Parser", "RefusedError", "parser", "underlying"]

_TRUE = frozenset({"t", "true", "1", "y", "yes", "on"})
_FALSE = frozenset({"f", "false", "0", "n", "no", "off"})
_INTEGER = re.compile(r"\s*([+-]?[0-9]+)(?:\.0*)?\s*")
"""A column of whole numbers with gaps is written as 517.0 by pandas, among others."""
_FINER = re.compile(r"[.,][0-9]{6}[0-9]*[1-9]")
"""Parts of a microsecond; Python would cut them off."""
_INTERVAL = re.compile(
    r"\s*(?:([+-]?\d+) days?,?\s*)?(?:([+-]?)(\d+):(\d\d)(?::(\d\d)(\.\d{1,6})?)?)?\s*", re.ASCII
)


class RefusedError(ValueError):
    """Text has the form of a value, and is none for this column; says why."""


@dataclass(frozen=True)
class Parser:
    """How text becomes values of a type."""

    parse: Callable[[str], Any]
    """Raises for what is not such a value."""
    expects: str
    """What a value is, for the error."""


def underlying(type_: Any) -> Any:
    """Return the type below those that decorate it."""
    while isinstance(type_, TypeDecorator) and not isinstance(type_, types.Interval):
        type_ = type_.impl_instance
    return type_


def parser(type_: Any) -> Parser | None:
    """Return how text becomes values of a type; None where it stays text."""
    type_ = underlying(type_)
    if isinstance(type_, types.ARRAY):
        return _array(type_)
    if isinstance(type_, types.Enum):
        return _enum(type_)
    for class_, make in _BY_CLASS:
        if isinstance(type_, class_):
            return make(type_)
    return None


def _integer(text: str) -> int:
    found = _INTEGER.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return int(found[1])


def _float(text: str) -> float:
    _no_underscore(text)
    value = float(text)
    if math.isinf(value) and "inf" not in text.lower():
        raise RefusedError("is too large for a floating point number")
    return value


def _decimal(text: str) -> Decimal:
    _no_underscore(text)
    return Decimal(text.strip())


def _no_underscore(text: str) -> None:
    if "_" in text:
        raise ValueError(text)  # Python's own way to write numbers; nobody else's


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(text)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        value = datetime.fromisoformat(text.strip())
        if value.time() != time() or value.tzinfo is not None:
            raise RefusedError("has a time, and the column is for dates") from None
        return value.date()


def _with_zone(has_zone: bool, read: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if _FINER.search(text):
            raise RefusedError("has parts of a microsecond; round it")
        value = read(text.strip())
        if has_zone and value.tzinfo is None:
            raise RefusedError("has no time zone, and the column has one; add Z or +02:00")
        if not has_zone and value.tzinfo is not None:
            raise RefusedError("has a time zone, and the column has none; convert it first")
        return value

    return parse


def _interval(text: str) -> timedelta:
    found = _INTERVAL.fullmatch(text)
    if found is None or not text.strip():
        raise ValueError(text)
    days, sign, hours, minutes, seconds, fraction = found.groups()
    microseconds = int((fraction or ".0")[1:].ljust(6, "0"))
    within = timedelta(
        hours=int(hours or 0),
        minutes=int(minutes or 0),
        seconds=int(seconds or 0),
        microseconds=microseconds,
    )
    return timedelta(days=int(days or 0)) + (-within if sign == "-" else within)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("\\x"))


def _uuid(type_: Any) -> Parser:
    def parse(text: str) -> Any:
        value = UUID(text.strip())
        return value if type_.as_uuid else str(value)

    return Parser(parse, "a UUID")


def _numeric(type_: Any) -> Parser:
    if type_.asdecimal:
        return Parser(_decimal, "a number, such as 12.50")
    return Parser(_float, "a number, such as 12.5")


def _enum(type_: Any) -> Parser:
    known: dict[str, Any]
    if type_.enum_class is None:
        known = {name: name for name in type_.enums}
    else:
        members = type_.enum_class.__members__
        known = {str(member.value): member for member in members.values()} | dict(members)
    return Parser(known.__getitem__, f"one of {', '.join(map(repr, known))}")


def _array(type_: Any) -> Parser:
    item = parser(type_.item_type)

    def convert(value: Any) -> Any:
        if isinstance(value, list):
            return [convert(one) for one in value]
        return item.parse(value) if item is not None and isinstance(value, str) else value

    def parse(text: str) -> Any:
        stripped = text.strip()
        if stripped.startswith("["):
            return convert(json.loads(stripped))
        return convert(_Literal(stripped).read())

    return Parser(parse, "an array, such as {1,2} or [1, 2]")


class _Literal:
    """PostgreSQL's own way to write arrays: ``{1,NULL,"a, b",{...}}``."""

    _TOKEN = re.compile(
        r'\s*(?:"((?:[^"\\]|\\.)*)"|([{},])|([^{},"\s](?:[^{},"]*[^{},"\s])?))', re.S
    )

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> list[Any]:
        if self._next()[1] != "{":
            raise ValueError(self._text)
        found = self._list()
        if self._text[self._at :].strip():
            raise ValueError(self._text)
        return found

    def _next(self) -> tuple[str | None, str | None, str | None]:
        found = self._TOKEN.match(self._text, self._at)
        if found is None:
            raise ValueError(self._text)
        self._at = found.end()
        return found[1], found[2], found[3]

    def _list(self) -> list[Any]:
        found: list[Any] = []
        while True:
            quoted, mark, bare = self._next()
            if mark == "}" and not found:
                return found
            if mark == "{":
                found.append(self._list())
            elif quoted is not None:
                found.append(re.sub(r"\\(.)", r"\1", quoted, flags=re.S))
            elif bare is not None:
                text = re.sub(r"\\(.)", r"\1", bare, flags=re.S)
                found.append(None if bare.upper() == "NULL" else text)
            else:
                raise ValueError(self._text)
            _, mark, _ = self._next()
            if mark == "}":
                return found
            if mark != ",":
                raise ValueError(self._text)


_BY_CLASS: tuple[tuple[Any, Callable[[Any], Parser]], ...] = (
    (types.Boolean, lambda _: Parser(_boolean, "true or false")),
    (types.Integer, lambda _: Parser(_integer, "a whole number")),
    ((types.Numeric, types.Float), _numeric),
    (types.Date, lambda _: Parser(_date, "a date, such as 2024-12-31")),
    (
        types.DateTime,
        lambda type_: Parser(
            _with_zone(type_.timezone, datetime.fromisoformat),
            "a date and time, such as 2024-12-31T23:59:59" + ("Z" if type_.timezone else ""),
        ),
    ),
    (
        types.Time,
        lambda type_: Parser(
            _with_zone(type_.timezone, time.fromisoformat), "a time, such as 23:59:59"
        ),
    ),
    (types.Uuid, _uuid),
    (
        (types.LargeBinary, types.BINARY, types.VARBINARY),
        lambda _: Parser(_bytes, "hexadecimal, such as \\x00ff"),
    ),
    (types.JSON, lambda _: Parser(json.loads, "JSON")),
    (
        (types.Interval, postgresql.INTERVAL),
        lambda _: Parser(_interval, "a length of time, such as 1 day 02:30:00"),
    ),
)
"""The first that a type is an instance of."""
