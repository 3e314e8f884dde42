"""The unit of work: a session's root transaction, whose outcome is always known."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import SessionTransaction, SessionTransactionOrigin

from sessionwise import statistics
from sessionwise.errors import CommitUnknownError, LeakedSessionWarning
from sessionwise.transaction import (
    activity,
    adoption,
    callbacks,
    companion,
    flushing,
    internals,
    joined,
    receipt,
    running,
    written,
)
from sessionwise.transaction.callsite import application_frame, describe
from sessionwise.transaction.outcome import Outcome, overall

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    from sessionwise.dialects.traits import Receipt
    from sessionwise.transaction.receipt import ReceiptMode

__all__ = ["Ledger", "Unit", "begin", "install", "ledger_of"]

_LEDGER = "_sessionwise_ledger"


@dataclass(slots=True)
class Ledger:
    """What has become of a session's current or last unit of work; it outlives the unit."""

    receipts: ReceiptMode = False
    """Whether receipts are taken."""
    asked: Outcome | None = None
    """What the session was asked for: ACTIVE, COMMITTED or ROLLED_BACK; None before the first."""
    by_engine: dict[Engine, Outcome] = field(default_factory=dict)
    """What became of it in each database."""

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of the unit; without a database it is what was asked for."""
        return overall(self.by_engine.values()) if self.by_engine else self.asked


class _Ended:
    """Stands for a database's transaction that is over, where others of the unit go on."""

    is_active = False

    def rollback(self) -> None:
        """Do nothing: there is nothing left to roll back."""


_ENDED: Any = _Ended()


