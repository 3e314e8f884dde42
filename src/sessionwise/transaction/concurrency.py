"""One session, one thread or task at a time: overlapping calls are told apart from nested ones."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import greenlet

from sessionwise.errors import ConcurrentUseError
from sessionwise.transaction.callsite import application_frame, describe

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Guard"]

_OWNER = "owner"


class Guard:
    """A block around each call of a session; a call inside a call of the same greenlet is fine.

    A thread has a greenlet of its own, and so has each call of an ``AsyncSession``.
    """

    __slots__ = ("_deferred", "_depth", "_frame", "_owner", "_place")

    def __init__(self) -> None:
        self._owner: dict[str, greenlet.greenlet] = {}
        self._depth = 0
        self._frame: FrameType | None = None
        self._place: str | None = None
        self._deferred: Callable[[], None] | None = None

    def __enter__(self) -> None:
        me = greenlet.getcurrent()
        # setdefault is one step for the interpreter: of two threads one comes first.
        owner = self._owner.setdefault(_OWNER, me)
        if owner is not me and not _is_same_task(owner, me):
            raise ConcurrentUseError.between(self._running(), describe(application_frame()))
        self._depth += 1
        if self._depth == 1:
            self._frame = sys._getframe(1)
            if me.parent is not None:
                # The frames of the task that waits cannot be found from another task.
                self._place = describe(application_frame())

    def __exit__(self, *_exception: object) -> None:
        self._depth -= 1
        if self._depth:
            return
        self._frame = self._place = None
        deferred, self._deferred = self._deferred, None
        try:
            if deferred is not None:
                deferred()
        finally:
            self._owner.clear()

    def defer(self, close: Callable[[], None]) -> bool:
        """Have the session closed when the call ends that another thread or task makes now.

        :returns: whether there is such a call; otherwise the caller closes by itself.
        """
        owner = self._owner.get(_OWNER)
        me = greenlet.getcurrent()
        if owner is None or owner is me or _is_same_task(owner, me):
            return False
        self._deferred = close
        return True

    def _running(self) -> str:
        if self._place is not None:
            return self._place
        return describe(application_frame(self._frame))


def _is_same_task(owner: greenlet.greenlet, me: greenlet.greenlet) -> bool:
    """Say whether two greenlets serve one task: a listener that awaits begins another."""
    if owner.parent is None or me.parent is None:
        return False
    mine: Any = me.gr_context
    return owner.gr_context is mine and mine is not None
