"""What has been sent on a connection since its transaction began, and whether it can be stored.

A write is live until the savepoint it was made in is rolled back. This is the one place that knows
it whatever the road a statement took: a flush, ``session.execute``, ``session.connection()``.

It listens by SQLAlchemy's ``DialectEvents``: on a 110 µs ``get`` they cost 0.7 µs, the events of
``ConnectionEvents`` 5 µs, whether or not they have anything to say about the statement.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import ref

from sqlalchemy import event
from sqlalchemy.sql.expression import (
    ReleaseSavepointClause,
    RollbackToSavepointClause,
    SavepointClause,
)

from sessionwise import dialects
from sessionwise.dialects.traits import Doom
from sessionwise.errors import (
    DeadlineExceededError,
    SessionwiseError,
    TransactionDoomedError,
)
from sessionwise.sql.touched import NOTHING, Touched
from sessionwise.transaction import companion, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine, RootTransaction
    from sqlalchemy.engine import ExceptionContext

    from sessionwise.dialects import Traits

__all__ = [
    "Activity",
    "autocommits",
    "check",
    "is_registered",
    "may_write",
    "note_error",
    "of",
    "register",
    "unregister",
]

_ATTRIBUTE = "_sessionwise_activity"
"""Where a connection carries its activity: it is asked for at each statement."""


@dataclass(slots=True)
class _Mark:
    """A savepoint, and how things stood when it was opened."""

    name: str
    writes: int
    written: Touched = NOTHING
    """What has been written in it, besides by flushes."""


class Activity:
    """What one connection has done in one transaction, and whether that can still be stored."""

    __slots__ = (
        "_marks",
        "deadline",
        "doom",
        "doomed_by",
        "is_watched",
        "root",
        "statements",
        "traits",
        "writes",
    )

    def __init__(self, root: RootTransaction | None, traits: Traits) -> None:
        self.root = None if root is None else ref(root)
        """The transaction, by a reference that does not keep it."""
        self.traits = traits
        """What is known about the database."""
        self.is_watched = traits.looks_at_status
        """Whether anything is to be looked at before a statement is sent."""
        self.deadline: tuple[float, float] | None = None
        """When the time is up, by the monotonic clock, and how much of it there was."""
        self.statements = 0
        """Statements sent, reads included."""
        self.writes = 0
        """Statements sent that may have changed data and are not undone."""
        self.doom: Doom | None = None
        """How much of the transaction the server has given up."""
        self.doomed_by: BaseException | None = None
        """The first error that doomed it."""
        self._marks: list[_Mark] = []

    @property
    def intact(self) -> bool:
        """Whether the transaction is what it was, all but what savepoints have undone."""
        return self.doom is not Doom.TRANSACTION

    @property
    def has_begun(self) -> bool:
        """Whether there is a transaction in the database, as far as its drivers begin one late."""
        return bool(self.writes or self._marks)

    @property
    def depth(self) -> int:
        """How many savepoints are open."""
        return len(self._marks)

    @property
    def writes_in_savepoint(self) -> int:
        """Live writes since the innermost savepoint, or since the beginning without one."""
        return self.writes - (self._marks[-1].writes if self._marks else 0)

    def open_savepoint(self, name: str) -> None:
        """Note that a savepoint begins here."""
        self._marks.append(_Mark(name, self.writes))

    def release_savepoint(self, name: str) -> None:
        """Note that a savepoint, and those inside it, have been released: their writes live on."""
        self.note_written(self._end_savepoint(name).written)

    def undo_savepoint(self, name: str) -> Touched:
        """Note that a savepoint is rolled back; SQLAlchemy does not use it any further.

        :returns: what had been written in it, besides by flushes.
        """
        ended = self._end_savepoint(name)
        self.writes = ended.writes
        if self.doom is Doom.SAVEPOINT:
            self.doom = self.doomed_by = None
        return ended.written

    def note_written(self, written: Touched) -> None:
        """Note what a statement has written; a rollback of the whole expires all anyway."""
        if self._marks:
            self._marks[-1].written |= written

    def note_error(self, doom: Doom, error: BaseException) -> None:
        """Note that an error has doomed the savepoint or the transaction; the first one counts."""
        if self.doom is None:
            self.doomed_by = error
        if self.doom is not Doom.TRANSACTION:
            self.doom = doom
        self.is_watched = True

    def set_deadline(self, seconds: float) -> None:
        """Let what is sent in this transaction take so long from now, in all."""
        self.deadline = (time.monotonic() + seconds, seconds)
        self.is_watched = True

    def _end_savepoint(self, name: str) -> _Mark:
        written = NOTHING
        while self._marks:
            mark = self._marks.pop()
            written |= mark.written
            if mark.name == name:
                return _Mark(name, mark.writes, written)
        return _Mark(name, self.writes, written)


def of(connection: Connection) -> Activity:
    """Return the activity of a connection's current transaction."""
    root = connection.get_transaction()
    activity: Activity | None = connection.__dict__.get(_ATTRIBUTE)
    if activity is None or activity.root is None or activity.root() is not root:
        activity = Activity(root, dialects.of(connection.dialect))
        connection.__dict__[_ATTRIBUTE] = activity
    return activity


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


