"""Staged rows of which some cannot be written: the others are, and those are rejected."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from sessionwise.bulk.insert import savepoint
from sessionwise.bulk.reading.rows import short
from sessionwise.bulk.rejects.checks import Search
from sessionwise.bulk.rejects.faults import Fault, fault_of
from sessionwise.bulk.rejects.searching import is_about_the_search
from sessionwise.bulk.rejects.splitting import Sizes, split
from sessionwise.bulk.rejects.wording import repeated
from sessionwise.bulk.upserting.conflicts import upsert_part
from sessionwise.bulk.upserting.staging import LEFT_OUT, PART, POSITION, execute
from sessionwise.errors import BulkInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sessionwise.bulk.rejects.collected import Rejects
    from sessionwise.bulk.rejects.searching import Searching
    from sessionwise.bulk.upserting.conflicts import Counts
    from sessionwise.bulk.upserting.staging import Part, Staging

__all__ = ["Upserting", "reject_duplicates"]

_AT_A_TIME = 500
"""Positions in one statement."""


def reject_duplicates(stage: Staging, rejects: Rejects) -> None:
    """Reject rows whose key an earlier row has as well."""
    names = ", ".join(key.name for key in stage.keys)
    for position, first, values in stage.take_out_duplicates():
        shown = ", ".join(
            f"{key.name}={short(value)}" for key, value in zip(stage.keys, values, strict=True)
        )
        message = repeated(shown, first)
        rejects.add(position, Fault("unique", None, names, message))


@dataclass
class Upserting:
    """Writes the parts of one call; the rows that cannot be written are rejected."""

    stage: Staging
    rejects: Rejects
    searching: Searching
    sizes: Sizes = field(default_factory=Sizes)

    @cached_property
    def numbers(self) -> Any:
        """Numbers for more parts."""
        return count(len(self.stage.parts))

    def upsert(self, part: Part) -> Counts:
        """Insert the rows of a part whose key is new, and update what the others find."""
        try:
            return self.written(part)
        except BulkInputError:
            raise  # it is about the keys
        except Exception as error:
            if self.fault(error) is None:
                raise
        return _Part(self, part).upsert()

    def written(self, part: Part) -> Counts:
        """Write a part, all of it or nothing."""
        with savepoint(self.stage.connection):
            return upsert_part(self.stage, part)

    def fault(self, error: Exception) -> Fault | None:
        """Return what an error says against a row; None where it is not about it."""
        return fault_of(error, self.stage.connection.dialect.name)

    def faults(self, part: Part) -> dict[int, Fault]:
        """Return what is said against rows of a part, as far as that can be searched for."""
        connection, stage = self.stage.connection, self.stage
        if not self.searching.is_possible:
            return {}
        search = Search(
            connection,
            stage.target.table,
            stage.table,
            self.searching.constraints,
            frozenset(one.name for one in part.plan.columns),
            self._shown,
            lambda position: position,
            number=POSITION,
            only=stage.table.c[PART] == part.number,
            keys=tuple(key.name for key in stage.keys),
        )
        try:
            with savepoint(connection):
                return search.run()
        except SQLAlchemyError as error:
            if not is_about_the_search(error):
                raise
            return {}

    def is_sure(self, fault: Fault) -> bool:
        """Say whether a row would be refused whether it is inserted or updates another one."""
        return fault.kind in {"not null", "check"} and self.searching.is_sure(fault)

    def _shown(self, position: int, names: Sequence[str]) -> str:
        table = self.stage.table
        columns = [next(one for one in table.c if one.name == name) for name in names]
        query = select(*columns).where(table.c[POSITION] == position)
        row = execute(self.stage.connection, query).one()
        return ", ".join(f"{name}={short(value)}" for name, value in zip(names, row, strict=True))


class _Part:
    """A part of which some rows are refused."""

    def __init__(self, upserting: Upserting, part: Part) -> None:
        self.upserting = upserting
        self.part = part
        self.connection = upserting.stage.connection
        self.table = upserting.stage.table
        self.inserted = self.updated = 0

    def upsert(self) -> Counts:
        """Write what can be written."""
        upserting = self.upserting
        upserting.stage.temporary.index()
        faults = upserting.faults(self.part)
        sure = {at: fault for at, fault in faults.items() if upserting.is_sure(fault)}
        for at, fault in sorted(sure.items()):
            upserting.rejects.add(at, fault)
        self._move(sorted(sure), LEFT_OUT)
        apart = sorted(faults.keys() - sure.keys())
        number = next(upserting.numbers)
        self._move(apart, number)
        try:
            self._count(upserting.written(self.part))
        except Exception as error:
            if upserting.fault(error) is None:
                raise
            self._split(self._positions())
        self.part = replace(self.part, number=number)
        for at in apart:
            self._try(at, faults[at])
        return self.inserted, self.updated

    def _try(self, position: int, suspected: Fault) -> None:
        try:
            self._count(self._attempt(position, position))
        except Exception as error:
            fault = self.upserting.fault(error)
            if fault is None:
                raise
            same = fault.kind == suspected.kind
            self.upserting.rejects.add(position, suspected if same else fault)

    def _split(self, positions: Sequence[int]) -> None:
        written = split(
            range(len(positions)),
            lambda at: [self._attempt(positions[at[0]], positions[at[-1]])],
            lambda at, fault: self.upserting.rejects.add(positions[at], fault),
            self.connection.dialect.name,
            self.upserting.sizes,
        )
        for _, counts in written:
            for one in counts or ():
                self._count(one)

    def _count(self, counts: Counts) -> None:
        self.inserted += counts[0]
        self.updated += counts[1]

    def _positions(self) -> Sequence[int]:
        table = self.table
        query = select(table.c[POSITION]).where(table.c[PART] == self.part.number)
        return list(execute(self.connection, query.order_by(table.c[POSITION])).scalars())

    def _move(self, positions: Sequence[int], number: int) -> None:
        """Make rows those of another part."""
        for first in range(0, len(positions), _AT_A_TIME):
            some = self.table.c[POSITION].in_(positions[first : first + _AT_A_TIME])
            execute(self.connection, update(self.table).where(some).values({PART: number}))

    def _attempt(self, first: int, last: int) -> Counts:
        """Write some rows by making them a part of their own."""
        table, number = self.table, next(self.upserting.numbers)
        within = table.c[POSITION].between(first, last)
        moved = update(table).where(table.c[PART] == self.part.number, within)
        with savepoint(self.connection):
            execute(self.connection, moved.values({PART: number}))
            return upsert_part(self.upserting.stage, replace(self.part, number=number))
