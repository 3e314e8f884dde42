"""MariaDB: the bodies of the triggers that record.

Who is at work stands in ``@sessionwise_audit`` while a session writes. Where it is NULL, the
change is a raw client's, and there is a row of ``audit_transaction`` for each statement, known by
its time. The variable that refers to that row outlives a statement that fails, or a savepoint; so
the row is looked for each time.
"""

# ruff: noqa: S608 - these texts are SQL; names and strings in them are quoted

from __future__ import annotations

from typing import TYPE_CHECKING

from sessionwise.audit.triggers.mysql_ignored import unless_ignored
from sessionwise.audit.triggers.mysql_values import (
    NEW,
    OLD,
    Record,
    changed,
    changes,
    literal,
    of_table,
    quote,
)

if TYPE_CHECKING:
    from sessionwise.audit.coverage import Covered

__all__ = [
    "TRANSACTION",
    "after_delete",
    "after_insert",
    "after_update",
    "backfill",
    "record",
]

_SAID = "JSON_UNQUOTE(JSON_EXTRACT(@sessionwise_audit, '$.{}'))"

TRANSACTION = f"""\
IF NOT EXISTS (SELECT 1 FROM audit_transaction WHERE id = @sessionwise_audit_transaction)
  OR (@sessionwise_audit IS NULL AND NOT (@sessionwise_audit_stamp <=> CAST(NOW(6) AS CHAR)))
THEN
  INSERT INTO audit_transaction (at, actor, reason, request_id, context)
  VALUES (UTC_TIMESTAMP(6), {_SAID.format("actor")}, {_SAID.format("reason")},
    {_SAID.format("request_id")}, JSON_EXTRACT(@sessionwise_audit, '$.context'));
  SET @sessionwise_audit_transaction = LAST_INSERT_ID();
  SET @sessionwise_audit_stamp = CAST(NOW(6) AS CHAR);
END IF;
"""
"""Sees to it that the row of the transaction is there, and the variable refers to it."""

_RECORD = (
    "INSERT INTO audit_log (transaction_id, at, action, `table`, schema_version, object_id, "
    "previous_id, old, new)"
)


def after_insert(covered: Covered) -> str:
    """Return what records a new row."""
    new = Record(covered, NEW)
    action = "LINK" if covered.is_link else "INSERT"
    return TRANSACTION + _salt(new) + record(covered, action, new.key, new=new.row)


def after_update(covered: Covered) -> str:
    """Return what records a changed row, where what is recorded has changed."""
    old, new = Record(covered, OLD), Record(covered, NEW)
    conditions = [(column, changed(column)) for column in covered.columns]
    moved = " OR ".join(changed(column) for column in covered.key)
    recorded = record(
        covered,
        "UPDATE",
        new.key,
        previous_id=f"IF({moved}, {old.key}, NULL)",
        old=old.row,
        new=changes(new, conditions),
    )
    condition = "\n  OR ".join(one for _, one in conditions)
    body = TRANSACTION + _salt(old) + _salt(new) + recorded
    body = unless_ignored(covered.table, covered.key, covered.columns, body)
    return f"IF {condition} THEN\n{body}END IF;\n"


def after_delete(covered: Covered) -> str:
    """Return what records a deleted row."""
    old = Record(covered, OLD)
    action = "UNLINK" if covered.is_link else "DELETE"
    return TRANSACTION + _salt(old) + record(covered, action, old.key, old=old.row)


def backfill(covered: Covered) -> str:
    """Return the INSERT that records, as inserted, the rows which have no record yet."""
    row = Record(covered, of_table("r"))
    action = "LINK" if covered.is_link else "INSERT"
    values = [":transaction_id", *_common(covered, action)[1:], row.key, "NULL", "NULL", row.row]
    return (
        f"{_RECORD}\nSELECT {', '.join(values)}\nFROM {quote(covered.table.name)} AS r\n"
        "WHERE NOT EXISTS (SELECT 1 FROM audit_log AS known WHERE known.`table` = "
        f"{literal(covered.name)} AND known.object_id = {row.key})"
    )


def record(
    covered: Covered,
    action: str,
    object_id: str,
    *,
    previous_id: str = "NULL",
    old: str = "NULL",
    new: str = "NULL",
    rows: str = "",
) -> str:
    """Return the INSERT of a record.

    :param rows: what to select from, where one is made for each of several rows.
    """
    values = ",\n  ".join([*_common(covered, action), object_id, previous_id, old, new])
    return f"{_RECORD}\nSELECT {values}\n{rows};\n" if rows else f"{_RECORD}\nVALUES ({values});\n"


def _common(covered: Covered, action: str) -> list[str]:
    """Return the values of the first columns of a record."""
    return [
        "@sessionwise_audit_transaction",
        "UTC_TIMESTAMP(6)",
        *map(literal, (action, covered.name, covered.version)),
    ]


def _salt(row: Record) -> str:
    return f"{row.make_salt};\n" if row.make_salt else ""
