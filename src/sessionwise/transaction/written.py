"""Whose objects a statement on a connection concerns: they are told what it has written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from sessionwise.sql import constructs, expiry, internals
from sessionwise.sql.texts import writes_of_text
from sessionwise.sql.touched import EVERYTHING, NOTHING, Touched

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from sessionwise.transaction.activity import Activity

__all__ = ["follow", "note_anything", "note_undone", "serve"]

_SESSIONS = "_sessionwise_sessions"
"""Where a connection holds the sessions that it serves."""


def serve(connection: Connection, session: Session) -> None:
    """Tell a session from now on what is written on a connection."""
    connection.__dict__.setdefault(_SESSIONS, WeakSet()).add(session)


def follow(context: Any, statement: str, activity: Activity) -> None:
    """Expire what a statement may have changed, once it has been carried out."""
    sessions: WeakSet[Session] | None = context.root_connection.__dict__.get(_SESSIONS)
    if not sessions:
        return
    written = _written(context, statement)
    if not written.writes or "post_exec" in context.__dict__:  # sent in several parts
        return
    concerned = list(sessions)
    if any(map(internals.is_flushing, concerned)) and internals.is_sent_by_a_flush():
        concerned = [one for one in concerned if not internals.is_flushing(one)]
        if not concerned:
            return
    synchronized = len(concerned) == 1 and internals.is_synchronized(context)

    def post_exec() -> None:
        del context.post_exec
        context.post_exec()
        activity.note_written(written)
        for session in concerned:
            expiry.expire(session, written, synchronized=synchronized)

    # Not before: where the statement fails, what is loaded stays readable.
    context.post_exec = post_exec


def _written(context: Any, statement: str) -> Touched:
    compiled = context.compiled
    if compiled is not None and not (context.is_text or context.isddl):
        return constructs.written_by(compiled)
    if context.isddl and not hasattr(context.invoked_statement, "statement"):
        return NOTHING  # CREATE or DROP of what is in the metadata
    dialect = context.dialect
    return writes_of_text(statement, dialect.name, dialect.paramstyle)


def note_anything(connection: Connection, activity: Activity) -> None:
    """Take it that anything may have been written on a connection."""
    activity.note_written(EVERYTHING)
    _tell(connection, EVERYTHING)


def note_undone(connection: Connection, written: Touched) -> None:
    """Expire what was written in a savepoint that is rolled back: rows come back, and go again."""
    if written.writes:
        moved = written.inserts | written.deletes
        _tell(connection, replace(written, inserts=moved, deletes=moved))


def _tell(connection: Connection, written: Touched) -> None:
    for session in list(connection.__dict__.get(_SESSIONS, ())):
        expiry.expire(session, written)
