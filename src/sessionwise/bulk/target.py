"""What rows are written into: a table, known by its class or by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Column, Table, inspect
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import Mapper, class_mapper

from sessionwise.errors import BulkInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from sessionwise.bulk.reading.rows import Chunk

__all__ = ["Refusals", "Target"]


class Refusals(Protocol):
    """Who is told of rows that cannot be converted, where these are no errors."""

    def keep(self, chunk: Chunk) -> None:
        """Take rows as they come from a file, before they are converted."""
        ...

    def keep_rows(self, rows: Sequence[Any], start: int) -> None:
        """Take rows as the caller gives them.

        :param start: the position of the first one.
        """
        ...

    def refuse(self, position: int, column: str, problem: str) -> None:
        """Take note of a row; what is passed on in its place will not be written."""
        ...


@dataclass(frozen=True)
class Target:
    """A table, and the class that is mapped to it, if there is one."""

    table: Table
    mapper: Mapper[Any] | None = None
    refusals: Refusals | None = field(default=None, compare=False, repr=False)
    """Who takes rows that cannot be converted; without one, the first of them is an error."""

    @classmethod
    def of(cls, entity: Any) -> Target:
        """Return the target that a caller means.

        :param entity: a mapped class, or a ``Table``.
        :raises BulkInputError: for anything else.
        """
        if isinstance(entity, Table):
            return cls(entity)
        try:
            mapper = inspect(entity)
        except NoInspectionAvailable:
            mapper = None
        if not isinstance(mapper, Mapper) or not isinstance(mapper.local_table, Table):
            raise BulkInputError.for_entity(entity)
        class_mapper(mapper.class_)  # its attributes work from here on
        return cls(mapper.local_table, mapper)

    @property
    def name(self) -> str:
        """The bare name of the table in lower case, as expiry knows it."""
        return self.table.name.lower()

    @property
    def is_joined(self) -> bool:
        """Whether an object has rows in more than one table."""
        return self.mapper is not None and len(self.mapper.tables) > 1

    def connection(self, session: Session) -> Connection:
        """Return the connection of the session's transaction to the database that has it."""
        if self.mapper is not None:
            return session.connection(bind_arguments={"mapper": self.mapper})
        return session.connection(bind_arguments={"clause": self.table})

    def column(self, name: str) -> Column[Any]:
        """Return the column that an attribute, or a column's own name, means.

        :raises BulkInputError: where there is none.
        """
        if self.mapper is not None and name in self.mapper.column_attrs:
            for column in self.mapper.column_attrs[name].columns:
                if isinstance(column, Column) and (
                    self.is_joined or self.table.c.contains_column(column)
                ):
                    return column
        for one in self.table.columns:
            if name in {one.key, one.name}:
                return one
        raise BulkInputError.for_name(name, self.table.name, self.table.c.keys())
