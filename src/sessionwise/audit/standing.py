"""What stands in a transaction from some point on, as far as no savepoint undoes it."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Standing"]

Value = TypeVar("Value")


class Standing(Generic[Value]):
    """Values that were noted in a transaction, of which the last one counts.

    Those of a savepoint are forgotten where it is undone; where it is released, they stand in what
    is around it.
    """

    __slots__ = ("_by_depth",)

    def __init__(self) -> None:
        self._by_depth: dict[int, Value] = {}
        """The last one of each savepoint, by how many are around it, in the order of noting."""

    @property
    def last(self) -> Value | None:
        """What counts; None: nothing was noted, or all of it is undone."""
        return next(reversed(self._by_depth.values()), None)

    def note(self, value: Value, depth: int) -> None:
        """Let a value stand from now on, where so many savepoints are open."""
        self._by_depth.pop(depth, None)
        self._by_depth[depth] = value

    def savepoint_ended(self, depth: int, *, undone: bool) -> None:
        """Forget what is undone with a savepoint; so many are around what comes next."""
        known = self._by_depth.items()
        if undone:
            self._by_depth = {at: value for at, value in known if at <= depth}
        else:
            self._by_depth = {min(at, depth): value for at, value in known}

    def clear(self) -> None:
        """Forget all."""
        self._by_depth.clear()
