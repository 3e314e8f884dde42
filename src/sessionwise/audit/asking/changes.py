"""``changes``: what was changed in the database, in the order in which it was recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, inspect
from sqlalchemy.orm import Mapper

from sessionwise.audit.asking.recorded import PAGE, check_tables, page
from sessionwise.audit.asking.shape import Shapes
from sessionwise.audit.coverage import full_name
from sessionwise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from sessionwise.audit.asking.change import Change
    from sessionwise.audit.asking.recorded import Wanted
    from sessionwise.audit.coverage import Coverage

__all__ = ["chunks", "tables_named"]


def chunks(
    session: Session,
    coverage: Coverage,
    wanted: Wanted,
    *,
    bind: Any,
    after: int,
    limit: int | None,
) -> Iterator[list[Change]]:
    """Give the changes that are asked for, some hundred at a time; see ``Audit.changes``.

    :param bind: a mapped class or a table, for a session with several engines.
    """
    session.flush()
    left = limit
    shapes: Shapes | None = None
    while left is None or left > 0:
        connection = session.connection(bind_arguments=bind)  # others may have ended transactions
        if shapes is None:
            check_tables(connection)
            shapes = Shapes(coverage, connection.dialect)
        size = PAGE if left is None else min(PAGE, left)
        found = page(connection, wanted, after=after, size=size)
        if found:
            yield [shapes.decode(one) for one in found]
            after = found[-1].id
        if len(found) < size:
            return
        left = None if left is None else left - size


def tables_named(table: Any) -> tuple[frozenset[str] | None, dict[str, Any]]:
    """Return the names of the tables that are meant, and how to find the engine that has them.

    :param table: a mapped class, a table, a name, or None for all.
    """
    if table is None or isinstance(table, str):
        return (None if table is None else frozenset({table})), {}
    if isinstance(table, Table):
        return frozenset({full_name(table)}), {"clause": table}
    mapper = inspect(table, raiseerr=False)
    if not isinstance(mapper, Mapper):
        raise OptionError(f"table={table!r} is none; give a mapped class, a Table or a name")
    names = (full_name(one) for one in mapper.tables if isinstance(one, Table))
    return frozenset(names), {"mapper": mapper}
