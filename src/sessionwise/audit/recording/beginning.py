"""A transaction that writes begins before the rows are read: nobody may change them in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessionwise.transaction import activity

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["begin_to_write"]


def begin_to_write(connection: Connection) -> None:
    """Begin the transaction that Python's SQLite driver begins with the first write only.

    Other databases have begun one, and lock the rows that are read.
    """
    if connection.dialect.name != "sqlite" or activity.autocommits(connection):
        return
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction and driver.isolation_level is not None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
