"""Sessions that are used by two at a time, or let go of."""

from __future__ import annotations

from sqlalchemy.exc import IllegalStateChangeError

from sessionwise.errors.base import SessionwiseError, SessionwiseWarning

__all__ = ["ConcurrentUseError", "LeakedSessionWarning"]


class ConcurrentUseError(SessionwiseError, IllegalStateChangeError):
    """Two threads, or two tasks, use one session at the same time."""

    @classmethod
    def between(cls, running: str, second: str) -> ConcurrentUseError:
        """Build the error from the places of the call that runs and of the one that came in."""
        return cls(
            f"this session is used at {second} while the call at {running} is still running. A "
            "session serves one thread or task at a time: give each its own"
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
