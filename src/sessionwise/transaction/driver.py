"""What is sent by the driver itself, past SQLAlchemy, and is to be known all the same."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from sessionwise.transaction import activity, companion, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from sessionwise.sql.touched import Touched

__all__ = ["as_sqlalchemy", "sending"]


@contextmanager
def sending(connection: Connection, touched: Touched) -> Iterator[Any]:
    """Give the driver's connection for one statement, which is counted, checked and followed.

    The transaction must have begun: drivers begin it with the first statement of SQLAlchemy's.

    :param touched: what the statement writes.
    :raises TransactionDoomedError: where nothing more is to be sent.
    :raises DBAPIError: for the driver's own errors, as SQLAlchemy would.
    """
    activity.check(connection)
    if touched.writes and (along := companion.of(connection)) is not None:
        along.before_write(connection, "", None, touched)
    current = activity.of(connection)
    current.statements += 1
    current.writes += touched.writes
    try:
        yield connection.connection.driver_connection
    except connection.dialect.loaded_dbapi.Error as error:
        activity.note_error(connection, error)
        found = as_sqlalchemy(connection, error)
        if isinstance(found, DBAPIError) and found.connection_invalidated:
            connection.invalidate(error)
        raise found from error
    except BaseException as error:
        if not isinstance(error, Exception) and not connection.closed:
            # What interrupts it leaves an answer unread, which would be the next statement's.
            connection.invalidate(error)
        raise
    current.note_written(touched)
    written.tell(connection, touched)


def as_sqlalchemy(connection: Connection, error: BaseException) -> BaseException:
    """Return SQLAlchemy's error for a driver's own."""
    dialect = connection.dialect
    known: Any = error
    lost = dialect.is_disconnect(known, connection.connection, None)
    return DBAPIError.instance(
        None,
        None,
        error,
        dialect.loaded_dbapi.Error,
        connection_invalidated=lost,
        dialect=dialect,
    )
