"""Staging: the rows of one call in a temporary table, from where one statement takes them.

A staging table has the columns of its target, without what constrains them, and says of each row
where in the input it was and which part of it it is of: rows that have values for the same columns
are a part.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Index, and_, func, literal_column, select, update
from sqlalchemy.schema import CreateIndex

from sessionwise.bulk.plan import Plan
from sessionwise.bulk.reading.rows import Chunk
from sessionwise.bulk.target import Target
from sessionwise.bulk.upserting.temporary import MYSQL, TemporaryTable, execute, existing
from sessionwise.bulk.writers import choose
from sessionwise.errors import BulkInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, FromClause

    from sessionwise.bulk.upserting.assignments import Assignments
    from sessionwise.bulk.writers import Writer

__all__ = ["LEFT_OUT", "MYSQL", "PART", "POSITION", "Part", "Staging", "execute", "staging"]

POSITION = "sessionwise_position"
PART = "sessionwise_part"
FOUND = "sessionwise_found"
"""Whether there is a row of the same key in the target; for MariaDB only."""
_OWN = (POSITION, PART, FOUND)
_ON_UPDATE = "sessionwise_on_update_"

LEFT_OUT = -1
"""The part of rows that are not written: another one of the same key is, or they are rejected."""

_SHOWN = 5
"""How many duplicate keys a message names."""


@dataclass(frozen=True, eq=False)
class Part:
    """Rows that have values for the same columns."""

    number: int
    plan: Plan
    """How they become rows of the target."""
    on_update: list[Column[Any]]
    """Columns whose new value, where the row is there already, has been made for each row."""
    staged: Plan
    """How they become rows of the staging table."""
    writer: Writer


@contextmanager
def staging(
    connection: Connection, assignments: Assignments, *, in_parts: bool = False
) -> Iterator[Staging]:
    """Give a staging table, which is gone when the block is left, however that ends.

    :param in_parts: whether rows may have to be looked up, one by one.
    """
    stage = Staging(connection, assignments, in_parts=in_parts)
    with existing(stage.temporary):
        yield stage


class Staging:
    """The rows of one call."""

    def __init__(
        self, connection: Connection, assignments: Assignments, *, in_parts: bool = False
    ) -> None:
        self.connection = connection
        self.assignments = assignments
        self.target = assignments.target
        self.keys = assignments.keys
        self.parts: dict[tuple[str, ...], Part] = {}
        self._on_update = {
            column: f"{_ON_UPDATE}{at}" for at, column in enumerate(assignments.called)
        }
        self._is_indexed = False
        copies = {name: one for one, name in self._on_update.items()}
        indexed = (POSITION, PART) if in_parts else ()
        self.temporary = TemporaryTable(connection, self.target, _OWN, copies, indexed)
        self.table = self.temporary.table

    @property
    def writer(self) -> str:
        """The name of what has written the rows."""
        return next((part.writer.name for part in self.parts.values()), "core")

    def part(self, names: tuple[str, ...]) -> Part:
        """Return the part of the rows that have values of some names."""
        known = self.parts.get(names)
        if known is None:
            dialect = self.connection.dialect
            plan = self.assignments.plan(names, dialect)
            on_update = self.assignments.to_be_called(plan)
            keys = [one.key for one in plan.columns]
            keys += [self._on_update[one] for one in on_update]
            staged = Plan(Target(self.table), (*keys, POSITION, PART), dialect)
            writer = choose(self.connection, staged)
            known = Part(len(self.parts), plan, on_update, staged, writer)
            self.parts[names] = known
        return known

    def write(self, chunk: Chunk) -> None:
        """Write the rows of a chunk."""
        part = self.part(chunk.names)
        if chunk.batch is not None and not (part.plan.made or part.on_update):
            staged = _arrow(chunk, part)
        else:
            staged = self._rows(chunk, part)
        part.writer.write(self.connection, part.staged, staged)

    def _rows(self, chunk: Chunk, part: Part) -> Chunk:
        number = part.number
        if not part.plan.made and not part.on_update and len(part.plan.given) == len(chunk.names):
            pairs = zip(chunk.rows, chunk.positions, strict=True)
            rows: list[Any] = [(*row, position, number) for row, position in pairs]
        else:
            found = part.plan.objects(chunk.rows)
            found += self.assignments.call(part.plan, part.on_update, found, len(chunk))
            rows = list(zip(*found, chunk.positions, [number] * len(chunk), strict=True))
        return Chunk(part.staged.names, chunk.positions, rows)

    def source(self, part: Part) -> tuple[FromClause, ColumnElement[bool]]:
        """Return where the rows of a part are, and by what they are known."""
        alias = self.table.alias("sessionwise_rows")
        return alias, alias.c[PART] == part.number

    def on_update_of(self, part: Part, source: FromClause) -> dict[Column[Any], Any]:
        """Return the values that have been made for rows that are there, by their columns."""
        return {column: source.c[self._on_update[column]] for column in part.on_update}

    def on_update_by_key(self, part: Part) -> dict[Column[Any], Any]:
        """Return the same where a statement does not let the table be named, but by its key."""
        if part.on_update and not self._is_indexed:
            keys = [self.table.c[key.key] for key in self.keys]
            execute(self.connection, CreateIndex(Index(f"{self.table.name}_key", *keys)))
            self._is_indexed = True
        alias, of_part = self.source(part)
        quote = self.connection.dialect.identifier_preparer.quote
        excluded = [literal_column(f"excluded.{quote(key.name)}", key.type) for key in self.keys]
        equal = (one == alias.c[key.key] for one, key in zip(excluded, self.keys, strict=True))
        same = and_(of_part, *equal)
        return {
            column: select(alias.c[self._on_update[column]]).where(same).scalar_subquery()
            for column in part.on_update
        }

    def matches(self, source: FromClause) -> ColumnElement[bool]:
        """Return what holds for a row of the target and one of the staging table of its key."""
        # The target first: in SQLite its collation counts.
        return and_(*(key == source.c[key.key] for key in self.keys))

    def refuse_duplicates(self) -> None:
        """Look for keys that several rows have.

        :raises BulkInputError: where there are any.
        """
        table = self.table
        keys = [table.c[key.key] for key in self.keys]
        first = func.min(table.c[POSITION])
        query = (
            select(*keys, first, func.max(table.c[POSITION]), func.count())
            .where(*(key.is_not(None) for key in keys))
            .group_by(*keys)
            .having(func.count() > 1)
            .order_by(first)
            .limit(_SHOWN + 1)
        )
        found = execute(self.connection, query).all()
        if found:
            raise duplicates(self.keys, [(row[:-3], row[-3], row[-2]) for row in found])

    def supersede(self) -> None:
        """Leave out rows whose key a later row has as well."""
        ranked = self._ranked(self.table.c[POSITION].desc())
        self._leave_out(select(ranked.c[POSITION]).where(ranked.c.number > 1))

    def take_out_duplicates(self) -> list[tuple[int, int, tuple[Any, ...]]]:
        """Leave out rows whose key an earlier row has as well.

        :returns: of each of them its position, that of the first of its key, and the key.
        """
        ranked = self._ranked(self.table.c[POSITION])
        query = select(ranked).where(ranked.c.number > 1).order_by(ranked.c[POSITION])
        found = [(row[0], row[2], tuple(row[3:])) for row in execute(self.connection, query)]
        if found:
            self._leave_out(select(ranked.c[POSITION]).where(ranked.c.number > 1))
        return found

    def _ranked(self, order: Any) -> Any:
        """Return rows with their number among those of the same key."""
        table = self.table
        keys = [table.c[key.key] for key in self.keys]
        number = func.row_number().over(partition_by=keys, order_by=order)
        first = func.min(table.c[POSITION]).over(partition_by=keys)
        return (
            select(table.c[POSITION], number.label("number"), first.label("first"), *keys)
            .where(table.c[PART] != LEFT_OUT)
            .subquery()
        )

    def _leave_out(self, positions: Any) -> None:
        table = self.table
        execute(
            self.connection,
            update(table).where(table.c[POSITION].in_(positions)).values({PART: LEFT_OUT}),
        )

    def ids(self) -> dict[int, tuple[Any, ...]]:
        """Return the primary keys that the rows of the input have now, by their positions."""
        alias = self.table.alias()
        query = (
            select(alias.c[POSITION], *self.target.table.primary_key)
            .select_from(alias)
            .join(self.target.table, self.matches(alias))
        )
        if self.connection.dialect.name in MYSQL:
            query = query.with_for_update(read=True)  # not what was there when it began
        return {row[0]: tuple(row[1:]) for row in execute(self.connection, query)}


def duplicates(keys: Sequence[Column[Any]], found: Sequence[Any]) -> BulkInputError:
    """Build the error for keys that several rows have.

    :param found: the values of a key, and the first and another position that has it.
    """
    names = ", ".join(key.name for key in keys)
    shown = "; ".join(
        f"({', '.join(map(repr, values))}) in rows {first:,} and {last:,}"
        for values, first, last in found[:_SHOWN]
    )
    more = " …" if len(found) > _SHOWN else ""
    return BulkInputError(
        f"several rows have the same key ({names}): {shown}{more}. Nothing is stored; leave out "
        "the others, or upsert with duplicates='last'"
    )


def _arrow(chunk: Chunk, part: Part) -> Chunk:
    """Return rows that came as Arrow with the columns that staging adds."""
    import pyarrow

    batch = chunk.batch
    columns = [batch.column(at) for at in part.plan.given.values()]
    columns.append(pyarrow.array(chunk.positions, pyarrow.int64()))
    columns.append(pyarrow.array([part.number] * len(chunk), pyarrow.int64()))
    batch = pyarrow.RecordBatch.from_arrays(columns, list(part.staged.names))
    return Chunk(part.staged.names, chunk.positions, batch=batch)
