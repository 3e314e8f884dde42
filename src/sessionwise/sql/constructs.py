"""What the statements that SQLAlchemy builds may write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import Insert, UpdateBase
from sqlalchemy.sql.elements import ColumnClause, TextClause
from sqlalchemy.sql.functions import FunctionElement, GenericFunction
from sqlalchemy.sql.selectable import TableClause

from sessionwise.sql import functions, texts
from sessionwise.sql.mapped import tables_in
from sessionwise.sql.touched import EVERYTHING, NOTHING, Touched

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Compiled

__all__ = ["is_foreign", "written_by"]

_ATTRIBUTE = "_sessionwise_written"
"""Where a compiled statement, which SQLAlchemy caches, notes what it writes."""

_UPSERTS = frozenset({"on_conflict_do_update", "on_duplicate_key_update"})
_HEAD = 40
"""Characters in which an INSERT says whether it replaces rows."""


def written_by(compiled: Compiled) -> Touched:
    """Return what a compiled statement writes; what it reads is left out.

    A SELECT that reads a table writes nothing: what functions do in it is not looked at. One that
    only calls a function, and not one of the database's own, may write anything.
    """
    known: Touched | None = compiled.__dict__.get(_ATTRIBUTE)
    if known is None:
        known = compiled.__dict__[_ATTRIBUTE] = _find(compiled)
    return known


def _find(compiled: Compiled) -> Touched:
    if compiled.statement is None:
        return NOTHING
    parts = list(visitors.iterate(compiled.statement))
    written = NOTHING
    for part in parts:
        if isinstance(part, UpdateBase):
            written |= _of_dml(part, compiled)
    if written.writes or any(_is_of_a_table(part) for part in parts):
        return written
    dialect = compiled.dialect
    if any(_is_text(part) for part in parts):
        return texts.writes_of_text(compiled.string, dialect.name, dialect.paramstyle)
    calls = (part for part in parts if isinstance(part, FunctionElement))
    return EVERYTHING if any(is_foreign(call, dialect.name) for call in calls) else NOTHING


def _of_dml(statement: UpdateBase, compiled: Compiled) -> Touched:
    target = tables_in(statement.table)
    if isinstance(statement, Insert):
        if "REPLACE" in compiled.string[:_HEAD].upper():
            return Touched(inserts=target, updates=target, deletes=target)
        upserts = any(one.__visit_name__ in _UPSERTS for one in visitors.iterate(statement))
        return Touched(inserts=target, updates=target if upserts else frozenset())
    if compiled.dialect.name in {"mysql", "mariadb"}:
        target = tables_in(statement)  # one UPDATE may change several
    if statement.is_delete:
        return Touched(deletes=target)
    return Touched(updates=target)


def _is_of_a_table(part: Any) -> bool:
    return isinstance(part, TableClause) or getattr(part, "table", None) is not None


def _is_text(part: Any) -> bool:
    return isinstance(part, TextClause) or (isinstance(part, ColumnClause) and part.is_literal)


def is_foreign(function: FunctionElement[Any], dialect: str) -> bool:
    """Say whether a function is not one of the database's own."""
    if isinstance(function, GenericFunction) and type(function).__module__ == _GENERIC:
        return False
    name = ".".join((*getattr(function, "packagenames", ()), getattr(function, "name", "?")))
    return functions.calls_others(f"{name}(", dialect)


_GENERIC = GenericFunction.__module__
"""Where SQLAlchemy's own functions are; others may add to them."""
