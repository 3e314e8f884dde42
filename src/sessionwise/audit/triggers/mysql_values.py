"""MariaDB: a value as the audit has it, in SQL.

JSON is put together as text, not by ``JSON_OBJECT``, which writes DECIMAL as a number, and of
which one could not leave out what has not changed. Nothing here depends on the character set, the
time zone or the SQL mode of whoever changes a row.
"""

# ruff: noqa: S608 - these texts are SQL; names and strings in them are quoted

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BINARY,
    JSON,
    VARBINARY,
    Boolean,
    Date,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    Numeric,
    Time,
    TypeDecorator,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Column
    from sqlalchemy.types import TypeEngine

    from sessionwise.audit.coverage import Covered

__all__ = ["NEW", "OLD", "Record", "changed", "changes", "literal", "of_table", "quote", "same"]

_DIALECT = MariaDBDialect()

_BYTES = (
    *(BINARY, VARBINARY, LargeBinary),
    *(mysql.TINYBLOB, mysql.MEDIUMBLOB, mysql.LONGBLOB),
)
_NUMBERS = (Integer, mysql.BIT, mysql.YEAR)
_MOMENTS = (Date, DateTime, Time)


@dataclass(frozen=True)
class Record:
    """A row that is recorded, and how SQL refers to its columns."""

    covered: Covered
    refer: Callable[[Column[Any]], str]

    @property
    def key(self) -> str:
        """What ``object_id`` is: the value of the key, or a JSON array of several."""
        columns = self.covered.key
        if len(columns) == 1:
            return _as_key(columns[0], self.refer(columns[0]))
        values = ", ', ', ".join(self.json(column) for column in columns)
        return f"CONCAT('[', {values}, ']')"

    @property
    def row(self) -> str:
        """The JSON object of all columns."""
        parts = [
            f"{_name(column, ', ' if number else '{')}, {self.json(column)}"
            for number, column in enumerate(self.covered.columns)
        ]
        return f"CONCAT({', '.join(parts)}, '}}')"

    def json(self, column: Column[Any]) -> str:
        """Return the JSON text of a column's value; it is never NULL."""
        value = self.refer(column)
        if column.name in self.covered.redacted:
            return f"IFNULL({self._commitment(column)}, 'null')"
        return f"IFNULL({_as_json(_stored(column.type), value)}, 'null')"

    def _commitment(self, column: Column[Any]) -> str:
        salt = (
            f"(SELECT salt FROM audit_salt WHERE `table` = {literal(self.covered.name)} "
            f"AND object_id = {self.key} LOCK IN SHARE MODE)"
        )
        value = _as_key(column, self.refer(column))
        return f"""CONCAT('{{"sha256": "', SHA2(CONCAT({salt}, {value}), 256), '"}}')"""

    @property
    def make_salt(self) -> str:
        """The start of what makes a salt for the row; empty where none is needed."""
        if not self.covered.redacted:
            return ""
        return (
            "INSERT IGNORE INTO audit_salt (`table`, object_id, salt) SELECT "
            f"{literal(self.covered.name)}, {self.key}, RANDOM_BYTES(32)"
        )


def OLD(column: Column[Any]) -> str:  # noqa: N802 - as SQL has it
    """Refer to a column of the row before the change."""
    return f"OLD.{quote(column.name)}"


def NEW(column: Column[Any]) -> str:  # noqa: N802 - as SQL has it
    """Refer to a column of the row after the change."""
    return f"NEW.{quote(column.name)}"


def of_table(alias: str) -> Callable[[Column[Any]], str]:
    """Refer to the columns of a table, or of its alias."""
    return lambda column: f"{quote(alias)}.{quote(column.name)}"


def quote(name: str) -> str:
    """Quote an identifier."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """Quote a string, whatever the SQL mode makes of a backslash."""
    if "\\" in text:
        return f"CONVERT(0x{text.encode().hex()} USING utf8mb4)"
    return "'" + text.replace("'", "''") + "'"


def changed(column: Column[Any]) -> str:
    """Return whether an UPDATE has changed a column, be it only in case or trailing blanks."""
    return f"NOT ({same(column, OLD(column), NEW(column))})"


def same(column: Column[Any], one: str, other: str) -> str:
    """Return whether two values of a column are the same, whatever the collation says."""
    stored = _stored(column.type)
    if isinstance(stored, mysql.TIMESTAMP):  # where clocks are set back, two are one local time
        one, other = f"UNIX_TIMESTAMP({one})", f"UNIX_TIMESTAMP({other})"
    elif not isinstance(stored, (*_NUMBERS, Boolean, Float, Numeric, *_MOMENTS)):
        one, other = f"BINARY {one}", f"BINARY {other}"
    return f"{one} <=> {other}"


def changes(record: Record, columns: Sequence[tuple[Column[Any], str]]) -> str:
    """Return the JSON object of columns, each where its condition holds."""
    parts = [
        f"IF({condition}, CONCAT({_name(column, ', ')}, {record.json(column)}), '')"
        for column, condition in columns
    ]
    return f"CONCAT('{{', SUBSTR(CONCAT({', '.join(parts)}), 3), '}}')"


def _name(column: Column[Any], before: str) -> str:
    return literal(f"{before}{json.dumps(column.name, ensure_ascii=False)}: ")


def _as_json(stored: TypeEngine[Any], value: str) -> str:
    if isinstance(stored, Boolean):
        return f"CASE {value} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE {value} + 0 END"
    if isinstance(stored, JSON):
        return f"IF(JSON_VALID({value}), {value}, JSON_QUOTE({_text(value)}))"
    if isinstance(stored, _NUMBERS):
        return f"{value} + 0"  # no digits of ZEROFILL
    if isinstance(stored, Float):
        return f"{value} + 0e0"  # FLOAT by itself is written with 6 digits
    if isinstance(stored, (*_BYTES, Numeric, *_MOMENTS)):
        return f"""CONCAT('"', {_plain(stored, value)}, '"')"""
    return f"JSON_QUOTE({_text(value)})"


def _as_key(column: Column[Any], value: str) -> str:
    """Return a value's text."""
    stored = _stored(column.type)
    if isinstance(stored, (*_BYTES, Numeric, *_MOMENTS)):
        return f"CONCAT({_plain(stored, value)})"
    if isinstance(stored, (Boolean, *_NUMBERS, Float)):
        return f"CONCAT({_as_json(stored, value)})"
    return _text(value)


def _plain(stored: TypeEngine[Any], value: str) -> str:
    """Return what needs only quotation marks around it."""
    if isinstance(stored, _BYTES):
        return f"LOWER(HEX({value}))"
    if isinstance(stored, mysql.TIMESTAMP):
        since = f"INTERVAL UNIX_TIMESTAMP({value}) SECOND"
        return f"TIMESTAMP'1970-01-01 00:00:00' + {since}, '+00:00'"
    return value


def _text(value: str) -> str:
    return f"CONVERT({value} USING utf8mb4)"


def _stored(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return the type of what is stored."""
    found = type_.dialect_impl(_DIALECT)
    while isinstance(found, TypeDecorator):
        found = found.impl_instance
    return found
