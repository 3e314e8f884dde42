"""SQLite: the bodies of the triggers that record.

Who is at work stands in ``audit_context`` while a session writes. Where it is empty, the change is
a raw client's, and there is a row of ``audit_transaction`` for each statement: the time is the
same for all of one, and is all that tells it from the next.
"""

# ruff: noqa: S608 - these texts are SQL; names and strings in them are quoted

from __future__ import annotations

from typing import TYPE_CHECKING

from sessionwise.audit.triggers import sqlite_replaced as replaced
from sessionwise.audit.triggers.sqlite_values import (
    as_key,
    changed,
    changes,
    literal,
    quote,
    row,
)

if TYPE_CHECKING:
    from sessionwise.audit.coverage import Covered

__all__ = [
    "BEGIN",
    "after_delete",
    "after_insert",
    "after_unrecorded_update",
    "after_update",
    "backfill",
    "begin",
]

_NOW = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
"""The time of the statement, as SQLAlchemy stores it."""

BEGIN = "audit_begin"
"""The view into which triggers insert where the transaction may need its row."""

_TRANSACTION = (
    f"  INSERT INTO {BEGIN} SELECT 1\n"
    "  WHERE NOT EXISTS (SELECT 1 FROM audit_context WHERE transaction_id IS NOT NULL);\n"
)
"""To insert into the table itself, be it no row, makes each change dearer."""

_ITS_ID = (
    "coalesce((SELECT transaction_id FROM audit_context), (SELECT max(id) FROM audit_transaction))"
)

# An INSERT OR IGNORE of the application's has triggers ignore errors, too.
_CHECK = (
    "  SELECT RAISE(ABORT, 'sessionwise: the change cannot be recorded in audit_log') "
    "WHERE changes() <> 1;\n"
)

_RECORD = (
    'INSERT INTO audit_log (transaction_id, at, action, "table", schema_version, object_id, '
    "previous_id, old, new)"
)


def begin() -> str:
    """Return what makes the row of a transaction, instead of one of the view's."""
    return f"""\
  INSERT INTO audit_transaction (at, actor, reason, request_id, context)
  SELECT {_NOW}, json_extract(said, '$.actor'), json_extract(said, '$.reason'),
    json_extract(said, '$.request_id'), json_extract(said, '$.context')
  FROM audit_context
  UNION ALL SELECT {_NOW}, NULL, NULL, NULL, NULL
  WHERE NOT EXISTS (SELECT 1 FROM audit_context) AND NOT EXISTS (
    SELECT 1 FROM (SELECT * FROM audit_transaction ORDER BY id DESC LIMIT 1) AS last
    WHERE last.at = {_NOW} AND last.actor IS NULL AND last.reason IS NULL
    AND last.request_id IS NULL AND last.context IS NULL);
  UPDATE audit_context SET transaction_id = last_insert_rowid();
"""


def after_insert(covered: Covered) -> str:
    """Return what records a new row."""
    record = _record(
        covered, _came(covered), as_key(covered.key, "new"), new=row(covered.columns, "new")
    )
    return _TRANSACTION + _gone(covered, "INSERT") + record


def after_update(covered: Covered) -> tuple[str, str]:
    """Return what records a changed row, and when it does: where what is recorded has changed."""
    condition = " OR ".join(changed(column) for column in covered.columns)
    moved = " OR ".join(changed(column) for column in covered.key)
    record = _record(
        covered,
        "UPDATE",
        as_key(covered.key, "new"),
        previous_id=f"CASE WHEN {moved} THEN {as_key(covered.key, 'old')} END",
        old=row(covered.columns, "old"),
        new=changes(covered.columns),
    )
    return condition, _TRANSACTION + _gone(covered, "UPDATE") + record


def after_unrecorded_update(covered: Covered) -> tuple[str, str]:
    """Return what records the rows that a REPLACE has deleted for a column which is excluded."""
    condition = " OR ".join(changed(column) for column in covered.columns)
    return (
        f"NOT ({condition}) AND EXISTS (SELECT 1 FROM {replaced.recorded(covered, 'UPDATE')})",
        _TRANSACTION + _gone(covered, "UPDATE"),
    )


def after_delete(covered: Covered) -> str:
    """Return what records a deleted row."""
    key = as_key(covered.key, "old")
    record = _record(covered, _went(covered), key, old=row(covered.columns, "old"))
    forget = replaced.forget(covered, "DELETE") if replaced.unique_columns(covered) else ""
    return _TRANSACTION + record + forget


def backfill(covered: Covered, transaction_id: str) -> str:
    """Return the INSERT that records, as inserted, the rows which have no record yet."""
    key = as_key(covered.key, "r")
    values = [transaction_id, *_common(covered, _came(covered))[1:], key, "NULL", "NULL"]
    values.append(row(covered.columns, "r"))
    return (
        f"{_RECORD}\nSELECT {', '.join(values)}\nFROM {quote(covered.table.name)} AS r\n"
        'WHERE NOT EXISTS (SELECT 1 FROM audit_log AS known WHERE known."table" = '
        f"{literal(covered.name)} AND known.object_id IS {key})"
    )


def _gone(covered: Covered, event: str) -> str:
    """Record what a REPLACE has deleted without a word."""
    if not replaced.unique_columns(covered):
        return ""
    values = [*_common(covered, _went(covered)), "gone.object_id", "NULL", "gone.old", "NULL"]
    return (
        f"  {_RECORD}\n  SELECT {', '.join(values)}\n"
        f"  FROM {replaced.recorded(covered, event)};\n{replaced.forget(covered, event)}"
    )


def _record(
    covered: Covered,
    action: str,
    object_id: str,
    *,
    previous_id: str = "NULL",
    old: str = "NULL",
    new: str = "NULL",
) -> str:
    values = [*_common(covered, action), object_id, previous_id, old, new]
    return f"  {_RECORD}\n  VALUES (" + ",\n    ".join(values) + f");\n{_CHECK}"


def _common(covered: Covered, action: str) -> list[str]:
    """Return the values of the first columns of a record."""
    return [_ITS_ID, _NOW, literal(action), literal(covered.name), literal(covered.version)]


def _came(covered: Covered) -> str:
    return "LINK" if covered.is_link else "INSERT"


def _went(covered: Covered) -> str:
    return "UNLINK" if covered.is_link else "DELETE"
