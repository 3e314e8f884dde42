"""Which values look as if they were none of their column's type, before a database is asked.

It is a guess, and a database has the last word: rows that are suspected are written by themselves.
"""

from __future__ import annotations

import json
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import types

from sessionwise.bulk.reading.parse import parser, underlying

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Column, Dialect

    from sessionwise.bulk.plan import Plan

__all__ = ["column_at_fault", "suspects"]


def suspects(plan: Plan, objects: Sequence[Sequence[Any]]) -> set[int]:
    """Return which rows have a value that is suspected.

    :param objects: the values of each column of the plan.
    """
    found: set[int] = set()
    for column, values in zip(plan.columns, objects, strict=True):
        fits = _Fits(column, plan.dialect)
        found.update(at for at, value in enumerate(values) if not fits(value))
    return found


def column_at_fault(plan: Plan, row: Sequence[Any]) -> str | None:
    """Return the column of a row whose value is suspected; None where that is not one alone.

    :param row: the value of each column of the plan.
    """
    found = [
        column.name
        for column, value in zip(plan.columns, row, strict=True)
        if not _Fits(column, plan.dialect)(value)
    ]
    return str(found[0]) if len(found) == 1 else None


class _Fits:
    """Says of the values of one column whether they look right."""

    def __init__(self, column: Column[Any], dialect: Dialect) -> None:
        impl = column.type.dialect_impl(dialect)
        self._process = impl.bind_processor(dialect)
        self._is_right = _rule(underlying(column.type), dialect.name)

    def __call__(self, value: Any) -> bool:
        if value is None:
            return True
        try:
            sent = value if self._process is None else self._process(value)
            return self._is_right(value) and (sent is value or self._is_right(sent))
        except Exception:  # noqa: BLE001 - whatever a type raises, it does not take the value
            return False


def _rule(type_: Any, dialect: str) -> Callable[[Any], bool]:
    if dialect == "sqlite":
        return _is_right_for_sqlite
    if isinstance(type_, types.Enum):
        known = {*type_.enums, *(type_.enum_class or ())}
        return known.__contains__
    if isinstance(type_, types.String):
        return _of_text(type_.length, refuses_zero=dialect == "postgresql")
    if isinstance(type_, types.Integer):
        limit = 2**15 if isinstance(type_, types.SmallInteger) else 2**31
        limit = 2**63 if isinstance(type_, types.BigInteger) else limit
        return lambda value: -limit <= int(value) < limit
    if isinstance(type_, types.Numeric) and type_.precision is not None:
        largest = 10 ** (type_.precision - (type_.scale or 0))
        return lambda value: abs(float(value)) < largest
    return _of_parser(type_)


def _is_right_for_sqlite(value: Any) -> bool:
    if isinstance(value, int):
        return abs(value) < 2**63
    if isinstance(value, str):
        return _has_bytes(value)
    return isinstance(value, (float, bytes, bytearray, memoryview, date, time, Decimal, UUID))


def _of_text(length: int | None, *, refuses_zero: bool) -> Callable[[Any], bool]:
    def is_right(value: Any) -> bool:
        text = value if isinstance(value, str) else str(value)
        return (
            (length is None or len(text) <= length)
            and not (refuses_zero and "\0" in text)
            and _has_bytes(text)
        )

    return is_right


def _has_bytes(text: str) -> bool:
    """Say whether a text can be encoded: half of a sign of UTF-16 cannot."""
    return text.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in text)


def _of_parser(type_: Any) -> Callable[[Any], bool]:
    if isinstance(type_, types.JSON):
        return lambda value: isinstance(value, str) or json.dumps(value) is not None
    found = parser(type_)
    if found is None:
        return lambda value: True
    parse = found.parse

    def is_right(value: Any) -> bool:
        if isinstance(value, str):
            parse(value)
        return True

    return is_right
