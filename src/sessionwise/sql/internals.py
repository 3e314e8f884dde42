"""What SQLAlchemy keeps to itself about statements and flushes: all of it is read here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.orm import InstanceState, Session

__all__ = ["follow_changes", "is_flushing", "is_of_a_flush", "is_synchronized"]


def follow_changes(session: Session, modified: set[InstanceState[Any]]) -> None:
    """Have the session's identity map hold its changed objects in a set that tells of them."""
    for state in session.identity_map._modified:
        modified.add(state)
    session.identity_map._modified = modified


def is_flushing(session: Session) -> bool:
    """Say whether a flush is running."""
    return session._flushing


def is_of_a_flush(context: Any) -> bool:
    """Say whether a statement looks like one of a flush: it is compiled for its mapper.

    Listeners that run in a flush send others.
    """
    return "compiled_cache" in context.execution_options


def is_synchronized(context: Any) -> bool:
    """Say whether SQLAlchemy brings the objects of a session in line with a bulk UPDATE or DELETE.

    With ``synchronize_session=False`` a caller has asked that nobody does.
    """
    return "_sa_orm_update_options" in context.execution_options