def check(connection: Connection) -> None:
    """Raise where nothing more is to be sent.

    :raises TransactionDoomedError: where the server has given the transaction up.
    :raises DeadlineExceededError: where the time is up.
    """
    activity = of(connection)
    if activity.is_watched:
        _check(activity, connection)


def _check(activity: Activity, connection: Connection) -> None:
    if activity.deadline is not None and time.monotonic() > activity.deadline[0]:
        raise DeadlineExceededError.after(activity.deadline[1])
    if activity.doom is not None or _is_aborted(activity, connection):
        raise TransactionDoomedError.because_of(activity.doomed_by) from activity.doomed_by


def _is_aborted(activity: Activity, connection: Connection) -> bool:
    """Ask the driver: an error of a raw cursor passes SQLAlchemy by."""
    return (
        activity.traits.looks_at_status
        and not connection.invalidated
        and activity.traits.is_aborted(connection.connection.driver_connection)
    )


def note_error(connection: Connection, error: BaseException) -> None:
    """Note a driver's error, where it dooms what it happened in."""
    if connection.invalidated or autocommits(connection):
        return
    activity = of(connection)
    driver = connection.connection.driver_connection
    doom = activity.traits.doom(error, driver, begun=activity.has_begun)
    if doom is not None:
        activity.note_error(doom, error)


def autocommits(connection: Connection) -> bool:
    """Say whether each statement on the connection is a transaction of its own."""
    return connection._is_autocommit_isolation()


def _before_execute(_cursor: Any, statement: str, _parameters: Any, context: Any) -> bool:
    return _before_statement(statement, context)


def _before_statement(statement: str, context: Any) -> bool:
    """Note a statement; return whether it has been carried out already, by another one."""
    # Runs once per statement: what is asked often comes first, and calls are few.
    connection = context.root_connection
    activity = of(connection)
    activity.statements += 1
    if context.isinsert or context.isupdate or context.isdelete or context.isddl:
        writes, kind = True, None
    elif context.compiled is None or context.is_text:
        writes, kind = may_write(statement), None
    else:
        writes, kind = False, type(context.invoked_statement)
    if activity.is_watched and kind is not RollbackToSavepointClause:
        _check(activity, connection)
    if kind in _SAVEPOINTS:
        _note_savepoint(kind, connection, activity, context.invoked_statement.ident)
        return False
    along = companion.of(connection)
    if (
        along is not None
        and (writes or written.may_write(context, statement))
        and along.before_write(connection, statement, context, None)
    ):
        activity.statements -= 1
        return True
    activity.writes += writes
    written.follow(context, statement, activity)
    return False


def _note_savepoint(kind: Any, connection: Connection, activity: Activity, name: str) -> None:
    undone = kind is RollbackToSavepointClause
    if undone:
        written.note_undone(connection, activity.undo_savepoint(name))
    elif kind is ReleaseSavepointClause:
        activity.release_savepoint(name)
    else:
        activity.open_savepoint(name)
        return
    if (along := companion.of(connection)) is not None:
        along.savepoint_ended(connection, activity.depth, undone=undone)


def _before_execute_without_parameters(_cursor: Any, statement: str, context: Any) -> bool:
    return _before_statement(statement, context)


def _on_error(context: ExceptionContext) -> None:
    connection, error = context.connection, context.original_exception
    if connection is None or isinstance(error, SessionwiseError):
        return
    invoked = getattr(context.execution_context, "invoked_statement", None)
    if isinstance(invoked, RollbackToSavepointClause):
        # What cannot be rolled back to is gone, and so is all around it.
        of(connection).note_error(Doom.TRANSACTION, error)
    elif context.sqlalchemy_exception is not None:
        note_error(connection, error)


_SAVEPOINTS = frozenset({SavepointClause, ReleaseSavepointClause, RollbackToSavepointClause})

_LISTENERS: tuple[tuple[str, Callable[..., object]], ...] = (
    ("do_execute", _before_execute),
    ("do_executemany", _before_execute),
    ("do_execute_no_params", _before_execute_without_parameters),
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
