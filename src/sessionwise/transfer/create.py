"""The types of a table's columns, each database's own, for what a file has in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator

from sessionwise.bulk.exporting.forms import TEXT, to_json
from sessionwise.errors import BulkInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Dialect

    from sessionwise.transfer.guesses import Guess, Numbers

__all__ = [
    "AsJson",
    "AsText",
    "as_text",
    "binary",
    "decimal",
    "guessed",
    "interval",
    "is_mysql",
    "moment",
    "table",
    "text",
    "time",
]

_INT32 = 2**31
_INT64 = 2**63
_POSTGRESQL_DIGITS = (131_072, 16_383)
_MYSQL_DIGITS = (65, 30)

_SHORT = 255
"""Signs up to which MariaDB has a text in the row itself."""
_LONGEST_KEY = 768
"""Signs that MariaDB has in a key."""
_ROW_BYTES = 60_000
"""Bytes that MariaDB takes for the short texts of a row, four for each sign."""
_BYTES_OF_A_SIGN = 4
_SIZES = ((2**16, mysql.TEXT), (2**24, mysql.MEDIUMTEXT), (2**32, mysql.LONGTEXT))

_NAME_BYTES = {"postgresql": 63}
_NAME_SIGNS = {"mysql": 64, "mariadb": 64}
_CASE_MATTERS = {"postgresql"}
"""Where ``a`` and ``A`` are two columns."""


class AsText(TypeDecorator[Any]):
    """A value that the database has no type for, written as dumps write it."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write a value."""
        return None if value is None else TEXT.of(type(value))(value)


class AsJson(TypeDecorator[Any]):
    """Nested data, with what JSON has no form for, as moments and decimals, written as text."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Write a value."""
        return None if value is None else json.loads(to_json(value))


def is_mysql(dialect: Dialect) -> bool:
    """Say whether a database is MariaDB or MySQL."""
    return dialect.name in {"mysql", "mariadb"}


def guessed(guess: Guess, dialect: Dialect, *, is_key: bool) -> Any:
    """Return the type of a column, by its values."""
    kind = guess.kind
    if kind == "number":
        found = _number(guess.numbers, dialect, is_json=bool(guess.classes))
        return text(dialect, guess.longest, is_key=is_key) if found is None else found
    if kind in {"moment", "moment in a zone"}:
        return moment(dialect, has_zone=kind != "moment", has_fractions=guess.has_fractions)
    if kind == "time":
        return time(dialect, has_fractions=guess.has_fractions)
    if kind == "uuid" and dialect.name == "postgresql":  # others do not keep its hyphens
        return sa.Uuid()
    simple = {"boolean": sa.Boolean(), "date": sa.Date(), "json": sa.JSON(none_as_null=True)}
    return simple.get(kind) or text(dialect, guess.longest, is_key=is_key)


def _number(numbers: Numbers, dialect: Dialect, *, is_json: bool) -> Any:
    """Return the type of a column of numbers; None where no number holds them all."""
    if not numbers.is_finite and dialect.name != "postgresql":
        if is_json:
            raise BulkInputError(f"it has NaN or Infinity, and {dialect.name} has no such number")
        return None
    if numbers.is_whole and numbers.low >= -_INT32 and numbers.high < _INT32:
        return sa.Integer()
    if numbers.is_whole and numbers.low >= -_INT64 and numbers.high < _INT64:
        return sa.BigInteger()
    if numbers.is_exact_as_float and not numbers.is_whole:
        return sa.Double()
    if dialect.name == "postgresql":
        most = _POSTGRESQL_DIGITS
        return sa.Numeric() if numbers.before <= most[0] and numbers.after <= most[1] else None
    found = decimal(dialect, numbers.before + numbers.after, numbers.after)
    return found if is_json or not isinstance(found, AsText) else None


