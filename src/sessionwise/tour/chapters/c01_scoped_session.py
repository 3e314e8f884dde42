"""Technique 1: a session for each task and thread, and what is left of it when they have ended."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from sqlalchemy import orm
from sqlalchemy.util import ThreadLocalRegistry

import sessionwise
from sessionwise.tour.chapter import Chapter, Scene
from sessionwise.tour.dataset import new_flights, stored_flights
from sessionwise.tour.model import Flight

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionwise.tour.stage import Side


def scoped(db: Side, scopefunc: Any = None) -> Any:
    """Make the side's own ``scoped_session``; ours finds out by itself whose session it is."""
    if issubclass(db.session_class, sessionwise.Session):
        return sessionwise.scoped_session(sessionwise.sessionmaker(db.engine))
    return orm.scoped_session(orm.sessionmaker(db.engine), scopefunc)


def entries(registry: Any) -> int:
    """Count the sessions that a ``scoped_session`` holds on to."""
    if isinstance(registry.registry, ThreadLocalRegistry):
        return int(registry.registry.has())  # it only knows the calling thread's
    kept = registry.registry.registry
    return len(kept)


def serve_tasks(db: Side) -> int:
    """Serve 50 requests, each in a task of its own; nobody calls remove()."""
    sessions = scoped(db, scopefunc=asyncio.current_task)

    async def request(number: int) -> None:
        sessions.get(Flight, number)
        sessions.commit()

    async def serve() -> None:
        await asyncio.gather(*(request(number) for number in range(1, 51)))

    asyncio.run(serve())
    return entries(sessions)


def share_by_tasks(db: Side) -> None:
    """Let a task roll back beside one that stores its work."""
    sessions = scoped(db)

    async def work(flights: list[Flight], end: Callable[[], None]) -> None:
        sessions.add_all(flights)
        await asyncio.sleep(0)  # the other task comes in
        end()

    async def serve() -> None:
        idle = work([], sessions.rollback)
        await asyncio.gather(idle, work(new_flights(20), sessions.commit))

    asyncio.run(serve())


def share_by_threads(db: Side) -> int:
    """Look a flight up in two threads, each with its session."""
    sessions, seen = scoped(db), set()

    def look_up() -> None:
        seen.add(sessions().get(Flight, 1))  # two sessions: two objects
        sessions.commit()

    for _ in range(2):
        thread = threading.Thread(target=look_up)
        thread.start()
        thread.join()
    return len(seen)


CHAPTER = Chapter(
    number=1,
    title="scoped_session",
    promise=(
        "Each task, greenlet or thread has a session of its own, and nothing of it is left when "
        "that has ended."
    ),
    scenes=(
        Scene(
            code=serve_tasks,
            answers=0,
            note=(
                "The answer is how many sessions the registry still holds. Plain SQLAlchemy is "
                "given asyncio.current_task, as its documentation says; sessionwise needs nothing."
            ),
        ),
        Scene(
            code=share_by_tasks,
            look=stored_flights,
            stores="20 new flights",
            note=(
                "Both are made without a scopefunc: SQLAlchemy's then gives a session per thread, "
                "which the tasks of an event loop share."
            ),
        ),
        Scene(code=share_by_threads, answers=2),
    ),
)
