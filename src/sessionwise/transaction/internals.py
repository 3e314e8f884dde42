"""What SQLAlchemy's session transactions keep to themselves: all of it is read here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.orm.session import SessionTransactionState

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection
    from sqlalchemy.orm import InstanceState, Session, SessionTransaction

__all__ = [
    "connections",
    "connections_of",
    "entries",
    "has_bind",
    "innermost",
    "is_clean",
    "is_in",
    "mark_closed",
    "replace_entry",
    "unconfirmed",
]

Entry = tuple["Connection", Any, bool, bool]
"""A connection, its transaction, whether it is to be committed, whether it is to be closed."""


def entries(transaction: SessionTransaction) -> set[Entry]:
    """Return what a transaction, or savepoint, has in each database."""
    return set(transaction._connections.values())


def connections(transaction: SessionTransaction) -> set[Connection]:
    """Return the connections that a transaction, or savepoint, has used."""
    return {entry[0] for entry in transaction._connections.values()}


def connections_of(session: Session) -> set[Connection]:
    """Return the connections of a session's unit of work."""
    root = session.get_transaction()
    return set() if root is None else connections(root)


def innermost(session: Session) -> SessionTransaction | None:
    """Return the innermost transaction of a session, unentered savepoints included."""
    return session._transaction


def is_clean(session: Session) -> bool:
    """Say whether a flush would find nothing to do."""
    return session._is_clean()


def unconfirmed(session: Session) -> list[Collection[InstanceState[Any]]]:
    """Return the objects that have been flushed in the running unit, in some collections."""
    found: list[Collection[InstanceState[Any]]] = []
    transaction = session._transaction
    while transaction is not None:
        found += [states for states in (transaction._new, transaction._dirty) if states]
        transaction = transaction.parent
    return found


def has_bind(transaction: SessionTransaction, bind: Any) -> bool:
    """Say whether a transaction has a connection for an engine or connection."""
    return bind in transaction._connections


def replace_entry(transaction: SessionTransaction, entry: Entry) -> None:
    """Change what a transaction has in the database of ``entry``."""
    connection = entry[0]
    transaction._connections[connection] = transaction._connections[connection.engine] = entry


def is_in(transaction: SessionTransaction, state: str) -> bool:
    """Say whether a transaction is CLOSED, COMMITTED or PREPARED."""
    return transaction._state is SessionTransactionState[state]


def mark_closed(transaction: SessionTransaction) -> None:
    """Make a transaction that could not begin one that has ended."""
    transaction._state = SessionTransactionState.CLOSED
