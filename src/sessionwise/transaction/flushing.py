"""Flushes: they are counted, and one that failed is not hidden by the end of its block.

A flush that fails has undone its transaction. SQLAlchemy closes a block that is left normally
after that without a word, and with it goes what the block had written before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import PendingRollbackError

from sessionwise import statistics
from sessionwise.sql import expiry
from sessionwise.transaction import activity, internals, running

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.orm import Session, SessionTransaction

__all__ = ["flush", "forget", "raise_if_lost"]

_ATTRIBUTE = "_sessionwise_failed_flush"


def flush(
    session: Session,
    send: Callable[[Sequence[object] | None], None],
    objects: Sequence[object] | None,
) -> None:
    """Flush a session that has something to send.

    :param send: SQLAlchemy's ``flush``.
    """
    before = _writes(session)
    try:
        with running.Events(session):
            send(objects)
    except BaseException as error:
        _note_failure(session, error, before)
        raise
    finally:
        expiry.after_flush(session)
    if _writes(session) != before:
        statistics.of(session).count_flush()


def _writes(session: Session) -> int:
    """Return how many statements that may have written the innermost transaction has sent."""
    innermost = session.get_nested_transaction()
    if innermost is not None:
        touched = internals.connections(innermost)
        return sum(activity.of(connection).writes_in_savepoint for connection in touched)
    return sum(activity.of(connection).writes for connection in internals.connections_of(session))


def _note_failure(session: Session, error: BaseException, writes_before: int) -> None:
    """Note that a flush has failed, where its transaction had written before."""
    innermost = session.get_nested_transaction() or session.get_transaction()
    if writes_before and innermost is not None and not innermost.is_active:
        innermost.__dict__[_ATTRIBUTE] = (error, writes_before)


def forget(transaction: SessionTransaction) -> None:
    """Forget the failed flush: a ``rollback()`` has taken note of it."""
    transaction.__dict__.pop(_ATTRIBUTE, None)


def raise_if_lost(transaction: SessionTransaction) -> None:
    """Raise where a flush has failed in a block that is left normally.

    :raises PendingRollbackError: chained to the error of the flush.
    """
    error, lost = transaction.__dict__.pop(_ATTRIBUTE, (None, 0))
    if error is None:
        return
    statements = "1 statement" if lost == 1 else f"{lost} statements"
    raise PendingRollbackError(
        f"a flush in this block failed ({type(error).__name__}), and {statements} that the block "
        "had written before went with it. Let the error leave the block, call rollback() where "
        "the loss is meant, or give what may fail a block of its own: with session.begin_nested()",
        code="7s2a",
    ) from error
