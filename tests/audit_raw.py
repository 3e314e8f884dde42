"""The audit by triggers, without sessions: what is recorded of raw clients, and its replay."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table, text

from sessionwise.audit.coverage import Coverage
from sessionwise.audit.tables import METADATA
from sessionwise.audit.triggers.install import bodies_for, send


@dataclass(frozen=True)
class Logged:
    """A row of ``audit_log``."""

    action: str
    table: str
    object_id: str | None
    old: Any
    new: Any
    previous_id: str | None
    transaction_id: int


def create(engine: Engine, metadata: MetaData, **options: Any) -> Coverage:
    """Make the tables of a metadata, the audit's, and the triggers; others stay as they are."""
    coverage = Coverage(metadata, **options)
    bodies = bodies_for(engine.dialect.name)
    metadata.create_all(engine)
    METADATA.create_all(engine)
    with engine.begin() as connection:
        for artifact in bodies.shared(coverage):
            send(connection, artifact.create)
        for covered in coverage:
            for artifact in bodies.of(covered, coverage):
                send(connection, artifact.create)
    return coverage


def clear(engine: Engine) -> None:
    """Forget what is recorded."""
    METADATA.create_all(engine)
    with engine.begin() as connection:
        for table in METADATA.sorted_tables:
            connection.execute(table.delete())


LOG = (
    "SELECT action, {quoted}, object_id, old, new, previous_id, transaction_id "
    "FROM audit_log ORDER BY id"
)


def log(connection: Connection) -> list[Logged]:
    """Return what is recorded, in its order."""
    quoted = connection.dialect.identifier_preparer.quote_identifier("table")
    found = connection.execute(text(LOG.format(quoted=quoted)))
    return [
        Logged(action, name, key, old and json.loads(old), new and json.loads(new), before, number)
        for action, name, key, old, new, before, number in found
    ]


def brief(records: Iterable[Logged]) -> list[tuple[str, str, str | None]]:
    """Return what has happened to which rows."""
    return [(one.action, one.table, one.object_id) for one in records]


def replay(records: Iterable[Logged]) -> dict[str, dict[str | None, Any]]:
    """Return the rows that there are by what is recorded; each change must fit those before."""
    tables: dict[str, dict[str | None, Any]] = {}
    for one in records:
        rows = tables.setdefault(one.table, {})
        if one.action in {"INSERT", "LINK"}:
            assert one.old is None
            assert one.object_id not in rows, f"{one} is there already"
            rows[one.object_id] = one.new
            continue
        before = rows.pop(one.previous_id or one.object_id)
        assert before == one.old, f"{one} was {before}"
        if one.action == "UPDATE":
            assert one.object_id not in rows, f"{one} takes the place of another"
            assert any(one.old[name] != value for name, value in one.new.items())
            rows[one.object_id] = {**before, **one.new}
        else:
            assert one.action in {"DELETE", "UNLINK"}
            assert one.new is None
    return tables


def rows(connection: Connection, table: Table) -> list[dict[str, Any]]:
    """Return the rows that there are, as they are stored."""
    name = connection.dialect.identifier_preparer.format_table(table)
    return [dict(one) for one in connection.execute(text(f"SELECT * FROM {name}")).mappings()]


def in_order(found: Iterable[Any]) -> list[Any]:
    return sorted(found, key=repr)
