"""``Change``: one change of one row, as it is told to whoever asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["Change"]

_GONE = frozenset({"DELETE", "TRUNCATE", "UNLINK"})


@dataclass(frozen=True)
class Change:
    """One change of one row: what, when, by whom and why.

    ``old`` and ``new`` name attributes, and have the values that the ORM would load. What the
    class has no longer is named as its column, and is as it was recorded.
    """

    id: int
    """Its number in ``audit_log``: later changes have higher ones."""
    at: datetime
    """When, in UTC."""
    action: str
    """INSERT, UPDATE, DELETE or TRUNCATE; LINK or UNLINK for rows that only link others."""
    table: str
    """The table, with its schema where it has one."""
    object_id: Any
    """The primary key of the row, after an UPDATE that changed it; a tuple if it is composite."""
    previous_id: Any
    """The primary key before, where an UPDATE has changed it."""
    old: Mapping[str, Any] | None
    """The row before, whole; None for INSERT and LINK."""
    new: Mapping[str, Any] | None
    """The row after: whole for INSERT and LINK, what has changed for UPDATE, else None."""
    transaction_id: int
    """The ``id`` in ``audit_transaction``: the same for what one transaction and actor changed."""
    actor: str | None = None
    """Who."""
    reason: str | None = None
    """Why."""
    request_id: str | None = None
    """By which request."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """What else was said with it."""
    schema_version: str | None = None
    """Of the columns that were recorded."""

    @property
    def row(self) -> dict[str, Any] | None:
        """The row after the change, whole; None where there is none."""
        if self.action in _GONE:
            return None
        return {**(self.old or {}), **(self.new or {})}

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """What has changed: for each attribute its value before and after; None for no row."""
        old, new = self.old or {}, self.new or {}
        names = old if self.action in _GONE else new
        return {name: (old.get(name), new.get(name)) for name in names}
