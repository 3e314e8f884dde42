"""What an audited session's transactions are told, and asked: the audit's part in each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessionwise.audit import transactions
from sessionwise.audit.context import current
from sessionwise.audit.recording.recorder import Recorder
from sessionwise.audit.recording.work import work_of
from sessionwise.audit.telling import adopt, told
from sessionwise.transaction import activity

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from sessionwise.audit.audit import Audit
    from sessionwise.sql.touched import Touched

__all__ = ["Along"]


class Along:
    """Goes along with the transactions of the sessions of an audit; see ``Companion``."""

    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self._recorder = Recorder(audit)

    def attach(self, session: Session) -> None:
        """Listen to what a session does."""
        self._recorder.attach(session)

    def begins(self, session: Session, connection: Connection) -> None:
        """Note whom the connection serves: a unit that only reads sends nothing more."""
        self._recorder.begins(session, connection)
        # Where it has joined a transaction, nobody has told of savepoints since the last unit.
        told(connection).savepoint_ended(0, undone=True)
        work_of(connection).heads.savepoint_ended(0, undone=True)

    def before_write(
        self, connection: Connection, statement: str, context: Any, written: Touched | None
    ) -> bool:
        """Tell the database who is at work, and record what its triggers do not."""
        if (known := self._recorder.known(context)) is not None:
            return known
        self._tell(connection)
        return self._recorder.before_write(connection, statement, context, written, self._tell)

    def _tell(self, connection: Connection) -> None:
        if not self.audit.captures(connection).triggers:
            return
        adopt(connection)
        depth = activity.of(connection).depth
        if told(connection).tell(connection, current(), depth):
            work_of(connection).heads.clear()  # triggers make another row

    def head(self, connection: Connection) -> int:
        """Return the id of the transaction's row, for what is not recorded by the audit itself."""
        self._tell(connection)
        work, depth = work_of(connection), activity.of(connection).depth
        has_triggers = bool(self.audit.captures(connection).triggers)
        with work.busy():
            return transactions.head(connection, work.heads, depth, has_triggers=has_triggers)

    def savepoint_ended(self, connection: Connection, depth: int, *, undone: bool) -> None:
        """Note what a savepoint's end has undone."""
        told(connection).savepoint_ended(depth, undone=undone)
        work_of(connection).savepoint_ended(depth, undone=undone)

    def before_commit(self, session: Session, connection: Connection) -> None:
        """Take back what would outlive the transaction."""
        self._recorder.before_commit(session)
        told(connection).end(connection)
