"""What is attached to an engine that a session of ours uses."""

from __future__ import annotations

from sqlalchemy import Engine

from sessionwise import dialects
from sessionwise.transaction import activity

__all__ = ["adopt", "release"]

_ADOPTED = "_sessionwise_adopted"
"""Where an engine's dialect, which is its own, notes that it has all of it."""


def adopt(engine: Engine) -> None:
    """Attach to an engine what sessions need of it; once attached, a second call changes nothing.

    Other engines are untouched. :func:`release` takes all of it away again.
    """
    if not isinstance(engine, Engine):
        return  # a stand-in for an engine, in somebody's tests
    if _ADOPTED not in engine.dialect.__dict__:  # this runs once per unit of work
        activity.register(engine)
        dialects.of(engine.dialect).adopt(engine)
        engine.dialect.__dict__[_ADOPTED] = True


def release(engine: Engine) -> None:
    """Undo :func:`adopt`."""
    engine.dialect.__dict__.pop(_ADOPTED, None)
    activity.unregister(engine)
    dialects.of(engine.dialect).release(engine)
