"""Every error and warning of sessionwise, in one tree.

::

    SessionwiseError
    ├── OptionError                 also ArgumentError and TypeError
    ├── TransactionDoomedError      also PendingRollbackError
    ├── CommitUnknownError          also DBAPIError
    ├── CommitHookError             also ExceptionGroup
    ├── ConcurrentUseError          also IllegalStateChangeError
    ├── DeadlineExceededError       also TimeoutError
    ├── TransactionJoinError        also InvalidRequestError
    ├── LateIsolationError          also InvalidRequestError
    ├── LockTimeoutError            also TimeoutError
    └── UnsupportedError            also NotImplementedError

    SessionwiseWarning              a UserWarning
    ├── OuterRollbackWarning
    └── LeakedSessionWarning

Each error also inherits what plain SQLAlchemy raises in its place, so an ``except`` clause written
for SQLAlchemy keeps working. Each is built from facts, names the offending thing, and says what to
do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IllegalStateChangeError,
    InvalidRequestError,
    PendingRollbackError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "CommitHookError",
    "CommitUnknownError",
    "ConcurrentUseError",
    "DeadlineExceededError",
    "LateIsolationError",
    "LeakedSessionWarning",
    "LockTimeoutError",
    "OptionError",
    "OuterRollbackWarning",
    "SessionwiseError",
    "SessionwiseWarning",
    "TransactionDoomedError",
    "TransactionJoinError",
    "UnsupportedError",
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


class TransactionDoomedError(SessionwiseError, PendingRollbackError):
    """The server has given the transaction up: nothing in it can be stored any more.

    Raised for the next statement and for ``commit()`` until ``rollback()``, chained to the error
    that doomed it.
    """

    @classmethod
    def because_of(cls, first: BaseException | None) -> TransactionDoomedError:
        """Build the error from the first one, where it is known."""
        reason = "" if first is None else f" ({_one_line(first)})"
        return cls(
            f"the database has given this transaction up after an error{reason}: nothing in it "
            "can be stored. Call rollback() on the session, or leave the savepoint block in which "
            "the error happened, and start again"
        )


class CommitUnknownError(SessionwiseError, DBAPIError):
    """The connection was lost during COMMIT, and nobody can say whether the data is stored.

    ``orig`` is the driver's error, ``connection_invalidated`` is True.
    """

    @classmethod
    def from_error(cls, error: DBAPIError, why: str) -> CommitUnknownError:
        """Build the error from the one that COMMIT raised, and why it could not be resolved."""
        orig: Any = error.orig
        unknown = cls(None, None, orig, connection_invalidated=True)
        unknown.why = why
        return unknown

    why = ""
    """Why the outcome could not be found out."""

    def __str__(self) -> str:
        lost = "" if self.orig is None else f" ({_one_line(self.orig)})"
        return (
            f"the connection was lost during COMMIT{lost}, and whether the data is stored is "
            f"unknown: {self.why}. Look in the database before you do it again"
        )


class CommitHookError(SessionwiseError, ExceptionGroup[Exception]):
    """Functions registered by ``on_commit`` or ``on_rollback`` have failed; the outcome stands."""

    @classmethod
    def after(cls, outcome: str, errors: list[Exception]) -> CommitHookError:
        """Build the error from the unit's outcome and what the functions raised."""
        return cls(
            f"the unit of work has ended ({outcome}), and functions registered for that failed; "
            "do not run the unit again for it",
            errors,
        )


class ConcurrentUseError(SessionwiseError, IllegalStateChangeError):
    """Two threads, or two tasks, use one session at the same time."""

    @classmethod
    def between(cls, running: str, second: str) -> ConcurrentUseError:
        """Build the error from the places of the call that runs and of the one that came in."""
        return cls(
            f"this session is used at {second} while the call at {running} is still running. A "
            "session serves one thread or task at a time: give each its own"
        )


class DeadlineExceededError(SessionwiseError, TimeoutError):
    """The unit of work has taken longer than its ``timeout``."""

    @classmethod
    def after(cls, seconds: float) -> DeadlineExceededError:
        """Build the error from the time that was allowed."""
        return cls(
            f"the unit of work has used up its timeout of {seconds:g} s: it is rolled back. "
            "Give it more, or do less in it"
        )


class TransactionJoinError(SessionwiseError, InvalidRequestError):
    """A unit that joins another one asks for what the other one is not."""

    @classmethod
    def over(cls, option: str, asked: object, is_: object) -> TransactionJoinError:
        """Build the error from the option, what was asked for, and what the running unit has."""
        return cls(
            f"{option}={asked!r} cannot be had here: this unit joins one that runs with "
            f"{option}={is_!r}. Ask for it where the outer one begins, or use nested='new'"
        )


class LateIsolationError(SessionwiseError, InvalidRequestError):
    """The isolation level is asked for when the transaction has begun."""

    @classmethod
    def for_level(cls, level: str) -> LateIsolationError:
        """Build the error from the level that was asked for."""
        return cls(
            f"isolation_level={level!r} comes too late: the transaction has begun. Ask for it by "
            "the first session.connection() of the unit, or on the engine"
        )


class LockTimeoutError(SessionwiseError, TimeoutError):
    """An advisory lock was not to be had in time."""

    @classmethod
    def after(cls, key: object, seconds: float) -> LockTimeoutError:
        """Build the error from the lock's key and the time that was waited."""
        return cls(f"somebody else held the lock {key!r} for {seconds:g} s: try again later")


class UnsupportedError(SessionwiseError, NotImplementedError):
    """The database has no such thing."""

    @classmethod
    def on(cls, database: str, feature: str) -> UnsupportedError:
        """Build the error from the database's name and what it has not."""
        return cls(f"{database} has no {feature} that protect anything; use another database")


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


class LeakedSessionWarning(SessionwiseWarning):
    """A session was let go of while it held a connection."""

    @classmethod
    def at(cls, where: str, owner: str) -> LeakedSessionWarning:
        """Build the warning from where the unit began (``file:line``) and what let go of it."""
        return cls(
            f"{owner} let go of a session that still held a connection; its unit of work began at "
            f"{where} and is rolled back. Close it: with Session(...) as session"
        )


def _one_line(error: BaseException) -> str:
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}"
