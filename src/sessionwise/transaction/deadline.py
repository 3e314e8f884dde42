"""The time that a unit of work may take: checked before each statement, and set on the server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sessionwise import dialects
from sessionwise.errors import DeadlineExceededError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["check", "start"]

_ATTRIBUTE = "_sessionwise_deadline"


def start(connection: Connection, seconds: float) -> None:
    """Let what is sent on a connection take so long from now, in all.

    :param connection: one that the unit has for itself: the deadline goes when it is closed.
    """
    connection.__dict__[_ATTRIBUTE] = (time.monotonic() + seconds, seconds)
    dialects.of(connection.dialect).set_statement_timeout(connection, seconds)


def check(connection: Connection) -> None:
    """Raise DeadlineExceededError where the time is up."""
    deadline = connection.__dict__.get(_ATTRIBUTE)
    if deadline is not None and time.monotonic() > deadline[0]:
        raise DeadlineExceededError.after(deadline[1])
