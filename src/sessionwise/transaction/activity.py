"""What has been sent on a connection since its transaction began: statements, and live writes.

A write is live until the savepoint it was made in is rolled back. This is the one place that knows
it whatever the road a statement took: a flush, ``session.execute``, ``session.connection()``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["Activity", "register", "unregister"]


class Activity:
    """What one connection has done in its current transaction."""

    __slots__ = ("_marks", "statements", "writes")

    def __init__(self) -> None:
        self.statements = 0
        """Statements sent, reads included."""
        self.writes = 0
        """Statements sent that may have changed data and are not undone."""
        self._marks: list[int] = []

    @property
    def writes_in_savepoint(self) -> int:
        """Live writes since the innermost savepoint, or since the beginning without one."""
        return self.writes - (self._marks[-1] if self._marks else 0)

    def open_savepoint(self) -> None:
        """Note that a savepoint begins here."""
        self._marks.append(self.writes)

    def release_savepoint(self) -> None:
        """Note that the innermost savepoint has been released: its writes live on."""
        if self._marks:
            self._marks.pop()

    def undo_savepoint(self) -> None:
        """Note that the innermost savepoint has been rolled back."""
        if self._marks:
            self.writes = self._marks.pop()


_activities: WeakKeyDictionary[Connection, Activity] = WeakKeyDictionary()


def of(connection: Connection) -> Activity:
    """Return the activity of a connection's current transaction."""
    activity = _activities.get(connection)
    if activity is None:
        activity = _activities[connection] = Activity()
    return activity


def register(engine: Engine) -> None:
    """Follow the connections of an engine; a second call changes nothing."""
    for name, listener in _LISTENERS:
        event.listen(engine, name, listener)


def unregister(engine: Engine) -> None:
    """Undo :func:`register`."""
    for name, listener in _LISTENERS:
        event.remove(engine, name, listener)


def _begin(connection: Connection) -> None:
    _activities[connection] = Activity()


def _savepoint(connection: Connection, _name: str | None) -> None:
    of(connection).open_savepoint()


def _release_savepoint(connection: Connection, _name: str, _context: None) -> None:
    of(connection).release_savepoint()


def _rollback_savepoint(connection: Connection, _name: str, _context: None) -> None:
    of(connection).undo_savepoint()


def _before_cursor_execute(
    connection: Connection,
    _cursor: Any,
    statement: str,
    _parameters: Any,
    context: Any,
    _executemany: bool,
) -> None:
    activity = of(connection)
    activity.statements += 1
    if _is_write(statement, context):
        activity.writes += 1


_LISTENERS = (
    ("begin", _begin),
    ("savepoint", _savepoint),
    ("release_savepoint", _release_savepoint),
    ("rollback_savepoint", _rollback_savepoint),
    ("before_cursor_execute", _before_cursor_execute),
)

_READ = re.compile(
    r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*"
    r"(?:SELECT|VALUES|TABLE|SHOW|EXPLAIN|DESCRIBE|DESC|PRAGMA|SET|USE|ANALYZE"
    r"|BEGIN|START|SAVEPOINT|RELEASE|ROLLBACK|COMMIT|(?P<with>WITH))\b",
    re.IGNORECASE | re.DOTALL,
)
_CHANGE = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE|REPLACE)\b", re.IGNORECASE)


def _is_write(statement: str, context: Any) -> bool:
    if context.compiled is None or context.is_text:
        return may_write(statement)
    return bool(context.isinsert or context.isupdate or context.isdelete or context.isddl)


@lru_cache(maxsize=1024)
def may_write(statement: str) -> bool:
    """Say whether a statement in the database's own words may change data."""
    read = _READ.match(statement)
    if read is None:
        return True
    return read["with"] is not None and _CHANGE.search(statement) is not None
