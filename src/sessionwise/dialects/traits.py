"""The protocol: what the session asks of a database, and what holds for one we do not know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from sessionwise.errors import UnsupportedError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

__all__ = ["Doom", "Receipt", "Resolution", "Traits", "isolation_level", "sqlstate"]


class Doom(Enum):
    """How much of a transaction an error has ended."""

    SAVEPOINT = "savepoint"
    """All since the innermost savepoint: to roll that back mends it."""
    TRANSACTION = "transaction"
    """All of it: nothing short of the root's rollback mends it."""


class Resolution(Enum):
    """What a receipt says about a COMMIT whose reply was lost."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    IN_PROGRESS = "in progress"
    """The server has not noticed yet that the client is gone: ask again."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is taken before COMMIT to ask afterwards how it ended."""

    transaction: str
    """The database's own name for the transaction."""
    server: tuple[Any, ...]
    """Which server, and which of its histories, the name belongs to."""


class Traits:
    """A database that we know nothing special about."""

    looks_at_status = False
    """Whether ``is_aborted`` says something: it is asked before each statement."""

    sees_the_newest = "use with_for_update=True, or isolation='READ COMMITTED'"
    """What to do for the newest rows in a transaction that reads a snapshot."""

    locks_rows = True
    """Whether ``FOR UPDATE`` locks; otherwise a transaction that may write keeps others out."""

    def engine_options(self, url: URL) -> dict[str, Any]:
        """Return what ``Database`` passes to ``create_engine``, where it is not told otherwise."""
        return {}

    def configure(self, engine: Engine) -> None:
        """Set up an engine of ``Database``'s own."""

    def begin(self, connection: Connection, *, read_only: bool) -> None:
        """Begin a unit of ``Database``'s own, where the driver does not do it rightly."""

    def is_writable(self, connection: Connection) -> bool:
        """Ask whether the database can be written, and change nothing."""
        connection.execute(select(1))
        return True

    def adopt(self, engine: Engine) -> None:
        """Attach to an engine what this database needs; a second call changes nothing."""

    def release(self, engine: Engine) -> None:
        """Undo ``adopt``."""

    def is_aborted(self, driver_connection: Any) -> bool:
        """Say whether the driver knows that the server has given the transaction up."""
        return False

    def doom(self, error: BaseException, driver_connection: Any, *, begun: bool) -> Doom | None:
        """Say what a driver's error has ended, besides its own statement.

        :param begun: whether the transaction had written, or opened a savepoint, before.
        """
        return None

    def is_transient(self, error: BaseException) -> bool:
        """Say whether the same unit may succeed when it is run again."""
        return sqlstate(error) in {"40001", "40P01"}

    def has_lost_savepoint(self, error: BaseException) -> bool:
        """Say whether a savepoint was gone already when it was to be rolled back to."""
        return False

    def snapshot(self, connection: Connection, writes: int) -> str | None:
        """Return the isolation level, where a transaction goes on reading what it read first.

        :param writes: statements of the transaction that may have written.
        """
        return None

    def take_receipt(self, connection: Connection) -> Receipt | None:
        """Take a receipt for the transaction, where the database has such a thing."""
        return None

    def resolve(self, connection: Connection, receipt: Receipt) -> Resolution:
        """Ask, on a new connection, how the transaction of a receipt has ended."""
        return Resolution.UNKNOWN

    def take_lock(self, connection: Connection, key: int | str, *, wait: bool) -> bool:
        """Take an advisory lock until the transaction ends; say whether it was to be had.

        :raises UnsupportedError: where the database has none.
        """
        raise UnsupportedError.on(connection.dialect.name, "advisory locks")

    def set_lock_timeout(self, connection: Connection, *, seconds: int) -> None:
        """Have the server wait no longer than this for a lock, on this connection."""

    def set_statement_timeout(self, connection: Connection, seconds: float) -> None:
        """Have the server end each statement of the transaction after this time."""


def isolation_level(connection: Connection) -> str:
    """Return the isolation level that a connection was given, without asking the server."""
    level: str | None = connection.get_execution_options().get("isolation_level")
    return level or connection.default_isolation_level or ""


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE that a driver's error carries, whatever the driver calls it."""
    for name in ("sqlstate", "pgcode"):
        state: str | None = getattr(error, name, None)
        if state:
            return state
    cause = error.__cause__
    return None if cause is None else sqlstate(cause)
