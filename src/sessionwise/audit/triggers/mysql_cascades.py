"""MariaDB: what foreign keys do, which fires no triggers there.

A trigger of the table that is referred to records it. It only reads the rows: to delete them by
itself would fail wherever the statement reads them, too (error 1442), and could not be done in the
table of the statement. What goes by ON DELETE is recorded before it does, and what has changed by
ON UPDATE CASCADE afterwards, when it shows whether it has.
"""

# ruff: noqa: S608 - these texts are SQL; names and strings in them are quoted

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from sessionwise.audit.coverage import full_name
from sessionwise.audit.triggers.mysql_ignored import is_done
from sessionwise.audit.triggers.mysql_keys import Edge, Edges, edges_of
from sessionwise.audit.triggers.mysql_recording import TRANSACTION, record
from sessionwise.audit.triggers.mysql_values import (
    NEW,
    OLD,
    Record,
    changed,
    changes,
    of_table,
    quote,
)
from sessionwise.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Column, MetaData, Table

    from sessionwise.audit.coverage import Covered

__all__ = ["acting_on", "parents"]

_DELETE, _UPDATE = "BEFORE DELETE", "AFTER UPDATE"
_ACTIONS = {_DELETE: {"on_delete": "CASCADE"}, _UPDATE: {"on_update": "CASCADE"}}


def parents(covered: Covered, metadata: MetaData) -> Iterator[tuple[Table, str]]:
    """Give the tables that foreign keys act on a table from, and when."""
    edges, table = edges_of(metadata), covered.table
    deleting: set[Table] = set()
    for edge in edges.of(table):
        if edge.acts_on_delete:
            deleting |= {edge.parent} | edges.reaching(edge.parent, on_delete="CASCADE")
    updating = edges.reaching(table, on_update="CASCADE") - {table}
    for parent in sorted(deleting | updating, key=full_name):
        if parent in deleting:
            yield parent, _DELETE
        if parent in updating:
            yield parent, _UPDATE


def acting_on(covered: Covered, metadata: MetaData) -> Iterator[tuple[Table, str, str]]:
    """Give the bodies of the triggers that record what foreign keys do to a table.

    A body is empty where they change only what is not recorded.

    :raises UnsupportedError: for foreign keys that lead around several tables, and for ON UPDATE
      SET NULL: who has had a reference does not show afterwards.
    """
    edges = edges_of(metadata)
    _check(covered, edges)
    bodies = {_DELETE: _deletion, _UPDATE: _renaming}
    for parent, when in parents(covered, metadata):
        edges.check(parent, covered.table, **_ACTIONS[when])
        yield parent, when, bodies[when](covered, parent, edges)


def _check(covered: Covered, edges: Edges) -> None:
    if any(edges.of(covered.table, on_update="SET NULL")):
        raise UnsupportedError(
            f"{covered.name} has a foreign key with ON UPDATE SET NULL, which MariaDB's triggers "
            'cannot record. Make it CASCADE, or give Audit capture="session"'
        )
    for edge in edges.of(covered.table):
        if edge.parent.schema is not None and (edge.acts_on_delete or edge.on_update == "CASCADE"):
            raise UnsupportedError(
                f"{covered.name} refers to {full_name(edge.parent)} in another database, where "
                "MariaDB's triggers would not find the audit's tables. Give Audit "
                'capture="session", or leave the table out by exclude='
            )


def _deletion(covered: Covered, parent: Table, edges: Edges) -> str:
    """Return what records the rows that go with one, or no longer refer to it."""
    deletion = edges.once(parent, lambda: _Deletion(parent, edges))
    table = covered.table
    row = Record(covered, of_table(table.name))
    others = ""
    if table is parent:  # a row may refer to itself
        key = (f"{row.refer(column)} = {OLD(column)}" for column in covered.key)
        others = f" AND NOT ({' AND '.join(key)})"
    goes = deletion.goes(table)
    emptied = [(one, deletion.refers(one)) for one in edges.of(table, on_delete="SET NULL")]
    records = []
    if goes:
        action = "UNLINK" if covered.is_link else "DELETE"
        records.append(_records(row, f"{goes}{others}", action))
    stays = f" AND NOT IFNULL({goes}, FALSE)" if goes else ""
    records += _emptied(row, emptied, f"{stays}{others}")
    if not records:
        return ""
    found = _any([one for one in (goes, *(condition for _, condition in emptied)) if one])
    allowed = ["@@foreign_key_checks", *deletion.is_allowed]
    return _where(table, f"({found}){others}", records, allowed)