def decimal(dialect: Dialect, precision: int, scale: int) -> Any:
    """Return the type for numbers of so many digits."""
    most, most_after = _MYSQL_DIGITS
    if scale < 0:
        precision, scale = precision - scale, 0
    if dialect.name == "postgresql":
        return sa.Numeric(precision, scale)
    if is_mysql(dialect) and precision <= most and scale <= most_after:
        return sa.Numeric(precision, scale)
    return as_text(dialect)


def moment(dialect: Dialect, *, has_zone: bool, has_fractions: bool) -> Any:
    """Return the type for a date with a time."""
    if has_fractions and is_mysql(dialect):
        return mysql.DATETIME(timezone=has_zone, fsp=6)
    return sa.DateTime(timezone=has_zone)


def time(dialect: Dialect, *, has_fractions: bool) -> Any:
    """Return the type for a time of the day."""
    return mysql.TIME(fsp=6) if has_fractions and is_mysql(dialect) else sa.Time()


def interval(dialect: Dialect) -> Any:
    """Return the type for a length of time."""
    if dialect.name == "postgresql":
        return sa.Interval()
    return as_text(dialect)


def as_text(dialect: Dialect) -> AsText:
    """Return the type for short values that the database has no type of its own for."""
    return AsText(_SHORT) if is_mysql(dialect) else AsText()


def binary(dialect: Dialect) -> Any:
    """Return the type for bytes."""
    return mysql.LONGBLOB() if is_mysql(dialect) else sa.LargeBinary()


def text(dialect: Dialect, longest: int, *, is_key: bool = False) -> Any:
    """Return the type for texts of at most so many signs."""
    if not is_mysql(dialect):
        return sa.String()
    if is_key:
        return _key_text(dialect, longest)
    if longest <= _SHORT:
        return sa.String(_SHORT)
    return next(make() for size, make in _SIZES if longest * _BYTES_OF_A_SIGN < size)


def _key_text(dialect: Dialect, longest: int) -> Any:
    if longest > _LONGEST_KEY:
        raise BulkInputError(
            f"it has {longest:,} signs, and in a key {dialect.name} has {_LONGEST_KEY}; use "
            "another --key"
        )
    is_mariadb = getattr(dialect, "is_mariadb", False)
    # By itself the server takes a and A, and a with a space after it, for the same key.
    collation = "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"
    return sa.String(max(longest, 1), collation)


def table(
    name: str, schema: str | None, columns: Sequence[sa.Column[Any]], dialect: Dialect
) -> sa.Table:
    """Return a table of some columns, to be created.

    :raises BulkInputError: for names that the database does not take.
    """
    names = [column.name for column in columns]
    for one in [name, *names]:
        _check_length(one, dialect)
    known: dict[str, str] = {}
    for one in names:
        key = one if dialect.name in _CASE_MATTERS else one.lower()
        if key in known:
            raise BulkInputError(
                f"the columns {known[key]!r} and {one!r} have one name for {dialect.name}; "
                f"rename one, as by --map {one}=other"
            )
        known[key] = one
    _shorten(columns, dialect)
    options = {"engine": "InnoDB", "charset": "utf8mb4"} if is_mysql(dialect) else {}
    given: Any = {f"{dialect.name}_{option}": value for option, value in options.items()}
    return sa.Table(name, sa.MetaData(), *columns, schema=schema, **given)


def _check_length(name: str, dialect: Dialect) -> None:
    size, most = len(name.encode()), _NAME_BYTES.get(dialect.name)
    if most is None:
        size, most = len(name), _NAME_SIGNS.get(dialect.name)
    if most is not None and size > most:
        raise BulkInputError(
            f"the name {name!r} is too long for {dialect.name}: it has {size}, and may have "
            f"{most}; for a column, give another by --map"
        )


def _shorten(columns: Sequence[sa.Column[Any]], dialect: Dialect) -> None:
    """Move texts out of MariaDB's rows, where these cannot hold them all."""
    if not is_mysql(dialect):
        return
    size = 0
    for column in columns:
        if type(column.type) is sa.String and column.type.length:
            size += column.type.length * _BYTES_OF_A_SIGN
            if size > _ROW_BYTES and not column.primary_key:
                column.type = mysql.TEXT()
