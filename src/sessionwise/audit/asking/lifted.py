"""Questions are answered by sync code; of an async session they are awaited."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from sessionwise.lifting import AsyncObjects, lift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sessionwise.audit.asking.change import Change

__all__ = ["answer", "chunks"]


def answer(session: Any, ask: Callable[[Any], Any]) -> Any:
    """Ask a sync session, or return what asks an async one when it is awaited."""
    current = _session_of(session)
    return lift(ask)(current) if _is_async(current) else ask(current)


def chunks(session: Any, ask: Callable[[Any], Iterator[list[Change]]]) -> Any:
    """Give what comes in chunks one by one; of an async session by ``async for``."""
    current = _session_of(session)
    if not _is_async(current):
        return chain.from_iterable(ask(current))
    return AsyncObjects(
        current,
        lambda: ask(current.sync_session),
        lambda: lift(lambda sync: [*chain.from_iterable(ask(sync))])(current),
    )


def _session_of(session: Any) -> Any:
    """Return the session of a ``scoped_session``, or the one that it is."""
    return session() if hasattr(session, "registry") else session


def _is_async(session: Any) -> bool:
    return hasattr(session, "run_sync")
