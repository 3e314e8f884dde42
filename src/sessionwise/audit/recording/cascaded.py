"""Rows that the database changes along: by ON DELETE and ON UPDATE of foreign keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, tuple_

from sessionwise.audit.coverage import full_name
from sessionwise.audit.recording.changes import UNREAD
from sessionwise.errors import UnauditedWriteError
from sessionwise.loading.keys import chunks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy import Column, ColumnElement, Connection, Table

    from sessionwise.audit.coverage import Coverage
    from sessionwise.audit.recording.batch import Batch
    from sessionwise.audit.recording.dml import Dml
    from sessionwise.audit.recording.reading import Key, Reader

__all__ = ["Edge", "Edges", "follow_deleted", "follow_moved"]

_ACTS = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})


@dataclass(frozen=True)
class Edge:
    """A foreign key by which a table is changed along with another one."""

    table: Table
    """Whose rows refer to others."""
    columns: tuple[Column[Any], ...]
    referred: tuple[Column[Any], ...]
    on_delete: str
    on_update: str


class Edges:
    """The foreign keys by which changes spread, in the metadata of an audit."""

    def __init__(self, coverage: Coverage) -> None:
        self._coverage = coverage
        self._known: dict[Table, list[Edge]] = {}
        self._reached: dict[Table, frozenset[str]] = {}
        self._size = 0

    def of(self, table: Table) -> list[Edge]:
        """Return the foreign keys by which others change along with a table."""
        self._look()
        return self._known.get(table, [])

    def reached(self, table: Table) -> frozenset[str]:
        """Return the audited tables that may change along with a table, by their full names."""
        self._look()
        known = self._reached.get(table)
        if known is None:
            known = self._reached[table] = frozenset(self._reach(table))
        return known

    def _reach(self, table: Table) -> Iterator[str]:
        seen: set[Table] = set()
        ahead = [table]
        while ahead:
            for edge in self._known.get(ahead.pop(), ()):
                if edge.table not in seen:
                    seen.add(edge.table)
                    ahead.append(edge.table)
                    if self._coverage.of(edge.table) is not None:
                        yield full_name(edge.table)

    def _look(self) -> None:
        tables = self._coverage.metadata.tables
        if len(tables) == self._size:  # tables may be added later
            return
        self._size = len(tables)
        self._known = {}
        self._reached = {}
        for table in tables.values():
            constraints = sorted(
                table.foreign_key_constraints, key=lambda one: list(one.column_keys)
            )
            for one in constraints:
                deleting, updating = (one.ondelete or "").upper(), (one.onupdate or "").upper()
                if not _ACTS.isdisjoint((deleting, updating)):
                    columns = tuple(element.parent for element in one.elements)
                    referred = tuple(element.column for element in one.elements)
                    edge = Edge(table, columns, referred, deleting, updating)
                    self._known.setdefault(one.referred_table, []).append(edge)


def follow_deleted(batch: Batch, reader: Reader, keys: Sequence[Key]) -> None:
    """Read the rows that change, or go, with rows that are about to be deleted."""
    _follow(batch, reader, keys, set())


def _follow(batch: Batch, reader: Reader, keys: Sequence[Key], seen: set[Any]) -> None:
    table = reader.covered.table
    for edge in batch.readers.edges.of(table):
        if edge.on_delete not in _ACTS:
            continue
        child = batch.readers.of(batch.connection, edge.table)
        if child is None:
            continue
        found = _referring(batch, edge, child, reader, keys)
        if edge.on_delete == "CASCADE":
            new = [key for key in found if (edge.table, key) not in seen]
            seen.update((edge.table, key) for key in new)
            if new:
                _follow(batch, child, new, seen)


def _referring(
    batch: Batch, edge: Edge, child: Reader, reader: Reader, keys: Sequence[Key]
) -> list[Key]:
    """Take note of the rows that refer to some; return their keys."""
    found: list[Key] = []
    changes = batch.of(child)
    for chunk in chunks(_referred(batch.connection, edge, reader, keys)):
        rows = child.by_condition(batch.connection, _among(edge.columns, chunk), {})
        changes.note(rows)
        for key in rows:
            first = changes.find(key)
            if first is not None:
                changes.new[first] = UNREAD
        found += rows
    return found


def _referred(
    connection: Connection, edge: Edge, reader: Reader, keys: Sequence[Key]
) -> list[Key]:
    """Return the values by which others refer to rows."""
    key = reader.covered.key
    if set(edge.referred) <= set(key):
        at = [key.index(one) for one in edge.referred]
        return [tuple(one[n] for n in at) for one in keys]
    found: list[Key] = []
    for chunk in chunks(keys):
        statement = select(*edge.referred).where(_among(key, chunk))
        found += [tuple(row) for row in connection.execute(statement)]
    return found


def _among(columns: Sequence[Column[Any]], values: Sequence[Key]) -> ColumnElement[bool]:
    if len(columns) == 1:
        return columns[0].in_([one for (one,) in values])
    return tuple_(*columns).in_(values)


def follow_moved(
    batch: Batch, dml: Dml, keys: Sequence[Key], parameters: Sequence[dict[str, Any]]
) -> None:
    """Read the rows that change with what they refer to, which is about to be updated."""
    if batch.readers.edges.of(dml.reader.covered.table):
        moved = {key: dml.moved(key, one) for key, one in zip(keys, parameters, strict=True)}
        _spread(batch, dml.reader, moved, dml.sets)


def _spread(batch: Batch, reader: Reader, moved: dict[Key, Key], sets: Collection[str]) -> None:
    """Follow the foreign keys by which columns of rows are set in others.

    :param moved: what the rows will be known by.
    :param sets: the names of the columns that are set.
    """
    for edge in batch.readers.edges.of(reader.covered.table):
        if edge.on_update not in _ACTS or not {one.name for one in edge.referred} & set(sets):
            continue
        child = batch.readers.of(batch.connection, edge.table)
        found = [] if child is None else _referring(batch, edge, child, reader, list(moved))
        if child is None or not found or edge.on_update != "CASCADE":
            continue
        along = _moved_along(edge, child, reader, found, moved)
        changes = batch.of(child)
        for key, now in along.items():
            first = changes.find(key)
            if first is not None:
                changes.move(first, now)
        _spread(batch, child, along, {one.name for one in edge.columns})


def _moved_along(
    edge: Edge, child: Reader, reader: Reader, found: Sequence[Key], moved: dict[Key, Key]
) -> dict[Key, Key]:
    """Return what rows will be known by after those that they refer to have got other keys."""
    key, of = child.key, reader.key
    if not set(edge.columns) & set(key):
        return {one: one for one in found}
    if not set(edge.columns) <= set(key) or not set(edge.referred) <= set(of):
        raise UnauditedWriteError.of(
            f"an UPDATE of {reader.covered.name}",
            child.covered.name,
            "nobody can tell which primary keys its rows get by ON UPDATE CASCADE",
        )
    at = [of.index(one) for one in edge.referred]
    into = [key.index(one) for one in edge.columns]
    now = {tuple(old[n] for n in at): tuple(new[n] for n in at) for old, new in moved.items()}
    along: dict[Key, Key] = {}
    for one in found:
        parts = list(one)
        for n, value in zip(into, now.get(tuple(one[n] for n in into), ()), strict=False):
            parts[n] = value
        along[one] = tuple(parts)
    return along
