"""Running a unit of work again: when that may help, when it must not be, how long to wait."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from sessionwise import dialects
from sessionwise.errors import CommitHookError, CommitUnknownError, TransactionDoomedError

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

__all__ = ["Retry", "RetryOn"]

RetryOn = tuple[type[BaseException], ...] | type[BaseException] | Callable[[BaseException], bool]
"""Exceptions by their class, or a function that knows them."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often, and for how long, a unit is run again, each time whole and in a fresh session.

    Serialization failures, deadlocks, SQLite's BUSY_SNAPSHOT, Galera's failed certification and
    CockroachDB's restarts are causes, at COMMIT too. A unit is never run again where its outcome
    is unknown, unless it is ``idempotent``, nor after it has committed.
    """

    attempts: int = 5
    """Runs in all, the first included."""
    deadline: float | None = None
    """Seconds from the first run after which no other begins."""
    backoff: float = 0.02
    """Seconds before the second run; doubled before each further one."""
    jitter: bool = True
    """Wait a random part of that, so that two that met do not meet again."""
    on: RetryOn = ()
    """Further causes, besides those that the database names."""
    idempotent: bool = False
    """Whether the unit may be run again although it may have been committed."""

    def delay(
        self, error: BaseException, attempt: int, elapsed: float, dialect: Dialect
    ) -> float | None:
        """Return how long to wait before the next run; None where there is to be none.

        :param attempt: the number of the run that failed, from 1.
        :param elapsed: seconds since the first run began.
        """
        if attempt >= self.attempts or not self._is_cause(error, dialect):
            return None
        longest = self.backoff * 2 ** (attempt - 1)
        seconds = random.uniform(0, longest) if self.jitter else longest  # noqa: S311 -- no secret
        if self.deadline is not None and elapsed + seconds > self.deadline:
            return None
        return seconds

    def _is_cause(self, error: BaseException, dialect: Dialect) -> bool:
        if isinstance(error, CommitHookError):
            return False
        if isinstance(error, CommitUnknownError):
            return self.idempotent
        return self._is_asked_for(error) or is_transient(error, dialect)

    def _is_asked_for(self, error: BaseException) -> bool:
        if isinstance(self.on, type | tuple):
            return isinstance(error, self.on)
        return self.on(error)


def is_transient(error: BaseException, dialect: Dialect) -> bool:
    """Say whether the database names an error as one that another run may not meet."""
    if isinstance(error, TransactionDoomedError):
        first = error.__cause__
        return first is not None and is_transient(first, dialect)
    original = error.orig if isinstance(error, DBAPIError) else error
    traits = dialects.of(dialect)
    if original is None or traits.is_transient(original):
        return original is not None
    before = error.__context__
    return (
        traits.has_lost_savepoint(original)
        and before is not None
        and (is_transient(before, dialect))
    )
