"""Rows that a bulk verb does not take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import ArgumentError

from sessionwise.errors.base import SessionwiseError
from sessionwise.errors.shown import MANY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["BulkInputError", "TooManyRejectsError"]


class BulkInputError(SessionwiseError, ArgumentError):
    """Rows, or what they are to be written into, are not what a bulk verb takes.

    Nothing of the call has been stored.
    """

    position: int | None = None
    """The one row that is at fault, from 0, where it is one."""
    problem: str | None = None
    """What is wrong with it."""

    @classmethod
    def for_entity(cls, entity: object) -> BulkInputError:
        """Build the error for something that is neither a mapped class nor a table."""
        return cls(f"{entity!r} is neither a mapped class nor a Table; give one of these")

    @classmethod
    def for_name(cls, name: str, table: str, known: Iterable[str]) -> BulkInputError:
        """Build the error for a value that no column is for."""
        return cls(
            f"the rows have values for {name!r}, and {table} has no such column; it has "
            f"{', '.join(known)}. Rename it, or leave it out"
        )

    @classmethod
    def for_row(cls, position: int, problem: str) -> BulkInputError:
        """Build the error for one row.

        :param position: of the row in the input, from 0.
        """
        error = cls(f"row {position:,}: {problem}")
        error.position, error.problem = position, problem
        return error


class TooManyRejectsError(BulkInputError):
    """More rows were rejected than ``max_errors`` allows; nothing of the call has been stored."""

    rejected: list[Any]
    """The rows that had been rejected by then, as ``Rejected``, in their order."""
    max_errors: int

    @classmethod
    def past(cls, max_errors: int, rejected: Sequence[Any]) -> TooManyRejectsError:
        """Build the error from the limit and the rows that were rejected."""
        shown = "; ".join(map(_reject, rejected[:MANY]))
        more = " …" if len(rejected) > MANY else ""
        count = f"{len(rejected):,} row" + ("s were" if len(rejected) > 1 else " was")
        error = cls(
            f"{count} rejected, and max_errors={max_errors} allows no more than {max_errors:,}; "
            f"nothing of the call is stored. {shown}{more}. Correct the rows, or allow for more "
            "of them"
        )
        error.rejected, error.max_errors = list(rejected), max_errors
        return error


def _reject(one: Any) -> str:
    line = "" if one.line is None else f" (line {one.line:,})"
    return f"Row {one.position:,}{line}, {one.kind}: {one.message}"
