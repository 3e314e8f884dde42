"""What a bulk verb says it has done, and is doing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BulkProgress", "BulkResult", "Meter", "plain_key"]


@dataclass(frozen=True)
class BulkResult:
    """What a bulk verb has done; ``read == inserted + updated + skipped``."""

    writer: str
    """Which writer has sent the rows: ``"postgresql-copy"``, ``"core"`` …"""
    inserted: int = 0
    updated: int = 0
    skipped: int = 0
    """Rows that were left out: as ``on_conflict="nothing"`` asks, or where nothing matched."""
    ids: list[Any] | None = field(default=None, repr=False)
    """Primary keys in the order of the input, where ``returning=True``: values, or tuples."""

    @property
    def read(self) -> int:
        """Rows of the input."""
        return self.inserted + self.updated + self.skipped


@dataclass(frozen=True, slots=True)
class BulkProgress:
    """How far a bulk verb has come."""

    rows: int
    """Rows that have been sent."""
    seconds: float
    """Since it began."""

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds if self.seconds else 0.0


class Meter:
    """Tells a caller, who may want to know, how far a bulk verb has come."""

    def __init__(self, progress: Callable[[BulkProgress], object] | None) -> None:
        self.rows = 0
        """Rows that have been sent."""
        self._progress = progress
        self._began = time.monotonic()

    def add(self, rows: int) -> None:
        """Note that so many more rows have been sent."""
        self.rows += rows
        if self._progress is not None:
            self._progress(BulkProgress(self.rows, time.monotonic() - self._began))


def plain_key(key: Any) -> Any:
    """Return a primary key as ``BulkResult.ids`` has it: the one value, where it has one."""
    if key is None:
        return None
    return key[0] if len(key) == 1 else tuple(key)
