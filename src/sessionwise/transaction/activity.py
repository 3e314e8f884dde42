"""What has been sent on a connection since its transaction began: statements, and live writes.

A write is live until the savepoint it was made in is rolled back. This is the one place that knows
it whatever the road a statement took: a flush, ``session.execute``, ``session.connection()``.

It listens by SQLAlchemy's ``DialectEvents``: on a 110 µs ``get`` they cost 0.7 µs, the events of
``ConnectionEvents`` 5 µs, whether or not they have anything to say about the statement.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import ref

from sqlalchemy import event
from sqlalchemy.sql.expression import (
    ReleaseSavepointClause,
    RollbackToSavepointClause,
    SavepointClause,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine, RootTransaction
    from sqlalchemy.engine import ExceptionContext
    from sqlalchemy.orm import SessionTransaction

__all__ = ["Activity", "connections", "is_registered", "may_write", "of", "register", "unregister"]

_ATTRIBUTE = "_sessionwise_activity"
"""Where a connection carries its activity: it is asked for at each statement."""


class Activity:
    """What one connection has done in one transaction."""

    __slots__ = ("_marks", "_root", "intact", "statements", "writes")

    def __init__(self, transaction: RootTransaction | None) -> None:
        self._root = None if transaction is None else ref(transaction)
        self.statements = 0
        """Statements sent, reads included."""
        self.writes = 0
        """Statements sent that may have changed data and are not undone."""
        self.intact = True
        """False once a savepoint could not be rolled back: the server has ended more than that."""
        self._marks: list[tuple[str, int]] = []

    def is_of(self, transaction: RootTransaction | None) -> bool:
        """Say whether this is the activity of that transaction."""
        return self._root is not None and self._root() is transaction

    @property
    def writes_in_savepoint(self) -> int:
        """Live writes since the innermost savepoint, or since the beginning without one."""
        return self.writes - (self._marks[-1][1] if self._marks else 0)

    def open_savepoint(self, name: str) -> None:
        """Note that a savepoint begins here."""
        self._marks.append((name, self.writes))

    def release_savepoint(self, name: str) -> None:
        """Note that a savepoint, and those inside it, have been released: their writes live on."""
        self._end_savepoint(name)

    def undo_savepoint(self, name: str) -> None:
        """Note that a savepoint is rolled back; SQLAlchemy does not use it any further."""
        self.writes = self._end_savepoint(name)

    def _end_savepoint(self, name: str) -> int:
        while self._marks:
            ended, writes_before = self._marks.pop()
            if ended == name:
                return writes_before
        return self.writes


def of(connection: Connection) -> Activity:
    """Return the activity of a connection's current transaction."""
    transaction = connection.get_transaction()
    activity: Activity | None = connection.__dict__.get(_ATTRIBUTE)
    if activity is None or not activity.is_of(transaction):
        activity = connection.__dict__[_ATTRIBUTE] = Activity(transaction)
    return activity


def connections(transaction: SessionTransaction) -> set[Connection]:
    """Return the connections that a session's transaction, or savepoint, has used."""
    return {entry[0] for entry in transaction._connections.values()}


def register(engine: Engine) -> None:
    """Follow the connections of an engine; a second call changes nothing."""
    if not is_registered(engine):
        for name, listener in _LISTENERS:
            event.listen(engine.dialect, name, listener)


def unregister(engine: Engine) -> None:
    """Undo :func:`register`."""
    for name, listener in _LISTENERS:
        event.remove(engine.dialect, name, listener)


def is_registered(engine: Engine) -> bool:
    """Say whether the connections of an engine are followed."""
    return all(event.contains(engine.dialect, name, listener) for name, listener in _LISTENERS)


def _before_statement(_cursor: Any, statement: str, *rest: Any) -> None:
    context = rest[-1]  # parameters come before it where there are any
    activity = of(context.root_connection)
    activity.statements += 1
    if context.isinsert or context.isupdate or context.isdelete or context.isddl:
        activity.writes += 1
    elif context.compiled is None or context.is_text:
        activity.writes += may_write(statement)
    else:
        invoked = context.invoked_statement
        follow = _SAVEPOINTS.get(type(invoked))
        if follow is not None:
            follow(activity, invoked.ident)


def _on_error(context: ExceptionContext) -> None:
    invoked = getattr(context.execution_context, "invoked_statement", None)
    if context.connection is not None and isinstance(invoked, RollbackToSavepointClause):
        of(context.connection).intact = False


_SAVEPOINTS = {
    SavepointClause: Activity.open_savepoint,
    ReleaseSavepointClause: Activity.release_savepoint,
    RollbackToSavepointClause: Activity.undo_savepoint,
}

_LISTENERS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("do_execute", _before_statement),
    ("do_executemany", _before_statement),
    ("do_execute_no_params", _before_statement),
    ("handle_error", _on_error),
)

_READ = re.compile(
    r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*"
    r"(?:SELECT|VALUES|TABLE|SHOW|EXPLAIN|DESCRIBE|DESC|PRAGMA|SET|USE|ANALYZE"
    r"|BEGIN|START|SAVEPOINT|RELEASE|ROLLBACK|COMMIT|(?P<with>WITH))\b",
    re.IGNORECASE | re.DOTALL,
)
_CHANGE = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE|REPLACE)\b", re.IGNORECASE)


@lru_cache(maxsize=1024)
def may_write(statement: str) -> bool:
    """Say whether a statement in the database's own words may change data."""
    read = _READ.match(statement)
    if read is None:
        return True
    return read["with"] is not None and _CHANGE.search(statement) is not None
