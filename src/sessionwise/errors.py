"""Every error and warning of sessionwise, in one tree.

::

    SessionwiseError
    └── OptionError                 also ArgumentError and TypeError

    SessionwiseWarning              a UserWarning
    └── OuterRollbackWarning

Each error also inherits what plain SQLAlchemy raises in its place, so an ``except`` clause written
for SQLAlchemy keeps working. Each is built from facts, names the offending thing, and says what to
do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "OptionError",
    "OuterRollbackWarning",
    "SessionwiseError",
    "SessionwiseWarning",
]


class SessionwiseError(Exception):
    """The base of every error that sessionwise raises itself."""


class OptionError(SessionwiseError, ArgumentError, TypeError):
    """An option of ours has a value it does not take, or reached a class that is not ours."""

    @classmethod
    def for_value(cls, option: str, value: object, allowed: Iterable[str]) -> OptionError:
        """Build the error for a value that the option does not take."""
        choices = " or ".join(repr(choice) for choice in allowed)
        return cls(f"{option}={value!r} is not a choice; use {choices}")

    @classmethod
    def for_class(cls, class_: type, options: Iterable[str]) -> OptionError:
        """Build the error for options of ours given to a session class that is not ours."""
        names = ", ".join(sorted(options))
        name = f"{class_.__module__}.{class_.__qualname__}"
        return cls(
            f"{name} does not take {names}: that is an option of sessionwise. Let the class "
            f"inherit from sessionwise.Session (sessionwise.asyncio.AsyncSession for asyncio), "
            f"or leave {names} out"
        )


class SessionwiseWarning(UserWarning):
    """The base of every warning that sessionwise emits."""


class OuterRollbackWarning(SessionwiseWarning):
    """A ``rollback()`` after a failed savepoint block discarded work from outside the block.

    The exception that left the block had undone the block already. ``Session.rollback()`` outside
    of a block ends the whole unit of work, as it does in SQLAlchemy.
    """

    @classmethod
    def at(cls, block: str, rollback: str) -> OuterRollbackWarning:
        """Build the warning from two places, the block's and the call's, each ``file:line``."""
        return cls(
            f"rollback() at {rollback} discarded work from outside the savepoint block at "
            f"{block}: the exception that left the block had undone the block already. Leave the "
            "call out, or use Session(failed_block='contained')"
        )
