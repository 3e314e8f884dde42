"""The rows of a chunk that a table's constraints refuse, found in the database, all at a time.

The rows are in a temporary table that constrains nothing, each with its number in the chunk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, column, func, literal_column, not_, or_, select, table
from sqlalchemy.sql import operators

from sessionwise.bulk.rejects import wording
from sessionwise.bulk.rejects.faults import Fault
from sessionwise.bulk.rejects.turns import in_turn
from sessionwise.bulk.upserting.temporary import MYSQL, execute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Table

    from sessionwise.bulk.rejects.constraints import Constraints, ForeignKey, Unique

__all__ = ["NUMBER", "Search"]

NUMBER = "sessionwise_number"
"""The column that says which row of the chunk it is."""


@dataclass
class Search:
    """One search for rows that are refused."""

    connection: Connection
    target: Table
    staged: Table
    constraints: Constraints
    written: frozenset[str]
    """The columns that the rows have values for."""
    shown: Callable[[int, Sequence[str]], str]
    """Writes the values of a row in some columns: ``name='x'``."""
    position: Callable[[int], int]
    """Says where in the input a row is."""
    number: str = NUMBER
    """The column of the temporary table that says which row it is."""
    only: ColumnElement[bool] | None = None
    """Which rows of it are looked at; all by itself."""
    skips: bool = False
    """Whether rows whose key is there already are left out, and not refused."""
    keys: tuple[str, ...] = ()
    """What rows are known by that are changed, and not refused, where they are there already."""
    faults: dict[int, Fault] = field(default_factory=dict)
    """What is said against each row, by its number."""

    def run(self) -> dict[int, Fault]:
        """Return what is said against rows."""
        self._not_null()
        self._checks()
        own = self.constraints.to_itself(self.target)
        for key in self.constraints.foreign_keys:
            if key not in own and self._is_known(key.columns):
                for (number,) in self._rows(self._missing(key)):
                    self._add_missing(number, key)
        groups = [] if self.skips else list(self._uniques())
        edges = {key: self._parents(key) for key in own if self._is_known(key.columns)}
        self._in_turn(groups, edges)
        return self.faults

    def _add(self, number: int, fault: Fault) -> None:
        self.faults.setdefault(number, fault)

    @cached_property
    def _number(self) -> Any:
        return self._column(self.number)

    def _column(self, name: str) -> Any:
        return next(one for one in self.staged.c if one.name == name)

    def _is_known(self, names: Iterable[str]) -> bool:
        """Say whether it is known what rows will have in some columns."""
        there = {one.name for one in self.staged.c}
        return all(
            name in there and (name in self.written or name not in self.constraints.made)
            for name in names
        )

    def _not_null(self) -> None:
        names = sorted(one for one in self.constraints.not_null if one in self.written)
        names = [one for one in names if self._is_known([one])]
        if not names:
            return
        nulls = [self._column(name).is_(None) for name in names]
        query = select(self._number, *nulls).select_from(self.staged).where(or_(*nulls))
        for number, *found in self._rows(query):
            name = next(one for one, is_null in zip(names, found, strict=True) if is_null)
            self._add(number, Fault("not null", None, name, wording.not_null(name)))

    def _checks(self) -> None:
        made = self.constraints.made - self.written
        known = [
            one
            for one in self.constraints.checks
            if not any(re.search(rf"\b{re.escape(name)}\b", one.condition) for name in made)
        ]
        if not known:
            return
        # In parentheses, and never NULL: what is unknown passes a CHECK.
        failed: list[Any] = [
            func.coalesce(not_(literal_column(f"({one.condition})")), literal_column("1 = 0"))
            for one in known
        ]
        query = select(self._number, *failed).select_from(self.staged).where(or_(*failed))
        for number, *found in self._rows(query):
            check = next(one for one, is_failed in zip(known, found, strict=True) if is_failed)
            column_ = self._only_column(check.condition)
            shown = None if column_ is None else self.shown(number, [column_])
            message = wording.unmet(shown, check.condition)
            self._add(number, Fault("check", check.name, column_, message))

    def _only_column(self, condition: str) -> str | None:
        """Return the column that a condition is about, where it is just one."""
        names = [one.name for one in self.staged.c]
        found = [one for one in names if re.search(rf"\b{re.escape(one)}\b", condition)]
        return found[0] if len(found) == 1 else None

    def _missing(self, key: ForeignKey) -> Any:
        """Return a query for rows that refer to none that is stored."""
        parent, ours, theirs = self._referred(key)
        return (
            select(self._number)
            .select_from(self.staged)
            .outerjoin(parent, and_(*map(operators.eq, theirs, ours)))
            .where(*(one.is_not(None) for one in ours), theirs[0].is_(None))
        )

    def _add_missing(self, number: int, key: ForeignKey) -> None:
        message = wording.missing(self.shown(number, key.columns), key.table)
        self._add(number, Fault("foreign key", key.name, ", ".join(key.columns), message))

    def _referred(self, key: ForeignKey) -> tuple[Any, list[Any], list[Any]]:
        parent = table(key.table, *map(column, key.referred), schema=key.schema).alias("parent")
        ours = [self._column(name) for name in key.columns]
        return parent, ours, [parent.c[name] for name in key.referred]

    def _parents(self, key: ForeignKey) -> dict[int, set[int]]:
        """Return of rows that refer to none that is stored the rows of the chunk they refer to."""
        _, ours, _ = self._referred(key)
        missing = self._missing(key)
        found: dict[int, set[int]] = {number: set() for (number,) in self._rows(missing)}
        if found:
            other = {one.name: one for one in self.staged.alias("other").c}
            same = map(operators.eq, (other[name] for name in key.referred), ours)
            pairs = (
                select(self._number, other[self.number])
                .select_from(self.staged)
                .join(other[self.number].table, and_(*same))
            )
            for number, one in self._rows(pairs):
                if number in found:
                    found[number].add(one)
        return found

    def _uniques(self) -> Iterator[tuple[Unique, dict[int, int]]]:
        """Look for keys that are stored already; give those that several rows have."""
        for unique in self.constraints.uniques:
            if self._is_known(unique.columns) and set(unique.columns) != set(self.keys):
                self._stored(unique)
                yield unique, self._repeated(unique)

    def _stored(self, unique: Unique) -> None:
        names = dict.fromkeys((*unique.columns, *self.keys))
        target = table(self.target.name, *map(column, names), schema=self.target.schema)
        there = target.alias("there")
        equal = [
            there.c[name].is_not_distinct_from(self._column(name))
            if unique.nulls_are_equal
            else there.c[name] == self._column(name)
            for name in unique.columns
        ]
        if self.keys:  # another row than the one that is to be changed
            equal.append(not_(and_(*(there.c[name] == self._column(name) for name in self.keys))))
        query = select(self._number).select_from(self.staged).join(there, and_(*equal))
        for (number,) in self._rows(query):
            message = wording.there(self.shown(number, unique.columns), self.target.name)
            self._add(number, _not_unique(unique, message))

    def _repeated(self, unique: Unique) -> dict[int, int]:
        keys = [self._column(name) for name in unique.columns]
        first = func.min(self._number).over(partition_by=keys)
        count = func.count().over(partition_by=keys)
        query = select(self._number, first.label("first"), count.label("count")).select_from(
            self.staged
        )
        if unique.columns == (self.constraints.numbered,):
            query = query.where(keys[0] != 0)  # MariaDB makes a number of that
        if not unique.nulls_are_equal:
            query = query.where(*(key.is_not(None) for key in keys))
        counted = self._of_those(query).subquery()
        of_several = select(counted.c[self.number], counted.c.first).where(counted.c.count > 1)
        found = execute(self.connection, of_several)
        return {row[0]: row[1] for row in found}

    def _in_turn(
        self,
        keys: list[tuple[Unique, dict[int, int]]],
        parents: dict[ForeignKey, dict[int, set[int]]],
    ) -> None:
        """See which rows are refused because of others of the chunk."""
        repeats, orphans = in_turn(
            [numbers for _, numbers in keys],
            list(parents.values()),
            self.faults.keys(),
            # PostgreSQL looks when all are there.
            at_once=self.connection.dialect.name == "postgresql",
        )
        for number, (at, first) in repeats.items():
            unique = keys[at][0]
            shown = self.shown(number, unique.columns)
            message = wording.repeated(shown, self.position(first))
            self._add(number, _not_unique(unique, message))
        for number, at in orphans.items():
            self._add_missing(number, list(parents)[at])

    def _of_those(self, query: Any) -> Any:
        return query if self.only is None else query.where(self.only)

    def _rows(self, query: Any) -> Any:
        query = self._of_those(query)
        if self.connection.dialect.name in MYSQL:
            # Not what was there when it began; and no lock on rows that nobody refers to.
            query = query.with_for_update(read=True).prefix_with("STRAIGHT_JOIN")
        return execute(self.connection, query).all()


def _not_unique(unique: Unique, message: str) -> Fault:
    return Fault("unique", unique.name, ", ".join(unique.columns), message)
