"""SQLite: a value as the audit has it, in SQL; by what is stored, since types are dynamic there.

JSON is put together as text, not by ``json_object``: that takes 127 arguments at most, and a NULL
in a patch would be a key that is to go.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, Boolean, Numeric, String, TypeDecorator
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from sqlalchemy import Column
    from sqlalchemy.types import TypeEngine

__all__ = ["DIALECT", "as_json", "as_key", "changed", "changes", "literal", "quote", "row"]

DIALECT = sqlite_dialect()

_EXACT_PLACES = 15
"""Of how many decimal places a tie can be told by exact arithmetic with doubles."""


def quote(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a string."""
    return "'" + text.replace("'", "''") + "'"


def row(columns: Iterable[Column[Any]], record: str) -> str:
    """Return the JSON object of a row, ``new`` or ``old`` or a table's."""
    parts = ["'{'"]
    for number, column in enumerate(columns):
        comma = ", " if number else ""
        parts.append(literal(f"{comma}{json.dumps(column.name, ensure_ascii=False)}: "))
        parts.append(as_json(column, _of(record, column)))
    return _concatenated([*parts, "'}'"])


def changes(columns: Iterable[Column[Any]]) -> str:
    """Return the JSON object of the columns that an UPDATE has changed, with their new values."""
    parts = [
        f"CASE WHEN {changed(column)} THEN "
        f"{literal(f', {json.dumps(column.name, ensure_ascii=False)}: ')} || "
        f"{as_json(column, _of('new', column))} ELSE '' END"
        for column in columns
    ]
    return f"'{{' || substr({_concatenated(parts)}, 3) || '}}'"


def changed(column: Column[Any]) -> str:
    """Return whether an UPDATE has changed a column, be it only in case."""
    return f"{_of('old', column)} IS NOT {_of('new', column)} COLLATE BINARY"


def as_key(columns: Sequence[Column[Any]], record: str) -> str:
    """Return what ``object_id`` is for a key: the value, or a JSON array of several."""
    if len(columns) == 1:
        value = _of(record, columns[0])
        is_plain = _integer(_stored(columns[0].type), value) == value
        integer = f"WHEN 'integer' THEN {value} " if is_plain else ""  # the column makes it a text
        as_text = f"WHEN 'text' THEN {value} WHEN 'null' THEN NULL WHEN 'blob' THEN {_hex(value)}"
        number = f"trim({as_json(columns[0], value)}, '\"')"  # a number of a NUMERIC is a string
        return f"CASE typeof({value}) {integer}{as_text} ELSE {number} END"
    parts: list[str] = []
    for column in columns:
        parts += ["', '", as_json(column, _of(record, column))]
    return _concatenated(["'['", *parts[1:], "']'"])


def as_json(column: Column[Any], value: str) -> str:
    """Return the JSON text of a column's value; it is never NULL."""
    stored = _stored(column.type)
    text = f"WHEN 'text' THEN {_text(stored, value)}"
    integer = f"WHEN 'integer' THEN {_integer(stored, value)}"
    cases = [text, integer] if isinstance(stored, String) else [integer, text]
    real = _digits(value, _places(stored)) if isinstance(stored, Numeric) else _real(value)
    return (
        f"CASE typeof({value}) {' '.join(cases)} WHEN 'null' THEN 'null' "
        f"WHEN 'real' THEN {real} ELSE '\"' || {_hex(value)} || '\"' END"
    )


def _text(stored: TypeEngine[Any], value: str) -> str:
    if isinstance(stored, JSON):
        is_json = f"json_valid({value}) AND NOT instr({value}, char(0))"  # it stops at the NUL
        return f"CASE WHEN {is_json} THEN {value} ELSE json_quote({value}) END"
    return f"json_quote({value})"


def _integer(stored: TypeEngine[Any], value: str) -> str:
    if isinstance(stored, Boolean):
        return f"CASE {value} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE {value} END"
    if isinstance(stored, Numeric):
        places = _places(stored)
        return f"""'"' || {value} || '{"." + "0" * places if places else ""}"'"""
    return value


def _real(value: str) -> str:
    """Return a double with as many digits as it takes to be read as the same."""
    # 17 digits would do, but SQLite before 3.43 computes the last of them without due care.
    short, long = f"printf('%!.17g', {value})", f"printf('%!.20g', {value})"
    return (
        f"CASE WHEN {value} = 9e999 THEN '\"Infinity\"' WHEN {value} = -9e999 "
        f"THEN '\"-Infinity\"' WHEN CAST({short} AS REAL) = {value} THEN {short} ELSE {long} END"
    )


def _digits(value: str, places: int) -> str:
    """Return a double with so many decimal places, as Python's ``%f`` and so SQLAlchemy has it.

    SQLite's own has 16 significant digits, so it is asked for the fraction alone.
    """
    whole = f"CAST(abs({value}) AS INTEGER)"
    fraction = f"abs({value} - CAST({value} AS INTEGER))"
    rounded = f"printf('%.{places}f', {fraction})"
    # A tie goes to the even digit.
    if places == 0:
        rounded = f"CASE {fraction} WHEN 0.5 THEN {whole} % 2 ELSE {fraction} > 0.5 END"
    elif places <= _EXACT_PLACES:
        longer = f"printf('%.{places + 1}f', {fraction})"
        in_binary = f"{fraction} * {2 ** (places + 1)}"
        rounded = (
            f"CASE WHEN {in_binary} = CAST({in_binary} AS INTEGER) AND {longer} GLOB '*[02468]5' "
            f"THEN substr({longer}, 1, {places + 2}) ELSE {rounded} END"
        )
    return (
        f"CASE WHEN abs({value}) < 9e18 THEN CASE WHEN {value} < 0 THEN '\"-' ELSE '\"' END || "
        f"({whole} + CAST({rounded} AS INTEGER)) || substr({rounded}, 2) || '\"' "
        f"ELSE '\"' || printf('%.{places}f', {value}) || '\"' END"
    )


def _places(stored: Numeric[Any]) -> int:
    """Return how many decimal places SQLAlchemy loads of a type."""
    decimal: Any = Numeric(
        stored.precision, stored.scale, decimal_return_scale=stored.decimal_return_scale
    )
    zero: Decimal = decimal.result_processor(DIALECT, None)(0.0)
    return -int(zero.as_tuple().exponent)


def _hex(value: str) -> str:
    return f"lower(hex({value}))"


def _of(record: str, column: Column[Any]) -> str:
    return f"{quote(record) if record not in {'new', 'old'} else record}.{quote(column.name)}"


def _stored(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return the type of what is stored."""
    found = type_.dialect_impl(DIALECT)
    while isinstance(found, TypeDecorator):
        found = found.impl_instance
    return found


def _concatenated(parts: Sequence[str]) -> str:
    """Concatenate, by halves: SQLite's expressions are 1000 deep at most."""
    if len(parts) == 1:
        return f"({parts[0]})"
    middle = len(parts) // 2
    if len(parts) == 2:  # noqa: PLR2004 - halves
        return f"({parts[0]} || {parts[1]})"
    return f"({_concatenated(parts[:middle])} || {_concatenated(parts[middle:])})"
