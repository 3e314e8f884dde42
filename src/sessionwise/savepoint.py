"""Technique 11: savepoint blocks that stay open until they are left.

In ``with session.begin_nested():``, ``commit()`` and ``rollback()`` end the block's savepoint and
open a fresh one for the rest of the block. Work from outside the block is never touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sqlalchemy.engine.util import TransactionalContext
from sqlalchemy.orm import SessionTransaction

from sessionwise.transaction import (
    activity,
    callbacks,
    failed_block,
    flushing,
    internals,
    running,
)
from sessionwise.transaction.callsite import application_frame, describe

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from sqlalchemy.orm import Session

__all__ = ["SavepointBlock", "block", "commit", "rollback"]


class SavepointBlock(SessionTransaction):
    """The transaction of ``begin_nested()``; its ``with`` block owns savepoint after savepoint.

    Outside of a ``with`` block it is SQLAlchemy's transaction and nothing else.
    """

    _entered_at: str | None = None
    _leaving = False

    def __enter__(self) -> SavepointBlock:
        self._entered_at = describe(application_frame())
        super().__enter__()
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leaving = True
        left_by = value
        try:
            super().__exit__(type_, value, traceback)
            if value is None:
                flushing.raise_if_lost(self)
        except BaseException as error:
            left_by = error
            raise
        finally:
            if left_by is not None and self._entered_at is not None:
                failed_block.remember(self.session, self._entered_at, left_by)

    def commit(self, _to_root: bool = False) -> None:
        """Release the savepoint; in a ``with`` block a fresh one opens for the rest of it.

        :raises TransactionDoomedError: where the server has given up what is in it.
        """
        for connection in internals.connections(self):
            activity.check(connection)
        reopening = self._blocks_to_reopen()
        with running.CommitEvents(self.session):
            super().commit(_to_root)
        _reopen(reopening)

    def rollback(self, _capture_exception: bool = False, _to_root: bool = False) -> None:
        """Undo the savepoint; in a ``with`` block a fresh one opens for the rest of it."""
        flushing.forget(self)
        reopening = self._blocks_to_reopen()
        super().rollback(_capture_exception, _to_root)
        _reopen(reopening)

    def close(self, invalidate: bool = False) -> None:
        """End the savepoint; what was registered in it goes where its work goes."""
        committed, around = internals.is_in(self, "COMMITTED"), self._parent
        super().close(invalidate)
        if committed and around is not None:
            callbacks.pass_on(self, around)
        else:
            callbacks.discard(self)

    def _blocks_to_reopen(self) -> list[SavepointBlock]:
        """Return this block and the entered ones inside it, outermost first.

        There are none where this is no entered block, where the block is being left, or where the
        transaction around it is ending and takes it along.
        """
        if self._leaving or self._parent is None or self._parent._current_fn is not None:
            return []
        inside: list[SavepointBlock] = []
        context = self.session._trans_context_manager
        while isinstance(context, SavepointBlock):
            inside.insert(0, context)
            if context is self:
                return inside
            context = context._outer_trans_ctx
        return []

    def _open_again(self, parent: SessionTransaction) -> None:
        """Become a new savepoint of ``parent``, and stay the object that the caller holds."""
        try:
            SessionTransaction.__init__(self, self.session, self.origin, parent)
        except BaseException:
            # What a listener has left in the session cannot be flushed: the block stays ended.
            internals.mark_closed(self)
            raise
        self._rollback_exception = None
        self.session._nested_transaction = self


def block(transaction: SessionTransaction) -> SavepointBlock:
    """Make the transaction that SQLAlchemy's ``begin_nested()`` began a savepoint block.

    The class changes, not the object: SQLAlchemy has no place to say which class to make, and
    whoever heard of the transaction by an event holds the right one.
    """
    transaction.__class__ = SavepointBlock
    return cast("SavepointBlock", transaction)


def commit(session: Session, outside: Callable[[], None]) -> None:
    """Commit the innermost entered block, or call ``outside`` where there is none."""
    entered = session._trans_context_manager
    if not isinstance(entered, SavepointBlock):
        return outside()
    if internals.is_in(entered, "CLOSED"):
        TransactionalContext._trans_ctx_check(session)  # raises: the block has ended
    return entered.commit()


def rollback(session: Session, outside: Callable[[], None]) -> None:
    """Roll back the innermost entered block, or call ``outside`` where there is none.

    After a block that an exception left, warn if this discards work from outside of it; with
    ``failed_block="contained"`` undo nothing more.
    """
    failed = failed_block.recall(session)
    if failed is not None and failed_block.is_contained(session, failed):
        return
    entered = session._trans_context_manager
    inside = entered if isinstance(entered, SavepointBlock) else None
    discarding = failed is not None and failed_block.discards_work(session, inside)
    if inside is None:
        outside()
    elif not internals.is_in(inside, "CLOSED"):
        inside.rollback()
    if failed is not None and discarding:
        failed_block.warn(failed)


def _reopen(blocks: list[SavepointBlock]) -> None:
    """Open a fresh savepoint for each block, outermost first, as far as there is a transaction."""
    if not blocks:
        return
    session = blocks[0].session
    innermost = session._trans_context_manager
    try:
        for closed in blocks:
            parent = internals.innermost(session)
            if parent is None or not parent.is_active:
                return
            session._trans_context_manager = closed._outer_trans_ctx
            closed._open_again(parent)
    finally:
        session._trans_context_manager = innermost
