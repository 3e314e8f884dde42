"""An export by PostgreSQL's COPY: what it writes is what our files have, or is made so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy import types as sqltypes

from sessionwise.bulk.exporting import arrow as columnar
from sessionwise.bulk.exporting import query as selected
from sessionwise.bulk.exporting.raw_copy import DRIVERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from sessionwise.bulk.exporting.query import Captured, Selected, SelectedColumn
    from sessionwise.bulk.exporting.sinks import Format

__all__ = ["JSON_LINE", "CopyQuery", "prepare"]

JSON_LINE = ("\x02", "\x01")
"""A delimiter and a quote that no JSON has, so that COPY leaves its lines as they are."""

_BOOL, _BYTES, _JSON, _NUMERIC, _FLOATS = 16, 17, 114, 1700, {700, 701}
_DATE, _TIME, _TIMESTAMP, _TIMESTAMPTZ = 1082, 1083, 1114, 1184
_UUID, _JSONB = 2950, 3802
_INTEGERS = {20: "int64", 21: "int16", 23: "int32"}
_TEXTS = {19, 25, 1042, 1043}
_SETTINGS_MATTER = {_BYTES, _DATE, _TIMESTAMP, _TIMESTAMPTZ, *_FLOATS}
_KNOWN = {_BOOL, _JSON, _NUMERIC, _TIME, _UUID, _JSONB, *_INTEGERS, *_TEXTS, *_SETTINGS_MATTER}
"""PostgreSQL's own numbers for the types of which COPY's text is tested to be ours."""
_FIRST_OF_OTHERS = 16_384
"""The first number for what users create, such as the types of Enums."""

_LONGEST_NAME = 63
"""Bytes of a name; PostgreSQL cuts off the rest."""


@dataclass(frozen=True)
class CopyQuery:
    """What COPY is to be given."""

    sql: str
    parameters: Any
    columns: list[SelectedColumn]
    types: list[int]

    @property
    def arrow_types(self) -> list[Any]:
        """The types of the columns in Arrow."""
        return [_arrow(type_, one) for type_, one in zip(self.types, self.columns, strict=True)]

    @property
    def binary(self) -> list[int]:
        """Where the columns are that have bytes."""
        return [at for at, type_ in enumerate(self.types) if type_ == _BYTES]


def prepare(session: Session, wanted: Selected, format_: Format) -> tuple[CopyQuery | None, Any]:
    """Find out what is selected, and how COPY writes it.

    :return: the query, None where COPY will not do; and the result of the statement, where it has
      been sent after all.
    """
    connection = wanted.connection
    if connection.dialect.name != "postgresql" or connection.dialect.driver not in DRIVERS:
        return None, None
    text = getattr(wanted.statement, "text", None)
    if isinstance(text, str) and not selected.is_select(text):
        return None, None
    captured, result = selected.capture(session, wanted, _wrap)
    if captured.sql is None:
        return None, result
    names = list(result.keys())
    result.close()
    if len(names) != len(captured.types):
        return None, None
    columns = wanted.columns(names)
    return _query(connection, captured, columns, format_), None


def _query(
    connection: Connection, captured: Captured, columns: list[SelectedColumn], format_: Format
) -> CopyQuery | None:
    pairs = list(zip(captured.types, columns, strict=True))
    if not all(_is_known(*one) for one in pairs):
        return None
    if format_ in {"parquet", "arrow"} and None in (_arrow(*one) for one in pairs):
        return None
    settings = _Settings()
    if _SETTINGS_MATTER.intersection(captured.types):
        settings = _settings(connection)
        if not settings.fit:
            return None
    given = _unended(captured.sql or "")
    if format_ == "jsonl":
        sql = _json_lines(given, pairs, settings, _percent(connection))
    else:
        sql = _fields(given, pairs, settings)
    if sql is None:
        return None
    return CopyQuery(sql, captured.parameters, columns, captured.types)


def _wrap(sql: str) -> str | None:
    """Return the statement that tells the types of another one's columns, and reads nothing."""
    if not selected.is_select(sql):
        return None
    return f"SELECT * FROM (\n{_unended(sql)}\n) AS q LIMIT 0"  # noqa: S608 - it was a SELECT


def _unended(sql: str) -> str:
    return sql.rstrip().rstrip(";")


def _percent(connection: Connection) -> str:
    """Return what is a percent sign to the driver."""
    return "%" if connection.dialect.driver == "asyncpg" else "%%"


