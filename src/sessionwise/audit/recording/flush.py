"""Capture of a flush: the statements it sends say which rows, and all is read in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import SessionTransactionOrigin

from sessionwise.audit.recording.batch import Batch
from sessionwise.audit.recording.dml import dml_of
from sessionwise.errors import AuditError
from sessionwise.transaction import activity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Table
    from sqlalchemy.orm import Mapper, Session, SessionTransaction, UOWTransaction

    from sessionwise.audit.recording.readers import Readers
    from sessionwise.audit.recording.reading import Key, Reader
    from sessionwise.audit.recording.work import Work

__all__ = ["Flush", "begin", "end", "forget", "open_of"]

_ATTRIBUTE = "_sessionwise_audit_flush"


class Flush:
    """One flush of a session, from its beginning to its end."""

    def __init__(self, session: Session, uow: UOWTransaction) -> None:
        self._uow = uow
        self._around = session.get_nested_transaction() or session.get_transaction()
        self._batches: dict[Connection, Batch] = {}
        self._seen: set[Table] = set()

    def note(
        self, connection: Connection, work: Work, readers: Readers, reader: Reader, context: Any
    ) -> None:
        """Note a statement that the flush is about to send."""
        batch = self._batches.get(connection)
        if batch is None:
            batch = self._batches[connection] = Batch(connection, work, readers)
        dml = dml_of(context.compiled, reader)
        if context.isinsert:
            batch.insert(dml, context)
        elif context.isupdate:
            batch.update(dml, context.compiled_parameters, self._others(reader))
        else:
            batch.delete(dml, context.compiled_parameters, self._others(reader))

    def ends_with(self, transaction: SessionTransaction) -> bool:
        """Say whether a transaction that is rolled back takes the flush with it."""
        if transaction.origin is SessionTransactionOrigin.SUBTRANSACTION:
            return True
        around = self._around
        while around is not None and around is not transaction:
            around = around.parent
        return around is not None

    def settle(self, connection: Connection | None = None) -> None:
        """Record what has been flushed up to now.

        :param connection: only what was written there.
        """
        for one, batch in self._batches.items():
            if connection is None or one is connection:
                if batch and activity.of(one).depth > batch.depth:
                    raise AuditError.in_savepoint()
                batch.settle()
        self._seen.clear()

    def _others(self, reader: Reader) -> Callable[[], Iterator[Key]]:
        return lambda: self._candidates(reader)

    def _candidates(self, reader: Reader) -> Iterator[Key]:
        """Give the keys of the rows of a table that the flush will update or delete."""
        table = reader.covered.table
        if table in self._seen:
            return
        self._seen.add(table)
        attributes: dict[Mapper[Any], list[str]] = {}
        for state, (is_deleted, is_listed) in self._uow.states.items():
            if state.key is None or is_listed or not (is_deleted or state.modified):
                continue
            mapper = state.mapper
            names = attributes.get(mapper)
            if names is None:
                names = attributes[mapper] = _key_attributes(mapper, table)
            if not names:
                continue
            before, values = state.committed_state, state.dict
            key = tuple(before.get(name, values.get(name)) for name in names)
            if None not in key:
                yield key


def _key_attributes(mapper: Mapper[Any], table: Table) -> list[str]:
    """Return the attributes that hold the key of an object's row in a table; none: it has none."""
    if table not in mapper.tables:
        return []
    return [mapper.get_property_by_column(one).key for one in table.primary_key.columns]


def begin(session: Session, uow: UOWTransaction) -> None:
    """Note that a flush begins."""
    session.__dict__[_ATTRIBUTE] = Flush(session, uow)


def end(session: Session) -> None:
    """Record what a flush has written; it has sent all its statements."""
    flush: Flush | None = session.__dict__.get(_ATTRIBUTE)
    if flush is not None:
        try:
            flush.settle()
        finally:
            del session.__dict__[_ATTRIBUTE]


def forget(session: Session, transaction: SessionTransaction) -> None:
    """Forget a flush that has failed, when what is around it is rolled back.

    A listener may roll back a savepoint of its own in the middle of it.
    """
    flush = open_of(session)
    if flush is not None and flush.ends_with(transaction):
        del session.__dict__[_ATTRIBUTE]


def open_of(session: Session) -> Flush | None:
    """Return the flush that a session is in the middle of."""
    flush: Flush | None = session.__dict__.get(_ATTRIBUTE)
    return flush
