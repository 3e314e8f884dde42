"""Objects that have no row, or are not what their row is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm.exc import DetachedInstanceError, StaleDataError

from sessionwise.errors.base import SessionwiseError, SessionwiseWarning
from sessionwise.errors.shown import MANY, cut, key_shown

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "UNKNOWN",
    "MergeConflict",
    "MergeConflictError",
    "MissingRowsError",
    "NotLoadedError",
    "StaleSnapshotWarning",
]


class MissingRowsError(SessionwiseError, NoResultFound):
    """Objects were asked for that have no row."""

    @classmethod
    def of(cls, entity: type[Any], absent: Sequence[tuple[Any, ...]]) -> MissingRowsError:
        """Build the error from the class and the primary keys that have no row."""
        absent = list(dict.fromkeys(absent))
        shown = ", ".join(map(key_shown, absent[:MANY]))
        if len(absent) > MANY:
            shown += f" and {len(absent) - MANY} more"
        rows = "row" if len(absent) == 1 else "rows"
        error = cls(f"{entity.__name__} has no {rows} with the primary key {shown}")
        error.keys = list(absent)
        return error

    keys: Sequence[tuple[Any, ...]] = ()
    """The primary keys that have no row, each a tuple."""


class NotLoadedError(SessionwiseError, DetachedInstanceError):
    """What was not loaded before ``detach()`` has been read afterwards."""

    @classmethod
    def of(cls, class_name: str, attribute: str, path: str) -> NotLoadedError:
        """Build the error from the attribute, and the path that loads it."""
        return cls(
            f"{class_name}.{attribute} was not loaded when its object was detached. Name it "
            f"there: session.detach(..., {path!r})"
        )


@dataclass(frozen=True)
class MergeConflict:
    """An attribute that both sides of a merge have changed."""

    instance: object
    """The object that was to be merged."""
    attribute: str
    """The name of the attribute."""
    base: Any
    """Its value when the object was loaded; ``UNKNOWN`` where nobody can say."""
    mine: Any
    """Its value in the object."""
    theirs: Any
    """Its value in the database now."""


class _Unknown:
    def __repr__(self) -> str:
        return "unknown"


UNKNOWN = _Unknown()
"""Stands for a base value that nobody knows."""


class MergeConflictError(SessionwiseError, StaleDataError):
    """Objects to be merged, and the rows they are merged into, were both changed."""

    @classmethod
    def of(cls, conflicts: Sequence[MergeConflict]) -> MergeConflictError:
        """Build the error from the conflicts, one or more."""
        shown = "; ".join(map(_show_conflict, conflicts[:MANY]))
        if len(conflicts) > MANY:
            shown += f"; and {len(conflicts) - MANY} more"
        error = cls(
            f"changed here and in the database: {shown}. Nothing has been merged. Decide with "
            "conflicts='mine' or conflicts='theirs', or show both values to the user"
        )
        error.conflicts = list(conflicts)
        return error

    conflicts: Sequence[MergeConflict] = ()
    """Every attribute in conflict."""


class StaleSnapshotWarning(SessionwiseWarning):
    """A refresh has read an old state: the transaction sees the database as it once was."""

    @classmethod
    def at(cls, isolation: str, remedy: str) -> StaleSnapshotWarning:
        """Build the warning from the kind of transaction, and what sees the newest row instead."""
        return cls(
            f"refreshed in a {isolation} transaction: it reads the database as it was when the "
            "transaction first read, not the newest row. Refresh in a new transaction, or "
            f"{remedy}"
        )


def _show_conflict(conflict: MergeConflict) -> str:
    shown = (f"{name} {cut(repr(getattr(conflict, name)))}" for name in ("base", "mine", "theirs"))
    return f"{type(conflict.instance).__name__}.{conflict.attribute} ({', '.join(shown)})"
