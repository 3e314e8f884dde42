"""Units of work that do not end, or begin, as they were meant to."""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import DBAPIError, InvalidRequestError, PendingRollbackError

from sessionwise.errors.base import SessionwiseError, SessionwiseWarning
from sessionwise.errors.shown import one_line

__all__ = [
    "CommitHookError",
    "CommitUnknownError",
    "DeadlineExceededError",
    "LateIsolationError",
    "LockTimeoutError",
    "OuterRollbackWarning",
    "TransactionDoomedError",
    "TransactionJoinError",
]


class TransactionDoomedError(SessionwiseError, PendingRollbackError):
    """The server has given the transaction up: nothing in it can be stored any more.

    Raised for the next statement and for ``commit()`` until ``rollback()``, chained to the error
    that doomed it.
    """

    @classmethod
    def because_of(cls, first: BaseException | None) -> TransactionDoomedError:
        """Build the error from the first one, where it is known."""
        reason = "" if first is None else f" ({one_line(first)})"
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
        lost = "" if self.orig is None else f" ({one_line(self.orig)})"
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
