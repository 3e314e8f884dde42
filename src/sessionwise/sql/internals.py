"""What SQLAlchemy keeps to itself about statements and flushes: all of it is read here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

    from sqlalchemy.orm import InstanceState, Session

__all__ = ["follow_changes", "is_flushing", "is_sent_by_the_flush_of", "is_synchronized"]


def follow_changes(session: Session, modified: set[InstanceState[Any]]) -> None:
    """Have the session's identity map hold its changed objects in a set that tells of them."""
    for state in session.identity_map._modified:
        modified.add(state)
    session.identity_map._modified = modified


def is_flushing(session: Session) -> bool:
    """Say whether a flush is running."""
    return session._flushing


def is_sent_by_the_flush_of(context: Any, session: Session | None) -> bool:
    """Say whether the statement that is being sent is one of the flush of a session.

    Listeners that run in a flush send others.
    """
    if session is None or not session._flushing:
        return False
    # One that is compiled for its mapper is the flush's; rows of secondary tables are not.
    return "compiled_cache" in context.execution_options or _is_in_a_flush()


def _is_in_a_flush() -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module: str = frame.f_globals.get("__name__", "")
        if module in _FLUSH:
            return True
        if not module.startswith(_ON_THE_WAY):
            return False
        frame = frame.f_back
    return False


_FLUSH = frozenset({"sqlalchemy.orm.persistence", "sqlalchemy.orm.dependency"})
_ON_THE_WAY = ("sqlalchemy.engine.", "sqlalchemy.sql.", "sqlalchemy.event.", "sessionwise.")


def is_synchronized(context: Any) -> bool:
    """Say whether SQLAlchemy brings the objects of a session in line with a bulk UPDATE or DELETE.

    With ``synchronize_session=False`` a caller has asked that nobody does.
    """
    return "_sa_orm_update_options" in context.execution_options
