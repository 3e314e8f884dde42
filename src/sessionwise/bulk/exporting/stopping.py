"""Stopping a query before all of its rows are read, so that its transaction can go on."""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, CursorResult

__all__ = ["by_another", "left_early"]

_READS_ON = frozenset({"mysql", "mariadb"})
"""Whose drivers read all the rows that are left before they close a query."""


def by_another(connection: Connection, statement: str) -> None:
    """Send a statement to the server while a connection is busy.

    :raises DBAPIError: where another connection cannot be had; also the driver's own errors.
    """
    # The engine's own pool may have no more to give.
    pool = connection.engine.pool.recreate()
    try:
        with closing(pool.connect()) as other:
            other.cursor().execute(statement)
    finally:
        pool.dispose()


@contextmanager
def left_early(connection: Connection, cursor: CursorResult[Any]) -> Iterator[None]:
    """Stop a query where an error ends the block before all rows are read."""
    try:
        yield
    except BaseException:
        if connection.dialect.name in _READS_ON and not connection.invalidated:
            # That it was stopped is an error; where it cannot be, it is closed as drivers do.
            with suppress(DBAPIError, connection.dialect.loaded_dbapi.Error):
                _stop(connection, cursor)
        raise


def _stop(connection: Connection, cursor: CursorResult[Any]) -> None:
    driver: Any = connection.connection.driver_connection
    if cursor.cursor is None or not hasattr(driver, "thread_id"):  # all is read, or nobody knows
        return
    by_another(connection, f"KILL QUERY {int(driver.thread_id())}")
    while cursor.cursor is not None:  # what is on its way
        cursor.fetchmany(1_000)
