"""Whose objects a statement on a connection concerns: they are told what it has written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import ref

from sessionwise.sql import constructs, expiry, internals
from sessionwise.sql.texts import writes_of_text
from sessionwise.sql.touched import EVERYTHING, NOTHING, Touched

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from sessionwise.transaction.activity import Activity

__all__ = ["follow", "may_write", "note_anything", "note_undone", "serve", "tell"]

_Sessions = tuple["ref[Session]", ...]

_SESSIONS = "_sessionwise_sessions"
"""Where a connection holds the sessions that it serves."""


def serve(connection: Connection, session: Session) -> None:
    """Tell a session from now on what is written on a connection."""
    known: _Sessions = connection.__dict__.get(_SESSIONS, ())
    alive = tuple(one for one in known if one() not in {None, session})
    connection.__dict__[_SESSIONS] = (*alive, ref(session))


def _served(connection: Connection) -> list[Session]:
    known: _Sessions = connection.__dict__.get(_SESSIONS, ())
    return [session for session in (one() for one in known) if session is not None]


def follow(context: Any, statement: str, activity: Activity) -> None:
    """Expire what a statement may have changed, once it has been carried out."""
    # Runs once per statement: most are queries, and most of the others a flush's.
    known: _Sessions | None = context.root_connection.__dict__.get(_SESSIONS)
    if known is None or (
        len(known) == 1 and internals.is_sent_by_the_flush_of(context, known[0]())
    ):
        return
    written = _written(context, statement)
    if written is NOTHING or not written.writes:
        return
    sessions = [
        one
        for one in _served(context.root_connection)
        if not internals.is_sent_by_the_flush_of(context, one)
    ]
    if sessions and "post_exec" not in context.__dict__:  # it may be sent in several parts
        _expire_afterwards(context, written, sessions, activity)


def _expire_afterwards(
    context: Any, written: Touched, sessions: list[Session], activity: Activity
) -> None:
    """Expire when the statement has been carried out: where it fails, all stays readable."""
    synchronized = len(sessions) == 1 and internals.is_synchronized(context)

    def post_exec() -> None:
        del context.post_exec
        context.post_exec()
        activity.note_written(written)
        for session in sessions:
            expiry.expire(session, written, synchronized=synchronized)

    context.post_exec = post_exec


def may_write(context: Any, statement: str) -> bool:
    """Say whether a statement that looks like a query may write: by what it calls, or WITH."""
    return _written(context, statement).writes


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
    tell(connection, EVERYTHING)


def note_undone(connection: Connection, written: Touched) -> None:
    """Expire what was written in a savepoint that is rolled back: rows come back, and go again."""
    if written.writes:
        moved = written.inserts | written.deletes
        tell(connection, replace(written, inserts=moved, deletes=moved))


def tell(connection: Connection, written: Touched) -> None:
    """Expire what has been written on a connection."""
    for session in _served(connection):
        expiry.expire(session, written)
