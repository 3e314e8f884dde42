"""Tells the database who is at work, before the first write of a transaction, and never for reads.

Triggers read the actor, as JSON, and the id of the transaction's row in ``audit_transaction``,
which the first of them makes, from where they are put here: on PostgreSQL the settings
``sessionwise.audit`` and ``sessionwise.audit_transaction``, which end with the transaction; on
SQLite ``said`` and ``transaction_id`` of the only row of ``audit_context``, which is gone before
COMMIT; on MariaDB the variables ``@sessionwise_audit`` and ``@sessionwise_audit_transaction``,
which are reset before COMMIT, or with the connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

from sqlalchemy import event

from sessionwise.audit.context import NOBODY
from sessionwise.audit.standing import Standing
from sessionwise.errors import AuditError
from sessionwise.transaction import activity

if TYPE_CHECKING:
    from sqlalchemy import Connection, RootTransaction

    from sessionwise.audit.context import Actor

__all__ = ["Told", "adopt", "told"]

_ATTRIBUTE = "_sessionwise_told"


@dataclass(slots=True)
class Told:
    """What the database has been told in a connection's transaction."""

    root: ref[RootTransaction] | None
    actors: Standing[Actor] = field(default_factory=Standing)
    """Who was named."""
    was_told: bool = False
    """Whether anything was told, even if it is undone."""
    is_shaken: bool = False
    """Whether a savepoint has been undone, with rows that variables still speak of."""

    def tell(self, connection: Connection, actor: Actor, depth: int) -> bool:
        """Tell who is at work, where that is news; say whether it is somebody else than before."""
        way = _WAYS.get(connection.dialect.name)
        last = self.actors.last
        if way is None or (last is None and actor == NOBODY and not way.tells_of_nobody):
            return False
        if last == actor and not (self.is_shaken and way.is_shaken_by_savepoints):
            return False
        if way.needs_transaction and activity.autocommits(connection):
            if actor == NOBODY:
                return False
            raise AuditError.without_transaction(actor.name)
        way.tell(connection, actor, anew=last != actor)
        if last != actor:
            self.actors.note(actor, depth)
        self.was_told, self.is_shaken = True, False
        return last != actor

    def savepoint_ended(self, depth: int, *, undone: bool) -> None:
        """Forget what was told in a savepoint that is undone; it stands where it is released."""
        self.is_shaken = self.is_shaken or undone
        self.actors.savepoint_ended(depth, undone=undone)

    def end(self, connection: Connection) -> None:
        """Take back what was told, where it would outlive the transaction."""
        way = _WAYS.get(connection.dialect.name)
        if way is not None and self.was_told:
            way.end(connection)
        self.actors.clear()
        self.was_told = False


def told(connection: Connection) -> Told:
    """Return what the database has been told in the current transaction of a connection."""
    root = connection.get_transaction()
    known: Told | None = connection.__dict__.get(_ATTRIBUTE)
    if known is None or known.root is None or known.root() is not root:
        known = Told(None if root is None else ref(root))
        connection.__dict__[_ATTRIBUTE] = known
    return known


def adopt(connection: Connection) -> None:
    """Give a connection what the triggers need of it."""
    way = _WAYS.get(connection.dialect.name)
    if way is not None:
        way.adopt(connection)


class _Way(Protocol):
    tells_of_nobody: bool
    """Whether a transaction of nobody's is told of: triggers could not say what is one."""
    is_shaken_by_savepoints: bool
    """Whether what was told outlives the savepoint that it was told in."""
    needs_transaction: bool
    """Whether it is told to a transaction, and lost where each statement is one."""

    def tell(self, connection: Connection, actor: Actor, *, anew: bool) -> None: ...
    def end(self, connection: Connection) -> None: ...
    def adopt(self, connection: Connection) -> None: ...


class _PostgreSQL:
    tells_of_nobody = False
    is_shaken_by_savepoints = False
    needs_transaction = True

    def tell(self, connection: Connection, actor: Actor, *, anew: bool) -> None:
        _send(connection, _SET_CONFIG, actor.as_json)

    def end(self, connection: Connection) -> None:
        """Do nothing: it ends with the transaction."""

    def adopt(self, connection: Connection) -> None:
        """Do nothing."""


_SET_CONFIG = (
    "SELECT set_config('sessionwise.audit', {}, true), "
    "set_config('sessionwise.audit_transaction', '', true)"
)


class _SQLite:
    tells_of_nobody = True
    is_shaken_by_savepoints = False
    needs_transaction = True

    def tell(self, connection: Connection, actor: Actor, *, anew: bool) -> None:
        _send(
            connection,
            "INSERT OR REPLACE INTO audit_context (id, said) VALUES (1, {})",
            actor.as_json,
        )

    def end(self, connection: Connection) -> None:
        _send(connection, "DELETE FROM audit_context")

    def adopt(self, connection: Connection) -> None:
        """Have INSERT OR REPLACE tell the triggers what it deletes."""
        if not connection.info.get(_RECURSES):
            _send(connection, "PRAGMA recursive_triggers = ON")
            connection.info[_RECURSES] = True


_RECURSES = "sessionwise_recursive_triggers"


class _MySQL:
    tells_of_nobody = True
    is_shaken_by_savepoints = True
    needs_transaction = False

    def tell(self, connection: Connection, actor: Actor, *, anew: bool) -> None:
        _send(connection, _SET_ANEW if anew else _SET_AGAIN, actor.as_json)
        connection.info[_TOLD] = True

    def end(self, connection: Connection) -> None:
        _send(connection, _RESET)
        connection.info.pop(_TOLD, None)

    def adopt(self, connection: Connection) -> None:
        """See to it that the variables are reset before somebody else gets the connection."""
        if not event.contains(connection.engine, "reset", _reset):
            event.listen(connection.engine, "reset", _reset)


_TOLD = "sessionwise_told"
_SET_ANEW = "SET @sessionwise_audit = {}, @sessionwise_audit_transaction = NULL"
_SET_AGAIN = (
    "SET @sessionwise_audit = {}, @sessionwise_audit_transaction = "
    "(SELECT id FROM audit_transaction WHERE id = @sessionwise_audit_transaction)"
)
_RESET = "SET @sessionwise_audit = NULL, @sessionwise_audit_transaction = NULL"


def _reset(connection: Any, record: Any, state: Any) -> None:
    """Reset the variables of a connection whose transaction was not committed."""
    if record.info.pop(_TOLD, None) and state.asyncio_safe:
        cursor = connection.cursor()
        cursor.execute(_RESET)
        cursor.close()


_WAYS: dict[str, _Way] = {
    "postgresql": _PostgreSQL(),
    "sqlite": _SQLite(),
    "mysql": _MySQL(),
    "mariadb": _MySQL(),
}


def _send(connection: Connection, statement: str, *values: str) -> None:
    """Send a statement by the driver: nobody is to look at it as at one of the application's."""
    marks = {"qmark": "?", "numeric_dollar": "$1"}
    mark = marks.get(connection.dialect.paramstyle, "%s")
    cursor = connection.connection.cursor()
    try:
        cursor.execute(statement.format(*([mark] * len(values))), values)
    finally:
        cursor.close()
