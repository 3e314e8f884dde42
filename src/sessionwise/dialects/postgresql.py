"""PostgreSQL: an error aborts the transaction, and a transaction has a name to ask for."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from sessionwise.dialects.traits import (
    Doom,
    Receipt,
    Resolution,
    Traits,
    isolation_level,
    sqlstate,
)
from sessionwise.errors import UnsupportedError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

__all__ = ["PostgreSQL"]

_IN_ERROR = 3
"""libpq's ``PQTRANS_INERROR``; psycopg and psycopg2 both give the number."""

_SERVER = """
SELECT system_identifier::text, (SELECT timeline_id FROM pg_control_checkpoint()),
       pg_is_in_recovery()
  FROM pg_control_system()
"""
_ASSIGNED = "SELECT pg_current_xact_id_if_assigned()::text"
_STATUS = "SELECT pg_xact_status(CAST('{}' AS xid8))"

_RESOLUTIONS = {
    "committed": Resolution.COMMITTED,
    "aborted": Resolution.ROLLED_BACK,
    "in progress": Resolution.IN_PROGRESS,
}


def _application_name(driver: str) -> dict[str, Any]:
    name = {"application_name": "sessionwise"}
    return {"server_settings": name} if driver == "asyncpg" else name


def _number(key: int | str) -> int:
    """Return the 64 bits by which PostgreSQL knows a lock."""
    if isinstance(key, int):
        return key
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), signed=True)


def _is_of_server(error: BaseException) -> bool:
    """Say whether asyncpg was told of an error, or found it itself before it sent anything."""
    told = error.__cause__ or error
    return sqlstate(told) is not None and getattr(told, "severity", None) is not None


class PostgreSQL(Traits):
    """PostgreSQL by psycopg, psycopg2 and asyncpg."""

    looks_at_status = True

    def engine_options(self, url: URL) -> dict[str, Any]:
        """Name the application, and see that a pooled connection still lives."""
        options: dict[str, Any] = {"pool_pre_ping": True}
        if "application_name" not in url.query:
            options["connect_args"] = _application_name(url.get_driver_name())
        return options

    def begin(self, connection: Connection, *, read_only: bool) -> None:
        """Let the server refuse what a unit that only reads would write."""
        if read_only:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")

    def is_writable(self, connection: Connection) -> bool:
        """Ask what a transaction may do: on a standby, and where it is so configured, read."""
        return connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "off"

    def is_aborted(self, driver_connection: Any) -> bool:
        """Look at what libpq knows; asyncpg does not tell, its errors do."""
        info = getattr(driver_connection, "info", None)
        return info is not None and info.transaction_status == _IN_ERROR

    def snapshot(self, connection: Connection, writes: int) -> str | None:
        """REPEATABLE READ and SERIALIZABLE read the state of their first statement."""
        level = isolation_level(connection)
        return level if level in {"REPEATABLE READ", "SERIALIZABLE"} else None

    def doom(self, error: BaseException, driver_connection: Any, *, begun: bool) -> Doom | None:
        """Any error that the server reports aborts what is since the innermost savepoint."""
        if hasattr(driver_connection, "info"):
            return Doom.SAVEPOINT if self.is_aborted(driver_connection) else None
        in_transaction = getattr(driver_connection, "is_in_transaction", None)
        if in_transaction is not None and not in_transaction():
            return None
        return Doom.SAVEPOINT if _is_of_server(error) else None

    def take_receipt(self, connection: Connection) -> Receipt | None:
        """Take the transaction's id: a round trip, and another the first time on a connection."""
        transaction = connection.exec_driver_sql(_ASSIGNED).scalar()
        return None if transaction is None else Receipt(transaction, self._server(connection))

    def resolve(self, connection: Connection, receipt: Receipt) -> Resolution:
        """Ask for the status; another server, another history of it, or a standby cannot say."""
        *server, is_standby = connection.exec_driver_sql(_SERVER).one()
        if is_standby or tuple(server) != receipt.server:
            return Resolution.UNKNOWN
        status = connection.exec_driver_sql(_STATUS.format(int(receipt.transaction))).scalar()
        return _RESOLUTIONS.get(status or "", Resolution.UNKNOWN)

    def _server(self, connection: Connection) -> tuple[Any, ...]:
        known: tuple[Any, ...] | None = connection.info.get("sessionwise_server")
        if known is None:
            *server, _is_standby = connection.exec_driver_sql(_SERVER).one()
            known = connection.info["sessionwise_server"] = tuple(server)
        return known

    def take_lock(self, connection: Connection, key: int | str, *, wait: bool) -> bool:
        """Take ``pg_advisory_xact_lock``; on a standby it would be had, and protect nothing."""
        function = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
        statement = f"SELECT {function}({_number(key)}), pg_is_in_recovery()"
        taken, is_standby = connection.exec_driver_sql(statement).one()
        if is_standby:
            raise UnsupportedError.on("a standby", "advisory locks")
        return wait or bool(taken)

    def set_lock_timeout(self, connection: Connection, *, seconds: int) -> None:
        """Set ``lock_timeout`` for this transaction."""
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{seconds}s'")

    def set_statement_timeout(self, connection: Connection, seconds: float) -> None:
        """Set ``statement_timeout`` for this transaction only."""
        milliseconds = max(1, int(seconds * 1000))
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")
