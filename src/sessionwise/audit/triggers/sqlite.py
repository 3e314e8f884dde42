"""SQLite: what makes its triggers, for each row, and what they share."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import text

from sessionwise.audit.triggers import sqlite_recording as recording
from sessionwise.audit.triggers import sqlite_replaced as replaced
from sessionwise.audit.triggers.artifact import Artifact
from sessionwise.audit.triggers.naming import PREFIX, comment, name_of, noted
from sessionwise.audit.triggers.sqlite_values import quote
from sessionwise.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from sessionwise.audit.coverage import Coverage, Covered
    from sessionwise.audit.triggers.artifact import Key

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

_CONTEXT = (
    "CREATE TABLE audit_context (id INTEGER PRIMARY KEY CHECK (id = 1), said TEXT NOT NULL, "
    "transaction_id INTEGER)"
)

_CATALOG = """
SELECT type, name, tbl_name, sql FROM sqlite_master
WHERE type = 'trigger' AND substr(name, 1, {length}) = '{prefix}'
OR type = 'table' AND name IN ('audit_context', '{replaced}') OR name = '{begin}'
"""


def shared(coverage: Coverage) -> Sequence[Artifact]:
    """Return the tables that triggers need, and what makes the row of a transaction."""
    return [
        _table("audit_context", _CONTEXT),
        _table(replaced.NAME, replaced.CREATE),
        _view(recording.BEGIN, "SELECT 1 AS is_needed WHERE 0"),
        _trigger("begin", recording.BEGIN, "INSTEAD OF INSERT", "", recording.begin()),
    ]


def of(covered: Covered, coverage: Coverage) -> Sequence[Artifact]:
    """Return the triggers of one table.

    :raises UnsupportedError: for a table of an attached database, whose triggers cannot write
      to the audit's, and for redacted columns: SQLite has no hash function.
    """
    _check(covered)
    events = [
        ("insert", "AFTER INSERT", "", recording.after_insert(covered)),
        ("update", "AFTER UPDATE", *recording.after_update(covered)),
        ("delete", "AFTER DELETE", "", recording.after_delete(covered)),
    ]
    if replaced.unique_columns(covered) - set(covered.columns):
        unrecorded = recording.after_unrecorded_update(covered)
        events.append(("unrecorded_update", "AFTER UPDATE", *unrecorded))
    if replaced.unique_columns(covered):
        events += [
            ("replace", "BEFORE INSERT", *replaced.before_insert(covered)),
            ("replace_by_update", "BEFORE UPDATE", *replaced.before_update(covered)),
        ]
    name, table = covered.name, covered.table.name
    return [_trigger(event, table, *about, serves=name) for event, *about in events]


def present(connection: Connection, coverage: Coverage) -> Mapping[Key, str | None]:
    """Return what the database has; None is the digest of what somebody has changed."""
    tables = {one.table.name.lower(): one.name for one in coverage}
    names = {"replaced": replaced.NAME, "begin": recording.BEGIN}
    catalog = _CATALOG.format(length=len(PREFIX), prefix=PREFIX, **names)
    found: dict[Key, str | None] = {}
    for kind, name, table, sql in connection.execute(text(catalog)):
        serves_one = kind == "trigger" and table != recording.BEGIN
        on = tables.get(table.lower(), table) if serves_one else None
        found[kind, name, on] = noted(sql)
    return found


def removal(key: Key) -> Sequence[str]:
    """Return what drops it."""
    kind, name, _ = key
    return [f"DROP {kind.upper()} IF EXISTS {quote(name)}"]


def before_backfill(covered: Covered) -> Sequence[str]:
    """Do nothing: nobody else writes in the meantime."""
    return []


def backfill(covered: Covered) -> str:
    """Return the INSERT that records the rows which have no record yet."""
    query = recording.backfill(covered, "TRANSACTION_ID")
    return re.sub(r":(?=\w)", r"\\:", query).replace("TRANSACTION_ID", ":transaction_id", 1)


def after_backfill(covered: Covered) -> Sequence[str]:
    """Do nothing."""
    return []


def cautions(coverage: Coverage) -> Iterable[str]:
    """Say what triggers do not see."""
    yield (
        "DROP TABLE is not recorded, and takes the triggers along, as does a migration that "
        "makes a table anew (Alembic's batch mode): install again after it"
    )
    yield (
        "what INSERT OR REPLACE deletes, by a client without PRAGMA recursive_triggers, is "
        "recorded for the primary and unique keys that the metadata has, not for those that "
        "only the database has"
    )
    yield (
        "older versions of SQLite refuse the changes of a client that sets PRAGMA trusted_schema "
        "= OFF: they could not be recorded"
    )


def _trigger(
    event: str, table: str, when: str, condition: str, body: str, *, serves: str | None = None
) -> Artifact:
    """Return a trigger.

    :param serves: the audited table that it is for; None where it serves all.
    """
    name = name_of(event, table)
    head = f"CREATE TRIGGER {quote(name)} {when} ON {quote(table)} FOR EACH ROW\n"
    head += f"WHEN {condition}\nBEGIN\n" if condition else "BEGIN\n"
    drop = f"DROP TRIGGER IF EXISTS {quote(name)}"
    artifact = Artifact("trigger", name, serves, f"{head}{body}END", (), (drop,))
    create = f"{head}{comment(artifact.digest)}{body}END"
    return replace(artifact, create=(drop, create))


def _table(name: str, body: str) -> Artifact:
    drop = f"DROP TABLE IF EXISTS {name}"
    artifact = Artifact("table", name, None, body, (), (drop,))
    create = body.replace("(", f"({comment(artifact.digest)}", 1)
    return replace(artifact, create=(drop, create))


def _view(name: str, query: str) -> Artifact:
    drop, head = f"DROP VIEW IF EXISTS {name}", f"CREATE VIEW {name} AS "
    artifact = Artifact("view", name, None, f"{head}{query}", (), (drop,))
    return replace(artifact, create=(drop, f"{head}{comment(artifact.digest)}{query}"))


def _check(covered: Covered) -> None:
    if covered.table.schema is not None:
        raise UnsupportedError(
            f"{covered.name} is a table of an attached database, and SQLite's triggers write only "
            'to their own. Leave it out by exclude=, or give Audit capture="session"'
        )
    if covered.redacted:
        column = f"{covered.name}.{sorted(covered.redacted)[0]}"
        raise UnsupportedError(
            f"{column} is redacted, and SQLite has no function to hash it in a trigger. Give "
            'Audit capture="session", or leave the column out by exclude='
        )
