"""Technique 12: the connection of the session's transaction, and the driver's cursor on it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from sessionwise.dialects import sqlite
from sessionwise.transaction import activity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

__all__ = ["adopt", "cursor", "release"]


def adopt(engine: Engine) -> None:
    """Attach to an engine what sessions need of it; once attached, a second call changes nothing.

    Other engines are untouched. :func:`release` takes all of it away again.
    """
    if not isinstance(engine, Engine):
        return  # a stand-in for an engine, in somebody's tests
    activity.register(engine)
    if engine.dialect.name == "sqlite":
        sqlite.register(engine)


def release(engine: Engine) -> None:
    """Undo :func:`adopt`."""
    activity.unregister(engine)
    if engine.dialect.name == "sqlite":
        sqlite.unregister(engine)


@contextmanager
def cursor(session: Session, **bind_arguments: Any) -> Iterator[Any]:
    """Flush, then give the driver's cursor on the connection of the session's transaction.

    :param bind_arguments: as in ``Session.get_bind``, for a session with several engines.
    """
    session.flush()
    connection = session.connection(bind_arguments=bind_arguments)
    # What the driver is told cannot be seen from here: take it for a write.
    activity.of(connection).writes += 1
    driver_cursor = connection.connection.cursor()
    try:
        yield driver_cursor
    finally:
        driver_cursor.close()
