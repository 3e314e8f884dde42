"""What is attached to an engine that a session of ours uses."""

from __future__ import annotations

from sqlalchemy import Engine

from sessionwise import dialects
from sessionwise.transaction import activity

__all__ = ["adopt", "release"]


def adopt(engine: Engine) -> None:
    """Attach to an engine what sessions need of it; once attached, a second call changes nothing.

    Other engines are untouched. :func:`release` takes all of it away again.
    """
    if not isinstance(engine, Engine):
        return  # a stand-in for an engine, in somebody's tests
    activity.register(engine)
    dialects.of(engine.dialect).adopt(engine)


def release(engine: Engine) -> None:
    """Undo :func:`adopt`."""
    activity.unregister(engine)
    dialects.of(engine.dialect).release(engine)
