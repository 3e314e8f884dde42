"""The rows that are written on a connection until what has become of them is recorded."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from sessionwise.audit.recording import journal
from sessionwise.audit.recording.cascaded import follow_deleted, follow_moved
from sessionwise.audit.recording.changes import UNREAD, Changes
from sessionwise.errors import UnauditedWriteError
from sessionwise.transaction import activity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Table

    from sessionwise.audit.recording.dml import Dml
    from sessionwise.audit.recording.forms import Row
    from sessionwise.audit.recording.readers import Readers
    from sessionwise.audit.recording.reading import Key, Reader
    from sessionwise.audit.recording.work import Work

__all__ = ["Batch"]

Values = dict[str, Any]
"""The parameters of a statement for one row, by their names."""

_KEYS = "the keys of its new rows are not known"

_TO_CHANGE = {"key_share": True}
_TO_DELETE: dict[str, bool] = {}


class Batch:
    """What a flush, or one statement, has written on one connection."""

    def __init__(self, connection: Connection, work: Work, readers: Readers) -> None:
        self.connection = connection
        self.work = work
        self.readers = readers
        self.depth = activity.of(connection).depth
        self.changes: dict[Table, Changes] = {}
        self._inserted: list[tuple[Dml, Any]] = []

    def __bool__(self) -> bool:
        return bool(self.changes or self._inserted)

    def of(self, reader: Reader) -> Changes:
        """Return what has become of the rows of a table."""
        table = reader.covered.table
        found = self.changes.get(table)
        if found is None:
            found = self.changes[table] = Changes(reader)
        return found

    def insert(self, dml: Dml, context: Any) -> None:
        """Note rows that are about to be inserted: their keys are known afterwards."""
        self._inserted.append((dml, context))
        self.of(dml.reader)  # in this order they are recorded

    def update(
        self,
        dml: Dml,
        parameters: Sequence[Values],
        more: Callable[[], Iterable[Key]] = tuple,
    ) -> None:
        """Note rows that are about to be updated, each by its key.

        :param more: the keys of rows that will be updated or deleted, too: they are read at once.
        """
        self.resolve()
        keys = dml.keys(parameters)
        if dml.moves:
            self._make_room(dml, keys, parameters)
        changes = self._look(dml, keys, more, _TO_CHANGE)
        follow_moved(self, dml, keys, parameters)
        new, find = changes.new, changes.find
        is_known = dml.is_exact and not dml.is_computed
        for key, values in zip(keys, parameters, strict=True):
            first = find(key)
            if first is None:
                continue
            if dml.moves:
                changes.move(first, dml.moved(key, values))
            row = new[first]
            known = dml.values(values) if is_known and row else None
            new[first] = UNREAD if known is None or not row else row | known

    def _make_room(self, dml: Dml, keys: Sequence[Key], parameters: Sequence[Values]) -> None:
        """Record what there is, where a row gets a key that another one had in this batch."""
        changes = self.of(dml.reader)
        for key, values in zip(keys, parameters, strict=True):
            moved = dml.moved(key, values)
            if moved != key and not changes.is_free(moved):
                self.settle()
                return

    def delete(
        self,
        dml: Dml,
        parameters: Sequence[Values],
        more: Callable[[], Iterable[Key]] = tuple,
    ) -> None:
        """Note rows that are about to be deleted; the parameters are those of :meth:`update`."""
        self.resolve()
        keys = dml.keys(parameters)
        changes = self._look(dml, keys, more, _TO_DELETE)
        follow_deleted(self, dml.reader, keys)
        for key in keys:
            first = changes.find(key)
            if first is not None:
                changes.new[first] = None if dml.is_exact else UNREAD

    def _look(
        self,
        dml: Dml,
        keys: Sequence[Key],
        more: Callable[[], Iterable[Key]],
        lock: dict[str, bool],
    ) -> Changes:
        changes = self.of(dml.reader)
        if any(map(changes.is_free, keys)):
            changes.look(self.connection, [*keys, *more()], lock)
        return changes

    def resolve(self) -> None:
        """Find out the keys of the rows that have been inserted."""
        inserted, self._inserted = self._inserted, []
        for dml, context in inserted:
            changes = self.of(dml.reader)
            for key, values in _keys_of(dml, context):
                if not changes.is_free(key) and changes.find(key) != key:
                    self.settle()  # another row has had this key
                    changes = self.of(dml.reader)
                changes.add(key, _row(dml, key, values))

    def settle(self) -> None:
        """Record what has become of the rows, and forget them."""
        self.resolve()
        changes, self.changes = self.changes, {}
        recorded = [
            one for one in changes.values() if self.readers.records(one.reader.covered, self.work)
        ]
        with self.work.busy():
            for one in recorded:
                one.read(self.connection)
            # One after the other: the garbage collector looks at all that there are at a time.
            records = chain.from_iterable(one.records() for one in recorded)
            journal.write(self.connection, self.work, records)


def _keys_of(dml: Dml, context: Any) -> Iterator[tuple[Key, Values]]:
    """Give the key of each row that a statement has inserted, and its parameters."""
    covered = dml.reader.covered
    parameters = context.compiled_parameters
    if not covered.table.primary_key.columns:
        names = [str(one.key) for one in covered.key]
        for values in parameters:
            yield tuple(values[name] for name in names), values
        return
    keys = context.inserted_primary_key_rows
    if len(keys) != len(parameters):
        raise UnauditedWriteError.of(context.statement, covered.name, _KEYS)
    for key, values in zip(keys, parameters, strict=True):
        if None in key:
            raise UnauditedWriteError.of(context.statement, covered.name, _KEYS)
        yield tuple(key), values


def _row(dml: Dml, key: Key, parameters: Values) -> Row:
    """Return a new row, where all of it is known."""
    covered = dml.reader.covered
    found = dml.values(parameters)
    if found is None or (0 in key and dml.reader.counts_from_one):
        return UNREAD
    for column, value in zip(dml.reader.key, key, strict=True):
        if column.name not in found:
            accepted = dml.reader.trusted[column.name]
            if type(value) not in accepted or accepted[type(value)] is not None:
                return UNREAD
            found[column.name] = value
    for column in covered.columns:
        if column.name not in found:
            if column.name not in dml.absent:
                return UNREAD
            found[column.name] = None
    return found
