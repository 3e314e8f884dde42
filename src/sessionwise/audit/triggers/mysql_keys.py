"""Foreign keys that change or delete rows: which tables a row of another one acts on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.exc import NoReferencedTableError

from sessionwise.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy import Column, MetaData, Table

__all__ = ["Edge", "Edges", "edges_of"]

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Edge:
    """A foreign key."""

    child: Table
    parent: Table
    columns: tuple[tuple[Column[Any], Column[Any]], ...]
    """The child's columns, and the parent's that they refer to."""
    on_delete: str
    on_update: str

    @property
    def is_to_itself(self) -> bool:
        """Whether rows of a table refer to rows of the same."""
        return self.child is self.parent

    @property
    def acts_on_delete(self) -> bool:
        """Whether it does something where the parent is deleted, and does not forbid it."""
        return self.on_delete in {"CASCADE", "SET NULL"}


class Edges:
    """The foreign keys of a metadata."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self._of: defaultdict[Table, list[Edge]] = defaultdict(list)
        self._to: defaultdict[Table, list[Edge]] = defaultdict(list)
        self._known: dict[Any, Any] = {}
        for edge in edges:
            self._of[edge.child].append(edge)
            self._to[edge.parent].append(edge)

    def once(self, about: Any, make: Callable[[], _Made]) -> _Made:
        """Return what is made once of these foreign keys: for many tables it is the same."""
        if about not in self._known:
            self._known[about] = make()
        made: _Made = self._known[about]
        return made

    def of(self, child: Table, **actions: str) -> Iterator[Edge]:
        """Give the foreign keys of a table that act so."""
        return (edge for edge in self._of[child] if _acts(edge, actions))

    def to(self, parent: Table, **actions: str) -> Iterator[Edge]:
        """Give the foreign keys that refer to a table, and act so."""
        return (edge for edge in self._to[parent] if _acts(edge, actions))

    def reached(self, table: Table, **actions: str) -> set[Table]:
        """Return the tables whose rows change, or go, with one of a table."""
        return _closure([table], lambda one: [edge.child for edge in self.to(one, **actions)])

    def reaching(self, table: Table, **actions: str) -> set[Table]:
        """Return the tables with whose rows those of a table change, or go."""
        return _closure([table], lambda one: [edge.parent for edge in self.of(one, **actions)])

    def circular(self, parent: Table, **actions: str) -> set[Table]:
        """Return those of a table and what it reaches from which a way leads around to them."""

        def others(table: Table) -> list[Table]:
            return [edge.child for edge in self.to(table, **actions) if not edge.is_to_itself]

        def find() -> set[Table]:
            reached = {parent} | self.reached(parent, **actions)
            return {table for table in reached if table in _closure([table], others)}

        return self.once((parent, *actions.items()), find)

    def check(self, parent: Table, child: Table, **actions: str) -> None:
        """See to it that what leads from one table to another does not lead around.

        :raises UnsupportedError: where it does, around several tables.
        """
        for table in self.circular(parent, **actions):
            if child is table or child in self.reached(table, **actions):
                raise UnsupportedError(
                    f"foreign keys lead around from {table.name} to {table.name}, and act on "
                    f"{child.name}: MariaDB's triggers cannot record what is deleted or changed "
                    'along them. Give Audit capture="session", or leave the tables out by exclude='
                )


_INFO = "sessionwise_foreign_keys"


def edges_of(metadata: MetaData) -> Edges:
    """Return the foreign keys of a metadata; without those to tables that it has not."""
    size = len(metadata.tables)  # tables may be added later
    known = metadata.info.get(_INFO)
    if known is None or known[0] != size:
        known = metadata.info[_INFO] = (size, Edges(_find(metadata)))
    edges: Edges = known[1]
    return edges


def _find(metadata: MetaData) -> Iterator[Edge]:
    for table in metadata.tables.values():
        for constraint in sorted(
            table.foreign_key_constraints, key=lambda c: tuple(c.column_keys)
        ):
            try:
                columns = tuple((key.parent, key.column) for key in constraint.elements)
            except NoReferencedTableError:
                continue
            actions = [(one or "").upper() for one in (constraint.ondelete, constraint.onupdate)]
            yield Edge(table, constraint.referred_table, columns, *actions)


def _acts(edge: Edge, actions: dict[str, str]) -> bool:
    return all(getattr(edge, name) == action for name, action in actions.items())


def _closure(start: Iterable[Table], onward: Any) -> set[Table]:
    """Return what is reached; what it starts from, if a way leads back."""
    found: set[Table] = set()
    ahead = list(start)
    while ahead:
        new = set(onward(ahead.pop())) - found
        found |= new
        ahead += new
    return found
