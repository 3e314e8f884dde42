"""What bulk verbs are about to write, and what they have written, is said here, in one place.

The audit listens; so may others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Column, Connection
    from sqlalchemy.orm import Session

    from sessionwise.bulk.reading.rows import Chunk
    from sessionwise.bulk.target import Target

__all__ = [
    "Announcement",
    "announce",
    "ids_are_wanted",
    "is_heard",
    "listen",
    "unlisten",
    "want_ids",
]

Kind = Literal["insert", "upsert", "update", "copy"]

_ATTRIBUTE = "_sessionwise_bulk_listeners"
_ASKED = "_sessionwise_bulk_wants_ids"


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
    keys: Sequence[Column[Any]] = ()
    """The columns that rows are known by, where some of them may be there already."""


def listen(
    session: Session,
    listener: Callable[[Announcement], object],
    *,
    wants: Callable[[Connection, Target], bool] | None = None,
) -> None:
    """Have a function called before and after each chunk that a bulk verb of a session writes.

    :param wants: which targets it is about; None: all. Rows that nobody wants are not kept.
    """
    session.__dict__.setdefault(_ATTRIBUTE, []).append((listener, wants))


def unlisten(session: Session, listener: Callable[[Announcement], object]) -> None:
    """Undo :func:`listen`."""
    listeners = session.__dict__[_ATTRIBUTE]
    listeners.remove(next(one for one in listeners if one[0] == listener))


def want_ids(session: Session, asked: Callable[[Connection, Target], bool]) -> None:
    """Have the primary keys of new rows found out, and said, where a function says so."""
    session.__dict__.setdefault(_ASKED, []).append(asked)


def ids_are_wanted(session: Session, connection: Connection, target: Target) -> bool:
    """Say whether anybody wants to know the primary keys of new rows."""
    return any(asked(connection, target) for asked in session.__dict__.get(_ASKED, ()))


def announce(announcement: Announcement) -> None:
    """Tell the listeners of the session; what they raise stops the write."""
    for listener, wants in announcement.session.__dict__.get(_ATTRIBUTE, ()):
        if wants is None or wants(announcement.connection, announcement.target):
            listener(announcement)


def is_heard(session: Session, connection: Connection, target: Target) -> bool:
    """Say whether anybody listens to what is written to a target."""
    return any(
        wants is None or wants(connection, target)
        for _, wants in session.__dict__.get(_ATTRIBUTE, ())
    )
