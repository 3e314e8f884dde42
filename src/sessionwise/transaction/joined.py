"""Units that are part of somebody else's transaction: its owner decides how they end."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from sessionwise.transaction import callbacks
from sessionwise.transaction.outcome import Outcome

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sessionwise.transaction.callbacks import Callbacks

__all__ = ["wait_for_owner"]

_WAITING = "_sessionwise_waiting"


def wait_for_owner(connection: Connection, registered: Callbacks) -> None:
    """Run callbacks when the owner of the connection's transaction has ended it."""
    root: Any = connection.get_transaction()
    if root is None or not root.is_active:  # ``join_transaction_mode="control_fully"``
        callbacks.run(registered, Outcome.JOINED, committed=True)
        return
    connection.__dict__.setdefault(_WAITING, []).append(registered)
    if _WAITING not in type(root).__dict__:
        class_: Any = type(root)
        root.__class__ = _owned(class_)


@cache
def _owned(class_: Any) -> type[Any]:
    """Return the class of a transaction that tells when its owner has ended it.

    SQLAlchemy's events come before COMMIT is sent. The class of the object is changed, not the
    object: the owner holds it.
    """

    def commit(self: Any) -> None:
        class_.commit(self)
        _wake(self.connection, committed=True)

    def rollback(self: Any) -> None:
        class_.rollback(self)
        _wake(self.connection, committed=False)

    def close(self: Any) -> None:
        class_.close(self)
        _wake(self.connection, committed=False)

    members: dict[str, Any] = {"__slots__": (), _WAITING: True}
    members |= {"commit": commit, "rollback": rollback, "close": close}
    return type(class_.__name__, (class_,), members)


def _wake(connection: Connection, *, committed: bool) -> None:
    outcome = Outcome.COMMITTED if committed else Outcome.ROLLED_BACK
    for registered in connection.__dict__.pop(_WAITING, ()):
        callbacks.run(registered, outcome, committed=committed)
