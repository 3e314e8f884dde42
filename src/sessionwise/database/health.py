"""What a database says of itself, and of its connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sessionwise import dialects

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

__all__ = ["PAUSE", "Health", "ask", "checked_out"]

PAUSE = 0.05
"""Seconds between two looks at the pool."""


@dataclass(frozen=True, slots=True)
class Health:
    """What a database says when it is asked how it is."""

    writable: bool
    """Whether it can be written: a standby, or a file that is read-only, cannot."""
    checked_out: int
    """Connections of the pool that are in use."""


def ask(connection: Connection) -> Health:
    """Ask a database whether it can be written."""
    writable = dialects.of(connection.dialect).is_writable(connection)
    return Health(writable, checked_out(connection.engine) - 1)


def checked_out(engine: Engine) -> int:
    """Return how many connections of a pool are in use; a pool that does not count has none."""
    count: Callable[[], int] | None = getattr(engine.pool, "checkedout", None)
    return 0 if count is None else count()
