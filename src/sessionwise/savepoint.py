"""Technique 11: savepoint blocks that stay open, and what a rollback after a failed one undoes.

In ``with session.begin_nested():``, ``commit()`` and ``rollback()`` end the block's savepoint and
open a fresh one for the rest of the block. Work from outside the block is never touched.
"""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args
from weakref import ref as weakref

from sqlalchemy.engine.util import TransactionalContext
from sqlalchemy.orm import SessionTransaction
from sqlalchemy.orm.session import SessionTransactionState

from sessionwise.errors import OptionError, OuterRollbackWarning
from sessionwise.transaction import activity
from sessionwise.transaction.callsite import application_frame, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

__all__ = [
    "FailedBlockMode",
    "SavepointBlock",
    "block",
    "commit",
    "handling",
    "install",
    "rollback",
]

FailedBlockMode = Literal["unit", "contained"]
"""What a ``rollback()`` undoes while it handles the exception that a block has undone already:
the whole unit of work, or nothing more."""

_MEMORY = "_savepoint_memory"
_MARK = "_sessionwise_failed_block"


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
        except BaseException as error:
            left_by = error
            raise
        finally:
            if left_by is not None and self._entered_at is not None:
                _remember(self.session, self._entered_at, left_by)

    def commit(self, _to_root: bool = False) -> None:
        """Release the savepoint; in a ``with`` block a fresh one opens for the rest of it."""
        reopening = self._blocks_to_reopen()
        super().commit(_to_root)
        _reopen(reopening)

    def rollback(self, _capture_exception: bool = False, _to_root: bool = False) -> None:
        """Undo the savepoint; in a ``with`` block a fresh one opens for the rest of it."""
        reopening = self._blocks_to_reopen()
        super().rollback(_capture_exception, _to_root)
        _reopen(reopening)

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
            self._state = SessionTransactionState.CLOSED
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
    if entered._state is SessionTransactionState.CLOSED:
        TransactionalContext._trans_ctx_check(session)  # raises: the block has ended
    return entered.commit()


def rollback(session: Session, outside: Callable[[], None]) -> None:
    """Roll back the innermost entered block, or call ``outside`` where there is none.

    After a block that an exception left, warn if this discards work from outside of it; with
    ``failed_block="contained"`` undo nothing more.
    """
    failed = _recall(session)
    entered = session._trans_context_manager
    inside = entered if isinstance(entered, SavepointBlock) else None
    discarding = False
    if failed is not None:
        if _is_contained(session, failed):
            return
        discarding = _discards_work(session, inside)
    if inside is None:
        outside()
    elif inside._state is not SessionTransactionState.CLOSED:
        inside.rollback()
    if failed is not None and discarding:
        _warn(failed)


def install(session: Session, mode: FailedBlockMode) -> None:
    """Give the session the memory that ``rollback()`` needs.

    :param mode: what a ``rollback()`` after a failed block undoes.
    :raises OptionError: for a mode that does not exist.
    """
    if mode not in get_args(FailedBlockMode):
        raise OptionError.for_value("failed_block", mode, get_args(FailedBlockMode))
    session.__dict__[_MEMORY] = _Memory(mode)


@contextmanager
def handling(session: Session, handled: BaseException | None) -> Iterator[None]:
    """Tell the session which exception its caller handles: a greenlet starts without one."""
    memory: _Memory | None = session.__dict__.get(_MEMORY)
    if memory is None:  # a session class of plain SQLAlchemy under an AsyncSession of ours
        yield
        return
    memory.handled = handled
    try:
        yield
    finally:
        memory.handled = None


@dataclass(frozen=True, slots=True)
class _FailedBlock:
    """A block that an exception has left."""

    location: str
    """Where the block begins, as ``file:line``."""
    mark: object
    """What the exception carries, so that it can be known again without being kept alive."""
    unit: weakref[SessionTransaction]
    """The unit of work that the block was part of."""
    statements: int
    """Statements that the unit had sent when the block had been undone."""


@dataclass(slots=True)
class _Memory:
    """What a session remembers for its next ``rollback()``."""

    mode: FailedBlockMode
    failed: _FailedBlock | None = None
    handled: BaseException | None = None
    """The exception that the caller handles, where the call cannot see it itself (asyncio)."""


def _memory(session: Session) -> _Memory:
    memory: _Memory = session.__dict__[_MEMORY]
    return memory


def _remember(session: Session, location: str, exception: BaseException) -> None:
    unit = session.get_transaction()
    if unit is None:
        return  # the block had ended with its session: there is nothing left to roll back
    mark = object()
    # By way of __dict__: an exception may be frozen.
    exception.__dict__[_MARK] = mark
    _memory(session).failed = _FailedBlock(location, mark, weakref(unit), _statements(session))


def _recall(session: Session) -> _FailedBlock | None:
    """Return, and forget, the failed block that this ``rollback()`` follows, if it follows one."""
    memory = _memory(session)
    failed, memory.failed = memory.failed, None
    if failed is None or failed.unit() is not session.get_transaction():
        return None
    follows = _is_handling(session, failed) or _statements(session) == failed.statements
    return failed if follows else None


def _is_handling(session: Session, failed: _FailedBlock) -> bool:
    handled = _memory(session).handled or sys.exc_info()[1]
    return handled is not None and handled.__dict__.get(_MARK) is failed.mark


def _is_contained(session: Session, failed: _FailedBlock) -> bool:
    return (
        _memory(session).mode == "contained"
        and _is_handling(session, failed)
        and _statements(session) == failed.statements
        and all(_is_intact(connection) for connection in _connections(session))
    )


def _is_intact(connection: Connection) -> bool:
    """Say whether the block was all that was undone: a deadlock ends the whole transaction."""
    return not connection.invalidated and activity.of(connection).intact


def _connections(session: Session) -> set[Connection]:
    root = session.get_transaction()
    return set() if root is None else {entry[0] for entry in root._connections.values()}


def _statements(session: Session) -> int:
    return sum(activity.of(connection).statements for connection in _connections(session))


def _discards_work(session: Session, inside: SavepointBlock | None) -> bool:
    """Say whether a rollback of the block, or of the whole unit, undoes work."""
    if session.new or session.dirty or session.deleted:
        return True
    if inside is None:
        return any(activity.of(connection).writes for connection in _connections(session))
    touched = {entry[0] for entry in inside._connections.values()}
    return any(activity.of(connection).writes_in_savepoint for connection in touched)


def _warn(failed: _FailedBlock) -> None:
    frame = application_frame()
    warning = OuterRollbackWarning.at(failed.location, describe(frame))
    if frame is None:
        warnings.warn(warning, stacklevel=2)
        return
    namespace: dict[str, Any] = frame.f_globals
    warnings.warn_explicit(
        warning,
        category=OuterRollbackWarning,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=namespace.get("__name__"),
        registry=namespace.setdefault("__warningregistry__", {}),
    )


def _reopen(blocks: list[SavepointBlock]) -> None:
    """Open a fresh savepoint for each block, outermost first, as far as there is a transaction."""
    if not blocks:
        return
    session = blocks[0].session
    innermost = session._trans_context_manager
    try:
        for closed in blocks:
            parent = session._transaction
            if parent is None or not parent.is_active:
                return
            session._trans_context_manager = closed._outer_trans_ctx
            closed._open_again(parent)
    finally:
        session._trans_context_manager = innermost
