"""What has become of some rows: each is known as it was, and as it is or will be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sessionwise.audit.encode import key_text
from sessionwise.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sqlalchemy import Connection

    from sessionwise.audit.recording.forms import Row
    from sessionwise.audit.recording.reading import Key, Lock, Reader

__all__ = ["UNREAD", "Changes", "Record"]

UNREAD: Row = {}
"""Stands for a row that may have changed, and is still to be read."""


@dataclass(slots=True)
class Record:
    """A row for ``audit_log``."""

    table: str
    """The table, as the audit calls it."""
    version: str | None
    """Of the columns that are recorded; None: nobody says that it is all of them."""
    redacted: frozenset[str]
    action: str
    object_id: str | None
    """None: no row is meant, but the table."""
    previous_id: str | None
    old: Row | None
    new: Row | None


@dataclass
class Changes:
    """The rows of one table that are changed by a statement, or by a flush.

    Each is known by the key that it had first. There may be very many of them: what is kept of a
    row is what the garbage collector does not look at.
    """

    reader: Reader
    old: dict[Key, Row | None] = field(default_factory=dict)
    """The rows as they were; None: there was none."""
    new: dict[Key, Row | None] = field(default_factory=dict)
    """The rows as they are; None: there is none."""
    moved: dict[Key, Key] = field(default_factory=dict)
    """What rows are known by now, where their keys have changed."""
    _first: dict[Key, Key] = field(default_factory=dict)
    """The other way round."""
    _expected: set[Key] = field(default_factory=set)
    """Rows that must be there when they are read: they have been inserted."""

    def find(self, key: Key) -> Key | None:
        """Return the key by which a row was known first; None: nothing is known of it."""
        first = self._first.get(key)
        if first is not None:
            return first
        return key if key in self.new and key not in self.moved else None

    def is_free(self, key: Key) -> bool:
        """Say whether a key has stood for no row yet."""
        return key not in self.new and key not in self._first

    def look(self, connection: Connection, keys: Iterable[Key], lock: Lock) -> None:
        """Read rows as they are before they change, those that nothing is known of."""
        wanted = dict.fromkeys(key for key in keys if self.is_free(key))
        if wanted:
            found = self.reader.by_keys(connection, wanted, lock)
            for key in wanted:
                self.old[key] = self.new[key] = found.get(key)
            if len(found) > len(wanted) or not found.keys() <= wanted.keys():
                self.note(found)  # by a collation "a" is "A", too

    def note(self, rows: Mapping[Key, Row]) -> None:
        """Take rows as they are before they may change."""
        for key, row in rows.items():
            if self.is_free(key):
                self.old[key] = row
                self.new[key] = UNREAD

    def add(self, key: Key, row: Row | None) -> None:
        """Take a row that has been inserted."""
        if key not in self.new:
            self.old[key] = None
        self.new[key] = row
        if row is UNREAD:
            self._expected.add(key)

    def move(self, first: Key, key: Key) -> None:
        """Note that a row is known by another key from now on."""
        self._first.pop(self.moved.pop(first, first), None)
        if key != first:
            self.moved[first] = key
            self._first[key] = first

    def read(self, connection: Connection) -> None:
        """Read the rows that may have changed.

        :raises AuditError: where a row that was inserted is not there.
        """
        unread = [key for key, row in self.new.items() if row is UNREAD]
        if not unread:
            return
        wanted = dict.fromkeys(unread)
        wanted |= dict.fromkeys(self.moved[key] for key in unread if key in self.moved)
        found = self.reader.by_keys(connection, wanted)
        for key in unread:
            row = found.get(self.moved.get(key, key))
            if row is None and key in self.moved:
                row = found.get(key)  # it has not moved after all
            if row is None and key in self._expected:
                raise AuditError.for_lost_row(self.reader.covered.name, key)
            self.new[key] = row

    def records(self) -> Iterator[Record]:
        """Give what has changed; all must have been read."""
        covered = self.reader.covered
        table, version, redacted = covered.name, covered.version, covered.redacted
        inserts, deletes = ("LINK", "UNLINK") if covered.is_link else ("INSERT", "DELETE")
        id_of = _identity([column.name for column in covered.key])
        before = self.old
        for key, new in self.new.items():
            old = before[key]
            if old is new:
                continue
            previous = None
            if old is None:
                action, id_, said = inserts, id_of(new), new
            elif new is None:
                action, id_, said = deletes, id_of(old), None
            else:
                said = {
                    name: form
                    for name, form in new.items()
                    if form is not old[name] and not _same(form, old[name])
                }
                if not said:
                    continue
                action, id_, id_before = "UPDATE", id_of(new), id_of(old)
                previous = id_before if id_before != id_ else None
            yield Record(table, version, redacted, action, id_, previous, old, said)


def _identity(key: list[str]) -> Callable[[Any], str]:
    """Return what makes ``object_id`` of a row."""
    if len(key) > 1:
        return lambda row: key_text([row[name] for name in key])
    (name,) = key

    def identity(row: Row) -> str:
        form = row[name]
        return str(form) if type(form) is int else key_text([form])

    return identity


def _same(one: Any, other: Any) -> bool:
    """Say whether two forms are the same; nested ones may have 1 for True, and 1.0 for 1."""
    return one == other and (type(one) is type(other) or not isinstance(one, dict | list))
