"""MariaDB and MySQL: a deadlock ends the whole transaction, whatever savepoint it happens in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from sessionwise.dialects.traits import Doom, Traits, isolation_level

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

__all__ = ["MySQL"]

_DEADLOCK = 1213
_LOCK_WAIT_TIMEOUT = 1205
_CHANGED_SINCE_READ = 1020
_NO_AUTO_INCREMENT = 1467
"""A deadlock over the lock of AUTO_INCREMENT comes as this."""
_NO_SAVEPOINT = 1305
_ENDING_THE_TRANSACTION = frozenset({_DEADLOCK, 1180, 1047})
"""Deadlock or Galera's certification failure; error during COMMIT; node has lost its cluster."""

_SERVER_STATUS_IN_TRANS = 1

_LOCKED = "sessionwise_locked"
"""Where a pooled connection notes that it may hold advisory locks."""

_LONGEST_NAME = 128
"""Hexadecimal digits of the 64 characters that a lock's name may have."""

_FOR_EVER = 365 * 24 * 3600

_TIMEOUT = "sessionwise_timeout"
"""Where a pooled connection notes which timeout has been set on it."""


class MySQL(Traits):
    """MariaDB and MySQL by PyMySQL and aiomysql."""

    def engine_options(self, url: URL) -> dict[str, Any]:
        """READ COMMITTED, as on PostgreSQL: a refresh sees what others have committed."""
        return {"isolation_level": "READ COMMITTED", "pool_pre_ping": True}

    def configure(self, engine: Engine) -> None:
        """Take back a timeout that the last unit on a connection has set."""
        event.listen(engine, "checkout", _take_back_timeout)

    def begin(self, connection: Connection, *, read_only: bool) -> None:
        """Let the server refuse what a unit that only reads would write."""
        if read_only:
            connection.exec_driver_sql("START TRANSACTION READ ONLY")

    def is_writable(self, connection: Connection) -> bool:
        """Ask for the configuration: that of a replica says no."""
        return not connection.exec_driver_sql("SELECT @@read_only").scalar()

    def snapshot(self, connection: Connection, writes: int) -> str | None:
        """REPEATABLE READ, the server's default; SERIALIZABLE locks what it reads instead."""
        level = isolation_level(connection)
        return level if level == "REPEATABLE READ" else None

    def doom(self, error: BaseException, driver_connection: Any, *, begun: bool) -> Doom | None:
        """1205 ends the statement only, unless ``innodb_rollback_on_timeout`` is on."""
        code = _code(error)
        if code in _ENDING_THE_TRANSACTION:
            return Doom.TRANSACTION
        if code == _LOCK_WAIT_TIMEOUT and not _in_transaction(driver_connection):
            return Doom.TRANSACTION
        return None

    def is_transient(self, error: BaseException) -> bool:
        """Deadlock, certification failure, and a lock that was not given in time."""
        known = {_DEADLOCK, _LOCK_WAIT_TIMEOUT, _CHANGED_SINCE_READ, _NO_AUTO_INCREMENT}
        return _code(error) in known or super().is_transient(error)

    def has_lost_savepoint(self, error: BaseException) -> bool:
        """Recognize what follows a deadlock, which has rolled back savepoints, too."""
        return _code(error) == _NO_SAVEPOINT

    def take_lock(self, connection: Connection, key: int | str, *, wait: bool) -> bool:
        """Take ``GET_LOCK``: it is the connection's, and ends when the pool has that back."""
        if not event.contains(connection.engine, "checkin", _release_locks):
            event.listen(connection.engine, "checkin", _release_locks)
        connection.info[_LOCKED] = True
        name = str(key).encode().hex()[:_LONGEST_NAME]
        statement = f"SELECT GET_LOCK(X'{name}', {_FOR_EVER if wait else 0})"
        return connection.exec_driver_sql(statement).scalar() == 1

    def set_lock_timeout(self, connection: Connection, *, seconds: int) -> None:
        """Set ``innodb_lock_wait_timeout`` for this connection."""
        connection.exec_driver_sql(f"SET innodb_lock_wait_timeout = {seconds}")

    def set_statement_timeout(self, connection: Connection, seconds: float) -> None:
        """Set it for the connection: there is none for a transaction."""
        name, value = "max_execution_time", f"{max(1, int(seconds * 1000))}"
        if connection.dialect.is_mariadb:  # type: ignore[attr-defined]
            name, value = "max_statement_time", f"{seconds:.3f}"
        connection.exec_driver_sql(f"SET {name} = {value}")
        connection.info[_TIMEOUT] = name


def _release_locks(driver_connection: Any, record: Any) -> None:
    if driver_connection is not None and record.info.pop(_LOCKED, False):
        cursor = driver_connection.cursor()
        cursor.execute("DO RELEASE_ALL_LOCKS()")
        cursor.close()


def _take_back_timeout(driver_connection: Any, record: Any, _proxy: Any) -> None:
    name = record.info.pop(_TIMEOUT, None)
    if name is not None:
        cursor = driver_connection.cursor()
        cursor.execute(f"SET {name} = DEFAULT")
        cursor.close()


def _code(error: BaseException) -> int | None:
    """Return the server's number for an error, which PyMySQL and aiomysql put first."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else None


def _in_transaction(driver_connection: Any) -> bool:
    """Read the flag that the server sends with each answer; where there is none, assume so."""
    status = getattr(driver_connection, "server_status", None)
    return status is None or bool(status & _SERVER_STATUS_IN_TRANS)
