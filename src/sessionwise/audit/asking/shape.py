"""How what is recorded of a table is told: by attributes, with the values that the ORM loads."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from sessionwise.audit.asking.decode import decode_key, decoder
from sessionwise.audit.asking.internals import mappers_of
from sessionwise.audit.coverage import full_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Column, Dialect, Table

    from sessionwise.audit.asking.change import Change
    from sessionwise.audit.coverage import Coverage

__all__ = ["Shapes", "attributes_of", "key_of"]


@dataclasses.dataclass(frozen=True)
class _Shape:
    key: tuple[Column[Any], ...]
    attributes: Mapping[str, str]
    """Names of columns, and what the attributes are called."""
    decoders: Mapping[str, Callable[[Any], Any]]

    def row(self, recorded: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if recorded is None:
            return None
        return {
            self.attributes.get(name, name): self.decoders[name](value)
            if name in self.decoders
            else value
            for name, value in recorded.items()
        }


class Shapes:
    """Decodes changes of the tables of a metadata; those of others stay as they are recorded."""

    def __init__(self, coverage: Coverage, dialect: Dialect) -> None:
        self._coverage = coverage
        self._dialect = dialect
        self._tables = {full_name(one): one for one in coverage.metadata.tables.values()}
        self._known: dict[str, _Shape | None] = {}

    def decode(self, change: Change) -> Change:
        """Return a change with the names and values of the application."""
        shape = self._shape(change.table)
        if shape is None:
            return change
        return dataclasses.replace(
            change,
            object_id=decode_key(change.object_id, shape.key, self._dialect),
            previous_id=decode_key(change.previous_id, shape.key, self._dialect),
            old=shape.row(change.old),
            new=shape.row(change.new),
        )

    def _shape(self, name: str) -> _Shape | None:
        if name not in self._known:
            table = self._tables.get(name)
            self._known[name] = None if table is None else self._find(table)
        return self._known[name]

    def _find(self, table: Table) -> _Shape:
        return _Shape(
            key_of(self._coverage, table),
            attributes_of(table),
            {one.name: decoder(one.type, self._dialect) for one in table.columns},
        )


def key_of(coverage: Coverage, table: Table) -> tuple[Column[Any], ...]:
    """Return the columns that ``object_id`` is made from."""
    covered = coverage.of(table)
    return tuple(table.primary_key.columns) if covered is None else covered.key


def attributes_of(table: Table) -> dict[str, str]:
    """Return what the attributes are called that a table's columns are mapped to, by name."""
    names: dict[str, str] = {}
    for mapper in mappers_of(table):
        for attribute in mapper.column_attrs:
            for column in attribute.columns:
                if getattr(column, "table", None) is table:
                    names.setdefault(column.name, attribute.key)
    return names
