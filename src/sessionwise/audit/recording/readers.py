"""What is known of the tables of an audit, in each kind of database."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from sessionwise.audit.coverage import Covered, full_name
from sessionwise.audit.recording.cascaded import Edges
from sessionwise.audit.recording.reading import Reader

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect, Table

    from sessionwise.audit.audit import Audit
    from sessionwise.audit.recording.work import Work
    from sessionwise.audit.triggers.installed import Captures

__all__ = ["Readers"]


class Readers:
    """Reads the tables of an audit, and those from which changes spread to them."""

    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self.edges = Edges(audit.coverage)
        self._known: WeakKeyDictionary[Dialect, dict[Table, Reader | None]] = WeakKeyDictionary()

    def of(self, connection: Connection, table: Table) -> Reader | None:
        """Return what reads the rows of a table; None where nothing of it is to be recorded."""
        known = self._known.setdefault(connection.dialect, {})
        if table not in known:
            known[table] = self._find(connection, table)
        return known[table]

    def records(self, covered: Covered, work: Work) -> bool:
        """Say whether the session is to record a table."""
        return work.captures is not None and covered.name in work.captures.session

    def concerns(self, table: Table, captures: Captures) -> bool:
        """Say whether what is written to a table is to be recorded, there or where it spreads."""
        covered = self.audit.coverage.of(table)
        if covered is not None and covered.name in captures.session:
            return True
        reached = self.edges.reached(table)
        return bool(reached) and not reached.isdisjoint(captures.session)

    def recorded(self, table: Table, work: Work) -> set[str]:
        """Return what the session records of a table, and of those that change along with it."""
        if work.captures is None:
            return set()
        return {full_name(table), *self.edges.reached(table)} & work.captures.session

    def _find(self, connection: Connection, table: Table) -> Reader | None:
        covered = self.audit.coverage.of(table)
        if covered is None and self.edges.reached(table):
            covered = Covered(table, tuple(table.primary_key.columns), frozenset())
        if covered is None or not covered.key:
            return None
        return Reader(covered, connection.dialect)