def _is_known(type_: int, column: SelectedColumn) -> bool:
    if column.type is not None and not column.is_plain:
        return False
    is_enum = type_ >= _FIRST_OF_OTHERS and column.is_a(sqltypes.Enum)
    return type_ in _KNOWN or is_enum


@dataclass(frozen=True)
class _Settings:
    """How PostgreSQL writes values in this transaction."""

    fit: bool = True
    """Whether bytes and floats are written as by default."""
    iso: bool = True
    """Whether dates are."""
    utc: bool = True
    """Whether moments are written in UTC."""


def _settings(connection: Connection) -> _Settings:
    names = ("DateStyle", "bytea_output", "extra_float_digits", "TimeZone")
    asked: list[Any] = [func.current_setting(name) for name in names]
    dates, binary, digits, zone = connection.execute(select(*asked)).one()
    fit = binary == "hex" and int(digits) > 0
    return _Settings(fit, dates.startswith("ISO"), zone in {"UTC", "Etc/UTC"})


def _fields(sql: str, pairs: Sequence[tuple[int, SelectedColumn]], settings: _Settings) -> str:
    forms = [_field(f"q.c{at}", type_, settings) for at, (type_, _) in enumerate(pairs)]
    names = [f"c{at}" for at in range(len(pairs))]
    if forms == [f"q.{name}" for name in names]:
        return sql
    return f"SELECT {', '.join(forms)} FROM (\n{sql}\n) AS q ({', '.join(names)})"  # noqa: S608


def _field(name: str, type_: int, settings: _Settings) -> str:
    if type_ == _BOOL:
        return f"{name}::text"
    if type_ == _TIMESTAMPTZ and not (settings.utc and settings.iso):
        text = _moment(f"timezone('UTC', {name})")
        return _in_utc(name, f"{text} || '+00'")
    if type_ in {_DATE, _TIMESTAMP} and not settings.iso:
        return _moment(name)
    return name


def _moment(value: str) -> str:
    """Return the text of a date or moment: JSON's is the same with any setting."""
    return f"replace(to_json({value}) #>> '{{}}', 'T', ' ')"


def _in_utc(name: str, form: str) -> str:
    # Others have no moment in UTC that Python has, too; PostgreSQL says what they are.
    has_form = f"isfinite({name}) AND {name} >= '0001-01-02 00:00+00'"
    return f"CASE WHEN {has_form} THEN {form} ELSE {name}::text END"


def _json_lines(
    sql: str, pairs: Sequence[tuple[int, SelectedColumn]], settings: _Settings, percent: str
) -> str | None:
    names = [one.name for _, one in pairs]
    if any(not 0 < len(name.encode()) <= _LONGEST_NAME for name in names):
        return None
    labels = ['"' + name.replace('"', '""').replace("%", percent) + '"' for name in names]
    values = [
        f"{_json_value(f'q.c{at}', type_, settings)} AS {label}"
        for at, ((type_, _), label) in enumerate(zip(pairs, labels, strict=True))
    ]
    inner = ", ".join(f"c{at}" for at in range(len(pairs)))
    lines = f"SELECT {', '.join(values)} FROM (\n{sql}\n) AS q ({inner})"  # noqa: S608
    return f"SELECT row_to_json(r) FROM ({lines}) AS r"  # noqa: S608 - it was a SELECT


def _json_value(name: str, type_: int, settings: _Settings) -> str:
    if type_ == _NUMERIC:
        return f"{name}::text"
    if type_ == _JSON:  # it is stored as it was written, lines and all
        return f"translate({name}::text, E'\\n\\r', '  ')::json"
    if type_ == _TIMESTAMPTZ and not settings.utc:
        text = f"(to_json(timezone('UTC', {name})) #>> '{{}}')"
        return _in_utc(name, f"{text} || '+00:00'")
    return name


def _arrow(type_: int, column: SelectedColumn) -> Any:
    """Return the type that a column has in Arrow; None where COPY's text does not tell."""
    arrow = columnar.pyarrow()
    if type_ == _NUMERIC:
        known = columnar.stored_type(column, "postgresql")
        return known if known is not None and arrow.types.is_decimal(known) else None
    if type_ in _INTEGERS:
        return getattr(arrow, _INTEGERS[type_])()
    if type_ in _FLOATS:
        return arrow.float64()
    exact = {
        _BOOL: arrow.bool_(),
        _BYTES: arrow.binary(),
        _DATE: arrow.date32(),
        _TIME: arrow.time64("us"),
        _TIMESTAMP: arrow.timestamp("us"),
        _TIMESTAMPTZ: arrow.timestamp("us", "UTC"),
    }
    return exact.get(type_, arrow.string())
