"""The plan: how rows of the input become rows of the table; there is one for each set of names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, bindparam, insert
from sqlalchemy.exc import StatementError

from sessionwise.bulk import processors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Dialect, Insert

    from sessionwise.bulk.target import Target

__all__ = ["Plan"]


class _RowContext:
    """What a default that takes a context is given: the values of its row."""

    def __init__(self, values: dict[str, Any], dialect: Dialect) -> None:
        self.current_parameters = values
        self.dialect = dialect

    def get_current_parameters(self, isolate_multiinsert_groups: bool = True) -> dict[str, Any]:
        """Return the values of the row, by the keys of the columns."""
        return self.current_parameters


@dataclass(frozen=True, eq=False)
class Plan:
    """How rows that have values of some names are written."""

    target: Target
    names: tuple[str, ...]
    """What the values of each row of the input are of."""
    dialect: Dialect

    @cached_property
    def given(self) -> dict[Column[Any], int]:
        """The columns that the input has, and where; what the database computes is left out."""
        columns = {self.target.column(name): at for at, name in enumerate(self.names)}
        return {column: at for column, at in columns.items() if column.computed is None}

    @cached_property
    def made(self) -> list[Column[Any]]:
        """The columns that the input does not have, and that get a value here.

        They have a default in Python, or are the mapper's business.
        """
        return [
            column
            for column in self.target.table.c
            if column not in self.given
            and (
                column in self._fixed
                or (
                    column.default is not None
                    and (column.default.is_scalar or column.default.is_callable)
                )
            )
        ]

    @cached_property
    def _fixed(self) -> dict[Column[Any], Any]:
        """What a mapper gives each new row: which class it is of, and its first version."""
        mapper = self.target.mapper
        found: dict[Column[Any], Any] = {}
        if mapper is None:
            return found
        if mapper.polymorphic_identity is not None and isinstance(mapper.polymorphic_on, Column):
            found[mapper.polymorphic_on] = mapper.polymorphic_identity
        version: Any = mapper.version_id_col
        if version is not None and callable(mapper.version_id_generator):
            found[version] = mapper.version_id_generator(None)
        return found

    @cached_property
    def columns(self) -> list[Column[Any]]:
        """The columns that are written, in the order of the values."""
        return [*self.given, *self.made]

    @cached_property
    def only_core(self) -> str | None:
        """Why SQLAlchemy's own INSERT is needed; None where a driver's way will do."""
        if self.target.is_joined:
            return "an object has rows in several tables"
        if not self.columns:
            return "there is nothing but defaults"
        written = set(self.columns)
        for column in self.target.table.c:
            default = column.default
            if column in written:
                impl = column.type.dialect_impl(self.dialect)
                if impl.bind_expression(bindparam(None, type_=column.type)) is not None:
                    return f"the type of {column.name} is written by SQL"
            elif default is not None and default.is_clause_element:
                return f"the default of {column.name} is an SQL expression"
        return None

    @cached_property
    def statement(self) -> Insert:
        """SQLAlchemy's INSERT of the table, for ``parameters()``."""
        return insert(self.target.table)

    @cached_property
    def sql(self) -> str:
        """The INSERT in the driver's own words, for one row of ``values()``, by position."""
        preparer = self.dialect.identifier_preparer
        names = ", ".join(map(preparer.format_column, self.columns))
        mark = "?" if self.dialect.paramstyle == "qmark" else "%s"
        marks = ", ".join([mark] * len(self.columns))
        table = preparer.format_table(self.target.table)
        return f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - names are quoted

    @cached_property
    def _processors(self) -> list[processors.Processor | None]:
        return [processors.of(column.type, self.dialect) for column in self.columns]

    def objects(self, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        """Return the values of each column, defaults included, as the types have them."""
        # zip(*rows) would make an iterator for each row: so many new objects have the garbage
        # collector look at all there are, which takes longer than all else here.
        found: list[Sequence[Any]] = [
            list(map(itemgetter(at), rows)) for at in self.given.values()
        ]
        for column in self.made:
            found.append(self._make(column, found, len(rows)))
        return found

    def values(self, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
        """Return the values of each row, defaults included, as the driver takes them."""
        return zip(*self.processed(self.objects(rows)), strict=True)

    def processed(self, objects: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        """Return the values of each column, of ``objects()``, as the driver takes them.

        :raises StatementError: for a value that a type does not take.
        """
        # By columns: that is a few calls for thousands of rows.
        try:
            return [
                column if process is None else process(column)
                for column, process in zip(objects, self._processors, strict=True)
            ]
        except Exception as error:
            raise StatementError(
                f"({type(error).__module__}.{type(error).__name__}) {error}", self.sql, None, error
            ) from error

    def parameters(self, rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
        """Return each row for SQLAlchemy's INSERT, which processes the values itself."""
        if not self.columns:
            return [{} for _ in rows]
        keys = [column.key for column in self.columns]
        return [dict(zip(keys, row, strict=True)) for row in zip(*self.objects(rows), strict=True)]

    def _make(self, column: Column[Any], found: list[Sequence[Any]], count: int) -> Sequence[Any]:
        if column in self._fixed:
            return [self._fixed[column]] * count
        default: Any = column.default
        if default.is_scalar:
            return list(repeat(default.arg, count))
        keys = [one.key for one in self.columns[: len(found)]]
        contexts = zip(*found, strict=True) if found else repeat((), count)
        return [
            default.arg(_RowContext(dict(zip(keys, row, strict=True)), self.dialect))
            for row in contexts
        ]
