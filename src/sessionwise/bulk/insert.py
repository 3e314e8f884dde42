"""``bulk_insert``: rows into a table, by the fastest writer that takes them."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import ClauseElement

from sessionwise.bulk.announce import Announcement, announce, ids_are_wanted
from sessionwise.bulk.events import Events
from sessionwise.bulk.plan import Plan
from sessionwise.bulk.reading import rows as rows_
from sessionwise.bulk.rejects.collected import rejects_of, some
from sessionwise.bulk.rejects.searching import Searching
from sessionwise.bulk.rejects.storing import Storing
from sessionwise.bulk.result import BulkResult, Meter, plain_key
from sessionwise.bulk.target import Target
from sessionwise.bulk.writers import choose, core
from sessionwise.errors import OptionError, UnsupportedError
from sessionwise.transaction import activity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from sessionwise.bulk.reading.rows import Chunk
    from sessionwise.bulk.rejects.collected import OnError, Rejects
    from sessionwise.bulk.result import BulkProgress
    from sessionwise.bulk.writers import Writer

__all__ = ["OnConflict", "check_undoable", "insert", "savepoint"]

OnConflict = Literal["nothing"]

_FEW = 100
"""Rows below which the writer for many is not the fastest one."""


def insert(
    session: Session,
    entity: Any,
    rows: Any,
    *,
    returning: bool = False,
    on_conflict: OnConflict | None = None,
    on_error: OnError = "raise",
    max_errors: int | None = None,
    events: bool = False,
    columns: Sequence[str] | None = None,
    chunk_size: int | None = None,
    progress: Callable[[BulkProgress], object] | None = None,
) -> BulkResult:
    """Insert rows; the parameters are those of ``Session.bulk_insert``."""
    if on_conflict not in {None, "nothing"}:
        raise OptionError.for_value("on_conflict", on_conflict, (None, "nothing"))
    if on_conflict is not None and returning:
        raise OptionError("rows that are left out have no ids: choose on_conflict= or returning=")
    rejects = rejects_of(rows, on_error, max_errors)
    size = rows_.checked_size(chunk_size)
    target = Target.of(entity)
    session.flush()
    inserter = Inserter(
        session,
        target,
        rejects,
        returning=returning,
        events=events,
        skips=on_conflict == "nothing",
    )
    meter = Meter(progress)
    into = target if rejects is None else rejects.target(target)
    with savepoint(inserter.connection), inserter.searching or nullcontext():
        for chunk in rows_.chunks(rows, target=into, columns=columns, chunk_size=size):
            inserter.write(chunk)
            meter.add(len(chunk), 0 if rejects is None else len(rejects))
    return inserter.result()


def check_undoable(connection: Connection) -> None:
    """See that rows which fail can be undone, and others are kept.

    :raises UnsupportedError: in AUTOCOMMIT, which knows no savepoints.
    """
    if activity.autocommits(connection):
        raise UnsupportedError(
            'on_error="reject" undoes what has failed, which AUTOCOMMIT does not let it: use a '
            "connection with transactions"
        )


@contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """Make a block that is undone as a whole, where it fails, and nothing else with it."""
    if activity.autocommits(connection):
        yield
        return
    nested = connection.begin_nested()
    try:
        yield
        nested.commit()
    except BaseException as error:
        try:
            # Interrupted, there may be nothing left to undo.
            if connection.get_nested_transaction() is not None and not connection.invalidated:
                nested.rollback()
        except DBAPIError:
            # After a deadlock there is no savepoint any more. The deadlock is what the caller is
            # to know of, so that the unit is run again.
            raise error  # noqa: B904 - the other error is its context
        raise


class Inserter:
    """Writes the chunks of one input."""

    def __init__(
        self,
        session: Session,
        target: Target,
        rejects: Rejects | None = None,
        *,
        returning: bool,
        events: bool = False,
        skips: bool = False,
    ) -> None:
        """Prepare to write.

        :param skips: whether rows whose key is there already are left out.
        """
        self.session = session
        self.skips = skips
        self.target = target
        self.connection = target.connection(session)
        self.rejects = rejects
        self._storing: Storing | None = None
        if rejects is not None:
            check_undoable(self.connection)
            self._storing = Storing(
                rejects,
                self.connection.dialect.name,
                self._attempt,
                None if target.is_joined else lambda chunk: self._planned(chunk)[0],
                Searching(self.connection, target, savepoint, skips=skips),
            )
        self._events = Events.of(target, self.connection) if events else None
        self._ids: dict[int, Any] | None = {} if returning else None
        self._read = self._inserted = 0
        self._writer: Writer = core.WRITER
        self._plans: dict[tuple[str, ...], tuple[Plan, Writer]] = {}

    @property
    def searching(self) -> Searching | None:
        """What rows are searched by, where those that fail are rejected."""
        return None if self._storing is None else self._storing.searching

    def result(self) -> BulkResult:
        """Return what has been done."""
        ids = None if self._ids is None else [self._ids.get(at) for at in range(self._read)]
        rejected = [] if self.rejects is None else self.rejects.result()
        skipped = self._read - self._inserted - len(rejected)
        return BulkResult(
            self._writer.name, self._inserted, skipped=skipped, ids=ids, rejected=rejected
        )

    def write(self, chunk: Chunk) -> None:
        """Write a chunk, and keep its primary keys where these are asked for."""
        self._read += len(chunk)
        if self.rejects is not None:
            chunk = self.rejects.without_refused(chunk)
            if not chunk.positions:
                return
        if self._events is not None:
            chunk = self._events.before(chunk)
        self._announce(chunk, done=False)
        plan, self._writer = self._planned(chunk)
        if self._storing is None:
            found = self._send(chunk, plan, self._writer)
        else:
            at, found = self._storing.store(chunk)
            chunk = some(chunk, at)
            if self._events is not None:
                self._events.keep(at)
        if self._ids is not None and found is not None:
            self._ids.update(zip(chunk.positions, map(plain_key, found), strict=True))
        if self._events is not None:
            self._events.after(chunk, found)
        if chunk.positions:
            self._announce(chunk, done=True, ids=found)

    def _attempt(self, chunk: Chunk) -> Sequence[Any] | None:
        """Write some rows of a chunk, all of them or none."""
        plan, writer = self._planned(chunk)
        if len(chunk) < _FEW and not self.skips:
            writer = choose(self.connection, plan, chunk)
        return self._send(chunk, plan, writer)

    def _send(self, chunk: Chunk, plan: Plan, writer: Writer) -> Sequence[Any] | None:
        if self.skips:
            with self._undoable():
                self._inserted += core.insert_missing(self.connection, plan, chunk)
            return None
        try:
            with savepoint(self.connection):
                found = self._by(writer, plan, chunk)
        except Exception:
            # That values are SQL expressions shows only here: to look for them is not cheap.
            if not (apart := _with_expressions(chunk)) or self.target.is_joined:
                raise
            self._writer = core.WRITER
            with self._undoable():
                found = core.insert_expressions(self.connection, plan, chunk, apart)
        self._inserted += len(chunk)
        return found

    def _undoable(self) -> AbstractContextManager[None]:
        """Return a savepoint where the rows may be tried again; else that of the call will do."""
        return nullcontext() if self.rejects is None else savepoint(self.connection)

    def _by(self, writer: Writer, plan: Plan, chunk: Chunk) -> Sequence[Any] | None:
        if self.target.is_joined:
            return core.insert_joined(self.session, plan, chunk, returning=self._wants_ids)
        if self._wants_ids:
            return writer.write_returning(self.connection, plan, chunk)
        writer.write(self.connection, plan, chunk)
        return None

    @property
    def _wants_ids(self) -> bool:
        return (
            self._ids is not None
            or (self._events is not None and self._events.want_ids)
            or ids_are_wanted(self.session, self.connection, self.target)
        )

    def _planned(self, chunk: Chunk) -> tuple[Plan, Writer]:
        known = self._plans.get(chunk.names)
        if known is None:
            plan = Plan(self.target, chunk.names, self.connection.dialect)
            writer = core.WRITER if self.skips else choose(self.connection, plan, chunk)
            known = self._plans[chunk.names] = (plan, writer)
        return known

    def _announce(self, chunk: Chunk, *, done: bool, ids: Any = None) -> None:
        announce(
            Announcement(
                self.session,
                self.connection,
                self.target,
                "insert",
                done,
                chunk,
                ids,
            )
        )


def _with_expressions(chunk: Chunk) -> set[int]:
    """Return which rows of a chunk have SQL expressions among their values."""
    return {
        at
        for at, row in enumerate(chunk.rows)
        if any(
            isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")
            for value in row
        )
    }
