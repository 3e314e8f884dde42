"""Technique 12: the connection of the session's transaction, and the driver's cursor on it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sessionwise import dialects
from sessionwise.errors import LateIsolationError, LockTimeoutError
from sessionwise.sql.touched import EVERYTHING
from sessionwise.transaction import activity, companion, internals, written
from sessionwise.transaction.waiting import pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

__all__ = ["advisory_lock", "cursor", "get"]

_PAUSE = 0.05
"""Seconds between two tries for a lock that somebody else holds."""


def get(
    session: Session,
    connect: Callable[..., Connection],
    bind_arguments: dict[str, Any] | None,
    execution_options: Mapping[str, Any] | None,
) -> Connection:
    """Return the session's connection; refuse an isolation level that comes too late."""
    level = (execution_options or {}).get("isolation_level")
    if level is not None:
        arguments = dict(bind_arguments or {})
        bind = arguments.pop("bind", None) or session.get_bind(**arguments)
        root = session.get_transaction()
        if root is not None and internals.has_bind(root, bind):
            raise LateIsolationError.for_level(level)
    return connect(bind_arguments, execution_options)


def advisory_lock(session: Session, key: int | str, timeout: float | None) -> None:
    """Take a lock that ends with the unit of work."""
    connection = session.connection()
    traits = dialects.of(connection.dialect)
    until = None if timeout is None else time.monotonic() + timeout
    while not traits.take_lock(connection, key, wait=until is None):
        if until is None or time.monotonic() >= until:
            raise LockTimeoutError.after(key, timeout or 0)
        pause(connection.dialect, _PAUSE)


@contextmanager
def cursor(session: Session, **bind_arguments: Any) -> Iterator[Any]:
    """Flush, then give the driver's cursor on the connection of the session's transaction.

    At the end of the block all objects are expired, but for changes that are not flushed.

    :param bind_arguments: as in ``Session.get_bind``, for a session with several engines.
    """
    session.flush()
    connection = session.connection(bind_arguments=bind_arguments)
    # What the driver is told cannot be seen from here: take it for a write of anything.
    if (along := companion.of(connection)) is not None:
        along.before_write(connection, "", None, EVERYTHING)
    activity.of(connection).writes += 1
    driver_cursor = connection.connection.cursor()
    try:
        yield driver_cursor
    except connection.dialect.loaded_dbapi.Error as error:
        activity.note_error(connection, error)
        raise
    finally:
        driver_cursor.close()
        written.note_anything(connection, activity.of(connection))
