"""What a bulk verb says it has done, and is doing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BulkProgress", "BulkResult", "Kind", "Meter", "Rejected", "plain_key"]

Kind = Literal["value", "not null", "check", "unique", "foreign key", "exclusion", "database"]


@dataclass(frozen=True)
class Rejected:
    """A row that could not be stored, where ``on_error="reject"``."""

    position: int
    """Where it is in the input, from 0."""
    line: int | None
    """The line of the file that it begins in, from 1."""
    row: Any
    """The row as it was given; of a file, a dict of the values as they are in it."""
    kind: Kind
    """What refused it: ``"value"`` for what is no value of its column, ``"database"`` for what has
    no kind of its own, a trigger for instance."""
    constraint: str | None
    """The constraint or index, where it has a name."""
    column: str | None
    """The column, or the columns of the constraint, with commas between."""
    message: str
    """Why, in one line."""


@dataclass(frozen=True)
class BulkResult:
    """What a bulk verb has done; ``read == inserted + updated + skipped + len(rejected)``."""

    writer: str
    """Which writer has sent the rows: ``"postgresql-copy"``, ``"core"`` …"""
    inserted: int = 0
    updated: int = 0
    skipped: int = 0
    """Rows that were left out: as ``on_conflict="nothing"`` asks, or where nothing matched."""
    ids: list[Any] | None = field(default=None, repr=False)
    """Primary keys in the order of the input, where ``returning=True``: values, or tuples; None
    for a row that was rejected."""
    rejected: list[Rejected] = field(default_factory=list, repr=False)
    """The rows that could not be stored, in the order of the input, where
    ``on_error="reject"``."""

    @property
    def read(self) -> int:
        """Rows of the input."""
        return self.inserted + self.updated + self.skipped + len(self.rejected)


@dataclass(frozen=True, slots=True)
class BulkProgress:
    """How far a bulk verb has come."""

    rows: int
    """Rows that have been sent, or rejected."""
    seconds: float
    """Since it began."""
    rejected: int = 0
    """Rows that have been rejected so far, where ``on_error="reject"``."""

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

    def add(self, rows: int, rejected: int = 0) -> None:
        """Note that so many more rows have been sent.

        :param rejected: how many rows have been rejected, of all.
        """
        self.rows += rows
        if self._progress is not None:
            seconds = time.monotonic() - self._began
            self._progress(BulkProgress(self.rows, seconds, rejected))


def plain_key(key: Any) -> Any:
    """Return a primary key as ``BulkResult.ids`` has it: the one value, where it has one."""
    if key is None:
        return None
    return key[0] if len(key) == 1 else tuple(key)
