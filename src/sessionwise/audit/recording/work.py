"""What the audit knows of a connection's transaction."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import ref

from sessionwise.audit.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, RootTransaction
    from sqlalchemy.orm import Session

    from sessionwise.audit.recording.bulk import Verb
    from sessionwise.audit.transactions import Head
    from sessionwise.audit.triggers.installed import Captures

__all__ = ["Work", "serve", "sessions_of", "work_of"]

_WORK = "_sessionwise_audit_work"
_SESSIONS = "_sessionwise_audit_sessions"


@dataclass(slots=True)
class Work:
    """What has been recorded in a connection's transaction."""

    root: ref[RootTransaction] | None
    captures: Captures | None = None
    """Who records what; None: nobody has looked since the transaction began."""
    heads: Standing[Head] = field(default_factory=Standing)
    """Its rows in ``audit_transaction``."""
    opened: list[str] = field(default_factory=list)
    """Its open savepoints, by name, where no companion counts them; see ``listening``."""
    is_busy: bool = False
    """Whether what is sent is the audit's own."""
    verb: Verb | None = None
    """A bulk verb that is at work."""

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Send statements of the audit's own."""
        before, self.is_busy = self.is_busy, True
        try:
            yield
        finally:
            self.is_busy = before

    def savepoint_ended(self, depth: int, *, undone: bool) -> None:
        """Forget the rows that are undone with a savepoint, and bulk verbs that have ended."""
        if self.verb is not None:
            self.verb.savepoint_ended(depth, undone=undone)
            if self.verb.depth > depth:
                self.verb = None
        self.heads.savepoint_ended(depth, undone=undone)


def work_of(connection: Connection) -> Work:
    """Return what is known of the current transaction of a connection."""
    root = connection.get_transaction()
    known: Work | None = connection.__dict__.get(_WORK)
    if known is None or known.root is None or known.root() is not root:
        known = connection.__dict__[_WORK] = Work(None if root is None else ref(root))
    return known


def serve(connection: Connection, session: Session) -> None:
    """Note a session that uses a connection."""
    known = [one for one in connection.__dict__.get(_SESSIONS, ()) if one() not in {None, session}]
    connection.__dict__[_SESSIONS] = [*known, ref(session)]


def sessions_of(connection: Connection) -> list[Session]:
    """Return the sessions that use a connection."""
    known = (one() for one in connection.__dict__.get(_SESSIONS, ()))
    return [session for session in known if session is not None]
