"""Values as text, a column at a time: what MariaDB and MySQL read in SQL, and in a file.

Most columns hold values of one type, and nothing that needs an escape: to find that out for the
whole column costs far less than to ask for each value.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy.types import LargeBinary, Numeric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy.types import TypeEngine

    from sessionwise.bulk.plan import Plan

__all__ = ["NotTextError", "fields", "is_expression", "literals", "names"]

_SPECIAL_IN_SQL = frozenset("\0\\\n\r\x1a\"'")

_ESCAPED_IN_A_FILE = {0: "\\0", 9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\"}
_SPECIAL_IN_A_FILE = frozenset(map(chr, _ESCAPED_IN_A_FILE))


class NotTextError(TypeError):
    """A value has no text that is known to be read back as the same value."""

    def __init__(self, value: object) -> None:
        super().__init__(f"{value!r} is not a value that can be sent as text")


def is_expression(type_: type) -> bool:
    """Say whether values of a type are SQL, not data."""
    return hasattr(type_, "__clause_element__") or hasattr(type_, "__visit_name__")


def literals(values: Sequence[Any], escape: Callable[[Any], str]) -> Iterable[str]:
    """Return the values of a column as SQL.

    :param escape: the driver's, which knows the server's mode.
    :raises NotTextError: for an SQL expression, of which the driver would store the text.
    """
    types = set(map(type, values))
    if any(map(is_expression, types)):
        raise NotTextError(next(one for one in values if is_expression(type(one))))
    plain = types - {NoneType}
    if plain <= {int}:
        convert: Callable[[Any], str] = str
    elif plain == {str} and not _holds(values, _SPECIAL_IN_SQL):
        convert = "'{}'".format
    elif plain <= {bytes, bytearray}:
        convert = _binary
    else:
        convert = escape
    return _converted(values, convert, "NULL", has_null=NoneType in types)


def fields(
    values: Sequence[Any], type_: TypeEngine[Any], escape: Callable[[Any], str]
) -> Iterable[str]:
    r"""Return the values of a column as the fields of a file with tabs and ``\N``.

    :param type_: the column's; bytes are written in hexadecimal.
    :param escape: the driver's, for values whose text needs no escape in a file.
    :raises NotTextError: for a value that is not what the type is for.
    """
    types = set(map(type, values))
    plain = types - {NoneType}
    if isinstance(type_, LargeBinary):
        convert: Callable[[Any], str] | None = (
            _hexadecimal if plain <= {bytes, bytearray} else None
        )
    elif plain <= {int}:
        convert = str
    elif plain == {str}:
        convert = _escaped if _holds(values, _SPECIAL_IN_A_FILE) else str
    elif plain <= _AS_IN_SQL or (plain <= _NUMBERS and isinstance(type_, Numeric)):
        convert = _bare(escape)
    else:
        convert = next((one for some, one in _FIELDS.items() if plain <= some), None)
    if convert is None:
        raise NotTextError(next(one for one in values if one is not None))
    return _converted(values, convert, "\\N", has_null=NoneType in types)


def _converted(
    values: Sequence[Any], convert: Callable[[Any], str], null: str, *, has_null: bool
) -> Iterable[str]:
    if has_null:
        return [null if value is None else convert(value) for value in values]
    return values if convert is str and type(values[0]) is str else map(convert, values)


def _holds(values: Sequence[str | None], special: frozenset[str]) -> bool:
    """Say whether any of the strings has one of the characters."""
    return not special.isdisjoint("".join(filter(None, values)))


def _binary(value: bytes) -> str:
    return f"X'{value.hex()}'"


def _hexadecimal(value: bytes) -> str:
    return value.hex()


def _escaped(value: str) -> str:
    return value.translate(_ESCAPED_IN_A_FILE)


def _whole(value: int) -> str:
    return str(int(value))


def _moment(value: date) -> str:
    # As the driver writes it: it leaves the timezone out.
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.replace(tzinfo=None)
    return str(value)


def _bare(escape: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: escape(value).strip("'")


_AS_IN_SQL = frozenset({time, timedelta})
_NUMBERS = frozenset({float, int, Decimal})
"""Types whose values are numbers in SQL; for a column of strings, the server writes these anew."""
_FIELDS: dict[frozenset[type], Callable[[Any], str]] = {
    frozenset({bool, int}): _whole,
    frozenset({date, datetime}): _moment,
    frozenset({UUID}): str,
}
"""How values of some types become fields."""


def names(plan: Plan) -> tuple[str, list[str]]:
    """Return the names of the table and of its columns, for a statement without parameters."""
    preparer = plan.dialect.identifier_preparer
    # With parameters a percent sign would be written twice.
    table = preparer.format_table(plan.target.table).replace("%%", "%")
    return table, [preparer.format_column(one).replace("%%", "%") for one in plan.columns]
