"""SQLite: savepoints that belong to a transaction.

Python's driver begins a transaction before INSERT, UPDATE and DELETE, not before SAVEPOINT. A
savepoint that comes first is then itself the outermost transaction: to release it commits, and the
rollback that follows has nothing to undo. The mend is a BEGIN before such a savepoint.
Source: https://www.sqlite.org/lang_savepoint.html, "Transaction Nesting Rules".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from sessionwise.dialects.traits import Doom, Traits

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

__all__ = ["SQLite"]

_METHOD = "do_savepoint"

_READER = "sessionwise_reader"
"""Where a pooled connection notes the transaction that has begun to read, not to write."""

_SECONDS_TO_WAIT = 30
"""How long a writer waits for another one to end."""


class SQLite(Traits):
    """SQLite by the standard library's driver and aiosqlite."""

    sees_the_newest = "begin to write before you read, as Database.transaction() does"
    locks_rows = False

    def engine_options(self, url: URL) -> dict[str, Any]:
        """Have the first write begin a transaction that can write, and wait for its turn."""
        return {"connect_args": {"isolation_level": "IMMEDIATE", "timeout": _SECONDS_TO_WAIT}}

    def configure(self, engine: Engine) -> None:
        """Check foreign keys; readers and the writer of a file do not wait for one another."""
        event.listen(engine, "connect", _on_connect)

    def begin(self, connection: Connection, *, read_only: bool) -> None:
        """Begin as a writer, so that what is read is still true when it is written."""
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
        root = connection.get_transaction()
        connection.info[_READER] = ref(root) if read_only and root is not None else None

    def is_writable(self, connection: Connection) -> bool:
        """Begin to write, and do not."""
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except DBAPIError as error:
            if error.orig is None or "READONLY" not in (_name(error.orig) or ""):
                raise
            return False
        connection.rollback()
        return True

    def adopt(self, engine: Engine) -> None:
        """Mend the savepoints of one engine; a second call changes nothing.

        The engine's own dialect object gets a ``do_savepoint`` that comes before its class's: the
        "savepoint" event would make every statement of the engine slower, and an event that comes
        later would write the BEGIN into the log after the savepoint.
        """
        if _METHOD in engine.dialect.__dict__:
            return
        do_savepoint = engine.dialect.do_savepoint

        def begin_and_do_savepoint(connection: Connection, name: str) -> None:
            _begin(connection)
            do_savepoint(connection, name)

        engine.dialect.__dict__[_METHOD] = begin_and_do_savepoint

    def release(self, engine: Engine) -> None:
        """Undo :meth:`adopt`."""
        engine.dialect.__dict__.pop(_METHOD, None)

    def snapshot(self, connection: Connection, writes: int) -> str | None:
        """Say so of a transaction that only reads, in a file that others may write meanwhile."""
        driver: Any = connection.connection.driver_connection
        if writes or not driver.in_transaction:
            return None
        reader = connection.info.get(_READER)
        begun_to_read = reader is not None and reader() is connection.get_transaction()
        writes_at_once = driver.isolation_level in {"IMMEDIATE", "EXCLUSIVE"}
        if writes_at_once and not begun_to_read:
            return None
        journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        return "SQLite WAL" if journal == "wal" else None

    def doom(self, error: BaseException, driver_connection: Any, *, begun: bool) -> Doom | None:
        """BUSY_SNAPSHOT leaves a transaction that cannot write; some errors end it altogether.

        Source: https://www.sqlite.org/lang_transaction.html, "Response To Errors Within A
        Transaction".
        """
        ended = begun and not driver_connection.in_transaction
        return Doom.TRANSACTION if ended or _name(error) == "SQLITE_BUSY_SNAPSHOT" else None

    def is_transient(self, error: BaseException) -> bool:
        """Somebody else writes, or has written since this transaction began to read."""
        return (_name(error) or "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _on_connect(driver_connection: Any, _record: Any) -> None:
    cursor = driver_connection.cursor()
    for pragma in ("foreign_keys = ON", "journal_mode = WAL", "synchronous = NORMAL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _name(error: BaseException) -> str | None:
    name: str | None = getattr(error, "sqlite_errorname", None)
    return name


def _begin(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction and not _autocommits(driver):
        connection.exec_driver_sql(f"BEGIN {driver.isolation_level}".rstrip())


def _autocommits(driver: Any) -> bool:
    """Say whether the driver was told not to begin transactions; what was asked for stays."""
    # Python 3.12 added ``autocommit``: True, False, or -1 for what ``isolation_level`` says.
    autocommit: int = getattr(driver, "autocommit", -1)
    return autocommit == 1 or driver.isolation_level is None
