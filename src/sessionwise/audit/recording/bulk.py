"""Capture of what bulk verbs write: they say which rows, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sessionwise.audit.recording import unaudited, upserts
from sessionwise.audit.recording.batch import Batch
from sessionwise.audit.recording.beginning import begin_to_write
from sessionwise.audit.recording.changes import UNREAD
from sessionwise.audit.recording.work import work_of
from sessionwise.bulk import announce
from sessionwise.errors import UnauditedWriteError
from sessionwise.transaction import activity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Column, ColumnElement, Connection, Table
    from sqlalchemy.orm import Session

    from sessionwise.audit.recording.reading import Key, Reader
    from sessionwise.audit.recording.recorder import Recorder
    from sessionwise.audit.recording.work import Work
    from sessionwise.bulk.announce import Announcement
    from sessionwise.bulk.target import Target
    from sessionwise.sql.touched import Touched

__all__ = ["Verb", "attach", "is_recorded_by", "is_sent_by"]

_TO_CHANGE = {"key_share": True}


@dataclass
class Verb:
    """A bulk verb that is at work on a connection."""

    kind: str
    table: Table
    reader: Reader
    depth: int
    """How many savepoints are around it."""
    batch: Batch | None
    """What it has written; None where that is not to be recorded."""
    by_driver: int | None = None
    """How many savepoints were around what it has sent past SQLAlchemy; None: it has not."""
    wants_ids: bool = False
    """Whether the keys of the rows to come must be found out."""

    def savepoint_ended(self, depth: int, *, undone: bool) -> None:
        """Note that savepoints inside it have ended."""
        if self.by_driver is not None and self.by_driver > depth:
            self.by_driver = None if undone else depth


def attach(recorder: Recorder, session: Session) -> None:
    """Listen to the bulk verbs of a session."""

    def heard(announcement: Announcement) -> None:
        _hear(recorder, announcement)

    def wants(connection: Connection, target: Target) -> bool:
        return _table(recorder, connection, target) is not None

    announce.listen(session, heard, wants=wants)
    announce.want_ids(session, _wants_ids)


def _wants_ids(connection: Connection, _target: Target) -> bool:
    """Say whether the rows of the running verb do not bring their keys."""
    verb = work_of(connection).verb
    return verb is not None and verb.wants_ids


def is_recorded_by(work: Work, table: Table) -> bool:
    """Say whether a bulk verb will tell of what a statement of SQLAlchemy's writes."""
    verb = work.verb
    return verb is not None and verb.table is table and verb.kind != "insert"


def is_sent_by(work: Work, connection: Connection, touched: Touched) -> bool:
    """Say whether a bulk verb sends something by the driver."""
    verb = work.verb
    if verb is None or touched.is_opaque:
        return False
    if touched.inserts | touched.updates | touched.deletes != {verb.table.name.lower()}:
        return False
    if verb.kind == "insert":
        verb.by_driver = activity.of(connection).depth
    return True


def _hear(recorder: Recorder, one: Announcement) -> None:
    connection = one.connection
    table = _table(recorder, connection, one.target)
    if table is None:
        return
    work = work_of(connection)
    reader = recorder.readers.of(connection, table)
    verb = work.verb
    if reader is None:
        return
    if not one.done:
        if verb is None or verb.table is not table or verb.kind != one.kind:
            verb = work.verb = _begin(recorder, connection, work, one, reader)
        _before(verb, one)
    elif verb is not None and verb.table is table:
        _after(verb, one)


def _table(recorder: Recorder, connection: Connection, target: Target) -> Table | None:
    """Return the table of a target, where what is written there is to be recorded."""
    if target.is_joined:
        return None  # it is sent by statements that are recorded by themselves
    # A table may be known by nothing but its name.
    table = recorder.audit.coverage.metadata.tables.get(target.table.key)
    if table is None or not recorder.is_recorded(connection, work_of(connection), table):
        return None
    return table


