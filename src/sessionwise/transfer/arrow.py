"""The types of columns by the schema of Parquet and Arrow files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sessionwise.bulk.reading.batches import arrow
from sessionwise.transfer import create

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Dialect

__all__ = ["is_text", "type_of"]

_LONG = 2**24


def is_text(type_: Any) -> bool:
    """Say whether values of a type of Arrow's are texts."""
    pa = arrow()
    type_ = getattr(type_, "value_type", type_) if pa.types.is_dictionary(type_) else type_
    texts = (pa.string(), pa.large_string(), pa.string_view(), pa.null())
    return any(type_ == one for one in texts)


def type_of(type_: Any, dialect: Dialect, longest: int | None, *, is_key: bool) -> Any:
    """Return the type of a column for values of a type of Arrow's.

    :param longest: signs of the longest text, where that matters.
    """
    pa = arrow()
    is_ = pa.types
    if is_text(type_):
        return create.text(dialect, _LONG if longest is None else longest, is_key=is_key)
    if is_.is_dictionary(type_) or is_.is_run_end_encoded(type_):
        return type_of(type_.value_type, dialect, longest, is_key=is_key)
    if isinstance(type_, pa.BaseExtensionType) and type_.extension_name != "arrow.uuid":
        return type_of(type_.storage_type, dialect, longest, is_key=is_key)
    return _of_values(type_, dialect)


def _is_uuid(type_: Any) -> bool:
    return isinstance(type_, arrow().BaseExtensionType)


def _uuid(dialect: Dialect) -> Any:
    return sa.Uuid() if dialect.name == "postgresql" else create.as_text(dialect)


def _of_values(type_: Any, dialect: Dialect) -> Any:
    is_ = arrow().types
    known: tuple[tuple[Any, Callable[[], Any]], ...] = (
        (_is_uuid, lambda: _uuid(dialect)),
        (
            is_.is_timestamp,
            lambda: create.moment(
                dialect, has_zone=type_.tz is not None, has_fractions=type_.unit != "s"
            ),
        ),
        (is_.is_time, lambda: create.time(dialect, has_fractions=type_.unit != "s")),
        (is_.is_decimal, lambda: create.decimal(dialect, type_.precision, type_.scale)),
        (is_.is_boolean, sa.Boolean),
        (is_.is_date, sa.Date),
        (is_.is_floating, sa.Double),
        (is_.is_uint64, lambda: create.decimal(dialect, 20, 0)),
        (is_.is_uint32, sa.BigInteger),
        (is_.is_int64, sa.BigInteger),
        (is_.is_integer, sa.Integer),
        (is_.is_duration, lambda: create.interval(dialect)),
        (is_.is_nested, create.AsJson),
    )
    make = next((make for is_kind, make in known if is_kind(type_)), None)
    return create.binary(dialect) if make is None else make()
