"""What a bulk verb says it has done, and is doing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["BulkProgress", "BulkResult", "ProgressHook"]


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


ProgressHook = "Callable[[BulkProgress], object]"
"""Called after each chunk."""
