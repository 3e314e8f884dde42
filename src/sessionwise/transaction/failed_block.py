"""What a ``rollback()`` undoes after a savepoint block that an exception has left.

The exception has undone the block. A ``rollback()`` outside of it ends the whole unit of work, and
the ``except`` clause that calls it often does not mean that: so the session remembers the block.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args
from weakref import ref as weakref

from sessionwise.errors import OptionError, OuterRollbackWarning
from sessionwise.transaction import activity, internals
from sessionwise.transaction.callsite import application_frame, describe, warn_caller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session, SessionTransaction

__all__ = [
    "FailedBlock",
    "FailedBlockMode",
    "discards_work",
    "forget",
    "handling",
    "install",
    "is_contained",
    "recall",
    "remember",
    "warn",
]

FailedBlockMode = Literal["unit", "contained"]
"""What a ``rollback()`` undoes while it handles the exception that a block has undone already:
the whole unit of work, or nothing more."""

_MEMORY = "_failed_block_memory"
_MARK = "_sessionwise_failed_block"


@dataclass(frozen=True, slots=True)
class FailedBlock:
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
    failed: FailedBlock | None = None
    handled: BaseException | None = None
    """The exception that the caller handles, where the call cannot see it itself (asyncio)."""


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


def _memory(session: Session) -> _Memory:
    memory: _Memory = session.__dict__[_MEMORY]
    return memory


def remember(session: Session, location: str, exception: BaseException) -> None:
    """Note that an exception has left, and so undone, the block that begins at ``location``."""
    unit = session.get_transaction()
    if unit is None:
        return  # the block had ended with its session: there is nothing left to roll back
    mark = object()
    # By way of __dict__: an exception may be frozen.
    exception.__dict__[_MARK] = mark
    _memory(session).failed = FailedBlock(location, mark, weakref(unit), _statements(session))


def forget(session: Session) -> None:
    """Forget the failed block: whoever has caught the exception knows that the block is undone."""
    _memory(session).failed = None


def recall(session: Session) -> FailedBlock | None:
    """Return, and forget, the failed block that this ``rollback()`` follows, if it follows one."""
    memory = _memory(session)
    failed, memory.failed = memory.failed, None
    if failed is None or failed.unit() is not session.get_transaction():
        return None
    follows = _is_handling(session, failed) or _statements(session) == failed.statements
    return failed if follows else None


def _is_handling(session: Session, failed: FailedBlock) -> bool:
    handled = _memory(session).handled
    if handled is None:
        handled = sys.exc_info()[1]
    return handled is not None and handled.__dict__.get(_MARK) is failed.mark


def is_contained(session: Session, failed: FailedBlock) -> bool:
    """Say whether there is nothing left to undo, by the session's own choice of mode."""
    return (
        _memory(session).mode == "contained"
        and _is_handling(session, failed)
        and _statements(session) == failed.statements
        and _is_intact(session)
    )


def _is_intact(session: Session) -> bool:
    """Say whether the block was all that was undone: a deadlock ends the whole transaction."""
    return all(
        not connection.invalidated and activity.of(connection).intact
        for connection in internals.connections_of(session)
    )


def _statements(session: Session) -> int:
    return sum(
        activity.of(connection).statements for connection in internals.connections_of(session)
    )


def discards_work(session: Session, inside: SessionTransaction | None) -> bool:
    """Say whether a rollback of the savepoint, or of the whole unit, undoes work.

    What the server has given up is undone, and nothing but a rollback ends it.
    """
    if not _is_intact(session):
        return False
    if session.new or session.dirty or session.deleted:
        return True
    if inside is None:
        return any(
            activity.of(connection).writes for connection in internals.connections_of(session)
        )
    touched = internals.connections(inside)
    return any(activity.of(connection).writes_in_savepoint for connection in touched)


def warn(failed: FailedBlock) -> None:
    """Warn, at the caller's line, that work from outside of the block has been discarded."""
    warn_caller(OuterRollbackWarning.at(failed.location, describe(application_frame())))
