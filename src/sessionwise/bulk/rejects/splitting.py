"""Rows that cannot be written together are written in parts, until each has been stored or not.

How large the parts are is decided by :class:`Sizes`, which touches nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessionwise.bulk.rejects.faults import fault_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sessionwise.bulk.rejects.faults import Fault

    Attempt = Callable[[Sequence[int]], Sequence[Any] | None]

__all__ = ["Sizes", "split"]

WAYS = 8
"""In how many parts rows that failed are written again."""

START = 1_000
"""How many rows are tried together at first."""

MANY = 0.05
"""The share of rows that fail beyond which each goes by itself: a failed attempt costs several."""

SURE = 50
"""How many rows must have been decided for a share to be one."""


class Sizes:
    """How many rows are to be tried together."""

    def __init__(self) -> None:
        self.decided = self.failed = 0

    @property
    def one_by_one(self) -> bool:
        """Whether so many have failed that rows should go by themselves."""
        return self.decided >= SURE and self.failed > MANY * self.decided

    def parts(self, rows: Sequence[int]) -> list[Sequence[int]]:
        """Return the parts of rows that have failed together."""
        size = 1 if self.one_by_one else max(1, min(START, -(-len(rows) // WAYS)))
        return [rows[at : at + size] for at in range(0, len(rows), size)]


def split(
    rows: Sequence[int],
    attempt: Attempt,
    refused: Callable[[int, Fault], None],
    dialect: str,
    sizes: Sizes,
) -> list[tuple[Sequence[int], Sequence[Any] | None]]:
    """Write rows of which some fail; return what was stored together, with what that returned.

    :param rows: which rows of a chunk.
    :param attempt: writes some of them, all or none.
    :param refused: is told of each row that fails.
    :raises Exception: what is no row's fault.
    """
    stored: list[tuple[Sequence[int], Sequence[Any] | None]] = []
    waiting = sizes.parts(rows)[::-1]
    while waiting:
        part = waiting.pop()
        if len(part) > 1 and sizes.one_by_one:
            waiting.extend([one] for one in reversed(part))
            continue
        try:
            stored.append((part, attempt(part)))
        except Exception as error:
            fault = fault_of(error, dialect)
            if fault is None:
                raise
            if len(part) > 1:
                waiting.extend(sizes.parts(part)[::-1])
                continue
            sizes.failed += 1
            refused(part[0], fault)
        sizes.decided += len(part)
    return stored