def _begin(
    recorder: Recorder, connection: Connection, work: Work, one: Announcement, reader: Reader
) -> Verb:
    table = reader.covered.table
    why = None
    if one.kind == "copy":
        why = "nobody reads the bytes that are sent"
    elif activity.autocommits(connection):
        why = "in AUTOCOMMIT it would be stored without its record"
    elif one.kind == "update" and _sets_key(reader, one):
        why = "it sets the primary key"
    batch: Batch | None = Batch(connection, work, recorder.readers)
    if why is not None:
        names = recorder.readers.recorded(table, work)
        unaudited.refuse(recorder.audit, f"bulk {one.kind}", names, why)
        batch = None
    with work.busy():
        begin_to_write(connection)
    return Verb(one.kind, table, reader, activity.of(connection).depth, batch)


def _sets_key(reader: Reader, one: Announcement) -> bool:
    """Say whether rows that are known by something else are given a primary key."""
    names = set(one.chunk.names) if one.chunk is not None else set()
    given = {one.target.column(name).name for name in names}
    known_by = {column.name for column in one.keys}
    return any(column.name in given - known_by for column in reader.covered.key)


def _before(verb: Verb, one: Announcement) -> None:
    """Read the rows that are in the way of those to come, or are to be updated."""
    if verb.batch is None:
        return
    if verb.kind == "insert":
        names = [str(column.key) for column in verb.reader.covered.key]
        verb.wants_ids = any(row.get(name) is None for row in _named(verb, one) for name in names)
        return
    changes = verb.batch.of(verb.reader)
    with verb.batch.work.busy():
        for condition in _conditions(verb, one):
            changes.note(verb.reader.by_condition(one.connection, condition, _TO_CHANGE))


def _after(verb: Verb, one: Announcement) -> None:
    """Record what has been written."""
    if verb.batch is None:
        return
    if verb.kind == "insert":
        if verb.by_driver is None:
            return  # by statements of SQLAlchemy's, which are recorded by themselves
        verb.by_driver = None
        changes = verb.batch.of(verb.reader)
        for key in _keys(verb, one):
            changes.add(key, UNREAD)
    elif verb.kind == "upsert":
        _find_new(verb, verb.batch, one)
    verb.batch.settle()


def _keys(verb: Verb, one: Announcement) -> Iterator[Key]:
    names = [str(column.key) for column in verb.reader.covered.key]
    for at, row in enumerate(_named(verb, one)):
        if all(row.get(name) is not None for name in names):
            yield tuple(row[name] for name in names)
        elif one.ids is not None:
            yield tuple(one.ids[at])
        else:
            raise _unknown(verb)


def _find_new(verb: Verb, batch: Batch, one: Announcement) -> None:
    changes = batch.of(verb.reader)
    rows = _named(verb, one)
    keys = [[str(c.key) for c in columns] for columns in _unique(verb, one)]
    for row in rows:
        if not any(all(row.get(name) is not None for name in names) for names in keys):
            raise _unknown(verb)
    with batch.work.busy():
        for condition in _conditions(verb, one):
            for key, row in verb.reader.by_condition(one.connection, condition).items():
                if changes.find(key) is None:
                    changes.add(key, row)


def _unknown(verb: Verb) -> UnauditedWriteError:
    return UnauditedWriteError.of(
        f"bulk {verb.kind}",
        verb.reader.covered.name,
        "the primary keys of its new rows are not known",
    )


def _conditions(verb: Verb, one: Announcement) -> list[ColumnElement[bool]]:
    return upserts.conditions(_unique(verb, one), _named(verb, one))


def _unique(verb: Verb, one: Announcement) -> list[tuple[Column[Any], ...]]:
    """Return the keys by which rows of the input and of the table are the same."""
    by_name = {column.name: column for column in verb.table.columns}
    given = [tuple(by_name[column.name] for column in one.keys)] if one.keys else []
    if verb.kind == "update":
        return given
    return list(dict.fromkeys([*given, *upserts.unique_keys(verb.table)]))


def _named(verb: Verb, one: Announcement) -> Sequence[Mapping[str, Any]]:
    """Return the values of each row by the keys of the columns."""
    chunk = one.chunk
    if chunk is None:
        return []
    keys = {column.name: str(column.key) for column in verb.table.columns}
    names = [keys[one.target.column(name).name] for name in chunk.names]
    return [dict(zip(names, row, strict=True)) for row in chunk.rows]
