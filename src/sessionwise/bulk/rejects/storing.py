"""The rows of a chunk that can be stored are, the others are rejected."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sessionwise.bulk.reading.rows import Chunk
from sessionwise.bulk.rejects.collected import some
from sessionwise.bulk.rejects.faults import Fault, fault_of
from sessionwise.bulk.rejects.searching import has_expressions, shown
from sessionwise.bulk.rejects.splitting import Sizes, split
from sessionwise.bulk.rejects.values import column_at_fault
from sessionwise.bulk.rejects.wording import with_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sessionwise.bulk.plan import Plan
    from sessionwise.bulk.rejects.collected import Rejects
    from sessionwise.bulk.rejects.searching import Searching

    Keys = Sequence[Any] | None
    Stored = list[tuple[Sequence[int], Keys]]

__all__ = ["Storing"]

FEW = 50
"""Rows below which to try parts of them costs less than to make a table."""


@dataclass
class Storing:
    """Stores the chunks of one call."""

    rejects: Rejects
    dialect: str
    attempt: Callable[[Chunk], Keys]
    """Writes rows, all of them or none, and returns their keys where these are wanted."""
    planned: Callable[[Chunk], Plan] | None = None
    """Returns the plan for a chunk, where rows are for one table."""
    searching: Searching | None = None
    sizes: Sizes = field(default_factory=Sizes)
    _last: Fault | None = None
    """What was said against a row of the chunk before."""

    def store(self, chunk: Chunk) -> tuple[Sequence[int], Keys]:
        """Store what can be stored; return which rows that were, and their keys.

        :raises TooManyRejectsError: where one row too many is rejected.
        """
        rows = range(len(chunk))
        fault, self._last = self._last, None
        if fault is None or self.searching is None or not self.searching.is_possible:
            try:
                return rows, self.attempt(chunk)
            except Exception as error:
                fault = fault_of(error, self.dialect)
                if fault is None:
                    raise
        return _Chunk(self, chunk).store(fault)

    def said(self, fault: Fault) -> None:
        """Note what is said against a row: the next chunk may have such rows, too."""
        self._last = fault


class _Chunk:
    """A chunk of which some rows are refused."""

    def __init__(self, storing: Storing, chunk: Chunk) -> None:
        self.storing = storing
        self.rows = chunk
        self.plan: Plan | None = None
        self.objects: list[Sequence[Any]] | None = None
        self.stored: Stored = []
        self.orphans: dict[int, Fault] = {}
        """Rows that refer to a row which is not there yet."""
        if storing.planned is not None:
            self._fill(storing.planned(chunk), storing.planned)

    def _fill(self, plan: Plan, planned: Callable[[Chunk], Plan]) -> None:
        """Put defaults into the rows: functions are called once more, and not for each attempt."""
        self.plan = plan
        if self.rows.batch is not None and not plan.made:
            return
        self.objects = plan.objects(self.rows.rows)
        names = tuple(one.key for one in plan.columns)
        target = plan.target
        if plan.made and all(target.column(one.key) is one for one in plan.columns):
            values = list(zip(*self.objects, strict=True))
            self.rows = Chunk(names, self.rows.positions, values)
            self.plan = planned(self.rows)

    def store(self, fault: Fault) -> tuple[Sequence[int], Keys]:
        """Store what can be stored.

        :param fault: what was said against the first row that was refused.
        """
        everything = range(len(self.rows))
        found = self._search(fault)
        if found is None:
            self._split(everything)
        else:
            faults, apart = found
            for at, one in sorted(faults.items(), key=itemgetter(0)):
                if self._searching.is_sure(one):
                    self._add(at, one)
                else:
                    apart.add(at)
            left = [at for at in everything if at not in faults and at not in apart]
            self._attempt(left)
            for at in sorted(apart):
                self._try(at, faults.get(at))
        self._try_orphans()
        return _joined(self.stored)

    def _try_orphans(self) -> None:
        """Try rows again that refer to others of the same table: these may be there now."""
        while self.orphans:
            before, self.orphans = self.orphans, {}
            stored = len(self.stored)
            self._split(sorted(before))
            if len(self.stored) == stored:
                for at in self.orphans:
                    self._add(at, before[at])
                self.orphans = {}

    @property
    def _searching(self) -> Searching:
        assert self.storing.searching is not None  # noqa: S101 - there is one with a plan
        return self.storing.searching

    def _search(self, fault: Fault) -> tuple[dict[int, Fault], set[int]] | None:
        searching, plan = self.storing.searching, self.plan
        if searching is None or plan is None or not plan.columns or len(self.rows) < FEW:
            return None
        if self.objects is not None and has_expressions(self.objects):
            return None
        values = fault.kind == "value"
        return searching.search(self.rows, plan, self.objects, self._row, values=values)

    def _attempt(self, rows: list[int]) -> None:
        if not rows:
            return
        try:
            self.stored.append((rows, self.storing.attempt(some(self.rows, rows))))
        except Exception as error:
            if fault_of(error, self.storing.dialect) is None:
                raise
            # Somebody else was faster, or the table has something that nobody can search for.
            self._split(rows)

    def _try(self, at: int, suspected: Fault | None) -> None:
        """Write a row by itself."""
        try:
            self.stored.append(([at], self.storing.attempt(some(self.rows, [at]))))
        except Exception as error:
            fault = fault_of(error, self.storing.dialect)
            if fault is None:
                raise
            knew = suspected is not None and suspected.kind == fault.kind
            self._reject(at, suspected if suspected and knew else self._named(at, fault))

    def _split(self, rows: Sequence[int]) -> None:
        storing = self.storing
        self.stored += split(
            rows,
            lambda at: storing.attempt(some(self.rows, at)),
            lambda at, fault: self._reject(at, self._named(at, fault)),
            storing.dialect,
            storing.sizes,
        )

    def _reject(self, at: int, fault: Fault) -> None:
        if fault.kind == "foreign key" and self._refers_to_itself:
            self.orphans[at] = fault
        else:
            self._add(at, fault)

    @property
    def _refers_to_itself(self) -> bool:
        if self.plan is None:
            return False
        return bool(self._searching.constraints.to_itself(self.plan.target.table))

    def _add(self, at: int, fault: Fault) -> None:
        self.storing.said(fault)
        self.storing.rejects.add(self.rows.positions[at], fault)

    def _named(self, at: int, fault: Fault) -> Fault:
        """Return a fault with the names and values that the error has not said."""
        plan = self.plan
        if plan is None or fault.kind in {"check", "exclusion", "database"}:
            return fault
        referred = None
        if fault.kind == "value":
            fault = replace(fault, column=fault.column or column_at_fault(plan, self._row(at)))
        elif fault.kind != "not null":
            pairs = zip(plan.columns, self._row(at), strict=True)
            given = {column.name for column, value in pairs if value is not None}
            constraints = self._searching.constraints
            one = constraints.of(fault.kind, fault.constraint, fault.column, given)
            if one is not None:
                fault = replace(fault, constraint=one.name, column=", ".join(one.columns))
                referred = getattr(one, "table", None)
        if fault.column is None:
            return fault
        values = shown(plan, self._row(at), fault.column.split(", "))
        return with_values(fault, values, plan.target.table.name, referred)

    def _row(self, at: int) -> Sequence[Any]:
        """Return the values of a row in the columns of the plan."""
        if self.objects is not None:
            return [values[at] for values in self.objects]
        assert self.plan is not None  # noqa: S101 - there are no rows of a table without it
        return [self.rows.rows[at][one] for one in self.plan.given.values()]


def _joined(parts: Iterable[tuple[Sequence[int], Keys]]) -> tuple[Sequence[int], Keys]:
    """Return what has been stored in parts as one, in the order of the rows."""
    keys: dict[int, Any] = {}
    wanted = True
    for at, found in parts:
        wanted = wanted and found is not None
        keys.update(zip(at, found or [None] * len(at), strict=True))
    rows = sorted(keys)
    return rows, [keys[one] for one in rows] if wanted else None
