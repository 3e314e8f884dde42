"""Records, as the session's capture, what is about to be sent on a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, inspect

from sessionwise.audit.recording import bulk, flush, hooks, statements, unaudited
from sessionwise.audit.recording.batch import Batch
from sessionwise.audit.recording.beginning import begin_to_write
from sessionwise.audit.recording.dml import target_of
from sessionwise.audit.recording.readers import Readers
from sessionwise.audit.recording.work import serve, sessions_of, work_of
from sessionwise.audit.tables import LOG, METADATA
from sessionwise.dialects.traits import Doom
from sessionwise.errors import AuditError
from sessionwise.sql import internals
from sessionwise.sql.constructs import written_by
from sessionwise.sql.texts import writes_of_text
from sessionwise.sql.touched import NOTHING
from sessionwise.transaction import activity

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Table
    from sqlalchemy.orm import Session, UOWTransaction

    from sessionwise.audit.audit import Audit
    from sessionwise.audit.recording.reading import Key, Reader
    from sessionwise.audit.recording.work import Work
    from sessionwise.sql.touched import Touched

__all__ = ["Recorder"]


@dataclass(frozen=True)
class _Sent:
    """A statement that is about to be sent."""

    connection: Connection
    work: Work
    statement: str
    context: Any
    """SQLAlchemy's execution context; None where a driver sends it by itself."""


class Recorder:
    """The session's capture of one audit."""

    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self.readers = Readers(audit)
        self._ready: set[Any] = set()

    def attach(self, session: Session) -> None:
        """Listen to what a session does."""
        event.listen(session, "before_flush", _flush_begins)
        event.listen(session, "after_flush", _flush_ends)
        event.listen(session, "after_soft_rollback", _rolled_back)
        bulk.attach(self, session)

    def begins(self, session: Session, connection: Connection) -> None:
        """Note the session that a connection serves."""
        serve(connection, session)

    def before_commit(self, session: Session) -> None:
        """Record what a flush has left, that did not come to its end."""
        flush.end(session)

    def known(self, context: Any) -> bool | None:
        """Return what was found out about a statement that is sent in several parts."""
        found: bool | None = None if context is None else context.__dict__.get(_NOTED)
        return found

    def before_write(
        self,
        connection: Connection,
        statement: str,
        context: Any,
        written: Touched | None,
        tell: Callable[[Connection], None],
    ) -> bool:
        """Note which rows a statement is about to write.

        :returns: whether it has been carried out already.
        """
        work = work_of(connection)
        if work.is_busy:  # with what this module sends
            return False
        sent = _Sent(connection, work, statement, context)
        table = _target(context)
        if table is not None and table.metadata is self.audit.coverage.metadata:
            return self._before_dml(sent, table, tell)
        if table is None or table.metadata is not METADATA:
            self._refuse_unseen(sent, written)
        return False

    def _before_dml(self, sent: _Sent, table: Table, tell: Callable[[Connection], None]) -> bool:
        """Note which rows a statement on a table that the audit knows is about to write."""
        connection, work, context = sent.connection, sent.work, sent.context
        context.__dict__[_NOTED] = False
        if not self.is_recorded(connection, work, table, tell):
            self._refuse_inner(sent)
            return False
        if bulk.is_recorded_by(work, table):
            return False
        reader = self.readers.of(connection, table)
        try:
            if reader is None:
                raise statements.Unknown(f"{table.name} has no primary key")
            if activity.autocommits(connection):
                raise statements.Unknown("in AUTOCOMMIT it would be stored without its record")
            with work.busy():
                stands_in = self._note(sent, reader)
        except statements.Unknown as unknown:
            names = self.readers.recorded(table, work)
            unaudited.refuse(self.audit, sent.statement, names, str(unknown))
            return False
        if stands_in is not None:
            context.__dict__[_NOTED] = True
            _stand_in(sent, stands_in)
        return stands_in is not None

    def _note(self, sent: _Sent, reader: Reader) -> Any:
        """Note what a flush sends; of anything else, record it when it has been carried out.

        :returns: the statement that is to be sent in its place.
        """
        connection, work, context = sent.connection, sent.work, sent.context
        begin_to_write(connection)
        for session in sessions_of(connection):
            running = flush.open_of(session)
            if running is None:
                continue
            if internals.is_sent_by_the_flush_of(context, session):
                running.note(connection, work, self.readers, reader, context)
                return None
            running.settle(connection)
        batch = Batch(connection, work, self.readers)
        way = statements.before(batch, reader, context)
        if way.stands_in is None:
            hooks.after(context, lambda keys: _record(sent, batch, way, keys), way.keys)
        return way.stands_in

    def is_recorded(
        self,
        connection: Connection,
        work: Work,
        table: Table,
        tell: Callable[[Connection], None] | None = None,
    ) -> bool:
        """Say whether what is written to a table is to be recorded here.

        It is looked once for a transaction that writes whether others have made triggers.
        """
        if work.captures is None:
            known = self.audit.captures(connection)
            if not self.readers.concerns(table, known):
                return False
            with work.busy():
                found = self.audit.captures(connection, anew=True)
                self._check_tables(connection)
            work.captures = found
            if tell is not None:
                tell(connection)
        return self.readers.concerns(table, work.captures)

    def _check_tables(self, connection: Connection) -> None:
        engine = connection.engine
        if engine.url not in self._ready:
            if not inspect(connection).has_table(LOG.name):
                raise AuditError.without_tables(engine.url.database)
            self._ready.add(engine.url)

    def _refuse_unseen(self, sent: _Sent, written: Touched | None) -> None:
        """Refuse what may write rows that nobody can tell."""
        touched = _touched(sent.statement, sent.context) if written is None else written
        if touched.writes and not bulk.is_sent_by(sent.work, sent.connection, touched):
            self._refuse(sent, touched)

    def _refuse_inner(self, sent: _Sent) -> None:
        """Refuse a statement on another table that writes in a WITH clause what is recorded."""
        self._refuse(sent, written_by(sent.context.compiled))

    def _refuse(self, sent: _Sent, touched: Touched) -> None:
        captures = sent.work.captures or self.audit.captures(sent.connection)
        unaudited.of_touched(self.audit, sent.connection, captures, sent.statement, touched)


