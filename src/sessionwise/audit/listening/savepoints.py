"""How savepoints end on a connection whose session nobody goes along with.

SQLAlchemy's own event tells of it, whoever opens them: a session of either kind, which may have
joined a transaction of somebody else's, or the connection. It makes each statement that follows on
the connection dearer by some microseconds, so it is listened to when a listener first writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.sql.expression import (
    ReleaseSavepointClause,
    RollbackToSavepointClause,
    SavepointClause,
)

from sessionwise.audit.recording.work import work_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["follow"]

_FOLLOWED = "_sessionwise_audit_followed"


def follow(connection: Connection) -> int:
    """Have what stands in a connection's transactions told of their savepoints from now on.

    :returns: how many are open of those that were opened since.
    """
    if _FOLLOWED not in connection.__dict__:
        connection.__dict__[_FOLLOWED] = True
        event.listen(connection, "before_execute", _before_execute)
    return len(work_of(connection).opened)


def _before_execute(connection: Connection, statement: Any, *_about: Any) -> None:
    kind = type(statement)
    if kind is SavepointClause:
        work_of(connection).opened.append(statement.ident)
    elif kind is ReleaseSavepointClause or kind is RollbackToSavepointClause:
        _ended(connection, statement.ident, undone=kind is RollbackToSavepointClause)


def _ended(connection: Connection, name: str, *, undone: bool) -> None:
    work = work_of(connection)
    opened = work.opened
    is_known = name in opened
    del opened[opened.index(name) if is_known else 0 :]
    # One that was open before is around all that is known.
    depth = len(opened) if is_known or not undone else -1
    work.heads.savepoint_ended(depth, undone=undone)
