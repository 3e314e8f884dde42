"""From values of the application to what is recorded of them; ``asking.decode`` goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, JSON, Column, LargeBinary, TypeDecorator
from sqlalchemy.types import NullType

from sessionwise.audit.recording.forms import as_json, former, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Dialect

__all__ = ["encode", "encode_key", "encode_untyped", "key_text"]

_UNTYPED: Column[Any] = Column("any", NullType())


def encode(value: Any, column: Column[Any], dialect: Dialect) -> Any:
    """Return what is recorded of a value that goes into a column."""
    make = former(column, dialect)
    stored = _stored(value, column.type.dialect_impl(dialect), dialect)
    return stored if make is None or stored is None else make(stored)


def encode_untyped(value: Any, dialect: Dialect) -> Any:
    """Return what is recorded of a value of which nothing but its Python type is known."""
    return encode(value, _UNTYPED, dialect)


def encode_key(values: Sequence[Any], columns: Sequence[Column[Any]], dialect: Dialect) -> str:
    """Return the ``object_id`` of a primary key."""
    pairs = zip(values, columns, strict=True)
    return key_text([encode(value, column, dialect) for value, column in pairs])


def key_text(forms: Sequence[Any]) -> str:
    """Return the ``object_id`` of what is recorded of the columns of a primary key."""
    return text_of(forms[0]) if len(forms) == 1 else as_json(list(forms))


def _stored(value: Any, impl: Any, dialect: Dialect) -> Any:
    """Return what a driver is given for a value, but for what only wraps it."""
    if isinstance(impl, JSON | ARRAY | LargeBinary):
        return value
    if isinstance(impl, TypeDecorator) and isinstance(impl.impl_instance, JSON):
        return impl.process_bind_param(value, dialect)
    process = impl.bind_processor(dialect)
    return value if process is None else process(value)