def _record(sent: _Sent, batch: Batch, way: statements.Way, keys: list[Key]) -> None:
    """Record what a statement has written; where that fails, it is not to be stored."""
    try:
        with sent.work.busy():
            if way.after is not None:
                way.after(keys)
            batch.settle()
    except BaseException as error:
        current = activity.of(sent.connection)
        current.note_error(Doom.SAVEPOINT if current.depth else Doom.TRANSACTION, error)
        raise


def _stand_in(sent: _Sent, statement: Any) -> None:
    """Send a statement that says which rows it writes in the place of one that does not."""
    context = sent.context
    parameters = context.compiled_parameters if context.executemany else None
    result = sent.connection.execute(statement, parameters)
    hooks.stand_in(context, len(result.all()))


_NOTED = "_sessionwise_audit_noted"


def _target(context: Any) -> Table | None:
    """Return the table that a statement of SQLAlchemy's writes."""
    if context is None or context.compiled is None or context.isddl:
        return None
    return target_of(context.compiled)


def _touched(statement: str, context: Any) -> Touched:
    """Return what a statement writes, where nothing but its words says so."""
    if context is None:
        return NOTHING
    if context.isddl and not hasattr(context.invoked_statement, "statement"):
        return NOTHING  # CREATE or DROP of what is in the metadata
    if context.compiled is not None and not (context.is_text or context.isddl):
        return written_by(context.compiled)
    return writes_of_text(statement, context.dialect.name, context.dialect.paramstyle)


def _flush_begins(session: Session, uow: UOWTransaction, _instances: Any) -> None:
    flush.begin(session, uow)


def _flush_ends(session: Session, _uow: UOWTransaction) -> None:
    flush.end(session)


def _rolled_back(session: Session, transaction: Any) -> None:
    flush.forget(session, transaction)
