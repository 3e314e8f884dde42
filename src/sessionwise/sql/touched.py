"""Which tables a statement touches, and how."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EVERYTHING", "NOTHING", "Touched"]


@dataclass(frozen=True, slots=True)
class Touched:
    """What a statement touches: tables, by their bare names in lower case."""

    reads: frozenset[str] = frozenset()
    """Tables whose rows it looks at, those that it updates or deletes from among them."""
    inserts: frozenset[str] = frozenset()
    """Tables that it adds rows to; the existing ones stay as they are."""
    updates: frozenset[str] = frozenset()
    """Tables whose rows may change."""
    deletes: frozenset[str] = frozenset()
    """Tables whose rows may go."""
    is_opaque: bool = False
    """Whether it may read and write anything."""

    @property
    def writes(self) -> bool:
        """Whether it may write anything at all."""
        return self.is_opaque or bool(self.inserts or self.updates or self.deletes)

    def __or__(self, other: Touched) -> Touched:
        return Touched(
            self.reads | other.reads,
            self.inserts | other.inserts,
            self.updates | other.updates,
            self.deletes | other.deletes,
            self.is_opaque or other.is_opaque,
        )


NOTHING = Touched()
EVERYTHING = Touched(is_opaque=True)
