"""Capture of INSERT, UPDATE and DELETE that are sent by themselves, and not by a flush.

The rows are read before, with the condition of the statement itself, and by their keys afterwards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import BindParameter

from sessionwise.audit.recording import hooks, upserts
from sessionwise.audit.recording.cascaded import follow_deleted, follow_moved
from sessionwise.audit.recording.changes import UNREAD
from sessionwise.audit.recording.dml import condition_of, dml_of
from sessionwise.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement, Table

    from sessionwise.audit.recording.batch import Batch
    from sessionwise.audit.recording.dml import Dml
    from sessionwise.audit.recording.reading import Key, Reader

__all__ = ["Unknown", "Way", "before"]

_SCHEMA = "schema_translate_map"

_TO_CHANGE = {"key_share": True}
_TO_DELETE: dict[str, bool] = {}


class Unknown(Exception):  # noqa: N818 - it becomes an error, or a warning
    """It cannot be told which rows a statement writes; its text says why."""


@dataclass
class Way:
    """How a statement is to be sent."""

    stands_in: Any = None
    """What is to be sent in its place, since it says which rows it writes."""
    keys: Callable[[], list[Key]] | None = None
    """What gives the keys of new rows, from among what is returned to the caller."""
    after: Callable[[list[Key]], None] | None = None
    """What is to be called with these once it has been carried out, before all is recorded."""


def before(batch: Batch, reader: Reader, context: Any) -> Way:
    """Read the rows that a statement is about to write.

    :raises Unknown: where nobody can tell which these are.
    """
    compiled = context.compiled
    _check_alone(compiled)
    _check_schema(batch, context)
    dml = dml_of(compiled, reader)
    if context.isinsert:
        return _insert(batch, dml, context)
    _check_one_table(compiled, reader.covered.table)
    if dml.moves_by_sql:
        raise Unknown("it sets the primary key by an expression")
    if dml.where is not None and context.executemany and not dml.moves:
        note = batch.update if context.isupdate else batch.delete
        note(dml, context.compiled_parameters)
        return Way()
    found = sum(_find(batch, dml, context, one) for one in context.compiled_parameters)

    def check(_keys: list[Key]) -> None:
        if context.rowcount > found:
            raise AuditError.for_rows_of_others(reader.covered.name, context.rowcount - found)

    return Way(after=check)


def _find(batch: Batch, dml: Dml, context: Any, parameters: dict[str, Any]) -> int:
    """Read the rows that fulfil the condition of an UPDATE or DELETE; return how many."""
    condition = _bound(context.compiled, parameters)
    lock = _TO_CHANGE if context.isupdate else _TO_DELETE
    rows = dml.reader.by_condition(batch.connection, condition, lock)
    keys = list(rows)
    changes = batch.of(dml.reader)
    for key, row in rows.items():
        if changes.is_free(key):
            changes.note({key: row})
    if context.isdelete:
        follow_deleted(batch, dml.reader, keys)
        return len(keys)
    follow_moved(batch, dml, keys, [parameters] * len(keys))
    for key in keys if dml.moves else ():
        moved = dml.moved(key, parameters)
        if moved != key and not changes.is_free(moved):
            raise Unknown("it gives rows the primary keys of others")
        changes.move(key, moved)
    return len(keys)


def _bound(compiled: Any, parameters: dict[str, Any]) -> ColumnElement[bool] | None:
    """Return the condition of a statement with the values that it is sent with.

    SQLAlchemy may have compiled it for another statement of the same shape, with other values.
    """
    condition = condition_of(compiled)
    if condition is None:
        return None
    names = {one.key: name for one, name in compiled.bind_names.items()}

    def bind(element: Any, **_: Any) -> Any:
        if not isinstance(element, BindParameter):
            return None
        name = compiled.bind_names.get(element, names.get(element.key))
        if name is None or not (element.expanding or name in parameters):
            raise Unknown("it has a condition that cannot be asked for by itself")
        value = _listed(name, parameters) if element.expanding else parameters[name]
        return bindparam(None, value, type_=element.type, unique=True, expanding=element.expanding)

    bound: ColumnElement[bool] = visitors.replacement_traverse(condition, {}, bind)
    return bound


def _listed(name: str, parameters: dict[str, Any]) -> list[Any]:
    """Return the values of an IN, which has a parameter for each, or for each part of each."""
    values: list[Any] = []
    for at in count(1):
        one = f"{name}_{at}"
        if one in parameters:
            values.append(parameters[one])
            continue
        parts = tuple(takewhile(lambda part: part in parameters, (f"{one}_{n}" for n in count(1))))
        if not parts:
            break
        values.append(tuple(parameters[part] for part in parts))
    return values


def _check_alone(compiled: Any) -> None:
    """Refuse what writes in a part of the statement, too."""
    inner = [
        part
        for part in visitors.iterate(compiled.statement)
        if isinstance(part, UpdateBase) and part is not compiled.statement
    ]
    if inner:
        raise Unknown("it writes in a WITH clause")


def _check_schema(batch: Batch, context: Any) -> None:
    """Refuse what is sent to the tables of another schema than all else on the connection."""
    here = batch.connection.get_execution_options().get(_SCHEMA)
    if context.execution_options.get(_SCHEMA) != here:
        raise Unknown("its schema_translate_map is not that of the connection")


def _check_one_table(compiled: Any, table: Table) -> None:
    """Refuse an UPDATE or DELETE of several tables, which MySQL and MariaDB know."""
    if compiled.isupdate and compiled.dialect.name in {"mysql", "mariadb"}:
        _, _, assignments = compiled.string.partition(" SET ")
        if any(name != table.name for name in _ASSIGNED.findall(assignments)):
            raise Unknown("it sets columns of several tables")


_ASSIGNED = re.compile(r"(?:^|, )`?([\w$]+)`?\.`?[\w$]+`?=")


def _insert(batch: Batch, dml: Dml, context: Any) -> Way:
    if upserts.is_upsert(context.compiled):
        return _upsert(batch, dml, context)
    covered = dml.reader.covered
    names = [str(one.key) for one in covered.key]
    parameters = context.compiled_parameters
    if all(values.get(name) is not None for values in parameters for name in names) or (
        _has_keys_afterwards(context)
    ):
        batch.insert(dml, context)
        return Way()
    if context.executemany and context.compiled.implicit_returning:
        return Way(after=lambda _: _note_new(batch, dml.reader, hooks.made_keys(context)))
    keys = upserts.keys_of_values(context, names)
    if keys is not None:
        return Way(after=lambda _: _note_new(batch, dml.reader, keys))
    return _returning(batch, dml.reader, context)


def _has_keys_afterwards(context: Any) -> bool:
    """Say whether SQLAlchemy finds out the key of the one row that is inserted."""
    compiled = context.compiled
    if context.executemany or upserts.is_of_a_query(context) or upserts.has_many_values(context):
        return False
    return bool(compiled.postfetch_lastrowid or compiled.implicit_returning)


def _returning(batch: Batch, reader: Reader, context: Any) -> Way:
    """Have the statement return the keys, where it does not."""
    key = reader.covered.key
    if hooks.returns(context):
        read = hooks.returned_keys(context, key)
        if read is None:
            raise Unknown("it does not return the primary key of its new rows")
        return Way(keys=read, after=lambda keys: _note_new(batch, reader, keys))
    dialect = context.dialect
    many = context.executemany
    if not (dialect.insert_executemany_returning if many else dialect.insert_returning):
        raise Unknown("it does not say which primary keys its new rows have")
    return Way(stands_in=hooks.returning(context, key))


def _note_new(batch: Batch, reader: Reader, keys: list[Key]) -> None:
    changes = batch.of(reader)
    for key in keys:
        if changes.find(key) is None:
            changes.add(key, UNREAD)


def _upsert(batch: Batch, dml: Dml, context: Any) -> Way:
    """Read the rows that may be in the way of new ones."""
    reader = dml.reader
    among = upserts.among(reader.covered, context)
    if among is None:
        return _returning(batch, reader, context)
    changes = batch.of(reader)
    for condition in among:
        changes.note(reader.by_condition(batch.connection, condition, _TO_CHANGE))
    if upserts.replaces(context.compiled):
        follow_deleted(batch, reader, list(changes.new))

    def find_new(_keys: list[Key]) -> None:
        for condition in among:
            for key, row in reader.by_condition(batch.connection, condition).items():
                if changes.find(key) is None:
                    changes.add(key, row)

    return Way(after=find_new)
