"""Where in the application a call came from, for messages that name the place."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import greenlet

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["application_frame", "describe", "warn_caller"]

_LIBRARIES = frozenset({"sessionwise", "sqlalchemy", "contextlib", "asyncio", "greenlet"})


def application_frame(start: FrameType | None = None) -> FrameType | None:
    """Return the innermost frame that belongs neither to a session layer nor to asyncio.

    :param start: where to begin; the caller's own frame by default.

    Under asyncio a session runs in a greenlet whose frames end where it was started; the search
    goes on in the greenlet that waits for it.
    """
    running = greenlet.getcurrent()
    frame: FrameType | None = start or sys._getframe(1)  # without making a traceback
    while frame is not None:
        module: str = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in _LIBRARIES:
            return frame
        frame = frame.f_back
        if frame is None and start is None and running.parent is not None:
            running = running.parent
            frame = running.gr_frame
    return None


def describe(frame: FrameType | None) -> str:
    """Return ``file:line`` of a frame."""
    return "an unknown place" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def warn_caller(warning: Warning) -> None:
    """Warn at the application's line, under asyncio too, where no stack level reaches it."""
    frame = application_frame()
    if frame is None:
        warnings.warn(warning, stacklevel=2)
        return
    namespace: dict[str, Any] = frame.f_globals
    warnings.warn_explicit(
        warning,
        category=type(warning),
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=namespace.get("__name__"),
        registry=namespace.setdefault("__warningregistry__", {}),
    )
