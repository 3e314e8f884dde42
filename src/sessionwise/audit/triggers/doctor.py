"""What is wrong with the audit of a database, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sqlalchemy import inspect

from sessionwise.audit.tables import METADATA
from sessionwise.audit.triggers.artifact import DISABLED
from sessionwise.audit.triggers.install import bodies_for, wanted
from sessionwise.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection

    from sessionwise.audit.coverage import Capture, Coverage
    from sessionwise.audit.triggers.artifact import Artifact, Key

__all__ = ["Finding", "examine"]

Fault = Literal["missing", "stale", "disabled", "left over", "missing table", "missing column"]

_INSTALL = "call audit.install"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it is to be."""

    kind: Fault
    """What is wrong with it."""
    what: str
    """What it is about, such as ``"trigger sessionwise_audit_insert"``."""
    table: str | None
    """The table that is not recorded as it is to be; None: all of them, or none."""
    step: str
    """What to do about it."""

    def __str__(self) -> str:
        at = f" of {self.table}" if self.table else ""
        return f"{self.kind}: {self.what}{at}; {self.step}"


def examine(connection: Connection, coverage: Coverage, capture: Capture) -> list[Finding]:
    """Compare what a database has with what it is to have."""
    coverage.check()
    return [*_tables(connection), *_triggers(connection, coverage, capture)]


def _tables(connection: Connection) -> Iterator[Finding]:
    inspector = inspect(connection)
    there = set(inspector.get_table_names())
    for table in METADATA.sorted_tables:
        if table.name not in there:
            yield Finding("missing table", f"table {table.name}", None, _INSTALL)
            continue
        columns = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in columns:
                add = f"add the column, which is {column.type!r}, by a migration"
                yield Finding("missing column", f"{table.name}.{column.name}", None, add)


def _triggers(connection: Connection, coverage: Coverage, capture: Capture) -> Iterator[Finding]:
    if capture == "session":
        yield from _in_the_way(connection, coverage)
        return
    bodies = bodies_for(connection.dialect.name)
    present = bodies.present(connection, coverage)
    artifacts = wanted(coverage, bodies, capture)
    for artifact in artifacts:
        kind = _fault(artifact, present)
        if kind is not None:
            yield Finding(kind, f"{artifact.kind} {artifact.name}", artifact.table, _INSTALL)
    known = {artifact.key for artifact in artifacts}
    for key in sorted(present.keys() - known, key=str):
        yield Finding("left over", f"{key[0]} {key[1]}", key[2], _INSTALL)


def _in_the_way(connection: Connection, coverage: Coverage) -> Iterator[Finding]:
    """Name the triggers of a database whose changes sessions are to record."""
    try:
        bodies = bodies_for(connection.dialect.name)
    except UnsupportedError:
        return
    for kind, name, table in sorted(bodies.present(connection, coverage), key=str):
        if kind == "trigger":
            yield Finding("left over", f"{kind} {name}", table, "call audit.uninstall")


def _fault(artifact: Artifact, present: Mapping[Key, str | None]) -> Fault | None:
    if artifact.key not in present:
        return "missing"
    digest = present[artifact.key]
    if digest == DISABLED:
        return "disabled"
    return None if digest == artifact.digest else "stale"
