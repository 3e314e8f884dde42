"""What a database, a driver or a type says against a row: of which kind that is, and of what.

Whatever is not about the row that is written is no fault of it: a deadlock, a lost connection, a
table that is not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError, StatementError

from sessionwise.dialects.traits import sqlstate
from sessionwise.errors import BulkInputError, TooManyRejectsError

if TYPE_CHECKING:
    from sessionwise.bulk.result import Kind

__all__ = ["Fault", "fault_of"]


@dataclass(frozen=True)
class Fault:
    """Why a row cannot be stored."""

    kind: Kind
    constraint: str | None
    column: str | None
    message: str


def fault_of(error: BaseException, dialect: str) -> Fault | None:
    """Return what an error says against the row that was written; None where it is not about it.

    :param dialect: the name of the dialect.
    """
    if isinstance(error, BulkInputError):
        return _of_input(error)
    if isinstance(error, DBAPIError):
        lost = error.connection_invalidated or error.orig is None
        return None if lost else _of_driver(error.orig, dialect)
    if isinstance(error, StatementError):
        return Fault("value", None, None, _line(error.orig or error))
    if isinstance(error, (ValueError, TypeError, OverflowError)):
        # A driver's own, for what it has no form for: psycopg2 raises ValueError for a NUL.
        return Fault("value", None, None, _line(error))
    return None


def _of_input(error: BulkInputError) -> Fault | None:
    if isinstance(error, TooManyRejectsError):
        return None
    # Without a position: the table has left out rows by itself, and they were to be stored.
    kind: Kind = "database" if error.position is None else "value"
    return Fault(kind, None, None, error.problem or _line(error))


def _of_driver(error: Any, dialect: str) -> Fault | None:
    if dialect in _DRIVERS:
        return _DRIVERS[dialect](error)
    if _is_a(error, "IntegrityError"):
        return Fault("database", None, None, _line(error))
    return Fault("value", None, None, _line(error)) if _is_a(error, "DataError") else None


_POSTGRESQL: dict[str, Kind] = {
    "23502": "not null",
    "23503": "foreign key",
    "23505": "unique",
    "23514": "check",
    "23P01": "exclusion",
    "44000": "check",  # WITH CHECK OPTION
    "P0001": "database",  # RAISE EXCEPTION
    "42804": "value",
    "42846": "value",  # a value of another type, which does not become one of this
}
"""Source: https://www.postgresql.org/docs/current/errcodes-appendix.html"""

_CANCELED = "57014"
_UNREADABLE = "error in .read() call: UnicodeEncodeError"
"""By psycopg2, where COPY finds text that has no bytes."""

_POSTGRESQL_KEY = re.compile(r"Key \(([^()]+)\)=")


def _of_postgresql(error: BaseException) -> Fault | None:
    state = sqlstate(error)
    if state == _CANCELED and _UNREADABLE in str(error):
        return Fault("value", None, None, _line(error))
    if state is None:
        # Found by the driver, before anything was sent.
        is_value = (
            _is_a(error, "DataError")
            or "can't adapt" in str(error)
            or ("cannot adapt" in str(error) or "invalid input for query argument" in str(error))
        )
        return Fault("value", None, None, _line(error)) if is_value else None
    kind = _POSTGRESQL.get(state)
    if kind is None and state[:2] in {"22", "23"}:
        kind = "value" if state[:2] == "22" else "database"
    if kind is None:
        return None
    told = _diagnostics(error)
    message = _line(error)
    if told.get("detail") and kind in {"unique", "foreign key", "exclusion"}:
        message = f"{message}: {_one_line(told['detail'])}"
    columns = _POSTGRESQL_KEY.match(told.get("detail", ""))
    column = columns[1] if columns else None
    return Fault(kind, told.get("constraint_name"), told.get("column_name", column), message)


def _diagnostics(error: BaseException) -> dict[str, str]:
    """Return what the server says beside the message, by the drivers' own names for it."""
    found: dict[str, str] = {}
    for source in (getattr(error, "diag", None), error, error.__cause__):
        for name in ("constraint_name", "column_name", "detail", "message_detail"):
            value = getattr(source, name, None)
            if isinstance(value, str) and value:
                found.setdefault(name.removeprefix("message_"), value)
    return found


