"""Whose events are running: listeners are called while a session flushes or commits."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect
from sqlalchemy.orm.attributes import set_committed_value

if TYPE_CHECKING:
    from contextvars import Token

    from sqlalchemy.orm import Session

__all__ = ["CommitEvents", "Events", "current"]

_RUNNING: ContextVar[Events | None] = ContextVar("sessionwise_running", default=None)


class Events:
    """A block in which the listeners of a session's events are called."""

    __slots__ = ("_token", "notes", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.notes: dict[Any, Any] = {}
        """What listeners keep until the block ends."""

    def __enter__(self) -> None:
        self._token: Token[Events | None] = _RUNNING.set(self)

    def __exit__(self, *_error: object) -> None:
        _RUNNING.reset(self._token)


class CommitEvents(Events):
    """The same for a commit, whose listeners are often about to ask objects for their keys."""

    __slots__ = ()

    def __enter__(self) -> None:
        super().__enter__()
        if self.session.dispatch.before_commit:
            _reveal_keys(self.session)


def _reveal_keys(session: Session) -> None:
    """Let the keys of changed objects be read without a query, whose autoflush would end changes.

    A listener goes through what is new, dirty and deleted; all of that is gone after a flush.
    """
    for changed in (*session.dirty, *session.deleted):
        state = inspect(changed)
        for column, value in zip(state.mapper.primary_key, state.identity or (), strict=False):
            name = state.mapper.get_property_by_column(column).key
            if name in state.expired_attributes and name not in state.dict:
                set_committed_value(changed, name, value)


def current() -> Events | None:
    """Return the innermost block that is running in this task or thread."""
    return _RUNNING.get()
