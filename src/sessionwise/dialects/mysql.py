"""MariaDB and MySQL: a deadlock ends the whole transaction, whatever savepoint it happens in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessionwise.dialects.traits import Doom, Traits

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["MySQL"]

_DEADLOCK = 1213
_LOCK_WAIT_TIMEOUT = 1205
_ENDING_THE_TRANSACTION = frozenset({_DEADLOCK, 1180, 1047})
"""Deadlock or Galera's certification failure; error during COMMIT; node has lost its cluster."""

_SERVER_STATUS_IN_TRANS = 1


class MySQL(Traits):
    """MariaDB and MySQL by PyMySQL and aiomysql."""

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
        return _code(error) in {_DEADLOCK, _LOCK_WAIT_TIMEOUT, 1020} or super().is_transient(error)

    def set_statement_timeout(self, connection: Connection, seconds: float) -> None:
        """Set the time for this connection; the pool gets it back as it was, see ``unset``."""
        if connection.dialect.is_mariadb:  # type: ignore[attr-defined]
            connection.exec_driver_sql(f"SET max_statement_time = {seconds:.3f}")
        else:
            connection.exec_driver_sql(f"SET max_execution_time = {max(1, int(seconds * 1000))}")


def _code(error: BaseException) -> int | None:
    """Return the server's number for an error, which PyMySQL and aiomysql put first."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else None


def _in_transaction(driver_connection: Any) -> bool:
    """Read the flag that the server sends with each answer; where there is none, assume so."""
    status = getattr(driver_connection, "server_status", None)
    return status is None or bool(status & _SERVER_STATUS_IN_TRANS)