class Unit(SessionTransaction):
    """SQLAlchemy's root transaction that notes how it ends, whichever way that is."""

    _in_block = False
    _ending = False
    began_at: str | None = None
    """Where the application began it, as ``file:line``; None until it has a connection."""

    @property
    def _ledger(self) -> Ledger:
        return ledger_of(self.session)

    def _connection_for_bind(self, bind: Any, execution_options: Any) -> Connection:
        if internals.has_bind(self, bind):
            return super()._connection_for_bind(bind, execution_options)
        joins = isinstance(bind, Connection) and bind.in_transaction()
        adoption.adopt(bind.engine)
        connection = super()._connection_for_bind(bind, execution_options)
        if isinstance(connection, Connection):
            written.serve(connection, self.session)
            companion.follow(self.session, connection)
        outcome = Outcome.ACTIVE
        if joins:
            outcome = Outcome.JOINED
        elif isinstance(connection, Connection) and activity.autocommits(connection):
            outcome = Outcome.AUTOCOMMIT
        self._ledger.by_engine[connection.engine] = outcome
        if self.began_at is None and connection is not bind:
            self.began_at = describe(application_frame())
        return connection

    def __del__(self) -> None:
        """Tell of a session that nobody closed; the interpreter's exit closes all."""
        if self.began_at is None or internals.is_in(self, "CLOSED") or sys.is_finalizing():
            return
        warning = LeakedSessionWarning.at(self.began_at, "the garbage collector")
        warnings.warn(warning, stacklevel=1)

    def __enter__(self) -> Unit:
        self._in_block = True
        super().__enter__()
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(type_, value, traceback)
        finally:
            self._in_block = False
        self._call_back()
        if value is None:
            flushing.raise_if_lost(self)

    def commit(self, _to_root: bool = False) -> None:
        """Commit, and know whether it is stored.

        :raises TransactionDoomedError: where the server has given the transaction up.
        :raises CommitUnknownError: where the connection was lost and nobody knows.
        """
        for connection in internals.connections(self):
            activity.check(connection)
        if not internals.is_in(self, "PREPARED"):
            with running.CommitEvents(self.session):
                self._prepare_impl()
            self._tell_companion()
        self._commit_connections()
        self._ledger.asked = Outcome.COMMITTED
        self._end(lambda: SessionTransaction.commit(self, _to_root))

    def rollback(self, _capture_exception: bool = False, _to_root: bool = False) -> None:
        """Roll back."""
        flushing.forget(self)
        self._give_up()
        self._end(lambda: SessionTransaction.rollback(self, _capture_exception, _to_root))

    def close(self, invalidate: bool = False) -> None:
        """End without a word: that counts as a rollback."""
        if self._ending:
            super().close(invalidate)
            return
        self._give_up()
        self._end(lambda: SessionTransaction.close(self, invalidate))

    def _end(self, end: Callable[[], None]) -> None:
        self._ending = True
        try:
            end()
        finally:
            self._ending = False
        if not self._in_block:
            self._call_back()

    def _tell_companion(self) -> None:
        along = companion.of_session(self.session)
        if along is None:
            return
        for connection in internals.connections(self):
            along.before_commit(self.session, connection)
            companion.leave(connection)

    def _commit_connections(self) -> None:
        """Commit in each database, so that it is known of each how that went."""
        entries = {entry for entry in internals.entries(self) if entry[2]}
        receipts = {entry[0]: receipt.take(entry[0], self._ledger.receipts) for entry in entries}
        for connection, transaction, _, autoclose in entries:
            try:
                transaction.commit()
            except DBAPIError as error:
                self._resolve(connection, error, receipts.get(connection))
            except BaseException:
                self._note(connection, Outcome.UNKNOWN)  # cancelled in the middle of it
                raise
            else:
                self._note(connection, Outcome.COMMITTED)
            internals.replace_entry(self, (connection, _ENDED, False, autoclose))

    def _resolve(self, connection: Connection, error: DBAPIError, taken: Receipt | None) -> None:
        """Find out what a COMMIT that failed has done; return where it has committed after all."""
        if not error.connection_invalidated:
            self._note(connection, Outcome.ROLLED_BACK)
            raise error
        outcome, why = receipt.resolve(connection.engine, taken)
        self._note(connection, outcome)
        if outcome is Outcome.UNKNOWN:
            raise CommitUnknownError.from_error(error, why) from error
        if outcome is Outcome.ROLLED_BACK:
            raise error

    def _note(self, connection: Connection, outcome: Outcome) -> None:
        by_engine = self._ledger.by_engine
        if by_engine.get(connection.engine) is Outcome.ACTIVE:
            by_engine[connection.engine] = outcome

    def _give_up(self) -> None:
        ledger = self._ledger
        if ledger.asked is not Outcome.ACTIVE:
            return
        ledger.asked = Outcome.ROLLED_BACK
        for connection in internals.connections(self):
            companion.leave(connection)
        for engine, outcome in ledger.by_engine.items():
            if outcome is Outcome.ACTIVE:
                ledger.by_engine[engine] = Outcome.ROLLED_BACK

    def _call_back(self) -> None:
        """Run what was registered, once; in a joined transaction, when its owner has ended it."""
        registered = callbacks.take(self)
        if registered is None:
            return
        ledger = self._ledger
        committed = ledger.asked is Outcome.COMMITTED
        if committed and ledger.outcome is Outcome.JOINED:
            joined.wait_for_owner(next(iter(internals.connections(self))), registered)
        elif ledger.outcome not in {Outcome.UNKNOWN, Outcome.PARTIAL, None}:
            callbacks.run(registered, cast("Outcome", ledger.outcome), committed=committed)


def install(session: Session, *, receipts: ReceiptMode) -> None:
    """Give the session its ledger."""
    session.__dict__[_LEDGER] = Ledger(receipts)


def ledger_of(session: Session) -> Ledger:
    """Return what is known about the session's current or last unit."""
    ledger: Ledger = session.__dict__[_LEDGER]
    return ledger


def begin(session: Session, *, explicitly: bool) -> Unit:
    """Begin the unit of a session that has none.

    :param explicitly: by ``begin()``, and not by the first use.
    """
    session.__dict__[_LEDGER] = Ledger(ledger_of(session).receipts, Outcome.ACTIVE)
    statistics.begin(session)
    origin = SessionTransactionOrigin
    return Unit(session, origin.BEGIN if explicitly else origin.AUTOBEGIN)
