"""What SQLAlchemy's INSERT, UPDATE and DELETE say about the rows that they write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Column
    from sqlalchemy.engine.interfaces import Compiled

    from sessionwise.audit.recording.forms import Row
    from sessionwise.audit.recording.reading import Key, Reader

__all__ = ["Dml", "Setting", "condition_of", "dml_of", "target_of"]

_ATTRIBUTE = "_sessionwise_audit_dml"
"""Where a compiled statement, which SQLAlchemy caches, notes what it says."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A column that a statement gives a value of Python's."""

    name: str
    """The column's name."""
    parameter: str
    """The name of the parameter."""
    trusted: Mapping[type, Callable[[Any], Any] | None]


@dataclass(frozen=True)
class Dml:
    """What a compiled statement says about the rows of its table."""

    reader: Reader
    settings: tuple[Setting, ...]
    """The columns that are given a value of Python's."""
    absent: frozenset[str]
    """For an INSERT: the columns that are NULL, since nobody gives them a value."""
    is_computed: bool
    """Whether the database computes what columns are set to."""
    where: tuple[str, ...] | None
    """The parameters that hold the key, where the condition names one row; else None."""
    is_exact: bool
    """Whether the condition says nothing else."""
    moves: tuple[tuple[int, str], ...]
    """Which parts of the key are set, and the parameters that they are set to."""
    moves_by_sql: bool
    """Whether a part of the key is set by an expression."""
    sets: frozenset[str]
    """The names of all columns that are set, also by an expression."""

    def keys(self, parameters: Sequence[Mapping[str, Any]]) -> list[Key]:
        """Return the keys of the rows that are updated or deleted."""
        names = self.where or ()
        if len(names) == 1:
            (name,) = names
            return [(one[name],) for one in parameters]
        return [tuple(one[name] for name in names) for one in parameters]

    def moved(self, key: Key, parameters: Mapping[str, Any]) -> Key:
        """Return what a row is known by after it was updated."""
        if not self.moves:
            return key
        parts = list(key)
        for at, name in self.moves:
            parts[at] = parameters[name]
        return tuple(parts)

    def values(self, parameters: Mapping[str, Any]) -> Row | None:
        """Return the forms of what is set; None where they must be read."""
        found: Row = {}
        for one in self.settings:
            value = parameters[one.parameter]
            try:
                make = one.trusted[type(value)]
                found[one.name] = value if make is None else make(value)
            except (KeyError, ValueError):
                return None
        return found


def target_of(compiled: Compiled) -> Table | None:
    """Return the table that a compiled statement writes; None where it is no DML."""
    if not isinstance(compiled.statement, UpdateBase):
        return None
    table: Any = _statement(compiled).table
    found = table.metadata.tables.get(table.key) if hasattr(table, "metadata") else None
    return found if isinstance(found, Table) else None


def dml_of(compiled: Any, reader: Reader) -> Dml:
    """Return what a compiled statement says about the rows of a table."""
    known: Dml | None = compiled.__dict__.get(_ATTRIBUTE)
    if known is None or known.reader is not reader:
        known = compiled.__dict__[_ATTRIBUTE] = _find(compiled, reader)
    return known


def condition_of(compiled: Any) -> Any:
    """Return the condition of an UPDATE or DELETE, as it was compiled; None: it has none."""
    return _statement(compiled).whereclause


def _statement(compiled: Any) -> Any:
    """Return the statement that was compiled: the ORM makes one of Core from one of its own."""
    found = getattr(compiled.compile_state, "statement", None)
    return compiled.statement if found is None else found


def _find(compiled: Any, reader: Reader) -> Dml:
    covered = reader.covered
    condition = None if compiled.isinsert else condition_of(compiled)
    named = _named(compiled, covered.table)
    binds = set(compiled.bind_names.values()) - _names_in(condition, compiled)
    given = {one.name for one in named if one.key in binds}
    by_sql = {one.name for one in named} - given
    if compiled.isinsert:  # without being named: by defaults of the database
        by_sql |= {one.name for one in compiled.postfetch}
    settings = tuple(
        Setting(one.name, str(one.key), reader.trusted[one.name])
        for one in covered.columns
        if one.name in given
    )
    absent = frozenset(
        one.name
        for one in covered.columns
        if one.name not in given | by_sql and not _has_default(one)
    )
    where, is_exact = (None, False)
    if not compiled.isinsert:
        where, is_exact = _where(condition, compiled, covered.key)
    return Dml(
        reader,
        settings,
        absent,
        bool(by_sql or any(one.server_onupdate is not None for one in covered.columns)),
        where,
        is_exact,
        tuple((at, str(one.key)) for at, one in enumerate(covered.key) if one.name in given),
        compiled.isupdate and any(one.name in by_sql for one in covered.key),
        frozenset(by_sql | given),
    )


def _named(compiled: Any, table: Table) -> list[Column[Any]]:
    """Return the columns that an INSERT or UPDATE names: what it sets.

    Parameters of other names may be called as a column is.
    """
    if compiled.isinsert:
        head, _, _ = compiled.string.partition(" VALUES ")
        said, pattern = head[head.find("(") :], r"[(,]\s*{}\s*[,)]"
    elif compiled.isupdate:
        # A comparison has blanks around its sign, an assignment has none.
        _, _, said = compiled.string.partition(" SET ")
        pattern = r"(?:^|, )(?:\S+\.)?{}="
    else:
        return []
    quote = compiled.preparer.quote
    return [
        one for one in table.columns if re.search(pattern.format(re.escape(quote(one.name))), said)
    ]


def _has_default(column: Column[Any]) -> bool:
    """Say whether the database has a value for a column that is given none."""
    return (
        column.server_default is not None
        or column.default is not None
        or column.computed is not None
        or column.identity is not None
        or column.primary_key
    )


def _names_in(condition: Any, compiled: Any) -> set[str]:
    if condition is None:
        return set()
    return {
        compiled.bind_names[one]
        for one in visitors.iterate(condition)
        if isinstance(one, BindParameter) and one in compiled.bind_names
    }


def _where(
    condition: Any, compiled: Any, key: Sequence[Column[Any]]
) -> tuple[tuple[str, ...] | None, bool]:
    """Return the parameters that the key is compared with, and whether there is nothing else."""
    found: dict[str, str] = {}
    is_exact = True
    for part in _parts(condition):
        name = _compared(part, key[0].table)
        if name is None or name[1] not in compiled.bind_names or name[0] in found:
            is_exact = False
        else:
            found[name[0]] = compiled.bind_names[name[1]]
    names = [one.name for one in key]
    if not set(names) <= found.keys():
        return None, False
    return tuple(found[name] for name in names), is_exact and found.keys() == set(names)


def _parts(condition: Any) -> Iterator[Any]:
    if condition is None:
        return
    if isinstance(condition, BooleanClauseList):
        if condition.operator is operators.and_:
            for one in condition.clauses:
                yield from _parts(one)
        else:
            yield None
    else:
        yield condition


def _compared(part: Any, table: Any) -> tuple[str, Any] | None:
    """Return the column and the parameter of ``table.column = :parameter``."""
    if not isinstance(part, BinaryExpression) or part.operator is not operators.eq:
        return None
    left, right = part.left, part.right
    of = getattr(left, "table", None)
    if getattr(of, "key", None) != table.key or not isinstance(right, BindParameter):
        return None
    return (str(left.name), right)
