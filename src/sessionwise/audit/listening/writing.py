"""Writes what listeners have told, in the session's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessionwise.audit import transactions
from sessionwise.audit.along import Along
from sessionwise.audit.asking.recorded import check_tables
from sessionwise.audit.listening import savepoints
from sessionwise.audit.recording import journal
from sessionwise.audit.recording.work import work_of
from sessionwise.transaction import companion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Table
    from sqlalchemy.orm import Session

    from sessionwise.audit.listening.lines import Told

__all__ = ["write"]


def write(session: Session, told: Sequence[Told]) -> None:
    """Write what was told, each to the database that has its table."""
    by_table: dict[Table | None, list[Told]] = {}
    for one in told:
        by_table.setdefault(one.table, []).append(one)
    for table, some in by_table.items():
        bind = {} if table is None else {"clause": table}
        connection = session.connection(bind_arguments=bind)
        check_tables(connection)
        rows = [(one.at, one.line(connection.dialect)) for one in some]
        head = _head(session, connection)
        with work_of(connection).busy():
            journal.write_told(connection, head, rows)


def _head(session: Session, connection: Connection) -> int:
    """Return the id of the transaction's row, whoever else writes in it."""
    along = companion.of_session(session)
    if isinstance(along, Along):
        return along.head(connection)
    depth = savepoints.follow(connection)
    return transactions.head(connection, work_of(connection).heads, depth, has_triggers=False)
