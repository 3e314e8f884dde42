"""Technique 12: the connection of the session's transaction, and the driver's cursor on it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sessionwise.transaction import activity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

__all__ = ["cursor"]


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
    except connection.dialect.loaded_dbapi.Error as error:
        activity.note_error(connection, error)
        raise
    finally:
        driver_cursor.close()
