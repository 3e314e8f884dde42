"""Which tables are audited, and which of their columns."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Column, Table

from sessionwise.audit.tables import METADATA
from sessionwise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import MetaData

__all__ = ["Capture", "Coverage", "Covered", "full_name"]

Capture = Literal["auto", "trigger", "session"]
"""Who writes the audit: triggers in the database, the session, or the one that there is."""


@dataclass(frozen=True)
class Covered:
    """A table that is audited."""

    table: Table
    columns: tuple[Column[Any], ...]
    """What is recorded of a row: all but what is excluded, and what cannot be read back."""
    redacted: frozenset[str]
    """Names of columns of which only a salted hash is stored."""

    @property
    def name(self) -> str:
        """How the audit calls the table: with its schema, where it has one."""
        return full_name(self.table)

    @property
    def key(self) -> tuple[Column[Any], ...]:
        """What ``object_id`` is made from: the primary key; all of a link that has none."""
        key = tuple(self.table.primary_key.columns)
        return key or (self.columns if self.is_link else ())

    @property
    def is_link(self) -> bool:
        """Whether a row only links others: its changes are LINK and UNLINK."""
        return all(column.foreign_keys for column in self.table.columns)

    @cached_property
    def version(self) -> str:
        """What the columns are, as 12 hexadecimal digits: it changes where they do."""
        said = [f"{column.name} {column.type!r}" for column in self.columns]
        said += sorted(f"redacted {name}" for name in self.redacted)
        return hashlib.sha256("\n".join(said).encode()).hexdigest()[:12]


class Coverage:
    """The tables of a ``MetaData`` that are audited; tables that come later are found, too.

    :param metadata: whose tables are audited.
    :param tables: only these: tables, mapped classes or names.
    :param exclude: not these: tables, classes, names, columns, or ``"table.column"``.
    :param redact: columns, or ``"table.column"``, of which only a salted hash is stored.
    """

    def __init__(
        self,
        metadata: MetaData,
        *,
        tables: Iterable[Any] | None = None,
        exclude: Iterable[Any] = (),
        redact: Iterable[Any] = (),
    ) -> None:
        self.metadata = metadata
        self._only = None if tables is None else {_name(one, "tables") for one in tables}
        self._excluded = {_name(one, "exclude") for one in exclude}
        self._redacted = {_name(one, "redact") for one in redact}
        self._known: dict[Table, Covered | None] = {}

    def __iter__(self) -> Iterator[Covered]:
        """Give the audited tables, those that are referred to first."""
        for table in self.metadata.sorted_tables:
            if (found := self.of(table)) is not None:
                yield found

    def __bool__(self) -> bool:
        return any(True for _ in self)

    def of(self, table: Any) -> Covered | None:
        """Return what is audited of a table; None: nothing."""
        if not isinstance(table, Table):
            return None
        if table not in self._known:
            self._known[table] = self._find(table)
        return self._known[table]

    def named(self, name: str) -> list[Covered]:
        """Return the audited tables of a bare name, in whatever schema; case does not count."""
        return [one for one in self if one.table.name.lower() == name.lower()]

    def check(self) -> None:
        """See to it that what was named is there.

        :raises OptionError: for a name that is no table's or column's, and for a table without a
          primary key: nobody could say which row has changed.
        """
        known = {full_name(table) for table in self.metadata.tables.values()}
        known |= {f"{full_name(c.table)}.{c.name}" for c in self._all_columns()}
        for option, names in self._named().items():
            for name in sorted(names - known):
                raise OptionError(
                    f"{option}= names {name!r}, and the metadata has no such table or column"
                )
        for covered in self:
            if not covered.key:
                raise OptionError(
                    f"{covered.name} has no primary key: nobody could say which of its rows has "
                    "changed. Give it one, or leave it out by exclude="
                )

    def _named(self) -> dict[str, set[str]]:
        return {
            "tables": self._only or set(),
            "exclude": self._excluded,
            "redact": self._redacted,
        }

    def _all_columns(self) -> Iterator[Column[Any]]:
        for table in self.metadata.tables.values():
            yield from table.columns

    def _find(self, table: Table) -> Covered | None:
        name = full_name(table)
        if table.metadata is METADATA or table.metadata is not self.metadata:
            return None
        if name in self._excluded or (self._only is not None and name not in self._only):
            return None
        key = set(table.primary_key.columns)
        columns = tuple(
            column
            for column in table.columns
            if column in key or f"{name}.{column.name}" not in self._excluded
        )
        redacted = {c.name for c in columns if f"{name}.{c.name}" in self._redacted}
        for column in key:
            for option, names in (("exclude", self._excluded), ("redact", self._redacted)):
                if f"{name}.{column.name}" in names:
                    raise OptionError(
                        f"{option}= names {name}.{column.name}, which is of the primary key: the "
                        "audit says by it which row has changed"
                    )
        return Covered(table, columns, frozenset(redacted))


def full_name(table: Table) -> str:
    """Return a table's name as the audit has it: ``"users"``, ``"schema.users"``."""
    # A plain text: drivers take long over a ``quoted_name``.
    return str(table.name) if table.schema is None else f"{table.schema}.{table.name}"


def _name(one: Any, option: str) -> str:
    """Return the name of what an option was given."""
    if isinstance(one, str):
        return one
    selectable = getattr(one, "__table__", one)
    if isinstance(selectable, Table):
        return full_name(selectable)
    expression = getattr(one, "expression", one)  # an attribute of a mapped class
    if isinstance(expression, Column) and isinstance(expression.table, Table):
        return f"{full_name(expression.table)}.{expression.name}"
    raise OptionError(f"{option}= has {one!r}; give tables, mapped classes, columns or names")