def _renaming(covered: Covered, parent: Table, edges: Edges) -> str:
    """Return what records the rows that refer to a new key by ON UPDATE CASCADE."""
    table = covered.table
    moved = _Renaming(parent, edges).moved(table)
    current = of_table(table.name)

    def before(column: Column[Any]) -> str:
        value = current(column)
        for condition, columns in moved:
            if column in columns:
                value = f"IF({condition}, {columns[column]}, {value})"
        return value

    old, new = Record(covered, before), Record(covered, current)
    columns: dict[Column[Any], list[str]] = {column: [] for column in covered.columns}
    for condition, changed_columns in moved:
        for column in changed_columns:
            columns.get(column, []).append(condition)
    changing = [(column, _any(conditions)) for column, conditions in columns.items() if conditions]
    if not changing:
        return ""
    where = _any([condition for condition, _ in moved])
    has_moved = any(column in dict(changing) for column in covered.key)
    recorded = record(
        covered,
        "UPDATE",
        new.key,
        previous_id=f"NULLIF({old.key}, {new.key})" if has_moved else "NULL",
        old=old.row,
        new=changes(new, changing),
        rows=_rows(table, where),
    )
    salts = "".join(
        f"{one.make_salt}\n{_rows(table, where)};\n" for one in (old, new) if one.make_salt
    )
    moves = _any([_moves(edge) for edge in edges.to(parent, on_update="CASCADE")])
    done = is_done(parent, parent.primary_key.columns, parent.columns)
    body = _where(table, where, [salts + recorded], ["@@foreign_key_checks", done])
    return f"IF {moves} THEN\n{body}END IF;\n"


class _Deletion:
    """Which rows go with a row of a table, by ON DELETE CASCADE."""

    def __init__(self, parent: Table, edges: Edges) -> None:
        self.parent = parent
        self.edges = edges
        self.reached = edges.reached(parent, on_delete="CASCADE")
        self.reached -= edges.circular(parent, on_delete="CASCADE")
        self._goes: dict[Table, str] = {}

    def goes(self, table: Table) -> str:
        """Return the condition by which rows of a table go; empty: none does."""
        if table not in self._goes:
            self._goes[table] = self._find(table) if table in self.reached else ""
        return self._goes[table]

    def _find(self, table: Table) -> str:
        cascading = list(self.edges.of(table, on_delete="CASCADE"))
        start = _any([one for one in map(self._begins, cascading) if one])
        to_itself = [one for one in cascading if one.is_to_itself]
        return f"({start})" if not to_itself else _recursively(table, to_itself, start)

    def refers(self, edge: Edge) -> str:
        """Return the condition by which rows of the child refer to one that goes."""
        goes = self.goes(edge.parent)
        found = [_equal(edge, OLD)] if edge.parent is self.parent else []
        return _any([*found, _in(edge, goes)] if goes else found)

    def _begins(self, edge: Edge) -> str:
        """Return the same, without rows that go along with others of their own table."""
        if not edge.is_to_itself:
            return self.refers(edge)
        return _equal(edge, OLD) if edge.parent is self.parent else ""

    @cached_property
    def is_allowed(self) -> list[str]:
        """Conditions by which nothing forbids the deletion: DELETE IGNORE goes on without it."""
        found = []
        gone = {self.parent, *self.reached}
        for edge in [one for table in sorted(gone, key=full_name) for one in self.edges.to(table)]:
            if edge.acts_on_delete or edge.is_to_itself:
                continue
            if condition := self.refers(edge):
                goes = self.goes(edge.child)
                stays = f" AND NOT IFNULL({goes}, FALSE)" if goes else ""
                child = quote(edge.child.name)
                found.append(f"NOT EXISTS (SELECT 1 FROM {child} WHERE ({condition}){stays})")
        return found


class _Renaming:
    """Which rows refer to a new key, by ON UPDATE CASCADE."""

    def __init__(self, parent: Table, edges: Edges) -> None:
        self.parent = parent
        self.edges = edges
        self.reached = edges.reached(parent, on_update="CASCADE")

    def moved(self, table: Table) -> list[tuple[str, dict[Column[Any], str]]]:
        """Return the conditions by which rows have changed, and what columns were before."""
        found = []
        for edge in self.edges.of(table, on_update="CASCADE"):
            if edge.is_to_itself:
                continue  # InnoDB refuses what would act on the same table
            if edge.parent is self.parent:
                before = {child: OLD(parent) for child, parent in edge.columns}
                found.append((f"(({_moves(edge)}) AND {_equal(edge, NEW)})", before))
            elif edge.parent in self.reached:
                found += self._through(edge)
        return found

    def _through(self, edge: Edge) -> Iterator[tuple[str, dict[Column[Any], str]]]:
        for condition, columns in self.moved(edge.parent):
            before = {
                child: columns[parent] for child, parent in edge.columns if parent in columns
            }
            if before:
                yield f"({_in(edge, condition)})", before


