"""What a listener says, and the row of ``audit_log`` that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sessionwise.audit.asking.shape import attributes_of
from sessionwise.audit.encode import encode, encode_key, encode_untyped, key_text
from sessionwise.audit.listening.net import NetChanges, read_row
from sessionwise.audit.recording.changes import Record
from sessionwise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Column, Dialect, Table
    from sqlalchemy.orm import InstanceState

__all__ = ["Told"]


@dataclass(frozen=True)
class Told:
    """What a listener has said."""

    action: str
    name: str
    """Of the table, as it is recorded."""
    table: Table | None
    at: datetime
    object_id: Any
    changes: Mapping[str, tuple[Any, Any]]
    state: InstanceState[Any] | None
    """The object that is meant, where it is known."""

    @property
    def key(self) -> tuple[str, ...]:
        """What is the same where the same is said again."""
        meant = f"state {id(self.state)}" if self._is_pending else repr(self._ident)
        return self.action, self.name, meant, repr(self.changes)

    @property
    def is_known(self) -> bool:
        """Whether all of it is known before the flush."""
        return not self._is_pending and not self._waiting

    @property
    def has_row(self) -> bool:
        """Whether the object is stored, as far as it had to be."""
        state = self.state
        if state is None or state.identity is not None:
            return True
        return None not in state.mapper.primary_key_from_instance(state.object)

    def line(self, dialect: Dialect) -> Record:
        """Return the row that is written."""
        after = self._after_flush()
        columns = {name: self._column(name) for name in self.changes}
        old = {
            _named(name, columns): _encoded(before, columns[name], dialect)
            for name, (before, _) in self.changes.items()
        }
        new = {
            _named(name, columns): _encoded(after.get(name, value), columns[name], dialect)
            for name, (_, value) in self.changes.items()
        }
        return Record(
            table=self.name,
            version=None,
            redacted=frozenset(),
            action=self.action,
            object_id=self._object_id(dialect),
            previous_id=None,
            old=old if old and self.action not in {"INSERT", "LINK"} else None,
            new=new if new and self.action in {"INSERT", "LINK", "UPDATE"} else None,
        )

    @property
    def _is_pending(self) -> bool:
        return self.state is not None and self.state.identity is None

    @property
    def _waiting(self) -> set[str]:
        return self.changes.waiting if isinstance(self.changes, NetChanges) else set()

    @property
    def _ident(self) -> Any:
        """The primary key that was said, or that of the object."""
        state, said = self.state, self.object_id
        if state is None or (said is not None and said is not state.object):
            return said
        return state.identity or tuple(state.mapper.primary_key_from_instance(state.object))

    def _object_id(self, dialect: Dialect) -> str | None:
        ident = self._ident
        if ident is None:
            return None
        parts = list(ident) if isinstance(ident, tuple | list) else [ident]
        if self.table is None:
            return key_text([encode_untyped(one, dialect) for one in parts])
        key = tuple(self.table.primary_key.columns)
        if len(key) != len(parts):
            raise OptionError(
                f"the primary key of {self.name} is {', '.join(one.name for one in key)}, and "
                f"object_id={self.object_id!r} is not of that form; give a tuple, or the object"
            )
        return encode_key(parts, key, dialect)

    def _after_flush(self) -> dict[str, Any]:
        """Read what only the flush has made known."""
        if not self._waiting or self.state is None:
            return {}
        return read_row(self.state, self._waiting)

    def _column(self, name: str) -> Column[Any] | None:
        """Return the column of an attribute."""
        if self.state is not None:
            attribute = self.state.mapper.column_attrs.get(name)
            return None if attribute is None else attribute.columns[0]  # type: ignore[return-value]
        if self.table is None:
            return None
        names = {attribute: column for column, attribute in attributes_of(self.table).items()}
        return self.table.columns.get(names.get(name, name))


def _named(name: str, columns: Mapping[str, Column[Any] | None]) -> str:
    column = columns[name]
    return name if column is None else column.name


def _encoded(value: Any, column: Column[Any] | None, dialect: Dialect) -> Any:
    return encode_untyped(value, dialect) if column is None else encode(value, column, dialect)
