"""SQLite: savepoints that belong to a transaction.

Python's driver begins a transaction before INSERT, UPDATE and DELETE, not before SAVEPOINT. A
savepoint that comes first is then itself the outermost transaction: to release it commits, and the
rollback that follows has nothing to undo. The mend is a BEGIN before such a savepoint.
Source: https://www.sqlite.org/lang_savepoint.html, "Transaction Nesting Rules".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["register", "unregister"]


def register(engine: Engine) -> None:
    """Mend the savepoints of one engine; a second call changes nothing."""
    event.listen(engine, "savepoint", _begin_first)


def unregister(engine: Engine) -> None:
    """Undo :func:`register`."""
    event.remove(engine, "savepoint", _begin_first)


def _begin_first(connection: Connection, _name: str | None) -> None:
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction and not _autocommits(driver):
        connection.exec_driver_sql(f"BEGIN {driver.isolation_level}".rstrip())


def _autocommits(driver: Any) -> bool:
    """Say whether the driver was told not to begin transactions; what was asked for stays."""
    # Python 3.12 added ``autocommit``: True, False, or -1 for what ``isolation_level`` says.
    autocommit: int = getattr(driver, "autocommit", -1)
    return autocommit == 1 or driver.isolation_level is None