_SQLITE: dict[str, Kind] = {
    "SQLITE_CONSTRAINT_CHECK": "check",
    "SQLITE_CONSTRAINT_DATATYPE": "value",
    "SQLITE_CONSTRAINT_FOREIGNKEY": "foreign key",
    "SQLITE_CONSTRAINT_NOTNULL": "not null",
    "SQLITE_CONSTRAINT_PRIMARYKEY": "unique",
    "SQLITE_CONSTRAINT_ROWID": "unique",
    "SQLITE_CONSTRAINT_UNIQUE": "unique",
    "SQLITE_MISMATCH": "value",
    "SQLITE_TOOBIG": "value",
}
"""Source: https://www.sqlite.org/rescode.html"""

_OF_A_COLUMN = re.compile(r"^(?:NOT NULL|UNIQUE) constraint failed: (?!index ')(.+)$")
_OF_AN_INDEX = re.compile(r"^UNIQUE constraint failed: index '(.+)'$")
_OF_A_CHECK = re.compile(r"^CHECK constraint failed: (.+)$", re.S)


def _of_sqlite(error: BaseException) -> Fault | None:
    message = _line(error)
    kind = _SQLITE.get(getattr(error, "sqlite_errorname", ""))
    if kind is None:
        if _is_a(error, "IntegrityError"):
            kind = "database"
        elif _is_a(error, "DataError") or "binding parameter" in message:
            kind = "value"
        else:
            return None
    constraint = column = None
    if found := _OF_A_COLUMN.match(str(error)):
        column = ", ".join(one.split(".", 1)[-1] for one in found[1].split(", "))
    elif found := _OF_AN_INDEX.match(str(error)) or _OF_A_CHECK.match(str(error)):
        constraint = _one_line(found[1])
    return Fault(kind, constraint, column, message)


_MYSQL: dict[int, Kind] = {
    **dict.fromkeys((1048, 1138, 1263, 1364), "not null"),
    **dict.fromkeys((1022, 1062, 1169, 1586), "unique"),
    **dict.fromkeys((1216, 1217, 1451, 1452, 1557, 1761, 1762), "foreign key"),
    **dict.fromkeys((1369, 3819, 4025), "check"),
    **dict.fromkeys((1264, 1265, 1292, 1300, 1365, 1366, 1367, 1406, 1411, 1416), "value"),
    **dict.fromkeys((1441, 1525, 1690, 3140, 3141, 4078, 4079), "value"),
    **dict.fromkeys((1526, 1644), "database"),  # no partition for it; SIGNAL
}
"""Source: https://mariadb.com/docs/server/reference/error-codes/mariadb-error-code-reference"""

_MYSQL_COLUMN = re.compile(
    r"(?:[Cc]olumn|Field) [`'](?:[^`']+`\.`[^`']+`\.`)?([^`']+)[`']|FOREIGN KEY \(`([^`]+)`\)"
)
_MYSQL_CONSTRAINT = re.compile(
    r"CONSTRAINT `((?:[^`]+`\.`)?[^`]+)`|for key '(?:[^']+\.)?([^'.]+)'"
    r"|[Cc]heck constraint '([^']+)'"
)


def _of_mysql(error: BaseException) -> Fault | None:
    code: Any = error.args[0] if error.args else None
    kind = _MYSQL.get(code)
    if kind is None:
        if _is_a(error, "IntegrityError"):
            kind = "database"
        elif _is_a(error, "DataError") or "can not be used with MySQL" in str(error):
            kind = "value"
        else:
            return None
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    column, constraint = _first(_MYSQL_COLUMN, text), _first(_MYSQL_CONSTRAINT, text)
    return Fault(kind, constraint, column, _one_line(text))


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return None if found is None else next(one for one in found.groups() if one is not None)


def _is_a(error: BaseException, name: str) -> bool:
    """Say whether a driver's error is of a class of PEP 249: each driver has its own."""
    return any(one.__name__ == name for one in type(error).__mro__)


def _line(error: BaseException) -> str:
    return _one_line(str(error)) or type(error).__name__


def _one_line(text: str) -> str:
    return " ".join(_BEYOND.split(text, maxsplit=1)[0].split())


_BEYOND = re.compile(r"\n(?:CONTEXT|DETAIL|HINT|LINE \d+):")
"""What comes after the message, in lines of its own."""

_DRIVERS = {
    "mariadb": _of_mysql,
    "mysql": _of_mysql,
    "postgresql": _of_postgresql,
    "sqlite": _of_sqlite,
}
