"""PostgreSQL: what records there, functions and triggers for each table.

INSERT, UPDATE and DELETE are recorded once for a statement, from its transition tables. Those of
an UPDATE hold the old and the new rows in the same order: they are paired by their position, so
that a changed primary key is seen, and in time that grows with the rows. A partitioned table gets
row triggers: its partitions, also those to come, have them too, and are written by their own
names. The functions run with their owner's rights: nobody else needs any on the audit's tables.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from sqlalchemy import text

from sessionwise.audit.triggers import postgresql_sql as sql
from sessionwise.audit.triggers.artifact import DISABLED, MARK, Artifact, Key, digest
from sessionwise.audit.triggers.postgresql_values import (
    HOME,
    changed,
    difference,
    identity,
    literal,
    quote,
    row,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Table

    from sessionwise.audit.coverage import Coverage, Covered

__all__ = [
    "after_backfill",
    "backfill",
    "before_backfill",
    "cautions",
    "of",
    "present",
    "removal",
    "shared",
]

_PREFIX = "sessionwise_audit_"
_READABLE = 24
"""How much of a table's name is in that of its functions, which has 63 bytes at most."""

_EVENTS = {
    "insert": ("AFTER INSERT", "REFERENCING NEW TABLE AS new_rows"),
    "update": ("AFTER UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
    "delete": ("AFTER DELETE", "REFERENCING OLD TABLE AS old_rows"),
    "truncate": ("BEFORE TRUNCATE", ""),
}


def shared(coverage: Coverage) -> Sequence[Artifact]:
    """Return the functions that those of the tables call."""
    return [
        _function("sessionwise_audit_transaction", sql.ADD_TRANSACTION),
        _function("sessionwise_audit_hash", sql.HASH, arguments="text, text, text"),
        _function("sessionwise_audit_json", sql.JSON, arguments="text"),
    ]


def of(covered: Covered, coverage: Coverage) -> Sequence[Artifact]:
    """Return a table's two functions and four triggers."""
    name = _function_name(covered.name)
    changes = sql.TRIGGER_FUNCTION.format(name=name, body=_changes(covered))
    emptying = sql.TRIGGER_FUNCTION.format(name=f"{name}_t", body=_truncation(covered))
    return [
        _function(name, changes, table=covered.name),
        _function(f"{name}_t", emptying, table=covered.name),
        _trigger(covered, "insert", name),
        _trigger(covered, "update", name),
        _trigger(covered, "delete", name),
        _trigger(covered, "truncate", f"{name}_t"),
    ]


def present(connection: Connection, coverage: Coverage) -> Mapping[Key, str | None]:
    """Read the catalogs: what begins with our prefix, and the comments on it."""
    names = {covered.name for covered in coverage}
    found: dict[Key, str | None] = {}
    for kind, name, schema, table, is_visible, is_off, comment in connection.execute(
        text(sql.PRESENT)
    ):
        of = None if kind == "function" else _audit_name(names, schema, table, is_visible)
        said = re.fullmatch(MARK + "([0-9a-f]+)", comment or "")
        found[kind, name, of] = DISABLED if is_off else said and said[1]
    return found


def removal(key: Key) -> Sequence[str]:
    """Drop a trigger, or a function beside the audit's tables."""
    kind, name, table = key
    if kind == "function":
        return [sql.DROP_FUNCTION.format(name=literal(name))]
    return [sql.DROP_TRIGGER.format(name=literal(name), table=literal(table or ""))]


def before_backfill(covered: Covered) -> Sequence[str]:
    """Keep writers out: what they have changed is committed then, and in the snapshot."""
    return [
        f"LOCK TABLE {_identifier(covered.table)} IN SHARE ROW EXCLUSIVE MODE",
        sql.BEFORE_BACKFILL,
    ]


def backfill(covered: Covered) -> str:
    """Record what the table has and the log has not."""
    # The column's own collation may find different keys equal.
    object_id = f'{identity(covered.key, "r")} COLLATE "C"'
    missing = f"""NOT EXISTS (
 SELECT FROM audit_log AS l
  WHERE l."table" = {literal(covered.name)} AND l.object_id = {object_id})"""
    insert = _insert(
        covered,
        "LINK" if covered.is_link else "INSERT",
        new="r",
        rows=f"{_identifier(covered.table)} AS r",
        where=missing,
        transaction="@transaction_id@",
    )
    insert = insert.replace(f"{HOME}.", "").replace(":", "\\:")
    return insert.replace("@transaction_id@", ":transaction_id")


def after_backfill(covered: Covered) -> Sequence[str]:
    """Set the settings as they were."""
    return [sql.AFTER_BACKFILL]


def cautions(coverage: Coverage) -> Iterable[str]:
    """Say what PostgreSQL tells no trigger, or not a statement's."""
    yield (
        "rows that logical replication brings in are recorded in partitioned tables only: "
        "audit the others where they come from"
    )
    yield "TRUNCATE of a partition by its own name is not recorded; of its table it is"
    yield "what DDL does to rows, such as DROP TABLE or ALTER TABLE ... USING, is not recorded"


def _changes(covered: Covered) -> str:
    """Return what a table's trigger function does, for statements and for rows."""
    link, unlink = ("LINK", "UNLINK") if covered.is_link else ("INSERT", "DELETE")
    rows_differ = changed(covered, "OLD", "NEW")
    pairs = _insert(
        covered,
        "UPDATE",
        old="o",
        new="n",
        rows=sql.PAIRS,
        where=changed(covered, "o", "n"),
        transaction=sql.TRANSACTION_OF_PAIR,
    )
    branches = [
        ("INSERT", "STATEMENT", _insert(covered, link, new="n", rows="new_rows AS n")),
        ("DELETE", "STATEMENT", _insert(covered, unlink, old="o", rows="old_rows AS o")),
        ("UPDATE", "STATEMENT", pairs),
        ("INSERT", "ROW", _insert(covered, link, new="NEW")),
        ("DELETE", "ROW", _insert(covered, unlink, old="OLD")),
        ("UPDATE", "ROW", _insert(covered, "UPDATE", old="OLD", new="NEW", where=rows_differ)),
    ]
    lines = [
        f"IF TG_OP = '{event}' AND TG_LEVEL = '{level}' THEN\n    {insert};\n"
        for event, level, insert in branches
    ]
    return "  " + "  ELS".join(lines) + "  END IF;"


def _truncation(covered: Covered) -> str:
    """Return what the function of TRUNCATE does: the rows are read while they are there."""
    insert = _insert(covered, "TRUNCATE", old="o", rows="@sessionwise_rows@ AS o")
    return sql.TRUNCATION.format(insert=insert)


def _insert(
    covered: Covered,
    action: str,
    *,
    old: str | None = None,
    new: str | None = None,
    rows: str | None = None,
    where: str | None = None,
    transaction: str = sql.TRANSACTION,
) -> str:
    """Return the INSERT of one action.

    :param old: what the row before is called; ``new``: the one after.
    :param rows: what is recorded from; none: the row of a row trigger.
    """
    object_id = identity(covered.key, new or old or "")
    old_id = identity(covered.key, old) if old else "NULL"
    before = row(covered, old, old_id) if old else "NULL"
    after = row(covered, new, object_id) if new else "NULL"
    previous = "NULL"
    if old and new:
        after = difference(covered, old, new, object_id)
        previous = f'nullif({old_id} COLLATE "C", {object_id})'
    source = f"\n    FROM {rows}" if rows else ""
    condition = f"\n   WHERE {where}" if where else ""
    return sql.INSERT.format(
        transaction=transaction,
        action=literal(action),
        table=literal(covered.name),
        object_id=object_id,
        previous=previous,
        old=before,
        new=after,
        version=literal(covered.version),
        rows=source + condition,
    )


def _function(name: str, body: str, *, arguments: str = "", table: str | None = None) -> Artifact:
    create = sql.CREATE_FUNCTION.format(
        create=body, signature=f"{name}({arguments})", comment=MARK + digest(body)
    )
    return Artifact(
        "function", name, table, body, [create], [sql.DROP_FUNCTION.format(name=literal(name))]
    )


def _trigger(covered: Covered, event: str, function: str) -> Artifact:
    name, table = f"{_PREFIX}{event}", _identifier(covered.table)
    when, tables = _EVENTS[event]
    for_rows = "STATEMENT" if event == "truncate" else "ROW"
    body = (
        f"{name} ON {table} {when} {tables} FOR EACH STATEMENT, OR {for_rows} IF PARTITIONED, "
        f"EXECUTE {function}"
    )
    create = sql.CREATE_TRIGGER.format(
        name=name,
        table=table,
        event=when,
        otherwise=f"{tables} FOR EACH STATEMENT",
        if_partitioned=f"FOR EACH {for_rows}",
        function=function,
        comment=MARK + digest(body),
    )
    drop = f"DROP TRIGGER IF EXISTS {name} ON {table}"
    return Artifact("trigger", name, covered.name, body, [create], [drop])


def _function_name(table: str) -> str:
    readable = re.sub(r"[^a-z0-9]+", "_", table.lower())[:_READABLE]
    return f"{_PREFIX}{readable}_{hashlib.sha256(table.encode()).hexdigest()[:8]}"


def _identifier(table: Table) -> str:
    return (
        quote(table.name) if table.schema is None else f"{quote(table.schema)}.{quote(table.name)}"
    )


def _audit_name(names: set[str], schema: str, table: str, is_visible: bool) -> str:
    """Return how the audit calls a table of the catalog."""
    full = f"{schema}.{table}"
    return table if is_visible and full not in names else full
