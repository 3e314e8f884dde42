"""The counters behind ``session.report()``."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["Statistics", "begin", "of"]

_ATTRIBUTE = "_sessionwise_statistics"


@dataclass(slots=True)
class Statistics:
    """What a session has counted since its unit of work began."""

    began: float | None = None
    """When, by the monotonic clock, in seconds; None before the first unit."""
    flushes: int = 0
    """Flushes that had something to send, autoflushes included."""
    autoflushes: int = 0
    """Those of them that a query has caused."""
    in_autoflush: bool = field(default=False, repr=False)
    """Whether a query is flushing now."""

    def count_flush(self) -> None:
        """Count a flush that has sent something."""
        self.flushes += 1
        self.autoflushes += self.in_autoflush


def begin(session: Session) -> None:
    """Begin to count, with the unit of work."""
    session.__dict__[_ATTRIBUTE] = Statistics(time.monotonic())


def of(session: Session) -> Statistics:
    """Return what has been counted."""
    found: Statistics = session.__dict__.setdefault(_ATTRIBUTE, Statistics())
    return found
