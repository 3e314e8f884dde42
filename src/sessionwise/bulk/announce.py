"""What bulk verbs are about to write, and what they have written, is said here, in one place.

The audit listens; so may others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from sessionwise.bulk.reading.rows import Chunk
    from sessionwise.bulk.target import Target

__all__ = ["Announcement", "announce", "is_heard", "listen", "unlisten"]

Kind = Literal["insert", "upsert", "update", "copy"]

_ATTRIBUTE = "_sessionwise_bulk_listeners"


@dataclass(frozen=True)
class Announcement:
    """Rows that a bulk verb is about to write, or has written."""

    session: Session
    connection: Connection
    target: Target
    kind: Kind
    done: bool
    """Whether they have been written; before that, everything may still fail."""
    chunk: Chunk | None = None
    """The rows; None where they are bytes that nobody reads."""
    ids: Sequence[Any] | None = None
    """The primary keys of the rows, as tuples, where they are known."""


def listen(session: Session, listener: Callable[[Announcement], object]) -> None:
    """Have a function called before and after each chunk that a bulk verb of a session writes."""
    session.__dict__.setdefault(_ATTRIBUTE, []).append(listener)


def unlisten(session: Session, listener: Callable[[Announcement], object]) -> None:
    """Undo :func:`listen`."""
    session.__dict__[_ATTRIBUTE].remove(listener)


def announce(announcement: Announcement) -> None:
    """Tell the listeners of the session; what they raise stops the write."""
    for listener in announcement.session.__dict__.get(_ATTRIBUTE, ()):
        listener(announcement)


def is_heard(session: Session) -> bool:
    """Say whether anybody listens."""
    return bool(session.__dict__.get(_ATTRIBUTE))
