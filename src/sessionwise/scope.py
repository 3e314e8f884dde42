"""Technique 1: one session per scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import orm

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sessionwise.session import Session

__all__ = ["scoped_session"]

_S = TypeVar("_S", bound="Session")


class scoped_session(orm.scoped_session[_S]):  # noqa: N801 -- SQLAlchemy's name for it
    """SQLAlchemy's ``scoped_session``, with the verbs that our sessions have more."""

    def cursor(self, **bind_arguments: Any) -> AbstractContextManager[Any]:
        """Give the driver's cursor of the scope's session; see ``Session.cursor``."""
        return self.registry().cursor(**bind_arguments)
