"""Rows of a chunk in a temporary table, to be searched for those that will be refused."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.sql.elements import ClauseElement

from sessionwise.bulk.plan import Plan
from sessionwise.bulk.reading.rows import Chunk, short
from sessionwise.bulk.rejects.checks import NUMBER, Search
from sessionwise.bulk.rejects.collected import some
from sessionwise.bulk.rejects.constraints import constraints_of
from sessionwise.bulk.rejects.faults import Fault, fault_of
from sessionwise.bulk.rejects.values import suspects
from sessionwise.bulk.target import Target
from sessionwise.bulk.upserting.temporary import MYSQL, TemporaryTable, execute, existing
from sessionwise.bulk.writers import choose
from sessionwise.dialects import of as traits_of
from sessionwise.dialects.traits import sqlstate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

    from sessionwise.bulk.rejects.constraints import Constraints

__all__ = ["Found", "Searching", "has_expressions", "is_about_the_search", "shown"]

Found = tuple[dict[int, Fault], set[int]]
"""What is said against rows by their numbers, and rows that are to be tried by themselves."""


def is_searchable(connection: Connection, target: Target) -> bool:
    """Say whether rows for a target can be searched: they are for one table, by its own name."""
    return (
        not target.is_joined
        and connection.dialect.name in {"postgresql", "sqlite", *MYSQL}
        and not connection.get_execution_options().get("schema_translate_map")
    )


class Searching:
    """The temporary table of one call, for one chunk after the other."""

    def __init__(
        self,
        connection: Connection,
        target: Target,
        savepoint: Callable[[Connection], AbstractContextManager[None]],
        *,
        skips: bool = False,
    ) -> None:
        self.connection = connection
        self.target = target
        self.skips = skips
        """Whether rows whose key is there already are left out, and not refused."""
        self._savepoint = savepoint
        self._stack: ExitStack | None = None
        self._is_over = not is_searchable(connection, target)
        self._temporary: TemporaryTable | None = None

    def __enter__(self) -> Searching:
        self._stack = ExitStack().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._stack is not None:
            self._stack.__exit__(*exception)

    @property
    def is_possible(self) -> bool:
        """Whether rows can be searched, as far as that is known."""
        return not self._is_over

    @cached_property
    def constraints(self) -> Constraints:
        """What constrains the rows."""
        return constraints_of(self.connection, self.target.table)

    def is_sure(self, fault: Fault) -> bool:
        """Say whether the INSERT would refuse a row as well."""
        connection = self.connection
        if fault.kind not in self.constraints.sure:
            return False
        if self.skips and fault.kind == "foreign key":
            return False  # it may be left out before that is looked at
        is_snapshot = traits_of(connection.dialect).snapshot(connection, 0) is not None
        return connection.dialect.name in MYSQL or not is_snapshot

    def search(
        self,
        chunk: Chunk,
        plan: Plan,
        objects: Any,
        row: Callable[[int], Sequence[Any]],
        *,
        values: bool,
    ) -> Found | None:
        """Return what is said against rows of a chunk; None where that cannot be found out so.

        :param objects: the values of each column of the plan; None where they are Arrow's alone.
        :param row: returns the values of a row in the columns of the plan.
        :param values: whether values that are none of their column's type are to be expected.
        """
        if self._is_over:
            return None
        try:
            with self._savepoint(self.connection):
                constraints = self.constraints
            temporary = self._created()
            apart = self._staged(temporary, chunk, plan, objects, values=values)
            if apart is None:
                return None
            with self._savepoint(self.connection):
                search = Search(
                    self.connection,
                    self.target.table,
                    temporary.table,
                    constraints,
                    frozenset(one.name for one in plan.columns),
                    lambda at, names: shown(plan, row(at), names),
                    lambda at: chunk.positions[at],
                    skips=self.skips,
                )
                return search.run(), apart
        except SQLAlchemyError as error:
            if not is_about_the_search(error):
                raise
            self._is_over = True
            return None

    def _created(self) -> TemporaryTable:
        if self._temporary is None:
            own = self.constraints.to_itself(self.target.table)
            indexed = [name for one in own for name in one.referred]
            temporary = TemporaryTable(self.connection, self.target, [NUMBER], indexed=indexed)
            with self._savepoint(self.connection):
                if self._stack is None:
                    temporary.create()
                else:
                    self._stack.enter_context(existing(temporary))
            self._temporary = temporary
        else:
            execute(self.connection, delete(self._temporary.table))
        return self._temporary

    def _staged(
        self, temporary: TemporaryTable, chunk: Chunk, plan: Plan, objects: Any, *, values: bool
    ) -> set[int] | None:
        """Write rows into the temporary table; return those that it is not to have."""
        apart: set[int] = set()
        keys = [one.key for one in plan.columns]
        into = Plan(Target(temporary.table), (*keys, NUMBER), self.connection.dialect)
        rows = _numbered(chunk, plan, objects, into.names)
        writer = choose(self.connection, into)
        looked = False
        while True:
            if values and not looked:
                given = objects if objects is not None else plan.objects(chunk.rows)
                apart, looked = suspects(plan, given), True
            left = rows
            if apart:
                left = some(rows, [at for at in range(len(rows)) if at not in apart])
            if not left.positions:
                return None
            try:
                with self._savepoint(self.connection):
                    writer.write(self.connection, into, left)
            except Exception as error:
                if fault_of(error, self.connection.dialect.name) is None:
                    raise
                if looked:
                    return None
                values = True
            else:
                return apart


def _numbered(chunk: Chunk, plan: Plan, objects: Any, names: tuple[str, ...]) -> Chunk:
    """Return the rows of a chunk with their numbers."""
    if objects is None:
        import pyarrow

        columns = [chunk.batch.column(at) for at in plan.given.values()]
        columns.append(pyarrow.array(range(len(chunk)), pyarrow.int64()))
        batch = pyarrow.RecordBatch.from_arrays(columns, list(names))
        return Chunk(names, chunk.positions, batch=batch)
    rows = list(zip(*objects, range(len(chunk)), strict=True))
    return Chunk(names, chunk.positions, rows)


def shown(plan: Plan, row: Sequence[Any], names: Sequence[str]) -> str:
    """Write the values of a row in some columns.

    :param row: the values in the columns of the plan.
    """
    values = {one.name: value for one, value in zip(plan.columns, row, strict=True)}
    return ", ".join(f"{name}={short(values.get(name))}" for name in names)


def has_expressions(objects: Sequence[Sequence[Any]]) -> bool:
    """Say whether any value is an SQL expression."""
    return any(
        isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")
        for values in objects
        for value in values
    )


_SQLITE = "SQLITE_ERROR"
_MYSQL = frozenset({1044, 1054, 1064, 1137, 1142, 1143, 1146, 1267, 1305, 1370})
"""No right, no such column, syntax, a temporary table twice, no such table, no such function."""


def is_about_the_search(error: SQLAlchemyError) -> bool:
    """Say whether a statement of the search is at fault, not the connection or the transaction."""
    if not isinstance(error, DBAPIError) or error.connection_invalidated or error.orig is None:
        return False
    code = error.orig.args[0] if error.orig.args else None
    return (
        (sqlstate(error.orig) or "")[:2] in {"0A", "21", "22", "42"}
        or getattr(error.orig, "sqlite_errorname", None) == _SQLITE
        or code in _MYSQL
    )
