"""SQLAlchemy's own INSERT: any dialect, and whatever no other writer takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, literal
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from sessionwise.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from sessionwise.bulk.plan import Plan
    from sessionwise.bulk.reading.rows import Chunk

__all__ = ["WRITER", "CoreWriter", "insert_expressions", "insert_joined", "insert_missing"]


class CoreWriter:
    """Rows by ``connection.execute(insert(table), rows)``."""

    name = "core"

    def takes(self, connection: Connection, plan: Plan, chunk: Chunk | None = None) -> bool:
        """Take anything."""
        return True

    def write(self, connection: Connection, plan: Plan, chunk: Chunk) -> None:
        """Write the rows of a chunk."""
        if plan.columns:
            connection.execute(plan.statement, plan.parameters(chunk.rows))
        else:
            insert_expressions(connection, plan, chunk, range(len(chunk)))

    def write_returning(self, connection: Connection, plan: Plan, chunk: Chunk) -> list[Any]:
        """Write the rows of a chunk, and return their primary keys in their order."""
        if not plan.columns:
            return insert_expressions(connection, plan, chunk, range(len(chunk)))
        key = list(plan.target.table.primary_key)
        statement = plan.statement.returning(*key, sort_by_parameter_order=True)
        found = connection.execute(statement, plan.parameters(chunk.rows))
        return [tuple(row) for row in found]


WRITER = CoreWriter()


def insert_expressions(
    connection: Connection, plan: Plan, chunk: Chunk, apart: Collection[int]
) -> list[Any]:
    """Write rows of which some have SQL expressions among their values; return primary keys.

    :param apart: which rows have: each of them needs a statement of its own.
    """
    found: list[Any] = []
    for at, values in enumerate(plan.parameters(chunk.rows)):
        if at in apart:
            result = connection.execute(plan.statement.values(values))
        else:
            result = connection.execute(plan.statement, values)
        found.append(tuple(result.inserted_primary_key or ()))
    return found


def insert_missing(connection: Connection, plan: Plan, chunk: Chunk) -> int:
    """Write the rows of a chunk whose keys are not there yet; return how many that were.

    :raises UnsupportedError: on a database that has no such INSERT.
    """
    table, name = plan.target.table, connection.dialect.name
    parameters = plan.parameters(chunk.rows)
    if name in {"mysql", "mariadb"}:
        return _insert_apart(connection, plan, parameters)
    if name == "sqlite":
        statement: Any = sqlite.insert(table).on_conflict_do_nothing()
        return connection.execute(statement, parameters).rowcount
    if name == "postgresql":
        # The rows that come back are counted: not every driver counts for executemany.
        statement = postgresql.insert(table).on_conflict_do_nothing().returning(literal(1))
        return len(connection.execute(statement, parameters).all())
    raise UnsupportedError.on(name, 'on_conflict="nothing"')


_WAYS = 8
"""Into how many parts rows are split that cannot be written together."""

_DUPLICATE_KEY = 1062


def _insert_apart(connection: Connection, plan: Plan, rows: list[dict[str, Any]]) -> int:
    """Write rows, and those one by one whose key is there.

    INSERT IGNORE would let values that do not fit pass, changed.
    """
    try:
        with connection.begin_nested():
            connection.execute(plan.statement, rows)
    except IntegrityError as error:
        if error.orig is None or error.orig.args[0] != _DUPLICATE_KEY:
            raise
        if len(rows) == 1:
            return 0
        size = -(-len(rows) // _WAYS)
        parts = (rows[at : at + size] for at in range(0, len(rows), size))
        return sum(_insert_apart(connection, plan, part) for part in parts)
    return len(rows)


def insert_joined(
    session: Session, plan: Plan, chunk: Chunk, *, returning: bool
) -> list[Any] | None:
    """Write objects that have rows in several tables, by SQLAlchemy's own bulk INSERT."""
    mapper: Any = plan.target.mapper
    parameters = [dict(zip(chunk.names, row, strict=True)) for row in chunk.rows]
    # None is NULL here as everywhere, and not a value that is missing.
    statement = insert(mapper).execution_options(render_nulls=True)
    if not returning:
        session.execute(statement, parameters)
        return None
    keys = [mapper.get_property_by_column(one).class_attribute for one in mapper.primary_key]
    returned = statement.returning(*keys, sort_by_parameter_order=True)
    return [tuple(row) for row in session.execute(returned, parameters)]
