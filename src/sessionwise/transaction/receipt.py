"""Receipts: taken before COMMIT, and shown to the server where the reply to COMMIT was lost."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from sqlalchemy import Column, Connection, DateTime, MetaData, String, Table
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from sessionwise import dialects
from sessionwise.dialects.traits import Receipt, Resolution
from sessionwise.transaction import activity
from sessionwise.transaction.outcome import Outcome
from sessionwise.transaction.waiting import pause

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["TABLE", "ReceiptMode", "resolve", "take"]

SECONDS_TO_RESOLVE = 10.0
"""How long a server that does not answer, or still runs the transaction, is asked."""

_PAUSE = 0.1

_OUTCOMES = {
    Resolution.COMMITTED: Outcome.COMMITTED,
    Resolution.ROLLED_BACK: Outcome.ROLLED_BACK,
}
_WHY = {
    Resolution.IN_PROGRESS: "the server still runs the transaction",
    Resolution.UNKNOWN: "the server that answers now is not the one that had the transaction",
}


ReceiptMode = bool | Literal["row"]
"""Whether receipts are taken: never, where the database names its transactions, or as a row."""

TABLE = Table(
    "sessionwise_receipt",
    MetaData(),
    Column("id", String(32), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
)
"""Where ``receipts="row"`` writes; rows older than a unit can last may be deleted."""

_ROW = ("row",)


def take(connection: Connection, mode: ReceiptMode) -> Receipt | None:
    """Take a receipt for what a connection has written; a unit that only read sends nothing."""
    if not mode or not activity.of(connection).writes:
        return None
    if mode != "row":
        return dialects.of(connection.dialect).take_receipt(connection)
    name = uuid4().hex
    connection.execute(TABLE.insert(), {"id": name, "at": datetime.now(UTC)})
    return Receipt(name, _ROW)


def resolve(engine: Engine, taken: Receipt | None) -> tuple[Outcome, str]:
    """Find out how a transaction has ended, on a new connection.

    :returns: COMMITTED, ROLLED_BACK or UNKNOWN, and for the last one why.
    """
    if taken is None:
        return Outcome.UNKNOWN, "no receipt was taken (receipts=True on PostgreSQL, or 'row')"
    deadline = time.monotonic() + SECONDS_TO_RESOLVE
    while True:
        try:
            resolution = _ask(engine, taken)
        except (SQLAlchemyError, OSError, engine.dialect.loaded_dbapi.Error) as error:
            # It may be restarting, or a pooler may not have noticed yet.
            resolution, why = Resolution.IN_PROGRESS, f"no answer ({type(error).__name__})"
        else:
            why = _WHY.get(resolution, "")
        if resolution in _OUTCOMES:
            return _OUTCOMES[resolution], ""
        if resolution is Resolution.UNKNOWN or time.monotonic() > deadline:
            return Outcome.UNKNOWN, why
        pause(engine.dialect, _PAUSE)


def _ask(engine: Engine, taken: Receipt) -> Resolution:
    # A pool of its own: in the engine's the lost connection still has its place, perhaps the only.
    pool = engine.pool.recreate()
    try:
        with Connection(engine, pool.connect()) as connection:
            if taken.server == _ROW:
                return _write_again(connection, taken)
            return dialects.of(engine.dialect).resolve(connection, taken)
    finally:
        pool.dispose()


def _write_again(connection: Connection, taken: Receipt) -> Resolution:
    """Write the same row: that waits for a transaction that still runs, and tells how it ended."""
    dialects.of(connection.dialect).set_lock_timeout(connection, seconds=1)
    try:
        connection.execute(TABLE.insert(), {"id": taken.transaction, "at": datetime.now(UTC)})
    except IntegrityError:
        return Resolution.COMMITTED
    except OperationalError:
        return Resolution.IN_PROGRESS
    connection.rollback()
    return Resolution.ROLLED_BACK