def _records(row: Record, condition: str, action: str) -> str:
    """Return what records that rows go."""
    rows = _rows(row.covered.table, condition)
    salts = f"{row.make_salt}\n{rows};\n" if row.make_salt else ""
    return salts + record(row.covered, action, row.key, old=row.row, rows=rows)


def _emptied(row: Record, emptied: list[tuple[Edge, str]], besides: str) -> list[str]:
    """Return what records that references become NULL."""
    columns: dict[Column[Any], list[str]] = {column: [] for column in row.covered.columns}
    for edge, condition in emptied:
        for column, _ in edge.columns:
            if condition and column in columns:
                columns[column].append(f"({condition}) AND {row.refer(column)} IS NOT NULL")
    changing = [(column, _any(conditions)) for column, conditions in columns.items() if conditions]
    if not changing:
        return []
    rows = _rows(row.covered.table, f"({_any([one for _, one in changing])}){besides}")
    nothing = Record(row.covered, lambda _: "NULL")
    recorded = record(
        row.covered, "UPDATE", row.key, old=row.row, new=changes(nothing, changing), rows=rows
    )
    return [f"{row.make_salt}\n{rows};\n{recorded}" if row.make_salt else recorded]


def _where(table: Table, condition: str, records: list[str], allowed: list[str]) -> str:
    """Return what makes records where there are rows for them."""
    exists = f"EXISTS (SELECT 1 FROM {quote(table.name)} WHERE {condition})"
    conditions = "\n  AND ".join([*allowed, exists])
    return f"IF {conditions}\nTHEN\n{TRANSACTION}{''.join(records)}END IF;\n"


def _rows(table: Table, condition: str) -> str:
    return f"FROM {quote(table.name)} WHERE {condition} LOCK IN SHARE MODE"


def _equal(edge: Edge, refer: Any) -> str:
    """Return the condition by which the child refers to the row of the trigger."""
    child = of_table(edge.child.name)
    return " AND ".join(f"{child(column)} = {refer(parent)}" for column, parent in edge.columns)


def _moves(edge: Edge) -> str:
    return _any([changed(parent) for _, parent in edge.columns])


def _in(edge: Edge, condition: str) -> str:
    """Return the condition by which the child refers to rows of its parent."""
    child, parent = of_table(edge.child.name), of_table(edge.parent.name)
    columns = ", ".join(child(column) for column, _ in edge.columns)
    referred = ", ".join(parent(column) for _, column in edge.columns)
    return f"({columns}) IN (SELECT {referred} FROM {quote(edge.parent.name)} WHERE {condition})"


def _recursively(table: Table, edges: list[Edge], start: str) -> str:
    """Return the condition by which rows of a table are found, and those that refer to them."""
    refer, gone = of_table(table.name), of_table("sessionwise_gone")
    columns = dict.fromkeys(table.primary_key.columns)
    columns.update(dict.fromkeys(parent for one in edges for _, parent in one.columns))
    selected = ", ".join(refer(column) for column in columns)
    key = ", ".join(refer(column) for column in table.primary_key.columns)
    found = ", ".join(gone(column) for column in table.primary_key.columns)
    refers = _any(
        [
            " AND ".join(f"{refer(column)} = {gone(parent)}" for column, parent in one.columns)
            for one in edges
        ]
    )
    names = ", ".join(quote(column.name) for column in columns)
    name = quote(table.name)
    return (
        f"({key}) IN (WITH RECURSIVE sessionwise_gone ({names}) AS ("
        f"SELECT {selected} FROM {name} WHERE {start} "
        f"UNION SELECT {selected} FROM {name} JOIN sessionwise_gone ON {refers}) "
        f"SELECT {found} FROM sessionwise_gone)"
    )


def _any(conditions: list[str]) -> str:
    if len(conditions) == 1:
        return conditions[0]
    return " OR ".join(f"({one})" for one in conditions)
