"""Writes what listeners have told, in the session's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ref

from sqlalchemy import JSON, insert, select

from sessionwise.audit import transactions
from sessionwise.audit.asking.recorded import check_tables
from sessionwise.audit.context import current
from sessionwise.audit.recording.forms import as_json
from sessionwise.audit.tables import LOG, TRANSACTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Table
    from sqlalchemy.orm import Session, SessionTransaction

    from sessionwise.audit.context import Actor
    from sessionwise.audit.listening.lines import Told

__all__ = ["Writer"]


@dataclass
class _Head:
    """A row of ``audit_transaction``."""

    root: ref[SessionTransaction]
    actor: Actor
    id: int


class Writer:
    """Writes the lines of a session; what they share is written once for a transaction."""

    def __init__(self) -> None:
        self._head: _Head | None = None
        self.is_shaken = False
        """Whether something was rolled back, which may have been the row of the transaction."""

    def write(self, session: Session, told: Sequence[Told]) -> None:
        """Write what was told, each to the database that has its table."""
        by_table: dict[Table | None, list[Told]] = {}
        for one in told:
            by_table.setdefault(one.table, []).append(one)
        for table, some in by_table.items():
            bind = {} if table is None else {"clause": table}
            connection = session.connection(bind_arguments=bind)
            check_tables(connection)
            shared = {"transaction_id": self._head_of(session, connection)}
            rows = [
                _stored(connection, {**shared, **one.line(connection.dialect)}) for one in some
            ]
            connection.execute(insert(LOG), rows)

    def _head_of(self, session: Session, connection: Connection) -> int:
        root: Any = session.get_transaction()
        actor, known = current(), self._head
        is_known = known is not None and known.root() is root and known.actor == actor
        if known is None or not is_known or (self.is_shaken and not _is_there(connection, known)):
            known = self._head = _Head(ref(root), actor, transactions.add(connection, actor))
        self.is_shaken = False
        return known.id


def _is_there(connection: Connection, head: _Head) -> bool:
    query = select(TRANSACTION.c.id).where(TRANSACTION.c.id == head.id)
    return connection.scalar(query) is not None


def _stored(connection: Connection, values: dict[str, Any]) -> dict[str, Any]:
    """Return values as the columns take them: moments without zone, JSON as text, where it is."""
    dialect = connection.dialect
    is_json = isinstance(LOG.c.old.type.dialect_impl(dialect), JSON)
    stored = dict(values)
    if dialect.name != "postgresql":
        stored["at"] = stored["at"].replace(tzinfo=None)
    for name in ("old", "new"):
        if stored.get(name) is not None and not is_json:
            stored[name] = as_json(stored[name])
    return stored
