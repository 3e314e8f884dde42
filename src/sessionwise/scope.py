"""Technique 1: one session per scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import orm

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine

    from sessionwise.session import HookT, Session
    from sessionwise.transaction.outcome import Outcome

__all__ = ["scoped_session"]

_S = TypeVar("_S", bound="Session")


class scoped_session(orm.scoped_session[_S]):  # noqa: N801 -- SQLAlchemy's name for it
    """SQLAlchemy's ``scoped_session``, with the verbs that our sessions have more.

    Each is the verb of the scope's session: see ``Session``.
    """

    @property
    def outcome(self) -> Outcome | None:
        """What has become of the current or last unit of work."""
        return self.registry().outcome

    @property
    def outcomes(self) -> Mapping[Engine, Outcome]:
        """The same for each of its databases."""
        return self.registry().outcomes

    def on_commit(self, hook: HookT, *, robust: bool = False) -> HookT:
        """Have a function called once the unit of work has committed."""
        return self.registry().on_commit(hook, robust=robust)

    def on_rollback(self, hook: HookT, *, robust: bool = False) -> HookT:
        """Have a function called once the unit of work has rolled back."""
        return self.registry().on_rollback(hook, robust=robust)

    def cursor(self, **bind_arguments: Any) -> AbstractContextManager[Any]:
        """Give the driver's cursor for a block."""
        return self.registry().cursor(**bind_arguments)

    def advisory_lock(self, key: int | str, *, timeout: float | None = None) -> None:
        """Hold a lock of the database's until the unit of work ends."""
        self.registry().advisory_lock(key, timeout=timeout)
