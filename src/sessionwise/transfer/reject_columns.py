"""The columns of a reject file that say why a row is in it; they are left out of the next load."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FILE_COLUMN", "REJECT_COLUMNS", "is_reject_file", "without_reject_columns"]

REJECT_COLUMNS = (
    "reject_position",
    "reject_line",
    "reject_kind",
    "reject_column",
    "reject_constraint",
    "reject_message",
)
"""What a reject file has after the columns of the row, in this order."""

FILE_COLUMN = "reject_file"
"""What it has before these, where several files are loaded: positions and lines are a file's."""


def is_reject_file(names: Sequence[str]) -> bool:
    """Say whether the columns of a file are those of a reject file."""
    return tuple(names[-len(REJECT_COLUMNS) :]) == REJECT_COLUMNS


def without_reject_columns(names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of the rows themselves."""
    if not is_reject_file(names):
        return tuple(names)
    own = tuple(names[: -len(REJECT_COLUMNS)])
    return own[:-1] if own[-1:] == (FILE_COLUMN,) else own
