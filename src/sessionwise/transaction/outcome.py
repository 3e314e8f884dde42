"""How a unit of work has ended: what the caller always knows."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Outcome", "overall"]


class Outcome(Enum):
    """What has become of a unit of work."""

    ACTIVE = "active"
    """It has not ended."""
    COMMITTED = "committed"
    """Its data is stored."""
    ROLLED_BACK = "rolled back"
    """Nothing of it is stored."""
    UNKNOWN = "unknown"
    """The connection was lost during COMMIT, and nobody can say which of the two it is."""
    PARTIAL = "partial"
    """Of its several databases some have committed and some have not: see ``outcomes``."""
    JOINED = "joined"
    """It is part of a transaction that was there before, whose owner decides."""
    AUTOCOMMIT = "autocommit"
    """Each statement was a transaction of its own."""


def overall(outcomes: Collection[Outcome]) -> Outcome:
    """Return the outcome of a unit from those of its databases; without any, nothing was lost."""
    different = set(outcomes)
    if len(different) == 1:
        return different.pop()
    if not different:
        return Outcome.COMMITTED
    if Outcome.COMMITTED in different and different & {Outcome.ROLLED_BACK, Outcome.UNKNOWN}:
        return Outcome.PARTIAL
    return next(outcome for outcome in _WEIGHT if outcome in different)


_WEIGHT = (
    Outcome.ACTIVE,
    Outcome.UNKNOWN,
    Outcome.ROLLED_BACK,
    Outcome.PARTIAL,
    Outcome.COMMITTED,
    Outcome.JOINED,
    Outcome.AUTOCOMMIT,
)
"""What a unit is as a whole where its databases differ: the first of these that one of them is."""
