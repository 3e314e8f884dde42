"""What goes along with a session's transactions: the audit, which writes into them.

A session has at most one companion; a connection has that of the session which used it last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from sessionwise.sql.touched import Touched

__all__ = ["Companion", "follow", "give", "leave", "of", "of_session"]

_ATTRIBUTE = "_sessionwise_companion"


class Companion(Protocol):
    """What is told of a connection's transaction as it goes on; what it raises stops that."""

    def begins(self, session: Session, connection: Connection) -> None:
        """Note a connection that a unit of the session has got."""

    def before_write(
        self, connection: Connection, statement: str, context: Any, written: Touched | None
    ) -> bool:
        """Hear of a statement that may write and is about to be sent.

        A query that calls functions which may write is one of them.

        :param context: SQLAlchemy's execution context; None where a driver sends it by itself.
        :param written: what it writes, where the context does not say.
        :returns: whether another statement has been sent in its place.
        """

    def savepoint_ended(self, connection: Connection, depth: int, *, undone: bool) -> None:
        """Note that a savepoint was released or undone; so many are around what comes next."""

    def before_commit(self, session: Session, connection: Connection) -> None:
        """Write what is left: all is flushed, and COMMIT is next, if the unit began it."""


def give(session: Session, companion: Companion) -> None:
    """Give a session its companion."""
    session.__dict__[_ATTRIBUTE] = companion


def of_session(session: Session) -> Companion | None:
    """Return the companion of a session."""
    companion: Companion | None = session.__dict__.get(_ATTRIBUTE)
    return companion


def follow(session: Session, connection: Connection) -> None:
    """Have a connection's transaction accompanied, as the session is."""
    companion = of_session(session)
    if companion is not None:
        connection.__dict__[_ATTRIBUTE] = companion
        companion.begins(session, connection)
    else:
        leave(connection)


def of(connection: Connection) -> Companion | None:
    """Return the companion of a connection's transaction."""
    companion: Companion | None = connection.__dict__.get(_ATTRIBUTE)
    return companion


def leave(connection: Connection) -> None:
    """Leave a connection: what is sent on it from now on is not the session's."""
    connection.__dict__.pop(_ATTRIBUTE, None)
